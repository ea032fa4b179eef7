//! Customers, keys, operators, catalogue, backends, settings: written, versioned, found.

use super::fixture::{
    Fixture, ask, budget, credit, customer, key, ncr, new_customer, new_key, price,
};
use super::on_both;
use crate::domain::{Mode, RateLimits, Role, Source, Tier};
use crate::ledger::{BudgetChange, LongContext, Price, Rates};
use crate::store::{
    BackendEdit, BackendModel, BackendRow, Change, CustomerEdit, CustomerStatus, Engine, IntakeRow,
    KeyEdit, Model, NewKey, NewOperator, OperatorEdit, Restrictions, StoreError, Trail, Unique,
};

on_both! {
    customers_change_by_version,
    keys_live_and_die,
    names_and_superkeys_are_unique,
    the_limit_of_keys_holds_in_a_race,
    caches_hear_of_changes,
    operators_come_and_go,
    the_catalogue_is_read_as_it_was_written,
    backends_keep_their_intake,
    settings_are_versioned,
    a_change_and_its_record_are_one,
    an_altered_record_breaks_the_trail,
}

fn trail(request_id: &str) -> Trail {
    Trail {
        at_ms: 7,
        actor: "jo".to_owned(),
        role: Role::Admin,
        action: "key.create".to_owned(),
        object: "key_0000000000000001".to_owned(),
        before: "null".to_owned(),
        after: "{}".to_owned(),
        request_id: request_id.to_owned(),
        reason: "because".to_owned(),
    }
}

async fn customers_change_by_version(fixture: Fixture) {
    let store = fixture.open().await;
    store.write(vec![new_customer(1)], None).await.unwrap();
    let edit = |expected, edit| vec![Change::EditCustomer { id: customer(1), expected, edit }];
    for change in [
        CustomerEdit::Name("Other".to_owned()),
        CustomerEdit::Email("o@example.org".to_owned()),
        CustomerEdit::Tier("pro".to_owned()),
        CustomerEdit::Status(CustomerStatus::Suspended),
        CustomerEdit::WarningThreshold(ncr(5)),
        CustomerEdit::ModelAllowlist(Some(vec!["direct.openai.m".parse().unwrap()])),
    ] {
        store.write(edit(None, change), None).await.unwrap();
    }
    let found = store.customer(&customer(1)).await.unwrap();
    assert_eq!(
        (found.name.as_str(), found.email.as_str(), found.tier.as_str()),
        ("Other", "o@example.org", "pro")
    );
    assert_eq!((found.status, found.warning_threshold), (CustomerStatus::Suspended, ncr(5)));
    assert_eq!((found.model_allowlist.unwrap().len(), found.version), (1, 7));
    let stale = store.write(edit(Some(6), CustomerEdit::ModelAllowlist(None)), None).await;
    assert_eq!(stale, Err(StoreError::Version { noun: "customer", expected: 6, found: 7 }));
    store.write(edit(Some(7), CustomerEdit::ModelAllowlist(None)), None).await.unwrap();
    let found = store.customer(&customer(1)).await.unwrap();
    assert_eq!((found.model_allowlist, found.version), (None, 8));
    assert_eq!(store.customer(&customer(2)).await, Err(StoreError::NotFound("customer")));
    let twice = store.write(vec![new_customer(1)], None).await;
    assert_eq!(twice, Err(StoreError::Taken(Unique::Other)));
    store.close().await;
}

async fn keys_live_and_die(fixture: Fixture) {
    let store = fixture.open().await;
    let new = new_key(1, 1);
    store.write(vec![new_customer(1), Change::NewKey(new.clone())], None).await.unwrap();
    let edit = |edit| vec![Change::EditKey { id: key(1), expected: None, edit }];
    let login = store.key_by_hash(&new.hash).await.unwrap().unwrap();
    assert_eq!((login.key.id.clone(), login.customer.id.clone()), (key(1), customer(1)));
    assert_eq!(
        (login.key.budget, login.key.version, login.customer.name.as_str()),
        (None, 1, "Customer 1")
    );
    assert_eq!(store.key_by_hash(&[9; 32]).await.unwrap(), None);
    let restrictions = Restrictions {
        denied_scopes: vec!["direct.openai.a.b".parse().unwrap()],
        limits: RateLimits { direct: Some(3), opengpu: None, global: Some(4) },
    };
    store.write(edit(KeyEdit::Rename("Other".to_owned())), None).await.unwrap();
    store.write(edit(KeyEdit::Restrict(restrictions.clone())), None).await.unwrap();
    ask(&store, credit("a", 1, 10)).await;
    ask(&store, budget("b", 1, 1, BudgetChange::Set(ncr(5)))).await;
    store.touch_keys(vec![(key(1), 99), (key(1), 98)]).await.unwrap();
    let found = store.key(&key(1)).await.unwrap();
    assert_eq!((found.name.as_str(), &found.restrictions), ("Other", &restrictions));
    assert_eq!((found.budget, found.last_used_ms, found.version), (Some(ncr(5)), Some(99), 3));
    ask(&store, budget("c", 1, 1, BudgetChange::Uncap)).await;
    assert_eq!(store.key(&key(1)).await.unwrap().budget, None);
    let early = store.write(edit(KeyEdit::Delete { at_ms: 5 }), None).await;
    assert!(matches!(early, Err(StoreError::Precondition(_))), "{early:?}");
    store.write(edit(KeyEdit::Revoke { at_ms: 6 }), None).await.unwrap();
    store.write(edit(KeyEdit::Revoke { at_ms: 7 }), None).await.unwrap();
    let revoked = store.key_by_hash(&new.hash).await.unwrap().unwrap().key;
    assert_eq!(revoked.revoked_ms, Some(6), "the first revocation stays");
    store.write(edit(KeyEdit::Unrevoke { limit: Some(1) }), None).await.unwrap();
    assert_eq!(store.key(&key(1)).await.unwrap().revoked_ms, None);
    store.write(edit(KeyEdit::Revoke { at_ms: 8 }), None).await.unwrap();
    store.write(edit(KeyEdit::Delete { at_ms: 9 }), None).await.unwrap();
    assert_eq!(store.key(&key(1)).await, Err(StoreError::NotFound("key")));
    assert_eq!(store.key_by_hash(&new.hash).await.unwrap(), None);
    let gone = store.write(edit(KeyEdit::Promote), None).await;
    assert_eq!(gone, Err(StoreError::NotFound("key")));
    let system = NewKey { system: true, ..new_key(2, 1) };
    store.write(vec![Change::NewKey(system)], None).await.unwrap();
    let change = Change::EditKey { id: key(2), expected: None, edit: KeyEdit::Revoke { at_ms: 1 } };
    let refused = store.write(vec![change], None).await;
    assert!(matches!(refused, Err(StoreError::Precondition(_))), "{refused:?}");
    store.close().await;
}

async fn names_and_superkeys_are_unique(fixture: Fixture) {
    let store = fixture.open().await;
    let superkey = |n| NewKey { superkey: true, ..new_key(n, 1) };
    let change = vec![new_customer(1), new_customer(2), Change::NewKey(superkey(1))];
    store.write(change, None).await.unwrap();
    let same_name = NewKey { name: "KEY 1".to_owned(), ..new_key(2, 1) };
    let refused = store.write(vec![Change::NewKey(same_name.clone())], None).await;
    assert_eq!(refused, Err(StoreError::Taken(Unique::KeyName)));
    let elsewhere = NewKey { customer: customer(2), ..same_name };
    store.write(vec![Change::NewKey(elsewhere)], None).await.unwrap();
    let refused = store.write(vec![Change::NewKey(superkey(3))], None).await;
    assert_eq!(refused, Err(StoreError::Taken(Unique::Superkey)));
    let revoke = Change::EditKey { id: key(1), expected: None, edit: KeyEdit::Revoke { at_ms: 1 } };
    store.write(vec![revoke, Change::NewKey(superkey(3))], None).await.unwrap();
    let unrevoke = KeyEdit::Unrevoke { limit: None };
    let back = vec![Change::EditKey { id: key(1), expected: None, edit: unrevoke }];
    assert_eq!(store.write(back, None).await, Err(StoreError::Taken(Unique::Superkey)));
    let nobody = store.write(vec![Change::NewKey(new_key(9, 9))], None).await;
    assert_eq!(nobody, Err(StoreError::NotFound("customer")));
    store.close().await;
}

async fn the_limit_of_keys_holds_in_a_race(fixture: Fixture) {
    let store = fixture.open().await;
    store.write(vec![new_customer(1)], None).await.unwrap();
    let tasks = (1..=12).map(|n| {
        let store = store.clone();
        let new = NewKey { limit: Some(4), ..new_key(n, 1) };
        tokio::spawn(async move { store.write(vec![Change::NewKey(new)], None).await })
    });
    let done: Vec<_> = futures::future::join_all(tasks).await;
    let made = done.iter().filter(|one| matches!(one, Ok(Ok(())))).count();
    let refused = done.iter().filter(|one| matches!(one, Ok(Err(StoreError::KeyLimit(4))))).count();
    assert_eq!((made, refused), (4, 8));
    store.close().await;
}

async fn caches_hear_of_changes(fixture: Fixture) {
    let store = fixture.open().await;
    let (_, start) = store.keys_changed(0).await.unwrap();
    let (first, second) = (new_key(1, 1), new_key(2, 1));
    let change =
        vec![new_customer(1), Change::NewKey(first.clone()), Change::NewKey(second.clone())];
    store.write(change, None).await.unwrap();
    let (hashes, now) = store.keys_changed(start).await.unwrap();
    assert_eq!(hashes, [first.hash, second.hash]);
    assert_eq!(store.keys_changed(now).await.unwrap(), (Vec::new(), now));
    let revoke = Change::EditKey { id: key(2), expected: None, edit: KeyEdit::Revoke { at_ms: 1 } };
    store.write(vec![revoke], None).await.unwrap();
    assert_eq!(store.keys_changed(now).await.unwrap().0, [second.hash]);
    let (customers, _) = store.customers_changed(0).await.unwrap();
    assert_eq!(customers.len(), 1);
    // A write that failed says nothing.
    let (_, before) = store.keys_changed(0).await.unwrap();
    let both = vec![Change::NewKey(new_key(3, 1)), Change::NewKey(new_key(1, 1))];
    store.write(both, None).await.unwrap_err();
    assert_eq!(store.keys_changed(before).await.unwrap(), (Vec::new(), before));
    assert_eq!(store.key(&key(3)).await, Err(StoreError::NotFound("key")));
    store.close().await;
}

async fn operators_come_and_go(fixture: Fixture) {
    let store = fixture.open().await;
    let new = NewOperator {
        name: "jo".to_owned(),
        role: Role::Viewer,
        token_hash: [1; 32],
        created_ms: 1,
    };
    store.write(vec![Change::NewOperator(new)], None).await.unwrap();
    let edit = |edit| vec![Change::EditOperator { name: "jo".to_owned(), expected: None, edit }];
    store.write(edit(OperatorEdit::Role(Role::Admin)), None).await.unwrap();
    let found = store.operator_by_token(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.role, found.version), ("jo", Role::Admin, 2));
    store.write(edit(OperatorEdit::Token([2; 32])), None).await.unwrap();
    assert_eq!(store.operator_by_token(&[1; 32]).await.unwrap(), None);
    store.write(edit(OperatorEdit::Revoke { at_ms: 4 }), None).await.unwrap();
    assert_eq!(store.operator_by_token(&[2; 32]).await.unwrap(), None);
    assert_eq!(store.operators().await.unwrap()[0].revoked_ms, Some(4));
    store.close().await;
}

async fn the_catalogue_is_read_as_it_was_written(fixture: Fixture) {
    let store = fixture.open().await;
    let tier = Tier {
        name: "basic".to_owned(),
        level: 1,
        custom: false,
        max_keys: 4,
        weight: 3,
        limits: RateLimits { direct: Some(15), opengpu: None, global: Some(20) },
        denied_scopes: vec!["direct.openai.x".parse().unwrap()],
    };
    let model = Model {
        name: "Qwen/Qwen3.5".parse().unwrap(),
        display_name: "Qwen".to_owned(),
        tag: "text-to-text".to_owned(),
        retired: false,
        guests: true,
        context_tokens: 32_768,
        max_output_default: 4_096,
        template_overhead_tokens: 256,
        capabilities: vec!["tools".to_owned()],
        tokenizer: Some("engine:a".parse().unwrap()),
        offers: vec![(Mode::Direct, Source::Openai), (Mode::Direct, Source::Ollama)],
    };
    let long_rates = Rates { in_cache_write_1h: 9, out_reasoning: 8, ..Rates::default() };
    let dear = Price {
        id: "price_00000000000000ff".parse().unwrap(),
        long: Some(LongContext { above_input_tokens: 200_000, rates: long_rates }),
        provider_bps: 7_000,
        valid_from_ms: 5,
        ..price()
    };
    let put_tier = |tier: &Tier, expected| Change::PutTier { tier: tier.clone(), expected };
    let put_model = |model: &Model, expected| Change::PutModel { model: model.clone(), expected };
    let new_price = Change::NewPrice { price: dear.clone(), at_ms: 5 };
    let change = vec![put_tier(&tier, Some(0)), put_model(&model, Some(0)), new_price];
    store.write(change.clone(), None).await.unwrap();
    let rows = store.catalogue().await.unwrap();
    assert_eq!((&rows.tiers[0].row, rows.tiers[0].version), (&tier, 1));
    assert_eq!((&rows.models[0].row, rows.models[0].version), (&model, 1));
    assert_eq!(rows.prices, [price(), dear.clone()]);
    assert_eq!(store.price(&dear.id).await.unwrap(), dear);
    let exists = store.write(change, None).await;
    assert_eq!(exists, Err(StoreError::Version { noun: "tier", expected: 0, found: 1 }));
    let retired = Model { retired: true, ..model };
    store.write(vec![put_model(&retired, Some(1))], None).await.unwrap();
    let later = store.catalogue().await.unwrap();
    assert_eq!((&later.models[0].row, later.models[0].version), (&retired, 2));
    assert!(later.counter > rows.counter);
    let negative = Rates { out_text: -1, ..Rates::default() };
    let wrong = Price { id: "price_0000000000000bad".parse().unwrap(), rates: negative, ..price() };
    let refused = store.write(vec![Change::NewPrice { price: wrong, at_ms: 6 }], None).await;
    assert!(matches!(refused, Err(StoreError::Precondition(_))), "{refused:?}");
    store.close().await;
}

async fn backends_keep_their_intake(fixture: Fixture) {
    let store = fixture.open().await;
    let backend = BackendRow {
        id: "local".parse().unwrap(),
        url: "http://127.0.0.1:8080".to_owned(),
        dialect: "openai".to_owned(),
        engine: "llamacpp".to_owned(),
        max_concurrency: 8,
        queue: 256,
        weight: 100,
        intake: IntakeRow::Open,
        credential_file: None,
        models: vec![BackendModel { model: "m".parse().unwrap(), upstream: "m.gguf".to_owned() }],
        deployment: String::new(),
        drain_until_ms: None,
    };
    let put =
        |backend: &BackendRow| Change::PutBackend { backend: backend.clone(), expected: None };
    let edit =
        |expected, edit| Change::EditBackend { id: "local".parse().unwrap(), expected, edit };
    store.write(vec![put(&backend)], None).await.unwrap();
    store.write(vec![edit(Some(1), BackendEdit::Intake(IntakeRow::Cordoned))], None).await.unwrap();
    store.write(vec![edit(Some(2), BackendEdit::Weight(50))], None).await.unwrap();
    store.write(vec![put(&backend)], None).await.unwrap();
    let rows = store.backends().await.unwrap();
    let expected = BackendRow { intake: IntakeRow::Cordoned, ..backend };
    assert_eq!((&rows[0].row, rows[0].version), (&expected, 4));
    let remove = |expected| Change::RemoveBackend { id: "local".parse().unwrap(), expected };
    let stale = store.write(vec![remove(Some(3))], None).await;
    assert_eq!(stale, Err(StoreError::Version { noun: "backend", expected: 3, found: 4 }));
    store.write(vec![remove(Some(4))], None).await.unwrap();
    assert!(store.backends().await.unwrap().is_empty());
    store.close().await;
}

async fn settings_are_versioned(fixture: Fixture) {
    let store = fixture.open().await;
    let put = |value: &str, expected| {
        vec![Change::PutSetting { key: "k".to_owned(), value: value.to_owned(), expected }]
    };
    assert_eq!(store.setting("k").await.unwrap(), None);
    store.write(put("a", Some(0)), None).await.unwrap();
    store.write(put("b", Some(1)), None).await.unwrap();
    let stale = store.write(put("c", Some(1)), None).await;
    assert_eq!(stale, Err(StoreError::Version { noun: "setting", expected: 1, found: 2 }));
    let found = store.setting("k").await.unwrap().unwrap();
    assert_eq!((found.value.as_str(), found.version), ("b", 2));
    for key in ["k.a", "k.b~", "l", "k"] {
        let (key, value, expected) = (key.to_owned(), "v".to_owned(), None);
        store.write(vec![Change::PutSetting { key, value, expected }], None).await.unwrap();
    }
    let under = store.settings("k.").await.unwrap();
    assert_eq!(under.keys().collect::<Vec<_>>(), ["a", "b~"]);
    store.close().await;
}

async fn a_change_and_its_record_are_one(fixture: Fixture) {
    let store = fixture.open().await;
    store.write(vec![new_customer(1)], Some(trail("r1"))).await.unwrap();
    let again = store.write(vec![new_customer(2)], Some(trail("r1"))).await;
    assert_eq!(again, Err(StoreError::Taken(Unique::RequestId)));
    assert_eq!(store.customer(&customer(2)).await, Err(StoreError::NotFound("customer")));
    let failed = store.write(vec![new_customer(1)], Some(trail("r2"))).await;
    assert_eq!(failed, Err(StoreError::Taken(Unique::Other)));
    assert_eq!(store.trail_of("r2").await.unwrap(), None);
    let tasks = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.write(Vec::new(), Some(trail(&format!("t{n}")))).await })
    });
    for done in futures::future::join_all(tasks).await {
        done.unwrap().unwrap();
    }
    let record = store.trail_of("r1").await.unwrap().unwrap();
    assert_eq!((record.seq, record.trail), (1, trail("r1")));
    let report = store.verify_trail().await.unwrap();
    assert_eq!((report.entries, report.broken_at), (21, None));
    store.close().await;
}

async fn an_altered_record_breaks_the_trail(fixture: Fixture) {
    let store = fixture.open().await;
    for n in 0..5 {
        store.write(Vec::new(), Some(trail(&format!("t{n}")))).await.unwrap();
    }
    let off: &[&str] = match store.engine() {
        Engine::Sqlite => &["drop trigger audit_update", "drop trigger audit_delete"],
        Engine::Postgres => &["alter table audit disable trigger all"],
    };
    fixture.tamper(&store, off).await;
    fixture.tamper(&store, &["delete from audit where seq = 5"]).await;
    assert_eq!(store.verify_trail().await.unwrap().broken_at, Some(5), "the end was cut off");
    fixture.tamper(&store, &["update audit set reason = 'none' where seq = 3"]).await;
    assert_eq!(store.verify_trail().await.unwrap().broken_at, Some(3));
    store.close().await;
}

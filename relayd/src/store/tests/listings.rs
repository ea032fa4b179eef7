//! Listings: filtered, paged by key, bounded.

use super::fixture::{Fixture, ask, charge, credit, customer, key, new_customer, new_key};
use super::on_both;
use crate::domain::Role;
use crate::store::{
    Change, EventFilter, KeyEdit, KeyFilter, NewEvent, NewKey, Page, Paged, Severity, Store,
    StoreError, Trail, TxnFilter, UsageOf,
};

on_both! {
    pages_of_keys_lose_and_repeat_nothing,
    keys_are_found_by_what_is_asked,
    customers_are_found_by_what_is_asked,
    events_are_numbered_without_gaps,
    records_and_usage_and_credit_are_paged,
}

async fn keys_of(store: &Store, filter: &KeyFilter) -> Vec<u64> {
    let page = store.keys(filter, &Page::first(100)).await.unwrap();
    assert_eq!(page.rows.len() as u64, store.count_keys(filter).await.unwrap());
    page.rows.iter().map(|key| u64::from_str_radix(&key.id.as_str()[4..], 16).unwrap()).collect()
}

async fn pages_of_keys_lose_and_repeat_nothing(fixture: Fixture) {
    let store = fixture.open().await;
    let mut changes = vec![new_customer(1)];
    // Some of one millisecond, so that the id decides.
    changes.extend((1..=25).map(|n| {
        Change::NewKey(NewKey { created_ms: i64::try_from(n / 4).unwrap(), ..new_key(n, 1) })
    }));
    store.write(changes, None).await.unwrap();
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = Page::new(after.as_deref(), 7);
        let Paged { rows, next } = store.keys(&KeyFilter::default(), &page).await.unwrap();
        assert!(rows.len() <= 7);
        seen.extend(rows.into_iter().map(|key| key.id));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let expected: Vec<_> = (1..=25).rev().map(key).collect();
    assert_eq!(seen, expected);
    let unknown = store.keys(&KeyFilter::default(), &Page::new(Some("key_nobody"), 7)).await;
    assert_eq!(unknown, Err(StoreError::NotFound("cursor")));
    store.close().await;
}

async fn keys_are_found_by_what_is_asked(fixture: Fixture) {
    let store = fixture.open().await;
    let named = |n, owner, name: &str| NewKey { name: name.to_owned(), ..new_key(n, owner) };
    let keys = [
        named(1, 1, "alpha"),
        named(2, 1, "Alphabet"),
        named(3, 2, "beta_%"),
        NewKey { superkey: true, ..named(4, 2, "gamma") },
        NewKey { system: true, ..named(5, 2, "__relayfront__") },
    ];
    let mut changes = vec![new_customer(1), new_customer(2)];
    changes.extend(keys.map(Change::NewKey));
    store.write(changes, None).await.unwrap();
    let edit = |n, edit| Change::EditKey { id: key(n), expected: None, edit };
    store.write(vec![edit(2, KeyEdit::Revoke { at_ms: 1 })], None).await.unwrap();
    let all = KeyFilter::default();
    assert_eq!(keys_of(&store, &all).await, [4, 3, 2, 1]);
    assert_eq!(keys_of(&store, &KeyFilter { system: true, ..all.clone() }).await, [5, 4, 3, 2, 1]);
    let of = KeyFilter { customer: Some(customer(1)), ..all.clone() };
    assert_eq!(keys_of(&store, &of).await, [2, 1]);
    let revoked = |revoked| KeyFilter { revoked: Some(revoked), ..all.clone() };
    assert_eq!(keys_of(&store, &revoked(true)).await, [2]);
    assert_eq!(keys_of(&store, &revoked(false)).await, [4, 3, 1]);
    let superkey = KeyFilter { superkey: Some(true), ..all.clone() };
    assert_eq!(keys_of(&store, &superkey).await, [4]);
    let name = KeyFilter { name: Some("ALPHA".to_owned()), ..all.clone() };
    assert_eq!(keys_of(&store, &name).await, [1]);
    let prefix = |text: &str| KeyFilter { name_prefix: Some(text.to_owned()), ..all.clone() };
    assert_eq!(keys_of(&store, &prefix("ALPHA")).await, [2, 1]);
    assert_eq!(keys_of(&store, &prefix("%")).await, [] as [u64; 0]);
    let query = |text: &str| KeyFilter { query: Some(text.to_owned()), ..all.clone() };
    assert_eq!(keys_of(&store, &query("A_%")).await, [3], "no wildcards");
    assert_eq!(keys_of(&store, &query("customer 2")).await, [4, 3]);
    assert_eq!(keys_of(&store, &query("000001")).await, [1]);
    store.write(vec![edit(2, KeyEdit::Delete { at_ms: 1 })], None).await.unwrap();
    assert_eq!(keys_of(&store, &all).await, [4, 3, 1], "deleted keys are never listed");
    store.close().await;
}

async fn customers_are_found_by_what_is_asked(fixture: Fixture) {
    let store = fixture.open().await;
    store.write((1..=5).map(new_customer).collect(), None).await.unwrap();
    let names = |query: &'static str, page: Page| {
        let store = store.clone();
        async move {
            let paged = store.customers(query, &page).await.unwrap();
            let names: Vec<String> = paged.rows.into_iter().map(|row| row.name).collect();
            (names, paged.next)
        }
    };
    let (first, next) = names("", Page::first(3)).await;
    assert_eq!(first, ["Customer 5", "Customer 4", "Customer 3"]);
    let (rest, end) = names("", Page::new(next.as_deref(), 3)).await;
    assert_eq!((rest, end), (vec!["Customer 2".to_owned(), "Customer 1".to_owned()], None));
    assert_eq!(names("C4@EXAMPLE", Page::first(3)).await.0, ["Customer 4"]);
    assert_eq!(names("%", Page::first(3)).await.0, [] as [String; 0]);
    store.close().await;
}

fn event(kind: &str, subject: &str) -> NewEvent {
    NewEvent {
        at_ms: 1,
        kind: kind.to_owned(),
        severity: Severity::Warning,
        subject: subject.to_owned(),
        text: "it happened".to_owned(),
        json: "{}".to_owned(),
    }
}

async fn events_are_numbered_without_gaps(fixture: Fixture) {
    let store = fixture.open().await;
    assert_eq!(store.append_events(Vec::new()).await.unwrap(), 0);
    let tasks = (0..20).map(|n| {
        let store = store.clone();
        let subject = format!("b{}", n % 2);
        tokio::spawn(async move {
            let pair = vec![event("backend.down", &subject), event("key.limited", &subject)];
            store.append_events(pair).await.unwrap()
        })
    });
    let mut last: Vec<u64> =
        futures::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect();
    last.sort_unstable();
    assert_eq!(last, (1..=20).map(|n| n * 2).collect::<Vec<_>>());
    let seqs: Vec<u64> =
        store.events_since(0, 1_000).await.unwrap().iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    assert_eq!(store.events_since(38, 1).await.unwrap()[0].seq, 39);
    let filter = EventFilter { kind_prefix: "backend.".to_owned(), subject: "b1".to_owned() };
    let page = store.events(&filter, &Page::first(7)).await.unwrap();
    assert!(page.rows.iter().all(|row| row.event == event("backend.down", "b1")));
    let rest = store.events(&filter, &Page::new(page.next.as_deref(), 7)).await.unwrap();
    assert_eq!((page.rows.len(), rest.rows.len(), rest.next), (7, 3, None));
    store.close().await;
}

async fn records_and_usage_and_credit_are_paged(fixture: Fixture) {
    let store = fixture.open().await;
    for n in 1..=5 {
        let trail = Trail {
            at_ms: 1,
            actor: "jo".to_owned(),
            role: Role::Operator,
            action: "a".to_owned(),
            object: format!("o{}", n % 2),
            before: "null".to_owned(),
            after: "null".to_owned(),
            request_id: format!("r{n}"),
            reason: String::new(),
        };
        store.write(Vec::new(), Some(trail)).await.unwrap();
        ask(&store, credit(&format!("c{n}"), 1, 1_000)).await;
        charge(&store, 1, Some(n % 2 + 1), 1).await;
        charge(&store, 2 - (n % 2), None, 0).await;
    }
    let page = store.trail("o1", &Page::first(2)).await.unwrap();
    let seqs: Vec<u64> = page.rows.iter().map(|row| row.seq).collect();
    assert_eq!(seqs, [5, 3]);
    let rest = store.trail("o1", &Page::new(page.next.as_deref(), 2)).await.unwrap();
    assert_eq!((rest.rows[0].seq, rest.next), (1, None));
    let all = |of: UsageOf| {
        let store = store.clone();
        async move {
            let (mut count, mut after) = (0, None::<String>);
            loop {
                let page = store.usage(&of, &Page::new(after.as_deref(), 3)).await.unwrap();
                count += page.rows.len();
                after = page.next;
                if after.is_none() {
                    return count;
                }
            }
        }
    };
    assert_eq!(all(UsageOf::default()).await, 10);
    assert_eq!(all(UsageOf { customer: Some(customer(1)), key: None }).await, 8);
    assert_eq!(all(UsageOf { customer: None, key: Some(key(1)) }).await, 2);
    let filter = TxnFilter::default();
    let page = store.transactions(&customer(1), &filter, &Page::first(4)).await.unwrap();
    let next = Page::new(page.next.as_deref(), 4);
    let rest = store.transactions(&customer(1), &filter, &next).await.unwrap();
    assert_eq!((page.rows.len(), rest.rows.len(), rest.next), (4, 1, None));
    store.close().await;
}

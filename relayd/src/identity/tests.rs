//! Keys, customers and operators against a real store.

use std::net::{IpAddr, Ipv4Addr};

use crate::catalogue::{Catalogue, Document, SHIPPED_TIERS};
use crate::domain::{Code, CustomerId, Fault, Ncr, RateLimits, Role};
use crate::ledger::Via;
use crate::store::{ApiKey, CustomerStatus, KeyFilter, Page, Restrictions, Store, StoreOptions};

use super::service::Seen;
use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OLD: [u8; 32] = [1; 32];
const NEW: [u8; 32] = [2; 32];

/// A tier of one customer's own, with room for three keys.
const OWN_TIER: &str = r#"
[[tier]]
name = "own"
level = 9
custom = true
max_keys = 3
"#;

struct World {
    store: Store,
    catalogue: Catalogue,
    identity: Identity,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::sqlite(dir.path().join("relay.db"))).await.unwrap();
        let catalogue = Catalogue::load(store.clone()).await.unwrap();
        let documents = [
            Document { name: "tiers.toml", toml: SHIPPED_TIERS },
            Document { name: "own.toml", toml: OWN_TIER },
        ];
        catalogue.apply(&documents, None).await.unwrap();
        let identity = identity(&store, &catalogue, &[&OLD]);
        Self { store, catalogue, identity, _dir: dir }
    }

    async fn customer(&self, tier: &str) -> CustomerId {
        let request = CustomerRequest {
            id: None,
            name: "Acme".to_owned(),
            email: String::new(),
            tier: tier.to_owned(),
        };
        self.identity.create_customer(request, None).await.unwrap().id
    }

    async fn key(&self, customer: &CustomerId, name: &str) -> Result<MadeKey, Fault> {
        self.identity.create_key(request(customer, name), None).await
    }
}

fn identity(store: &Store, catalogue: &Catalogue, peppers: &[&[u8]]) -> Identity {
    Identity::new(store.clone(), catalogue.clone(), Peppers::new(peppers).unwrap(), 1_000)
}

fn request(customer: &CustomerId, name: &str) -> KeyRequest {
    KeyRequest {
        id: None,
        customer: customer.clone(),
        name: name.to_owned(),
        denied_scopes: Vec::new(),
        limits: RateLimits::NONE,
        budget: None,
        actor: "test".to_owned(),
    }
}

fn asked(idem: &str) -> Asked {
    Asked { idem: idem.to_owned(), actor: "test".to_owned(), expected: None, trail: None }
}

async fn enter(identity: &Identity, secret: &str) -> Result<Principal, Code> {
    let entered = identity.authenticate(Credential::Key(secret), HERE).await;
    entered.map_err(|fault| fault.code)
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> Code {
    result.unwrap_err().code
}

#[tokio::test]
async fn each_credential_has_its_answer() {
    let world = World::new().await;
    let customer = world.customer("own").await;
    let made = world.key(&customer, "first").await.unwrap();
    let secret = made.secret.expose();

    let guest = world.identity.authenticate(Credential::None, HERE).await.unwrap();
    assert!(matches!(guest, Principal::Guest { addr: HERE }));
    let token = world.identity.authenticate(Credential::Token("eyJ.x.y"), HERE).await;
    assert_eq!(code(token), Code::InvalidToken);
    for bad in ["", "relay_sk_", "relay_sk_zz", &secret.replace("relay_sk_", "relay_op_")] {
        assert_eq!(enter(&world.identity, bad).await.unwrap_err(), Code::InvalidApiKey, "{bad}");
    }
    let stranger = Secret::generate(SecretKind::ApiKey).unwrap();
    for _ in 0..2 {
        let refused = enter(&world.identity, stranger.expose()).await;
        assert_eq!(refused.unwrap_err(), Code::InvalidApiKey);
    }
    let principal = enter(&world.identity, secret).await.unwrap();
    let key = principal.key().unwrap();
    assert_eq!((key.tier.as_str(), key.superkey), ("own", true));

    let patch = |status| CustomerPatch { status: Some(status), ..CustomerPatch::default() };
    let suspend = patch(CustomerStatus::Suspended);
    world.identity.patch_customer(&customer, suspend, asked("1")).await.unwrap();
    assert_eq!(enter(&world.identity, secret).await.unwrap_err(), Code::AccountInactive);
    let activate = patch(CustomerStatus::Active);
    world.identity.patch_customer(&customer, activate, asked("2")).await.unwrap();
    enter(&world.identity, secret).await.unwrap();
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_here_and_after_one_look_elsewhere() {
    let world = World::new().await;
    let other = identity(&world.store, &world.catalogue, &[&OLD]);
    let mut seen = Seen::nothing();
    let customer = world.customer("basic").await;
    let made = world.key(&customer, "first").await.unwrap();
    let secret = made.secret.expose();
    other.look(&mut seen).await.unwrap();
    enter(&world.identity, secret).await.unwrap();
    enter(&other, secret).await.unwrap();

    world.identity.revoke_key(&made.key, asked("r")).await.unwrap();
    assert_eq!(enter(&world.identity, secret).await.unwrap_err(), Code::KeyRevoked);
    enter(&other, secret).await.expect("not heard of yet");
    other.look(&mut seen).await.unwrap();
    assert_eq!(enter(&other, secret).await.unwrap_err(), Code::KeyRevoked);

    world.identity.unrevoke_key(&made.key, asked("u")).await.unwrap();
    other.look(&mut seen).await.unwrap();
    enter(&world.identity, secret).await.unwrap();
    enter(&other, secret).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_store_is_never_a_wrong_key() {
    let world = World::new().await;
    let customer = world.customer("basic").await;
    let made = world.key(&customer, "first").await.unwrap();
    let fresh = identity(&world.store, &world.catalogue, &[&OLD]);
    world.store.close().await;
    let secret = made.secret.expose();
    assert_eq!(enter(&fresh, secret).await.unwrap_err(), Code::ServiceUnavailable);
}

#[tokio::test]
async fn a_new_pepper_takes_over_while_old_keys_work() {
    let world = World::new().await;
    let customer = world.customer("basic").await;
    let old = world.key(&customer, "old").await.unwrap();
    let both = identity(&world.store, &world.catalogue, &[&NEW, &OLD]);
    enter(&both, old.secret.expose()).await.unwrap();
    let new = both.create_key(request(&customer, "new"), None).await.unwrap();
    enter(&both, new.secret.expose()).await.unwrap();
    let only_new = identity(&world.store, &world.catalogue, &[&NEW]);
    enter(&only_new, new.secret.expose()).await.unwrap();
    let gone = enter(&only_new, old.secret.expose()).await;
    assert_eq!(gone.unwrap_err(), Code::InvalidApiKey);
}

#[tokio::test]
async fn making_keys_follows_the_rules() {
    let world = World::new().await;
    let customer = world.customer("own").await;
    let first = world.key(&customer, "first").await.unwrap();
    assert!(first.key.superkey, "the first key of a custom tier");
    assert_eq!(first.key.prefix, first.secret.expose()[..20]);
    let second = world.key(&customer, "second").await.unwrap();
    assert!(!second.key.superkey);
    assert_eq!(code(world.key(&customer, "SECOND").await), Code::Unservable);
    assert_eq!(code(world.key(&customer, "__relay").await), Code::ValidationError);
    let third = world.key(&customer, "third").await.unwrap();
    assert_eq!(code(world.key(&customer, "fourth").await), Code::KeyLimitReached);

    world.identity.revoke_key(&third.key, asked("a")).await.unwrap();
    world.key(&customer, "fourth").await.expect("a revoked key leaves its place");
    let back = world.identity.unrevoke_key(&third.key, asked("b")).await;
    assert_eq!(code(back), Code::KeyLimitReached);
    let active = world.identity.delete_key(&second.key, asked("c")).await;
    assert_eq!(code(active), Code::Unservable);
    let revoked = world.identity.key_of(&customer, third.key.id.as_str()).await.unwrap();
    world.identity.delete_key(&revoked, asked("d")).await.unwrap();
    let gone = world.identity.key_of(&customer, third.key.id.as_str()).await;
    assert_eq!(code(gone), Code::KeyNotFound);
    let secret = third.secret.expose();
    assert_eq!(enter(&world.identity, secret).await.unwrap_err(), Code::InvalidApiKey);

    let plain = world.customer("basic").await;
    assert!(!world.key(&plain, "first").await.unwrap().key.superkey);
    let mut greedy = request(&plain, "greedy");
    greedy.limits.direct = Some(16);
    assert_eq!(code(world.identity.create_key(greedy, None).await), Code::Unservable);
    let nobody = "cus_0000000000000000".parse().unwrap();
    assert_eq!(code(world.key(&nobody, "first").await), Code::CustomerNotFound);
}

#[tokio::test]
async fn another_customers_key_is_as_unknown_as_none() {
    let world = World::new().await;
    let (mine, theirs) = (world.customer("own").await, world.customer("own").await);
    let key = world.key(&theirs, "theirs").await.unwrap();
    let foreign = world.identity.key_of(&mine, key.key.id.as_str()).await.unwrap_err();
    let absent = world.identity.key_of(&mine, "key_0000000000000000").await.unwrap_err();
    assert_eq!(foreign, absent);
    let secret = world.identity.key_of(&theirs, key.secret.expose()).await.unwrap_err();
    assert_eq!(secret.code, Code::Unservable);
    assert!(!secret.message.contains(key.secret.expose()));
    let filter = KeyFilter { customer: Some(mine), ..KeyFilter::default() };
    let (page, total) = world.identity.keys(&filter, &Page::first(10)).await.unwrap();
    assert_eq!((page.rows.len(), total), (0, 0));
}

#[tokio::test]
async fn a_keys_budget_is_set_raised_and_taken_off() {
    let world = World::new().await;
    let customer = world.customer("own").await;
    let usd = |amount| Ncr::credits(amount).unwrap();
    let mut capped = request(&customer, "capped");
    capped.budget = Some(Ncr::ZERO);
    let made = world.identity.create_key(capped, None).await.unwrap();
    assert_eq!(made.key.budget, Some(Ncr::ZERO));
    let check = async |key: &ApiKey| {
        let secret = made.secret.expose();
        let principal = enter(&world.identity, secret).await.unwrap();
        assert_eq!(principal.key().unwrap().budgeted, key.budget.is_some());
        world.identity.check_budget(principal.key().unwrap()).await.map_err(|fault| fault.code)
    };
    assert_eq!(check(&made.key).await, Err(Code::KeyBudgetExhausted));
    let none = world.identity.top_up_key(&made.key, Ncr::ZERO, asked("0")).await;
    assert_eq!(code(none), Code::ValidationError);
    let changed = world.identity.top_up_key(&made.key, usd(2), asked("1")).await.unwrap();
    assert_eq!(changed, BudgetChanged { previous: Some(Ncr::ZERO), now: Some(usd(2)) });
    let again = world.identity.top_up_key(&made.key, usd(2), asked("1")).await.unwrap();
    assert_eq!(again, changed, "the same request changes nothing more");
    assert_eq!(check(&made.key).await, Ok(()));

    let uncap = KeyPatch { budget: Some(None), ..KeyPatch::default() };
    let free = world.identity.patch_key(&made.key, uncap, asked("2")).await.unwrap();
    assert_eq!(free.budget, None);
    assert_eq!(check(&free).await, Ok(()));
    let changed = world.identity.top_up_key(&free, usd(1), asked("3")).await.unwrap();
    assert_eq!(changed.now, Some(usd(1)), "no budget counts as zero");
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_sees_versions() {
    let world = World::new().await;
    let customer = world.customer("basic").await;
    let made = world.key(&customer, "first").await.unwrap();
    let scope: crate::domain::Scope = "direct.openai.gpt".parse().unwrap();
    let patch = KeyPatch {
        name: Some("renamed".to_owned()),
        restrictions: Some(Restrictions {
            denied_scopes: vec![scope.clone()],
            limits: RateLimits { direct: Some(2), ..RateLimits::NONE },
        }),
        budget: None,
    };
    let right = Asked { expected: Some(made.key.version), ..asked("p") };
    let changed = world.identity.patch_key(&made.key, patch.clone(), right.clone()).await.unwrap();
    assert_eq!(changed.name, "renamed");
    assert_eq!(changed.restrictions.denied_scopes, std::slice::from_ref(&scope));
    let stale = world.identity.patch_key(&made.key, patch, right).await;
    assert_eq!(code(stale), Code::VersionConflict);
    let principal = enter(&world.identity, made.secret.expose()).await.unwrap();
    assert_eq!(principal.key().unwrap().denied_scopes, [scope]);
    assert_eq!(principal.key().unwrap().limits.direct, Some(2));
}

#[tokio::test]
async fn credit_comes_and_goes_once_per_request() {
    let world = World::new().await;
    let customer = world.customer("basic").await;
    let usd = |amount| Ncr::credits(amount).unwrap();
    let credit = |amount| CreditRequest {
        customer: customer.clone(),
        amount,
        via: "admin".parse::<Via>().unwrap(),
        reason: "welcome".to_owned(),
    };
    let first = world.identity.credit(credit(usd(5)), asked("c1")).await.unwrap();
    assert_eq!((first.balance, first.replayed), (usd(5), false));
    let again = world.identity.credit(credit(usd(5)), asked("c1")).await.unwrap();
    assert!(again.replayed && again.txn == first.txn);
    let other = world.identity.credit(credit(usd(6)), asked("c1")).await;
    assert_eq!(code(other), Code::IdempotencyKeyReused);
    let much = world.identity.credit(credit(Ncr::new(-6_000_000_000)), asked("c2")).await;
    assert_eq!(code(much), Code::FailedPrecondition);
    let back = world.identity.credit(credit(Ncr::new(-2_000_000_000)), asked("c3")).await.unwrap();
    assert_eq!(back.balance, usd(3));
    assert_eq!(world.store.balance(&customer).await.unwrap().balance, usd(3));

    let patch = CustomerPatch { warning_threshold: Some(usd(4)), ..CustomerPatch::default() };
    world.identity.patch_customer(&customer, patch, asked("w")).await.unwrap();
    let made = world.key(&customer, "first").await.unwrap();
    let principal = enter(&world.identity, made.secret.expose()).await.unwrap();
    assert!(world.identity.is_low(principal.key().unwrap()).await.unwrap());
}

#[tokio::test]
async fn customers_have_a_tier_that_exists() {
    let world = World::new().await;
    for tier in ["guest", "nope", ""] {
        let request = CustomerRequest {
            id: None,
            name: "Acme".to_owned(),
            email: String::new(),
            tier: tier.to_owned(),
        };
        let refused = world.identity.create_customer(request, None).await;
        assert_eq!(code(refused), Code::ValidationError, "{tier}");
    }
}

#[tokio::test]
async fn an_operators_token_is_renewed_and_withdrawn() {
    let world = World::new().await;
    let identity = &world.identity;
    let made = identity.create_operator("ada", Role::Admin, None).await.unwrap();
    let first = made.token.expose().to_owned();
    assert_eq!(identity.operator(&first).await.unwrap().role, Role::Admin);
    assert_eq!(code(identity.operator("relay_op_nope").await), Code::InvalidToken);
    assert_eq!(
        code(identity.create_operator("a b", Role::Viewer, None).await),
        Code::ValidationError
    );
    let renewed = identity.renew_operator_token("ada", None, None).await.unwrap();
    assert_eq!(code(identity.operator(&first).await), Code::InvalidToken);
    identity.operator(renewed.token.expose()).await.unwrap();
    identity.set_operator_role("ada", Role::Viewer, None, None).await.unwrap();
    assert_eq!(identity.operator(renewed.token.expose()).await.unwrap().role, Role::Viewer);
    identity.revoke_operator("ada", None, None).await.unwrap();
    assert_eq!(code(identity.operator(renewed.token.expose()).await), Code::InvalidToken);
}

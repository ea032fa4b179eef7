//! A database of one test, and what tests put in.

use std::sync::Arc;

use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection, Executor};
use tempfile::TempDir;
use uuid::Uuid;

use super::postgres::{Server, new_database};
use crate::domain::{BootId, CustomerId, KeyId, Meters, Ncr, ProviderId, RequestId};
use crate::ledger::{
    Budget, BudgetChange, Command, CountSource, Credit, HoldRef, HoldState, OpenHold, Outcome,
    Phase, Price, Rates, Settle, Usage, UsageStatus, Void, Wallet,
};
use crate::store::{Change, NewCustomer, NewKey, Place, Restrictions, Store, StoreOptions, audit};

/// Where a test's database is. It goes with the fixture.
pub(crate) struct Fixture {
    pub(crate) options: StoreOptions,
    _dir: Option<TempDir>,
    _server: Option<Arc<Server>>,
}

/// The price row of all tests: 1 nano-credit a prompt token, 2 an answer token.
pub(crate) const PRICE: &str = "price_0000000000000001";

impl Fixture {
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A name that a URL would take apart.
        let options = StoreOptions::sqlite(dir.path().join("relay 100%?#.db"));
        Self { options, _dir: Some(dir), _server: None }
    }

    pub(crate) async fn postgres() -> Self {
        let (url, server) = new_database().await;
        let place = Place::Postgres { url, connections: 4, shards: 4 };
        let options = StoreOptions { place, ..StoreOptions::sqlite("unused") };
        Self { options, _dir: None, _server: server }
    }

    pub(crate) fn shards(mut self, count: u8) -> Self {
        if let Place::Postgres { shards, .. } = &mut self.options.place {
            *shards = count;
        }
        self
    }

    pub(crate) async fn open(&self) -> Store {
        let store = Store::open(&self.options).await.unwrap();
        if store.catalogue().await.unwrap().prices.is_empty() {
            store.write(vec![Change::NewPrice { price: price(), at_ms: 1 }], None).await.unwrap();
        }
        store
    }

    /// Runs statements past every rule, as somebody with a shell on the database could.
    pub(crate) async fn tamper(&self, store: &Store, statements: &[&str]) {
        let mut connection = self.connect(store).await;
        for statement in statements {
            connection
                .execute(AssertSqlSafe((*statement).to_owned()))
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.unwrap();
    }

    pub(crate) async fn connect(&self, store: &Store) -> AnyConnection {
        let options = store.admin_writer().unwrap().options().clone();
        options.connect().await.unwrap()
    }
}

/// A provider's share by that price.
pub(crate) const PROVIDER_BPS: u16 = 3_333;

pub(crate) fn price() -> Price {
    Price {
        id: PRICE.parse().unwrap(),
        scope: "direct.openai.m".parse().unwrap(),
        rates: Rates { in_uncached: 1_000_000, out_text: 2_000_000, ..Rates::default() },
        long: None,
        provider_bps: PROVIDER_BPS,
        valid_from_ms: 0,
    }
}

pub(crate) fn ncr(amount: i64) -> Ncr {
    Ncr::new(amount)
}

pub(crate) fn customer(n: u64) -> CustomerId {
    format!("cus_{n:016x}").parse().unwrap()
}

pub(crate) fn key(n: u64) -> KeyId {
    format!("key_{n:016x}").parse().unwrap()
}

pub(crate) fn provider(n: u64) -> ProviderId {
    format!("prov_{n:016x}").parse().unwrap()
}

pub(crate) fn request() -> RequestId {
    RequestId::new(Uuid::now_v7())
}

pub(crate) fn new_customer(n: u64) -> Change {
    Change::NewCustomer(NewCustomer {
        id: customer(n),
        name: format!("Customer {n}"),
        email: format!("c{n}@example.org"),
        tier: "basic".to_owned(),
        created_ms: i64::try_from(n).unwrap(),
    })
}

pub(crate) fn new_key(n: u64, owner: u64) -> NewKey {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&n.to_be_bytes());
    NewKey {
        id: key(n),
        customer: customer(owner),
        name: format!("Key {n}"),
        hash,
        pepper: 1,
        prefix: "relay_sk_01234567890".to_owned(),
        superkey: false,
        system: false,
        restrictions: Restrictions::default(),
        created_ms: i64::try_from(n).unwrap(),
        limit: None,
    }
}

pub(crate) fn credit(idem: &str, who: u64, amount: i64) -> Command {
    Command::Credit(Credit {
        idem: idem.to_owned(),
        customer: customer(who),
        wallet: Wallet::Paid,
        amount: ncr(amount),
        via: "admin".parse().unwrap(),
        reason: "a reason".to_owned(),
        actor: "jo".to_owned(),
        at_ms: 5,
    })
}

pub(crate) fn budget(idem: &str, who: u64, which: u64, change: BudgetChange) -> Command {
    Command::Budget(Budget {
        idem: idem.to_owned(),
        customer: customer(who),
        key: key(which),
        change,
        actor: "jo".to_owned(),
        at_ms: 5,
    })
}

pub(crate) fn open_hold(boot: BootId, who: u64, which: Option<u64>, amount: i64) -> OpenHold {
    OpenHold {
        id: request(),
        customer: customer(who),
        key: which.map(key),
        scope: "direct.openai.m".parse().unwrap(),
        price: PRICE.parse().unwrap(),
        amount: ncr(amount),
        promo: true,
        boot,
        fence: 1,
        phase: Phase::Dispatched,
        stream: false,
        created_ms: 10,
        // Far ahead: the upkeep of a slow test must not release it.
        deadline_ms: 4_102_444_800_000,
    }
}

/// How a request ended that used `out` answer tokens, of two nano-credits each.
pub(crate) fn usage(out: u64) -> Usage {
    Usage {
        attempt: 1,
        backend: Some("local".to_owned()),
        meters: Meters { out_text: out, ..Meters::default() },
        count: CountSource::Engine,
        claimed: None,
        estimated: false,
        status: UsageStatus::Completed,
        error_code: None,
        blame: None,
        ttft_ms: Some(3),
        upstream_ms: Some(8),
        done_ms: 20,
        task_id: Some("direct:1".to_owned()),
    }
}

pub(crate) fn settle(hold: &HoldRef, out: u64) -> Command {
    let charge = ncr(i64::try_from(out * 2).unwrap());
    Command::Settle(Settle { hold: hold.clone(), charge, usage: usage(out), share: None })
}

pub(crate) fn void(hold: &HoldRef) -> Command {
    let usage = Usage { status: UsageStatus::Failed, ..usage(0) };
    Command::Void(Void { hold: hold.clone(), into: HoldState::Voided, usage })
}

pub(crate) async fn ask(store: &Store, command: Command) -> Outcome {
    store.ledger().submit(command).await.unwrap()
}

/// Holds, and settles for `out` answer tokens.
pub(crate) async fn charge(store: &Store, who: u64, which: Option<u64>, out: u64) -> Outcome {
    let open = open_hold(store.boot(), who, which, i64::try_from(out * 2).unwrap());
    let hold = open.to_ref();
    let held = ask(store, Command::Hold(open)).await;
    assert!(matches!(held, Outcome::Held { .. }), "{held:?}");
    ask(store, settle(&hold, out)).await
}

pub(crate) async fn assert_sound(store: &Store) {
    let report = audit::verify(store).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.breaches);
}

/// The number that a question about the database answers.
pub(crate) async fn number(store: &Store, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(store.reader()).await.unwrap()
}

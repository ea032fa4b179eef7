//! Processes that are killed and databases that go away.

use std::io::BufRead;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use sqlx::{ConnectOptions, Executor};

use super::fixture::{
    Fixture, ask, assert_sound, charge, credit, customer, ncr, number, open_hold, settle,
};
use crate::ledger::{Command, Outcome};
use crate::store::{Engine, LedgerError, Place, Store, StoreOptions};

/// Names the database to the process that will be killed.
const VICTIM: &str = "RELAY_TEST_VICTIM_DATABASE";

/// Not a test by itself: the process that is killed. It settles as fast as it can and says what
/// was acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Ok(place) = std::env::var(VICTIM) else { return };
    let options = if place.starts_with("postgres") {
        let place = Place::Postgres { url: place, connections: 2, shards: 2 };
        StoreOptions { place, ..StoreOptions::sqlite("unused") }
    } else {
        StoreOptions::sqlite(place)
    };
    let store = Store::open(&options).await.unwrap();
    let workers = (0..16).map(|who| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                let open = open_hold(store.boot(), who % 4 + 1, None, 20);
                let hold = open.to_ref();
                let held = ask(&store, Command::Hold(open)).await;
                if !matches!(held, Outcome::Held { .. }) {
                    return;
                }
                if let Outcome::Settled { .. } = ask(&store, settle(&hold, 5)).await {
                    println!("settled {}", hold.id);
                }
            }
        })
    });
    futures::future::join_all(workers).await;
}

/// Starts a victim on a database, kills it with `SIGKILL` after a while, and tells what it had
/// been told.
fn kill_a_victim(place: &str) -> Vec<String> {
    let mut victim = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::victim", "--nocapture"])
        .env(VICTIM, place)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(victim.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    while told.len() < 300 {
        let line = lines.next().expect("the victim died by itself").unwrap();
        told.extend(line.strip_prefix("settled ").map(str::to_owned));
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    // What it said before it died but was not read yet.
    told.extend(
        lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("settled ").map(str::to_owned)),
    );
    told
}

async fn survives_a_kill(fixture: Fixture, place: String) {
    let store = fixture.open().await;
    for who in 1..=4 {
        ask(&store, credit(&format!("c{who}"), who, 1_000_000_000)).await;
    }
    store.close().await;
    let told = tokio::task::spawn_blocking(move || kill_a_victim(&place)).await.unwrap();
    let store = fixture.open().await;
    if store.engine() == Engine::Postgres {
        // Otherwise it waits for two minutes of silence; SQLite's lock told at once.
        store.recover_after(Duration::ZERO, 99).await.unwrap();
    }
    assert_eq!(store.totals().await.unwrap().open_holds, 0, "every hold was resolved");
    for id in &told {
        let row = store.usage_of(id.parse().unwrap()).await.unwrap();
        let row = row.unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        assert_eq!(row.charge, ncr(10), "{id}");
    }
    let settled = number(&store, "select count(*) from usage where status = 'completed'").await;
    assert!(settled >= i64::try_from(told.len()).unwrap());
    let charged = number(&store, "select cast(sum(charge_ncr) as bigint) from usage").await;
    let left = store.totals().await.unwrap();
    assert_eq!(left.balances, ncr(4_000_000_000 - charged));
    assert_eq!(charged, settled * 10, "nothing was charged twice");
    assert_sound(&store).await;
    charge(&store, 1, None, 1).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_survives_the_death_of_the_process() {
    let fixture = Fixture::sqlite();
    let Place::Sqlite { path } = fixture.options.place.clone() else { unreachable!() };
    survives_a_kill(fixture, path.to_str().unwrap().to_owned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_survives_the_death_of_the_process() {
    let fixture = Fixture::postgres().await;
    let Place::Postgres { url, .. } = fixture.options.place.clone() else { unreachable!() };
    survives_a_kill(fixture, url).await;
}

/// While the file is locked by somebody else, new work is refused and settlements wait; after
/// it, nothing is left open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_file_loses_no_settlement() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    let open = open_hold(store.boot(), 1, None, 20);
    ask(&store, Command::Hold(open.clone())).await;
    let Place::Sqlite { path } = &fixture.options.place else { unreachable!() };
    let mut intruder = connect(path).await;
    intruder.execute("begin immediate").await.unwrap();
    let settled = {
        let store = store.clone();
        let hold = open.to_ref();
        tokio::spawn(async move { ask(&store, settle(&hold, 5)).await })
    };
    let refused = store.ledger().submit(Command::Hold(open_hold(store.boot(), 1, None, 20))).await;
    assert!(matches!(refused, Err(LedgerError::Unavailable(_))), "{refused:?}");
    assert!(!settled.is_finished());
    intruder.execute("rollback").await.unwrap();
    assert!(matches!(settled.await.unwrap(), Outcome::Settled { .. }));
    wait_for_no_holds(&store).await;
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(990));
    assert_sound(&store).await;
    store.close().await;
}

/// The server ends the ledger's sessions again and again under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_sessions_leave_no_open_hold() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    for who in 1..=4 {
        ask(&store, credit(&format!("c{who}"), who, 1_000_000)).await;
    }
    let workers: Vec<_> = (0..16)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let (mut settled, mut refused) = (0, 0);
                for _ in 0..60 {
                    let open = open_hold(store.boot(), n % 4 + 1, None, 20);
                    let hold = open.to_ref();
                    match store.ledger().submit(Command::Hold(open)).await {
                        Ok(Outcome::Held { .. }) => {}
                        Err(LedgerError::Unavailable(_)) => {
                            refused += 1;
                            continue;
                        }
                        other => panic!("{other:?}"),
                    }
                    match ask(&store, settle(&hold, 5)).await {
                        Outcome::Settled { .. } | Outcome::AlreadySettled(_) => settled += 1,
                        other => panic!("{other:?}"),
                    }
                }
                (settled, refused)
            })
        })
        .collect();
    let mut killer = fixture.connect(&store).await;
    let mut ended = 0;
    for _ in 0..20 {
        ended += sqlx::query(
            "select pg_terminate_backend(pid)::text as done from pg_stat_activity
             where datname = current_database() and application_name = 'relayd'",
        )
        .fetch_all(&mut killer)
        .await
        .unwrap()
        .len();
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    let (mut settled, mut refused) = (0, 0);
    for worker in workers {
        let (s, r) = worker.await.unwrap();
        settled += s;
        refused += r;
    }
    assert!(ended > 0, "no session was ended");
    assert_eq!(settled + refused, 16 * 60);
    wait_for_no_holds(&store).await;
    let charged =
        number(&store, "select cast(coalesce(sum(charge_ncr), 0) as bigint) from usage").await;
    assert_eq!(charged, settled * 10);
    assert_eq!(store.totals().await.unwrap().balances, ncr(4_000_000 - charged));
    assert_sound(&store).await;
    store.close().await;
}

/// Holds whose commit was uncertain are released once the database is back.
async fn wait_for_no_holds(store: &Store) {
    for _ in 0..500 {
        if store.totals().await.unwrap().open_holds == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} holds stay open", store.totals().await.unwrap().open_holds);
}

async fn connect(path: &Path) -> sqlx::SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).connect().await.unwrap()
}

//! What only SQLite has: one process per file, the log, its sync.

use std::time::Duration;

use sqlx::Row;

use super::fixture::{Fixture, ask, assert_sound, charge, credit, customer, ncr};
use crate::config::Durability;
use crate::ledger::Outcome;
use crate::store::{Place, Store, StoreError, StoreOptions};

#[tokio::test]
async fn a_second_relayd_is_refused_until_the_first_closed() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let second = Store::open(&fixture.options).await.unwrap_err();
    assert!(matches!(second, StoreError::Locked(_)), "{second}");
    store.close().await;
    drop(store);
    fixture.open().await.close().await;
}

#[tokio::test]
async fn opening_what_is_not_there_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let missing = StoreOptions::sqlite(dir.path().join("no.db"));
    let error = Store::open_read_only(&missing).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    let nowhere = StoreOptions::sqlite(dir.path().join("no/folder/relay.db"));
    let error = Store::open(&nowhere).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
}

#[tokio::test]
async fn commits_are_never_unsynced_and_the_log_is_the_only_journal() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut connection = fixture.connect(&store).await;
    let row = sqlx::query("pragma journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "wal");
    let Place::Sqlite { path } = &fixture.options.place else { unreachable!() };
    let beside = |suffix: &str| std::path::PathBuf::from(format!("{}{suffix}", path.display()));
    assert!(beside("-wal").exists());
    store.close().await;
    drop(connection);
    assert!(path.exists() && beside(".lock").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_durability_answers_every_command() {
    let mut fixture = Fixture::sqlite();
    fixture.options.durability = Durability::Power;
    let store = fixture.open().await;
    ask(&store, credit("a", 1, 1_000)).await;
    for _ in 0..20 {
        assert!(matches!(charge(&store, 1, None, 2).await, Outcome::Settled { .. }));
    }
    assert_eq!(store.balance(&customer(1)).await.unwrap().balance, ncr(920));
    assert_sound(&store).await;
    store.close().await;
}

/// A checkpoint that never reaches the end of the log must not let it grow for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_written_back_under_load() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let Place::Sqlite { path } = &fixture.options.place else { unreachable!() };
    let log = std::path::PathBuf::from(format!("{}-wal", path.display()));
    let mut events = 0;
    // A megabyte at a time, until the log was begun anew.
    let (mut longest, mut shrank) = (0, false);
    for _ in 0..400 {
        let event = crate::store::NewEvent {
            at_ms: 1,
            kind: "test".to_owned(),
            severity: crate::store::Severity::Info,
            subject: String::new(),
            text: "x".repeat(1_000_000),
            json: "{}".to_owned(),
        };
        store.append_events(vec![event]).await.unwrap();
        events += 1;
        longest = longest.max(std::fs::metadata(&log).unwrap().len());
        let back = std::fs::metadata(path).unwrap().len();
        if back > 80_000_000 {
            shrank = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(shrank, "{events} MB written, the log grew to {longest} bytes");
    store.close().await;
}

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use super::*;
use crate::store::StoreOptions;

fn act(object: &str) -> Act {
    Act {
        actor: "ann".into(),
        role: Role::Admin,
        action: "KeysService/RevokeKey",
        object: object.into(),
        request_id: Uuid::new_v4(),
        reason: "leaked".into(),
    }
}

async fn open(file: &Path) -> (Store, Audit) {
    let store = Store::open(&StoreOptions::sqlite(file)).await.unwrap();
    (store.clone(), Audit::new(store))
}

/// A database with ten records, closed again.
async fn ten(file: &Path) {
    let (store, audit) = open(file).await;
    for n in 0..10 {
        let trail = act(&format!("key_{n}")).record(Some(&n), Some(&(n + 1)));
        audit.record(trail).await.unwrap();
    }
    let report = audit.verify().await.unwrap();
    assert_eq!((report.entries, report.broken_at), (10, None));
    store.close().await;
}

/// What somebody with the file and a SQL prompt could do.
async fn alter(file: &Path, sql: &'static str) {
    let url = format!("sqlite://{}", file.display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let triggers: Vec<String> = sqlx::query_scalar(
        "select name from sqlite_master where type = 'trigger' and tbl_name = 'audit'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(!triggers.is_empty(), "the table is append-only");
    sqlx::query(sql).execute(&mut connection).await.unwrap_err();
    for trigger in triggers {
        let drop = sqlx::AssertSqlSafe(format!("drop trigger {trigger}"));
        sqlx::query(drop).execute(&mut connection).await.unwrap();
    }
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn any_alteration_is_found() {
    for (sql, broken_at) in [
        ("update audit set reason = 'nothing' where seq = 4", 4),
        ("update audit set actor = 'bob' where seq = 1", 1),
        ("update audit set seq = 50 where seq = 7", 8),
        ("delete from audit where seq = 5", 6),
        ("delete from audit where seq = 10", 10),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.db");
        ten(&file).await;
        alter(&file, sql).await;
        let (store, audit) = open(&file).await;
        assert_eq!(audit.verify().await.unwrap().broken_at, Some(broken_at), "{sql}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_request_is_recorded_once_and_answers_with_what_it_led_to() {
    let folder = tempfile::tempdir().unwrap();
    let (store, audit) = open(&folder.path().join("relay.db")).await;
    let wish = act("key_1");
    assert_eq!(audit.answered::<u32>(&wish).await.unwrap(), None);
    audit.record(wish.record(Some(&1), Some(&2))).await.unwrap();
    audit.record(wish.record(Some(&2), Some(&3))).await.unwrap();
    assert_eq!(audit.answered::<u32>(&wish).await.unwrap(), Some(Some(2)));
    assert_eq!(audit.list("key_1", &Page::first(10)).await.unwrap().rows.len(), 1);

    let gone = act("key_2");
    audit.record(gone.record(Some(&1), None)).await.unwrap();
    assert_eq!(audit.answered::<u32>(&gone).await.unwrap(), Some(None));

    for other in [
        Act { object: "key_2".into(), ..wish.clone() },
        Act { actor: "bob".into(), ..wish.clone() },
        Act { action: "KeysService/DeleteKey", ..wish.clone() },
    ] {
        let fault = audit.answered::<u32>(&other).await.unwrap_err();
        assert_eq!(fault.code, Code::IdempotencyKeyReused);
    }
    store.close().await;
}

//! A step of the schema whose number lies below one that a database already has.

use std::str::FromStr as _;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::fixture::Fixture;
use super::on_both;
use crate::store::Place;
use crate::store::migrate::migrator;
use crate::store::options::Engine;

/// The step that comes late: no later one builds on it.
const LATE: i64 = 10;

/// A row as the build before that step wrote it.
const MODEL: &str = "insert into model (name, display_name, tag, retired, guests, context_tokens,
    max_output_default, template_overhead_tokens, capabilities, scopes, version)
    values ('m', 'M', 'text-to-text', 0, 0, 4096, 1024, 64, '[]', '[]', 3)";

async fn a_step_that_comes_late_is_taken_and_keeps_what_is_there(fixture: Fixture) {
    let before = |engine| {
        let all = migrator(engine);
        assert!(all.iter().any(|step| step.version > LATE));
        let steps = all.iter().filter(|step| step.version != LATE).cloned().collect();
        Migrator::with_migrations(steps)
    };
    match &fixture.options.place {
        Place::Sqlite { path } => {
            let place = SqliteConnectOptions::new().filename(path).create_if_missing(true);
            let mut connection = place.connect().await.unwrap();
            before(Engine::Sqlite).run(&mut connection).await.unwrap();
            connection.execute(MODEL).await.unwrap();
            connection.close().await.unwrap();
        }
        Place::Postgres { url, .. } => {
            let place = PgConnectOptions::from_str(url).unwrap();
            let mut connection = place.connect().await.unwrap();
            before(Engine::Postgres).run(&mut connection).await.unwrap();
            connection.execute(MODEL).await.unwrap();
            connection.close().await.unwrap();
        }
    }
    // Twice: what was taken late is not taken again.
    for _ in 0..2 {
        let store = fixture.open().await;
        let models = store.catalogue().await.unwrap().models;
        assert_eq!(models.len(), 1);
        assert_eq!((models[0].row.tokenizer.as_ref(), models[0].version), (None, 3));
        store.close().await;
    }
}

on_both! { a_step_that_comes_late_is_taken_and_keeps_what_is_there, }

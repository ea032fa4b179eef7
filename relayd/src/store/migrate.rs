//! The schema, embedded. One folder per store with the same tables; steps are only ever added,
//! and a build runs on a schema one step newer than its own.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};

use super::error::StoreError;
use super::options::Engine;

type Step = (i64, &'static str, &'static str);

/// The steps of both stores: a name is a file in either folder, so that none has a step alone.
macro_rules! steps {
    ($($number:literal $name:literal,)+) => {
        const SQLITE: &[Step] = &[$(($number, $name, include_str!(
            concat!("../../migrations/sqlite/", $name, ".sql")
        )),)+];
        const POSTGRES: &[Step] = &[$(($number, $name, include_str!(
            concat!("../../migrations/postgres/", $name, ".sql")
        )),)+];
    };
}

steps! {
    1 "0001_ledger",
    2 "0002_plane",
    3 "0003_providers",
    7 "0007_agent",
    8 "0008_replicas",
    9 "0009_rollouts",
    10 "0010_trust",
    11 "0011_reputation",
    14 "0014_deployed",
    15 "0015_weights",
    16 "0016_began",
}

/// What brings a schema up to this build.
pub(super) fn migrator(engine: Engine) -> Migrator {
    let steps = match engine {
        Engine::Sqlite => SQLITE,
        Engine::Postgres => POSTGRES,
    };
    let migrations = steps
        .iter()
        .map(|(number, name, sql)| {
            let name = Cow::Borrowed(*name);
            Migration::new(*number, name, MigrationType::Simple, sql.into_sql_str(), false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.set_ignore_missing(true);
    migrator
}

/// Why a schema could not be brought up.
impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            error => Self::Internal(format!("the schema cannot be brought up: {error}")),
        }
    }
}

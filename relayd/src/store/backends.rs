//! Backends as the operator described them. How they fare is not stored.

use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection};

use serde::{Deserialize, Serialize};

use super::Store;
use super::catalogue::Versioned;
use super::error::StoreError;
use super::providers::expect_serving;
use super::row::Columns;
use super::write::{Counter, bump, expect_put, expect_version, json};
use crate::domain::{BackendId, ModelName, ProviderId};

/// Whether a backend takes new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntakeRow {
    /// It does.
    Open,
    /// It does not; what runs goes on.
    Cordoned,
    /// It does not, and is wanted empty.
    Draining,
}

/// One model on one backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendModel {
    /// Its canonical name.
    pub model: ModelName,
    /// What the engine calls it.
    pub upstream: String,
}

/// An inference server. Words whose set another room owns (dialect, engine) stay text here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRow {
    /// Its name.
    pub id: BackendId,
    /// Its origin.
    pub url: String,
    /// What it speaks.
    pub dialect: String,
    /// Which server it is.
    pub engine: String,
    /// Requests it runs at once.
    pub max_concurrency: u32,
    /// Requests that may wait for it.
    pub queue: u32,
    /// Its share of requests against other backends.
    pub weight: u32,
    /// Whether it takes new requests.
    pub intake: IntakeRow,
    /// File with the credential that it asks for.
    pub credential_file: Option<String>,
    /// What it serves.
    pub models: Vec<BackendModel>,
    /// The deployment that it is an instance of; empty where it is none.
    pub deployment: String,
    /// When a drain ends what still runs, milliseconds since the epoch; none lets it run to its end.
    /// Only an edit changes it.
    pub drain_until_ms: Option<i64>,
}

/// One change of a backend that does not touch its description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendEdit {
    /// Whether it takes new requests; what runs goes on.
    Intake(IntakeRow),
    /// It takes no new requests, and what still runs then is ended, at a time in milliseconds since
    /// the epoch.
    DrainUntil(i64),
    /// Its share of requests.
    Weight(u32),
}

impl IntakeRow {
    /// The word, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
        }
    }
}

impl std::str::FromStr for IntakeRow {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Open, Self::Cordoned, Self::Draining]
            .into_iter()
            .find(|intake| intake.as_str() == text)
            .ok_or_else(|| format!("unknown intake '{text}', expected open, cordoned or draining"))
    }
}

impl Store {
    /// Every backend by name. There are few: all are read or none.
    ///
    /// # Errors
    /// As every read.
    pub async fn backends(&self) -> Result<Vec<Versioned<BackendRow>>, StoreError> {
        let rows = sqlx::query(
            "select id, url, dialect, engine, max_concurrency, queue, weight, intake,
                credential_file, models, deployment, drain_until_ms, version
             from backend order by id",
        )
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read_backend).collect()
    }
}

fn read_backend(row: &sqlx::any::AnyRow) -> Result<Versioned<BackendRow>, StoreError> {
    let small = |name| u32::try_from(row.int(name)?).map_err(|_| StoreError::corrupt(name));
    Ok(Versioned {
        row: BackendRow {
            id: row.parse("id")?,
            url: row.text("url")?,
            dialect: row.text("dialect")?,
            engine: row.text("engine")?,
            max_concurrency: small("max_concurrency")?,
            queue: small("queue")?,
            weight: small("weight")?,
            intake: row.parse("intake")?,
            credential_file: row.text_opt("credential_file")?,
            models: row.json("models")?,
            deployment: row.text("deployment")?,
            drain_until_ms: row.int_opt("drain_until_ms")?,
        },
        version: row.count("version")?,
    })
}

const INSERT: &str =
    "insert into backend (id, url, dialect, engine, max_concurrency, queue, weight, intake,
        credential_file, models, deployment, version)
     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 1)
     on conflict (id) do update set dialect = excluded.dialect, engine = excluded.engine,
        max_concurrency = excluded.max_concurrency, models = excluded.models,
        deployment = excluded.deployment, version = backend.version + 1";

/// Inserts or describes anew. The intake of a known backend stays: describing one is no reason
/// to take a cordon off.
pub(super) async fn put(
    conn: &mut AnyConnection,
    backend: &BackendRow,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Backends).await?;
    let text = format!(
        "{INSERT}, url = excluded.url, queue = excluded.queue, weight = excluded.weight,
            credential_file = excluded.credential_file
         returning version"
    );
    let row = described(&text, backend).fetch_one(conn).await?;
    expect_put("backend", &row, expected)
}

/// Writes a backend of a provider that serves at this moment, and none that is not its own. Whoever
/// ends that raises the counter of backends in his own transaction, so one of the two sees what the
/// other did.
pub(super) async fn put_provided(
    conn: &mut AnyConnection,
    provider: &ProviderId,
    backend: &BackendRow,
) -> Result<(), StoreError> {
    bump(conn, Counter::Backends).await?;
    expect_serving(conn, provider).await?;
    let text = format!("{INSERT} where backend.url = excluded.url returning version");
    match described(&text, backend).fetch_optional(conn).await? {
        Some(_) => Ok(()),
        None => Err(StoreError::Precondition("another backend has that name")),
    }
}

fn described<'q>(text: &str, backend: &'q BackendRow) -> Query<'q, Any, AnyArguments> {
    sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(backend.id.as_str())
        .bind(&backend.url)
        .bind(&backend.dialect)
        .bind(&backend.engine)
        .bind(i64::from(backend.max_concurrency))
        .bind(i64::from(backend.queue))
        .bind(i64::from(backend.weight))
        .bind(backend.intake.as_str())
        .bind(backend.credential_file.clone())
        .bind(json(&backend.models))
        .bind(&backend.deployment)
}

pub(super) async fn edit(
    conn: &mut AnyConnection,
    id: &BackendId,
    expected: Option<u64>,
    edit: BackendEdit,
) -> Result<(), StoreError> {
    bump(conn, Counter::Backends).await?;
    let update = match edit {
        BackendEdit::Intake(intake) => sqlx::query(
            "update backend set intake = $2, drain_until_ms = null, version = version + 1
             where id = $1 returning version",
        )
        .bind(id.as_str())
        .bind(intake.as_str()),
        BackendEdit::DrainUntil(until_ms) => sqlx::query(
            "update backend set intake = $2, drain_until_ms = $3, version = version + 1
             where id = $1 returning version",
        )
        .bind(id.as_str())
        .bind(IntakeRow::Draining.as_str())
        .bind(until_ms),
        BackendEdit::Weight(weight) => sqlx::query(
            "update backend set weight = $2, version = version + 1 where id = $1 returning version",
        )
        .bind(id.as_str())
        .bind(i64::from(weight)),
    };
    let row = update.fetch_optional(conn).await?;
    expect_version("backend", row.as_ref(), expected)
}

pub(super) async fn remove(
    conn: &mut AnyConnection,
    id: &BackendId,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Backends).await?;
    // Raised by one as every change does, so that the check is the same.
    let row = sqlx::query("delete from backend where id = $1 returning version + 1 as version")
        .bind(id.as_str())
        .fetch_optional(conn)
        .await?;
    match (&row, expected) {
        (None, None) => Ok(()),
        _ => expect_version("backend", row.as_ref(), expected),
    }
}

/// Removes every backend whose address begins with `url`. There need not be any.
pub(super) async fn remove_under(conn: &mut AnyConnection, url: &str) -> Result<(), StoreError> {
    bump(conn, Counter::Backends).await?;
    sqlx::query("delete from backend where substr(url, 1, length($1)) = $1")
        .bind(url)
        .execute(conn)
        .await?;
    Ok(())
}

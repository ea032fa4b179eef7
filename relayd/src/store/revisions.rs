//! The revisions of models, and which of them is live. Revisions are never changed nor removed.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::row::Columns;
use super::write::{Counter, bump, expect_put, json};
use crate::domain::{ModelName, RevisionParameters, RevisionTarget};

/// Most revisions that are read at once, the newest of all models.
pub const REVISIONS_MAX: i64 = 10_000;

/// How a model is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionRow {
    /// The model.
    pub model: ModelName,
    /// Its number, from 1 for each model.
    pub number: u32,
    /// What it is, in the operator's words.
    pub note: String,
    /// Where it runs, by name.
    pub targets: Vec<RevisionTarget>,
    /// The deployment whose instances it runs on; empty where it runs on backends by name.
    pub deployment: String,
    /// What is said to the engine where the client said nothing.
    pub parameters: RevisionParameters,
    /// Who made it.
    pub created_by: String,
    /// When, milliseconds since the epoch.
    pub created_ms: i64,
}

/// A revision to make. Its number must follow the newest one of its model.
pub type NewRevision = RevisionRow;

/// The revision of a model that serves all that no rollout takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRow {
    /// The model.
    pub model: ModelName,
    /// The revision.
    pub number: u32,
    /// Counts the changes, from 1.
    pub version: u64,
}

impl Store {
    /// Every revision by model, newest first, at most [`REVISIONS_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn revisions(&self) -> Result<Vec<RevisionRow>, StoreError> {
        let rows = sqlx::query(
            "select model, number, note, targets, deployment, parameters, created_by, created_ms
             from revision order by model, number desc limit $1",
        )
        .bind(REVISIONS_MAX)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read).collect()
    }

    /// The models that revisions run on deployments, by deployment.
    ///
    /// # Errors
    /// As every read.
    pub async fn deployed_models(&self) -> Result<BTreeMap<String, ModelName>, StoreError> {
        let rows = sqlx::query(
            "select deployment, model from revision where deployment <> ''
             order by created_ms desc limit $1",
        )
        .bind(REVISIONS_MAX)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(|row| Ok((row.text("deployment")?, row.parse("model")?))).collect()
    }

    /// What is live, by model.
    ///
    /// # Errors
    /// As every read.
    pub async fn live_revisions(&self) -> Result<Vec<LiveRow>, StoreError> {
        let rows =
            sqlx::query("select model, number, version from live_revision order by model limit $1")
                .bind(REVISIONS_MAX)
                .fetch_all(self.reader())
                .await?;
        let read = |row: &AnyRow| {
            Ok(LiveRow {
                model: row.parse("model")?,
                number: number(row, "number")?,
                version: row.count("version")?,
            })
        };
        rows.iter().map(read).collect()
    }
}

fn read(row: &AnyRow) -> Result<RevisionRow, StoreError> {
    Ok(RevisionRow {
        model: row.parse("model")?,
        number: number(row, "number")?,
        note: row.text("note")?,
        targets: row.json("targets")?,
        deployment: row.text("deployment")?,
        parameters: row.json("parameters")?,
        created_by: row.text("created_by")?,
        created_ms: row.int("created_ms")?,
    })
}

/// A small number that is always there.
pub(super) fn number(row: &AnyRow, name: &'static str) -> Result<u32, StoreError> {
    u32::try_from(row.int(name)?).map_err(|_| StoreError::corrupt(name))
}

pub(super) async fn insert(conn: &mut AnyConnection, new: &NewRevision) -> Result<(), StoreError> {
    bump(conn, Counter::Rollouts).await?;
    let newest = sqlx::query("select coalesce(max(number), 0) as n from revision where model = $1")
        .bind(new.model.as_str())
        .fetch_one(&mut *conn)
        .await?
        .int("n")?;
    if newest + 1 != i64::from(new.number) {
        return Err(StoreError::Version {
            noun: "the newest revision",
            expected: u64::from(new.number).saturating_sub(1),
            found: u64::try_from(newest).unwrap_or_default(),
        });
    }
    sqlx::query(
        "insert into revision (model, number, note, targets, parameters, created_by, created_ms,
            deployment)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(new.model.as_str())
    .bind(i64::from(new.number))
    .bind(&new.note)
    .bind(json(&new.targets))
    .bind(json(&new.parameters))
    .bind(&new.created_by)
    .bind(new.created_ms)
    .bind(&new.deployment)
    .execute(&mut *conn)
    .await?;
    if new.number == 1 {
        put_live(conn, &new.model, 1, Some(0)).await?;
    }
    Ok(())
}

/// Makes a revision live.
pub(super) async fn put_live(
    conn: &mut AnyConnection,
    model: &ModelName,
    number: u32,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "insert into live_revision (model, number, version) values ($1, $2, 1)
         on conflict (model) do update set number = excluded.number,
            version = live_revision.version + 1
         returning version",
    )
    .bind(model.as_str())
    .bind(i64::from(number))
    .fetch_one(conn)
    .await?;
    expect_put("live revision", &row, expected)
}

//! What providers' agents shall run. How it fares is not stored.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::providers::expect_serving;
use super::row::Columns;
use super::write::{Counter, bump, expect_version, json};
use crate::domain::ProviderId;

/// Most deployments that are read at once.
pub const DEPLOYMENTS_MAX: i64 = 10_000;

const COLUMNS: &str = "id, provider, template, model, parameters, replicas, created_by, created_ms, engine, dialect, version";

/// A model that a provider's agent shall run from one of its own templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentRow {
    /// Its id, `dep_` and 16 hex digits.
    pub id: String,
    /// Whose agent.
    pub provider: ProviderId,
    /// The agent's name of the template.
    pub template: String,
    /// The template's name of the model.
    pub model: String,
    /// Values of the template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// How many instances, 1 to 64.
    pub replicas: u32,
    /// Who made it.
    pub created_by: String,
    /// When, milliseconds since the epoch.
    pub created_ms: i64,
    /// What its first instance was and spoke, and every later one has to be; none before it was
    /// there. A new row has none.
    pub began_as: Option<BeganAs>,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// Which server an instance is and which dialect it speaks, in the words of [`super::BackendRow`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeganAs {
    /// Which server.
    pub engine: String,
    /// Which dialect.
    pub dialect: String,
}

impl Store {
    /// Every deployment by id, or a provider's, at most [`DEPLOYMENTS_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn deployments(
        &self,
        provider: Option<&ProviderId>,
    ) -> Result<Vec<DeploymentRow>, StoreError> {
        let text = format!(
            "select {COLUMNS} from deployment where $1 = '' or provider = $1 order by id limit $2"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(provider.map_or("", ProviderId::as_str))
            .bind(DEPLOYMENTS_MAX);
        query.fetch_all(self.reader()).await?.iter().map(read).collect()
    }

    /// One deployment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and as every read.
    pub async fn deployment(&self, id: &str) -> Result<DeploymentRow, StoreError> {
        let text = format!("select {COLUMNS} from deployment where id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id);
        let row = query.fetch_optional(self.reader()).await?;
        row.as_ref().map(read).ok_or(StoreError::NotFound("deployment"))?
    }
}

fn read(row: &AnyRow) -> Result<DeploymentRow, StoreError> {
    Ok(DeploymentRow {
        id: row.text("id")?,
        provider: row.parse("provider")?,
        template: row.text("template")?,
        model: row.text("model")?,
        parameters: row.json("parameters")?,
        replicas: row.u32("replicas")?,
        created_by: row.text("created_by")?,
        created_ms: row.int("created_ms")?,
        began_as: Some(BeganAs { engine: row.text("engine")?, dialect: row.text("dialect")? })
            .filter(|began| !began.engine.is_empty()),
        version: row.count("version")?,
    })
}

pub(super) async fn insert(
    conn: &mut AnyConnection,
    new: &DeploymentRow,
) -> Result<(), StoreError> {
    // Whoever ends that state holds this counter, so it lasts until this is written.
    bump(conn, Counter::Providers).await?;
    expect_serving(conn, &new.provider).await?;
    bump(conn, Counter::Deployments).await?;
    sqlx::query(
        "insert into deployment (id, provider, template, model, parameters, replicas, created_by,
            created_ms, version)
         values ($1, $2, $3, $4, $5, $6, $7, $8, 1)",
    )
    .bind(&new.id)
    .bind(new.provider.as_str())
    .bind(&new.template)
    .bind(&new.model)
    .bind(json(&new.parameters))
    .bind(i64::from(new.replicas))
    .bind(&new.created_by)
    .bind(new.created_ms)
    .execute(conn)
    .await?;
    Ok(())
}

/// Keeps what the first instance was. No change of the row's version: what is wanted stays.
pub(super) async fn begin(
    conn: &mut AnyConnection,
    id: &str,
    began: &BeganAs,
) -> Result<(), StoreError> {
    bump(conn, Counter::Deployments).await?;
    let written = sqlx::query(
        "update deployment set engine = $2, dialect = $3
         where id = $1 and (engine = '' or (engine = $2 and dialect = $3))",
    )
    .bind(id)
    .bind(&began.engine)
    .bind(&began.dialect)
    .execute(conn)
    .await?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Precondition("the deployment began as another engine, or is gone"));
    }
    Ok(())
}

pub(super) async fn scale(
    conn: &mut AnyConnection,
    id: &str,
    expected: Option<u64>,
    replicas: u32,
) -> Result<(), StoreError> {
    bump(conn, Counter::Deployments).await?;
    let row = sqlx::query(
        "update deployment set replicas = $2, version = version + 1 where id = $1
         returning version",
    )
    .bind(id)
    .bind(i64::from(replicas))
    .fetch_optional(conn)
    .await?;
    expect_version("deployment", row.as_ref(), expected)
}

pub(super) async fn remove(
    conn: &mut AnyConnection,
    id: &str,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Deployments).await?;
    if is_used(conn, id).await? {
        return Err(StoreError::Precondition(
            "a model's live revision or an open rollout runs on this deployment: move the model to another revision first",
        ));
    }
    let row = sqlx::query("delete from deployment where id = $1 returning version + 1 as version")
        .bind(id)
        .fetch_optional(conn)
        .await?;
    expect_version("deployment", row.as_ref(), expected)
}

/// Removes every deployment of a provider, used or not.
pub(super) async fn remove_of(
    conn: &mut AnyConnection,
    provider: &ProviderId,
) -> Result<(), StoreError> {
    bump(conn, Counter::Deployments).await?;
    sqlx::query("delete from deployment where provider = $1")
        .bind(provider.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether a revision runs on it that is live or takes part in a rollout.
async fn is_used(conn: &mut AnyConnection, id: &str) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "select r.number from revision r where r.deployment = $1 and (
            exists (select 1 from live_revision l where l.model = r.model and l.number = r.number)
            or exists (select 1 from rollout o
                where o.model = r.model and o.state in ('running', 'paused')
                    and (o.from_number = r.number or o.to_number = r.number)))
         limit 1",
    )
    .bind(id)
    .fetch_optional(conn)
    .await?;
    Ok(row.is_some())
}

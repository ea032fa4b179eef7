//! The ledger on PostgreSQL: one connection per shard, arrays instead of rows of parameters.
//!
//! Rows are locked in ascending order of their ids, accounts before holds before transactions, by
//! every writer of every replica, so that no two wait for each other. What another writer adds
//! meanwhile (an account's first row, a transaction of the same idempotency key) is met by a
//! unique index or by the version; the batch is then decided anew.

use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgQueryResult};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use super::super::error::StoreError;
use super::super::row::{self, Columns};
use super::batch::{Decided, Head, is_empty};
use super::table::{self, Cell, Kind, Table};
use super::writer::Attempt;
use crate::ledger::{Decision, Needs, Snapshot};

/// PostgreSQL's end of one ledger writer.
pub(in super::super) struct PostgresLedger {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
}

impl PostgresLedger {
    pub(in super::super) fn new(options: PgConnectOptions) -> Self {
        Self { options, connection: None }
    }

    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "could not close a ledger connection");
        }
    }

    /// Loads, decides, writes and commits in one transaction. On an error nothing is written, or
    /// everything was: then asking again answers the same.
    pub(super) async fn transact(
        &mut self,
        head: &mut Head,
        needs: &Needs,
        rule: impl FnOnce(&Head, Snapshot) -> Decided,
    ) -> Result<Decision, Attempt> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.options.connect().await?;
                *head = read_head(&mut connection, head.chain).await?;
                connection
            }
        };
        match run(&mut connection, head, needs, rule).await {
            Ok(decision) => {
                self.connection = Some(connection);
                Ok(decision)
            }
            Err(error) => {
                // The transaction may still be open: the connection goes with it.
                if let Err(closing) = connection.close().await {
                    tracing::debug!(error = %closing, "could not close a failed connection");
                }
                Err(error)
            }
        }
    }
}

async fn run(
    connection: &mut PgConnection,
    head: &mut Head,
    needs: &Needs,
    rule: impl FnOnce(&Head, Snapshot) -> Decided,
) -> Result<Decision, Attempt> {
    sqlx::raw_sql("begin").execute(&mut *connection).await.map_err(collision)?;
    let snapshot = load(connection, needs).await?;
    let (decision, link) = rule(head, snapshot);
    if is_empty(&decision) {
        sqlx::raw_sql("rollback").execute(&mut *connection).await.map_err(collision)?;
        return Ok(decision);
    }
    let accounts: Vec<_> = decision.accounts.iter().map(table::account).collect();
    let written = insert(connection, &table::ACCOUNT, accounts).await?;
    if written != decision.accounts.len() as u64 {
        return Err(Attempt::Collision("an account was first written by another".to_owned()));
    }
    insert(connection, &table::HOLD, decision.holds.iter().map(table::hold).collect()).await?;
    if let Some(link) = &link {
        let txns = decision.txns.iter().map(|row| table::txn(row, link)).collect();
        insert(connection, &table::TXN, txns).await?;
        let legs = decision.txns.iter().flat_map(table::transfers).collect();
        insert(connection, &table::TRANSFER, legs).await?;
        let usage = decision.usage.iter().map(|row| table::usage(row, link)).collect();
        insert(connection, &table::USAGE, usage).await?;
        insert(connection, &table::BATCHLOG, vec![table::batchlog(link)]).await?;
    }
    sqlx::raw_sql("commit").execute(connection).await.map_err(collision)?;
    if let Some(link) = link {
        *head = link.head;
    }
    Ok(decision)
}

async fn load(connection: &mut PgConnection, needs: &Needs) -> Result<Snapshot, Attempt> {
    let mut snapshot = Snapshot::default();
    if !needs.accounts.is_empty() {
        let ids: Vec<String> = needs.accounts.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(
            "select id, balance, held, version, state from account where id = any($1)
             order by id for update",
        )
        .bind(ids)
        .fetch_all(&mut *connection)
        .await
        .map_err(collision)?;
        for row in &rows {
            snapshot.load_account(row::account(row)?);
        }
    }
    if !needs.holds.is_empty() {
        let ids: Vec<String> = needs.holds.iter().map(ToString::to_string).collect();
        let rows = sqlx::query("select * from hold where id = any($1) order by id for update")
            .bind(ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(collision)?;
        for row in &rows {
            snapshot.load_hold(row::hold(row)?);
        }
    }
    if !needs.txns.is_empty() {
        let ids: Vec<String> = needs.txns.iter().cloned().collect();
        let rows = sqlx::query("select * from txn where id = any($1)")
            .bind(ids)
            .fetch_all(&mut *connection)
            .await
            .map_err(collision)?;
        for row in &rows {
            snapshot.load_txn(row::txn(row)?);
        }
    }
    Ok(snapshot)
}

/// Where a chain ended: a commit whose answer was lost may have moved it on.
async fn read_head(connection: &mut PgConnection, chain: i64) -> Result<Head, StoreError> {
    let last = sqlx::query(
        "select batch, hash from batchlog where chain = $1 order by batch desc limit 1",
    )
    .bind(chain)
    .fetch_optional(connection)
    .await?;
    let Some(last) = last else { return Ok(Head::start(chain)) };
    let hash = last.bytes("hash")?.try_into().map_err(|_| StoreError::corrupt("hash"))?;
    Ok(Head { chain, batch: last.int("batch")?, hash })
}

/// Writes rows by one array per column. Tells how many were written.
async fn insert(
    connection: &mut PgConnection,
    table: &Table,
    rows: Vec<Vec<Cell>>,
) -> Result<u64, Attempt> {
    if rows.is_empty() {
        return Ok(0);
    }
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let arrays: Vec<String> = (1..)
        .zip(table.columns)
        .map(|(n, (_, kind))| match kind {
            Kind::Int => format!("${n}::bigint[]"),
            Kind::Text => format!("${n}::text[]"),
            Kind::Bytes => format!("${n}::bytea[]"),
        })
        .collect();
    let text = format!(
        "insert into {} ({}) select * from unnest({}){}",
        table.name,
        names.join(", "),
        arrays.join(", "),
        table.conflict
    );
    let mut query = sqlx::query(AssertSqlSafe(text));
    for (n, (_, kind)) in table.columns.iter().enumerate() {
        query = bind(query, *kind, rows.iter().map(|row| row.get(n)));
    }
    let done: PgQueryResult = query.execute(connection).await.map_err(collision)?;
    Ok(done.rows_affected())
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

fn bind<'q, 'c>(
    query: PgQuery<'q>,
    kind: Kind,
    column: impl Iterator<Item = Option<&'c Cell>>,
) -> PgQuery<'q> {
    match kind {
        Kind::Int => query.bind(
            column
                .map(|cell| match cell {
                    Some(Cell::Int(number)) => *number,
                    _ => None,
                })
                .collect::<Vec<Option<i64>>>(),
        ),
        Kind::Text => query.bind(
            column
                .map(|cell| match cell {
                    Some(Cell::Text(text)) => text.clone(),
                    _ => None,
                })
                .collect::<Vec<Option<String>>>(),
        ),
        Kind::Bytes => query.bind(
            column
                .map(|cell| match cell {
                    Some(Cell::Bytes(bytes)) => Some(bytes.clone()),
                    _ => None,
                })
                .collect::<Vec<Option<Vec<u8>>>>(),
        ),
    }
}

/// Whether an error means that another writer came first: a unique index met, a serialization
/// failure, a deadlock.
fn collision(error: sqlx::Error) -> Attempt {
    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some("23505" | "40001" | "40P01") => Attempt::Collision(error.to_string()),
        _ => Attempt::Failed(error.into()),
    }
}

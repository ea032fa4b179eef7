//! The ledger on SQLite: one connection, prepared statements of a few sizes.
//!
//! The driver runs statements on a thread of its own, and a lone request pays mostly for the way
//! there and back. So what a batch loads is one text, and what a small batch writes is one text
//! with its commit; a large batch writes table by table.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, ConnectOptions, Connection, Either, Executor};
use tokio::sync::Mutex;

use super::super::error::StoreError;
use super::super::row::{self, Columns};
use super::batch::{Decided, Head, is_empty};
use super::table::{self, Cell, Table};
use super::writer::Attempt;
use crate::ledger::{Decision, Needs, Snapshot};

/// Rows of one writing statement, filled up to the next of these with rows that are left out.
const WRITE_SIZES: [usize; 4] = [1, 8, 64, 256];
/// Ids of one loading statement, filled up with nulls, which match nothing.
const LOAD_SIZES: [usize; 4] = [1, 8, 64, 1_024];
/// The largest statement that is written together with others in one text.
const SMALL: usize = 8;

/// SQLite's end of the ledger writer.
pub(in super::super) struct SqliteLedger {
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// Where this process's writers take turns.
    gate: Arc<Mutex<()>>,
    texts: HashMap<Vec<usize>, Arc<str>>,
}

impl SqliteLedger {
    pub(in super::super) fn new(options: SqliteConnectOptions, gate: Arc<Mutex<()>>) -> Self {
        Self { options, connection: None, gate, texts: HashMap::new() }
    }

    pub(super) async fn close(&mut self) {
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "could not close the ledger's connection");
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
        let gate = Arc::clone(&self.gate);
        let _turn = gate.lock().await;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let mut connection = self.options.connect().await?;
                *head = read_head(&mut connection, head.chain).await?;
                connection
            }
        };
        match self.run(&mut connection, head, needs, rule).await {
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

    async fn run(
        &mut self,
        connection: &mut SqliteConnection,
        head: &mut Head,
        needs: &Needs,
        rule: impl FnOnce(&Head, Snapshot) -> Decided,
    ) -> Result<Decision, Attempt> {
        let snapshot = self.load(connection, needs).await?;
        let (decision, link) = rule(head, snapshot);
        if is_empty(&decision) {
            sqlx::raw_sql("rollback").execute(&mut *connection).await?;
            return Ok(decision);
        }
        let mut writes: Vec<(&Table, Vec<Vec<Cell>>)> = vec![
            (&table::ACCOUNT, decision.accounts.iter().map(table::account).collect()),
            (&table::HOLD, decision.holds.iter().map(table::hold).collect()),
        ];
        if let Some(link) = &link {
            writes.extend([
                (&table::TXN, decision.txns.iter().map(|row| table::txn(row, link)).collect()),
                (&table::TRANSFER, decision.txns.iter().flat_map(table::transfers).collect()),
                (&table::USAGE, decision.usage.iter().map(|row| table::usage(row, link)).collect()),
                (&table::BATCHLOG, vec![table::batchlog(link)]),
            ]);
        }
        let small = writes.iter().all(|(_, rows)| rows.len() <= SMALL);
        let written = if small {
            self.write_together(connection, writes).await?
        } else {
            self.write_apart(connection, writes).await?
        };
        if written != decision.accounts.len() {
            return Err(StoreError::Internal("an account changed under its lock".into()).into());
        }
        if let Some(link) = link {
            *head = link.head;
        }
        Ok(decision)
    }

    /// Begins the transaction and reads what is needed, in one text.
    async fn load(
        &mut self,
        connection: &mut SqliteConnection,
        needs: &Needs,
    ) -> Result<Snapshot, StoreError> {
        let lists: [(&str, Vec<String>); 3] = [
            (
                "select id, balance, held, version, state from account where id in ",
                needs.accounts.iter().map(ToString::to_string).collect(),
            ),
            (
                "select * from hold where id in ",
                needs.holds.iter().map(ToString::to_string).collect(),
            ),
            ("select * from txn where id in ", needs.txns.iter().cloned().collect()),
        ];
        let mut shape = vec![0];
        shape.extend(lists.iter().map(|(_, ids)| size(ids.len(), &LOAD_SIZES)));
        let text = self.texts.entry(shape.clone()).or_insert_with(|| {
            let mut text = "begin immediate".to_owned();
            for ((select, _), size) in lists.iter().zip(&shape[1..]) {
                if *size > 0 {
                    text.push_str("; ");
                    text.push_str(select);
                    text.push_str(&tuple(*size));
                }
            }
            text.into()
        });
        let mut arguments = SqliteArguments::default();
        for ((_, ids), size) in lists.iter().zip(&shape[1..]) {
            for n in 0..*size {
                push(&mut arguments, Cell::Text(ids.get(n).cloned()))?;
            }
        }
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments);
        // The statements' ends tell which list a row is of; the first end is that of `begin`.
        let mut parts = [0, 1, 2].into_iter().filter(|part| !lists[*part].1.is_empty());
        let mut part = 0;
        let mut snapshot = Snapshot::default();
        let mut rows = connection.fetch_many(query);
        while let Some(next) = rows.try_next().await? {
            match (next, part) {
                (Either::Left(_), _) => part = parts.next().unwrap_or(part),
                (Either::Right(row), 0) => snapshot.load_account(row::account(&row)?),
                (Either::Right(row), 1) => snapshot.load_hold(row::hold(&row)?),
                (Either::Right(row), _) => snapshot.load_txn(row::txn(&row)?),
            }
        }
        Ok(snapshot)
    }

    /// Writes all tables and commits in one text. Tells how many accounts were written.
    async fn write_together(
        &mut self,
        connection: &mut SqliteConnection,
        writes: Vec<(&Table, Vec<Vec<Cell>>)>,
    ) -> Result<usize, StoreError> {
        let mut shape = vec![1];
        shape.extend(writes.iter().map(|(_, rows)| size(rows.len(), &WRITE_SIZES)));
        let text = self.texts.entry(shape.clone()).or_insert_with(|| {
            let mut text = String::new();
            for ((table, _), size) in writes.iter().zip(&shape[1..]) {
                if *size > 0 {
                    text.push_str(&insert(table, *size));
                    text.push_str("; ");
                }
            }
            text.push_str("commit");
            text.into()
        });
        let mut arguments = SqliteArguments::default();
        let accounts = writes.first().map_or(0, |(_, rows)| rows.len());
        for ((table, rows), size) in writes.into_iter().zip(&shape[1..]) {
            fill(&mut arguments, table, rows, *size)?;
        }
        let mut written = None;
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments);
        let mut ends = connection.fetch_many(query);
        while let Some(next) = ends.try_next().await? {
            if let Either::Left(end) = next
                && accounts > 0
                && written.is_none()
            {
                written = usize::try_from(end.rows_affected()).ok();
            }
        }
        Ok(written.unwrap_or(0))
    }

    /// Writes table by table, in pieces of the largest size, and commits.
    async fn write_apart(
        &mut self,
        connection: &mut SqliteConnection,
        writes: Vec<(&Table, Vec<Vec<Cell>>)>,
    ) -> Result<usize, StoreError> {
        let largest = WRITE_SIZES[WRITE_SIZES.len() - 1];
        let mut written = 0;
        for (n, (table, mut rows)) in writes.into_iter().enumerate() {
            while !rows.is_empty() {
                let rest = rows.split_off(rows.len().min(largest));
                let piece = std::mem::replace(&mut rows, rest);
                let size = size(piece.len(), &WRITE_SIZES);
                let text = self
                    .texts
                    .entry(vec![2, n, size])
                    .or_insert_with(|| insert(table, size).into());
                let mut arguments = SqliteArguments::default();
                fill(&mut arguments, table, piece, size)?;
                let done = sqlx::query_with(AssertSqlSafe(Arc::clone(text)), arguments)
                    .execute(&mut *connection)
                    .await?;
                if n == 0 {
                    written += usize::try_from(done.rows_affected()).unwrap_or(usize::MAX);
                }
            }
        }
        sqlx::query("commit").execute(connection).await?;
        Ok(written)
    }
}

/// Where a chain ended: a commit whose answer was lost may have moved it on.
async fn read_head(connection: &mut SqliteConnection, chain: i64) -> Result<Head, StoreError> {
    let last =
        sqlx::query("select batch, hash from batchlog where chain = ? order by batch desc limit 1")
            .bind(chain)
            .fetch_optional(connection)
            .await?;
    let Some(last) = last else { return Ok(Head::start(chain)) };
    let hash = last.bytes("hash")?.try_into().map_err(|_| StoreError::corrupt("hash"))?;
    Ok(Head { chain, batch: last.int("batch")?, hash })
}

/// The smallest statement that takes so many; 0 for none.
fn size(count: usize, sizes: &[usize]) -> usize {
    if count == 0 {
        return 0;
    }
    sizes.iter().copied().find(|size| *size >= count).unwrap_or(count)
}

/// `(?, ?, ...)`.
fn tuple(size: usize) -> String {
    format!("({})", vec!["?"; size].join(", "))
}

fn insert(table: &Table, size: usize) -> String {
    let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
    let row = tuple(names.len());
    let head = format!("insert into {} ({})", table.name, names.join(", "));
    let tail = table.conflict;
    if size == 1 {
        return format!("{head} values {row}{tail}");
    }
    let rows = vec![row; size].join(", ");
    format!("{head} select * from (values {rows}) where column1 is not null{tail}")
}

/// Binds the rows, and nothing for those that only fill up.
fn fill(
    arguments: &mut SqliteArguments,
    table: &Table,
    rows: Vec<Vec<Cell>>,
    size: usize,
) -> Result<(), StoreError> {
    let missing = size.saturating_sub(rows.len()) * table.columns.len();
    for cell in rows.into_iter().flatten() {
        push(arguments, cell)?;
    }
    for _ in 0..missing {
        push(arguments, Cell::Int(None))?;
    }
    Ok(())
}

fn push(arguments: &mut SqliteArguments, cell: Cell) -> Result<(), StoreError> {
    let pushed = match cell {
        Cell::Int(number) => arguments.add(number),
        Cell::Text(text) => arguments.add(text),
        Cell::Bytes(bytes) => arguments.add(bytes),
    };
    pushed.map_err(|error| StoreError::Internal(error.to_string()))
}

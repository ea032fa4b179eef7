//! Proves the invariants of the ledger from its rows, or names where they break.
//!
//! It reads one state of the whole database, beside a running daemon if there is one, and trusts
//! nothing that it can recompute: balances from transfers, reservations from holds, charges from
//! usage and price rows, the hash chain from every field that it covers.

mod books;
mod chain;
mod usage;

use std::fmt;

use sqlx::{AnyConnection, ConnectOptions, Connection, Executor};

use super::Store;
use super::error::StoreError;

/// Most breaches listed one by one; all are counted. One wrong row can break many others.
pub const BREACHES_MAX: usize = 1_000;

/// A rule that every committed state keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Each transfer has two accounts of one unit and an amount above zero; all balances of a
    /// unit sum to zero.
    I1,
    /// A balance is the sum of its transfers.
    I2,
    /// What is held on an account is the sum of its open holds.
    I3,
    /// An account with a floor has `balance >= held >= 0`.
    I4,
    /// A hold is settled at most once, for at most what it reserved, by the transaction that says
    /// so.
    I5,
    /// A settled hold has one usage row, and its quote by the price row is the charge and what
    /// was written off.
    I6,
    /// What is append-only refuses changes.
    I7,
    /// The hash chains are whole.
    I8,
}

/// One place where an invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which rule.
    pub invariant: Invariant,
    /// Which row.
    pub subject: String,
    /// What is wrong, with both values.
    pub what: String,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Accounts read.
    pub accounts: u64,
    /// Transfers read.
    pub transfers: u64,
    /// Holds read.
    pub holds: u64,
    /// Usage rows read.
    pub usage: u64,
    /// Batches whose seal was recomputed.
    pub batches: u64,
    /// Breaches found, listed or not.
    pub found: u64,
    /// The first of them by invariant, at most [`BREACHES_MAX`].
    pub breaches: Vec<Breach>,
}

/// Checks every invariant.
///
/// # Errors
/// As every read; also [`StoreError::Internal`] for a row that cannot be read at all.
pub async fn verify(store: &Store) -> Result<AuditReport, StoreError> {
    let mut report = AuditReport::default();
    // Begun first, so that the rows it covers are all seen by the two that follow.
    let mut batches = snapshot(store).await?;
    let mut first = snapshot(store).await?;
    let mut second = snapshot(store).await?;
    chain::check(&mut batches, &mut first, &mut second, &mut report).await?;
    close([batches, second]).await;
    // Anew: the chains may have taken long, and the books want one state of their own.
    first.execute("rollback").await?;
    first.execute(store.engine().begin_read()).await?;
    books::check(&mut first, store.engine(), &mut report).await?;
    usage::check(&mut first, &mut report).await?;
    close([first]).await;
    report.breaches.sort_by(|a, b| (a.invariant, &a.subject).cmp(&(b.invariant, &b.subject)));
    Ok(report)
}

/// A connection of its own that reads one state until it is closed.
async fn snapshot(store: &Store) -> Result<AnyConnection, StoreError> {
    let mut connection = store.reader().connect_options().connect().await?;
    connection.execute(store.engine().begin_read()).await?;
    // SQLite takes its state with the first read.
    connection.execute("select count(*) from counter").await?;
    Ok(connection)
}

async fn close(connections: impl IntoIterator<Item = AnyConnection>) {
    for connection in connections {
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "could not close a connection of the audit");
        }
    }
}

impl Invariant {
    /// Its number.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::I1 => "I1",
            Self::I2 => "I2",
            Self::I3 => "I3",
            Self::I4 => "I4",
            Self::I5 => "I5",
            Self::I6 => "I6",
            Self::I7 => "I7",
            Self::I8 => "I8",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AuditReport {
    /// Whether every invariant holds.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.found == 0
    }

    fn breach(&mut self, invariant: Invariant, subject: impl Into<String>, what: String) {
        self.found += 1;
        if self.breaches.len() < BREACHES_MAX {
            self.breaches.push(Breach { invariant, subject: subject.into(), what });
        }
    }
}

/// What was read on one line, and one line for each breach.
impl fmt::Display for AuditReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} accounts, {} transfers, {} holds, {} usage rows, {} batches: ",
            self.accounts, self.transfers, self.holds, self.usage, self.batches
        )?;
        match self.found {
            0 => return f.write_str("every invariant holds"),
            1 => f.write_str("1 breach")?,
            many => write!(f, "{many} breaches")?,
        }
        let width = self.breaches.iter().map(|breach| breach.subject.len()).max().unwrap_or(0);
        for Breach { invariant, subject, what } in &self.breaches {
            write!(f, "\n{invariant}  {subject:width$}  {what}")?;
        }
        if self.found > self.breaches.len() as u64 {
            write!(f, "\nand {} more", self.found - self.breaches.len() as u64)?;
        }
        Ok(())
    }
}

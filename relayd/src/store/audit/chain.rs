//! I8: the hash chains, recomputed from every field they cover.
//!
//! Three readings run side by side in one order (chain, batch, id): the batches, the transactions
//! with their legs, the usage rows. Each row is hashed as it passes; nothing is kept.

use std::cmp::Ordering;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::super::error::StoreError;
use super::super::row::{Columns, leg, txn, usage};
use super::{AuditReport, Invariant};
use crate::ledger::{Leg, Sealer, TxnRow};

/// Chain and batch.
type Place = (i64, i64);

/// Rows in the order of their places, the next one at hand.
struct Ordered<'c> {
    rows: BoxStream<'c, Result<AnyRow, sqlx::Error>>,
    next: Option<(Place, AnyRow)>,
}

impl<'c> Ordered<'c> {
    async fn new(rows: BoxStream<'c, Result<AnyRow, sqlx::Error>>) -> Result<Self, StoreError> {
        let mut ordered = Self { rows, next: None };
        ordered.advance().await?;
        Ok(ordered)
    }

    async fn advance(&mut self) -> Result<(), StoreError> {
        self.next = match self.rows.try_next().await? {
            Some(row) => Some(((row.int("chain")?, row.int("batch")?), row)),
            None => None,
        };
        Ok(())
    }

    /// The next row, if it is of this place.
    async fn take(&mut self, place: Place) -> Result<Option<AnyRow>, StoreError> {
        if self.next.as_ref().is_none_or(|(at, _)| *at != place) {
            return Ok(None);
        }
        let row = self.next.take().map(|(_, row)| row);
        self.advance().await?;
        Ok(row)
    }

    /// The next row, if it lies before this place: no batch covers it.
    async fn stray(&mut self, place: Place) -> Result<Option<AnyRow>, StoreError> {
        match &self.next {
            Some((at, _)) if at.cmp(&place) == Ordering::Less => {
                let at = *at;
                self.take(at).await
            }
            _ => Ok(None),
        }
    }
}

pub(super) async fn check(
    batches: &mut AnyConnection,
    first: &mut AnyConnection,
    second: &mut AnyConnection,
    report: &mut AuditReport,
) -> Result<(), StoreError> {
    let mut links =
        sqlx::query("select chain, batch, prev_hash, hash, n from batchlog order by chain, batch")
            .fetch(batches);
    let mut txns = Ordered::new(
        sqlx::query(
            "select x.*, t.leg, t.debit, t.credit, t.amount as leg_amount
             from txn x left join transfer t on t.txn_id = x.id
             order by x.chain, x.batch, x.id, t.leg",
        )
        .fetch(first),
    )
    .await?;
    let mut used = Ordered::new(
        sqlx::query("select * from usage order by chain, batch, request_id").fetch(second),
    )
    .await?;
    let mut last: Option<(Place, [u8; 32])> = None;
    while let Some(link) = links.try_next().await? {
        report.batches += 1;
        let place: Place = (link.int("chain")?, link.int("batch")?);
        let subject = format!("chain {} batch {}", place.0, place.1);
        let (expected, previous) = match last {
            Some(((chain, batch), hash)) if chain == place.0 => (batch + 1, hash),
            _ => (1, [0; 32]),
        };
        if place.1 != expected {
            let what = format!("the batch before is missing: {}, expected {expected}", place.1);
            report.breach(Invariant::I8, subject.clone(), what);
        } else if link.bytes("prev_hash")? != previous {
            report.breach(
                Invariant::I8,
                subject.clone(),
                "does not follow the batch before".into(),
            );
        }
        strays(&mut txns, place, "id", report).await?;
        strays(&mut used, place, "request_id", report).await?;
        let before: [u8; 32] =
            link.bytes("prev_hash")?.try_into().map_err(|_| StoreError::corrupt("prev_hash"))?;
        let mut sealer = Sealer::new(&before, place.0, place.1);
        let mut rows = 0;
        let mut open: Option<TxnRow> = None;
        let mut unreadable = None;
        while let Some(row) = txns.take(place).await? {
            match read_txn(&row) {
                Ok((next, part)) => {
                    if open.as_ref().is_none_or(|open| open.id != next.id) {
                        rows += 1;
                        if let Some(done) = open.replace(next) {
                            sealer.txn(&done);
                        }
                    }
                    if let Some(open) = &mut open {
                        open.legs.extend(part);
                    }
                }
                Err(error) => unreadable = Some(error),
            }
        }
        if let Some(done) = open {
            sealer.txn(&done);
        }
        while let Some(row) = used.take(place).await? {
            rows += 1;
            match usage(&row) {
                Ok(row) => sealer.usage(&row),
                Err(error) => unreadable = Some(error),
            }
        }
        let hash: [u8; 32] =
            link.bytes("hash")?.try_into().map_err(|_| StoreError::corrupt("hash"))?;
        if let Some(error) = unreadable {
            report.breach(Invariant::I8, subject.clone(), error.to_string());
        } else if sealer.finish() != hash {
            report.breach(Invariant::I8, subject.clone(), "its rows were altered".to_owned());
        }
        if rows != link.int("n")? {
            let what = format!("has {rows} rows, expected {}", link.int("n")?);
            report.breach(Invariant::I8, subject, what);
        }
        last = Some((place, hash));
    }
    Ok(())
}

/// A transaction and one of its legs, if it has any.
fn read_txn(row: &AnyRow) -> Result<(TxnRow, Option<Leg>), StoreError> {
    let part = match row.int_opt("leg")? {
        Some(_) => Some(leg(row)?),
        None => None,
    };
    Ok((txn(row)?, part))
}

async fn strays(
    rows: &mut Ordered<'_>,
    place: Place,
    id: &'static str,
    report: &mut AuditReport,
) -> Result<(), StoreError> {
    while let Some(row) = rows.stray(place).await? {
        report.breach(Invariant::I8, row.text(id)?, "no batch covers this row".to_owned());
    }
    Ok(())
}

//! Who changed what: a hash chain that a later alteration breaks.

use sha2::{Digest, Sha256};
use sqlx::AnyConnection;

use super::Store;
use super::error::StoreError;
use super::page::{Page, Paged};
use super::row::Columns;
use super::write::{Counter, bump};
use crate::domain::Role;

/// What is written beside a change, in the change's own transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// The operator's name, or `relayd`.
    pub actor: String,
    /// As what it was done.
    pub role: Role,
    /// What was done: `key.revoke`.
    pub action: String,
    /// To what: `key_...`.
    pub object: String,
    /// The object before, as JSON; `null` where there was none.
    pub before: String,
    /// The object after.
    pub after: String,
    /// The request that asked. Unique: a second change with it is refused.
    pub request_id: String,
    /// The operator's words.
    pub reason: String,
}

/// A written record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailRow {
    /// Its number, without gaps.
    pub seq: u64,
    /// What was done.
    pub trail: Trail,
    /// The hash of the record before, 32 zero bytes for the first.
    pub prev_hash: [u8; 32],
    /// The hash over that and every field.
    pub hash: [u8; 32],
}

/// What a check of the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrailReport {
    /// Records read.
    pub entries: u64,
    /// The first record whose hash or number does not fit.
    pub broken_at: Option<u64>,
    /// The hash of the last record; 32 zero bytes when there is none.
    pub head: [u8; 32],
}

macro_rules! select_trail {
    ($rest:literal) => {
        concat!(
            "select seq, at_ms, actor, role, action, object, before_json, after_json, request_id,
                reason, prev_hash, hash from audit ",
            $rest
        )
    };
}

impl Trail {
    /// The hash of this record, number `seq`, after `previous`. Fields are framed by their length.
    #[must_use]
    pub fn seal(&self, seq: i64, previous: &[u8; 32]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(previous);
        hash.update(seq.to_be_bytes());
        hash.update(self.at_ms.to_be_bytes());
        for text in [
            self.actor.as_str(),
            self.role.as_str(),
            &self.action,
            &self.object,
            &self.before,
            &self.after,
            &self.request_id,
            &self.reason,
        ] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.finalize().into()
    }
}

impl Store {
    /// Records, newest first; only about `object` unless that is empty. Cursors are numbers.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is no number.
    pub async fn trail(&self, object: &str, page: &Page) -> Result<Paged<TrailRow>, StoreError> {
        let before = page.before_seq()?;
        let rows = sqlx::query(select_trail!(
            "where seq < $1 and ($2 = '' or object = $2) order by seq desc limit $3"
        ))
        .bind(before)
        .bind(object)
        .bind(page.fetch())
        .fetch_all(self.reader())
        .await?;
        page.cut(&rows, read_trail, |row| row.seq.to_string())
    }

    /// The record of a request, by which a retried change finds that it was made.
    ///
    /// # Errors
    /// As every read.
    pub async fn trail_of(&self, request_id: &str) -> Result<Option<TrailRow>, StoreError> {
        let row = sqlx::query(select_trail!("where request_id = $1"))
            .bind(request_id)
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| read_trail(&row)).transpose()
    }

    /// Recomputes the whole chain.
    ///
    /// # Errors
    /// As every read.
    pub async fn verify_trail(&self) -> Result<TrailReport, StoreError> {
        let mut report = TrailReport { entries: 0, broken_at: None, head: [0; 32] };
        // Read first: what is appended while this reads is beyond what must be there.
        let expected = self.counter(Counter::Audit).await?;
        let mut after = 0_i64;
        loop {
            let rows = sqlx::query(select_trail!("where seq > $1 order by seq limit 1000"))
                .bind(after)
                .fetch_all(self.reader())
                .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let row = read_trail(row)?;
                let seq = i64::try_from(row.seq).unwrap_or(i64::MAX);
                let fits = seq == after + 1
                    && row.prev_hash == report.head
                    && row.hash == row.trail.seal(seq, &row.prev_hash);
                if !fits && report.broken_at.is_none() {
                    report.broken_at = Some(row.seq);
                }
                report.entries += 1;
                report.head = row.hash;
                after = seq;
            }
        }
        // A record cut off at the end is missed by its counter alone.
        if report.broken_at.is_none() && after < expected {
            report.broken_at = Some(report.entries + 1);
        }
        Ok(report)
    }
}

/// Appends a record in the caller's transaction.
pub(super) async fn append(conn: &mut AnyConnection, trail: &Trail) -> Result<(), StoreError> {
    // Raising the counter holds its row until the commit: nobody appends between.
    let seq = bump(conn, Counter::Audit).await?;
    let last = sqlx::query("select hash from audit where seq = $1")
        .bind(seq - 1)
        .fetch_optional(&mut *conn)
        .await?;
    let previous: [u8; 32] = match last {
        Some(row) => hash(&row, "hash")?,
        None => [0; 32],
    };
    sqlx::query(
        "insert into audit (seq, at_ms, actor, role, action, object, before_json, after_json,
            request_id, reason, prev_hash, hash)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(seq)
    .bind(trail.at_ms)
    .bind(&trail.actor)
    .bind(trail.role.as_str())
    .bind(&trail.action)
    .bind(&trail.object)
    .bind(&trail.before)
    .bind(&trail.after)
    .bind(&trail.request_id)
    .bind(&trail.reason)
    .bind(previous.to_vec())
    .bind(trail.seal(seq, &previous).to_vec())
    .execute(conn)
    .await?;
    Ok(())
}

fn hash(row: &impl Columns, name: &'static str) -> Result<[u8; 32], StoreError> {
    row.bytes(name)?.try_into().map_err(|_| StoreError::corrupt(name))
}

fn read_trail(row: &sqlx::any::AnyRow) -> Result<TrailRow, StoreError> {
    Ok(TrailRow {
        seq: row.count("seq")?,
        trail: Trail {
            at_ms: row.int("at_ms")?,
            actor: row.text("actor")?,
            role: row.parse("role")?,
            action: row.text("action")?,
            object: row.text("object")?,
            before: row.text("before_json")?,
            after: row.text("after_json")?,
            request_id: row.text("request_id")?,
            reason: row.text("reason")?,
        },
        prev_hash: hash(row, "prev_hash")?,
        hash: hash(row, "hash")?,
    })
}

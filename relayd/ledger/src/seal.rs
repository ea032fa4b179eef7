//! The hash chain over what is append-only.
//!
//! Each batch of a chain is sealed by SHA-256 over the seal before it, its own number, and every
//! field of its transactions, their legs and its usage rows, so that an altered, removed or added
//! row breaks the chain at its batch. Fields are framed by their length, so that no two different
//! batches have one encoding. The order is that of ids: the order of the database, not of time.

use relay_domain::{Meter, Ncr};
use sha2::{Digest, Sha256};

use crate::row::{TxnRow, UsageRow};

/// Seals one batch, row by row.
#[derive(Clone, Debug)]
pub struct Sealer(Sha256);

/// Seals a batch whose rows are at hand, in any order.
#[must_use]
pub fn seal(
    previous: &[u8; 32],
    chain: i64,
    batch: i64,
    txns: &[TxnRow],
    usage: &[UsageRow],
) -> [u8; 32] {
    let mut txns: Vec<&TxnRow> = txns.iter().collect();
    txns.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let mut usage: Vec<&UsageRow> = usage.iter().collect();
    usage.sort_unstable_by_key(|row| row.request);
    let mut sealer = Sealer::new(previous, chain, batch);
    for txn in txns {
        sealer.txn(txn);
    }
    for row in usage {
        sealer.usage(row);
    }
    sealer.finish()
}

impl Sealer {
    /// Begins batch `batch` of chain `chain` after `previous`; the first follows 32 zero bytes.
    #[must_use]
    pub fn new(previous: &[u8; 32], chain: i64, batch: i64) -> Self {
        let mut sealer = Self(Sha256::new());
        sealer.0.update(previous);
        sealer.number(chain);
        sealer.number(batch);
        sealer
    }

    /// Adds a transaction with its legs; all of them in ascending order of their ids.
    pub fn txn(&mut self, txn: &TxnRow) {
        self.0.update(b"t");
        self.text(&txn.id);
        self.text(txn.kind.as_str());
        self.text(&txn.subject);
        self.text(txn.customer.as_str());
        self.number(txn.amount.get());
        self.optional(txn.before.map(Ncr::get));
        self.optional(txn.after.map(Ncr::get));
        self.text(&txn.via);
        self.text(&txn.reason);
        self.text(&txn.actor);
        self.text(&txn.fingerprint);
        self.number(txn.created_ms);
        for leg in &txn.legs {
            self.0.update(b"l");
            self.text(&leg.debit.to_string());
            self.text(&leg.credit.to_string());
            self.number(leg.amount.get());
        }
    }

    /// Adds a usage row, after the transactions; all of them in ascending order of requests.
    pub fn usage(&mut self, row: &UsageRow) {
        self.0.update(b"u");
        self.0.update(row.request.uuid().as_bytes());
        self.text(row.customer.as_str());
        self.text(row.key.as_ref().map_or("", |key| key.as_str()));
        self.text(row.scope.mode.as_str());
        self.text(row.scope.source.as_str());
        self.text(row.scope.model.as_str());
        self.text(row.price.as_str());
        self.number(i64::from(row.usage.attempt));
        self.text(row.usage.backend.as_deref().unwrap_or_default());
        for meter in Meter::ALL {
            self.0.update(row.usage.meters.get(meter).to_be_bytes());
        }
        self.text(row.usage.count.as_str());
        self.0.update([u8::from(row.usage.estimated), u8::from(row.stream)]);
        self.text(row.usage.status.as_str());
        self.text(row.usage.error_code.as_deref().unwrap_or_default());
        self.text(row.usage.blame.map_or("", |blame| blame.as_str()));
        self.optional(row.usage.ttft_ms);
        self.optional(row.usage.upstream_ms);
        self.number(row.usage.done_ms);
        self.text(row.usage.task_id.as_deref().unwrap_or_default());
        self.number(row.created_ms);
        self.number(row.charge.get());
        self.number(row.write_off.get());
        // Each under its own mark, so that rows from before there were any keep their seal.
        if let Some(claimed) = row.usage.claimed {
            self.0.update(b"c");
            self.0.update(claimed.input.to_be_bytes());
            self.0.update(claimed.output.to_be_bytes());
        }
        if let Some(earned) = &row.earned {
            self.0.update(b"e");
            self.text(earned.provider.as_str());
            self.number(earned.amount.get());
        }
    }

    /// The seal.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn number(&mut self, number: i64) {
        self.0.update(number.to_be_bytes());
    }

    fn optional(&mut self, number: Option<i64>) {
        match number {
            Some(number) => {
                self.0.update([1]);
                self.number(number);
            }
            None => self.0.update([0]),
        }
    }

    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }
}

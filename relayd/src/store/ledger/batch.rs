//! One commit, as both stores write it.

use crate::ledger::{Decision, seal};

/// The end of a hash chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The chain.
    pub(super) chain: i64,
    /// The number of the last batch; 0 before the first.
    pub(super) batch: i64,
    /// Its seal.
    pub(super) hash: [u8; 32],
}

/// The record of one batch in its chain.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Where the chain stands after it.
    pub(super) head: Head,
    /// The seal before.
    pub(super) previous: [u8; 32],
    /// How many append-only rows it covers.
    pub(super) rows: i64,
    /// The latest time of its rows, milliseconds since the epoch.
    pub(super) at_ms: i64,
}

/// What a batch comes to: the rows to write, and their link in the chain if any is append-only.
pub(super) type Decided = (Decision, Option<Link>);

impl Head {
    /// The beginning of a chain.
    pub(super) const fn start(chain: i64) -> Self {
        Self { chain, batch: 0, hash: [0; 32] }
    }

    /// The link that a decision adds; none when it appends nothing.
    pub(super) fn link(&self, decision: &Decision) -> Option<Link> {
        if decision.txns.is_empty() && decision.usage.is_empty() {
            return None;
        }
        let batch = self.batch + 1;
        let hash = seal(&self.hash, self.chain, batch, &decision.txns, &decision.usage);
        let txns = decision.txns.iter().map(|txn| txn.created_ms);
        let usage = decision.usage.iter().map(|row| row.usage.done_ms);
        Some(Link {
            head: Self { chain: self.chain, batch, hash },
            previous: self.hash,
            rows: i64::try_from(decision.txns.len() + decision.usage.len()).unwrap_or(i64::MAX),
            at_ms: txns.chain(usage).max().unwrap_or(0),
        })
    }
}

/// Whether nothing is to be written.
pub(super) fn is_empty(decision: &Decision) -> bool {
    decision.accounts.is_empty()
        && decision.holds.is_empty()
        && decision.txns.is_empty()
        && decision.usage.is_empty()
}

/// A count as the stores keep it. No meter reaches 2^63.
pub(super) fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

//! What was used since 00:00 UTC, by key: read once for everybody, and never more than the store
//! can bear.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::now_ms;
use crate::domain::{Fault, KeyId, Ncr};
use crate::store::{GroupBy, Span, Store, UsageOf, UsageSum};

/// Totals younger than this are good enough for everybody.
const AGE_MIN: Duration = Duration::from_millis(900);
/// Reading the totals may take at most one part in so many of the time, however long the day was.
const SHARE: u32 = 20;

/// The totals. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Today {
    store: Store,
    newest: Arc<Mutex<Option<Read>>>,
}

/// Sums since 00:00 UTC.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) by_key: HashMap<KeyId, UsageSum>,
    pub(super) charged: Ncr,
}

#[derive(Debug)]
struct Read {
    at: Instant,
    took: Duration,
    day: Span,
    totals: Arc<Totals>,
}

impl Today {
    pub(super) fn new(store: Store) -> Self {
        Self { store, newest: Arc::default() }
    }

    pub(super) async fn totals(&self) -> Result<Arc<Totals>, Fault> {
        let mut newest = self.newest.lock().await;
        let day = Span::day_of(now_ms());
        if let Some(read) = &*newest
            && read.day == day
            && read.at.elapsed() < (read.took * SHARE).max(AGE_MIN)
        {
            return Ok(Arc::clone(&read.totals));
        }
        let begun = Instant::now();
        let by = GroupBy { key: true, ..GroupBy::default() };
        let sums = self.store.summarize(&UsageOf::default(), day, by).await?;
        let mut totals = Totals::default();
        for sum in sums {
            totals.charged = totals.charged.checked_add(sum.charged).unwrap_or(Ncr::MAX);
            if let Some(key) = &sum.key {
                totals.by_key.insert(key.clone(), sum);
            }
        }
        let totals = Arc::new(totals);
        let at = Instant::now();
        *newest = Some(Read { at, took: at - begun, day, totals: Arc::clone(&totals) });
        Ok(totals)
    }
}

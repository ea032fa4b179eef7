//! Keys with what they do today and now, for lists and watches.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::keys_update::Update;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::admin::convert;
use crate::admin::today::Today;
use crate::admin::watch::{Watched, difference};
use crate::domain::Fault;
use crate::observe::Observe;
use crate::store::{ApiKey, Counter, KeyFilter, PAGE_MAX, Page, Store};

/// Keys that a watch shows: with 400 bytes each they fill half of the largest message.
const WATCHED_MAX: usize = 5_000;
/// Keys read to choose those from.
const READ_MAX: usize = 20_000;
/// Budgets and times of last use change without a change of the key; they are this old at most.
const ROWS_AGE: Duration = Duration::from_secs(5);

/// All keys. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(in crate::admin) struct KeysView {
    store: Store,
    observe: Observe,
    today: Today,
    rows: Arc<Mutex<Option<Rows>>>,
}

struct Rows {
    at: Instant,
    counter: i64,
    keys: Arc<[ApiKey]>,
}

impl KeysView {
    pub(in crate::admin) fn new(store: Store, observe: Observe, today: Today) -> Self {
        Self { store, observe, today, rows: Arc::default() }
    }

    /// These keys as the protocol shows them.
    pub(super) async fn shown(&self, keys: &[ApiKey]) -> Result<Vec<proto::Key>, Fault> {
        let today = self.today.totals().await?;
        let live = self.observe.keys();
        let shown = |key: &ApiKey| {
            let activity = live.get(&key.id).copied().unwrap_or_default();
            proto::Key {
                today: Some(convert::key_today(today.by_key.get(&key.id), &activity)),
                now: Some(convert::key_now(&activity)),
                ..convert::key(key)
            }
        };
        Ok(keys.iter().map(shown).collect())
    }

    async fn rows(&self) -> Result<Arc<[ApiKey]>, Fault> {
        let mut rows = self.rows.lock().await;
        let counter = self.store.counter(Counter::Keys).await?;
        if let Some(rows) = &*rows
            && rows.counter == counter
            && rows.at.elapsed() < ROWS_AGE
        {
            return Ok(Arc::clone(&rows.keys));
        }
        let filter = KeyFilter { system: true, ..KeyFilter::default() };
        let mut keys = Vec::new();
        let mut page = Page::first(PAGE_MAX);
        loop {
            let found = self.store.keys(&filter, &page).await?;
            keys.extend(found.rows);
            match found.next {
                Some(next) if keys.len() < READ_MAX => page = Page::new(Some(&next), PAGE_MAX),
                _ => break,
            }
        }
        let keys: Arc<[ApiKey]> = keys.into();
        *rows = Some(Rows { at: Instant::now(), counter, keys: Arc::clone(&keys) });
        Ok(keys)
    }
}

impl Watched for KeysView {
    type View = Vec<proto::Key>;
    type Update = proto::KeysUpdate;

    async fn view(&self) -> Result<Vec<proto::Key>, Fault> {
        let mut shown = self.shown(&self.rows().await?).await?;
        if shown.len() > WATCHED_MAX {
            shown.sort_by_key(|key| Reverse(key.today.as_ref().map_or(0, |today| today.requests)));
            shown.truncate(WATCHED_MAX);
        }
        Ok(shown)
    }

    fn snapshot(seq: u64, view: &Vec<proto::Key>) -> proto::KeysUpdate {
        let all = proto::KeysSnapshot { keys: view.clone() };
        proto::KeysUpdate { seq, update: Some(Update::Snapshot(all)) }
    }

    fn delta(seq: u64, old: &Vec<proto::Key>, new: &Vec<proto::Key>) -> Option<proto::KeysUpdate> {
        let (changed, removed) = difference(old, new, |key| &key.key_id)?;
        let delta = proto::KeysDelta { changed, removed };
        Some(proto::KeysUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::KeysUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::KeysUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

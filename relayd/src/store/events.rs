//! What happened, in order.

use super::Store;
use super::error::StoreError;
use super::page::{Page, Paged};
use super::row::Columns;
use super::write::{Counter, bump_by};

/// Most events of one append: what the events room buffers between two writes.
pub const EVENT_BATCH_MAX: usize = 1_000;

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look.
    Warning,
    /// Wants a person now.
    Critical,
}

/// An event to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// When, milliseconds since the epoch.
    pub at_ms: i64,
    /// What kind, in dotted words: `backend.down`.
    pub kind: String,
    /// How grave.
    pub severity: Severity,
    /// What it is about: a backend, a key, a customer; may be empty.
    pub subject: String,
    /// A sentence for people.
    pub text: String,
    /// Further facts, a JSON object.
    pub json: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its number: without gaps, in the order of commits, over all replicas.
    pub seq: u64,
    /// What happened.
    pub event: NewEvent,
}

/// Which events to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only of kinds that begin so.
    pub kind_prefix: String,
    /// Only about this.
    pub subject: String,
}

impl Severity {
    /// The word, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl std::str::FromStr for Severity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Info, Self::Warning, Self::Critical]
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| format!("unknown severity '{text}', expected info, warning or critical"))
    }
}

macro_rules! select_event {
    ($rest:literal) => {
        concat!("select seq, at_ms, kind, severity, subject, text, json from event ", $rest)
    };
}

impl Store {
    /// Appends events in order and tells the number of the last; zero when there were none.
    ///
    /// # Errors
    /// [`StoreError::Precondition`] for more than [`EVENT_BATCH_MAX`]; otherwise as every write.
    pub async fn append_events(&self, events: Vec<NewEvent>) -> Result<u64, StoreError> {
        if events.len() > EVENT_BATCH_MAX {
            return Err(StoreError::Precondition("too many events for one append"));
        }
        if events.is_empty() {
            return Ok(0);
        }
        self.quiet_write(move |conn| {
            Box::pin(async move {
                let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
                let last = bump_by(conn, Counter::Events, count).await?;
                for (event, seq) in events.iter().zip(last - count + 1..) {
                    sqlx::query(
                        "insert into event (seq, at_ms, kind, severity, subject, text, json)
                         values ($1, $2, $3, $4, $5, $6, $7)",
                    )
                    .bind(seq)
                    .bind(event.at_ms)
                    .bind(&event.kind)
                    .bind(event.severity.as_str())
                    .bind(&event.subject)
                    .bind(&event.text)
                    .bind(&event.json)
                    .execute(&mut *conn)
                    .await?;
                }
                u64::try_from(last).map_err(|_| StoreError::corrupt("event counter"))
            })
        })
        .await
    }

    /// Events after `since`, oldest first, at most `limit` (1 to 1,000).
    ///
    /// # Errors
    /// As every read.
    pub async fn events_since(&self, since: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(select_event!("where seq > $1 order by seq limit $2"))
            .bind(i64::try_from(since).unwrap_or(i64::MAX))
            .bind(i64::from(limit.clamp(1, super::page::PAGE_MAX)))
            .fetch_all(self.reader())
            .await?;
        rows.iter().map(read_event).collect()
    }

    /// Events that match, newest first. Cursors are numbers.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is no number.
    pub async fn events(
        &self,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<Paged<Event>, StoreError> {
        let before = page.before_seq()?;
        let rows = sqlx::query(select_event!(
            "where seq < $1 and ($2 = '' or substr(kind, 1, length($2)) = $2)
                and ($3 = '' or subject = $3)
             order by seq desc limit $4"
        ))
        .bind(before)
        .bind(&filter.kind_prefix)
        .bind(&filter.subject)
        .bind(page.fetch())
        .fetch_all(self.reader())
        .await?;
        page.cut(&rows, read_event, |event| event.seq.to_string())
    }
}

fn read_event(row: &sqlx::any::AnyRow) -> Result<Event, StoreError> {
    Ok(Event {
        seq: row.count("seq")?,
        event: NewEvent {
            at_ms: row.int("at_ms")?,
            kind: row.text("kind")?,
            severity: row.parse("severity")?,
            subject: row.text("subject")?,
            text: row.text("text")?,
            json: row.text("json")?,
        },
    })
}

//! Pages of a listing, by key and never by offset.

use super::error::StoreError;

/// Most rows of one page: about a megabyte of the widest row.
pub const PAGE_MAX: u32 = 1_000;

/// Which page is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    after: String,
    limit: u32,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paged<T> {
    /// The rows, in the listing's order.
    pub rows: Vec<T>,
    /// The cursor of the next page; none on the last.
    pub next: Option<String>,
}

impl Page {
    /// A page of at most `limit` rows (1 to [`PAGE_MAX`], brought into that range) after the row
    /// that `after` names; the first page when it names none.
    #[must_use]
    pub fn new(after: Option<&str>, limit: u32) -> Self {
        Self { after: after.unwrap_or_default().to_owned(), limit: limit.clamp(1, PAGE_MAX) }
    }

    /// The first page.
    #[must_use]
    pub fn first(limit: u32) -> Self {
        Self::new(None, limit)
    }

    pub(super) fn after(&self) -> &str {
        &self.after
    }

    /// The cursor as a number that rows of the page lie below.
    pub(super) fn before_seq(&self) -> Result<i64, StoreError> {
        if self.after.is_empty() {
            return Ok(i64::MAX);
        }
        self.after.parse().map_err(|_| StoreError::NotFound("cursor"))
    }

    /// How many rows to ask for: one more than wanted tells whether there is a next page.
    pub(super) fn fetch(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Reads the fetched rows and cuts the page.
    pub(super) fn cut<R, T>(
        &self,
        rows: &[R],
        read: impl Fn(&R) -> Result<T, StoreError>,
        cursor: impl Fn(&T) -> String,
    ) -> Result<Paged<T>, StoreError> {
        let limit = self.limit as usize;
        let more = rows.len() > limit;
        let rows = rows.iter().take(limit).map(read).collect::<Result<Vec<T>, StoreError>>()?;
        let next = rows.last().filter(|_| more).map(cursor);
        Ok(Paged { rows, next })
    }
}

//! Requests counted in a minute by all replicas together.
//!
//! A replica takes a few requests at a time and gives back what it did not need, so that the sum
//! over all replicas never passes a limit. Only PostgreSQL is shared; on SQLite there is one
//! process, which counts by itself.

use super::Store;
use super::error::StoreError;
use super::row::Columns;
use crate::domain::Mode;

/// How long a window lasts, in milliseconds.
pub const RATE_WINDOW_MS: i64 = 60_000;

/// Windows that ended this long ago are forgotten, in milliseconds.
const KEPT_MS: i64 = 2 * RATE_WINDOW_MS;

/// What stands for no limit: no minute sees as many requests.
const UNLIMITED: i64 = 1 << 40;

/// A wish for a few requests of a window.
#[derive(Clone, Debug)]
pub struct RateWish {
    /// Whose requests are counted together.
    pub subject: String,
    /// In which mode.
    pub mode: Mode,
    /// How many, if there are as many left.
    pub take: u32,
    /// Most of that mode in a window.
    pub limit: Option<u32>,
    /// Most of all modes in a window.
    pub global: Option<u32>,
}

/// What a wish was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateGrant {
    /// How many requests; zero when a limit is reached.
    pub granted: u32,
    /// Requests of the mode counted in the window, these included.
    pub of_mode: u32,
    /// Requests of all modes, these included.
    pub total: u32,
    /// When the window began, by the database's clock.
    pub began_ms: i64,
    /// How long it lasts from now.
    pub left_ms: u32,
}

/// Counts a wish in its window, which begins anew once a minute has passed. One statement, so that
/// replicas never see each other's halves.
const TAKE: &str = "
insert into rate_window as w (subject, began_ms, direct, opengpu, granted)
select $1, c.now, g.n * $5, g.n * $6, g.n
from (select cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as now) c,
     (select greatest(0, least($2, $3, $4)) as n) g
on conflict (subject) do update set
    granted = greatest(0, case when w.began_ms + 60000 <= excluded.began_ms
        then least($2, $3, $4)
        else least($2, $3 - (w.direct * $5 + w.opengpu * $6), $4 - (w.direct + w.opengpu)) end),
    direct = case when w.began_ms + 60000 <= excluded.began_ms then 0 else w.direct end
        + $5 * greatest(0, case when w.began_ms + 60000 <= excluded.began_ms
        then least($2, $3, $4)
        else least($2, $3 - (w.direct * $5 + w.opengpu * $6), $4 - (w.direct + w.opengpu)) end),
    opengpu = case when w.began_ms + 60000 <= excluded.began_ms then 0 else w.opengpu end
        + $6 * greatest(0, case when w.began_ms + 60000 <= excluded.began_ms
        then least($2, $3, $4)
        else least($2, $3 - (w.direct * $5 + w.opengpu * $6), $4 - (w.direct + w.opengpu)) end),
    began_ms = case when w.began_ms + 60000 <= excluded.began_ms
        then excluded.began_ms else w.began_ms end
returning w.granted, w.direct, w.opengpu, w.began_ms,
    w.began_ms + 60000 - cast(extract(epoch from clock_timestamp()) * 1000 as bigint) as left_ms";

impl Store {
    /// Takes requests of a shared window.
    ///
    /// # Errors
    /// When the database cannot be reached; nothing is known to be counted then.
    pub async fn take_rate(&self, wish: RateWish) -> Result<RateGrant, StoreError> {
        let (direct, opengpu) = flags(wish.mode);
        let pool = self.reader().clone();
        // In a task of its own: a caller that leaves must not drop a connection mid-statement.
        let task = self.writes().spawn(async move {
            let bound = |limit: Option<u32>| limit.map_or(UNLIMITED, i64::from);
            sqlx::query(TAKE)
                .bind(wish.subject)
                .bind(i64::from(wish.take))
                .bind(bound(wish.limit))
                .bind(bound(wish.global))
                .bind(direct)
                .bind(opengpu)
                .fetch_one(&pool)
                .await
        });
        let row = task.await.map_err(|error| StoreError::Internal(error.to_string()))??;
        let number = |name| Ok::<_, StoreError>(u32::try_from(row.int(name)?).unwrap_or(u32::MAX));
        let (of_direct, of_opengpu) = (number("direct")?, number("opengpu")?);
        Ok(RateGrant {
            granted: number("granted")?,
            of_mode: if direct == 1 { of_direct } else { of_opengpu },
            total: of_direct.saturating_add(of_opengpu),
            began_ms: row.int("began_ms")?,
            left_ms: u32::try_from(row.int("left_ms")?).unwrap_or(0),
        })
    }

    /// Gives back requests of a window that were taken and not needed, unless it is over.
    ///
    /// # Errors
    /// When the database cannot be reached; they stay counted until the window ends.
    pub async fn return_rate(
        &self,
        subject: &str,
        mode: Mode,
        began_ms: i64,
        unused: u32,
    ) -> Result<(), StoreError> {
        let (direct, opengpu) = flags(mode);
        sqlx::query(
            "update rate_window set direct = direct - $3, opengpu = opengpu - $4
             where subject = $1 and began_ms = $2",
        )
        .bind(subject)
        .bind(began_ms)
        .bind(direct * i64::from(unused))
        .bind(opengpu * i64::from(unused))
        .execute(self.reader())
        .await?;
        Ok(())
    }

    /// Forgets windows that ended a while ago.
    ///
    /// # Errors
    /// As every write.
    pub async fn forget_rates(&self) -> Result<(), StoreError> {
        let now = sqlx::query(self.engine().now()).fetch_one(self.reader()).await?.int("now")?;
        sqlx::query("delete from rate_window where began_ms < $1")
            .bind(now.saturating_sub(KEPT_MS))
            .execute(self.reader())
            .await?;
        Ok(())
    }
}

const fn flags(mode: Mode) -> (i64, i64) {
    match mode {
        Mode::Direct => (1, 0),
        Mode::Opengpu => (0, 1),
    }
}

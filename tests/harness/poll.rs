//! Waiting for what happens elsewhere, with a bound.

use std::time::Duration;

use anyhow::bail;
use tokio::time::Instant;

/// Longest wait; on a busy machine everything takes longer than on an idle one.
const BOUND: Duration = Duration::from_secs(60);
/// Between two looks.
const STEP: Duration = Duration::from_millis(25);

/// Looks until there is something.
///
/// # Errors
/// When a look fails, or nothing comes within a minute.
pub async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let until = Instant::now() + BOUND;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() > until {
            bail!("waited {BOUND:?} in vain for {what}");
        }
        tokio::time::sleep(STEP).await;
    }
}

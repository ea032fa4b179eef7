//! Every long-lived task has a name, an owner and a token that stops it.
//!
//! A critical task that ends before it was told to, by error or by panic, starts the shutdown of
//! the process: half a daemon is worse than none. Stopping goes in the order that `app` gives.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What a task is to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The process stops when this task ends.
    Critical,
    /// The process goes on without it; its end is logged.
    Helpful,
}

/// How a task ended.
struct Ended {
    name: &'static str,
    weight: Weight,
    failure: Option<String>,
}

/// Owner of the named tasks.
pub struct Supervisor {
    stop: CancellationToken,
    tasks: JoinSet<Ended>,
}

impl Supervisor {
    /// An owner whose tasks stop with `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, tasks: JoinSet::new() }
    }

    /// Starts a task. It should watch its own child of the stop token and then end.
    pub fn spawn<E: Display>(
        &mut self,
        name: &'static str,
        weight: Weight,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            let failure = task.await.err().map(|error| error.to_string());
            Ended { name, weight, failure }
        });
    }

    /// Waits until the stop token fires or a critical task ends. Returns the reason in the second
    /// case.
    pub async fn watch(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Some(reason) = ended.and_then(Self::judge) {
                        return Some(reason);
                    }
                }
            }
        }
    }

    /// Waits for every task to end.
    pub async fn ended(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            Self::judge(ended);
        }
    }

    /// Waits for every task to end, at most `limit`; what is left then is aborted and named.
    pub async fn join(mut self, limit: Duration) {
        if tokio::time::timeout(limit, self.ended()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "tasks did not stop in time, ending them");
            self.tasks.shutdown().await;
        }
    }

    /// Logs how a task ended; a reason to stop where it was critical.
    fn judge(ended: Result<Ended, tokio::task::JoinError>) -> Option<String> {
        match ended {
            Ok(Ended { name, weight, failure }) => {
                match &failure {
                    Some(error) => tracing::error!(task = name, %error, "task failed"),
                    None => tracing::debug!(task = name, "task ended"),
                }
                (weight == Weight::Critical).then(|| {
                    format!("{name}: {}", failure.unwrap_or_else(|| "ended early".to_owned()))
                })
            }
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "task panicked");
                Some(format!("a task panicked: {error}"))
            }
            Err(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_critical_task_that_ends_stops_the_process() {
        let mut tasks = Supervisor::new(CancellationToken::new());
        tasks.spawn("helpful", Weight::Helpful, async { Err("gone") });
        tasks.spawn("listener", Weight::Critical, async { Err("port taken") });
        tasks.spawn("other", Weight::Critical, async { pending::<Result<(), &str>>().await });
        assert_eq!(tasks.watch().await.as_deref(), Some("listener: port taken"));
    }

    #[tokio::test]
    async fn the_token_stops_and_stragglers_are_ended() {
        let stop = CancellationToken::new();
        let mut tasks = Supervisor::new(stop.clone());
        tasks.spawn("straggler", Weight::Critical, async { pending::<Result<(), &str>>().await });
        stop.cancel();
        assert_eq!(tasks.watch().await, None);
        tasks.join(Duration::from_millis(1)).await;
    }
}

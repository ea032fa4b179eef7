//! A stream after its first content: relayed frame by frame, never past what is reserved.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::time::{Instant, MissedTickBehavior};

use super::Inner;
use super::client::Client;
use super::count::{self, Count, Read};
use super::dispatch::{engine_error, outcome_of};
use super::own::Heard;
use super::plan::{self, Window};
use super::task::{Task, left};
use crate::domain::{Code, Fault, Ncr};
use crate::engines::{Blame, EngineError, ReplyStream, Timed};
use crate::fleet::{Outcome, Runtime};
use crate::ledger::UsageStatus;
use crate::metering::{Growth, Hold};
use crate::observe::LiveRequest;
use crate::rollouts::SampleEnd;
use crate::wire::{Finish, TailReason, Translator};

/// Time between two notes to the ledger of how far a stream got: what a crash can cost us at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// Everything that a stream needs while it runs.
pub(super) struct Relay<'a> {
    pub(super) inner: &'a Inner,
    pub(super) task: &'a Task,
    pub(super) live: &'a LiveRequest,
    pub(super) client: &'a mut Client,
    pub(super) hold: &'a mut Hold,
    pub(super) window: Window,
    /// Where it runs.
    pub(super) runtime: &'a Runtime,
    pub(super) translator: Box<Translator>,
    pub(super) upstream: Box<Timed<ReplyStream>>,
    /// Whether a provider answers, whose own counts are not billed.
    pub(super) provided: bool,
    /// How long the engine was waited for so far.
    pub(super) waited: Duration,
}

/// How an answer ended.
pub(super) struct Ended {
    pub(super) status: UsageStatus,
    pub(super) fault: Option<Fault>,
    pub(super) blame: Option<Blame>,
    pub(super) count: Count,
    /// Why the answer ended, by the engine's word.
    pub(super) finish: Option<Finish>,
    /// What is said after the commit.
    pub(super) rest: Rest,
    /// What came from a provider, to be counted anew.
    pub(super) heard: Option<Heard>,
    /// How long the engine was waited for, after its first content.
    pub(super) waited: Duration,
    outcome: Option<Outcome>,
}

/// What is said after the commit.
pub(super) enum Rest {
    /// The client is gone.
    Nothing,
    /// A whole body.
    Body(Bytes),
    /// Usage and end marker.
    Tail(Box<Translator>, TailReason),
    /// The fault that ends the stream.
    Fault,
}

/// Why the relay stopped reading.
enum Stop {
    /// The engine said its last word.
    Finished,
    /// The wallet does not cover more.
    Spent,
    /// The client left, or stalled.
    Left,
    /// The engine failed.
    Broken(EngineError),
    /// The process ends.
    Ending,
}

/// A reservation of more, on its way.
type Growing = Pin<Box<dyn Future<Output = Result<Growth, Fault>> + Send>>;

impl Ended {
    /// A whole answer, complete.
    pub(super) const fn whole(body: Bytes, count: Count, finish: Finish) -> Self {
        Self {
            status: UsageStatus::Completed,
            fault: None,
            blame: None,
            count,
            finish: Some(finish),
            rest: Rest::Body(body),
            heard: None,
            waited: Duration::ZERO,
            outcome: None,
        }
    }

    /// What the backend's breaker is told.
    pub(super) fn outcome(&self, ttft: Duration) -> Outcome {
        self.outcome.clone().unwrap_or(Outcome::Ok { ttft })
    }

    /// What the revision is told, whose first content came after `ttft` and the rest within
    /// `generating`.
    pub(super) fn sample(&self, ttft: Duration, generating: Duration) -> SampleEnd {
        let tokens = self.count.meters.output();
        // The request's whole time was over: so slow it was, whoever set the bound.
        let out_of_time =
            self.fault.as_ref().is_some_and(|fault| fault.code == Code::UpstreamTimeout);
        match (self.status, self.blame) {
            (UsageStatus::Cancelled, _) => SampleEnd::GivenUp { ttft, generating, tokens },
            (_, Some(Blame::Backend)) => SampleEnd::Failed,
            (_, Some(Blame::Relay)) if out_of_time => {
                SampleEnd::GivenUp { ttft, generating, tokens }
            }
            (UsageStatus::Failed, _) => SampleEnd::Cancelled,
            _ => SampleEnd::Answered { finish: self.finish, ttft, generating, tokens },
        }
    }
}

impl Relay<'_> {
    /// Relays until the end, whatever it is. `frames` are those up to the first content.
    pub(super) async fn run(mut self, frames: Vec<Bytes>) -> Ended {
        let stop = if self.client.begin_stream() { self.pump(frames).await } else { Stop::Left };
        self.ended(stop)
    }

    async fn pump(&mut self, mut frames: Vec<Bytes>) -> Stop {
        let mut growing: Option<(Window, Growing)> = None;
        let mut checkpoints =
            tokio::time::interval_at(Instant::now() + CHECKPOINT_EVERY, CHECKPOINT_EVERY);
        checkpoints.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = 0;
        // From here to the end, so that what is told while a slow reader is waited for is heard.
        let runtime = self.runtime;
        let mut taken_away = std::pin::pin!(runtime.ended());
        loop {
            // A slow reader bounds nothing else: not the request's time, not a drain, not an end.
            tokio::select! {
                biased;
                taken = self.client.send(&mut frames, self.inner.bounds.write_stall) => {
                    if !taken {
                        return Stop::Left;
                    }
                }
                () = self.inner.ending.cancelled() => return Stop::Ending,
                () = &mut taken_away => return Stop::Broken(EngineError::taken_away()),
                () = tokio::time::sleep_until(self.task.until) => {
                    return Stop::Broken(EngineError::total_timeout());
                }
            }
            let used = self.used();
            self.live.progress(used - shown);
            shown = used;
            if self.translator.seen().finished {
                return Stop::Finished;
            }
            if growing.is_none()
                && let Some(next) = self.window.next(used)
            {
                match self.grow(next) {
                    Ok(growth) => growing = Some((next, growth)),
                    Err(_) => return Stop::Spent,
                }
            }
            let spent = self.window.is_spent(used);
            let asked = Instant::now();
            tokio::select! {
                biased;
                () = self.client.left() => return Stop::Left,
                () = self.inner.ending.cancelled() => return Stop::Ending,
                () = &mut taken_away => return Stop::Broken(EngineError::taken_away()),
                grown = grown(&mut growing) => {
                    let (window, grown) = grown;
                    growing = None;
                    match grown {
                        Ok(growth) => {
                            self.hold.grown(growth);
                            self.window = window;
                        }
                        Err(fault) if matches!(fault.code, Code::InsufficientCredits | Code::KeyBudgetExhausted) => {
                            if spent {
                                return Stop::Spent;
                            }
                            // What is reserved is still served; nothing more is asked for.
                            self.window = self.window.closed();
                        }
                        Err(fault) => {
                            tracing::warn!(%fault, "a stream's window could not be renewed");
                            self.window = self.window.closed();
                        }
                    }
                }
                // Past the reserved window nothing is read: the engine waits.
                chunk = self.upstream.next(), if !spent => match chunk {
                    Some(Ok(chunk)) => {
                        if let Err(error) = self.translator.push(&chunk, &mut frames) {
                            return Stop::Broken(engine_error(error));
                        }
                    }
                    Some(Err(error)) => return Stop::Broken(error),
                    None => {
                        return match self.translator.end_of_input() {
                            Ok(()) => Stop::Finished,
                            Err(error) => Stop::Broken(engine_error(error)),
                        };
                    }
                },
                _ = checkpoints.tick() => {
                    let so_far = self.read(false).meters;
                    self.hold.checkpoint(&so_far);
                }
            }
            if !spent {
                self.waited += asked.elapsed();
            }
            if self.window.is_closed() && self.used() >= self.window.reserved() {
                return Stop::Spent;
            }
        }
    }

    /// Asks for the next window.
    fn grow(&self, window: Window) -> Result<Growing, Fault> {
        let total: Ncr = self.task.ceiling.price(&self.task.offer.price, window.reserved())?;
        Ok(Box::pin(self.hold.extend(total)))
    }

    /// Output tokens seen so far: reported as we go, or at least one for each content event.
    fn used(&self) -> u64 {
        let seen = self.translator.seen();
        if self.provided {
            return count::shown(seen.deltas, seen.out_bytes);
        }
        seen.running.map_or(0, |running| running.output()).max(seen.deltas)
    }

    fn read(&self, complete: bool) -> Count {
        let seen = self.translator.seen();
        if self.provided {
            let deltas = count::shown(seen.deltas, seen.out_bytes);
            let read = Read { deltas, ..Read::default() };
            let bytes = self.task.request.prompt_bytes();
            return self.task.capped(count::count(&read, bytes, complete));
        }
        let read = Read {
            usage: seen.usage,
            running: seen.running,
            prompt: seen.prompt,
            estimated: false,
            deltas: seen.deltas,
            out_bytes: seen.out_bytes,
        };
        self.task.capped(count::count(&read, self.task.request.prompt_bytes(), complete))
    }

    fn ended(mut self, stop: Stop) -> Ended {
        let complete = matches!(stop, Stop::Finished);
        let count = self.read(complete);
        let seen = self.translator.seen();
        let claim = seen.usage.or(seen.running);
        let words = self.translator.take_transcript().filter(|_| self.provided);
        let heard = words.map(|transcript| Heard { transcript, claim });
        let waited = self.waited;
        Ended { heard, waited, ..self.stopped(stop, count) }
    }

    fn stopped(self, stop: Stop, count: Count) -> Ended {
        let finish = self.translator.seen().finish;
        let done = |status, rest| Ended {
            status,
            fault: None,
            blame: None,
            count,
            finish,
            rest,
            heard: None,
            waited: Duration::ZERO,
            outcome: None,
        };
        let failed = |fault: Fault, blame, rest, outcome| Ended {
            status: UsageStatus::Failed,
            fault: Some(fault),
            blame: Some(blame),
            count,
            finish,
            rest,
            heard: None,
            waited: Duration::ZERO,
            outcome,
        };
        match stop {
            Stop::Finished => {
                done(UsageStatus::Completed, Rest::Tail(self.translator, TailReason::Finished))
            }
            Stop::Spent => Ended {
                fault: Some(plan::insufficient()),
                blame: Some(Blame::Client),
                ..done(
                    UsageStatus::Completed,
                    Rest::Tail(self.translator, TailReason::InsufficientCredits),
                )
            },
            Stop::Left => Ended {
                fault: Some(left()),
                blame: Some(Blame::Client),
                ..done(UsageStatus::Cancelled, Rest::Nothing)
            },
            Stop::Broken(error) => {
                let outcome = Some(outcome_of(&error));
                failed(error.fault(), error.blame, Rest::Fault, outcome)
            }
            Stop::Ending => {
                let outcome = Some(Outcome::Cancelled);
                failed(super::stopping(), Blame::Relay, Rest::Fault, outcome)
            }
        }
    }
}

/// The end of the reservation under way; never, when there is none.
async fn grown(growing: &mut Option<(Window, Growing)>) -> (Window, Result<Growth, Fault>) {
    match growing {
        Some((window, growth)) => (*window, growth.await),
        None => std::future::pending().await,
    }
}

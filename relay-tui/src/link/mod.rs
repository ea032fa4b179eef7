//! The way to one daemon, on a task of its own.
//!
//! It connects, asks who we are, keeps the wanted watches open and carries calls. It never gives
//! up and never ends while somebody listens: a failure becomes a state and a sentence. It is the
//! only room that names tonic or the protocol, and it knows nothing of screens or keys.
//!
//! A change is sent once. When the link breaks before the answer, the outcome is unknown until the
//! audit log, asked for the request id on the next connection, says whether it was done.

mod backoff;
mod calls;
mod channel;
mod convert;
mod hosts;
mod once;
mod problem;
mod providers;
mod rollouts;
mod streams;

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

pub(crate) use self::backoff::Backoff;
use self::calls::{Answer, Sent};
use self::channel::Wire;
pub(crate) use self::once::{Page, once};
use self::streams::{Item, Said};
use crate::config::Target;
use crate::model::call::{Found, Outcome, Read};
use crate::model::data::Session;
use crate::model::link::{LAG_AFTER_MS, LinkState, SLOW_ROUND_TRIP_MS, STALE_AFTER_MS, Stream};
use crate::msg::{Ask, Msg, Told};

/// Messages between the streams' readers and the link: they wait when the screen is slow, and the
/// daemon then merges what it would have sent.
const STREAM_QUEUE: usize = 16;

/// How long things may take. Shorter in tests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    /// TCP, TLS and the first answer.
    pub(crate) connect: Duration,
    /// One call; a probe of a slow engine takes seconds.
    pub(crate) call: Duration,
    pub(crate) lag: Duration,
    pub(crate) stale: Duration,
    /// How often silence is looked for.
    pub(crate) check: Duration,
    /// A connection that lived this long was a good one: the next failure waits little.
    pub(crate) settled: Duration,
    /// Pause before the audit log is asked again about a call that it does not have.
    pub(crate) ask_again: Duration,
    pub(crate) backoff: Backoff,
    /// The least time between two updates of a watch.
    pub(crate) interval: Duration,
    /// The same over a line that turned out to be slow.
    pub(crate) slow_interval: Duration,
}

/// The task. Dropped or out of listeners, it ends and takes its connection with it.
#[derive(Debug)]
pub(crate) struct Link {
    target: Target,
    timings: Timings,
    /// The zero of the console's own clock.
    start: Instant,
    asks: mpsc::Receiver<Ask>,
    told: mpsc::Sender<Msg>,
    wanted: Vec<Stream>,
    /// Calls whose answer was cut off.
    unknown: Vec<Sent>,
    /// The last round trip was long.
    slow: bool,
}

/// Why a connection is over.
enum End {
    /// Nobody listens any more.
    Closed,
    Problem(String),
}

/// A watch that is open.
struct Watched {
    reader: AbortHandle,
    heard: Instant,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            call: Duration::from_secs(30),
            lag: Duration::from_millis(LAG_AFTER_MS),
            stale: Duration::from_millis(STALE_AFTER_MS),
            check: Duration::from_millis(250),
            settled: Duration::from_secs(5),
            ask_again: Duration::from_secs(2),
            backoff: Backoff::default(),
            interval: Duration::from_secs(1),
            slow_interval: Duration::from_secs(2),
        }
    }
}

impl Link {
    pub(crate) fn new(
        target: Target,
        timings: Timings,
        start: Instant,
        asks: mpsc::Receiver<Ask>,
        told: mpsc::Sender<Msg>,
    ) -> Self {
        Self {
            target,
            timings,
            start,
            asks,
            told,
            wanted: Vec::new(),
            unknown: Vec::new(),
            slow: false,
        }
    }

    /// Runs until nobody listens.
    pub(crate) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let problem = match self.attempt().await {
                End::Closed => return,
                End::Problem(problem) => problem,
            };
            failures = if began.elapsed() >= self.timings.settled { 1 } else { failures + 1 };
            let wait = self.timings.backoff.delay(failures, rand::random());
            let until = Instant::now() + wait;
            let until_ms = self.clock_ms(until);
            self.state(LinkState::Backoff { failures, until_ms }, Some(problem)).await;
            if self.rest(until).await.is_none() {
                return;
            }
        }
    }

    /// One connection, from the first packet to its end.
    async fn attempt(&mut self) -> End {
        self.state(LinkState::Connecting, None).await;
        let opening = open(self.target.clone(), self.timings);
        tokio::pin!(opening);
        let (wire, session, round_trip_ms) = loop {
            tokio::select! {
                opened = &mut opening => match opened {
                    Ok(opened) => break opened,
                    Err(problem) => return End::Problem(problem),
                },
                ask = self.asks.recv() => match ask {
                    None => return End::Closed,
                    Some(Ask::Again) => {}
                    Some(ask) => self.offline(ask).await,
                },
            }
        };
        if session.protocol > convert::PROTOCOL {
            self.tell(Told::Note(format!(
                "relayd speaks protocol {}, this console knows {}: some things may be missing here",
                session.protocol,
                convert::PROTOCOL
            )))
            .await;
        }
        self.tell(Told::RoundTrip { ms: round_trip_ms }).await;
        self.tell(Told::Session(session)).await;
        self.slow = round_trip_ms > SLOW_ROUND_TRIP_MS;
        self.serve(&wire).await
    }

    /// What the readers go by: over a slow line the daemon speaks less often.
    fn pace(&self) -> Timings {
        let slow = self.timings.interval.max(self.timings.slow_interval);
        Timings { interval: if self.slow { slow } else { self.timings.interval }, ..self.timings }
    }

    async fn serve(&mut self, wire: &Wire) -> End {
        let (items_in, mut items) = mpsc::channel(STREAM_QUEUE);
        // Owns the readers: leaving this function ends them.
        let mut readers = JoinSet::new();
        let mut watched = HashMap::new();
        let mut calls: JoinSet<Answer> = JoinSet::new();
        let mut sent: HashMap<u64, Sent> = HashMap::new();
        for unknown in self.unknown.drain(..) {
            calls.spawn(calls::was_it_done(wire.clone(), unknown, self.timings.ask_again));
        }
        let mut state = LinkState::Live;
        self.state(state, None).await;
        self.watch(wire, &items_in, &mut readers, &mut watched, false);
        let mut check = tokio::time::interval(self.timings.check);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = loop {
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    None => return End::Closed,
                    Some(Ask::Watch(streams)) => {
                        self.wanted = streams;
                        self.watch(wire, &items_in, &mut readers, &mut watched, false);
                    }
                    Some(Ask::Again) => {
                        self.watch(wire, &items_in, &mut readers, &mut watched, true);
                    }
                    Some(Ask::Call(call)) => {
                        let call = Sent::new(call);
                        sent.insert(call.no(), call.clone());
                        calls.spawn(calls::make(wire.clone(), call));
                    }
                    Some(Ask::Read(read)) => {
                        calls.spawn(calls::read(wire.clone(), read));
                    }
                },
                Some(item) = items.recv() => {
                    if let Some(problem) = self.take(item, &mut watched).await {
                        break End::Problem(problem);
                    }
                }
                Some(answer) = calls.join_next() => match answer {
                    Ok(Answer::Ended { no, outcome }) => {
                        let call = sent.remove(&no);
                        if let (Outcome::Unknown, Some(call)) = (&outcome, call) {
                            let again = self.timings.ask_again;
                            self.unknown.push(call.clone());
                            calls.spawn(calls::was_it_done(wire.clone(), call, again));
                        } else {
                            self.unknown.retain(|call| call.no() != no);
                        }
                        self.tell(Told::Ended { no, outcome }).await;
                    }
                    Ok(Answer::StillUnknown(call)) => {
                        self.unknown.retain(|known| known.no() != call.no());
                        self.unknown.push(call);
                        // Neither the change nor the question got through: a new connection asks.
                        break End::Problem(format!("{} closed the connection", self.target.url));
                    }
                    Ok(Answer::Found(found)) => self.tell(Told::Found(found)).await,
                    Err(gone) => self.tell(Told::Note(format!("a call ended badly: {gone}"))).await,
                },
                _ = check.tick() => {
                    let silent = watched
                        .values()
                        .map(|stream: &Watched| stream.heard.elapsed())
                        .max()
                        .unwrap_or_default();
                    let now = if silent >= self.timings.stale {
                        LinkState::Stale
                    } else if silent >= self.timings.lag {
                        LinkState::Lagging
                    } else {
                        LinkState::Live
                    };
                    if now != state {
                        state = now;
                        self.state(state, None).await;
                    }
                    if state == LinkState::Stale {
                        break End::Problem(format!("{} went silent", self.target.url));
                    }
                }
            }
        };
        for (no, call) in sent {
            self.unknown.push(call);
            self.tell(Told::Ended { no, outcome: Outcome::Unknown }).await;
        }
        end
    }

    /// Opens the wanted watches and closes the others; with `anew` all are opened again.
    fn watch(
        &self,
        wire: &Wire,
        items: &mpsc::Sender<Item>,
        readers: &mut JoinSet<()>,
        watched: &mut HashMap<Stream, Watched>,
        anew: bool,
    ) {
        watched.retain(|stream, open| {
            let keep = !anew && self.wanted.contains(stream);
            if !keep {
                open.reader.abort();
            }
            keep
        });
        // Forgets the readers that have ended.
        while readers.try_join_next().is_some() {}
        for stream in &self.wanted {
            watched.entry(*stream).or_insert_with(|| Watched {
                reader: readers.spawn(streams::read(
                    wire.clone(),
                    *stream,
                    self.pace(),
                    items.clone(),
                )),
                heard: Instant::now(),
            });
        }
    }

    /// Passes on what a stream said; a sentence when the connection is over.
    async fn take(&self, item: Item, watched: &mut HashMap<Stream, Watched>) -> Option<String> {
        // What a closed reader had still queued is not wanted any more.
        let open = watched.get_mut(&item.stream)?;
        match item.said {
            Said::Update { bytes, update } => {
                open.heard = Instant::now();
                self.tell(Told::Data { stream: item.stream, bytes, update }).await;
                None
            }
            Said::Gap => {
                self.tell(Told::Note(format!("{}: gap, asking again", item.stream.word()))).await;
                None
            }
            Said::Missing(why) => {
                // Kept out of the silence check, and not opened again on this connection.
                open.heard = Instant::now() + self.timings.stale * 100_000;
                self.tell(Told::Missing { stream: item.stream, why }).await;
                None
            }
            Said::Broken(problem) => Some(problem),
        }
    }

    /// Waits for the moment or for `^r`; `None` when nobody listens any more.
    async fn rest(&mut self, until: Instant) -> Option<()> {
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Some(()),
                ask = self.asks.recv() => match ask? {
                    Ask::Again => return Some(()),
                    ask => self.offline(ask).await,
                },
            }
        }
    }

    /// Answers what is asked while there is no connection.
    async fn offline(&mut self, ask: Ask) {
        match ask {
            Ask::Watch(streams) => self.wanted = streams,
            Ask::Again => {}
            Ask::Call(call) => {
                let outcome = Outcome::Refused("not connected, nothing was sent".to_owned());
                self.tell(Told::Ended { no: call.no, outcome }).await;
            }
            Ask::Read(read) => self.unread(read).await,
        }
    }

    async fn unread(&self, read: Read) {
        self.tell(Told::Found(Found::Failed(read, "not connected".to_owned()))).await;
    }

    async fn state(&self, state: LinkState, problem: Option<String>) {
        self.tell(Told::State { state, problem }).await;
    }

    /// A listener that left is noticed by the next wait for asks.
    async fn tell(&self, told: Told) {
        let _ = self.told.send(Msg::Link(told)).await;
    }

    fn clock_ms(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

/// A connection, who we are there, and the milliseconds that the answer took.
async fn open(target: Target, timings: Timings) -> Result<(Wire, Session, u64), String> {
    let late = || format!("{} did not answer in {} s", target.url, timings.connect.as_secs());
    tokio::time::timeout(timings.connect, async {
        let wire = Wire::open(&target, timings).await?;
        let asked = Instant::now();
        let session = wire.who_am_i().await?;
        let round_trip = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok((wire, session, round_trip))
    })
    .await
    .unwrap_or_else(|_| Err(late()))
}

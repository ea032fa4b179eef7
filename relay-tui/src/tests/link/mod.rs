//! The link against a server in this process: what is told, and when.
//!
//! Times are short and only ever bound from above by a generous patience: nothing here asserts how
//! long a thing took.

mod daemon;
mod flow;

use std::sync::atomic::Ordering;
use std::time::Duration;

use relay_proto::admin::v1 as proto;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Status;

use self::daemon::{Daemon, Door, backend, beat, delta, snapshot};
use crate::config::{Target, Token};
use crate::link::{Backoff, Link, Timings};
use crate::model::call::{Call, Outcome, Verb};
use crate::model::data::{Role, Rows};
use crate::model::link::{LinkState, Stream};
use crate::msg::{Ask, Msg, Told, Update};

/// Longer than any of these can take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A link under test, and what it has told.
struct Line {
    asks: mpsc::Sender<Ask>,
    told: mpsc::Receiver<Msg>,
    task: JoinHandle<()>,
    heard: Vec<Told>,
}

fn timings() -> Timings {
    Timings {
        connect: Duration::from_secs(2),
        call: Duration::from_secs(5),
        lag: Duration::from_millis(300),
        stale: Duration::from_millis(900),
        check: Duration::from_millis(20),
        settled: Duration::from_secs(60),
        ask_again: Duration::from_millis(50),
        backoff: Backoff { first: Duration::from_millis(10), most: Duration::from_millis(40) },
        interval: Duration::from_millis(100),
        slow_interval: Duration::from_millis(100),
    }
}

impl Line {
    fn open(url: &str, timings: Timings) -> Self {
        let target = Target {
            url: url.to_owned(),
            token: Token("relay_op_right".into()),
            ..Target::default()
        };
        let (asks, asked) = mpsc::channel(16);
        let (tell, told) = mpsc::channel(64);
        let link = Link::new(target, timings, Instant::now(), asked, tell);
        Self { asks, told, task: tokio::spawn(link.run()), heard: Vec::new() }
    }

    async fn watching(url: &str, streams: &[Stream]) -> Self {
        let line = Self::open(url, timings());
        line.ask(Ask::Watch(streams.to_vec())).await;
        line
    }

    async fn ask(&self, ask: Ask) {
        self.asks.send(ask).await.unwrap();
    }

    /// Listens until something is told that fits, and gives it.
    async fn until(&mut self, what: &str, fits: impl Fn(&Told) -> bool) -> Told {
        let listening = async {
            loop {
                let Some(Msg::Link(told)) = self.told.recv().await else {
                    panic!("the link ended before: {what}; heard {:?}", self.heard);
                };
                self.heard.push(told.clone());
                if fits(&told) {
                    return told;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, listening).await {
            Ok(told) => told,
            Err(_) => panic!("never told: {what}; heard {:?}", self.heard),
        }
    }

    async fn until_live(&mut self) {
        self.until("live", |told| state(told) == Some(LinkState::Live)).await;
    }

    async fn until_rows(&mut self) -> Rows<crate::model::data::Backend> {
        let told = self
            .until("rows", |told| matches!(told, Told::Data { update: Update::Backends(_), .. }))
            .await;
        match told {
            Told::Data { update: Update::Backends(rows), .. } => rows,
            other => panic!("{other:?}"),
        }
    }

    async fn until_backoff(&mut self) -> String {
        let told = self
            .until("backoff", |told| matches!(state(told), Some(LinkState::Backoff { .. })))
            .await;
        match told {
            Told::State { problem: Some(problem), .. } => problem,
            other => panic!("{other:?}"),
        }
    }

    async fn outcome(&mut self, no: u64) -> Outcome {
        let told = self
            .until("an outcome", |told| matches!(told, Told::Ended { no: n, .. } if *n == no))
            .await;
        match told {
            Told::Ended { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }
}

fn state(told: &Told) -> Option<LinkState> {
    match told {
        Told::State { state, .. } => Some(*state),
        _ => None,
    }
}

fn cordon(no: u64) -> Call {
    Call {
        no,
        verb: Verb::Cordon,
        object: "vllm-a".into(),
        name: "vllm-a".into(),
        expected_version: 7,
        reason: "new driver".into(),
    }
}

#[tokio::test]
async fn it_says_who_we_are_then_a_snapshot_then_deltas() {
    let daemon = Daemon::default();
    daemon.script(vec![
        snapshot(1, vec![backend("vllm-a", 1), backend("vllm-\x1b[2Jb", 2)]),
        delta(2, vec![backend("vllm-a", 9)], vec!["vllm-b".into()]),
    ]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    let told = line.until("a session", |told| matches!(told, Told::Session(_))).await;
    let Told::Session(session) = told else { panic!("{told:?}") };
    assert_eq!((session.operator.as_str(), session.role), ("jo", Role::Operator));
    line.until_live().await;
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["vllm-a", "vllm-?[2Jb"], "a string of the daemon was not made safe");
    let Rows::Delta { changed, removed } = line.until_rows().await else { panic!("no delta") };
    assert_eq!((changed[0].running, removed), (9, vec!["vllm-b".to_owned()]));
    assert_eq!(*daemon.tokens.lock().unwrap(), ["Bearer relay_op_right"]);
}

#[tokio::test]
async fn a_gap_in_the_sequence_leads_to_a_new_snapshot() {
    let daemon = Daemon::default();
    daemon.script(vec![
        snapshot(1, vec![backend("a", 1)]),
        delta(3, vec![backend("a", 2)], Vec::new()),
    ]);
    daemon.script(vec![snapshot(9, vec![backend("a", 3)])]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    line.until_rows().await;
    line.until("the gap", |told| matches!(told, Told::Note(text) if text.contains("gap"))).await;
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    assert_eq!(rows[0].running, 3, "a delta after a gap was shown");
    assert_eq!(daemon.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_delta_before_any_snapshot_is_a_gap_too() {
    let daemon = Daemon::default();
    daemon.script(vec![delta(1, vec![backend("a", 2)], Vec::new())]);
    daemon.script(vec![snapshot(1, vec![backend("a", 3)])]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    assert_eq!(rows[0].running, 3);
}

#[tokio::test]
async fn silence_is_lag_then_stale_then_a_new_connection() {
    let daemon = Daemon::default();
    // Open, but nothing comes after the snapshot: a half-open connection looks like this.
    daemon.script(vec![snapshot(1, vec![backend("a", 1)])]);
    daemon.script(vec![snapshot(1, vec![backend("a", 2)])]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    line.until_rows().await;
    line.until("lag", |told| state(told) == Some(LinkState::Lagging)).await;
    line.until("stale", |told| state(told) == Some(LinkState::Stale)).await;
    assert!(line.until_backoff().await.ends_with("went silent"));
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    assert_eq!(rows[0].running, 2);
}

#[tokio::test]
async fn heartbeats_keep_it_live() {
    let daemon = Daemon::default();
    let mut script = vec![snapshot(1, vec![backend("a", 1)])];
    script.extend((2..8).map(beat));
    // Beats come apart, so that all of them take longer than silence may last.
    daemon.beats_apart(Duration::from_millis(200));
    daemon.script(script);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    for _ in 0..6 {
        line.until("a beat", |told| {
            matches!(told, Told::Data { update: Update::Heartbeat { now_ms: 77 }, .. })
        })
        .await;
    }
    assert!(!line.heard.iter().any(|told| state(told) == Some(LinkState::Stale)));
}

#[tokio::test]
async fn a_cut_is_told_and_mended_when_the_daemon_is_back() {
    let daemon = Daemon::default();
    daemon.script(vec![snapshot(1, vec![backend("a", 1)])]);
    daemon.script(vec![snapshot(1, vec![backend("a", 2)])]);
    let mut door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    line.until_rows().await;
    door.shut().await;
    line.until_backoff().await;
    let problem = line.until_backoff().await;
    assert!(problem.contains("refuses connections"), "{problem}");
    door.again().await;
    line.until_live().await;
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    assert_eq!(rows[0].running, 2);
    assert!(!line.task.is_finished());
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_stream_asks_for_a_snapshot_again() {
    let daemon = Daemon::default();
    daemon.script(vec![
        snapshot(1, vec![backend("a", 1)]),
        Err(Status::unavailable("relayd is stopping")),
    ]);
    daemon.script(vec![snapshot(1, vec![backend("a", 2)])]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    assert_eq!(line.until_backoff().await, "relayd is stopping");
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    assert_eq!(rows[0].running, 2);
}

#[tokio::test]
async fn what_a_daemon_lacks_or_forbids_is_a_state_and_the_rest_goes_on() {
    let daemon = Daemon::default();
    daemon.script(vec![Err(Status::permission_denied("needs the role operator"))]);
    let door = Door::open(&daemon).await;
    // The daemon of this test has no keys service at all.
    let mut line = Line::watching(&door.url(), &[Stream::Backends, Stream::Keys]).await;
    let (mut forbidden, mut absent) = (None, None);
    while forbidden.is_none() || absent.is_none() {
        match line.until("missing", |told| matches!(told, Told::Missing { .. })).await {
            Told::Missing { stream: Stream::Backends, why } => forbidden = Some(why),
            Told::Missing { stream: Stream::Keys, why } => absent = Some(why),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(forbidden.as_deref(), Some("not allowed: needs the role operator"));
    assert_eq!(absent.as_deref(), Some("this relayd does not have it"));
    // Silence of what is missing is no silence.
    tokio::time::sleep(timings().stale * 2).await;
    line.ask(Ask::Call(cordon(1))).await;
    assert_eq!(line.outcome(1).await, Outcome::Done);
    assert!(!line.heard.iter().any(|told| state(told) == Some(LinkState::Stale)));
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_told_and_tried_again() {
    let daemon = Daemon::default();
    daemon.refuse(Some(Status::unauthenticated("the token is revoked")));
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    let problem = line.until_backoff().await;
    assert_eq!(problem, "relayd does not accept the token: the token is revoked");
    daemon.refuse(None);
    line.until_live().await;
}

#[tokio::test]
async fn something_else_than_relayd_is_told() {
    let daemon = Daemon::default();
    daemon.refuse(Some(Status::unimplemented("")));
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[]).await;
    assert!(line.until_backoff().await.contains("is no relayd admin plane, or one too old"));
}

#[tokio::test]
async fn a_newer_daemon_works_with_a_note() {
    let daemon = Daemon::default();
    daemon.protocol.store(2, Ordering::SeqCst);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[]).await;
    line.until("the note", |told| matches!(told, Told::Note(text) if text.contains("protocol 2")))
        .await;
    line.until_live().await;
}

#[tokio::test]
async fn a_change_carries_its_id_version_and_reason_and_a_conflict_is_one() {
    let daemon = Daemon::default();
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[]).await;
    line.until_live().await;
    line.ask(Ask::Call(cordon(1))).await;
    assert_eq!(line.outcome(1).await, Outcome::Done);
    daemon.answer(Err(Status::aborted("version 8, expected 7")));
    line.ask(Ask::Call(cordon(2))).await;
    assert_eq!(line.outcome(2).await, Outcome::Conflict("version 8, expected 7".into()));
    daemon.answer(Err(Status::permission_denied("needs the role operator")));
    line.ask(Ask::Call(cordon(3))).await;
    let refused = Outcome::Refused("not allowed: needs the role operator".into());
    assert_eq!(line.outcome(3).await, refused);
    let changes = daemon.changes.lock().unwrap().clone();
    let [first, second, _] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((first.expected_version, first.reason.as_str()), (7, "new driver"));
    assert!(uuid::Uuid::parse_str(&first.request_id).is_ok());
    assert_ne!(first.request_id, second.request_id);
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_by_its_id_and_never_sent_twice() {
    for (recorded, end) in [(true, Outcome::FoundDone), (false, Outcome::FoundAbsent)] {
        let daemon = Daemon::default();
        daemon.hang.store(true, Ordering::SeqCst);
        let mut door = Door::open(&daemon).await;
        let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
        line.until_live().await;
        line.ask(Ask::Call(cordon(5))).await;
        daemon.until_asked().await;
        if recorded {
            daemon.record();
        }
        door.shut().await;
        assert_eq!(line.outcome(5).await, Outcome::Unknown);
        door.again().await;
        assert_eq!(line.outcome(5).await, end);
        assert_eq!(daemon.changes.lock().unwrap().len(), 1, "it was sent again");
    }
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent_and_that_is_said() {
    let daemon = Daemon::default();
    let mut door = Door::open(&daemon).await;
    door.shut().await;
    let slow = Backoff { first: Duration::from_secs(600), most: Duration::from_secs(600) };
    let mut line = Line::open(&door.url(), Timings { backoff: slow, ..timings() });
    line.until_backoff().await;
    line.ask(Ask::Call(cordon(1))).await;
    let Outcome::Refused(why) = line.outcome(1).await else { panic!("it was sent") };
    assert!(why.contains("nothing was sent"), "{why}");
    // ctrl-r does not wait for the end of the pause.
    door.again().await;
    line.ask(Ask::Again).await;
    line.until_live().await;
}

#[tokio::test]
async fn asking_again_brings_every_snapshot_again() {
    let daemon = Daemon::default();
    daemon.script(vec![snapshot(1, vec![backend("a", 1)])]);
    daemon.script(vec![snapshot(1, vec![backend("a", 2)])]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    line.until_rows().await;
    line.ask(Ask::Again).await;
    let Rows::Snapshot(rows) = line.until_rows().await else { panic!("no snapshot") };
    assert_eq!(rows[0].running, 2);
}

#[tokio::test]
async fn leaving_a_screen_closes_its_streams() {
    let daemon = Daemon::default();
    daemon.script(vec![snapshot(1, vec![backend("a", 1)])]);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    line.until_rows().await;
    line.ask(Ask::Watch(Vec::new())).await;
    daemon.until_closed().await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let daemon = Daemon::default();
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[]).await;
    line.until_live().await;
    let Line { asks, told, task, .. } = line;
    drop((asks, told));
    tokio::time::timeout(PATIENCE, task).await.expect("it went on").unwrap();
}

#[test]
fn a_probe_of_the_protocol_knows_no_other_enum() {
    // What a newer daemon may send in an enum is shown as not known, never as fine.
    let mut odd = backend("a", 1);
    odd.state = 99;
    assert_eq!(odd.state(), proto::BackendState::Unspecified);
}

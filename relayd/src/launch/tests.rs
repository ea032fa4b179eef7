//! Real processes. This test binary plays three parts: the test, a relayd that is killed, and the
//! guard; the latter two are tests that do nothing unless they are called as such.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::*;

/// Set for a binary that is to play a part.
const PART: &str = "TEST_LAUNCH_PART";

/// How long a process may take to vanish. Generous: only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

fn guard() -> Guard {
    let args = ["launch::tests::act_as_guard", "--exact", "--nocapture", "--"];
    Guard { args: args.map(OsString::from).into(), ..Guard::own().unwrap() }
}

fn shell(script: &str) -> ChildSpec {
    ChildSpec {
        name: "sh".into(),
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![(PART.into(), "guard".into())],
        cwd: None,
        ready_line: Some("READY "),
    }
}

#[test]
fn act_as_guard() {
    if std::env::var(PART).as_deref() != Ok("guard") {
        return;
    }
    let mut args = std::env::args_os();
    if args.by_ref().any(|arg| arg == "--") {
        let code = guard_main(args, Some(guard()));
        // A status cannot be read back; zero or not is what the tests tell apart.
        std::process::exit(i32::from(
            format!("{code:?}") != format!("{:?}", std::process::ExitCode::SUCCESS),
        ));
    }
}

#[tokio::test]
async fn act_as_relayd() {
    if std::env::var(PART).as_deref() != Ok("relayd") {
        return;
    }
    let child = Child::start(stubborn(), guard(), Duration::from_secs(5));
    let said = child.ready(PATIENCE).await.unwrap();
    println!("\nPIDS {said}");
    std::future::pending::<()>().await;
}

/// A child with a child of its own; neither listens to SIGTERM nor to its input.
fn stubborn() -> ChildSpec {
    shell(
        "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo READY $$ $! ${RELAY_CANARY-none}; while :; do sleep 1; done",
    )
}

fn pids(said: &str) -> Vec<Pid> {
    let words: Vec<&str> = said.split(' ').collect();
    assert_eq!(words[2], "none", "what is relayd's own is not inherited");
    words[..2].iter().map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap()).collect()
}

fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // A zombie that nobody reaps has ended, too.
    test_kill_process(pid).is_ok() && !stat.is_ok_and(|stat| stat.contains(") Z "))
}

fn wait_until_gone(pids: &[Pid]) {
    let begun = std::time::Instant::now();
    while pids.iter().any(|pid| lives(*pid)) {
        assert!(begun.elapsed() < PATIENCE, "still there: {pids:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts a relayd of which a child is a child.
fn relayd() -> (std::process::Child, Vec<Pid>) {
    let mut relayd = Command::new(std::env::current_exe().unwrap())
        .args(["launch::tests::act_as_relayd", "--exact", "--nocapture"])
        .env(PART, "relayd")
        .env("RELAY_CANARY", "secret")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(relayd.stdout.take().unwrap()).lines();
    let said = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("PIDS ").map(pids));
    (relayd, said.expect("relayd says whom it started"))
}

fn guard_of(pid: Pid) -> Pid {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    Pid::from_raw(fields.split(' ').nth(1).unwrap().parse().unwrap()).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_and_its_children_end_when_relayd_is_killed() {
    let (mut relayd, pids) = relayd();
    assert!(pids.len() == 2 && pids.iter().all(|pid| lives(*pid)));
    relayd.kill().unwrap();
    relayd.wait().unwrap();
    wait_until_gone(&pids);
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_ends_when_relayd_and_its_guard_are_killed_together() {
    let (mut relayd, pids) = relayd();
    let guard = guard_of(pids[0]);
    for pid in [Pid::from_child(&relayd), guard] {
        kill_process(pid, Signal::KILL).unwrap();
    }
    relayd.wait().unwrap();
    wait_until_gone(&pids[..1]);
    // Its own child has no guard any more; the test cleans up.
    let _ = kill_process(pids[1], Signal::KILL);
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn stopping_asks_then_kills_the_whole_group() {
    let child = Child::start(stubborn(), guard(), Duration::from_millis(100));
    let pids = pids(&child.ready(PATIENCE).await.unwrap());
    child.stop().await;
    wait_until_gone(&pids);
}

#[tokio::test]
async fn a_polite_child_is_only_asked() {
    let dir = tempfile::tempdir().unwrap();
    let note = dir.path().join("note");
    let script = format!(
        "trap 'echo asked >> {}; exit 0' TERM; echo READY yes; while :; do sleep 0.05; done",
        note.display()
    );
    let child = Child::start(shell(&script), guard(), PATIENCE);
    assert_eq!(child.ready(PATIENCE).await.unwrap(), "yes");
    let state = child.watch();
    child.stop().await;
    assert_eq!(*state.borrow(), ChildState::Stopped);
    assert_eq!(std::fs::read_to_string(note).unwrap(), "asked\n");
}

#[tokio::test]
async fn a_child_that_ends_is_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let lives = dir.path().join("lives");
    let script = format!(
        "echo x >> {0}; echo READY $(wc -l < {0}); echo why me >&2; exit 3",
        lives.display()
    );
    let child = Child::start(shell(&script), guard(), PATIENCE);
    let mut state = child.watch();
    let resting = |state: &ChildState| matches!(state, ChildState::Resting { .. });
    let ChildState::Resting { starts: 1, why } = state.wait_for(resting).await.unwrap().clone()
    else {
        panic!("it rests after its first life");
    };
    assert!(why.contains("why me") || why.contains("READY"), "{why}");
    let again = |state: &ChildState| matches!(state, ChildState::Ready { said, .. } if said == "2");
    tokio::time::timeout(PATIENCE, state.wait_for(again)).await.unwrap().unwrap();
    assert!(child.last_lines().iter().any(|line| line == "why me"));
    child.stop().await;
}

#[tokio::test]
async fn a_program_that_does_not_exist_says_so() {
    let spec = ChildSpec { program: "/no/such/program".into(), ..shell("") };
    let child = Child::start(spec, guard(), PATIENCE);
    let error = child.ready(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    child.stop().await;
}

//! One child, kept running.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::guard::Guard;

/// Longest line of a child's output that is kept in one piece, in bytes.
const LINE_MAX_BYTES: usize = 4096;

/// How many of a child's last lines are kept to say why it ended.
const TAIL_LINES: usize = 20;

/// How long the output of an ended child is read on: a grandchild may hold the pipe open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Clone, Debug)]
pub struct ChildSpec {
    /// Its name in logs.
    pub name: String,
    /// The program; looked up in `PATH` when it holds no slash.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside those it inherits. Nothing of relayd's own (`RELAY...`) is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// Its working directory.
    pub cwd: Option<PathBuf>,
    /// Start of the line of standard output by which it says that it serves, for example
    /// `LISTEN `. Without one it is ready as soon as it runs.
    pub ready_line: Option<&'static str>,
}

/// How a child is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It runs and has not said that it serves.
    Starting {
        /// Process id of its guard, which is its process group.
        pid: u32,
    },
    /// It serves.
    Ready {
        /// Process id of its guard, which is its process group.
        pid: u32,
        /// What followed [`ChildSpec::ready_line`].
        said: String,
    },
    /// It ended and will be started again.
    Resting {
        /// How often it was started so far.
        starts: u32,
        /// Why it ended, with its last line.
        why: String,
    },
    /// It was stopped.
    Stopped,
}

/// Why a child did not become ready.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It ended instead.
    #[error("{name} ended: {why}")]
    Ended {
        /// The child.
        name: String,
        /// Its status and last line.
        why: String,
    },
    /// It ran for too long without saying that it serves.
    #[error("{name} was not ready after {} s", waited.as_secs())]
    Slow {
        /// The child.
        name: String,
        /// How long it was given.
        waited: Duration,
    },
}

/// A child that is kept running until it is stopped or this is dropped.
#[derive(Debug)]
pub struct Child {
    name: String,
    state: watch::Receiver<ChildState>,
    tail: Tail,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// The last lines of a child's output.
#[derive(Clone, Debug, Default)]
struct Tail(Arc<Mutex<VecDeque<String>>>);

struct Keeper {
    spec: ChildSpec,
    guard: Guard,
    state: watch::Sender<ChildState>,
    tail: Tail,
    stop: CancellationToken,
    grace: Duration,
}

impl Child {
    /// Starts a child and keeps it running. `grace` is the time it has to end when it is stopped.
    ///
    /// Must be called on a tokio runtime.
    #[must_use]
    pub fn start(spec: ChildSpec, guard: Guard, grace: Duration) -> Self {
        let (state, watched) = watch::channel(ChildState::Starting { pid: 0 });
        let stop = CancellationToken::new();
        let tail = Tail::default();
        let name = spec.name.clone();
        let keeper = Keeper { spec, guard, state, tail: tail.clone(), stop: stop.clone(), grace };
        // Owned here: `stop` awaits it, dropping the child cancels it.
        let task = tokio::spawn(keeper.keep());
        Self { name, state: watched, tail, stop, task: Some(task) }
    }

    /// How it is, now and from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ChildState> {
        self.state.clone()
    }

    /// Its last lines of output, oldest first, at most 20.
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        self.tail.lines()
    }

    /// Waits until it serves; gives what it said behind its ready line.
    ///
    /// # Errors
    /// When it ends first, or after `wait`.
    pub async fn ready(&self, wait: Duration) -> Result<String, LaunchError> {
        let mut state = self.watch();
        let known = state.wait_for(|state| !matches!(state, ChildState::Starting { .. }));
        let ended = |why| LaunchError::Ended { name: self.name.clone(), why };
        match tokio::time::timeout(wait, known).await {
            Err(_) => Err(LaunchError::Slow { name: self.name.clone(), waited: wait }),
            Ok(Err(_)) => Err(ended("nobody watches it".to_owned())),
            Ok(Ok(state)) => match &*state {
                ChildState::Ready { said, .. } => Ok(said.clone()),
                ChildState::Resting { why, .. } => Err(ended(why.clone())),
                ChildState::Starting { .. } | ChildState::Stopped => {
                    Err(ended("it was stopped".to_owned()))
                }
            },
        }
    }

    /// Stops it: SIGTERM, then SIGKILL to its whole process group after the grace.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(child = self.name, %error, "keeper of a child failed");
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Keeper {
    async fn keep(self) {
        let mut backoff = Backoff::new(rand::random());
        for starts in 1_u32.. {
            let begun = Instant::now();
            let why = self.run_once().await;
            if self.stop.is_cancelled() {
                break;
            }
            let pause = backoff.pause(begun.elapsed());
            tracing::warn!(
                child = self.spec.name,
                why,
                starts,
                restart_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "child ended"
            );
            self.state.send_replace(ChildState::Resting { starts, why });
            if self.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
        }
        self.state.send_replace(ChildState::Stopped);
    }

    /// One life of the child; gives why it ended.
    async fn run_once(&self) -> String {
        let mut command = self.guard.command(&self.spec.program, &self.spec.args);
        command.envs(self.spec.env.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(cwd) = &self.spec.cwd {
            command.current_dir(cwd);
        }
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) => return format!("cannot start: {error}"),
        };
        // Held open for the child's whole life: its closing is what tells the guard to end.
        let lifeline = process.stdin.take();
        let pid = process.id().unwrap_or_default();
        tracing::info!(child = self.spec.name, pid, "child started");
        self.state.send_replace(match self.spec.ready_line {
            Some(_) => ChildState::Starting { pid },
            None => ChildState::Ready { pid, said: String::new() },
        });
        let mut readers = JoinSet::new();
        if let Some(output) = process.stdout.take() {
            readers.spawn(self.reader(pid).read(output));
        }
        if let Some(output) = process.stderr.take() {
            readers.spawn(Reader { ready: None, ..self.reader(pid) }.read(output));
        }
        let status = tokio::select! {
            status = process.wait() => status,
            () = self.stop.cancelled() => self.end(&mut process, pid).await,
        };
        // What the child started and left behind ends with it.
        signal_group(pid, Signal::KILL);
        drop(lifeline);
        let _ = tokio::time::timeout(OUTPUT_GRACE, async {
            while readers.join_next().await.is_some() {}
        })
        .await;
        self.why(status)
    }

    async fn end(
        &self,
        process: &mut tokio::process::Child,
        pid: u32,
    ) -> std::io::Result<ExitStatus> {
        // To the guard alone: it passes the request on, once.
        if let Some(pid) = pid_of(pid) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if let Ok(status) = tokio::time::timeout(self.grace, process.wait()).await {
            return status;
        }
        tracing::warn!(child = self.spec.name, pid, "child did not end in time, killed");
        signal_group(pid, Signal::KILL);
        process.wait().await
    }

    fn reader(&self, pid: u32) -> Reader {
        Reader {
            name: self.spec.name.clone(),
            pid,
            tail: self.tail.clone(),
            ready: self.spec.ready_line.map(|start| (start, self.state.clone())),
        }
    }

    fn why(&self, status: std::io::Result<ExitStatus>) -> String {
        let status = match status {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        match self.tail.lines().pop() {
            Some(last) => format!("{status}, last words: {last}"),
            None => status,
        }
    }
}

struct Reader {
    name: String,
    pid: u32,
    tail: Tail,
    ready: Option<(&'static str, watch::Sender<ChildState>)>,
}

impl Reader {
    async fn read(self, output: impl AsyncRead + Unpin) {
        let mut output = BufReader::with_capacity(LINE_MAX_BYTES, output);
        let mut line = Vec::new();
        loop {
            let Ok(piece) = output.fill_buf().await else { return };
            if piece.is_empty() {
                self.line(&line);
                return;
            }
            let (taken, whole) = match piece.iter().position(|&b| b == b'\n') {
                Some(end) => (end + 1, true),
                None => (piece.len(), line.len() + piece.len() >= LINE_MAX_BYTES),
            };
            line.extend_from_slice(&piece[..taken]);
            output.consume(taken);
            if whole {
                self.line(&line);
                line.clear();
            }
        }
    }

    fn line(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text: String = text.trim_end().chars().filter(|c| !c.is_control()).collect();
        if text.is_empty() {
            return;
        }
        tracing::debug!(child = self.name, line = text, "child says");
        if let Some((start, state)) = &self.ready
            && let Some(said) = text.strip_prefix(start)
        {
            let said = said.trim().to_owned();
            tracing::info!(child = self.name, said, "child is ready");
            state.send_replace(ChildState::Ready { pid: self.pid, said });
        }
        self.tail.push(text);
    }
}

impl Tail {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Signals a child's whole process group. A group that is empty already is no error.
fn signal_group(pid: u32, signal: Signal) {
    if let Some(pid) = pid_of(pid) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

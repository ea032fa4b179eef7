//! The guard: a small process between relayd and a child, so that the child ends with relayd.
//!
//! relayd holds the write end of the guard's standard input and never writes to it. When relayd
//! ends, by whatever cause, the kernel closes that pipe; the guard reads the end of file, asks its
//! process group to end and then kills it. The guard leads the group that the child belongs to,
//! so one signal reaches the child and all that it started.
//!
//! On Linux the child is also killed by the kernel when the guard itself is killed: the guard
//! starts itself once more, that second process asks for the signal and then becomes the child.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Time between the request to end and the kill, when relayd is gone.
const GRACE: Duration = Duration::from_secs(2);

/// First argument of the second stage, which becomes the child.
const BECOME: &str = "--become";

/// Exit status of a guard that could not do its work, as shells use it for "cannot execute".
const CANNOT_RUN: u8 = 126;

/// How to call our own binary as a guard: a program and the arguments before the child's command.
#[derive(Clone, Debug)]
pub struct Guard {
    /// The program that calls [`guard_main`].
    pub program: PathBuf,
    /// Arguments that lead to it, for example `guard --`.
    pub args: Vec<OsString>,
}

impl Guard {
    /// The running binary, called as `relayd guard -- CMD ...`.
    ///
    /// # Errors
    /// When the system does not say where the running binary is.
    pub fn own() -> std::io::Result<Self> {
        // By this name the kernel finds the running binary also after its file was replaced or
        // removed, so that an upgrade on disk does not keep a child from being started again.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe()?
        };
        Ok(Self { program, args: vec!["guard".into(), "--".into()] })
    }

    /// A command that runs `program` below a guard, in a process group of its own. Its standard
    /// input is the pipe whose closing ends it: keep the child's `stdin` for as long as it may run.
    #[must_use]
    pub fn command(&self, program: &std::path::Path, args: &[OsString]) -> Command {
        let mut command = self.again();
        command.arg(program).args(args);
        command.stdin(Stdio::piped()).process_group(0).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            // Settings and secrets of relayd are not for engines.
            if name.as_encoded_bytes().starts_with(b"RELAY") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Our own binary, up to where the child's command goes.
    fn again(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg0("relayd").args(&self.args);
        command
    }
}

/// The guard's whole life: runs the command, ends it when standard input ends, passes SIGTERM,
/// SIGINT and SIGHUP on as SIGTERM, and exits with the command's status (128 + n for signal n).
///
/// `args` is the command and its arguments, as they follow `relayd guard --`. Calls itself once
/// more through [`Guard::own`], or through `again` where given.
#[must_use]
pub fn guard_main(args: impl IntoIterator<Item = OsString>, again: Option<Guard>) -> ExitCode {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.first().is_some_and(|first| first == BECOME) {
        return become_child(args.split_off(1));
    }
    if args.is_empty() {
        return complain("no command to run");
    }
    let again = match again.map_or_else(Guard::own, Ok) {
        Ok(again) => again,
        Err(error) => return complain(&format!("cannot find the own binary: {error}")),
    };
    // Called by hand, the guard may stand in a group with others; its signals must not reach them.
    let _ = rustix::process::setpgid(None, None);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(watch(&again, &args)),
        Err(error) => complain(&format!("cannot start: {error}")),
    }
}

async fn watch(again: &Guard, args: &[OsString]) -> ExitCode {
    let signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
    let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)] = signals.map(signal) else {
        return complain("cannot watch signals");
    };
    // The child reads the same pipe: one that watches its input itself ends all the sooner.
    let mut child =
        match again.again().arg(BECOME).arg(std::process::id().to_string()).args(args).spawn() {
            Ok(child) => child,
            Err(error) => return complain(&format!("cannot start the command: {error}")),
        };
    let mut closed = end_of_input();
    let mut asked = false;
    loop {
        let orphaned = tokio::select! {
            status = child.wait() => return finish(status),
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            _ = hangup.recv() => false,
            _ = &mut closed, if !closed.is_terminated() => true,
        };
        if !asked {
            // The guard is in the group too; it has asked once, so its own copy does nothing.
            asked = true;
            let _ = rustix::process::kill_current_process_group(Signal::TERM);
        }
        if orphaned {
            let _ = tokio::time::timeout(GRACE, child.wait()).await;
            // Whoever is left, the guard with them.
            let _ = rustix::process::kill_current_process_group(Signal::KILL);
        }
    }
}

/// Resolves when standard input ends. A thread, because a pipe's read cannot be cancelled; it ends
/// with the process.
fn end_of_input() -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        let mut sink = std::io::sink();
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut sink);
        let _ = sender.send(());
    });
    receiver
}

fn finish(status: std::io::Result<ExitStatus>) -> ExitCode {
    match status {
        Ok(status) => {
            let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
            ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(CANNOT_RUN))
        }
        Err(error) => complain(&format!("cannot wait for the command: {error}")),
    }
}

/// The second stage: asks to be killed with the guard, then becomes the command.
fn become_child(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let guard = args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(guard), Some(program)) = (guard, args.next()) else {
        return complain("no command to become");
    };
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return complain(&format!("cannot ask for the parent's death: {error}"));
    }
    // A guard that died before the line above sends no signal any more.
    if rustix::process::getppid() != Pid::from_raw(guard) {
        return ExitCode::from(CANNOT_RUN);
    }
    let error = std::process::Command::new(&program).args(args).exec();
    complain(&format!("cannot run {}: {error}", program.display()))
}

/// Says on standard error why the guard gives up; relayd reads it with the child's own lines.
fn complain(why: &str) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "guard: {why}");
    ExitCode::from(CANNOT_RUN)
}

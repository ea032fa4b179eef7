//! A provider's host: the real agent, in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;

use crate::place::binary;
use crate::relay::Relay;
use crate::secrets::{check, keep_secret};

/// An EVM address that belongs to nobody.
const PAYOUT: &str = "0x52908400098527886e0f7030069857d2e4169ee7";

/// An agent in its folder, running or not; what runs ends with its handle.
pub struct Agent {
    dir: TempDir,
    child: Option<Child>,
    /// `prov_...`.
    pub provider: String,
}

impl Agent {
    /// Makes an identity with the relay's ready file as its join file, and runs it.
    ///
    /// # Errors
    /// As [`Agent::join`] and [`Agent::run`].
    pub fn start(relay: &Relay, name: &str, engines: &[&str]) -> anyhow::Result<Self> {
        let mut agent = Self::join(&relay.dir().join("ready.json"), name, engines, &[])?;
        agent.run()?;
        Ok(agent)
    }

    /// Makes an identity with a join file and further options.
    ///
    /// # Errors
    /// When `relayd agent init` refuses; the error holds what it said.
    pub fn join(
        file: &Path,
        name: &str,
        engines: &[&str],
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(binary("relayd")?);
        command.args(["agent", "init", "--name", name, "--payout", PAYOUT]).arg("--dir");
        command.arg(dir.path().join("agent")).arg("--join-file").arg(file).args(options);
        for engine in engines {
            command.args(["--engine-url", engine]);
        }
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "agent init failed:\n{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        keep_secret(fs::read_to_string(dir.path().join("agent/provider.key"))?.trim());
        let provider = said.split_whitespace().find(|word| word.starts_with("prov_"));
        let provider = provider.with_context(|| format!("no provider in {said}"))?.to_owned();
        Ok(Self { dir, child: None, provider })
    }

    /// The folder that `init` wrote.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// Runs it, again if it ran before.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.kill();
        let open = |name: &str| {
            fs::File::options().create(true).append(true).open(self.dir.path().join(name))
        };
        let child = Command::new(binary("relayd")?)
            .args(["agent", "run", "--dir"])
            .arg(self.folder())
            .stdin(Stdio::null())
            .stdout(open("agent.out")?)
            .stderr(open("agent.log")?)
            .spawn()
            .context("cannot start the agent")?;
        self.child = Some(child);
        Ok(())
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        if let Some(child) = &self.child {
            let _ =
                Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        }
    }

    /// Waits for its end by itself.
    ///
    /// # Errors
    /// When it does not end in time, or does not run.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + limit;
        let child = self.child.as_mut().context("it does not run")?;
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("the agent did not end within {limit:?}:\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as a power button would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Everything it printed and logged so far.
    #[must_use]
    pub fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("{}{}", read("agent.out"), read("agent.log"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if !std::thread::panicking()
            && let Err(error) = check("the agent's output", &self.said())
        {
            panic!("{error:#}");
        }
    }
}

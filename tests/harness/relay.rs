//! The real daemon, started by `relayd dev` on free ports.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::place::binary;
use crate::poll::eventually;
use crate::postgres::Database;
use crate::secrets::{check, keep_secret};

/// Longest start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What `relayd dev --ready-file` writes.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// `http://host:port` of the public API.
    pub public_url: String,
    /// `host:port` of the admin plane.
    pub admin_addr: String,
    /// `host:port` of the fleet listener.
    pub fleet_addr: String,
    /// `http://host:port` of health and metrics.
    pub ops_url: String,
    /// A superkey.
    pub api_key: String,
    /// An operator's token, role admin.
    pub operator_token: String,
    /// Models that chat on all four routes.
    pub models: Vec<String>,
    /// The first engine.
    pub engine_url: String,
    /// The fleet listener's authority, PEM.
    pub fleet_ca: String,
    /// For agents.
    pub join_token: String,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The process.
    pub pid: u32,
}

/// How to start a daemon.
#[derive(Default)]
pub struct RelayOptions {
    engines: Vec<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    dir: Option<TempDir>,
    at: Option<[String; 4]>,
}

/// A running daemon; ends when dropped.
pub struct Relay {
    pub(crate) child: Child,
    pub(crate) dir: Option<TempDir>,
    pub(crate) environment: Vec<(String, String)>,
    /// What it said when it was up.
    pub ready: Ready,
}

impl RelayOptions {
    /// A daemon over these engines.
    #[must_use]
    pub fn over(engines: &[&str]) -> Self {
        Self { engines: engines.iter().map(|url| (*url).to_owned()).collect(), ..Self::default() }
    }

    /// Overrides a key of the configuration: `("HTTP__MAX_BODY_MIB", "1")`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((format!("RELAY__{key}"), value.into()));
        self
    }

    /// Adds an option and its value to the command line.
    #[must_use]
    pub fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Starts on the data of an earlier daemon.
    #[must_use]
    pub fn in_dir(mut self, dir: TempDir) -> Self {
        self.dir = Some(dir);
        self
    }

    /// Listens where an earlier daemon did.
    #[must_use]
    pub fn at(mut self, ready: &Ready) -> Self {
        let plain = |url: &str| url.trim_start_matches("http://").to_owned();
        self.at = Some([
            plain(&ready.public_url),
            ready.admin_addr.clone(),
            ready.fleet_addr.clone(),
            plain(&ready.ops_url),
        ]);
        self
    }

    /// Stores in PostgreSQL.
    ///
    /// # Errors
    /// When the URL cannot be written beside the data.
    pub fn on(mut self, database: &Database) -> anyhow::Result<Self> {
        let dir = match self.dir.take() {
            Some(dir) => dir,
            None => tempfile::tempdir()?,
        };
        let file = dir.path().join("database-url");
        fs::write(&file, &database.url)?;
        self.dir = Some(dir);
        Ok(self.set("STORE__KIND", "postgres").set("STORE__URL_FILE", file.display().to_string()))
    }

    /// Starts it and waits until it is up.
    ///
    /// # Errors
    /// When it ends or is not up in time; the error holds its log.
    pub fn start(self) -> anyhow::Result<Relay> {
        let dir = match self.dir {
            Some(dir) => dir,
            None => tempfile::tempdir()?,
        };
        let ready_file = dir.path().join("ready.json");
        let _ = fs::remove_file(&ready_file);
        let log =
            fs::File::options().create(true).append(true).open(dir.path().join("relayd.log"))?;
        let mut command = Command::new(binary("relayd")?);
        command.arg("dev").arg("--data-dir").arg(dir.path().join("data"));
        command.arg("--ready-file").arg(&ready_file);
        let free = || ["127.0.0.1:0"; 4].map(str::to_owned);
        let addresses = self.at.clone().unwrap_or_else(free);
        for (name, address) in ["public", "admin", "fleet", "ops"].iter().zip(&addresses) {
            command.args([&format!("--{name}-listen"), address]);
        }
        for engine in &self.engines {
            command.args(["--engine", engine]);
        }
        command.args(&self.arguments);
        command
            .env("RELAY__TELEMETRY__LOG_FILTER", "info,relayd=debug")
            .envs(self.environment.clone())
            .stdin(Stdio::null())
            .stdout(
                fs::File::options()
                    .create(true)
                    .append(true)
                    .open(dir.path().join("relayd.out"))?,
            )
            .stderr(log)
            .process_group(0);
        let mut child = command.spawn().context("cannot start relayd")?;
        let until = Instant::now() + START_TIMEOUT;
        let ready: Ready = loop {
            if let Ok(json) = fs::read(&ready_file) {
                break serde_json::from_slice(&json)
                    .context("the ready file is not as documented")?;
            }
            if let Some(status) = child.try_wait()? {
                bail!("relayd ended with {status}:\n{}", read(dir.path(), "relayd.log"));
            }
            if Instant::now() > until {
                let _ = child.kill();
                bail!("relayd was not up in time:\n{}", read(dir.path(), "relayd.log"));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        for secret in [&ready.api_key, &ready.operator_token, &ready.join_token] {
            keep_secret(secret);
        }
        Ok(Relay { child, dir: Some(dir), environment: self.environment, ready })
    }
}

impl Relay {
    /// Everything it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.read("relayd.log")
    }

    /// Everything it printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.read("relayd.out")
    }

    fn read(&self, file: &str) -> String {
        self.dir.as_ref().map(|dir| read(dir.path(), file)).unwrap_or_default()
    }

    /// The folder that holds its data directory, ready file and logs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new("."), TempDir::path)
    }

    /// Sends a signal by name: `TERM`, `KILL`, `STOP`.
    pub fn signal(&self, name: &str) {
        let _ =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("relayd did not end within {limit:?}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it with SIGTERM and gives its folder to the next one.
    ///
    /// # Errors
    /// When it does not end well.
    pub fn stop(mut self) -> anyhow::Result<TempDir> {
        self.signal("TERM");
        let status = self.wait(Duration::from_secs(30))?;
        if !status.success() {
            bail!("relayd ended with {status}:\n{}", self.log());
        }
        check("the log", &self.log())?;
        self.dir.take().context("it has a folder")
    }

    /// Runs `relayd ...` beside it with the operator's token; gives what it printed.
    ///
    /// # Errors
    /// When it fails; the error holds what it said.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(binary("relayd")?)
            .args(arguments)
            .envs(self.environment.clone())
            .env("RELAY_OPERATOR_TOKEN", &self.ready.operator_token)
            .output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "relayd {arguments:?} failed:\n{said}{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        check(&format!("the output of relayd {arguments:?}"), &said)?;
        Ok(said)
    }

    /// Ends it as a power button would and gives its folder to the next one.
    ///
    /// # Errors
    /// When it does not end.
    pub fn crash(mut self) -> anyhow::Result<TempDir> {
        self.signal("KILL");
        self.wait(Duration::from_secs(10))?;
        check("the log", &self.log())?;
        self.dir.take().context("it has a folder")
    }

    /// Runs `relayd admin ... --json`.
    ///
    /// # Errors
    /// As [`Relay::command`], and when it prints no JSON.
    pub fn admin(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let fixed = ["admin", "--addr", self.ready.admin_addr.as_str(), "--json"];
        let all: Vec<&str> = fixed.into_iter().chain(arguments.iter().copied()).collect();
        let said = self.command(&all)?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// The same as a person sees it.
    ///
    /// # Errors
    /// As [`Relay::admin`].
    pub fn admin_text(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let fixed = ["admin", "--addr", self.ready.admin_addr.as_str()];
        let all: Vec<&str> = fixed.into_iter().chain(arguments.iter().copied()).collect();
        self.command(&all)
    }

    /// Waits for an event with these words: events are told a moment after what they tell of.
    ///
    /// # Errors
    /// As [`Relay::admin`], and where none comes.
    pub async fn told(&self, words: &str) -> anyhow::Result<()> {
        eventually(words, async || {
            let events = self.admin(&["events", "list"])?.to_string();
            Ok(events.contains(words).then_some(()))
        })
        .await
    }

    /// Runs `relayd ledger audit` beside it; fails on any breach.
    ///
    /// # Errors
    /// A breach, with the table.
    pub fn audit(&self) -> anyhow::Result<String> {
        let dir = self.ready.data_dir.display().to_string();
        self.command(&["ledger", "audit", "--data-dir", &dir])
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
        if !std::thread::panicking()
            && let Err(error) = check("the log", &self.log())
        {
            panic!("{error:#}");
        }
    }
}

pub(crate) fn read(dir: &Path, file: &str) -> String {
    fs::read(dir.join(file))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

//! Programs of the test environment: Python with the official SDKs, a foreign gRPC client.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::place::{engines_dir, repository};
use crate::secrets::check;

/// Runs the scripts under `tests/sdk`.
pub struct Python;

impl Python {
    /// Runs a script with arguments; it prints one JSON value as its last line.
    ///
    /// # Errors
    /// When it fails or prints something else; the error holds what it said.
    pub fn run(script: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(engines_dir()?.join("test-venv/bin/python"))
            .arg(repository().join("tests/sdk").join(script))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .context("cannot start Python")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("{script} failed:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        }
        check(&format!("what {script} printed"), &said)?;
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{script} printed no JSON: {said}"))
    }
}

/// A script that answers lines of JSON with lines of JSON, for as long as its handle lives.
pub struct Conversation {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts a script that is to be asked more than once: importing an SDK takes seconds.
    ///
    /// # Errors
    /// When Python does not start.
    pub fn converse(script: &str, arguments: &[&str]) -> anyhow::Result<Conversation> {
        let mut child = Command::new(engines_dir()?.join("test-venv/bin/python"))
            .arg(repository().join("tests/sdk").join(script))
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Python")?;
        let input = child.stdin.take().context("no input")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Conversation { child, input, output })
    }
}

impl Conversation {
    /// Asks once and reads one answer.
    ///
    /// # Errors
    /// When the script ended or answers with something else; it said why on standard error.
    pub fn ask(&mut self, question: &Value) -> anyhow::Result<Value> {
        writeln!(self.input, "{question}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        check("the script's answer", &line)?;
        serde_json::from_str(&line).with_context(|| format!("the script answered: {line:?}"))
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs grpcurl without TLS; gives what it printed.
///
/// # Errors
/// When it fails; the error holds what it said.
pub fn grpcurl(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(engines_dir()?.join("test-venv/bin/grpcurl"))
        .arg("-plaintext")
        .args(arguments)
        .output()
        .context("cannot start grpcurl")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("grpcurl {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    }
    check("what grpcurl printed", &said)?;
    Ok(said)
}

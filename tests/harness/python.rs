//! Programs of the test environment: Python with the official SDKs, a foreign gRPC client.

use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::place::{engines_dir, repository};

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
        let last = said.lines().last().unwrap_or_default();
        serde_json::from_str(last).with_context(|| format!("{script} printed no JSON: {said}"))
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
    Ok(said)
}

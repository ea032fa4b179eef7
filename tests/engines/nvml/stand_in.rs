//! Builds the stand-in for NVIDIA's management library and says what it shall tell.
//!
//! It is a shared object with NVML's own symbols, built from `nvml.c` by the system's C compiler
//! and loaded by path as the real one is. Knows nothing of relayd: the rooms' own tests use this
//! file as well as the tests of the whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/engines/nvml/nvml.c");

/// A built library and the file that it tells from; both end with it.
pub struct FakeNvml {
    dir: TempDir,
}

impl FakeNvml {
    /// Builds it; `says` are the lines of its file, as `nvml.c` explains them.
    ///
    /// # Errors
    /// When there is no C compiler, with what it said.
    pub fn build(says: &str) -> anyhow::Result<Self> {
        let built = Self { dir: tempfile::tempdir()? };
        built.say(says)?;
        let state = format!("-DSTATE=\"{}\"", built.state().display());
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", &state, "-o"])
            .arg(built.shared_object())
            .arg(SOURCE)
            .output()
            .context("there is no C compiler")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot build the stand-in: {said}");
        Ok(built)
    }

    /// The library.
    #[must_use]
    pub fn shared_object(&self) -> PathBuf {
        self.dir.path().join("libnvidia-ml.so.1")
    }

    /// What it tells from now on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn say(&self, says: &str) -> anyhow::Result<()> {
        // In one step, so that no call reads half of it.
        let next = self.dir.path().join("next");
        fs::write(&next, says)?;
        Ok(fs::rename(next, self.state())?)
    }

    /// Whether a call hangs now.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.dir.path().join("state.hangs").exists()
    }

    fn state(&self) -> PathBuf {
        let dir: &Path = self.dir.path();
        dir.join("state")
    }
}

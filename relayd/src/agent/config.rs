//! What a provider's agent is told: one small file beside its key.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::provision::{TEMPLATES_MAX, Template};
use crate::config::GpuConfig;
use crate::domain::{DeclaredGpu, PayoutAddress};
use crate::engines::{Dialect, EngineKind, is_engine_name};

/// Most engines of one host: what a hello may name.
pub const ENGINES_MAX: usize = 32;

/// Longest name of a host, in bytes: with an engine's it still fits a backend's name.
const NAME_MAX_BYTES: usize = 48;

/// Largest configuration file, in bytes.
const FILE_MAX_BYTES: u64 = 256 * 1024;

/// The file in the agent's folder.
const FILE: &str = "agent.toml";

/// An agent's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// What people call the host: 1 to 48 of `a-z 0-9 . _ -`.
    pub name: String,
    /// Where earnings go.
    pub payout_address: PayoutAddress,
    /// `host:port` of the relay's fleet listener.
    pub relay: String,
    /// The authority of the relay's certificate, PEM; a path from the agent's folder.
    pub relay_ca_file: PathBuf,
    /// The provider's key; a path from the agent's folder.
    pub key_file: PathBuf,
    /// The invitation, for the first time; a path from the agent's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join_token_file: Option<PathBuf>,
    /// How this host's GPUs are looked at; the same keys as relayd's own.
    #[serde(default)]
    pub gpu: GpuConfig,
    /// The cards that this host says it has; telemetry is held against them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub declared_gpu: Vec<DeclaredGpu>,
    /// The local engines.
    #[serde(rename = "engine", default)]
    pub engines: Vec<EngineConfig>,
    /// What relayd may have started here.
    #[serde(rename = "template", default, skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<Template>,
    /// Where the file lies; its paths begin there.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// One local engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Its name on this host: 1 to 14 of `a-z 0-9 -`.
    pub name: String,
    /// Its origin, on loopback.
    pub url: String,
    /// What it is: llamacpp, vllm, ollama or unknown.
    #[serde(with = "word")]
    pub kind: EngineKind,
    /// What it speaks: openai, anthropic or ollama.
    #[serde(with = "word")]
    pub dialect: Dialect,
    /// Requests that it runs at once, 1 to 65535.
    pub max_concurrency: u16,
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is no configuration of an agent.
    #[error("{}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line.
        message: String,
    },
    /// A value is wrong.
    #[error("{}: {key}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        message: String,
    },
}

impl AgentConfig {
    /// The configuration file of an agent's folder.
    #[must_use]
    pub fn file(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Reads and checks the configuration of a folder.
    ///
    /// # Errors
    /// A sentence that names the file, and the line or key.
    pub fn load(folder: &Path) -> Result<Self, ConfigError> {
        let path = Self::file(folder);
        let text = read(&path)?;
        let mut config: Self = toml::from_str(&text).map_err(|error| ConfigError::Parse {
            path: path.clone(),
            message: error.to_string().trim().to_owned(),
        })?;
        folder.clone_into(&mut config.folder);
        config.check()?;
        Ok(config)
    }

    /// The configuration as its file says it.
    ///
    /// # Errors
    /// Never for a checked configuration; the library's type says otherwise.
    pub fn to_text(&self) -> Result<String, toml::ser::Error> {
        let body = toml::to_string(self)?;
        Ok(format!(
            "# A provider's agent. `relayd agent run --dir` this folder dials the relay from here;\n\
             # nothing on this host listens for it. Engines must be on loopback.\n\n{body}"
        ))
    }

    /// A file that the configuration names.
    ///
    /// # Errors
    /// [`ConfigError::Read`].
    pub fn read(&self, file: &Path) -> Result<String, ConfigError> {
        read(&self.folder.join(file))
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first wrong one.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key: String, message: String| {
            Err(ConfigError::Value { path: Self::file(&self.folder), key, message })
        };
        let plain =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
        let name = &self.name;
        if name.is_empty() || name.len() > NAME_MAX_BYTES || !name.bytes().all(plain) {
            let message = "1 to 48 of a-z, 0-9, dot, underscore and hyphen";
            return wrong("name".to_owned(), message.to_owned());
        }
        if let Err(message) = relay_address(&self.relay) {
            return wrong("relay".to_owned(), message);
        }
        if self.engines.len() > ENGINES_MAX {
            return wrong("engine".to_owned(), format!("at most {ENGINES_MAX}"));
        }
        if let Err(message) = DeclaredGpu::check(&self.declared_gpu) {
            return wrong("declared_gpu".to_owned(), message);
        }
        let mut names = BTreeSet::new();
        for engine in &self.engines {
            let key = |field: &str| format!("engine '{}': {field}", engine.name);
            if !is_engine_name(&engine.name) {
                return wrong(key("name"), "1 to 14 of a-z, 0-9 and hyphen".to_owned());
            }
            if !names.insert(&engine.name) {
                return wrong(key("name"), "is given twice".to_owned());
            }
            if engine.max_concurrency == 0 {
                return wrong(key("max_concurrency"), "at least 1".to_owned());
            }
            if let Err(message) = loopback(&engine.url) {
                return wrong(key("url"), message);
            }
        }
        if self.templates.len() > TEMPLATES_MAX {
            return wrong("template".to_owned(), format!("at most {TEMPLATES_MAX}"));
        }
        let mut names = BTreeSet::new();
        for template in &self.templates {
            if let Err((key, message)) = template.check() {
                return wrong(key, message);
            }
            if !names.insert(&template.name) {
                return wrong(format!("template '{}'", template.name), "is given twice".to_owned());
            }
        }
        Ok(())
    }
}

/// Host and port of a relay's fleet listener.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn relay_address(text: &str) -> Result<(String, u16), String> {
    let expected = || format!("'{text}' is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| expected())?;
    if host.is_empty() || port == 0 {
        return Err(expected());
    }
    Ok((host.to_owned(), port))
}

/// An engine's origin, which must be on this host: the agent exposes nothing else.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn loopback(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("'{text}': {error}"))?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    };
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    match (url.scheme() == "http" && bare, local) {
        (true, true) => Ok(()),
        (false, _) => Err(format!("'{text}' is not http://host:port")),
        (true, false) => Err(format!(
            "'{text}' is not on loopback; the agent exposes nothing but this host's own engines"
        )),
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let refuse = |error| ConfigError::Read { path: path.to_owned(), error };
    let size = std::fs::metadata(path).map_err(refuse)?.len();
    if size > FILE_MAX_BYTES {
        let error = std::io::Error::other(format!("it is larger than {FILE_MAX_BYTES} bytes"));
        return Err(refuse(error));
    }
    std::fs::read_to_string(path).map_err(refuse)
}

/// Words whose type stands in a crate that knows no serde for them.
pub(super) mod word {
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    use super::{Dialect, EngineKind};

    /// Words with a name of their own.
    pub(in crate::agent) trait Named: FromStr {
        fn name(&self) -> &'static str;
    }

    impl Named for EngineKind {
        fn name(&self) -> &'static str {
            self.as_str()
        }
    }

    impl Named for Dialect {
        fn name(&self) -> &'static str {
            self.as_str()
        }
    }

    pub(in crate::agent) fn serialize<T: Named, S: Serializer>(
        word: &T,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(word.name())
    }

    pub(in crate::agent) fn deserialize<'de, T: Named, D: Deserializer<'de>>(
        from: D,
    ) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom(format_args!("'{text}' is not known")))
    }
}

impl fmt::Display for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} at {})", self.name, self.kind.as_str(), self.url)
    }
}

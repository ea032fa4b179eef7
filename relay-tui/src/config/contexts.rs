//! The contexts file: daemons by name. The format is that of `relayd admin`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Choice, ConfigError, Environment, Target, Token, in_config_folder, read};
use crate::model;

/// The admin listener of a relayd on this machine.
const DEFAULT_ADDR: &str = "127.0.0.1:8701";
/// Taken when no context is named and the file has one of this name.
const DEFAULT_CONTEXT: &str = "default";
const TOKEN_VARIABLE: &str = "RELAY_OPERATOR_TOKEN";

/// Every context that can be spoken to in this run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contexts {
    by_name: BTreeMap<String, Entry>,
    /// Relative paths of the file are read from here.
    folder: PathBuf,
    choice: Choice,
    variable: Option<String>,
    /// The context of the start; empty when the file has none for it.
    pub(crate) first: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    context: BTreeMap<String, Entry>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Entry {
    addr: Option<String>,
    token: Option<Token>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Starts read-only; `:unlock` opens it for ten minutes.
    production: bool,
    /// Nothing unlocks it.
    read_only: bool,
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl Contexts {
    /// Reads the file and finds the context of the start.
    ///
    /// # Errors
    /// A file that is named and cannot be read, a file that is not understood, a name that is not
    /// in it.
    pub(crate) fn load(choice: Choice, environment: &Environment) -> Result<Self, ConfigError> {
        let file = choice.contexts_file.clone().or_else(|| {
            in_config_folder(environment, "contexts.toml").filter(|file| file.exists())
        });
        let variable = environment
            .get(TOKEN_VARIABLE)
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty());
        let mut contexts = Self { variable, ..Self::default() };
        if let Some(file) = &file {
            let parsed: File = toml::from_str(&read(file)?)
                .map_err(|error| ConfigError(format!("{}: {}", file.display(), error.message())))?;
            contexts.by_name = parsed.context;
            file.parent().unwrap_or(Path::new("")).clone_into(&mut contexts.folder);
        }
        contexts.first = match &choice.context {
            Some(name) if contexts.by_name.contains_key(name) => name.clone(),
            Some(name) => return Err(contexts.unknown(name, file.as_deref())),
            None if contexts.by_name.contains_key(DEFAULT_CONTEXT) => DEFAULT_CONTEXT.to_owned(),
            None => String::new(),
        };
        contexts.choice = choice;
        Ok(contexts)
    }

    fn unknown(&self, name: &str, file: Option<&Path>) -> ConfigError {
        let known: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        ConfigError(match file {
            None => format!(
                "there is no contexts file to find '{name}' in: write \
                 ~/.config/relay/contexts.toml, or give --config FILE"
            ),
            Some(file) => {
                format!("{} has no context '{name}'; it has: {}", file.display(), known.join(", "))
            }
        })
    }

    /// What the screens may know of each context, by name.
    pub(crate) fn listed(&self) -> Vec<model::Context> {
        self.by_name.keys().map(|name| self.shown(name)).collect()
    }

    /// What the screens may know of one context.
    pub(crate) fn shown(&self, name: &str) -> model::Context {
        let entry = self.by_name.get(name).cloned().unwrap_or_default();
        model::Context {
            name: crate::text::clean(name),
            addr: crate::text::clean(self.addr(name, &entry)),
            production: entry.production,
            read_only: entry.read_only,
        }
    }

    /// Flags are about the context of the start; another one stands as the file says.
    fn flags(&self, name: &str) -> Choice {
        if name == self.first { self.choice.clone() } else { Choice::default() }
    }

    fn addr<'a>(&'a self, name: &str, entry: &'a Entry) -> &'a str {
        let flag = self.choice.addr.as_deref().filter(|_| name == self.first);
        flag.or(entry.addr.as_deref()).unwrap_or(DEFAULT_ADDR)
    }

    /// How to reach the daemon of a context.
    ///
    /// # Errors
    /// A file that cannot be read, no token, half a certificate, an address that is none.
    pub(crate) fn target(&self, name: &str) -> Result<Target, ConfigError> {
        let entry = self.by_name.get(name).cloned().unwrap_or_default();
        let flags = self.flags(name);
        let file = |flag: &Option<PathBuf>, own: &Option<PathBuf>| {
            let path = flag.clone().or_else(|| own.as_ref().map(|path| self.folder.join(path)));
            path.map(|path| read(&path)).transpose()
        };
        let ca = file(&flags.ca, &entry.ca)?;
        let cert = file(&flags.client_cert, &entry.cert)?;
        let identity = match (cert, file(&flags.client_key, &entry.key)?) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => {
                return Err(ConfigError(
                    "a client certificate needs both cert and key: give the missing one".into(),
                ));
            }
        };
        let variable = self.variable.clone().filter(|_| name == self.first);
        let token = match (variable, &entry.token, &entry.token_file) {
            (Some(token), ..) => token,
            (None, Some(Token(token)), _) => token.trim().to_owned(),
            (None, None, Some(file)) => read(&self.folder.join(file))?.trim().to_owned(),
            (None, None, None) => {
                return Err(ConfigError(format!(
                    "no operator token: set {TOKEN_VARIABLE}, or name a context that has one \
                     (relayd dev prints a token at its first start)"
                )));
            }
        };
        let url = url(self.addr(name, &entry), ca.is_some())?;
        Ok(Target { url, token: Token(token), ca, identity })
    }
}

/// A bare address is TLS exactly where an authority is known to check it against.
fn url(addr: &str, has_ca: bool) -> Result<String, ConfigError> {
    let url = match addr.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => addr.trim_end_matches('/').to_owned(),
        Some(_) => {
            return Err(ConfigError(format!(
                "'{addr}' is not an address: write host:port, http://host:port or https://host:port"
            )));
        }
        None if has_ca => format!("https://{addr}"),
        None => format!("http://{addr}"),
    };
    if url.starts_with("https://") && !has_ca {
        return Err(ConfigError(
            "an https address needs the authority it is checked against: give --ca FILE, or ca in \
             the context (relayd pki makes one)"
                .into(),
        ));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn written(text: &str) -> (tempfile::TempDir, Choice) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Choice { contexts_file: Some(path), ..Choice::default() })
    }

    #[test]
    fn without_anything_it_is_this_machine_and_a_token_is_needed() {
        let env = environment(&[(TOKEN_VARIABLE, " relay_op_x\n")]);
        let contexts = Contexts::load(Choice::default(), &env).unwrap();
        let target = contexts.target("").unwrap();
        assert_eq!(target.url, "http://127.0.0.1:8701");
        assert_eq!(target.token, Token("relay_op_x".into()));
        assert!(!format!("{target:?}").contains("relay_op_x"));
        let contexts = Contexts::load(Choice::default(), &Environment::new()).unwrap();
        let ConfigError(text) = contexts.target("").unwrap_err();
        assert!(text.contains(TOKEN_VARIABLE), "{text}");
    }

    #[test]
    fn a_context_gives_address_token_certificates_and_how_careful_to_be() {
        let (folder, mut choice) = written(
            "[context.prod]\naddr = 'relay.example.com:8701'\ntoken_file = 'token'\nca = 'ca.pem'\n\
             cert = 'me.pem'\nkey = 'me-key.pem'\nproduction = true\nread_only = true\n\
             [context.lab]\naddr = 'lab:8701'\ntoken = 'relay_op_lab'\n",
        );
        for (name, text) in
            [("token", "relay_op_y\n"), ("ca.pem", "CA"), ("me.pem", "C"), ("me-key.pem", "K")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        choice.context = Some("prod".into());
        let contexts = Contexts::load(choice.clone(), &Environment::new()).unwrap();
        let target = contexts.target("prod").unwrap();
        assert_eq!(target.url, "https://relay.example.com:8701");
        assert_eq!(target.token, Token("relay_op_y".into()));
        assert_eq!(target.identity, Some(("C".into(), "K".into())));
        let shown = contexts.shown("prod");
        assert!(shown.production && shown.read_only);
        assert_eq!(contexts.listed().len(), 2);

        choice.addr = Some("https://127.0.0.1:1".into());
        let env = environment(&[(TOKEN_VARIABLE, "relay_op_z")]);
        let contexts = Contexts::load(choice, &env).unwrap();
        let target = contexts.target("prod").unwrap();
        assert_eq!(target.url, "https://127.0.0.1:1");
        assert_eq!(target.token, Token("relay_op_z".into()));
        // Flags and the variable are about the context of the start only.
        let other = contexts.target("lab").unwrap();
        assert_eq!(
            (other.url.as_str(), other.token),
            ("http://lab:8701", Token("relay_op_lab".into()))
        );
    }

    #[test]
    fn the_context_named_default_is_taken_by_itself() {
        let (_folder, choice) = written("[context.default]\naddr = 'x:1'\ntoken = 't'\n");
        let contexts = Contexts::load(choice, &Environment::new()).unwrap();
        assert_eq!(contexts.first, "default");
        assert_eq!(contexts.target("default").unwrap().url, "http://x:1");
    }

    #[test]
    fn mistakes_are_named() {
        let (_folder, mut choice) = written("[context.a]\ntoken = 'x'\n[context.b]\ntoken = 'y'\n");
        choice.context = Some("c".into());
        let ConfigError(text) = Contexts::load(choice, &Environment::new()).unwrap_err();
        assert!(text.ends_with("has no context 'c'; it has: a, b"), "{text}");
        let (_folder, choice) = written("[context.a]\ncolour = 'x'\n");
        let ConfigError(text) = Contexts::load(choice, &Environment::new()).unwrap_err();
        assert!(text.contains("colour"), "{text}");
        for addr in ["ftp://x:1", "https://x:1", "http://"] {
            assert!(url(addr, false).is_err(), "{addr}");
        }
    }
}

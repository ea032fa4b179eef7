//! Where to connect and as whom: flags, the environment, the contexts file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Problem;
use super::args::Options;

/// The admin listener of a relayd on this machine.
const DEFAULT_ADDR: &str = "127.0.0.1:8701";
/// Taken when no context is named and the file has one of this name.
const DEFAULT_CONTEXT: &str = "default";
const TOKEN_VARIABLE: &str = "RELAY_OPERATOR_TOKEN";

/// A server to speak to.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// `http://host:port` or `https://host:port`.
    pub(super) url: String,
    pub(super) token: String,
    /// PEM texts.
    pub(super) ca: Option<String>,
    pub(super) identity: Option<(String, String)>,
    /// The context forbids changes; its name.
    pub(super) read_only: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Contexts {
    context: BTreeMap<String, Context>,
}

/// One context; the console reads the same file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Context {
    addr: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    /// Means something to the console only.
    #[serde(rename = "production")]
    _production: bool,
    read_only: bool,
}

pub(super) fn target(
    options: &Options,
    environment: &BTreeMap<String, String>,
) -> Result<Target, Problem> {
    let (name, folder, context) = context(options, environment)?;
    let file = |flag: &Option<PathBuf>, own: &Option<PathBuf>| -> Result<Option<String>, Problem> {
        let path = flag.clone().or_else(|| own.as_ref().map(|path| folder.join(path)));
        path.map(|path| read(&path)).transpose()
    };
    let ca = file(&options.ca, &context.ca)?;
    let identity = match (
        file(&options.client_cert, &context.cert)?,
        file(&options.client_key, &context.key)?,
    ) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => {
            return Err(Problem::new(
                "a client certificate needs both cert and key: give the missing one",
            ));
        }
    };
    let addr = options.addr.as_deref().or(context.addr.as_deref()).unwrap_or(DEFAULT_ADDR);
    let token = match environment.get(TOKEN_VARIABLE) {
        Some(token) if !token.trim().is_empty() => token.trim().to_owned(),
        _ => match (&context.token, &context.token_file) {
            (Some(token), _) => token.trim().to_owned(),
            (None, Some(file)) => read(&folder.join(file))?.trim().to_owned(),
            (None, None) => {
                return Err(Problem::new(format!(
                    "no operator token: set {TOKEN_VARIABLE}, or name a context that has one \
                     (relayd dev prints a token at its first start)"
                )));
            }
        },
    };
    Ok(Target {
        url: url(addr, ca.is_some())?,
        token,
        ca,
        identity,
        read_only: context.read_only.then_some(name),
    })
}

/// The chosen context, its name, and the folder that its relative paths are read from.
fn context(
    options: &Options,
    environment: &BTreeMap<String, String>,
) -> Result<(String, PathBuf, Context), Problem> {
    let file = options.config.clone().or_else(|| default_file(environment));
    let folder = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
    let asked = options.context.as_deref();
    let Some(file) = file.filter(|file| options.config.is_some() || file.exists()) else {
        return match asked {
            None => Ok((String::new(), folder, Context::default())),
            Some(name) => Err(Problem::new(format!(
                "there is no contexts file to find '{name}' in: write ~/.config/relay/contexts.toml, \
                 or give --config FILE"
            ))),
        };
    };
    let contexts: Contexts = toml::from_str(&read(&file)?)
        .map_err(|error| Problem::new(format!("{}: {}", file.display(), error.message())))?;
    let name = asked.unwrap_or(DEFAULT_CONTEXT);
    match contexts.context.get(name) {
        Some(context) => Ok((name.to_owned(), folder, context.clone())),
        None if asked.is_none() => Ok((String::new(), folder, Context::default())),
        None => {
            let known: Vec<_> = contexts.context.keys().map(String::as_str).collect();
            Err(Problem::new(format!(
                "{} has no context '{name}'; it has: {}",
                file.display(),
                known.join(", ")
            )))
        }
    }
}

fn default_file(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let folder = match environment.get("XDG_CONFIG_HOME").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(environment.get("HOME")?).join(".config"),
    };
    Some(folder.join("relay").join("contexts.toml"))
}

/// A bare address is TLS exactly where an authority is known to check it against.
fn url(addr: &str, has_ca: bool) -> Result<String, Problem> {
    let url = match addr.split_once("://") {
        Some(("http" | "https", rest)) if !rest.is_empty() => addr.trim_end_matches('/').to_owned(),
        Some(_) => {
            return Err(Problem::new(format!(
                "'{addr}' is not an address: write host:port, http://host:port or https://host:port"
            )));
        }
        None if has_ca => format!("https://{addr}"),
        None => format!("http://{addr}"),
    };
    if url.starts_with("https://") && !has_ca {
        return Err(Problem::new(
            "an https address needs the authority it is checked against: give --ca FILE, or ca in \
             the context (relayd pki makes one)",
        ));
    }
    Ok(url)
}

fn read(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path)
        .map_err(|error| Problem::new(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn file(text: &str) -> (tempfile::TempDir, Options) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contexts.toml");
        std::fs::write(&path, text).unwrap();
        (folder, Options { config: Some(path), ..Options::default() })
    }

    #[test]
    fn without_anything_it_is_this_machine_and_a_token_is_needed() {
        let found = target(&Options::default(), &environment(&[(TOKEN_VARIABLE, " relay_op_x\n")]));
        let found = found.unwrap();
        assert_eq!(
            (found.url.as_str(), found.token.as_str()),
            ("http://127.0.0.1:8701", "relay_op_x")
        );
        let Problem(text) = target(&Options::default(), &environment(&[])).unwrap_err();
        assert!(text.contains(TOKEN_VARIABLE), "{text}");
    }

    #[test]
    fn a_context_gives_address_token_and_certificates() {
        let (folder, mut options) = file(
            "[context.prod]\naddr = 'relay.example.com:8701'\ntoken_file = 'token'\nca = 'ca.pem'\n\
             cert = 'me.pem'\nkey = 'me-key.pem'\nproduction = true\nread_only = true\n",
        );
        for (name, text) in
            [("token", "relay_op_y\n"), ("ca.pem", "CA"), ("me.pem", "C"), ("me-key.pem", "K")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        options.context = Some("prod".into());
        let found = target(&options, &environment(&[])).unwrap();
        assert_eq!(found.url, "https://relay.example.com:8701");
        assert_eq!(found.token, "relay_op_y");
        assert_eq!(found.identity, Some(("C".into(), "K".into())));
        assert_eq!(found.read_only.as_deref(), Some("prod"));
        options.addr = Some("https://127.0.0.1:1".into());
        let found = target(&options, &environment(&[(TOKEN_VARIABLE, "relay_op_z")])).unwrap();
        assert_eq!(
            (found.url.as_str(), found.token.as_str()),
            ("https://127.0.0.1:1", "relay_op_z")
        );
    }

    #[test]
    fn mistakes_are_named() {
        let (_folder, mut options) = file("[context.a]\ntoken = 'x'\n[context.b]\ntoken = 'y'\n");
        options.context = Some("c".into());
        let Problem(text) = target(&options, &environment(&[])).unwrap_err();
        assert!(text.ends_with("has no context 'c'; it has: a, b"), "{text}");
        let (_folder, options) = file("[context.a]\ncolour = 'x'\n");
        let Problem(text) = target(&options, &environment(&[])).unwrap_err();
        assert!(text.contains("colour"), "{text}");
        for addr in ["ftp://x:1", "https://x:1"] {
            assert!(url(addr, false).is_err(), "{addr}");
        }
    }
}

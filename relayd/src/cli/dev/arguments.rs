//! The arguments of `relayd dev`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// Start a complete Relay without any configuration.
///
/// Makes a SQLite database and secrets under the data directory, finds or fetches an inference
/// engine, applies a catalogue for the models it serves, and prints an API key, a curl line for
/// each chat format and the command that opens the console. A later start reuses everything.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relayd dev                                        Ollama, vLLM or llama.cpp if one runs here, else fetch
  relayd dev --engine fetch                         always the llama.cpp server from ./.engines
  relayd dev --engine http://127.0.0.1:8000         this engine
  relayd dev --engine http://127.0.0.1:8081 --engine http://127.0.0.1:8082   two of them
  relayd dev --public-listen 127.0.0.1:0 --ready-file relay.json             for scripts")]
pub struct DevArgs {
    /// Where the database, secrets and logs of this Relay lie.
    #[arg(long, value_name = "DIR", default_value = ".relay")]
    pub data_dir: PathBuf,
    /// `auto`, `fetch`, or the origin of an engine, with or without /v1; may repeat.
    #[arg(long, value_name = "auto|fetch|URL")]
    pub engine: Vec<EngineChoice>,
    /// The origin of an engine; the same as --engine URL.
    #[arg(long, value_name = "URL", value_parser = parse_origin)]
    pub engine_url: Vec<Url>,
    /// Where fetched engines lie, shared by all data directories.
    #[arg(long, value_name = "DIR", default_value = ".engines")]
    pub engines_dir: PathBuf,
    /// Write what a script needs to FILE, as JSON, once everything is up.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// The public REST API; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8700")]
    pub public_listen: SocketAddr,
    /// gRPC for operators and the console.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8701")]
    pub admin_listen: SocketAddr,
    /// Providers dial in here.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8702")]
    pub fleet_listen: SocketAddr,
    /// Health and metrics.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8703")]
    pub ops_listen: SocketAddr,
}

/// Where the engine comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    /// What runs on its usual port, else [`EngineChoice::Fetch`].
    Auto,
    /// The llama.cpp server from the engines directory, fetched if it is not there.
    Fetch,
    /// This one.
    At(Url),
}

impl FromStr for EngineChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "fetch" => Ok(Self::Fetch),
            origin => parse_origin(origin).map(Self::At),
        }
    }
}

impl DevArgs {
    /// The engines asked for: `Auto` alone, `Fetch` alone, or origins.
    ///
    /// # Errors
    /// A sentence, when `auto` or `fetch` stands beside something else.
    pub(super) fn engines(&self) -> Result<Vec<EngineChoice>, String> {
        let at = self.engine_url.iter().cloned().map(EngineChoice::At);
        let mut choices: Vec<EngineChoice> = self.engine.iter().cloned().chain(at).collect();
        if choices.is_empty() {
            choices.push(EngineChoice::Auto);
        }
        let lone = |choice: &EngineChoice| !matches!(choice, EngineChoice::At(_));
        if choices.len() > 1 && choices.iter().any(lone) {
            return Err("--engine auto and --engine fetch stand alone; name either one of them or engines by URL".into());
        }
        Ok(choices)
    }
}

fn parse_origin(text: &str) -> Result<Url, String> {
    let expected = "expected auto, fetch or the origin of an engine such as http://127.0.0.1:8080";
    let mut url = Url::parse(text).map_err(|_| expected.to_owned())?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.host().is_some()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !plain {
        return Err(expected.to_owned());
    }
    let path = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        dev: DevArgs,
    }

    fn engines(arguments: &[&str]) -> Result<Vec<EngineChoice>, String> {
        let words = std::iter::once("dev").chain(arguments.iter().copied());
        Cli::try_parse_from(words).map_err(|error| error.to_string())?.dev.engines()
    }

    #[test]
    fn engines_are_named_in_every_documented_way() {
        let at = |url: &str| EngineChoice::At(Url::parse(url).unwrap());
        assert_eq!(engines(&[]).unwrap(), [EngineChoice::Auto]);
        assert_eq!(engines(&["--engine", "fetch"]).unwrap(), [EngineChoice::Fetch]);
        assert_eq!(
            engines(&["--engine", "http://127.0.0.1:1/v1/", "--engine-url", "http://h:2"]).unwrap(),
            [at("http://127.0.0.1:1"), at("http://h:2")]
        );
    }

    #[test]
    fn a_wrong_engine_says_what_is_expected() {
        for bad in ["localhost:8080", "ftp://h", "http://u:p@h", "http://h/?x=1", ""] {
            let error = engines(&["--engine", bad]).unwrap_err();
            assert!(error.contains("expected auto, fetch or the origin"), "{bad}: {error}");
        }
        assert!(engines(&["--engine", "fetch", "--engine-url", "http://h:2"]).is_err());
    }
}

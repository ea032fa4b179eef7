//! `relayd agent`: the provider's side.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{EXIT_CONFIG, VERSION, output, private, runtime};
use crate::agent::{self, AgentConfig, ENGINES_MAX, EngineConfig, Told};
use crate::config::{GpuConfig, TelemetryConfig};
use crate::domain::{DeclaredGpu, Gpus, PayoutAddress};
use crate::engines;
use crate::gpu::Sampler;
use crate::handshake::{ProviderKey, provider_id};
use crate::telemetry;

const EXAMPLES: &str = "\
Example: a host with an engine on port 8080
  relayd agent init --dir ~/relay-agent --name gpu-1 --payout 0x52908400098527886E0F7030069857D2E4169EE7 \\
      --join-file invitation.json --engine-url http://127.0.0.1:8080
  relayd agent run --dir ~/relay-agent

The relay's operator makes the invitation: relayd admin providers invite --out invitation.json
Nothing on this host listens for the relay; the agent dials out and shows its engines alone.";

/// Files that `init` writes beside `agent.toml`.
const KEY: &str = "provider.key";
const CA: &str = "relay-ca.pem";
const TOKEN: &str = "join-token";

/// Requests at once of an engine that does not say how many it runs.
const CONCURRENCY_DEFAULT: u16 = 4;

/// Serve a Relay with this host's engines, from behind any firewall.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an identity and a configuration in a folder.
    Init(Box<InitArgs>),
    /// Dial the relay and serve until told to stop.
    Run {
        /// The folder that `init` wrote.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Where the identity and the configuration are written.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What people call this host: 1 to 48 of a-z, 0-9, dot, underscore, hyphen.
    #[arg(long)]
    name: String,
    /// Where earnings go: 0x and 40 hex digits.
    #[arg(long, value_name = "0xADDRESS")]
    payout: PayoutAddress,
    /// host:port of the relay's fleet listener; wins over the join file's.
    #[arg(long, value_name = "HOST:PORT")]
    relay: Option<String>,
    /// The ready file of `relayd dev`, or an invitation: address, trust root and token.
    #[arg(long, value_name = "FILE")]
    join_file: Option<PathBuf>,
    /// The authority of the relay's certificate, PEM; wins over the join file's.
    #[arg(long, value_name = "FILE")]
    relay_ca: Option<PathBuf>,
    /// The invitation's token, in a file; wins over the join file's.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A local engine's origin, on loopback; may be repeated.
    #[arg(long, value_name = "URL", required = true)]
    engine_url: Vec<Url>,
    /// Cards of this host, as "2x RTX 4090 24GB"; may be repeated. Without it, what the driver
    /// shows now is declared.
    #[arg(long, value_name = "CARDS", value_parser = cards)]
    gpu: Vec<DeclaredGpu>,
    /// The GPU driver's library, where it is not in its usual place.
    #[arg(long, value_name = "PATH")]
    nvml_library: Option<PathBuf>,
}

/// What of a join file an agent needs.
#[derive(Debug, Default, Deserialize)]
struct JoinFile {
    fleet_addr: Option<String>,
    fleet_ca: Option<String>,
    join_token: Option<String>,
}

/// Runs the command.
pub(super) fn main(arguments: AgentArgs) -> ExitCode {
    let (done, wrong) = match arguments.verb {
        Verb::Init(arguments) => (runtime().block_on(init(&arguments)), ExitCode::FAILURE),
        Verb::Run { dir } => match load(&dir) {
            Ok((config, key)) => (runtime().block_on(run(config, key)), ExitCode::FAILURE),
            Err(problem) => (Err(problem), ExitCode::from(EXIT_CONFIG)),
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            output::problem(format_args!("{problem}"));
            wrong
        }
    }
}

async fn init(arguments: &InitArgs) -> Result<(), String> {
    let file = AgentConfig::file(&arguments.dir);
    if file.exists() {
        return Err(format!(
            "{} exists and is not overwritten: edit it, or choose another folder",
            file.display()
        ));
    }
    let join = join_file(arguments)?;
    let missing = |what: &str, flag: &str| format!("{what} is missing: give --join-file or {flag}");
    let relay = join.fleet_addr.ok_or_else(|| missing("the relay's address", "--relay"))?;
    let ca = join.fleet_ca.ok_or_else(|| missing("the relay's authority", "--relay-ca"))?;
    if arguments.engine_url.len() > ENGINES_MAX {
        return Err(format!("at most {ENGINES_MAX} engines"));
    }
    let mut found = Vec::new();
    for (number, url) in arguments.engine_url.iter().enumerate() {
        found.push(engine(number, url).await?);
    }
    let gpu = GpuConfig { nvml_library: arguments.nvml_library.clone(), ..GpuConfig::default() };
    let config = AgentConfig {
        name: arguments.name.clone(),
        payout_address: arguments.payout.clone(),
        relay,
        relay_ca_file: CA.into(),
        key_file: KEY.into(),
        join_token_file: join.join_token.is_some().then(|| TOKEN.into()),
        declared_gpu: if arguments.gpu.is_empty() {
            shown_by_the_driver(&gpu).await
        } else {
            arguments.gpu.clone()
        },
        gpu,
        engines: found,
        templates: Vec::new(),
        folder: arguments.dir.clone(),
    };
    config.check().map_err(|error| error.to_string())?;
    let text = config.to_text().map_err(|error| error.to_string())?;
    private::folder(&arguments.dir)?;
    let write = |name: &str, text: &str| {
        let path = arguments.dir.join(name);
        private::write(&path, text.as_bytes())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    };
    let key = identity(&arguments.dir.join(KEY), &write)?;
    write(CA, &ca)?;
    if let Some(token) = &join.join_token {
        write(TOKEN, &format!("{}\n", token.trim()))?;
    }
    // Last: a folder with a configuration is a whole one.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    write(&name, &text)?;
    let id = provider_id(key.public()).map_err(|error| error.to_string())?;
    output::line(format_args!("provider {id}"));
    for engine in &config.engines {
        output::line(format_args!("engine   {engine}, {} at once", engine.max_concurrency));
    }
    for gpu in &config.declared_gpu {
        let memory = match gpu.memory_mib {
            0 => String::new(),
            mib => format!(" {mib} MiB"),
        };
        output::line(format_args!("gpus     {}x {}{memory}", gpu.count, gpu.name));
    }
    output::line(format_args!("next     relayd agent run --dir {}", arguments.dir.display()));
    Ok(())
}

/// The key of the folder; a new one when it holds none. An identity is never replaced.
fn identity(
    path: &Path,
    write: &impl Fn(&str, &str) -> Result<(), String>,
) -> Result<ProviderKey, String> {
    if path.exists() {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        return ProviderKey::from_text(&text)
            .map_err(|error| format!("{}: {error}", path.display()));
    }
    let key = ProviderKey::generate().map_err(|error| error.to_string())?;
    write(KEY, &format!("{}\n", *key.to_text()))?;
    Ok(key)
}

fn join_file(arguments: &InitArgs) -> Result<JoinFile, String> {
    let read = |path: &PathBuf| {
        std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut join = match &arguments.join_file {
        Some(path) => serde_json::from_str(&read(path)?)
            .map_err(|error| format!("{} is no join file: {error}", path.display()))?,
        None => JoinFile::default(),
    };
    if let Some(relay) = &arguments.relay {
        join.fleet_addr = Some(relay.clone());
    }
    if let Some(path) = &arguments.relay_ca {
        join.fleet_ca = Some(read(path)?);
    }
    if let Some(path) = &arguments.token_file {
        join.join_token = Some(read(path)?.trim().to_owned());
    }
    Ok(join)
}

/// What stands at an engine's URL.
async fn engine(number: usize, url: &Url) -> Result<EngineConfig, String> {
    let url = url.as_str().trim_end_matches('/');
    let found = engines::detect(url).await.map_err(|error| {
        format!("no engine answers: {error}; start it first, so that its kind can be seen")
    })?;
    let slots = engines::size(&found).await.slots;
    let kind = found.kind.as_str();
    Ok(EngineConfig {
        name: if number == 0 { kind.to_owned() } else { format!("{kind}-{}", number + 1) },
        url: url.to_owned(),
        kind: found.kind,
        dialect: found.dialect,
        max_concurrency: slots
            .and_then(|slots| u16::try_from(slots).ok())
            .filter(|slots| *slots > 0)
            .unwrap_or(CONCURRENCY_DEFAULT),
    })
}

/// How long `init` waits for the driver's first word.
const DRIVER_WAIT: Duration = Duration::from_secs(3);

/// The cards that the driver tells of, by kind; none where there is no driver.
async fn shown_by_the_driver(config: &GpuConfig) -> Vec<DeclaredGpu> {
    let Ok(sampler) = Sampler::start(config, Path::new("/")) else { return Vec::new() };
    let host = sampler.host();
    let until = tokio::time::Instant::now() + DRIVER_WAIT;
    let mut gpus = host.report().gpus.value;
    while gpus == Gpus::Unknown && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
        gpus = host.report().gpus.value;
    }
    let mut kinds: Vec<DeclaredGpu> = Vec::new();
    for card in gpus.cards() {
        let Some(name) = &card.name else { continue };
        let memory_mib = card.reading.memory_total_mib.unwrap_or(0);
        match kinds.iter_mut().find(|kind| kind.name == *name && kind.memory_mib == memory_mib) {
            Some(kind) => kind.count += 1,
            None => kinds.push(DeclaredGpu { name: name.clone(), count: 1, memory_mib }),
        }
    }
    kinds
}

/// `2x RTX 4090 24GB`: how many, what, and the memory of each; the first and the last may be left
/// out.
fn cards(text: &str) -> Result<DeclaredGpu, String> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let count = words.first().and_then(|word| word.strip_suffix('x')?.parse().ok());
    if count.is_some() {
        words.remove(0);
    }
    let gigabytes = words.last().and_then(|word| {
        let word = word.to_ascii_uppercase();
        let digits = word.strip_suffix("GIB").or_else(|| word.strip_suffix("GB"))?;
        digits.parse::<u64>().ok()?.checked_mul(1_024)
    });
    if gigabytes.is_some() {
        words.pop();
    }
    if words.is_empty() {
        return Err(format!("'{text}' names no card: write it as \"2x RTX 4090 24GB\""));
    }
    Ok(DeclaredGpu {
        name: words.join(" "),
        count: count.unwrap_or(1),
        memory_mib: gigabytes.unwrap_or(0),
    })
}

fn load(dir: &Path) -> Result<(AgentConfig, ProviderKey), String> {
    let config = AgentConfig::load(dir).map_err(|error| error.to_string())?;
    let text = config.read(&config.key_file).map_err(|error| error.to_string())?;
    let key = ProviderKey::from_text(&text)
        .map_err(|error| format!("{}: {error}", config.key_file.display()))?;
    Ok((config, key))
}

async fn run(config: AgentConfig, key: ProviderKey) -> Result<(), String> {
    let telemetry =
        telemetry::init(&TelemetryConfig::default()).map_err(|error| error.to_string())?;
    let stop = CancellationToken::new();
    let failed = |error: std::io::Error| error.to_string();
    let mut term = signal(SignalKind::terminate()).map_err(failed)?;
    let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
    let tell = |told: Told| match told {
        Told::Connected { relay, provider, state } => {
            output::line(format_args!("connected to {relay} as {provider}, {state}"));
        }
        Told::Away { address, why } => {
            output::line(format_args!("not connected to {address}: {why}; dialling again"));
        }
    };
    let agent = agent::run(config, key, VERSION, stop.clone(), tell);
    let mut agent = std::pin::pin!(agent);
    let ended = tokio::select! {
        ended = &mut agent => ended,
        _ = term.recv() => { stop.cancel(); agent.await }
        _ = int.recv() => { stop.cancel(); agent.await }
    };
    telemetry.shutdown();
    ended.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn flags_win_over_the_join_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        let address: SocketAddr = "127.0.0.1:8702".parse().unwrap();
        let json = serde_json::json!({
            "fleet_addr": address, "fleet_ca": "PEM", "join_token": "relay_join_0", "pid": 7,
        });
        std::fs::write(&file, json.to_string()).unwrap();
        let arguments = InitArgs {
            dir: dir.path().to_owned(),
            name: "a".to_owned(),
            payout: format!("0x{}", "0".repeat(40)).parse().unwrap(),
            relay: Some("relay.example.com:1".to_owned()),
            join_file: Some(file),
            relay_ca: None,
            token_file: None,
            engine_url: Vec::new(),
            gpu: Vec::new(),
            nvml_library: None,
        };
        let join = join_file(&arguments).unwrap();
        assert_eq!(join.fleet_addr.as_deref(), Some("relay.example.com:1"));
        assert_eq!(join.fleet_ca.as_deref(), Some("PEM"));
        assert_eq!(join.join_token.as_deref(), Some("relay_join_0"));
    }

    #[test]
    fn cards_are_declared_in_plain_words() {
        let card = |name: &str, count, memory_mib| DeclaredGpu {
            name: name.to_owned(),
            count,
            memory_mib,
        };
        assert_eq!(cards("2x RTX 4090 24GB"), Ok(card("RTX 4090", 2, 24_576)));
        assert_eq!(cards("H100"), Ok(card("H100", 1, 0)));
        assert_eq!(cards("8x  NVIDIA  H100 80gib"), Ok(card("NVIDIA H100", 8, 81_920)));
        for bad in ["", "2x", "24GB", "2x 24GB"] {
            assert!(cards(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_identity_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            private::write(&dir.path().join(name), text.as_bytes()).map_err(|e| e.to_string())
        };
        let path = dir.path().join(KEY);
        let first = identity(&path, &write).unwrap();
        let second = identity(&path, &write).unwrap();
        assert_eq!(first.public(), second.public());
        std::fs::write(&path, "broken").unwrap();
        assert!(identity(&path, &write).is_err());
    }
}

//! The configuration: one typed tree, read once at start and checked before any port is bound.
//!
//! [`load`](load::load) reads a TOML file and the environment (`RELAY__SECTION__KEY`). An unknown
//! key, a secret that is missing or empty, an admin listener off loopback without mTLS or two
//! listeners on one port is an error that names the file and the line. Every key and its default
//! stands in `config/relayd.toml`, which a test holds against this tree. Nothing else reads the
//! environment.

mod check;
mod duration;
mod load;
mod secret;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use duration::Span;
pub use load::{ConfigError, load, load_text};
pub use secret::Secret;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The name of this Relay, shown in the console and in logs.
    pub name: Name,
    /// Where the database, secrets and media live unless told otherwise.
    pub data_dir: DataDir,
    /// What relayd listens on.
    pub listener: Listeners,
    /// Bounds and habits of the public REST face.
    pub http: Http,
    /// Where the data is.
    pub store: StoreConfig,
    /// How money is written.
    pub ledger: LedgerConfig,
    /// Keys and tokens.
    pub identity: IdentityConfig,
    /// Time bounds of one chat request.
    pub chat: ChatConfig,
    /// Waiting for a backend.
    pub routing: RoutingConfig,
    /// Files applied at the first start.
    pub catalogue: CatalogueConfig,
    /// Stopping.
    pub drain: DrainConfig,
    /// Providers.
    pub fleet: FleetConfig,
    /// What follows from how providers do.
    pub trust: TrustConfig,
    /// This host's GPUs.
    pub gpu: GpuConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
}

/// A name with a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Name(pub String);

/// A folder with a default.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct DataDir(pub PathBuf);

/// What relayd listens on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listeners {
    /// The public REST API; may repeat, each with its own TLS.
    pub public: Vec<PublicListener>,
    /// gRPC for operators, the console and scripts.
    pub admin: AdminListener,
    /// Providers dial in here.
    pub fleet: FleetListener,
    /// Health and metrics.
    pub ops: OpsListener,
}

/// One public listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicListener {
    /// `host:port`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key; without them the listener speaks plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// A certificate chain and its key, PEM. Read again when either file changes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// The admin listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminListener {
    /// `host:port`. Off loopback both `tls` and `client_ca_file` are required.
    pub listen: SocketAddr,
    /// Certificate chain and key.
    pub tls: Option<TlsFiles>,
    /// The authority whose client certificates are let in.
    pub client_ca_file: Option<PathBuf>,
}

/// The fleet listener. Always TLS, with a certificate of relayd's own authority.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetListener {
    /// `host:port`.
    pub listen: SocketAddr,
}

/// The ops listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpsListener {
    /// `host:port`. Keep it off public networks: metrics are not guarded.
    pub listen: SocketAddr,
}

/// Bounds and habits of the public REST face.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Largest JSON body, in MiB (1 to 256).
    pub max_body_mib: u32,
    /// Time for a client to send its whole body.
    pub body_timeout: Span,
    /// Time for a client to send its head.
    pub head_timeout: Span,
    /// A client that takes nothing for this long is cut.
    pub write_stall: Span,
    /// Open connections per listener; more wait in the kernel.
    pub max_connections: u32,
    /// Addresses or networks of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Browser origins that may call; `["*"]` = any, without credentials.
    pub cors_origins: Vec<String>,
    /// Header fields that pages of those origins may send besides those that the SDKs send.
    pub cors_headers: Vec<String>,
    /// Host names that requests may address; empty = any.
    pub hosts: Vec<String>,
}

/// Which database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One file on this machine.
    #[default]
    Sqlite,
    /// A PostgreSQL server, for one or many replicas.
    Postgres,
}

/// Where the data is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreConfig {
    /// Which database.
    pub kind: StoreKind,
    /// SQLite: the database file; default `relay.db` in `data_dir`.
    pub path: Option<PathBuf>,
    /// PostgreSQL: a file that holds the URL, `postgres://user:password@host:port/database`.
    pub url_file: Option<PathBuf>,
    /// PostgreSQL: connections for reads and admin writes.
    pub connections: u32,
}

/// When a ledger commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Holds and settlements survive the death of the process; money in and out, keys and admin
    /// changes survive a power cut.
    #[default]
    Process,
    /// Everything survives a power cut.
    Power,
}

/// How money is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerConfig {
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// PostgreSQL: writers, by customer (1 to 16).
    pub shards: u16,
    /// Time between two checks of the ledger's invariants.
    pub check_interval: Span,
}

/// Keys and tokens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Files with peppers for key hashes, newest first; each at least 32 bytes. The first one
    /// hashes new keys, the others still verify old ones. Default: `pepper` in `data_dir`.
    pub pepper_files: Vec<PathBuf>,
    /// Keys held in memory.
    pub key_cache: u64,
}

/// Time bounds of one chat request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatConfig {
    /// Time to the engine's first byte.
    pub first_byte_timeout: Span,
    /// Time between two events of a stream.
    pub idle_timeout: Span,
    /// Time for the whole request.
    pub total_timeout: Span,
    /// Output tokens reserved at a time on a stream.
    pub window_tokens: u32,
}

/// Waiting for a backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingConfig {
    /// Longest wait in a queue.
    pub queue_timeout: Span,
    /// Time between two health probes of a backend.
    pub probe_interval: Span,
}

/// Files applied at the first start.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CatalogueConfig {
    /// TOML files, or folders of them, applied once to an empty database; later `relayd admin
    /// apply` changes it.
    pub files: Vec<PathBuf>,
}

/// Stopping.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long running streams may go on after SIGTERM.
    pub deadline: Span,
}

/// Providers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FleetConfig {
    /// The address under which agents reach this replica; default: the fleet listener's own.
    pub advertise_addr: Option<String>,
    /// Folder of the authority that agents trust; default: `fleet-pki` in the data directory.
    /// Replicas of one relay share it.
    pub pki_dir: Option<PathBuf>,
}

/// What follows from how providers do. Bounds are of a score's lower 5 % bound, in thousandths.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrustConfig {
    /// Whether providers come on probation and are suspended by themselves.
    pub automatic: bool,
    /// Days after which what was seen of a provider counts half (1 to 365).
    pub half_life_days: u32,
    /// Time between two hidden questions to a provider's engine, in the mean; each replica asks by
    /// itself.
    pub canary_interval: Span,
    /// Of answers to hidden questions.
    pub identity: ScoreBounds,
    /// Of claimed counts.
    pub honesty: ScoreBounds,
    /// Of what answers look like.
    pub quality: ScoreBounds,
    /// Of failures.
    pub availability: ScoreBounds,
    /// Of slow answers.
    pub latency: ScoreBounds,
}

/// Below which bound of a score a step is taken, in thousandths (0 to 1000); 0 is never.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreBounds {
    /// Probation.
    pub probation: u32,
    /// Suspension.
    pub suspension: u32,
}

/// This host's GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GpuConfig {
    /// Whether their driver is asked at all; without a driver that costs nothing.
    pub enabled: bool,
    /// The driver's library: a path, or a name for the system's loader to find; absent =
    /// `libnvidia-ml.so.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nvml_library: Option<PathBuf>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs and traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// How a line looks.
    pub log_format: LogFormat,
    /// A filter such as `info` or `relayd=debug,sqlx=warn`.
    pub log_filter: String,
    /// An OTLP collector, `http://host:4317`; absent = no traces leave.
    pub otlp_endpoint: Option<String>,
    /// Share of requests traced when the caller did not decide, in parts per million.
    pub trace_sample_ppm: u32,
}

impl Config {
    /// A file below `data_dir`.
    #[must_use]
    pub fn in_data_dir(&self, file: &str) -> PathBuf {
        self.data_dir.0.join(file)
    }

    /// The SQLite database file.
    #[must_use]
    pub fn database_file(&self) -> PathBuf {
        self.store.path.clone().unwrap_or_else(|| self.in_data_dir("relay.db"))
    }

    /// The pepper files, newest first.
    #[must_use]
    pub fn pepper_files(&self) -> Vec<PathBuf> {
        if self.identity.pepper_files.is_empty() {
            vec![self.in_data_dir("pepper")]
        } else {
            self.identity.pepper_files.clone()
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

impl Default for Name {
    fn default() -> Self {
        Self("relay".into())
    }
}

impl Default for DataDir {
    fn default() -> Self {
        Self(".relay".into())
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            public: vec![PublicListener { listen: loopback(8700), tls: None }],
            admin: AdminListener::default(),
            fleet: FleetListener::default(),
            ops: OpsListener::default(),
        }
    }
}

impl Default for AdminListener {
    fn default() -> Self {
        Self { listen: loopback(8701), tls: None, client_ca_file: None }
    }
}

impl Default for FleetListener {
    fn default() -> Self {
        Self { listen: loopback(8702) }
    }
}

impl Default for OpsListener {
    fn default() -> Self {
        Self { listen: loopback(8703) }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            max_body_mib: 20,
            body_timeout: Span::seconds(30),
            head_timeout: Span::seconds(10),
            write_stall: Span::seconds(30),
            max_connections: 16_384,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            cors_headers: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { kind: StoreKind::Sqlite, path: None, url_file: None, connections: 8 }
    }
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self { durability: Durability::Process, shards: 4, check_interval: Span::seconds(3600) }
    }
}

impl Default for IdentityConfig {
    fn default() -> Self {
        Self { pepper_files: Vec::new(), key_cache: 100_000 }
    }
}

impl Default for ChatConfig {
    fn default() -> Self {
        Self {
            first_byte_timeout: Span::seconds(120),
            idle_timeout: Span::seconds(30),
            total_timeout: Span::seconds(1800),
            window_tokens: 4096,
        }
    }
}

impl Default for RoutingConfig {
    fn default() -> Self {
        Self { queue_timeout: Span::seconds(30), probe_interval: Span::seconds(5) }
    }
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { deadline: Span::seconds(600) }
    }
}

impl Default for TrustConfig {
    fn default() -> Self {
        let bounds = |probation, suspension| ScoreBounds { probation, suspension };
        Self {
            automatic: true,
            half_life_days: 7,
            canary_interval: Span::seconds(600),
            identity: bounds(350, 200),
            honesty: bounds(350, 200),
            quality: bounds(350, 150),
            availability: bounds(350, 100),
            latency: bounds(150, 0),
        }
    }
}

impl Default for GpuConfig {
    fn default() -> Self {
        Self { enabled: true, nvml_library: None }
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_filter: "info".into(),
            otlp_endpoint: None,
            trace_sample_ppm: 10_000,
        }
    }
}

//! Builds each part once, in order, binds the listeners, runs everything and ends it in order.
//!
//! The one place that knows every room. Nothing is filled in later: a part is built when all that
//! it needs exists, so that a cycle would not compile.

mod bound;
mod cards;
mod error;
mod fleet_tls;
mod follow;
mod replicas;
mod run;
mod tell;
mod watch;

use std::io;
use std::net::SocketAddr;

use tokio::sync::watch as channel;
use tokio_util::sync::CancellationToken;

pub use bound::Bound;
pub use error::AppError;
pub use fleet_tls::FleetTls;

use crate::catalogue::Catalogue;
use crate::config::{Config, ScoreBounds, Secret, StoreKind};
use crate::events::{EventWriter, Events};
use crate::fleet::{Conduct, Fleet, Policy, Providers, Thresholds, Watching};
use crate::gpu::{LocalHost, Sampler};
use crate::identity::{Identity, PEPPER_MIN_BYTES, Peppers};
use crate::inference::{Bounds, Inference};
use crate::metering::Metering;
use crate::observe::Observe;
use crate::ops::Readiness;
use crate::rollouts::Rollouts;
use crate::routing::Router;
use crate::store::{Place, Store, StoreOptions, Upkeep};
use crate::telemetry::{Telemetry, names};
use crate::tokenizer::Tokenizers;

/// What this program is.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its version.
    pub version: &'static str,
    /// The commit that it was built from.
    pub commit: &'static str,
}

/// Every part, built and not yet running.
pub struct App {
    config: Config,
    program: Program,
    bound: Bound,
    fleet_tls: FleetTls,
    stop: CancellationToken,
    parts: Parts,
    sampler: Sampler,
    event_writer: EventWriter,
    healthy: (channel::Sender<bool>, channel::Receiver<bool>),
    readiness: Readiness,
}

/// The handles that faces and tasks are given from.
#[derive(Clone)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// What happened.
    pub events: Events,
    /// What is sold.
    pub catalogue: Catalogue,
    /// Who asks.
    pub identity: Identity,
    /// Who serves.
    pub fleet: Fleet,
    /// Independent owners of GPUs.
    pub providers: Providers,
    /// Which revision serves.
    pub rollouts: Rollouts,
    /// Our own counts.
    pub tokenizers: Tokenizers,
    /// Who serves next.
    pub router: Router,
    /// What runs now.
    pub observe: Observe,
    /// This host.
    pub host: LocalHost,
    /// What it costs.
    pub metering: Metering,
    /// The use case.
    pub inference: Inference,
}

/// Where the listeners are.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The public ones, in the order of the configuration.
    pub public: Vec<SocketAddr>,
    /// The admin plane.
    pub admin: SocketAddr,
    /// Providers.
    pub fleet: SocketAddr,
    /// Health and metrics.
    pub ops: SocketAddr,
}

impl App {
    /// Binds the listeners and builds every part; a fresh database gets the catalogue of the
    /// configuration.
    ///
    /// # Errors
    /// What is wrong and what to do: a port in use, a secret that cannot be used, a database that
    /// cannot be opened, a catalogue that does not read.
    pub async fn build(
        config: Config,
        program: Program,
        fleet_tls: FleetTls,
    ) -> Result<Self, AppError> {
        let peppers = peppers(&config)?;
        let bound = Bound::bind(&config.listener).await?;
        let store = Store::open(&store_options(&config)?).await.map_err(AppError::Store)?;
        metrics::gauge!(names::BUILD_INFO, "version" => program.version, "commit" => program.commit)
            .set(1);
        let (events, event_writer) = Events::open(store.clone()).await.map_err(AppError::Store)?;
        let catalogue = Catalogue::load(store.clone()).await.map_err(AppError::Store)?;
        let key_cache = config.identity.key_cache;
        let identity = Identity::new(store.clone(), catalogue.clone(), peppers, key_cache);
        let fleet = Fleet::new();
        let tokenizers = Tokenizers::default();
        let watching = watching(&config);
        let conduct = watching.conduct.clone();
        let providers = Providers::new(
            store.clone(),
            identity.clone(),
            catalogue.clone(),
            fleet.clone(),
            tokenizers.clone(),
            events.clone(),
            watching,
        );
        let rollouts =
            Rollouts::load(store.clone(), events.clone()).await.map_err(AppError::Store)?;
        let router = Router::new(fleet.clone(), rand::random());
        let observe = Observe::new();
        let sampler = Sampler::start(&config.gpu, &config.data_dir.0).map_err(|error| {
            AppError::Setting(format!("no thread to look at this host: {error}"))
        })?;
        let metering = Metering::new(store.clone());
        let inference = Inference::new(
            metering.clone(),
            rollouts.clone(),
            router.clone(),
            observe.clone(),
            tokenizers.clone(),
            conduct,
            bounds(&config),
        );
        let parts = Parts {
            store,
            events,
            catalogue,
            identity,
            fleet,
            providers,
            rollouts,
            tokenizers,
            router,
            observe,
            host: sampler.host(),
            metering,
            inference,
        };
        Ok(Self {
            config,
            program,
            bound,
            fleet_tls,
            stop: CancellationToken::new(),
            parts,
            sampler,
            event_writer,
            healthy: channel::channel(true),
            readiness: Readiness::default(),
        })
    }

    /// Where the listeners are, free ports resolved.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.bound.addresses()
    }

    /// The parts, for what is done once before running.
    #[must_use]
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Makes the fleet what the catalogue says, before anything runs.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn follow_catalogue(&self) -> Result<(), AppError> {
        let Parts { store, catalogue, fleet, tokenizers, .. } = &self.parts;
        let applied = follow::apply(store, catalogue, fleet, tokenizers).await;
        applied.map(|_| ()).map_err(AppError::Store)
    }

    /// Runs until a signal, a failure of a critical part or the end of `also`, then drains and
    /// ends everything in order. `ready` is called once every listener serves.
    ///
    /// # Errors
    /// The failure that ended it.
    pub async fn run(self, telemetry: &Telemetry, ready: impl FnOnce()) -> Result<(), AppError> {
        run::run(self, telemetry, ready).await
    }
}

/// Which database the configuration names.
///
/// # Errors
/// When the file with its URL cannot be used.
pub fn store_options(config: &Config) -> Result<StoreOptions, AppError> {
    let place = match (config.store.kind, &config.store.url_file) {
        (StoreKind::Postgres, Some(file)) => {
            let secret = |error| AppError::Secret { file: file.clone(), error };
            let url = Secret::read(file, 1).map_err(secret)?;
            let text = url.expose_text().ok_or_else(|| {
                secret(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not text"))
            })?;
            Place::Postgres {
                url: text.to_owned(),
                connections: config.store.connections,
                // Checked by the configuration: 1 to 16.
                shards: u8::try_from(config.ledger.shards).unwrap_or(1),
            }
        }
        _ => Place::Sqlite { path: config.database_file() },
    };
    Ok(StoreOptions { place, durability: config.ledger.durability, upkeep: Upkeep::default() })
}

fn peppers(config: &Config) -> Result<Peppers, AppError> {
    let mut secrets = Vec::new();
    for file in config.pepper_files() {
        let secret = Secret::read(&file, PEPPER_MIN_BYTES).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => AppError::NoPepper(file.clone()),
            _ => AppError::Secret { file: file.clone(), error },
        })?;
        secrets.push(secret);
    }
    let newest_first: Vec<&[u8]> = secrets.iter().map(Secret::expose).collect();
    Peppers::new(&newest_first).map_err(|error| AppError::Peppers(error.to_string()))
}

/// How providers are watched.
fn watching(config: &Config) -> Watching {
    let of = |bounds: ScoreBounds| Thresholds {
        probation: bounds.probation,
        suspension: bounds.suspension,
    };
    let trust = &config.trust;
    let policy = Policy {
        automatic: trust.automatic,
        half_life_ms: i64::from(trust.half_life_days) * 24 * 3_600 * 1_000,
        availability: of(trust.availability),
        latency: of(trust.latency),
        quality: of(trust.quality),
        honesty: of(trust.honesty),
        identity: of(trust.identity),
    };
    Watching { conduct: Conduct::default(), policy }
}

fn bounds(config: &Config) -> Bounds {
    Bounds {
        queue: config.routing.queue_timeout.get(),
        first_byte: config.chat.first_byte_timeout.get(),
        idle: config.chat.idle_timeout.get(),
        total: config.chat.total_timeout.get(),
        write_stall: config.http.write_stall.get(),
        window_tokens: u64::from(config.chat.window_tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pepper_that_nobody_made_is_told_with_the_command_that_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data_dir.0 = dir.path().to_path_buf();
        let error = peppers(&config).unwrap_err().to_string();
        let file = dir.path().join("pepper");
        assert!(error.ends_with(&format!("openssl rand -hex 32 > {})", file.display())), "{error}");
        std::fs::write(&file, "x".repeat(PEPPER_MIN_BYTES)).unwrap();
        assert!(peppers(&config).is_ok());
    }
}

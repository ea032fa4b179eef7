//! The replicas of the relay: a session is kept with each.
//!
//! The address of the configuration is where it begins. Over a session the relay tells which
//! replicas there are, and from then on those are dialled; the configured address is dialled again
//! whenever none of them can be reached, so that a relay that moved is found again.
//!
//! What a relay says is bounded: a few addresses, each of which must show a certificate of the
//! authority that the provider trusts before it hears a word.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::config::{AgentConfig, relay_address};
use super::dial::{DialError, Dialer};
use super::telemetry::Asked;
use super::{AgentError, Told};
use crate::handshake::{ProviderKey, REPLICAS_MAX};

/// Time between two looks at which addresses are wanted, where nobody tells of a change.
const LOOK: Duration = Duration::from_secs(1);

/// Longest address, in bytes: a name of the longest kind and a port.
const ADDRESS_MAX_BYTES: usize = 261;

/// What the relay said of its replicas. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Replicas(Arc<watch::Sender<BTreeSet<String>>>);

/// Where sessions stand now.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<std::sync::Mutex<BTreeSet<String>>>);

/// What every session is made of.
pub(super) struct Dialled {
    pub(super) config: AgentConfig,
    pub(super) key: Arc<ProviderKey>,
    pub(super) version: &'static str,
    /// What relayd may ask about, the same over every session.
    pub(super) asked: Asked,
}

impl Replicas {
    /// Nothing was said yet.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeSet::new())))
    }

    /// Takes what the relay said.
    ///
    /// # Errors
    /// A sentence about what is wrong with it; what was known stays.
    pub(super) fn told(&self, addresses: Vec<String>) -> Result<(), String> {
        if addresses.len() > REPLICAS_MAX {
            return Err(format!("at most {REPLICAS_MAX} replicas"));
        }
        for address in &addresses {
            if address.len() > ADDRESS_MAX_BYTES {
                return Err("an address is too long".to_owned());
            }
            relay_address(address)?;
        }
        let told = addresses.into_iter().collect();
        self.0.send_if_modified(|known| {
            let differs = *known != told;
            *known = told;
            differs
        });
        Ok(())
    }
}

impl Standing {
    pub(super) fn begins(&self, address: &str) {
        self.set().insert(address.to_owned());
    }

    pub(super) fn ends(&self, address: &str) {
        self.set().remove(address);
    }

    fn now(&self) -> BTreeSet<String> {
        self.set().clone()
    }

    fn set(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Which addresses are dialled: the replicas that were told, and the configured one until a session
/// with one of them stands.
fn wanted(seed: &str, told: &BTreeSet<String>, standing: &BTreeSet<String>) -> BTreeSet<String> {
    let mut wanted = told.clone();
    if told.is_disjoint(standing) {
        wanted.insert(seed.to_owned());
    }
    wanted
}

/// Keeps a session with every replica until `stop`.
///
/// # Errors
/// When a relay refuses this agent for good, or its own settings cannot be used.
pub(super) async fn keep(
    dialled: Dialled,
    stop: CancellationToken,
    tell: impl Fn(Told) + Clone + Send + Sync + 'static,
) -> Result<(), AgentError> {
    let seed = dialled.config.relay.clone();
    let dialled = Arc::new(dialled);
    let standing = Standing::default();
    let mut told = dialled.asked.replicas.0.subscribe();
    let mut dialling: BTreeMap<String, CancellationToken> = BTreeMap::new();
    let mut sessions = JoinSet::new();
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let wanted = if stop.is_cancelled() {
            BTreeSet::new()
        } else {
            wanted(&seed, &told.borrow_and_update(), &standing.now())
        };
        dialling.retain(|address, stop| {
            let stays = wanted.contains(address);
            if !stays {
                stop.cancel();
            }
            stays
        });
        for address in wanted {
            if dialling.contains_key(&address) {
                continue;
            }
            let dialer = match Dialer::new(Arc::clone(&dialled), &address) {
                Ok(dialer) => dialer,
                Err(error) if address == seed => return Err(AgentError::Setup(error.to_string())),
                Err(error) => {
                    tracing::warn!(%address, %error, "a replica cannot be dialled");
                    continue;
                }
            };
            let stop = stop.child_token();
            dialling.insert(address.clone(), stop.clone());
            let (standing, tell) = (standing.clone(), tell.clone());
            sessions.spawn(async move {
                let kept = dialer.keep(stop, &standing, tell).await;
                (address, kept)
            });
        }
        if stop.is_cancelled() && sessions.is_empty() {
            return Ok(());
        }
        tokio::select! {
            () = stop.cancelled(), if !stop.is_cancelled() => {}
            _ = told.changed() => {}
            _ = looks.tick() => {}
            Some(ended) = sessions.join_next() => match ended {
                Ok((address, Err(error))) => {
                    // One that refuses for good speaks for all: they decide by the same database.
                    tracing::warn!(%address, %error, "no session any more");
                    stop.cancel();
                    while sessions.join_next().await.is_some() {}
                    return Err(error);
                }
                Ok((address, Ok(()))) => {
                    // It may be wanted again by now.
                    if dialling.get(&address).is_some_and(CancellationToken::is_cancelled) {
                        dialling.remove(&address);
                    }
                }
                Err(panicked) => tracing::error!(%panicked, "a session's task ended"),
            },
        }
    }
}

impl From<DialError> for AgentError {
    fn from(error: DialError) -> Self {
        Self::Setup(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(addresses: &[&str]) -> BTreeSet<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn the_configured_address_is_dialled_until_a_replica_is_reached() {
        let (none, two) = (set(&[]), set(&["a:1", "b:2"]));
        assert_eq!(wanted("seed:9", &none, &none), set(&["seed:9"]));
        assert_eq!(wanted("seed:9", &two, &set(&["seed:9"])), set(&["a:1", "b:2", "seed:9"]));
        assert_eq!(wanted("seed:9", &two, &set(&["seed:9", "b:2"])), two);
        assert_eq!(wanted("a:1", &two, &set(&["a:1"])), two);
        // All of them are gone: back to where it began.
        assert_eq!(wanted("seed:9", &two, &none), set(&["a:1", "b:2", "seed:9"]));
    }

    #[test]
    fn what_a_relay_says_is_bounded() {
        let replicas = Replicas::new();
        let many = (0..=REPLICAS_MAX).map(|n| format!("a:{}", n + 1)).collect();
        assert!(replicas.told(many).is_err());
        assert!(replicas.told(vec![format!("{}:1", "a".repeat(300))]).is_err());
        assert!(replicas.told(vec!["no-port".to_owned()]).is_err());
        assert!(replicas.0.borrow().is_empty(), "what was known stays");
        replicas.told(vec!["b:2".to_owned(), "a:1".to_owned(), "b:2".to_owned()]).unwrap();
        assert_eq!(*replicas.0.borrow(), set(&["a:1", "b:2"]));
    }
}

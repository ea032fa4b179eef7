//! The other relayds on this database: this one tells them where agents reach it, hears where
//! they are, and takes traffic only once the agents have found it.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fleet::Providers;
use crate::ops::Readiness;
use crate::store::Store;

/// Time between two looks: how long an agent may take to hear of a new replica.
const LOOK: Duration = Duration::from_secs(1);

/// Longest wait for agents before this replica takes traffic without them.
const SETTLE: Duration = Duration::from_secs(10);

/// Share of the agents that the best other replica holds which is enough, in percent.
const ENOUGH_PCT: u64 = 90;

/// Tells and hears, until `stop`. `addresses` becomes the fleet address of every replica.
pub(super) async fn follow(
    store: Store,
    providers: Providers,
    own: String,
    addresses: watch::Sender<Vec<String>>,
    stop: CancellationToken,
) {
    let mut announced = None;
    let mut reachable = true;
    loop {
        let sessions = providers.sessions();
        let told =
            if announced == Some(sessions) { Ok(()) } else { store.announce(&own, sessions).await };
        let heard = match told {
            Ok(()) => {
                announced = Some(sessions);
                store.replicas().await
            }
            Err(error) => Err(error),
        };
        match heard {
            Ok(replicas) => {
                reachable = true;
                let now: Vec<_> = replicas.into_iter().map(|replica| replica.fleet_addr).collect();
                addresses.send_if_modified(|known| {
                    let differs = *known != now;
                    if differs {
                        tracing::info!(replicas = now.len(), "the set of replicas changed");
                        *known = now;
                    }
                    differs
                });
            }
            Err(error) if reachable => {
                reachable = false;
                tracing::warn!(%error, "the other replicas cannot be seen");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Lets traffic in once this replica holds as good as all agents that the others hold, or at the
/// latest after [`SETTLE`].
pub(super) async fn settle(
    store: Store,
    providers: Providers,
    readiness: Readiness,
    stop: CancellationToken,
) {
    let settled = async {
        loop {
            let others = match store.replicas().await {
                Ok(replicas) => replicas
                    .iter()
                    .filter(|replica| !replica.is_this)
                    .map(|replica| replica.sessions)
                    .max()
                    .unwrap_or(0),
                Err(_) => 0,
            };
            let held = u64::try_from(providers.sessions()).unwrap_or(u64::MAX);
            if held.saturating_mul(100) >= others.saturating_mul(ENOUGH_PCT) {
                return;
            }
            tokio::time::sleep(LOOK / 10).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return,
        waited = tokio::time::timeout(SETTLE, settled) => {
            if waited.is_err() {
                tracing::warn!("not every agent has found this replica yet, it serves without them");
            }
        }
    }
    readiness.ready();
    tracing::info!(agents = providers.sessions(), "takes traffic");
}

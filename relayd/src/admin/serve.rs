//! Puts the services together and serves them.

use std::time::Duration;

use relay_proto::admin::v1 as proto;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::auth::GateLayer;
use super::change::Changes;
use super::services::attention::Waiting;
use super::services::audit::Audit as AuditNoun;
use super::services::backends::{Backends, BackendsView};
use super::services::catalogue::CatalogueDocuments;
use super::services::customers::Customers;
use super::services::deployments::Deployments;
use super::services::events::Events as EventsNoun;
use super::services::hosts::{Hosts, HostsView};
use super::services::keys::{Keys, KeysView};
use super::services::models::Models;
use super::services::operators::Operators;
use super::services::overview::{Overview, OverviewView};
use super::services::providers::{ProvidersNoun, ProvidersView};
use super::services::rollouts::{RolloutsNoun, RolloutsView};
use super::services::session::Session;
use super::services::usage::{RequestsView, Usage};
use super::tls::{self, AdminError};
use super::today::Today;
use super::watch::Shared;
use super::{About, FleetDoor, Streams, now_ms};
use crate::audit::Audit;
use crate::catalogue::Catalogue;
use crate::config::AdminListener;
use crate::events::Events;
use crate::fleet::{Fleet, Providers};
use crate::gpu::LocalHost;
use crate::identity::Identity;
use crate::observe::Observe;
use crate::rollouts::Rollouts;
use crate::store::Store;

/// Largest message in either direction: 5,000 keys or a whole catalogue fit.
const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Calls and streams of one connection at once: a console holds about ten.
const STREAMS_MAX: u32 = 256;
/// Bytes of one call's head: a token and a few trace fields.
const HEAD_MAX_BYTES: u32 = 16 * 1024;
/// A connection that is silent this long is asked whether it lives, and closed when it is not.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A generated server, with the bound on messages.
macro_rules! bounded {
    ($module:ident, $server:ident, $service:expr) => {
        proto::$module::$server::new($service)
            .max_decoding_message_size(MESSAGE_MAX_BYTES)
            .max_encoding_message_size(MESSAGE_MAX_BYTES)
    };
}

/// What the admin plane shows and changes.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// Customers, keys, operators.
    pub identity: Identity,
    /// Models, prices, tiers.
    pub catalogue: Catalogue,
    /// Backends.
    pub fleet: Fleet,
    /// Providers.
    pub providers: Providers,
    /// Revisions of models, and rollouts between them.
    pub rollouts: Rollouts,
    /// Where their agents dial in.
    pub door: FleetDoor,
    /// What runs now.
    pub observe: Observe,
    /// This host.
    pub host: LocalHost,
    /// What happened.
    pub events: Events,
    /// What this relayd is.
    pub about: About,
}

/// The admin plane, ready to be served.
pub struct Admin {
    listener: TcpListener,
    server: Server,
    parts: Parts,
}

impl Admin {
    /// Checks who may reach the listener and reads its certificates.
    ///
    /// # Errors
    /// [`AdminError::Unguarded`] when it is off loopback without mTLS; the others when its files
    /// cannot be used.
    pub fn new(
        listener: TcpListener,
        config: &AdminListener,
        parts: Parts,
    ) -> Result<Self, AdminError> {
        let address =
            listener.local_addr().map_err(|error| AdminError::Listener(error.to_string()))?;
        let mut server = Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            .http2_max_header_list_size(HEAD_MAX_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT));
        if let Some(tls) = tls::guard(address, config)? {
            server = server.tls_config(tls).map_err(|error| AdminError::Tls(cause(&error)))?;
        }
        Ok(Self { listener, server, parts })
    }

    /// Serves until stopped, then ends every stream and lets calls finish.
    ///
    /// # Errors
    /// [`AdminError::Listener`] when the listener fails.
    pub async fn serve(self, stop: CancellationToken) -> Result<(), AdminError> {
        let failed = |error: String| AdminError::Listener(error);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("", tonic_health::ServingStatus::Serving).await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(relay_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let v1 = reflection().build_v1().map_err(|error| failed(error.to_string()))?;
        let v1alpha = reflection().build_v1alpha().map_err(|error| failed(error.to_string()))?;

        let gate = GateLayer::new(self.parts.identity.clone());
        let services = Services::new(self.parts, stop.clone());
        let router = self
            .server
            .layer(gate)
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha)
            .add_service(bounded!(session_service_server, SessionServiceServer, services.session))
            .add_service(bounded!(
                overview_service_server,
                OverviewServiceServer,
                services.overview
            ))
            .add_service(bounded!(
                operators_service_server,
                OperatorsServiceServer,
                services.operators
            ))
            .add_service(bounded!(
                customers_service_server,
                CustomersServiceServer,
                services.customers
            ))
            .add_service(bounded!(keys_service_server, KeysServiceServer, services.keys))
            .add_service(bounded!(models_service_server, ModelsServiceServer, services.models))
            .add_service(bounded!(
                catalogue_service_server,
                CatalogueServiceServer,
                services.catalogue
            ))
            .add_service(bounded!(
                backends_service_server,
                BackendsServiceServer,
                services.backends
            ))
            .add_service(bounded!(
                providers_service_server,
                ProvidersServiceServer,
                services.providers
            ))
            .add_service(bounded!(
                deployments_service_server,
                DeploymentsServiceServer,
                services.deployments
            ))
            .add_service(bounded!(
                rollouts_service_server,
                RolloutsServiceServer,
                services.rollouts
            ))
            .add_service(bounded!(hosts_service_server, HostsServiceServer, services.hosts))
            .add_service(bounded!(usage_service_server, UsageServiceServer, services.usage))
            .add_service(bounded!(events_service_server, EventsServiceServer, services.events))
            .add_service(bounded!(audit_service_server, AuditServiceServer, services.audit));
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        router
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await
            .map_err(|error| failed(cause(&error)))
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// One of each.
struct Services {
    session: Session,
    overview: Overview,
    operators: Operators,
    customers: Customers,
    keys: Keys,
    models: Models,
    catalogue: CatalogueDocuments,
    backends: Backends,
    providers: ProvidersNoun,
    deployments: Deployments,
    rollouts: RolloutsNoun,
    hosts: Hosts,
    usage: Usage,
    events: EventsNoun,
    audit: AuditNoun,
}

impl Services {
    fn new(parts: Parts, stop: CancellationToken) -> Self {
        let Parts {
            store,
            identity,
            catalogue,
            fleet,
            providers,
            rollouts,
            door,
            observe,
            host,
            events,
            about,
        } = parts;
        let audit = Audit::new(store.clone());
        let changes = Changes::new(audit.clone(), events.clone());
        let streams = Streams { stop, identity: identity.clone() };
        let today = Today::new(store.clone());
        let hosts = HostsView { local: host, providers: providers.clone() };
        let rollouts =
            RolloutsView { rollouts, catalogue: catalogue.clone(), fleet: fleet.clone() };
        let keys = KeysView::new(store.clone(), observe.clone(), today.clone());
        Self {
            session: Session { about, started_at_ms: now_ms() },
            overview: Overview {
                view: Shared::new(OverviewView {
                    store: store.clone(),
                    fleet: fleet.clone(),
                    observe: observe.clone(),
                    today,
                    providers: ProvidersView(providers.clone()),
                    waiting: Waiting::default(),
                    hosts: hosts.clone(),
                    rollouts: rollouts.clone(),
                }),
                streams: streams.clone(),
            },
            operators: Operators {
                store: store.clone(),
                identity: identity.clone(),
                changes: changes.clone(),
            },
            customers: Customers {
                store: store.clone(),
                identity: identity.clone(),
                changes: changes.clone(),
            },
            keys: Keys {
                store: store.clone(),
                identity: identity.clone(),
                changes: changes.clone(),
                view: keys.clone(),
                watched: Shared::new(keys),
                streams: streams.clone(),
            },
            models: Models {
                store: store.clone(),
                catalogue: catalogue.clone(),
                fleet: fleet.clone(),
                changes: changes.clone(),
            },
            catalogue: CatalogueDocuments {
                catalogue: catalogue.clone(),
                changes: changes.clone(),
            },
            backends: Backends {
                store: store.clone(),
                fleet: fleet.clone(),
                catalogue,
                changes: changes.clone(),
                view: Shared::new(BackendsView(fleet)),
                streams: streams.clone(),
            },
            deployments: Deployments { providers: providers.clone(), changes: changes.clone() },
            providers: ProvidersNoun {
                store: store.clone(),
                identity,
                providers: providers.clone(),
                door,
                changes: changes.clone(),
                view: Shared::new(ProvidersView(providers)),
                streams: streams.clone(),
            },
            rollouts: RolloutsNoun {
                store: store.clone(),
                now: rollouts.clone(),
                changes,
                view: Shared::new(rollouts),
                streams: streams.clone(),
            },
            hosts: Hosts { view: Shared::new(hosts.clone()), hosts, streams: streams.clone() },
            usage: Usage {
                store: store.clone(),
                live: Shared::new(RequestsView(observe)),
                streams: streams.clone(),
            },
            events: EventsNoun { store, events, streams },
            audit: AuditNoun { audit },
        }
    }
}

/// The innermost cause of an error.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

//! The admin plane as its callers see it: a real server on loopback over a real SQLite database.

mod changes;
mod many;
mod reach;
mod roles;
mod watches;

use std::net::SocketAddr;
use std::sync::Arc;

use relay_proto::admin::v1 as proto;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use uuid::Uuid;

use super::{About, Admin, AdminError, FleetDoor, Parts};
use crate::catalogue::{Catalogue, Document};
use crate::config::{AdminListener, GpuConfig};
use crate::domain::Role;
use crate::events::Events;
use crate::fleet::{Fleet, Intake, Providers};
use crate::gpu::Sampler;
use crate::identity::{Identity, Peppers};
use crate::observe::Observe;
use crate::rollouts::Rollouts;
use crate::store::{IntakeRow, Store, StoreOptions};

/// Two tiers, one model, one backend that nobody runs.
const CATALOGUE: &str = r#"
[[tier]]
name = "basic"
level = 1
max_keys = 3
rate_limits = { direct = 60, opengpu = 30, global = 90 }

[[tier]]
name = "partner"
level = 9
custom = true
max_keys = 100
"#;

/// A running admin plane.
pub(crate) struct Plane {
    pub(crate) address: SocketAddr,
    pub(crate) parts: Parts,
    viewer: String,
    operator: String,
    pub(crate) admin: String,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), AdminError>>,
    writing: JoinHandle<()>,
    following: JoinHandle<()>,
    _sampler: Sampler,
    _folder: TempDir,
}

pub(crate) type Wire = InterceptedService<Channel, Bearer>;

#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Plane {
    pub(crate) async fn start() -> Self {
        Self::guarded(&AdminListener::default()).await
    }

    async fn guarded(listener: &AdminListener) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::sqlite(folder.path().join("relay.db"));
        let store = Store::open(&options).await.unwrap();
        let (events, writer) = Events::open(store.clone()).await.unwrap();
        let catalogue = Catalogue::load(store.clone()).await.unwrap();
        let document = Document { name: "test.toml", toml: CATALOGUE };
        catalogue.apply(&[document], None).await.unwrap();
        let peppers = Peppers::new(&[&[7; 32]]).unwrap();
        let identity = Identity::new(store.clone(), catalogue.clone(), peppers, 1_000);
        let mut tokens = Vec::new();
        for role in Role::ALL {
            let made = identity.create_operator(role.as_str(), role, None).await.unwrap();
            tokens.push(made.token.expose().to_owned());
        }
        let fleet = Fleet::new();
        let providers = Providers::new(
            store.clone(),
            identity.clone(),
            catalogue.clone(),
            fleet.clone(),
            crate::tokenizer::Tokenizers::default(),
            events.clone(),
            crate::fleet::Watching::default(),
        );
        let door = FleetDoor { addr: "127.0.0.1:8702".into(), ca_pem: "PEM".into() };
        // Switched off: these tests are not about what this machine has.
        let config = GpuConfig { enabled: false, nvml_library: None };
        let sampler = Sampler::start(&config, folder.path()).unwrap();
        let rollouts = Rollouts::load(store.clone(), events.clone()).await.unwrap();
        let parts = Parts {
            store,
            identity,
            catalogue,
            fleet,
            providers,
            rollouts,
            door,
            observe: Observe::new(),
            host: sampler.host(),
            events,
            about: About { name: "test".into(), version: "0.0.0", commit: "none" },
        };
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let stop = CancellationToken::new();
        let admin = Admin::new(socket, listener, parts.clone()).unwrap();
        let [viewer, operator, admin_token] = tokens.try_into().unwrap();
        Self {
            address,
            viewer,
            operator,
            admin: admin_token,
            serving: tokio::spawn(admin.serve(stop.clone())),
            writing: tokio::spawn(writer.run(stop.clone())),
            following: tokio::spawn(follow(parts.clone(), stop.clone())),
            parts,
            stop,
            _sampler: sampler,
            _folder: folder,
        }
    }

    fn token(&self, role: Role) -> &str {
        match role {
            Role::Viewer => &self.viewer,
            Role::Operator => &self.operator,
            Role::Admin => &self.admin,
        }
    }

    /// A channel with this token.
    fn wire(&self, token: Option<&str>) -> Wire {
        let bearer = token.map(|token| format!("Bearer {token}").parse().unwrap());
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        InterceptedService::new(endpoint.connect_lazy(), Bearer(bearer))
    }

    fn as_admin(&self) -> Wire {
        self.wire(Some(&self.admin))
    }

    /// Ends the plane and waits for all of it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        self.writing.await.unwrap();
        self.following.await.unwrap();
        self.parts.store.close().await;
    }
}

/// Brings the intake, weight and version of stored rows to backends that the fleet has, as the
/// process does with whole rows.
async fn follow(parts: Parts, stop: CancellationToken) {
    let mut changes = parts.catalogue.changes();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = changes.changed() => changed.unwrap(),
        }
        let rows = parts.store.backends().await.unwrap();
        let specs = rows.into_iter().map(|row| crate::fleet::BackendSpec {
            weight: row.row.weight,
            intake: match row.row.intake {
                IntakeRow::Open => Intake::Open,
                IntakeRow::Cordoned => Intake::Cordoned,
                IntakeRow::Draining => Intake::Draining,
            },
            version: row.version,
            ..backend(row.row.id.as_str())
        });
        parts.fleet.apply(specs.collect()).unwrap();
    }
}

/// A change with a new request id.
fn change(version: u64, reason: &str) -> Option<proto::Change> {
    Some(proto::Change {
        request_id: Uuid::new_v4().to_string(),
        expected_version: version,
        reason: reason.to_owned(),
    })
}

/// A backend of the fleet that nobody runs.
fn backend(name: &str) -> crate::fleet::BackendSpec {
    crate::fleet::BackendSpec {
        id: name.parse().unwrap(),
        base_url: "http://127.0.0.1:9".to_owned(),
        dialect: "openai".parse().unwrap(),
        kind: "llamacpp".parse().unwrap(),
        credential_file: None,
        models: Vec::new(),
        max_concurrency: 4,
        queue_limit: 8,
        weight: 100,
        trust: crate::fleet::Trust::Own,
        intake: crate::fleet::Intake::Open,
        drain_until_ms: None,
        deployment: String::new(),
        version: 1,
    }
}

/// The name of a scope, shared.
fn name(text: &str) -> Arc<str> {
    text.into()
}

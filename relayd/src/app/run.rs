//! The life of a built process: start every task, wait, drain, end in order.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{App, AppError, Parts, cards, follow, replicas, tell, watch};
use crate::admin::{self, About, Admin, FleetDoor};
use crate::api::{
    self, Account, BodyBounds, Chat, Cors, EdgeSettings, Face, Health, Hosts, ListenBounds, Reads,
    TrustedProxies,
};
use crate::config::Config;
use crate::events::{EventKind, Severity};
use crate::fleet_edge::{FleetEdge, Welcomes};
use crate::ops::{self, Ops};
use crate::supervisor::{Supervisor, Weight};
use crate::telemetry::Telemetry;

/// Largest body of the routes that take a few fields.
const SMALL_BODY_MAX_BYTES: usize = 64 * 1024;
/// Time for the faces to end what they run, once every stream has.
const FACES_END: Duration = Duration::from_secs(2);
/// Time for the background tasks to write what they hold.
const TASKS_END: Duration = Duration::from_secs(5);
/// Connections of the ops listener.
const OPS_CONNECTIONS: usize = 64;

/// When each group of tasks stops.
struct Stops {
    /// Public requests are no longer taken.
    accept: CancellationToken,
    /// Everything else.
    rest: CancellationToken,
}

pub(super) async fn run(
    app: App,
    telemetry: &Telemetry,
    ready: impl FnOnce(),
) -> Result<(), AppError> {
    let App {
        config,
        program,
        bound,
        fleet_tls,
        stop,
        parts,
        sampler,
        event_writer,
        healthy,
        readiness,
    } = app;
    let fleet_addr =
        config.fleet.advertise_addr.clone().unwrap_or_else(|| bound.addresses().fleet.to_string());
    let stops = Stops { accept: CancellationToken::new(), rest: CancellationToken::new() };
    let (healthy, health) = healthy;
    let mut faces = Supervisor::new(stop.clone());
    let mut tasks = Supervisor::new(stop.clone());

    background(&mut tasks, &parts, &config, &stops.rest);
    tasks.spawn("events", Weight::Critical, done(event_writer.run(stops.rest.clone())));
    let looks = watch::health(
        parts.store.clone(),
        readiness.clone(),
        healthy,
        parts.events.clone(),
        stops.rest.clone(),
    );
    tasks.spawn("health", Weight::Critical, done(looks));

    let face = face(&config, &parts, health, program.commit)?;
    for (settings, listener) in config.listener.public.iter().zip(bound.public) {
        let serving = api::serve(
            listener,
            settings.tls.clone(),
            api::router(face.clone()),
            listen_bounds(&config),
            stops.accept.clone(),
        );
        faces.spawn("public", Weight::Critical, serving);
    }
    let about =
        About { name: config.name.0.clone(), version: program.version, commit: program.commit };
    let fleet_door = FleetDoor { addr: fleet_addr.clone(), ca_pem: fleet_tls.ca_pem.clone() };
    let admin_parts = admin_parts(&parts, fleet_door, about);
    let plane = Admin::new(bound.admin, &config.listener.admin, admin_parts)
        .map_err(|error| AppError::Setting(error.to_string()))?;
    tasks.spawn("admin", Weight::Critical, plane.serve(stops.rest.clone()));
    let ops = Ops {
        prometheus: telemetry.prometheus(),
        readiness: readiness.clone(),
        store: parts.store.clone(),
    };
    let bounds = ListenBounds { max_connections: OPS_CONNECTIONS, ..listen_bounds(&config) };
    let serving = api::serve(bound.ops, None, ops::router(ops), bounds, stops.rest.clone());
    tasks.spawn("ops", Weight::Critical, serving);
    let (addresses, replicas) = tokio::sync::watch::channel(vec![fleet_addr.clone()]);
    let welcomes = Welcomes { relay_name: config.name.0.clone(), replicas };
    let door =
        FleetEdge::new(&fleet_tls.cert_pem, &fleet_tls.key_pem, parts.providers.clone(), welcomes)
            .map_err(|error| AppError::Setting(error.to_string()))?;
    tasks.spawn("fleet", Weight::Critical, door.serve(bound.fleet, stops.rest.clone()));

    let following = replicas::follow(
        parts.store.clone(),
        parts.providers.clone(),
        fleet_addr,
        addresses,
        stops.rest.clone(),
    );
    tasks.spawn("replicas", Weight::Critical, done(following));
    let settling = replicas::settle(
        parts.store.clone(),
        parts.providers.clone(),
        readiness.clone(),
        stops.accept.clone(),
    );
    tasks.spawn("settling", Weight::Helpful, done(settling));

    // Whoever is told that relayd serves may end it from that moment on.
    let mut signals = Signals::take()?;
    parts.events.emit(EventKind::RelayStarted, Severity::Info, "", "relayd serves");
    ready();

    let failure = tokio::select! {
        failure = faces.watch() => failure,
        failure = tasks.watch() => failure,
        () = signals.next() => None,
    };
    if let Some(reason) = &failure {
        tracing::error!(%reason, "stopping");
    }
    readiness.draining();
    parts.events.emit(EventKind::RelayStopping, Severity::Info, "", "relayd drains and ends");
    tracing::info!(running = parts.inference.running(), "draining");
    stops.accept.cancel();
    let patience = if failure.is_some() { Duration::ZERO } else { config.drain.deadline.get() };
    drain(&parts, &mut faces, patience, &mut signals).await;
    faces.join(FACES_END).await;
    stops.rest.cancel();
    tasks.join(TASKS_END).await;
    drop(sampler);
    parts.metering.close().await;
    parts.store.close().await;
    tracing::info!("stopped");
    match failure {
        Some(reason) => Err(AppError::Ended(reason)),
        None => Ok(()),
    }
}

/// Lets what runs end, requests on connections that were taken already among it: whoever got
/// through is served. A second signal ends them at once.
async fn drain(parts: &Parts, faces: &mut Supervisor, patience: Duration, signals: &mut Signals) {
    let orderly = async {
        let until = tokio::time::Instant::now() + patience;
        if tokio::time::timeout_at(until, faces.ended()).await.is_err() {
            tracing::warn!(running = parts.inference.running(), "some connections do not end");
        }
        let left = until.saturating_duration_since(tokio::time::Instant::now());
        parts.inference.drain(left).await;
    };
    let told = tokio::select! {
        () = orderly => false,
        () = signals.next() => true,
    };
    if told {
        tracing::warn!("told again: ending what runs");
        parts.inference.drain(Duration::ZERO).await;
    }
}

fn background(tasks: &mut Supervisor, parts: &Parts, config: &Config, stop: &CancellationToken) {
    let Parts {
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
        host,
        ..
    } = parts.clone();
    let following =
        follow::backends(store.clone(), catalogue.clone(), fleet.clone(), tokenizers, stop.clone());
    tasks.spawn("backends", Weight::Critical, following);
    let telling = follow::events(fleet.clone(), events.clone(), stop.clone());
    tasks.spawn("fleet-events", Weight::Critical, done(telling));
    tasks.spawn("catalogue", Weight::Critical, done(catalogue.watch(stop.clone())));
    tasks.spawn("providers", Weight::Critical, done(providers.follow(stop.clone())));
    tasks.spawn("identity", Weight::Critical, done(identity.watch(stop.clone())));
    let inference = parts.inference.clone();
    let settings = follow::settings(parts.store.clone(), router.clone(), inference, stop.clone());
    tasks.spawn("settings", Weight::Critical, done(settings));
    let (probing, routing) = (stop.clone(), stop.clone());
    tasks.spawn("probes", Weight::Critical, done(async move { fleet.run(probing).await }));
    tasks.spawn("router", Weight::Critical, done(async move { router.run(routing).await }));
    let moving = stop.clone();
    tasks.spawn("rollouts", Weight::Critical, done(async move { rollouts.run(moving).await }));
    let (asking, inference) = (stop.clone(), parts.inference.clone());
    tasks.spawn(
        "canaries",
        Weight::Critical,
        done(async move { inference.canaries(asking).await }),
    );
    let (stopping, inference) = (stop.clone(), parts.inference.clone());
    let (questioned, every) = (parts.providers.clone(), config.trust.canary_interval.get());
    tasks.spawn(
        "questions",
        Weight::Critical,
        done(async move { inference.question(questioned, every, stopping).await }),
    );
    let told = cards::cards(host.clone(), parts.providers.clone(), events.clone(), stop.clone());
    tasks.spawn("cards", Weight::Helpful, done(told));
    let gauging = stop.clone();
    tasks.spawn("host", Weight::Critical, done(async move { host.write_gauges(gauging).await }));
    let troubles = tell::trouble(observe.clone(), events.clone(), stop.clone());
    tasks.spawn("trouble", Weight::Critical, done(troubles));
    let recoveries = tell::recovered(store.clone(), events.clone(), stop.clone());
    tasks.spawn("recoveries", Weight::Critical, done(recoveries));
    let every = config.ledger.check_interval.get();
    let checking = watch::ledger(store, every, observe, events, stop.clone());
    tasks.spawn("ledger-check", Weight::Critical, done(checking));
}

/// A task that cannot fail.
async fn done(task: impl Future<Output = ()>) -> Result<(), AppError> {
    task.await;
    Ok(())
}

fn face(
    config: &Config,
    parts: &Parts,
    healthy: tokio::sync::watch::Receiver<bool>,
    commit: &'static str,
) -> Result<Face, AppError> {
    let setting = |error: &dyn std::fmt::Display| AppError::Setting(error.to_string());
    let proxies = config
        .http
        .trusted_proxies
        .iter()
        .map(|network| network.parse().map_err(|error| setting(&error)))
        .collect::<Result<_, _>>()?;
    let bodies = BodyBounds {
        max_bytes: usize::try_from(config.http.max_body_mib).unwrap_or(1) * 1024 * 1024,
        timeout: config.http.body_timeout.get(),
    };
    let small_bodies = BodyBounds { max_bytes: SMALL_BODY_MAX_BYTES, ..bodies };
    Ok(Face {
        chat: Chat {
            identity: parts.identity.clone(),
            catalogue: parts.catalogue.clone(),
            inference: parts.inference.clone(),
            observe: parts.observe.clone(),
            bodies,
        },
        reads: Reads {
            identity: parts.identity.clone(),
            catalogue: parts.catalogue.clone(),
            small_bodies,
        },
        account: Account {
            identity: parts.identity.clone(),
            catalogue: parts.catalogue.clone(),
            store: parts.store.clone(),
            small_bodies,
        },
        health: Health { healthy, commit },
        edge: EdgeSettings {
            proxies: TrustedProxies::new(proxies),
            cors: Cors::new(&config.http.cors_origins, &config.http.cors_headers)
                .map_err(|error| setting(&error))?,
            hosts: Hosts::new(&config.http.hosts).map_err(|error| setting(&error))?,
        },
    })
}

fn admin_parts(parts: &Parts, door: FleetDoor, about: About) -> admin::Parts {
    admin::Parts {
        store: parts.store.clone(),
        identity: parts.identity.clone(),
        catalogue: parts.catalogue.clone(),
        fleet: parts.fleet.clone(),
        providers: parts.providers.clone(),
        rollouts: parts.rollouts.clone(),
        door,
        observe: parts.observe.clone(),
        host: parts.host.clone(),
        events: parts.events.clone(),
        about,
    }
}

fn listen_bounds(config: &Config) -> ListenBounds {
    ListenBounds {
        head_timeout: config.http.head_timeout.get(),
        write_stall: config.http.write_stall.get(),
        max_connections: usize::try_from(config.http.max_connections).unwrap_or(usize::MAX),
    }
}

/// SIGTERM and SIGINT, which end the process by themselves until they are taken.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn take() -> Result<Self, AppError> {
        let watch = |kind| signal(kind).map_err(|error| AppError::Setting(error.to_string()));
        Ok(Self { term: watch(SignalKind::terminate())?, int: watch(SignalKind::interrupt())? })
    }

    /// Resolves at the next of them.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}

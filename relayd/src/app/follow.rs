//! Keeps rooms that may not know one another in step: the catalogue's backends run in the fleet,
//! and what happens in the fleet becomes an event.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::catalogue::{self, Catalogue, CatalogueSnapshot};
use crate::domain::{BackendId, ModelName, Ncr, ProviderId, Source, TokenizerSource};
use crate::engines::{AgentAddress, Engine, EngineKind, EngineSpec};
use crate::events::{EventKind, Events, Severity};
use crate::fleet::{
    BackendSpec, Fleet, FleetEvent, Intake, Record, ServedModel, Standing, Trust, What,
};
use crate::inference::{EXECUTION_SETTING, Inference};
use crate::routing::{POLICY_SETTING, Router};
use crate::store::{Counter, IntakeRow, ProviderLimits, Store, StoreError};
use crate::tokenizer::{Tokenizers, Wanted};

/// Time until the fleet is made to follow again where it could not.
const APPLY_AGAIN: Duration = Duration::from_secs(2);

/// What a provider on probation keeps of its backends' places, as a divisor.
const PROBATION_PLACES: u32 = 4;

/// What it keeps of their weights.
const PROBATION_WEIGHT: u32 = 10;

/// Applies the catalogue's backends to the fleet, now and at every change, until `stop`.
///
/// # Errors
/// When the first look fails; later failures are logged and the fleet stays as it was.
pub(super) async fn backends(
    store: Store,
    catalogue: Catalogue,
    fleet: Fleet,
    tokenizers: Tokenizers,
    stop: CancellationToken,
) -> Result<(), StoreError> {
    let mut changes = catalogue.changes();
    loop {
        let applied = apply(&store, &catalogue, &fleet, &tokenizers).await;
        if let Err(error) = &applied {
            tracing::warn!(%error, "the fleet could not follow the catalogue");
        }
        let whole = applied.is_ok_and(|whole| whole);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(APPLY_AGAIN), if !whole => {}
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}

/// Makes the fleet what the catalogue says; whether every backend could be taken in.
///
/// # Errors
/// When the store cannot be read.
pub(super) async fn apply(
    store: &Store,
    catalogue: &Catalogue,
    fleet: &Fleet,
    tokenizers: &Tokenizers,
) -> Result<bool, StoreError> {
    let snapshot = catalogue.snapshot();
    for (model, error) in tokenizers.follow(wanted(&snapshot)).await {
        tracing::warn!(%model, %error, "the model is not open to independent providers");
    }
    let (sources, limits) = (sources(&snapshot), limits(store).await?);
    let mut specs = Vec::new();
    for row in store.backends().await? {
        let (version, row) = (row.version, row.row);
        let (Ok(dialect), Ok(kind)) = (row.dialect.parse(), row.engine.parse()) else {
            tracing::error!(backend = %row.id, "a stored backend speaks a dialect that this build does not know");
            continue;
        };
        let theirs = AgentAddress::is_meant(&row.url);
        let bounds = row.url.parse::<AgentAddress>().ok();
        let bounds = bounds.and_then(|address| limits.get(&address.provider));
        // Whoever does not serve is asked nothing, whatever row is left of him.
        if theirs && bounds.is_none() {
            continue;
        }
        // Nobody is paid by counts of his own.
        let open = |model: &ModelName| !theirs || tokenizers.get(model).is_some();
        let sold = |model: &ModelName| {
            let all = sources.get(model).into_iter().flatten();
            let fair = |price| bounds.is_none_or(|(bounds, _)| bounds.allow(model, price));
            all.filter(|(_, price)| fair(*price)).map(|(source, _)| *source).collect::<Vec<_>>()
        };
        let models = row.models.into_iter().filter(|served| open(&served.model));
        let models = models
            .map(|served| ServedModel {
                sources: sold(&served.model),
                model: served.model,
                upstream: served.upstream,
            })
            .filter(|served| bounds.is_none() || !served.sources.is_empty());
        let probation = bounds.is_some_and(|(_, probation)| *probation);
        let fewer = |count: u32, part| if probation { count.div_ceil(part) } else { count };
        let trust = match kind {
            _ if theirs => Trust::Provider,
            EngineKind::Commercial => Trust::Commercial,
            EngineKind::Llamacpp | EngineKind::Vllm | EngineKind::Ollama | EngineKind::Unknown => {
                Trust::Own
            }
        };
        specs.push(BackendSpec {
            id: row.id,
            base_url: row.url,
            dialect,
            kind,
            credential_file: row.credential_file.map(PathBuf::from),
            models: models.collect(),
            max_concurrency: fewer(row.max_concurrency, PROBATION_PLACES),
            queue_limit: row.queue,
            weight: fewer(row.weight, PROBATION_WEIGHT),
            trust,
            intake: match row.intake {
                IntakeRow::Open => Intake::Open,
                IntakeRow::Cordoned => Intake::Cordoned,
                IntakeRow::Draining => Intake::Draining,
            },
            drain_until_ms: row.drain_until_ms,
            deployment: row.deployment,
            version,
        });
    }
    // Each is told as an event.
    Ok(fleet.apply(specs).is_ok())
}

/// Time between two looks at whether the settings of a model were changed, here or elsewhere.
const SETTINGS_EVERY: Duration = Duration::from_millis(500);

/// Has requests routed and run as the settings of their models say, now and at every change, until
/// `stop`.
pub(super) async fn settings(
    store: Store,
    router: Router,
    inference: Inference,
    stop: CancellationToken,
) {
    let mut seen = None;
    loop {
        match settings_once(&store, &router, &inference, seen).await {
            Ok(counter) => seen = Some(counter),
            Err(error) => tracing::debug!(%error, "settings cannot be read now"),
        }
        tokio::select! {
            () = tokio::time::sleep(SETTINGS_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn settings_once(
    store: &Store,
    router: &Router,
    inference: &Inference,
    seen: Option<i64>,
) -> Result<i64, StoreError> {
    // The counter first: a change while they are read is read once more.
    let counter = store.counter(Counter::Settings).await?;
    if seen != Some(counter) {
        router.set_policies(of_models(store, POLICY_SETTING).await?);
        inference.set_executions(of_models(store, EXECUTION_SETTING).await?);
    }
    Ok(counter)
}

/// The settings whose keys begin so, by model. One that this build does not know counts as not set.
async fn of_models<T: FromStr>(
    store: &Store,
    prefix: &str,
) -> Result<HashMap<ModelName, T>, StoreError> {
    let stored = store.settings(prefix).await?;
    let known = stored.iter().filter_map(|(model, set)| {
        let read = (model.parse::<ModelName>().ok()?, set.value.parse::<T>());
        match read {
            (model, Ok(value)) => Some((model, value)),
            (model, Err(_)) => {
                let (key, value) = (prefix, &set.value);
                tracing::error!(key, %model, value, "a stored setting is not known to this build");
                None
            }
        }
    });
    Ok(known.collect())
}

/// The models whose rows name a tokenizer, with the engine where that is one of the operator's own.
fn wanted(snapshot: &CatalogueSnapshot) -> Vec<Wanted> {
    let engine = |model: &ModelName, source: &TokenizerSource| {
        let TokenizerSource::Engine(name) = source else { return None };
        let own = |spec: &&Arc<catalogue::BackendSpec>| {
            spec.name == *name && !AgentAddress::is_meant(&spec.url)
        };
        let spec = snapshot.backends().iter().find(own)?;
        let served = spec.models.iter().find(|served| served.model == *model)?;
        let engine = Engine::new(&EngineSpec {
            base_url: spec.url.clone(),
            dialect: spec.dialect,
            kind: spec.engine,
            credential_file: spec.credential_file.clone().map(PathBuf::from),
        });
        let engine = engine.ok().filter(Engine::counts_tokens)?;
        Some((Arc::new(engine), served.upstream.clone()))
    };
    let named = |listing: &catalogue::Listing| {
        let (model, source) = (listing.model.name.clone(), listing.model.tokenizer.clone()?);
        Some(Wanted { engine: engine(&model, &source), model, source })
    };
    snapshot.listings().filter_map(named).collect()
}

/// What bounds each provider that serves: an operator's limits, and whether its scores keep it from
/// more than a few requests.
async fn limits(store: &Store) -> Result<BTreeMap<ProviderId, (ProviderLimits, bool)>, StoreError> {
    let rows = store.providers().await?.into_iter().filter(|row| row.state.serves());
    let bounds = rows.map(|row| {
        let standing = Record::read(&row.standing).standing;
        (row.id, (row.limits, matches!(standing, Standing::Probation | Standing::Suspended)))
    });
    Ok(bounds.collect())
}

/// The families of routes that each model is sold on, and what a million answer tokens cost there.
fn sources(snapshot: &CatalogueSnapshot) -> BTreeMap<ModelName, Vec<(Source, Ncr)>> {
    let mut sources: BTreeMap<ModelName, Vec<(Source, Ncr)>> = BTreeMap::new();
    for listing in snapshot.listings() {
        let of = sources.entry(listing.model.name.clone()).or_default();
        for offer in &listing.offers {
            if of.iter().all(|(source, _)| *source != offer.scope.source) {
                of.push((offer.scope.source, Ncr::new(offer.price.rates.out_text)));
            }
        }
    }
    sources
}

/// Tells events of the fleet, until `stop`.
pub(super) async fn events(fleet: Fleet, events: Events, stop: CancellationToken) {
    let mut happened = fleet.events();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            event = happened.recv() => match event {
                Ok(event) => tell(&events, &event),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events of the fleet were missed");
                }
                Err(RecvError::Closed) => return,
            },
        }
    }
}

fn tell(events: &Events, FleetEvent { backend, what }: &FleetEvent) {
    let (kind, severity, text) = match what {
        What::Added => (EventKind::BackendAdded, Severity::Info, "added".to_owned()),
        // Every cordon and weight is one; what an operator did is told where it was done.
        What::Changed => return,
        What::Described => {
            (EventKind::BackendChanged, Severity::Info, "has another description".to_owned())
        }
        What::Drained => (
            EventKind::BackendDrained,
            Severity::Info,
            "is drained: nothing runs on it any more".to_owned(),
        ),
        What::Cut { running } => (
            EventKind::BackendCut,
            Severity::Warning,
            format!(
                "the drain's time is over: requests that still ran were ended, {running} of them"
            ),
        ),
        What::Removed => (EventKind::BackendRemoved, Severity::Info, "removed".to_owned()),
        What::Refused { reason } => (
            EventKind::BackendDown,
            Severity::Critical,
            format!("cannot be set up as it is described: {reason}"),
        ),
        What::Up => (EventKind::BackendUp, Severity::Info, "serves".to_owned()),
        What::Loading => (EventKind::BackendLoading, Severity::Info, "loads its model".to_owned()),
        What::Down { reason } => {
            (EventKind::BackendDown, Severity::Critical, format!("does not serve: {reason}"))
        }
        What::BreakerOpened { time } => (
            EventKind::BreakerOpened,
            Severity::Warning,
            format!("fails requests and is left alone for {} s", time.as_secs()),
        ),
        What::BreakerClosed => {
            (EventKind::BreakerClosed, Severity::Info, "answers requests again".to_owned())
        }
    };
    let backend: &BackendId = backend;
    events.emit(kind, severity, backend.as_str(), &format!("{backend} {text}"));
}

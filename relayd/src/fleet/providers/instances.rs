//! The backends of a provider's instances, as they follow from what is wanted and what its agent
//! tells. Pure: rows and reports in, changes out.
//!
//! There is one for each instance that was up once, until it goes. Where an instance is gone or out of
//! service and wanted still, as when its agent starts anew, its backend waits for it, or for the one
//! that takes its place and gets what an operator had set. So does that of an engine that was examined
//! and is not offered at the moment: nobody gets rid of a cordon by leaving for a while. What an instance is and speaks decides how it is asked and
//! whether it is asked hidden questions: the first one of a deployment says it for all of them, and
//! an agent that says otherwise later is not believed.

use std::collections::BTreeSet;

use super::Evidence;
use super::canary::is_comparable;
use super::decide::backend;
use super::live::EngineReport;
use crate::domain::ModelName;
use crate::engines::{AgentAddress, Dialect, EngineKind, is_engine_name};
use crate::store::{
    BackendModel, BackendRow, BeganAs, Change, DeploymentRow, OfferRow, ProviderRow, Versioned,
};

/// The agent's word for an engine that answers.
const UP: &str = "up";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// To be written together.
    pub(super) changes: Vec<Change>,
    begun: Vec<Change>,
    /// Deployments with an instance of another kind, and a sentence about it.
    pub(super) others: Vec<(DeploymentRow, String)>,
    /// What begins and is asked no hidden questions, a sentence each.
    pub(super) unquestioned: Vec<String>,
}

/// What there is to go by.
struct Known<'a> {
    row: &'a ProviderRow,
    /// The engines that were examined.
    examined: BTreeSet<String>,
    engines: &'a [EngineReport],
    existing: &'a [Versioned<BackendRow>],
}

/// Works out what a provider's instances make of its backends; `named` is what each deployment is
/// sold as.
pub(super) fn settle(
    row: &ProviderRow,
    wanted: &[DeploymentRow],
    engines: &[EngineReport],
    existing: &[Versioned<BackendRow>],
    named: impl Fn(&DeploymentRow) -> Option<ModelName>,
) -> Settled {
    let evidence = Evidence::read(&row.evidence);
    let examined = evidence.engines.into_iter().map(|engine| engine.name).collect();
    let known = Known { row, examined, engines, existing };
    let (mut settled, mut kept) = (Settled::default(), BTreeSet::new());
    for deployment in wanted {
        if let Some(model) = named(deployment) {
            known.follow(deployment, &model, &mut settled, &mut kept);
        }
    }
    let gone = existing.iter().map(|known| &known.row).filter(|backend| {
        let address = backend.url.parse::<AgentAddress>();
        address.is_ok_and(|at| {
            let stays = backend.deployment.is_empty() && known.is_its_own(&at.engine);
            at.provider == row.id && !stays && !kept.contains(&backend.url)
        })
    });
    let gone = gone.map(|gone| Change::RemoveBackend { id: gone.id.clone(), expected: None });
    settled.changes.extend(gone);
    // Backends before deployments, as a decision against a provider locks them.
    settled.changes.append(&mut settled.begun);
    settled
}

impl Known<'_> {
    /// One deployment: its backends that stay are `kept`.
    fn follow(
        &self,
        deployment: &DeploymentRow,
        model: &ModelName,
        settled: &mut Settled,
        kept: &mut BTreeSet<String>,
    ) {
        let most = usize::try_from(deployment.replicas).unwrap_or(usize::MAX);
        let theirs = |engine: &&EngineReport| {
            engine.deployment == deployment.id && !engine.is_withdrawn() && self.is_sound(engine)
        };
        // One that drains or has no places is as good as gone, and may come back.
        let mut gone = self.existing.iter().map(|known| &known.row).filter(|known| {
            known.deployment == deployment.id
                && !self.engines.iter().filter(theirs).any(|engine| is(known, engine))
        });
        let (mut standing, mut began) = (0, deployment.began_as.clone());
        for engine in self.engines.iter().filter(theirs).take(most) {
            let known =
                self.existing.iter().map(|known| &known.row).find(|known| is(known, engine));
            let told = BeganAs { engine: engine.kind.clone(), dialect: engine.dialect.clone() };
            let upstream = match &began {
                Some(before) if *before != told => {
                    settled.others.push((deployment.clone(), other(engine, before)));
                    None
                }
                // It lists nothing while it is loaded.
                _ => upstream(engine, &deployment.model),
            };
            let Some(upstream) = upstream else {
                // What stands may stand.
                standing += usize::from(known.is_some());
                kept.extend(known.map(|known| known.url.clone()));
                continue;
            };
            if known.is_none() && engine.state != UP {
                continue;
            }
            let served = BackendModel { model: model.clone(), upstream: upstream.to_owned() };
            let Some(fresh) = backend(self.row, &offer(engine), vec![served], self.existing) else {
                continue;
            };
            let heir_of = known.is_none().then(|| gone.next()).flatten();
            let fresh = BackendRow {
                deployment: deployment.id.clone(),
                queue: heir_of.map_or(fresh.queue, |before| before.queue),
                weight: heir_of.map_or(fresh.weight, |before| before.weight),
                intake: heir_of.map_or(fresh.intake, |before| before.intake),
                ..fresh
            };
            standing += 1;
            kept.insert(fresh.url.clone());
            if began.is_none() {
                settled.begin(&deployment.id, &told);
                began = Some(told);
            }
            if known.is_none_or(|known| differs(known, &fresh)) {
                let provider = self.row.id.clone();
                settled.changes.push(Change::PutProvidedBackend { provider, backend: fresh });
            }
        }
        let lacking = most.saturating_sub(standing);
        kept.extend(gone.take(lacking).map(|waits| waits.url.clone()));
    }

    /// Whether an instance's description is within its bounds and its name its own.
    fn is_sound(&self, engine: &EngineReport) -> bool {
        let kind = engine.kind.parse::<EngineKind>();
        let known = kind.is_ok_and(|kind| kind != EngineKind::Commercial)
            && engine.dialect.parse::<Dialect>().is_ok();
        let fits = (1..=super::super::CONCURRENCY_MAX).contains(&engine.max_concurrency);
        known && fits && !self.is_its_own(&engine.name) && is_engine_name(&engine.name)
    }

    /// Whether an engine of that name is one that the provider offers or was examined with.
    fn is_its_own(&self, name: &str) -> bool {
        self.row.presented.engines.iter().any(|offer| offer.name == name)
            || self.examined.contains(name)
    }
}

impl Settled {
    fn begin(&mut self, deployment: &str, began: &BeganAs) {
        let id = deployment.to_owned();
        self.begun.push(Change::BeginDeployment { id, began: began.clone() });
        if !began.engine.parse().is_ok_and(is_comparable) {
            let kind = &began.engine;
            self.unquestioned.push(format!(
                "deployment {deployment} runs {kind}: its answers cannot be compared with ours, so it is asked no hidden questions"
            ));
        }
    }
}

/// Whether a backend is that instance's.
fn is(backend: &BackendRow, engine: &EngineReport) -> bool {
    // Deployments are of one provider each, so the name is enough.
    backend.url.parse::<AgentAddress>().is_ok_and(|at| at.engine == engine.name)
        && backend.deployment == engine.deployment
}

fn other(engine: &EngineReport, began: &BeganAs) -> String {
    format!(
        "its instance {} says that it is {} over {}, and the deployment began as {} over {}: remove it and deploy it anew",
        engine.name, engine.kind, engine.dialect, began.engine, began.dialect
    )
}

/// What an instance calls the model that it was started for.
fn upstream<'a>(engine: &'a EngineReport, model: &str) -> Option<&'a str> {
    match engine.models.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|listed| *listed == model).map(String::as_str),
    }
}

fn offer(engine: &EngineReport) -> OfferRow {
    OfferRow {
        name: engine.name.clone(),
        kind: engine.kind.clone(),
        dialect: engine.dialect.clone(),
        models: Vec::new(),
        max_concurrency: engine.max_concurrency,
    }
}

/// Whether a backend is to be written anew. Its intake, queue and weight are the operator's.
fn differs(known: &BackendRow, fresh: &BackendRow) -> bool {
    known.models != fresh.models
        || known.dialect != fresh.dialect
        || known.engine != fresh.engine
        || known.max_concurrency != fresh.max_concurrency
        || known.deployment != fresh.deployment
}

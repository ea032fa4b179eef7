//! Deployments: what a provider's agent shall run, what it is told to, and the backends that come
//! of it.
//!
//! The store holds what is wanted. A session compares that with what the agent tells and sends the
//! difference, so that a lost order, a restart on either side and a change on another replica all
//! end in the same state. The agent decides by its own templates; its refusal is kept until what
//! is wanted changes.

use super::examine::sold_as;
use super::instances::settle;
use super::live::{DeploymentReport, EngineReport, Live, Refusals};
use super::{Providers, Session};
use crate::domain::{Code, Fault, ProviderId};
use crate::engines::AgentAddress;
use crate::events::{EventKind, Severity};
use crate::store::{Change, DeploymentRow, ProviderRow, StoreError, Trail};

/// Most deployments of one provider.
const DEPLOYMENTS_MAX: usize = 16;

/// A deployment, as it is wanted and as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// What is wanted.
    pub row: DeploymentRow,
    /// What its agent tells of it; none while it is away or does not know it.
    pub live: Option<DeploymentReport>,
    /// Why its agent will not run it.
    pub refused: Option<String>,
}

/// What an agent is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Run this.
    Deploy(DeploymentRow),
    /// Run that no more.
    Remove(String),
}

impl Providers {
    /// Every deployment, or a provider's, by id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn deployments(
        &self,
        provider: Option<&ProviderId>,
    ) -> Result<Vec<Deployment>, StoreError> {
        let rows = self.0.store.deployments(provider).await?;
        Ok(rows.into_iter().map(|row| self.with_live(row)).collect())
    }

    /// One deployment.
    ///
    /// # Errors
    /// [`Code::NotFound`], and when the store cannot be read.
    pub async fn deployment(&self, id: &str) -> Result<Deployment, StoreError> {
        Ok(self.with_live(self.0.store.deployment(id).await?))
    }

    /// Wants something run.
    ///
    /// # Errors
    /// [`Code::FailedPrecondition`] where the provider is not approved or runs as many already.
    pub async fn deploy(
        &self,
        new: DeploymentRow,
        trail: Option<Trail>,
    ) -> Result<Deployment, Fault> {
        let row = self.0.store.provider(&new.provider).await?;
        if !row.state.serves() {
            let text = format!("the provider is {} and not approved", row.state);
            return Err(Fault::new(Code::FailedPrecondition, text));
        }
        if self.0.store.deployments(Some(&new.provider)).await?.len() >= DEPLOYMENTS_MAX {
            let text = format!("a provider runs at most {DEPLOYMENTS_MAX} deployments");
            return Err(Fault::new(Code::FailedPrecondition, text));
        }
        let id = new.id.clone();
        let text = format!("is to run {} of template {}", new.model, new.template);
        self.0.store.write(vec![Change::NewDeployment(new)], trail).await?;
        self.tell(EventKind::DeploymentChanged, Severity::Info, &row, &text);
        self.stir(&row.id);
        Ok(self.deployment(&id).await?)
    }

    /// Wants more or fewer instances.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`].
    pub async fn scale(
        &self,
        id: &str,
        replicas: u32,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Deployment, Fault> {
        let known = self.0.store.deployment(id).await?;
        let row = self.0.store.provider(&known.provider).await?;
        let change = Change::ScaleDeployment { id: id.to_owned(), expected, replicas };
        self.0.store.write(vec![change], trail).await?;
        let text = format!("is to run {replicas} of {}", known.model);
        self.tell(EventKind::DeploymentChanged, Severity::Info, &row, &text);
        self.stir(&row.id);
        Ok(self.deployment(id).await?)
    }

    /// Wants it no more. Its instances take no new request and end; what it was is returned.
    ///
    /// # Errors
    /// [`Code::NotFound`], [`Code::VersionConflict`], and [`Code::FailedPrecondition`] where a live
    /// revision or an open rollout runs on it.
    pub async fn undeploy(
        &self,
        id: &str,
        expected: Option<u64>,
        trail: Option<Trail>,
    ) -> Result<Deployment, Fault> {
        let known = self.deployment(id).await?;
        let row = self.0.store.provider(&known.row.provider).await?;
        let change = Change::RemoveDeployment { id: id.to_owned(), expected };
        self.0.store.write(vec![change], trail).await?;
        let text = format!("is to run {} no more", known.row.model);
        self.tell(EventKind::DeploymentChanged, Severity::Info, &row, &text);
        self.stir(&row.id);
        Ok(known)
    }

    /// One look at what is wanted of a session's agent: makes the backends of its instances follow,
    /// and gives what the agent is to be told. Nothing before its first word.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn provision(&self, session: &Session) -> Result<Vec<Order>, StoreError> {
        let id = session.provider();
        let (told, refusals, engines) = {
            let all = self.live();
            let Some(live) = all.get(id) else { return Ok(Vec::new()) };
            let Some((told, refusals)) = live.deployed() else { return Ok(Vec::new()) };
            (told, refusals, live.view().engines)
        };
        let wanted = self.0.store.deployments(Some(id)).await?;
        let runs_any = !told.is_empty() || engines.iter().any(|e| !e.deployment.is_empty());
        if wanted.is_empty() && !runs_any && !self.has_instances(session) {
            return Ok(Vec::new());
        }
        let row = self.0.store.provider(id).await?;
        if row.state.serves() {
            self.settle_instances(&row, &wanted, &engines).await?;
        }
        Ok(orders(row.state.serves(), &wanted, &told, &refusals))
    }

    /// Whether a backend stands that none of the provider's own engines is.
    fn has_instances(&self, session: &Session) -> bool {
        let snapshot = self.0.fleet.snapshot();
        let theirs = |url: &str| {
            url.parse::<AgentAddress>().is_ok_and(|address| {
                address.provider == *session.provider() && !session.offers(&address.engine)
            })
        };
        snapshot.backends().any(|backend| theirs(&backend.spec.base_url))
    }

    /// Makes the backends of a provider's instances follow from what is wanted and what its agent
    /// tells, and says what of that is odd.
    async fn settle_instances(
        &self,
        row: &ProviderRow,
        wanted: &[DeploymentRow],
        engines: &[EngineReport],
    ) -> Result<(), StoreError> {
        let existing = self.0.store.backends().await?;
        let catalogue = self.0.catalogue.snapshot();
        // A revision says what its deployment is sold as; elsewhere the name does.
        let revised = self.0.store.deployed_models().await?;
        let named = |deployment: &DeploymentRow| {
            let model = revised.get(&deployment.id).cloned();
            model.or_else(|| sold_as(&catalogue, &existing, &deployment.model))
        };
        let settled = settle(row, wanted, engines, &existing, named);
        for (deployment, why) in &settled.others {
            self.refuse_other(row, deployment, why);
        }
        if settled.changes.is_empty() {
            return Ok(());
        }
        self.0.store.write(settled.changes, None).await?;
        for text in settled.unquestioned {
            self.tell(EventKind::DeploymentChanged, Severity::Warning, row, &text);
        }
        self.changed();
        if let Err(error) = self.0.catalogue.reload().await {
            tracing::warn!(provider = %row.id, %error, "the fleet did not take a provider's instances");
        }
        Ok(())
    }

    /// An instance is another engine than its deployment began as: people hear of it once.
    fn refuse_other(&self, row: &ProviderRow, deployment: &DeploymentRow, why: &str) {
        let known = {
            let mut all = self.live();
            let Some(live) = all.get_mut(&row.id) else { return };
            live.refuse(&deployment.id, (deployment.version, why.to_owned()))
        };
        if !known {
            let text = format!("deployment {}: {why}", deployment.id);
            self.tell(EventKind::DeploymentRefused, Severity::Warning, row, &text);
            self.changed();
        }
    }

    fn with_live(&self, row: DeploymentRow) -> Deployment {
        let all = self.live();
        let deployed = all.get(&row.provider).and_then(Live::deployed);
        let (told, mut refusals) = deployed.unwrap_or_default();
        Deployment {
            live: told.into_iter().find(|told| told.id == row.id),
            refused: refusals
                .remove(&row.id)
                .and_then(|(version, why)| (version == row.version).then_some(why)),
            row,
        }
    }
}

/// What an agent is to be told, by what it told last.
fn orders(
    serves: bool,
    wanted: &[DeploymentRow],
    told: &[DeploymentReport],
    refusals: &Refusals,
) -> Vec<Order> {
    let mut orders = Vec::new();
    for row in wanted {
        let runs = told.iter().any(|told| told.id == row.id && told.replicas == row.replicas);
        let refused = refusals.get(&row.id).is_some_and(|(version, _)| *version == row.version);
        if serves && !runs && !refused {
            orders.push(Order::Deploy(row.clone()));
        }
    }
    for told in told {
        if wanted.iter().all(|row| row.id != told.id) {
            orders.push(Order::Remove(told.id.clone()));
        }
    }
    orders
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn row(id: &str, replicas: u32, version: u64) -> DeploymentRow {
        DeploymentRow {
            id: id.to_owned(),
            provider: "prov_0000000000000001".parse().unwrap(),
            template: "llama".to_owned(),
            model: "tiny".to_owned(),
            parameters: BTreeMap::new(),
            replicas,
            created_by: "ann".to_owned(),
            created_ms: 1,
            began_as: None,
            version,
        }
    }

    fn told(id: &str, replicas: u32) -> DeploymentReport {
        DeploymentReport { id: id.to_owned(), replicas, instances: Vec::new() }
    }

    #[test]
    fn an_agent_is_told_what_differs_and_nothing_else() {
        let (none, a) = (Refusals::new(), row("dep_a", 2, 3));
        let wanted = [a.clone()];
        assert_eq!(orders(true, &wanted, &[told("dep_a", 2)], &none), []);
        let again = vec![Order::Deploy(a.clone())];
        assert_eq!(orders(true, &wanted, &[], &none), again, "it restarted, or an order was lost");
        assert_eq!(orders(true, &wanted, &[told("dep_a", 1)], &none), again, "it was scaled");
        let left = orders(true, &[], &[told("dep_a", 2)], &none);
        assert_eq!(left, [Order::Remove("dep_a".to_owned())]);
        // What it refused is not asked again until it is wanted otherwise.
        let refused = |version| Refusals::from([("dep_a".to_owned(), (version, String::new()))]);
        assert_eq!(orders(true, &wanted, &[], &refused(3)), []);
        assert_eq!(orders(true, &wanted, &[], &refused(2)), again);
        // Who does not serve is given nothing to run, and may still be told to end something.
        assert_eq!(orders(false, &wanted, &[], &none), []);
        assert_eq!(orders(false, &[], &[told("dep_a", 2)], &none).len(), 1);
    }
}

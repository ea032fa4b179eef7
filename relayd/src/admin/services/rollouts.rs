//! Revisions of models, and rollouts between them.

use std::collections::BTreeSet;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::rollouts_service_server::RolloutsService;
use relay_proto::admin::v1::rollouts_update::Update;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::watch::{Shared, Watched, difference, interval};
use crate::admin::{Streams, UpdateStream, id, now_ms, page, rollout};
use crate::catalogue::Catalogue;
use crate::domain::{
    BackendId, Code, Fault, FieldError, ModelName, RevisionTarget, RolloutId, RolloutPlan,
};
use crate::fleet::{Fleet, StateWord};
use crate::rollouts::{Act, Revision, Rollouts, Start};
use crate::store::{NewRevision, Store};

/// How all models are served now.
#[derive(Clone)]
pub(in crate::admin) struct RolloutsView {
    pub(in crate::admin) rollouts: Rollouts,
    pub(in crate::admin) catalogue: Catalogue,
    pub(in crate::admin) fleet: Fleet,
}

impl RolloutsView {
    /// Every model that is sold or has revisions, by name.
    fn all(&self) -> Vec<proto::ModelRollout> {
        let (snapshot, book) = (self.catalogue.snapshot(), self.rollouts.book());
        let sold = snapshot.listings().map(|listing| &listing.model.name);
        let names: BTreeSet<&ModelName> = sold.chain(book.revisions.keys()).collect();
        let model = |name| rollout::model(&self.rollouts, &book, &self.fleet, name);
        names.into_iter().map(model).collect()
    }

    fn one(&self, name: &str) -> Result<proto::ModelRollout, Fault> {
        let known = self.known(name)?;
        Ok(rollout::model(&self.rollouts, &self.rollouts.book(), &self.fleet, &known))
    }

    fn known(&self, name: &str) -> Result<ModelName, Fault> {
        let none = || Fault::new(Code::ModelNotFound, format!("there is no model '{name}'"));
        let model: ModelName = name.parse().map_err(|_| none())?;
        let sold = self.catalogue.snapshot().listing(name).is_some();
        if sold || self.rollouts.book().revisions.contains_key(&model) {
            return Ok(model);
        }
        Err(none())
    }
}

impl Watched for RolloutsView {
    type View = Vec<proto::ModelRollout>;
    type Update = proto::RolloutsUpdate;

    async fn view(&self) -> Result<Vec<proto::ModelRollout>, Fault> {
        Ok(self.all())
    }

    fn snapshot(seq: u64, view: &Vec<proto::ModelRollout>) -> proto::RolloutsUpdate {
        let all = proto::RolloutsSnapshot { models: view.clone() };
        proto::RolloutsUpdate { seq, update: Some(Update::Snapshot(all)) }
    }

    fn delta(
        seq: u64,
        old: &Vec<proto::ModelRollout>,
        new: &Vec<proto::ModelRollout>,
    ) -> Option<proto::RolloutsUpdate> {
        let (changed, removed) = difference(old, new, |model| &model.model)?;
        let delta = proto::RolloutsDelta { changed, removed };
        Some(proto::RolloutsUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::RolloutsUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::RolloutsUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

pub(in crate::admin) struct RolloutsNoun {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) now: RolloutsView,
    pub(in crate::admin) changes: Changes,
    pub(in crate::admin) view: Shared<RolloutsView>,
    pub(in crate::admin) streams: Streams,
}

/// A call that does something to a rollout.
struct Deed {
    action: &'static str,
    act: Act,
    reason: Reason,
}

impl Deed {
    const fn new(action: &'static str, act: Act, reason: Reason) -> Self {
        Self { action, act, reason }
    }
}

#[tonic::async_trait]
impl RolloutsService for RolloutsNoun {
    async fn list_model_rollouts(
        &self,
        request: Request<proto::ListModelRolloutsRequest>,
    ) -> Result<Response<proto::ListModelRolloutsResponse>, Status> {
        let asked = page::asked(request.into_inner().page).map_err(|fault| status(&fault))?;
        let all = self.now.all();
        let (models, next_page_token) =
            page::cut(all.into_iter(), &asked, |model| model.model.as_str());
        Ok(Response::new(proto::ListModelRolloutsResponse { models, next_page_token }))
    }

    async fn get_model_rollout(
        &self,
        request: Request<proto::GetModelRolloutRequest>,
    ) -> Result<Response<proto::ModelRollout>, Status> {
        let answer = self.now.one(&request.get_ref().model);
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    type WatchRolloutsStream = UpdateStream<proto::RolloutsUpdate>;

    async fn watch_rollouts(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchRolloutsStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.view.clone(), interval)
    }

    async fn list_rollouts(
        &self,
        request: Request<proto::ListRolloutsRequest>,
    ) -> Result<Response<proto::ListRolloutsResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn get_rollout(
        &self,
        request: Request<proto::GetRolloutRequest>,
    ) -> Result<Response<proto::Rollout>, Status> {
        let answer = self.get(&request.get_ref().rollout_id).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn create_revision(
        &self,
        request: Request<proto::CreateRevisionRequest>,
    ) -> Result<Response<proto::Revision>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.create(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn start_rollout(
        &self,
        request: Request<proto::StartRolloutRequest>,
    ) -> Result<Response<proto::Rollout>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.start(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn advance_rollout(
        &self,
        request: Request<proto::AdvanceRolloutRequest>,
    ) -> Result<Response<proto::Rollout>, Status> {
        const ACTION: &str = "RolloutsService/AdvanceRollout";
        let (caller, request) = split(request)?;
        let deed = Deed::new(ACTION, Act::Advance, Reason::Free);
        self.act(&caller, request.change, &request.rollout_id, deed).await
    }

    async fn pause_rollout(
        &self,
        request: Request<proto::PauseRolloutRequest>,
    ) -> Result<Response<proto::Rollout>, Status> {
        const ACTION: &str = "RolloutsService/PauseRollout";
        let (caller, request) = split(request)?;
        let deed = Deed::new(ACTION, Act::Pause, Reason::Free);
        self.act(&caller, request.change, &request.rollout_id, deed).await
    }

    async fn resume_rollout(
        &self,
        request: Request<proto::ResumeRolloutRequest>,
    ) -> Result<Response<proto::Rollout>, Status> {
        const ACTION: &str = "RolloutsService/ResumeRollout";
        let (caller, request) = split(request)?;
        let deed = Deed::new(ACTION, Act::Resume, Reason::Free);
        self.act(&caller, request.change, &request.rollout_id, deed).await
    }

    async fn roll_back_rollout(
        &self,
        request: Request<proto::RollBackRolloutRequest>,
    ) -> Result<Response<proto::Rollout>, Status> {
        const ACTION: &str = "RolloutsService/RollBackRollout";
        let (caller, request) = split(request)?;
        let deed = Deed::new(ACTION, Act::RollBack, Reason::Needed);
        self.act(&caller, request.change, &request.rollout_id, deed).await
    }
}

impl RolloutsNoun {
    async fn list(
        &self,
        request: proto::ListRolloutsRequest,
    ) -> Result<proto::ListRolloutsResponse, Fault> {
        let asked = page::asked(request.page)?;
        let model = match request.model.as_str() {
            "" => None,
            name => Some(self.now.known(name)?),
        };
        let found = self.store.rollouts(model.as_ref(), &asked.stored()).await;
        let found = found.map_err(page::fault)?;
        let rollouts = found.rows.iter().map(rollout::row).collect();
        Ok(proto::ListRolloutsResponse {
            rollouts,
            next_page_token: found.next.unwrap_or_default(),
        })
    }

    async fn get(&self, rollout_id: &str) -> Result<proto::Rollout, Fault> {
        let known: RolloutId = id(rollout_id)?;
        let book = self.now.rollouts.book();
        if let Some(current) = book.current.values().find(|current| current.row.id == known) {
            return Ok(rollout::rollout(current));
        }
        let row = self.store.rollout(&known).await?;
        let notes = self.store.rollout_notes(&known).await?;
        let history = notes.iter().map(rollout::note).collect();
        Ok(proto::Rollout { history, ..rollout::row(&row) })
    }

    async fn create(
        &self,
        caller: &Caller,
        request: proto::CreateRevisionRequest,
    ) -> Result<proto::Revision, Fault> {
        const ACTION: &str = "RolloutsService/CreateRevision";
        let wish = Wish::new(caller, request.change, ACTION, &request.model, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let book = self.now.rollouts.fresh().await?;
        let model = self.now.known(&request.model)?;
        let targets = self.targets(&model, request.targets)?;
        let deployment = request.deployment_id;
        if !deployment.is_empty() {
            self.store.deployment(&deployment).await?;
        }
        let newest = book.revisions.get(&model).and_then(|known| known.first());
        let new = |note: &str, targets| NewRevision {
            model: model.clone(),
            number: 0,
            note: note.to_owned(),
            targets,
            deployment: String::new(),
            parameters: crate::domain::RevisionParameters::default(),
            created_by: caller.name.to_string(),
            created_ms: now_ms(),
        };
        let present = match newest {
            Some(_) => None,
            None => {
                let now = self.present(&model);
                (!now.is_empty()).then(|| new("as it was served before the first revision", now))
            }
        };
        let number = match (newest, &present) {
            (Some(newest), _) => newest.number + 1,
            (None, Some(_)) => 2,
            (None, None) => 1,
        };
        let wanted = NewRevision {
            number,
            deployment,
            parameters: rollout::parameters(request.parameters),
            ..new(&request.note, targets)
        };
        let after = rollout::revision(&wanted);
        let trail = wish.act.record(None, Some(&after));
        self.now.rollouts.create_revision(wanted, present, Some(trail)).await?;
        Ok(after)
    }

    /// How a model without revisions is served: every backend that lists it.
    fn present(&self, model: &ModelName) -> Vec<RevisionTarget> {
        let snapshot = self.now.fleet.snapshot();
        let listed = snapshot.backends().filter_map(|backend| {
            let upstream = backend.upstream(model)?.to_owned();
            Some(RevisionTarget { backend: backend.id().clone(), upstream })
        });
        listed.collect()
    }

    /// The targets that a call names; each must be a backend that lists the model.
    fn targets(
        &self,
        model: &ModelName,
        said: Vec<proto::RevisionTarget>,
    ) -> Result<Vec<RevisionTarget>, Fault> {
        let snapshot = self.now.fleet.snapshot();
        let (mut targets, mut wrong) = (Vec::new(), Vec::new());
        for target in said {
            let backend: BackendId = id(&target.backend_id)?;
            let listed = snapshot.backend(&backend).and_then(|known| known.upstream(model));
            match (listed, target.upstream) {
                (None, _) => {
                    let text = format!("'{backend}' is no backend that lists {model}");
                    wrong.push(FieldError::body("targets", "not_found", text));
                }
                (Some(listed), named) if named.is_empty() => {
                    targets.push(RevisionTarget { backend, upstream: listed.to_owned() });
                }
                (Some(_), upstream) => targets.push(RevisionTarget { backend, upstream }),
            }
        }
        if wrong.is_empty() { Ok(targets) } else { Err(Fault::validation(wrong)) }
    }

    /// Whether a revision could take a request now. A number that is none is not judged here.
    fn serves(&self, model: &str, number: u32) -> Result<(), Fault> {
        let (model, book) = (self.now.known(model)?, self.now.rollouts.book());
        let Some(row) = book.revision(&model, number) else { return Ok(()) };
        let (snapshot, revision) = (self.now.fleet.snapshot(), Revision::new(row));
        let theirs = snapshot.backends().filter(|backend| {
            revision.backends.holds(backend) && backend.upstream(&model).is_some()
        });
        let states: Vec<StateWord> = theirs.map(|backend| backend.state()).collect();
        if states.contains(&StateWord::Up) {
            return Ok(());
        }
        let text = match states.len() {
            0 => format!("revision {number} has no backend yet"),
            all => format!("none of the {all} backends of revision {number} is up"),
        };
        Err(Fault::new(Code::FailedPrecondition, text))
    }

    async fn start(
        &self,
        caller: &Caller,
        request: proto::StartRolloutRequest,
    ) -> Result<proto::Rollout, Fault> {
        const ACTION: &str = "RolloutsService/StartRollout";
        let wish = Wish::creation(caller, request.change, ACTION, "ro_")?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        self.now.rollouts.fresh().await?;
        let before = self.now.one(&request.model)?;
        wish.check("model", before.version)?;
        self.serves(&before.model, request.revision)?;
        let plan: RolloutPlan = rollout::plan_of(request.plan);
        let after = proto::Rollout {
            rollout_id: wish.act.object.clone(),
            model: before.model.clone(),
            from_revision: before.live_revision,
            to_revision: request.revision,
            state: proto::RolloutState::Running.into(),
            state_reason: wish.act.reason.clone(),
            plan: Some(rollout::plan(&plan)),
            share_permille: plan.share_permille(0).into(),
            created_by: wish.act.actor.clone(),
            version: 1,
            ..proto::Rollout::default()
        };
        let trail = wish.act.record(None, Some(&after));
        let start = Start {
            id: id(&wish.act.object)?,
            model: self.now.known(&request.model)?,
            to: request.revision,
            plan,
            reason: wish.act.reason.clone(),
            actor: wish.act.actor.clone(),
            expected: Some(wish.expected),
        };
        let made = self.now.rollouts.start(start, Some(trail)).await?;
        self.get(made.id.as_str()).await
    }

    async fn act(
        &self,
        caller: &Caller,
        change: Option<proto::Change>,
        rollout_id: &str,
        deed: Deed,
    ) -> Result<Response<proto::Rollout>, Status> {
        let made = self.acted(caller, change, rollout_id, deed).await;
        made.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn acted(
        &self,
        caller: &Caller,
        change: Option<proto::Change>,
        rollout_id: &str,
        deed: Deed,
    ) -> Result<proto::Rollout, Fault> {
        let known: RolloutId = id(rollout_id)?;
        let wish = Wish::new(caller, change, deed.action, rollout_id, deed.reason)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let row = self.store.rollout(&known).await?;
        wish.check("rollout", row.version)?;
        let (state, step, _) = deed.act.leads_to(&row)?;
        let before = rollout::row(&row);
        let after = proto::Rollout {
            state: rollout::state(state).into(),
            state_reason: wish.act.reason.clone(),
            step,
            version: row.version + 1,
            ..before.clone()
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        let (actor, reason) = (wish.act.actor.as_str(), wish.act.reason.as_str());
        let expected = Some(wish.expected);
        self.now.rollouts.act(&known, deed.act, actor, reason, expected, Some(trail)).await?;
        self.get(rollout_id).await
    }
}

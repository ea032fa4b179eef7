//! Backends: how they are, and whether they take new requests.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::backends_service_server::BackendsService;
use relay_proto::admin::v1::backends_update::Update;
use tonic::{Request, Response, Status};

use std::time::Duration;

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::watch::{Shared, Watched, difference, interval};
use crate::admin::{Streams, UpdateStream, convert, id, now_ms, page};
use crate::catalogue::Catalogue;
use crate::domain::{BackendId, Code, Fault, FieldError};
use crate::events::EventKind;
use crate::fleet::{Fleet, Intake, WEIGHT_MAX};
use crate::store::{BackendEdit, Change, IntakeRow, Store};

/// Longest wait of a change for the fleet to take the new row.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Longest bound of a drain, in milliseconds: a day.
const DRAIN_MAX_MS: u64 = 86_400_000;

/// How all backends are now.
#[derive(Clone)]
pub(in crate::admin) struct BackendsView(pub(in crate::admin) Fleet);

impl Watched for BackendsView {
    type View = Vec<proto::Backend>;
    type Update = proto::BackendsUpdate;

    async fn view(&self) -> Result<Vec<proto::Backend>, Fault> {
        Ok(self.0.snapshot().backends().map(|backend| convert::backend(backend)).collect())
    }

    fn snapshot(seq: u64, view: &Vec<proto::Backend>) -> proto::BackendsUpdate {
        let all = proto::BackendsSnapshot { backends: view.clone() };
        proto::BackendsUpdate { seq, update: Some(Update::Snapshot(all)) }
    }

    fn delta(
        seq: u64,
        old: &Vec<proto::Backend>,
        new: &Vec<proto::Backend>,
    ) -> Option<proto::BackendsUpdate> {
        let (changed, removed) = difference(old, new, |backend| &backend.backend_id)?;
        let delta = proto::BackendsDelta { changed, removed };
        Some(proto::BackendsUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::BackendsUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::BackendsUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

pub(in crate::admin) struct Backends {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) fleet: Fleet,
    pub(in crate::admin) catalogue: Catalogue,
    pub(in crate::admin) changes: Changes,
    pub(in crate::admin) view: Shared<BackendsView>,
    pub(in crate::admin) streams: Streams,
}

#[tonic::async_trait]
impl BackendsService for Backends {
    async fn list_backends(
        &self,
        request: Request<proto::ListBackendsRequest>,
    ) -> Result<Response<proto::ListBackendsResponse>, Status> {
        let asked = page::asked(request.into_inner().page).map_err(|fault| status(&fault))?;
        let snapshot = self.fleet.snapshot();
        let (rows, next_page_token) =
            page::cut(snapshot.backends(), &asked, |backend| backend.id().as_str());
        let backends = rows.into_iter().map(|backend| convert::backend(backend)).collect();
        Ok(Response::new(proto::ListBackendsResponse { backends, next_page_token }))
    }

    async fn get_backend(
        &self,
        request: Request<proto::GetBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        let answer = self.get(&request.get_ref().backend_id);
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    type WatchBackendsStream = UpdateStream<proto::BackendsUpdate>;

    async fn watch_backends(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchBackendsStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.view.clone(), interval)
    }

    async fn cordon_backend(
        &self,
        request: Request<proto::CordonBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        let (caller, request) = split(request)?;
        let act = Edit {
            action: "BackendsService/CordonBackend",
            edit: BackendEdit::Intake(IntakeRow::Cordoned),
            reason: Reason::Free,
            kind: EventKind::BackendCordoned,
            text: "cordoned".to_owned(),
        };
        let answer = self.edit(&caller, request.change, &request.backend_id, act).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn uncordon_backend(
        &self,
        request: Request<proto::UncordonBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        let (caller, request) = split(request)?;
        let act = Edit {
            action: "BackendsService/UncordonBackend",
            edit: BackendEdit::Intake(IntakeRow::Open),
            reason: Reason::Free,
            kind: EventKind::BackendUncordoned,
            text: "takes requests again".to_owned(),
        };
        let answer = self.edit(&caller, request.change, &request.backend_id, act).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn drain_backend(
        &self,
        request: Request<proto::DrainBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        let (caller, request) = split(request)?;
        if request.wait_ms > DRAIN_MAX_MS {
            let text = format!("{} ms, at most {DRAIN_MAX_MS}", request.wait_ms);
            let wrong = vec![FieldError::body("wait_ms", "out_of_range", text)];
            return Err(status(&Fault::validation(wrong)));
        }
        let wait = i64::try_from(request.wait_ms).unwrap_or(i64::MAX);
        let (edit, text) = match wait {
            0 => (BackendEdit::Intake(IntakeRow::Draining), "draining".to_owned()),
            wait => (
                BackendEdit::DrainUntil(now_ms().saturating_add(wait)),
                format!(
                    "draining; what still runs after {} s is ended",
                    request.wait_ms.div_ceil(1_000)
                ),
            ),
        };
        let act = Edit {
            action: "BackendsService/DrainBackend",
            edit,
            reason: Reason::Needed,
            kind: EventKind::BackendDraining,
            text,
        };
        let answer = self.edit(&caller, request.change, &request.backend_id, act).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn set_backend_weight(
        &self,
        request: Request<proto::SetBackendWeightRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        let (caller, request) = split(request)?;
        if request.weight > WEIGHT_MAX {
            let text = format!("weight is {}, at most {WEIGHT_MAX}", request.weight);
            return Err(status(&Fault::new(Code::ValidationError, text)));
        }
        let act = Edit {
            action: "BackendsService/SetBackendWeight",
            edit: BackendEdit::Weight(request.weight),
            reason: Reason::Free,
            kind: EventKind::BackendWeighted,
            text: format!("has weight {}", request.weight),
        };
        let answer = self.edit(&caller, request.change, &request.backend_id, act).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn probe_backend(
        &self,
        request: Request<proto::ProbeBackendRequest>,
    ) -> Result<Response<proto::Backend>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.probe(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }
}

/// One change of a backend's row.
struct Edit {
    action: &'static str,
    edit: BackendEdit,
    reason: Reason,
    kind: EventKind,
    text: String,
}

impl Backends {
    fn get(&self, backend: &str) -> Result<proto::Backend, Fault> {
        let known: BackendId = id(backend)?;
        let snapshot = self.fleet.snapshot();
        let found = snapshot.backend(&known).ok_or_else(|| unknown(&known))?;
        Ok(convert::backend(found))
    }

    async fn edit(
        &self,
        caller: &Caller,
        change: Option<proto::Change>,
        backend: &str,
        act: Edit,
    ) -> Result<proto::Backend, Fault> {
        let known: BackendId = id(backend)?;
        let wish = Wish::new(caller, change, act.action, backend, act.reason)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let before = self.get(backend)?;
        wish.check("backend", before.version)?;
        let mut after = before.clone();
        after.version += 1;
        match act.edit {
            BackendEdit::Weight(weight) => after.weight = weight,
            BackendEdit::Intake(intake) => {
                after.state = intended(intake, &before).into();
                after.drain_until_ms = 0;
            }
            BackendEdit::DrainUntil(until) => {
                after.state = intended(IntakeRow::Draining, &before).into();
                after.drain_until_ms = until;
            }
        }
        let edit = Change::EditBackend {
            id: known.clone(),
            expected: Some(wish.expected),
            edit: act.edit,
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        self.store.write(vec![edit], Some(trail)).await?;
        self.settle(&known, act.edit, after.version).await?;
        self.changes.tell(act.kind, &wish, &act.text);
        self.get(backend)
    }

    /// Brings what was written to the fleet: the intake or weight at once, the row's version as
    /// soon as the fleet has taken the new rows.
    async fn settle(&self, id: &BackendId, edit: BackendEdit, version: u64) -> Result<(), Fault> {
        let taken = match edit {
            BackendEdit::Weight(weight) => self.fleet.set_weight(id, weight),
            BackendEdit::Intake(IntakeRow::Open) => self.fleet.set_intake(id, Intake::Open),
            BackendEdit::Intake(IntakeRow::Cordoned) => self.fleet.set_intake(id, Intake::Cordoned),
            BackendEdit::Intake(IntakeRow::Draining) | BackendEdit::DrainUntil(_) => {
                self.fleet.set_intake(id, Intake::Draining)
            }
        };
        if let Err(error) = taken {
            // The row is written; the fleet takes it with the next reading of all rows.
            tracing::warn!(backend = %id, %error, "the fleet did not take a change at once");
        }
        let mut changes = self.fleet.watch();
        self.catalogue.reload().await?;
        let taken = changes.wait_for(|_| {
            self.fleet.snapshot().backend(id).is_none_or(|now| now.spec.version >= version)
        });
        if tokio::time::timeout(SETTLE_MAX, taken).await.is_err() {
            tracing::debug!(backend = %id, "the fleet has not taken the new row yet");
        }
        Ok(())
    }

    async fn probe(
        &self,
        caller: &Caller,
        request: proto::ProbeBackendRequest,
    ) -> Result<proto::Backend, Fault> {
        const ACTION: &str = "BackendsService/ProbeBackend";
        let known: BackendId = id(&request.backend_id)?;
        let wish = Wish::new(caller, request.change, ACTION, &request.backend_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let before = self.get(&request.backend_id)?;
        wish.check("backend", before.version)?;
        let probed = self.fleet.probe(&known).await.map_err(|_| unknown(&known))?;
        let after = convert::backend(&probed);
        self.changes.record(wish.act.record(Some(&before), Some(&after))).await?;
        Ok(after)
    }
}

/// The state that an intake leads to, for the record.
fn intended(intake: IntakeRow, before: &proto::Backend) -> proto::BackendState {
    match intake {
        IntakeRow::Open => proto::BackendState::Unknown,
        IntakeRow::Cordoned => proto::BackendState::Cordoned,
        IntakeRow::Draining if before.running == 0 => proto::BackendState::Drained,
        IntakeRow::Draining => proto::BackendState::Draining,
    }
}

fn unknown(id: &BackendId) -> Fault {
    Fault::new(Code::NotFound, format!("there is no backend '{id}'"))
}

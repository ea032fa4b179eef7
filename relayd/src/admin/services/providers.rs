//! Providers: who wants in, what was found out about each, and the decisions.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::providers_service_server::ProvidersService;
use relay_proto::admin::v1::providers_update::Update;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::watch::{Shared, Watched, difference, interval};
use crate::admin::{FleetDoor, Streams, UpdateStream, id, page, provider};
use crate::domain::{Fault, FieldError, ModelName, Ncr, ProviderId};
use crate::events::EventKind;
use crate::fleet::{CONCURRENCY_MAX, Decision, Providers};
use crate::identity::{Identity, InvitationRequest};
use crate::store::{ProviderLimits, Store};

/// Most models that a provider may be bound to.
const MODELS_MAX: usize = 256;

/// How all providers are now.
#[derive(Clone)]
pub(in crate::admin) struct ProvidersView(pub(in crate::admin) Providers);

impl Watched for ProvidersView {
    type View = Vec<proto::Provider>;
    type Update = proto::ProvidersUpdate;

    async fn view(&self) -> Result<Vec<proto::Provider>, Fault> {
        Ok(self.0.list().await?.iter().map(provider::provider).collect())
    }

    fn snapshot(seq: u64, view: &Vec<proto::Provider>) -> proto::ProvidersUpdate {
        let all = proto::ProvidersSnapshot { providers: view.clone() };
        proto::ProvidersUpdate { seq, update: Some(Update::Snapshot(all)) }
    }

    fn delta(
        seq: u64,
        old: &Vec<proto::Provider>,
        new: &Vec<proto::Provider>,
    ) -> Option<proto::ProvidersUpdate> {
        let (changed, removed) = difference(old, new, |provider| &provider.provider_id)?;
        let delta = proto::ProvidersDelta { changed, removed };
        Some(proto::ProvidersUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::ProvidersUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::ProvidersUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

pub(in crate::admin) struct ProvidersNoun {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) identity: Identity,
    pub(in crate::admin) providers: Providers,
    pub(in crate::admin) door: FleetDoor,
    pub(in crate::admin) changes: Changes,
    pub(in crate::admin) view: Shared<ProvidersView>,
    pub(in crate::admin) streams: Streams,
}

/// A call that decides.
struct Decide {
    action: &'static str,
    decision: Decision,
    reason: Reason,
}

impl Decide {
    const fn new(action: &'static str, decision: Decision, reason: Reason) -> Self {
        Self { action, decision, reason }
    }
}

#[tonic::async_trait]
impl ProvidersService for ProvidersNoun {
    async fn list_providers(
        &self,
        request: Request<proto::ListProvidersRequest>,
    ) -> Result<Response<proto::ListProvidersResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn get_provider(
        &self,
        request: Request<proto::GetProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        let answer = self.get(&request.get_ref().provider_id).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    type WatchProvidersStream = UpdateStream<proto::ProvidersUpdate>;

    async fn watch_providers(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchProvidersStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.view.clone(), interval)
    }

    async fn approve_provider(
        &self,
        request: Request<proto::ApproveProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        const ACTION: &str = "ProvidersService/ApproveProvider";
        let (caller, request) = split(request)?;
        let act = Decide::new(ACTION, Decision::Approve, Reason::Free);
        self.decide(&caller, request.change, &request.provider_id, act).await
    }

    async fn reject_provider(
        &self,
        request: Request<proto::RejectProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        const ACTION: &str = "ProvidersService/RejectProvider";
        let (caller, request) = split(request)?;
        let act = Decide::new(ACTION, Decision::Reject, Reason::Needed);
        self.decide(&caller, request.change, &request.provider_id, act).await
    }

    async fn suspend_provider(
        &self,
        request: Request<proto::SuspendProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        const ACTION: &str = "ProvidersService/SuspendProvider";
        let (caller, request) = split(request)?;
        let act = Decide::new(ACTION, Decision::Suspend, Reason::Needed);
        self.decide(&caller, request.change, &request.provider_id, act).await
    }

    async fn reconsider_provider(
        &self,
        request: Request<proto::ReconsiderProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        const ACTION: &str = "ProvidersService/ReconsiderProvider";
        let (caller, request) = split(request)?;
        let act = Decide::new(ACTION, Decision::Reconsider, Reason::Needed);
        self.decide(&caller, request.change, &request.provider_id, act).await
    }

    async fn remove_provider(
        &self,
        request: Request<proto::RemoveProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        const ACTION: &str = "ProvidersService/RemoveProvider";
        let (caller, request) = split(request)?;
        let act = Decide::new(ACTION, Decision::Remove, Reason::Needed);
        self.decide(&caller, request.change, &request.provider_id, act).await
    }

    async fn limit_provider(
        &self,
        request: Request<proto::LimitProviderRequest>,
    ) -> Result<Response<proto::Provider>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.limit(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn create_invitation(
        &self,
        request: Request<proto::CreateInvitationRequest>,
    ) -> Result<Response<proto::CreateInvitationResponse>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.invite(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn list_invitations(
        &self,
        request: Request<proto::ListInvitationsRequest>,
    ) -> Result<Response<proto::ListInvitationsResponse>, Status> {
        let answer = self.invitations(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn withdraw_invitation(
        &self,
        request: Request<proto::WithdrawInvitationRequest>,
    ) -> Result<Response<proto::Invitation>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.withdraw(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }
}

impl ProvidersNoun {
    async fn list(
        &self,
        request: proto::ListProvidersRequest,
    ) -> Result<proto::ListProvidersResponse, Fault> {
        let asked = page::asked(request.page)?;
        let mut all = self.providers.list().await?;
        // Names are not unique, ids are.
        all.sort_by(|a, b| a.row.id.cmp(&b.row.id));
        let (rows, next_page_token) = page::cut(all.iter(), &asked, |found| found.row.id.as_str());
        let providers = rows.into_iter().map(provider::provider).collect();
        Ok(proto::ListProvidersResponse { providers, next_page_token })
    }

    async fn get(&self, provider_id: &str) -> Result<proto::Provider, Fault> {
        let known: ProviderId = id(provider_id)?;
        Ok(provider::provider(&self.providers.get(&known).await?))
    }

    async fn decide(
        &self,
        caller: &Caller,
        change: Option<proto::Change>,
        provider_id: &str,
        act: Decide,
    ) -> Result<Response<proto::Provider>, Status> {
        let made = self.decided(caller, change, provider_id, act).await;
        made.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn decided(
        &self,
        caller: &Caller,
        change: Option<proto::Change>,
        provider_id: &str,
        act: Decide,
    ) -> Result<proto::Provider, Fault> {
        let known: ProviderId = id(provider_id)?;
        let wish = Wish::new(caller, change, act.action, provider_id, act.reason)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let before = self.get(provider_id).await?;
        if act.decision.is_of_a_version() {
            wish.check("provider", before.version)?;
        }
        let to = act.decision.leads_to();
        let after = proto::Provider {
            state: provider::state(to).into(),
            state_reason: wish.act.reason.clone(),
            version: before.version + 1,
            ..before.clone()
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        let (reason, expected) = (wish.act.reason.as_str(), Some(wish.expected));
        let made =
            self.providers.decide(&known, act.decision, reason, expected, Some(trail)).await?;
        Ok(provider::provider(&made))
    }

    async fn limit(
        &self,
        caller: &Caller,
        mut request: proto::LimitProviderRequest,
    ) -> Result<proto::Provider, Fault> {
        const ACTION: &str = "ProvidersService/LimitProvider";
        let known: ProviderId = id(&request.provider_id)?;
        let change = request.change.take();
        let wish = Wish::new(caller, change, ACTION, &request.provider_id, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let limits = limits(&request)?;
        let before = self.get(&request.provider_id).await?;
        wish.check("provider", before.version)?;
        let after = proto::Provider {
            max_concurrency: request.max_concurrency,
            models_allowed: request.models.clone(),
            price_floor_ncr: request.price_floor_ncr,
            version: before.version + 1,
            ..before.clone()
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        let made = self.providers.limit(&known, limits, Some(wish.expected), Some(trail)).await?;
        self.changes.tell(EventKind::ProviderChanged, &wish, "limited");
        Ok(provider::provider(&made))
    }

    async fn invite(
        &self,
        caller: &Caller,
        request: proto::CreateInvitationRequest,
    ) -> Result<proto::CreateInvitationResponse, Fault> {
        const ACTION: &str = "ProvidersService/CreateInvitation";
        let wish = Wish::creation(caller, request.change, ACTION, "inv_")?;
        let answer = |invitation, join_token| proto::CreateInvitationResponse {
            invitation: Some(invitation),
            join_token,
            fleet_addr: self.door.addr.clone(),
            fleet_ca: self.door.ca_pem.clone(),
        };
        if let Some(invitation) = self.changes.answered(&wish).await? {
            return Ok(answer(invitation, String::new()));
        }
        let wanted = InvitationRequest {
            id: wish.act.object.clone(),
            note: request.note,
            uses: (request.uses > 0).then_some(request.uses),
            life_ms: (request.expires_in_ms != 0).then_some(request.expires_in_ms),
            actor: caller.name.to_string(),
        };
        let after = proto::Invitation {
            invitation_id: wanted.id.clone(),
            note: wanted.note.clone(),
            uses_left: request.uses,
            unlimited: request.uses == 0,
            created_by: wanted.actor.clone(),
            version: 1,
            ..proto::Invitation::default()
        };
        let trail = wish.act.record(None, Some(&after));
        let made = self.identity.invite(wanted, Some(trail)).await?;
        self.changes.tell(EventKind::InvitationCreated, &wish, "made");
        Ok(answer(provider::invitation(&made.invitation), made.token.expose().to_owned()))
    }

    async fn invitations(
        &self,
        request: proto::ListInvitationsRequest,
    ) -> Result<proto::ListInvitationsResponse, Fault> {
        let asked = page::asked(request.page)?;
        let all = self.store.invitations().await?;
        let from = match &asked.after {
            None => 0,
            Some(after) => {
                let at = all.iter().position(|row| row.id == *after).ok_or_else(page::token)?;
                at + 1
            }
        };
        let rows = usize::try_from(asked.rows).unwrap_or(usize::MAX);
        let shown: Vec<_> = all.iter().skip(from).take(rows).collect();
        let more = from + shown.len() < all.len();
        let next = shown.last().filter(|_| more).map(|row| row.id.clone()).unwrap_or_default();
        let invitations = shown.into_iter().map(provider::invitation).collect();
        Ok(proto::ListInvitationsResponse { invitations, next_page_token: next })
    }

    async fn withdraw(
        &self,
        caller: &Caller,
        request: proto::WithdrawInvitationRequest,
    ) -> Result<proto::Invitation, Fault> {
        const ACTION: &str = "ProvidersService/WithdrawInvitation";
        let named = request.invitation_id.as_str();
        let wish = Wish::new(caller, request.change, ACTION, named, Reason::Needed)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let before = provider::invitation(&self.identity.invitation(named).await?);
        wish.check("invitation", before.version)?;
        if before.withdrawn_at_ms > 0 {
            return Ok(before);
        }
        let after = proto::Invitation {
            withdrawn_at_ms: crate::admin::now_ms(),
            version: before.version + 1,
            ..before.clone()
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        let made =
            self.identity.withdraw_invitation(named, Some(before.version), Some(trail)).await?;
        self.changes.tell(EventKind::InvitationWithdrawn, &wish, "withdrawn");
        Ok(provider::invitation(&made))
    }
}

/// The bounds that a request names.
fn limits(request: &proto::LimitProviderRequest) -> Result<ProviderLimits, Fault> {
    let mut wrong = Vec::new();
    if request.max_concurrency > CONCURRENCY_MAX {
        let text = format!("at most {CONCURRENCY_MAX}");
        wrong.push(FieldError::body("max_concurrency", "less_than_equal", text));
    }
    if request.price_floor_ncr < 0 {
        wrong.push(FieldError::body("price_floor_ncr", "greater_than_equal", "not below 0"));
    }
    if request.models.len() > MODELS_MAX {
        let text = format!("at most {MODELS_MAX}");
        wrong.push(FieldError::body("models", "too_long", text));
    }
    let mut models: Vec<ModelName> = Vec::new();
    for name in request.models.iter().take(MODELS_MAX) {
        match name.parse() {
            Ok(model) if !models.contains(&model) => models.push(model),
            Ok(_) => {}
            Err(_) => {
                let text = format!("'{name}' is not a model's name");
                wrong.push(FieldError::body("models", "name", text));
            }
        }
    }
    if !wrong.is_empty() {
        return Err(Fault::validation(wrong));
    }
    Ok(ProviderLimits {
        max_concurrency: (request.max_concurrency > 0).then_some(request.max_concurrency),
        models: (!models.is_empty()).then_some(models),
        price_floor: (request.price_floor_ncr > 0).then(|| Ncr::new(request.price_floor_ncr)),
    })
}

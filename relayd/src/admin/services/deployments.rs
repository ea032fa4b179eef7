//! Deployments: what providers' agents run on demand.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::deployments_service_server::DeploymentsService;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::{id, now_ms, optional_id, page};
use crate::domain::{Fault, FieldError, INSTANCES_MAX, ProviderId};
use crate::fleet::{Deployment, Providers};
use crate::store::DeploymentRow;

/// Most parameters, and the longest name or value, in bytes.
const PARAMETERS_MAX: usize = 32;
const WORD_MAX_BYTES: usize = 256;

pub(in crate::admin) struct Deployments {
    pub(in crate::admin) providers: Providers,
    pub(in crate::admin) changes: Changes,
}

#[tonic::async_trait]
impl DeploymentsService for Deployments {
    async fn list_deployments(
        &self,
        request: Request<proto::ListDeploymentsRequest>,
    ) -> Result<Response<proto::ListDeploymentsResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn get_deployment(
        &self,
        request: Request<proto::GetDeploymentRequest>,
    ) -> Result<Response<proto::Deployment>, Status> {
        let answer = self.get(&request.get_ref().deployment_id).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn create_deployment(
        &self,
        request: Request<proto::CreateDeploymentRequest>,
    ) -> Result<Response<proto::Deployment>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.create(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn scale_deployment(
        &self,
        request: Request<proto::ScaleDeploymentRequest>,
    ) -> Result<Response<proto::Deployment>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.scale(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn remove_deployment(
        &self,
        request: Request<proto::RemoveDeploymentRequest>,
    ) -> Result<Response<proto::Deployment>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.remove(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }
}

impl Deployments {
    async fn list(
        &self,
        request: proto::ListDeploymentsRequest,
    ) -> Result<proto::ListDeploymentsResponse, Fault> {
        let asked = page::asked(request.page)?;
        let provider: Option<ProviderId> = optional_id(&request.provider_id)?;
        let all = self.providers.deployments(provider.as_ref()).await?;
        let (rows, next_page_token) = page::cut(all.iter(), &asked, |found| &found.row.id);
        let deployments = rows.into_iter().map(shown).collect();
        Ok(proto::ListDeploymentsResponse { deployments, next_page_token })
    }

    async fn get(&self, deployment: &str) -> Result<proto::Deployment, Fault> {
        Ok(shown(&self.providers.deployment(deployment).await?))
    }

    async fn create(
        &self,
        caller: &Caller,
        request: proto::CreateDeploymentRequest,
    ) -> Result<proto::Deployment, Fault> {
        const ACTION: &str = "DeploymentsService/CreateDeployment";
        let wish = Wish::creation(caller, request.change, ACTION, "dep_")?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        replicas(request.replicas)?;
        let word = |text: &String| {
            !text.is_empty() && text.len() <= WORD_MAX_BYTES && !text.chars().any(char::is_control)
        };
        for (field, text) in [("template", &request.template), ("model", &request.model)] {
            if !word(text) {
                return Err(wrong(field, "1 to 256 bytes on one line"));
            }
        }
        let mut pairs = request.parameters.iter();
        if pairs.len() > PARAMETERS_MAX || !pairs.all(|(name, value)| word(name) && word(value)) {
            return Err(wrong("parameters", "at most 32, of 1 to 256 bytes on one line each"));
        }
        let row = DeploymentRow {
            id: wish.act.object.clone(),
            provider: id(&request.provider_id)?,
            template: request.template,
            model: request.model,
            parameters: request.parameters.into_iter().collect(),
            replicas: request.replicas,
            created_by: caller.name.to_string(),
            created_ms: now_ms(),
            began_as: None,
            version: 1,
        };
        let after = shown(&Deployment { row: row.clone(), live: None, refused: None });
        let trail = wish.act.record(None, Some(&after));
        Ok(shown(&self.providers.deploy(row, Some(trail)).await?))
    }

    async fn scale(
        &self,
        caller: &Caller,
        request: proto::ScaleDeploymentRequest,
    ) -> Result<proto::Deployment, Fault> {
        const ACTION: &str = "DeploymentsService/ScaleDeployment";
        let named = request.deployment_id.as_str();
        let wish = Wish::new(caller, request.change, ACTION, named, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        replicas(request.replicas)?;
        let before = self.get(named).await?;
        wish.check("deployment", before.version)?;
        let after = proto::Deployment {
            replicas: request.replicas,
            version: before.version + 1,
            ..before.clone()
        };
        let trail = wish.act.record(Some(&before), Some(&after));
        let expected = Some(wish.expected);
        let made = self.providers.scale(named, request.replicas, expected, Some(trail)).await?;
        Ok(shown(&made))
    }

    async fn remove(
        &self,
        caller: &Caller,
        request: proto::RemoveDeploymentRequest,
    ) -> Result<proto::Deployment, Fault> {
        const ACTION: &str = "DeploymentsService/RemoveDeployment";
        let named = request.deployment_id.as_str();
        let wish = Wish::new(caller, request.change, ACTION, named, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let before = self.get(named).await?;
        wish.check("deployment", before.version)?;
        let after = proto::Deployment { replicas: 0, ..before.clone() };
        let trail = wish.act.record(Some(&before), Some(&after));
        self.providers.undeploy(named, Some(wish.expected), Some(trail)).await?;
        Ok(after)
    }
}

fn replicas(wanted: u32) -> Result<(), Fault> {
    if (1..=u32::from(INSTANCES_MAX)).contains(&wanted) {
        return Ok(());
    }
    Err(wrong("replicas", &format!("1 to {INSTANCES_MAX}")))
}

fn wrong(field: &'static str, message: &str) -> Fault {
    Fault::validation(vec![FieldError::body(field, "value_error", message)])
}

fn shown(found: &Deployment) -> proto::Deployment {
    use proto::DeploymentState::{Refused, Starting, Up, Waiting};
    let row = &found.row;
    let told = found.live.as_ref().map_or(&[][..], |live| &live.instances);
    let up = told.iter().filter(|instance| instance.state == "up").count();
    let state = match (&found.refused, &found.live) {
        (Some(_), _) => Refused,
        (None, None) => Waiting,
        (None, Some(_)) if up == usize::try_from(row.replicas).unwrap_or(usize::MAX) => Up,
        (None, Some(_)) => Starting,
    };
    proto::Deployment {
        deployment_id: row.id.clone(),
        provider_id: row.provider.to_string(),
        template: row.template.clone(),
        model: row.model.clone(),
        parameters: row.parameters.clone().into_iter().collect(),
        replicas: row.replicas,
        state: state.into(),
        state_reason: found.refused.clone().unwrap_or_default(),
        instances: told
            .iter()
            .map(|instance| proto::DeploymentInstance {
                engine: instance.engine.clone(),
                state: instance.state.clone(),
                state_reason: instance.reason.clone(),
                lines: instance.lines.clone(),
            })
            .collect(),
        created_by: row.created_by.clone(),
        created_at_ms: row.created_ms,
        version: row.version,
    }
}

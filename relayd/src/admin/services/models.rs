//! The catalogue's models and tiers.

use std::collections::BTreeMap;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::models_service_server::ModelsService;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::{convert, page};
use crate::balance::{Policy, UnknownPolicy};
use crate::catalogue::{Catalogue, Listing};
use crate::domain::{Code, Execution, ExecutionError, Fault, FieldError};
use crate::events::EventKind;
use crate::fleet::{Fleet, StateWord};
use crate::inference::EXECUTION_SETTING;
use crate::routing::POLICY_SETTING;
use crate::store::{Change, Setting, Store};

pub(in crate::admin) struct Models {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) catalogue: Catalogue,
    pub(in crate::admin) fleet: Fleet,
    pub(in crate::admin) changes: Changes,
}

/// What was set of each model.
struct Set {
    policies: BTreeMap<String, Setting>,
    executions: BTreeMap<String, Setting>,
}

#[tonic::async_trait]
impl ModelsService for Models {
    async fn list_models(
        &self,
        request: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let request = request.into_inner();
        let asked = page::asked(request.page).map_err(|fault| status(&fault))?;
        let snapshot = self.catalogue.snapshot();
        let query = request.query.to_lowercase();
        let matching = snapshot.listings().filter(|listing| {
            let model = &listing.model;
            model.name.as_str().to_lowercase().contains(&query)
                || model.display_name.to_lowercase().contains(&query)
        });
        let (rows, next_page_token) =
            page::cut(matching, &asked, |listing| listing.model.name.as_str());
        let set = self.set().await.map_err(|fault| status(&fault))?;
        let models = rows.into_iter().map(|listing| self.shown(listing, &set)).collect();
        Ok(Response::new(proto::ListModelsResponse { models, next_page_token }))
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::Model>, Status> {
        let answer = self.get(&request.get_ref().name).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn set_model_policy(
        &self,
        request: Request<proto::SetModelPolicyRequest>,
    ) -> Result<Response<proto::Model>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.set_policy(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn set_model_execution(
        &self,
        request: Request<proto::SetModelExecutionRequest>,
    ) -> Result<Response<proto::Model>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.set_execution(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn list_tiers(
        &self,
        _: Request<proto::ListTiersRequest>,
    ) -> Result<Response<proto::ListTiersResponse>, Status> {
        let rows = self.store.catalogue().await.map_err(|error| status(&Fault::from(error)))?.tiers;
        let tiers = rows.iter().map(|tier| convert::tier(&tier.row, tier.version)).collect();
        Ok(Response::new(proto::ListTiersResponse { tiers }))
    }
}

impl Models {
    async fn set(&self) -> Result<Set, Fault> {
        Ok(Set {
            policies: self.store.settings(POLICY_SETTING).await?,
            executions: self.store.settings(EXECUTION_SETTING).await?,
        })
    }

    async fn get(&self, name: &str) -> Result<proto::Model, Fault> {
        let set = self.set().await?;
        let snapshot = self.catalogue.snapshot();
        let none = || Fault::new(Code::ModelNotFound, "there is no model of that name");
        Ok(self.shown(snapshot.listing(name).ok_or_else(none)?, &set))
    }

    async fn set_policy(
        &self,
        caller: &Caller,
        request: proto::SetModelPolicyRequest,
    ) -> Result<proto::Model, Fault> {
        const ACTION: &str = "ModelsService/SetModelPolicy";
        let proto::SetModelPolicyRequest { change, model, policy } = request;
        let wish = Wish::new(caller, change, ACTION, &model, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let policy: Policy = policy.parse().map_err(|unknown: UnknownPolicy| {
            Fault::validation(vec![FieldError::body("policy", "enum", unknown.to_string())])
        })?;
        let before = self.get(&model).await?;
        let after = proto::Model {
            policy: policy.to_string(),
            policy_version: before.policy_version + 1,
            ..before.clone()
        };
        let key = format!("{POLICY_SETTING}{model}");
        self.put(&wish, key, policy.to_string(), (&before, &after)).await?;
        let text = format!("{model} is routed by {policy}");
        self.changes.tell(EventKind::ModelPolicy, &wish, &text);
        Ok(after)
    }

    async fn set_execution(
        &self,
        caller: &Caller,
        request: proto::SetModelExecutionRequest,
    ) -> Result<proto::Model, Fault> {
        const ACTION: &str = "ModelsService/SetModelExecution";
        let proto::SetModelExecutionRequest { change, model, execution } = request;
        let wish = Wish::new(caller, change, ACTION, &model, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let execution: Execution = execution.parse().map_err(|unknown: ExecutionError| {
            Fault::validation(vec![FieldError::body("execution", "enum", unknown.to_string())])
        })?;
        let before = self.get(&model).await?;
        let after = proto::Model {
            execution: execution.to_string(),
            execution_version: before.execution_version + 1,
            ..before.clone()
        };
        let key = format!("{EXECUTION_SETTING}{model}");
        self.put(&wish, key, execution.to_string(), (&before, &after)).await?;
        let text = format!("a request for {model} runs as {execution}");
        self.changes.tell(EventKind::ModelExecution, &wish, &text);
        Ok(after)
    }

    async fn put(
        &self,
        wish: &Wish,
        key: String,
        value: String,
        (before, after): (&proto::Model, &proto::Model),
    ) -> Result<(), Fault> {
        let write = Change::PutSetting { key, value, expected: Some(wish.expected) };
        let trail = wish.act.record(Some(before), Some(after));
        self.store.write(vec![write], Some(trail)).await?;
        Ok(())
    }

    fn shown(&self, listing: &Listing, set: &Set) -> proto::Model {
        let model = &listing.model;
        let policy = set.policies.get(model.name.as_str());
        let execution = set.executions.get(model.name.as_str());
        let fleet = self.fleet.snapshot();
        let serving: Vec<_> =
            fleet.backends().filter(|backend| backend.upstream(&model.name).is_some()).collect();
        let up = serving.iter().filter(|backend| backend.state() == StateWord::Up).count();
        proto::Model {
            name: model.name.to_string(),
            display_name: model.display_name.clone(),
            tag: model.tag.clone(),
            retired: model.retired,
            guests: model.guests,
            context_tokens: model.context_tokens,
            scopes: listing.offers.iter().map(|offer| offer.scope.to_string()).collect(),
            prices: listing.offers.iter().map(|offer| convert::price(&offer.price)).collect(),
            backends: serving.iter().map(|backend| backend.id().to_string()).collect(),
            backends_up: u32::try_from(up).unwrap_or(u32::MAX),
            version: model.version,
            policy: policy.map_or_else(|| Policy::default().to_string(), |set| set.value.clone()),
            policy_version: policy.map_or(0, |set| set.version),
            execution: execution
                .map_or_else(|| Execution::default().to_string(), |set| set.value.clone()),
            execution_version: execution.map_or(0, |set| set.version),
        }
    }
}

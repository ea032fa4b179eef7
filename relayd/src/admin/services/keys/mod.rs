//! API keys and what they used.

mod edit;
mod view;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::keys_service_server::KeysService;
use tonic::{Request, Response, Status};

pub(in crate::admin) use view::KeysView;

use crate::admin::change::{Changes, split};
use crate::admin::error::status;
use crate::admin::watch::{Shared, interval};
use crate::admin::{Streams, UpdateStream, id, optional_id, page};
use crate::domain::Fault;
use crate::identity::Identity;
use crate::store::{KeyFilter, Store};

pub(in crate::admin) struct Keys {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) identity: Identity,
    pub(in crate::admin) changes: Changes,
    pub(in crate::admin) view: KeysView,
    pub(in crate::admin) watched: Shared<KeysView>,
    pub(in crate::admin) streams: Streams,
}

#[tonic::async_trait]
impl KeysService for Keys {
    async fn list_keys(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Result<Response<proto::ListKeysResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn get_key(
        &self,
        request: Request<proto::GetKeyRequest>,
    ) -> Result<Response<proto::Key>, Status> {
        let answer = self.get(&request.get_ref().key_id).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn create_key(
        &self,
        request: Request<proto::CreateKeyRequest>,
    ) -> Result<Response<proto::CreateKeyResponse>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.create(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn update_key(
        &self,
        request: Request<proto::UpdateKeyRequest>,
    ) -> Result<Response<proto::Key>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.update(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn revoke_key(
        &self,
        request: Request<proto::RevokeKeyRequest>,
    ) -> Result<Response<proto::Key>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.revoke(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn unrevoke_key(
        &self,
        request: Request<proto::UnrevokeKeyRequest>,
    ) -> Result<Response<proto::Key>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.unrevoke(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn delete_key(
        &self,
        request: Request<proto::DeleteKeyRequest>,
    ) -> Result<Response<proto::DeleteKeyResponse>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.delete(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn top_up_key(
        &self,
        request: Request<proto::TopUpKeyRequest>,
    ) -> Result<Response<proto::Key>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.top_up(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    type WatchKeysStream = UpdateStream<proto::KeysUpdate>;

    async fn watch_keys(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchKeysStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.watched.clone(), interval)
    }
}

impl Keys {
    async fn list(
        &self,
        request: proto::ListKeysRequest,
    ) -> Result<proto::ListKeysResponse, Fault> {
        let asked = page::asked(request.page)?;
        let filter = KeyFilter {
            customer: optional_id(&request.customer_id)?,
            revoked: match proto::KeyStatus::try_from(request.status) {
                Ok(proto::KeyStatus::Active) => Some(false),
                Ok(proto::KeyStatus::Revoked) => Some(true),
                Ok(proto::KeyStatus::Unspecified) | Err(_) => None,
            },
            query: (!request.query.is_empty()).then_some(request.query),
            system: true,
            ..KeyFilter::default()
        };
        let found = self.store.keys(&filter, &asked.stored()).await.map_err(page::fault)?;
        Ok(proto::ListKeysResponse {
            keys: self.view.shown(&found.rows).await?,
            next_page_token: found.next.unwrap_or_default(),
        })
    }

    async fn get(&self, key: &str) -> Result<proto::Key, Fault> {
        let row = self.store.key(&id(key)?).await?;
        let mut shown = self.view.shown(std::slice::from_ref(&row)).await?;
        shown.pop().ok_or_else(Fault::internal)
    }
}

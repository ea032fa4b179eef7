//! The catalogue's models and tiers.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::models_service_server::ModelsService;
use tonic::{Request, Response, Status};

use crate::admin::error::status;
use crate::admin::{convert, page};
use crate::catalogue::{Catalogue, Listing};
use crate::domain::{Code, Fault};
use crate::fleet::{Fleet, StateWord};
use crate::store::Store;

pub(in crate::admin) struct Models {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) catalogue: Catalogue,
    pub(in crate::admin) fleet: Fleet,
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
        let models = rows.into_iter().map(|listing| self.shown(listing)).collect();
        Ok(Response::new(proto::ListModelsResponse { models, next_page_token }))
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::Model>, Status> {
        let name = &request.get_ref().name;
        let snapshot = self.catalogue.snapshot();
        let listing = snapshot.listing(name).ok_or_else(|| {
            status(&Fault::new(Code::ModelNotFound, "there is no model of that name"))
        })?;
        Ok(Response::new(self.shown(listing)))
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
    fn shown(&self, listing: &Listing) -> proto::Model {
        let model = &listing.model;
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
        }
    }
}

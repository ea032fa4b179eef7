//! The configuration that lives in the database, as documents.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::catalogue_service_server::CatalogueService;
use relay_proto::admin::v1::difference::Kind;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::catalogue::{Applied, Catalogue, Difference, DifferenceKind, Document};
use crate::domain::{Code, Fault, Role};
use crate::events::EventKind;

/// Most documents of one call: a folder of one file a model, for a large catalogue.
const DOCUMENTS_MAX: usize = 2_000;
/// Object of the audit record: documents change many things at once.
const OBJECT: &str = "catalogue";

pub(in crate::admin) struct CatalogueDocuments {
    pub(in crate::admin) catalogue: Catalogue,
    pub(in crate::admin) changes: Changes,
}

#[tonic::async_trait]
impl CatalogueService for CatalogueDocuments {
    async fn apply(
        &self,
        request: Request<proto::ApplyRequest>,
    ) -> Result<Response<proto::ApplyResponse>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.applied(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn export(
        &self,
        _: Request<proto::ExportRequest>,
    ) -> Result<Response<proto::ExportResponse>, Status> {
        let toml = self.catalogue.export().await.map_err(|error| status(&Fault::from(error)))?;
        Ok(Response::new(proto::ExportResponse { toml }))
    }
}

impl CatalogueDocuments {
    async fn applied(
        &self,
        caller: &Caller,
        request: proto::ApplyRequest,
    ) -> Result<proto::ApplyResponse, Fault> {
        const ACTION: &str = "CatalogueService/Apply";
        if request.documents.is_empty() || request.documents.len() > DOCUMENTS_MAX {
            return Err(Fault::new(
                Code::ValidationError,
                format!("expected 1 to {DOCUMENTS_MAX} documents, not {}", request.documents.len()),
            ));
        }
        let documents: Vec<_> = request
            .documents
            .iter()
            .map(|document| Document { name: &document.name, toml: &document.toml })
            .collect();
        if request.dry_run {
            return Ok(answer(&self.catalogue.plan(&documents).await?));
        }
        caller.needs(Role::Admin)?;
        let wish = Wish::new(caller, request.change, ACTION, OBJECT, Reason::Free)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let planned = self.catalogue.plan(&documents).await?;
        let after = proto::ApplyResponse { applied: true, ..answer(&planned) };
        let trail = wish.act.record(None, Some(&after));
        let applied = self.catalogue.apply(&documents, Some(trail)).await?;
        if applied.applied {
            let count = applied.differences.len();
            let text = format!("{count} differences applied");
            self.changes.tell(EventKind::CatalogueApplied, &wish, &text);
        }
        // Nothing to change is as good as applied: the database says what the documents say.
        Ok(proto::ApplyResponse { applied: true, ..answer(&applied) })
    }
}

fn answer(applied: &Applied) -> proto::ApplyResponse {
    proto::ApplyResponse {
        differences: applied.differences.iter().map(difference).collect(),
        applied: applied.applied,
    }
}

fn difference(difference: &Difference) -> proto::Difference {
    let kind = match difference.kind {
        DifferenceKind::Add => Kind::Add,
        DifferenceKind::Change => Kind::Change,
        DifferenceKind::Remove => Kind::Remove,
    };
    proto::Difference {
        kind: kind.into(),
        noun: difference.noun.as_str().to_owned(),
        name: difference.name.clone(),
        fields: difference.fields.clone(),
    }
}

//! Who changed what.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::audit_service_server::AuditService;
use tonic::{Request, Response, Status};

use crate::admin::error::status;
use crate::admin::page;
use crate::audit;
use crate::domain::Fault;

pub(in crate::admin) struct Audit {
    pub(in crate::admin) audit: audit::Audit,
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_audit(
        &self,
        request: Request<proto::ListAuditRequest>,
    ) -> Result<Response<proto::ListAuditResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn verify_audit(
        &self,
        _: Request<proto::VerifyAuditRequest>,
    ) -> Result<Response<proto::VerifyAuditResponse>, Status> {
        let report = self.audit.verify().await.map_err(|error| status(&Fault::from(error)))?;
        Ok(Response::new(proto::VerifyAuditResponse {
            entries: report.entries,
            broken_at_seq: report.broken_at.unwrap_or(0),
            head: hex::encode(report.head),
        }))
    }
}

impl Audit {
    async fn list(
        &self,
        request: proto::ListAuditRequest,
    ) -> Result<proto::ListAuditResponse, Fault> {
        let asked = page::asked(request.page)?;
        let found = self.audit.list(&request.object, &asked.stored()).await.map_err(page::fault)?;
        let entries = found
            .rows
            .into_iter()
            .map(|row| proto::AuditEntry {
                seq: row.seq,
                at_ms: row.trail.at_ms,
                operator: row.trail.actor,
                role: row.trail.role.to_string(),
                action: row.trail.action,
                object: row.trail.object,
                request_id: row.trail.request_id,
                reason: row.trail.reason,
                before: nothing_is_empty(row.trail.before),
                after: nothing_is_empty(row.trail.after),
                hash: hex::encode(row.hash),
            })
            .collect();
        Ok(proto::ListAuditResponse { entries, next_page_token: found.next.unwrap_or_default() })
    }
}

fn nothing_is_empty(json: String) -> String {
    if json == "null" { String::new() } else { json }
}

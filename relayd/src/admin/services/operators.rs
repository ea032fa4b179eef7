//! People and scripts that hold a token for the admin plane.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::operators_service_server::OperatorsService;
use tonic::{Request, Response, Status};

use crate::admin::auth::Caller;
use crate::admin::change::{Changes, Reason, Wish, split};
use crate::admin::error::status;
use crate::admin::{convert, now_ms, page};
use crate::domain::{Code, Fault, FieldError, Role};
use crate::events::EventKind;
use crate::identity::Identity;
use crate::store::{Operator, Store};

pub(in crate::admin) struct Operators {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) identity: Identity,
    pub(in crate::admin) changes: Changes,
}

#[tonic::async_trait]
impl OperatorsService for Operators {
    async fn list_operators(
        &self,
        request: Request<proto::ListOperatorsRequest>,
    ) -> Result<Response<proto::ListOperatorsResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn create_operator(
        &self,
        request: Request<proto::CreateOperatorRequest>,
    ) -> Result<Response<proto::CreateOperatorResponse>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.create(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn revoke_operator(
        &self,
        request: Request<proto::RevokeOperatorRequest>,
    ) -> Result<Response<proto::Operator>, Status> {
        let (caller, request) = split(request)?;
        let answer = self.revoke(&caller, request).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }
}

impl Operators {
    async fn list(
        &self,
        request: proto::ListOperatorsRequest,
    ) -> Result<proto::ListOperatorsResponse, Fault> {
        let asked = page::asked(request.page)?;
        let all = self.store.operators().await?;
        let (rows, next_page_token) = page::cut(all.iter(), &asked, |operator| &operator.name);
        let operators = rows.into_iter().map(convert::operator).collect();
        Ok(proto::ListOperatorsResponse { operators, next_page_token })
    }

    async fn create(
        &self,
        caller: &Caller,
        request: proto::CreateOperatorRequest,
    ) -> Result<proto::CreateOperatorResponse, Fault> {
        const ACTION: &str = "OperatorsService/CreateOperator";
        let name = request.name.as_str();
        let wish = Wish::new(caller, request.change, ACTION, name, Reason::Free)?;
        if let Some(operator) = self.changes.answered(&wish).await? {
            let token = String::new();
            return Ok(proto::CreateOperatorResponse { operator: Some(operator), token });
        }
        let role = convert::role_of(request.role)
            .ok_or_else(|| wrong("role", "expected viewer, operator or admin"))?;
        if self.store.operators().await?.iter().any(|operator| operator.name == name) {
            return Err(Fault::new(
                Code::FailedPrecondition,
                format!(
                    "there is an operator '{name}' already, or there was: names are not reused"
                ),
            ));
        }
        let after = proto::Operator {
            name: name.to_owned(),
            role: request.role,
            created_at_ms: now_ms(),
            version: 1,
            ..proto::Operator::default()
        };
        let trail = wish.act.record(None, Some(&after));
        let made = self.identity.create_operator(name, role, Some(trail)).await?;
        self.changes.tell(EventKind::OperatorCreated, &wish, &format!("created as {role}"));
        Ok(proto::CreateOperatorResponse {
            operator: Some(convert::operator(&made.operator)),
            token: made.token.expose().to_owned(),
        })
    }

    async fn revoke(
        &self,
        caller: &Caller,
        request: proto::RevokeOperatorRequest,
    ) -> Result<proto::Operator, Fault> {
        const ACTION: &str = "OperatorsService/RevokeOperator";
        let name = request.name.as_str();
        let wish = Wish::new(caller, request.change, ACTION, name, Reason::Needed)?;
        if let Some(made) = self.changes.answered(&wish).await? {
            return Ok(made);
        }
        let all = self.store.operators().await?;
        let found = all
            .iter()
            .find(|operator| operator.name == name)
            .ok_or_else(|| Fault::new(Code::NotFound, "there is no operator of that name"))?;
        let before = convert::operator(found);
        wish.check("operator", before.version)?;
        if before.revoked {
            return Ok(before);
        }
        if last_admin(&all, name) {
            return Err(Fault::new(
                Code::FailedPrecondition,
                "this is the last admin: make another one first",
            ));
        }
        let after =
            proto::Operator { revoked: true, version: before.version + 1, ..before.clone() };
        let trail = wish.act.record(Some(&before), Some(&after));
        self.identity.revoke_operator(name, Some(before.version), Some(trail)).await?;
        self.changes.tell(EventKind::OperatorRevoked, &wish, "revoked");
        Ok(after)
    }
}

/// Whether nobody could administer any more without this operator.
fn last_admin(all: &[Operator], name: &str) -> bool {
    let mut admins = all.iter().filter(|o| o.role == Role::Admin && o.revoked_ms.is_none());
    matches!((admins.next(), admins.next()), (Some(only), None) if only.name == name)
}

fn wrong(field: &'static str, message: &str) -> Fault {
    Fault::validation(vec![FieldError::body(field, "value_error", message)])
}

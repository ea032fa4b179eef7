//! Who calls, and what answers.

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::session_service_server::SessionService;
use tonic::{Request, Response, Status};

use crate::admin::{About, caller, convert, now_ms};

/// Counts up when a client must know more than before.
const PROTOCOL: u32 = 1;

pub(in crate::admin) struct Session {
    pub(in crate::admin) about: About,
    pub(in crate::admin) started_at_ms: i64,
}

#[tonic::async_trait]
impl SessionService for Session {
    async fn who_am_i(
        &self,
        request: Request<proto::WhoAmIRequest>,
    ) -> Result<Response<proto::WhoAmIResponse>, Status> {
        let caller = caller(&request)?;
        Ok(Response::new(proto::WhoAmIResponse {
            operator: caller.name.to_string(),
            role: convert::role(caller.role).into(),
            relay: self.about.name.clone(),
            version: self.about.version.to_owned(),
            commit: self.about.commit.to_owned(),
            protocol: PROTOCOL,
            started_at_ms: self.started_at_ms,
            now_ms: now_ms(),
        }))
    }
}

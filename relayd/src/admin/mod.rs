//! The admin plane: `relay.admin.v1` over gRPC, for operators, the console and scripts.
//!
//! Translates between the protocol and the rooms below, and holds no state of its own beyond the
//! views that its watchers share. Each service has only the handles it needs.
//!
//! Invariants: a call that the table of roles does not name is not served; a change carries a
//! request id and an expected version, leaves an audit record in the same transaction, and tells
//! an event; off loopback nobody speaks without a client certificate; no answer holds a secret
//! but the one that makes it, and no error holds a driver's text.

mod auth;
mod change;
mod convert;
mod error;
mod page;
mod provider;
mod roles;
mod rollout;
mod serve;
mod services;
mod tls;
mod today;
mod watch;

#[cfg(test)]
pub(crate) mod tests;

use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use futures::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub use serve::{Admin, Parts};
pub use tls::AdminError;

use crate::domain::{Code, Fault, IdError};
use crate::identity::Identity;
use auth::Caller;
use watch::{Shared, Watched};

/// What this relayd is.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name, from the configuration.
    pub name: String,
    /// Its version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

/// Where agents dial in, for invitations.
#[derive(Clone, Debug)]
pub struct FleetDoor {
    /// `host:port`, as advertised.
    pub addr: String,
    /// The authority that agents trust, PEM.
    pub ca_pem: String,
}

/// What every stream needs: when to end.
#[derive(Clone)]
struct Streams {
    stop: CancellationToken,
    identity: Identity,
}

/// A stream of updates to one watcher.
type UpdateStream<U> = Pin<Box<dyn Stream<Item = Result<U, Status>> + Send>>;

impl Streams {
    /// Begins a watch.
    fn open<R, W: Watched>(
        &self,
        request: &Request<R>,
        view: Shared<W>,
        interval: Duration,
    ) -> Result<Response<UpdateStream<W::Update>>, Status> {
        let caller = caller(request)?.clone();
        let streams = self.clone();
        let lasting = move || {
            let (streams, caller) = (streams.clone(), caller.clone());
            async move { streams.may_go_on(&caller).await }
        };
        Ok(Response::new(Box::pin(view.watch(interval, self.stop.clone(), lasting))))
    }

    /// Refuses when the caller's token was withdrawn since the stream began.
    async fn may_go_on(&self, caller: &Caller) -> Result<(), Fault> {
        Caller::of(&self.identity, caller.token.clone()).await.map(|_| ())
    }
}

/// The operator behind a request; the gate put it there.
fn caller<R>(request: &Request<R>) -> Result<&Caller, Status> {
    request.extensions().get().ok_or_else(|| Status::unauthenticated("the call has no operator"))
}

/// Now, in milliseconds since the Unix epoch.
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// An id that a call must give.
fn id<T: FromStr<Err = IdError>>(text: &str) -> Result<T, Fault> {
    text.parse().map_err(|error: IdError| Fault::new(Code::ValidationError, error.to_string()))
}

/// An id that a call may give: empty is none.
fn optional_id<T: FromStr<Err = IdError>>(text: &str) -> Result<Option<T>, Fault> {
    if text.is_empty() { Ok(None) } else { id(text).map(Some) }
}

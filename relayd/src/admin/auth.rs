//! Who calls, and whether they may: before any handler runs.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::error::status;
use super::roles::{Access, access};
use crate::domain::{Code, Fault, Role};
use crate::identity::Identity;

/// The operator behind a call, for handlers: put into the request's extensions by this layer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The operator's name.
    pub(super) name: Arc<str>,
    /// What the operator may do.
    pub(super) role: Role,
    /// The token it came with, so that a long stream can ask again.
    pub(super) token: Token,
}

/// A presented token. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(Arc<str>);

/// Puts [`Gate`] before a service.
#[derive(Clone, Debug)]
pub(super) struct GateLayer {
    identity: Identity,
}

/// Lets a call through to `inner` when the table of roles allows it.
#[derive(Clone, Debug)]
pub(super) struct Gate<S> {
    inner: S,
    identity: Identity,
}

impl Caller {
    /// Refuses unless the caller has this role.
    pub(super) fn needs(&self, least: Role) -> Result<(), Fault> {
        if self.role >= least {
            return Ok(());
        }
        Err(Fault::new(
            Code::RoleDenied,
            format!("this call needs the role {least}, and '{}' is {}", self.name, self.role),
        ))
    }

    /// Whose a token is now.
    pub(super) async fn of(identity: &Identity, token: Token) -> Result<Self, Fault> {
        let operator = identity.operator(&token.0).await?;
        Ok(Self { name: operator.name.into(), role: operator.role, token })
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl GateLayer {
    pub(super) const fn new(identity: Identity) -> Self {
        Self { identity }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, identity: self.identity.clone() }
    }
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let identity = self.identity.clone();
        let asked = asked(&request);
        let ready = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, ready);
        Box::pin(async move {
            match admit(&identity, asked).await {
                Ok(None) => inner.call(request).await,
                Ok(Some(caller)) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Err(refusal) => Ok(refusal.into_http()),
            }
        })
    }
}

/// What a call asks for: nothing that is guarded, or a role with this token.
fn asked(request: &http::Request<Body>) -> Result<Option<(Role, Token)>, Status> {
    match access(request.uri().path()) {
        None => Err(Status::unimplemented("relayd does not have this call")),
        Some(Access::Open) => Ok(None),
        Some(Access::Least(role)) => match token(request.headers()) {
            Ok(token) => Ok(Some((role, token))),
            Err(fault) => Err(status(&fault)),
        },
    }
}

async fn admit(
    identity: &Identity,
    asked: Result<Option<(Role, Token)>, Status>,
) -> Result<Option<Caller>, Status> {
    let Some((least, token)) = asked? else { return Ok(None) };
    let caller = Caller::of(identity, token).await.map_err(|fault| status(&fault))?;
    caller.needs(least).map_err(|fault| {
        tracing::info!(operator = %caller.name, role = %caller.role, %least, "call refused by role");
        status(&fault)
    })?;
    Ok(Some(caller))
}

fn token(headers: &http::HeaderMap) -> Result<Token, Fault> {
    let missing = || {
        Fault::new(
            Code::MissingCredentials,
            "the admin plane needs an operator token: authorization: Bearer relay_op_...",
        )
    };
    let mut values = headers.get_all(http::header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Fault::new(Code::InvalidToken, "more than one authorization was sent"));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.trim().is_empty() {
        return Err(missing());
    }
    Ok(Token(token.trim().into()))
}

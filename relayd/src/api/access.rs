//! Who calls a route, and whether the route is for them: what handlers take as an argument, so that
//! a route without it cannot know a caller.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};

use crate::domain::{Code, CustomerId, Fault, RequestId};
use crate::identity::{Asked, Credential, Identity, KeyPrincipal, Principal};

use super::edge::Visit;
use super::error::Refused;
use super::routes::{Account, Reads};

/// The header that carries a key; it wins over `authorization`.
const API_KEY: &str = "x-api-key";

/// What stands for a header that holds no credential that could be looked up.
const NO_KEY: &str = "?";

/// Whoever calls a route of the catalogue. It needs no credential and refuses a bad one.
pub(super) struct Anyone(pub(super) Principal);

/// The superkey behind a call of an account route.
pub(super) struct Owner {
    /// The key.
    pub(super) key: Arc<KeyPrincipal>,
    request_id: RequestId,
}

/// Who calls.
pub(super) async fn caller(
    identity: &Identity,
    visit: &Visit,
    headers: &HeaderMap,
) -> Result<Principal, Fault> {
    // A value that is no text is no key either, and must not count as absent. Of two values in one
    // header a proxy before us may have looked at the other one.
    let text = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let first = values.next()?.to_str().unwrap_or(NO_KEY);
        Some(if values.next().is_some() { NO_KEY } else { first })
    };
    let credential = Credential::from_headers(text(API_KEY), text(header::AUTHORIZATION.as_str()));
    identity.authenticate(credential, visit.client).await
}

impl FromRequestParts<Reads> for Anyone {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, face: &Reads) -> Result<Self, Refused> {
        Ok(Self(caller(&face.identity, visit(parts)?, &parts.headers).await?))
    }
}

impl FromRequestParts<Account> for Owner {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, face: &Account) -> Result<Self, Refused> {
        let visit = visit(parts)?;
        let Principal::Key(key) = caller(&face.identity, visit, &parts.headers).await? else {
            let text = "Send a superkey as X-API-Key or as a bearer token to use account routes";
            return Err(Fault::new(Code::MissingCredentials, text).into());
        };
        if !key.superkey {
            let text = "Account routes need a superkey; this is an ordinary API key";
            return Err(Fault::new(Code::CredentialNotPermitted, text).into());
        }
        face.identity.check_budget(&key).await?;
        Ok(Self { key, request_id: visit.request_id })
    }
}

impl Owner {
    /// Whose account it is.
    pub(super) fn customer(&self) -> &CustomerId {
        &self.key.customer_id
    }

    /// A change that it asks for.
    pub(super) fn asked(&self) -> Asked {
        Asked {
            idem: self.request_id.to_string(),
            actor: self.key.key_id.to_string(),
            expected: None,
            trail: None,
        }
    }
}

/// What the edge knows of the request.
fn visit(parts: &Parts) -> Result<&Visit, Fault> {
    parts.extensions.get().ok_or_else(Fault::internal)
}

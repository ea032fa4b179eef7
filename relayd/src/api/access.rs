//! Who calls a route, and whether the route is for them.

use std::sync::Arc;

use http::{HeaderMap, header};

use crate::domain::{Code, Fault};
use crate::identity::{Credential, Identity, KeyPrincipal, Principal};

use super::edge::Visit;

/// The header that carries a key; it wins over `authorization`.
const API_KEY: &str = "x-api-key";

/// What stands for a header that holds no credential that could be looked up.
const NO_KEY: &str = "?";

/// Who calls. A route without need of a credential still refuses a bad one.
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

/// The superkey behind a call of an account route.
pub(super) async fn account(
    identity: &Identity,
    visit: &Visit,
    headers: &HeaderMap,
) -> Result<Arc<KeyPrincipal>, Fault> {
    let key = match caller(identity, visit, headers).await? {
        Principal::Guest { .. } => {
            let text = "Send a superkey as X-API-Key or as a bearer token to use account routes";
            return Err(Fault::new(Code::MissingCredentials, text));
        }
        Principal::Key(key) => key,
    };
    if !key.superkey {
        let text = "Account routes need a superkey; this is an ordinary API key";
        return Err(Fault::new(Code::CredentialNotPermitted, text));
    }
    identity.check_budget(&key).await?;
    Ok(key)
}

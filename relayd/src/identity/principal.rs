//! Who is asking.

use std::net::IpAddr;
use std::sync::Arc;

use crate::catalogue::Access;
use crate::domain::{CustomerId, KeyId, Ncr, RateLimits, Scope};

use super::secret::API_KEY_PREFIX;

/// What a caller presented, after the rules of contract section 1.2.
///
/// There is one way from headers to here, so that no carrier can slip past a limit that another
/// one meets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing: a guest.
    None,
    /// An API key.
    Key(&'a str),
    /// A token of another kind.
    Token(&'a str),
}

/// Who is asking.
#[derive(Clone, Debug)]
pub enum Principal {
    /// Nobody known; counted by address.
    Guest {
        /// The client's own address, proxies taken off.
        addr: IpAddr,
    },
    /// The bearer of a key.
    Key(Arc<KeyPrincipal>),
}

/// What one API key may do, as of the moment it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyPrincipal {
    /// The key.
    pub key_id: KeyId,
    /// The key's name.
    pub name: String,
    /// Who pays.
    pub customer_id: CustomerId,
    /// The customer's tier, by name.
    pub tier: String,
    /// May use the account routes.
    pub superkey: bool,
    /// The customer is not suspended.
    pub account_active: bool,
    /// Scopes that this key may not use.
    pub denied_scopes: Vec<Scope>,
    /// The only scopes that it may use, where its customer set such a list.
    pub allowlist: Option<Vec<Scope>>,
    /// Limits of the key below those of its tier.
    pub limits: RateLimits,
    /// Whether the key has a budget of its own.
    pub budgeted: bool,
    /// Answers carry a warning while the wallet is below this; zero means never.
    pub warning_threshold: Ncr,
}

impl<'a> Credential<'a> {
    /// Reads the two headers that may carry a credential. `x-api-key` wins; a bearer value that
    /// has the form of a key is one; anything else is a token, which may then be unknown.
    #[must_use]
    pub fn from_headers(api_key: Option<&'a str>, authorization: Option<&'a str>) -> Self {
        if let Some(key) = api_key {
            return Self::Key(key.trim());
        }
        let Some(value) = authorization else { return Self::None };
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Self::Token(value),
        };
        if token.starts_with(API_KEY_PREFIX) { Self::Key(token) } else { Self::Token(token) }
    }
}

impl Principal {
    /// The key behind the request, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&Arc<KeyPrincipal>> {
        match self {
            Self::Guest { .. } => None,
            Self::Key(key) => Some(key),
        }
    }

    /// What the caller may use of the catalogue.
    #[must_use]
    pub fn access(&self) -> Access<'_> {
        match self {
            Self::Guest { .. } => Access::Guest,
            Self::Key(key) => Access::Key {
                tier: &key.tier,
                denied: &key.denied_scopes,
                allowlist: key.allowlist.as_deref(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x_api_key_wins_and_keys_are_told_from_tokens() {
        let read = Credential::from_headers;
        let (none, key, token) = (Credential::None, Credential::Key, Credential::Token);
        for (api_key, authorization, expected) in [
            (None, None, none),
            (Some("relay_sk_a"), None, key("relay_sk_a")),
            (Some("relay_sk_a"), Some("Bearer relay_sk_b"), key("relay_sk_a")),
            (Some("relay_sk_a"), Some("Bearer jwt"), key("relay_sk_a")),
            (Some(""), Some("Bearer relay_sk_b"), key("")),
            (Some("jwt"), None, key("jwt")),
            (None, Some("Bearer relay_sk_b"), key("relay_sk_b")),
            (None, Some("bearer  relay_sk_b "), key("relay_sk_b")),
            (None, Some("Bearer eyJh.x.y"), token("eyJh.x.y")),
            (None, Some("Bearer "), token("")),
            (None, Some("Bearer"), token("Bearer")),
            (None, Some("Basic dXNlcg=="), token("Basic dXNlcg==")),
            (None, Some("relay_sk_b"), token("relay_sk_b")),
        ] {
            assert!(read(api_key, authorization) == expected, "{api_key:?} {authorization:?}");
        }
    }
}

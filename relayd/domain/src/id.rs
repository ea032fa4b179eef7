//! Ids. Each kind is its own type, so that one cannot stand where another is meant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not {expected}")]
pub struct IdError {
    text: String,
    expected: &'static str,
}

/// One request, from its first log line to its settlement; also its key in the ledger, and the
/// value of `X-Request-ID`. A UUIDv7, so that rows of one time lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Uuid);

/// One start of one relayd process: the owner of the holds it opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(Uuid);

macro_rules! uuid_id {
    ($name:ident, $expected:literal) => {
        impl $name {
            /// An id from a UUID that was made elsewhere.
            #[must_use]
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::parse_str(text)
                    .map(Self)
                    .map_err(|_| IdError { text: printable(text), expected: $expected })
            }
        }
    };
}

uuid_id!(RequestId, "a request id (a UUID)");
uuid_id!(BootId, "a boot id (a UUID)");

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(IdError { text: printable(text), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }
    };
}

text_id!(
    /// A customer: `cus_` and 16 hex digits. Opaque to everybody else.
    CustomerId,
    "a customer id (cus_ and 16 hex digits)",
    |text| prefixed_hex(text, "cus_", 16)
);
text_id!(
    /// An API key's public id: `key_` and 16 hex digits. Not a secret.
    KeyId,
    "a key id (key_ and 16 hex digits)",
    |text| prefixed_hex(text, "key_", 16)
);
text_id!(
    /// One immutable price row: `price_` and 16 hex digits.
    PriceId,
    "a price id (price_ and 16 hex digits)",
    |text| prefixed_hex(text, "price_", 16)
);
text_id!(
    /// A backend, by the name its operator gave it: 1 to 64 of `a-z 0-9 . _ -`.
    BackendId,
    "a backend name (1 to 64 of a-z, 0-9, dot, underscore, hyphen)",
    is_slug
);

text_id!(
    /// An independent owner of GPUs: `prov_` and the first 16 hex digits of the SHA-256 of its
    /// public key, so that one key is one provider everywhere.
    ProviderId,
    "a provider id (prov_ and 16 hex digits)",
    |text| prefixed_hex(text, "prov_", 16)
);
text_id!(
    /// One move of traffic from a revision of a model to another: `ro_` and 16 hex digits.
    RolloutId,
    "a rollout id (ro_ and 16 hex digits)",
    |text| prefixed_hex(text, "ro_", 16)
);

/// Longest slug, in bytes: fits one console column and a metrics label.
const SLUG_MAX_BYTES: usize = 64;

fn is_slug(text: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= SLUG_MAX_BYTES && text.bytes().all(allowed)
}

fn prefixed_hex(text: &str, prefix: &str, digits: usize) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| {
        hex.len() == digits && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

/// What of a foreign text may appear in an error: its first 80 characters, none of them control.
fn printable(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert!("key_0123456789abcdef".parse::<KeyId>().is_ok());
        for bad in ["", "key_", "key_0123456789abcdeF", "key_0123456789abcde", "relay_sk_00"] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad:?}");
        }
        assert!("vllm-a.1".parse::<BackendId>().is_ok());
        assert!("a/b".parse::<BackendId>().is_err());
        let error = "\u{1b}[2J".parse::<BackendId>().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

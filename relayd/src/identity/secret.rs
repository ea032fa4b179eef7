//! Secrets that callers present, and what is stored of them.
//!
//! A secret holds 192 random bits, so a slow hash would protect nothing and would cost every
//! request milliseconds. What is stored is HMAC-SHA256 of the secret under a pepper that lives in a
//! file and never in the database: a stolen table alone lets nobody in. A pepper's version is a
//! fingerprint of the pepper itself and stands beside each hash, so that a new pepper can be brought
//! in, in any order of files, while rows of an old one still work.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// What an API key's secret begins with.
pub const API_KEY_PREFIX: &str = "relay_sk_";

/// What an operator's token begins with.
pub const OPERATOR_TOKEN_PREFIX: &str = "relay_op_";

/// What an invitation for a provider begins with.
pub const INVITATION_PREFIX: &str = "relay_join_";

/// Random bytes of a secret; they are printed as twice as many hex digits.
const SECRET_BYTES: usize = 24;

/// Characters of a secret that may be shown after it was made (contract section 1.2).
const SHOWN_CHARS: usize = 20;

/// Shortest pepper, in bytes: that of the hash it keys.
pub const PEPPER_MIN_BYTES: usize = 32;

/// What is hashed under a pepper to get its version. No secret can be equal to it.
const VERSION_TEXT: &str = "relay pepper version";

/// Why a set of peppers cannot be used. Peppers are told by their place, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PepperError {
    /// There is none.
    #[error("there is no pepper")]
    None,
    /// The same pepper again.
    #[error("pepper {0} is the same as one before it")]
    Twice(usize),
    /// A pepper that could be guessed.
    #[error("pepper {at} has {bytes} bytes, at least {PEPPER_MIN_BYTES} are needed")]
    Short {
        /// Which.
        at: usize,
        /// Its length.
        bytes: usize,
    },
}

/// Which kind of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// An API key of a customer.
    ApiKey,
    /// A token of an operator.
    Operator,
    /// An invitation for a provider.
    Invitation,
}

/// A secret as it is handed out once. Neither `Debug` nor anything else but [`Secret::expose`]
/// prints it, and its memory is wiped.
pub struct Secret(Zeroizing<String>);

/// What is stored of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest {
    /// Version of the pepper: a fingerprint of it.
    pub pepper: u32,
    /// HMAC-SHA256 of the secret under it.
    pub hmac: [u8; 32],
}

/// The peppers, newest first in use.
#[derive(Clone)]
pub struct Peppers {
    /// The one that new secrets are stored under.
    current: Pepper,
    /// Those that stored secrets may still be under.
    older: Vec<Pepper>,
}

#[derive(Clone)]
struct Pepper {
    version: u32,
    /// The keyed state; cloning it saves hashing the pepper on every request.
    keyed: Hmac<Sha256>,
}

impl SecretKind {
    /// What secrets of this kind begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => API_KEY_PREFIX,
            Self::Operator => OPERATOR_TOKEN_PREFIX,
            Self::Invitation => INVITATION_PREFIX,
        }
    }

    /// Whether a text has the form of such a secret. What has not is refused without asking the
    /// store.
    #[must_use]
    pub fn matches(self, text: &str) -> bool {
        text.strip_prefix(self.prefix()).is_some_and(|hex| {
            hex.len() == 2 * SECRET_BYTES
                && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }
}

impl Secret {
    /// A new secret from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn generate(kind: SecretKind) -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(bytes.as_mut())?;
        let mut hex = hex::encode(bytes.as_ref());
        let secret = Self(Zeroizing::new(format!("{}{hex}", kind.prefix())));
        hex.zeroize();
        Ok(secret)
    }

    /// The secret itself, to be shown to its owner once.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The part that may be stored and shown later.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.0[..SHOWN_CHARS]
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Peppers {
    /// Takes the peppers, newest first; new secrets are stored under the first.
    ///
    /// # Errors
    /// [`PepperError`] when there is none, one is short, or one stands there twice.
    pub fn new(newest_first: &[&[u8]]) -> Result<Self, PepperError> {
        let mut all: Vec<Pepper> = Vec::with_capacity(newest_first.len());
        for (at, bytes) in (1..).zip(newest_first) {
            let short = PepperError::Short { at, bytes: bytes.len() };
            if bytes.len() < PEPPER_MIN_BYTES {
                return Err(short);
            }
            let keyed = Hmac::new_from_slice(bytes).map_err(|_| short)?;
            let pepper = Pepper::new(keyed);
            if all.iter().any(|other| other.version == pepper.version) {
                return Err(PepperError::Twice(at));
            }
            all.push(pepper);
        }
        let mut all = all.into_iter();
        let current = all.next().ok_or(PepperError::None)?;
        Ok(Self { current, older: all.collect() })
    }

    /// What is stored of a new secret.
    #[must_use]
    pub fn digest(&self, secret: &str) -> Digest {
        self.current.digest(secret)
    }

    /// What may be stored of a presented secret under older peppers, newest first.
    pub fn older_digests<'a>(&'a self, secret: &'a str) -> impl Iterator<Item = Digest> + 'a {
        self.older.iter().map(|pepper| pepper.digest(secret))
    }
}

impl fmt::Debug for Peppers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peppers(current {}, {} older)", self.current.version, self.older.len())
    }
}

impl Pepper {
    fn new(keyed: Hmac<Sha256>) -> Self {
        let unversioned = Self { version: 0, keyed };
        let [a, b, c, d, ..] = unversioned.digest(VERSION_TEXT).hmac;
        Self { version: u32::from_be_bytes([a, b, c, d]), ..unversioned }
    }

    fn digest(&self, secret: &str) -> Digest {
        let mut mac = self.keyed.clone();
        mac.update(secret.as_bytes());
        Digest { pepper: self.version, hmac: mac.finalize().into_bytes().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_the_form_of_the_contract() {
        let secret = Secret::generate(SecretKind::ApiKey).unwrap();
        assert!(SecretKind::ApiKey.matches(secret.expose()));
        assert!(!SecretKind::Operator.matches(secret.expose()));
        assert_eq!(secret.expose().len(), 9 + 48);
        assert_eq!(secret.shown().len(), 20);
        assert!(secret.expose().starts_with(secret.shown()));
        let other = Secret::generate(SecretKind::ApiKey).unwrap();
        assert_ne!(secret.expose(), other.expose());
        for bad in ["", "relay_sk_", &secret.expose()[..56], &secret.expose().to_uppercase()] {
            assert!(!SecretKind::ApiKey.matches(bad), "{bad:?}");
        }
    }

    #[test]
    fn nothing_prints_a_secret() {
        let secret = Secret::generate(SecretKind::Operator).unwrap();
        assert!(!format!("{secret:?}").contains("relay_op_"));
        let peppers = Peppers::new(&[&[0x61; 32]]).unwrap();
        assert!(!format!("{peppers:?}").contains("aaaa"));
    }

    #[test]
    fn the_digest_is_hmac_sha256() {
        // The value was computed by another implementation.
        let peppers = Peppers::new(&[&[0xaa; 32]]).unwrap();
        let digest = peppers.digest("relay_sk_00");
        assert_eq!(
            hex::encode(digest.hmac),
            "921ab847e0db43a7df7601c1d72b3e66ec303c65e540da9407ef4624cd1a8115"
        );
    }

    #[test]
    fn a_new_pepper_keeps_old_secrets_known() {
        let (one, two) = ([1u8; 32], [2u8; 40]);
        let old = Peppers::new(&[&one]).unwrap();
        let new = Peppers::new(&[&two, &one]).unwrap();
        assert_ne!(old.digest("s"), new.digest("s"));
        assert_eq!(new.older_digests("s").collect::<Vec<_>>(), [old.digest("s")]);
    }

    #[test]
    fn bad_peppers_are_refused() {
        let pepper = [0u8; 32];
        let refused = |list: &[&[u8]]| Peppers::new(list).unwrap_err();
        assert_eq!(refused(&[]), PepperError::None);
        assert_eq!(refused(&[&pepper, &pepper]), PepperError::Twice(2));
        assert_eq!(refused(&[&pepper, &pepper[1..]]), PepperError::Short { at: 2, bytes: 31 });
    }
}

//! A provider's key: its identity.

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::EXPORTER_BYTES;
use crate::domain::{IdError, ProviderId};

/// Sets this use of the key apart from every other.
const CONTEXT: &[u8] = b"relay-fleet/1 hello";

/// Bytes of a seed and of a public key.
const KEY_BYTES: usize = 32;

/// An Ed25519 key pair.
pub struct ProviderKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; KEY_BYTES]>,
}

/// Why a key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The text is not 64 hex digits.
    #[error("a provider key is 64 hex digits")]
    Text,
}

impl ProviderKey {
    /// A new key.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(seed.as_mut()).map_err(KeyError::Random)?;
        Self::from_seed(seed)
    }

    /// A key from the hex digits that [`Self::to_text`] gave; white space around them is ignored.
    ///
    /// # Errors
    /// [`KeyError::Text`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| KeyError::Text)?;
        Self::from_seed(seed)
    }

    fn from_seed(seed: Zeroizing<[u8; KEY_BYTES]>) -> Result<Self, KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).map_err(|_| KeyError::Text)?;
        Ok(Self { pair, seed })
    }

    /// The secret as text, for its file; wiped when dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.seed.as_ref()))
    }

    /// What everybody may know.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// Proves the key on one TLS connection.
    #[must_use]
    pub fn sign(&self, exported: &[u8; EXPORTER_BYTES], hello: &[u8]) -> Vec<u8> {
        self.pair.sign(&signed(exported, hello)).as_ref().to_vec()
    }
}

impl std::fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProviderKey").finish_non_exhaustive()
    }
}

/// Whether `signature` proves `public_key` for this hello on the connection that exported this.
#[must_use]
pub fn verify(
    public_key: &[u8],
    exported: &[u8; EXPORTER_BYTES],
    hello: &[u8],
    signature: &[u8],
) -> bool {
    public_key.len() == KEY_BYTES
        && UnparsedPublicKey::new(&ED25519, public_key)
            .verify(&signed(exported, hello), signature)
            .is_ok()
}

/// The provider that a public key is.
///
/// # Errors
/// Never for a digest's digits; the type says so that no panic stands here.
pub fn provider_id(public_key: &[u8]) -> Result<ProviderId, IdError> {
    format!("prov_{}", hex::encode(&Sha256::digest(public_key)[..8])).parse()
}

/// What is signed. The parts before the hello have fixed lengths, so nothing can slide over.
fn signed(exported: &[u8; EXPORTER_BYTES], hello: &[u8]) -> Vec<u8> {
    [CONTEXT, exported.as_slice(), hello].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_connection_and_words_alone() {
        let key = ProviderKey::generate().unwrap();
        let other = ProviderKey::generate().unwrap();
        let here = [7; EXPORTER_BYTES];
        let signature = key.sign(&here, b"hello");
        assert!(verify(key.public(), &here, b"hello", &signature));
        assert!(!verify(other.public(), &here, b"hello", &signature));
        assert!(!verify(key.public(), &[8; EXPORTER_BYTES], b"hello", &signature));
        assert!(!verify(key.public(), &here, b"hello!", &signature));
        assert!(!verify(&key.public()[1..], &here, b"hello", &signature));
        assert!(!verify(key.public(), &here, b"hello", &signature[1..]));
        assert!(!verify(&[], &here, b"hello", &[]));
    }

    #[test]
    fn a_key_comes_back_from_its_text_and_is_not_shown() {
        let key = ProviderKey::generate().unwrap();
        let again = ProviderKey::from_text(&format!(" {}\n", *key.to_text())).unwrap();
        assert_eq!(again.public(), key.public());
        assert_eq!(provider_id(key.public()).unwrap(), provider_id(again.public()).unwrap());
        assert!(!format!("{key:?}").contains(key.to_text().as_str()));
        for bad in ["", "00", "zz", &"0".repeat(63)] {
            assert!(ProviderKey::from_text(bad).is_err(), "{bad}");
        }
    }
}

//! Who asks, and what they may do: customers, keys, tiers, request limits, operators.
//!
//! Knows nothing of HTTP or gRPC: the faces hand it what a caller presented and print what it
//! answers. It holds no secret, only keyed hashes of them; it never says that a key is unknown when
//! the store could not be asked.

mod limits;
mod principal;
mod secret;

pub use limits::Limits;
pub use principal::{Credential, KeyPrincipal, Principal};
pub use secret::{
    API_KEY_PREFIX, Digest, OPERATOR_TOKEN_PREFIX, PEPPER_MIN_BYTES, PepperError, Peppers, Secret,
    SecretKind,
};

//! Who asks, and what they may do: customers, keys, tiers, request limits, operators.
//!
//! Knows nothing of HTTP or gRPC: the faces hand it what a caller presented and print what it
//! answers. It holds no secret, only keyed hashes of them; it never says that a key is unknown when
//! the store could not be asked.

mod cache;
mod customers;
mod invitations;
mod keys;
mod leases;
mod limits;
mod operators;
mod principal;
mod secret;
mod service;
#[cfg(test)]
mod tests;

pub use customers::{CreditRequest, Credited, CustomerPatch, CustomerRequest};
pub use invitations::{
    INVITATION_LIFE_MAX_MS, INVITATION_USES_MAX, InvitationRequest, MadeInvitation,
};
pub use keys::{Asked, BudgetChanged, KeyPatch, KeyRequest, MadeKey};
pub use operators::MadeOperator;
pub use principal::{Credential, KeyPrincipal, Principal};
pub use secret::{
    API_KEY_PREFIX, Digest, INVITATION_PREFIX, OPERATOR_TOKEN_PREFIX, PEPPER_MIN_BYTES,
    PepperError, Peppers, Secret, SecretKind,
};
pub use service::Identity;

//! The vocabulary of Relay: amounts, names, ids, meters, roles, what hosts tell of
//! themselves, and the faults a caller may be told.
//!
//! Pure values without I/O, clocks or random sources. Everything else may import this crate and
//! it imports nothing of Relay. How a [`Fault`] looks on a wire (an HTTP status, a gRPC code) is
//! deliberately unknown here: the faces decide that, each in one file.

mod amount;
mod declared;
mod deployment;
mod execution;
mod fault;
mod gpu;
mod host;
mod id;
mod meter;
mod name;
mod provider;
mod revision;
mod role;
mod rollout;
mod tier;
mod tokenizer;

pub use amount::{AmountError, NCR_PER_CREDIT, Ncr};
pub use declared::DeclaredGpu;
pub use deployment::INSTANCES_MAX;
pub use execution::{COPIES_MAX, Execution, ExecutionError};
pub use fault::{Code, Fault, FieldError, Loc};
pub use gpu::{
    CARDS_MAX, Card, CardProcess, CardReading, CardState, CudaVersion, Driver, Gpus, PROCESSES_MAX,
    Throttle,
};
pub use host::{Aged, HostFacts, HostReport, STALE_AFTER_MS};
pub use id::{
    BackendId, BootId, CustomerId, IdError, KeyId, PriceId, ProviderId, RequestId, RolloutId,
};
pub use meter::{Meter, Meters};
pub use name::{Mode, ModeRequest, ModelName, NameError, Scope, Source};
pub use provider::{PayoutAddress, PayoutAddressError, ProviderState};
pub use revision::{
    REVISION_NOTE_MAX_CHARS, RevisionParameters, RevisionTarget, TARGETS_MAX, UPSTREAM_MAX_BYTES,
    check_revision,
};
pub use role::Role;
pub use rollout::{
    ALL_PERMILLE, ALPHA_PPM, CANARY_PROMPTS_MAX, CANARY_TEXT_MAX_BYTES, CanaryPrompt, Gate, Gates,
    MIN_SAMPLES, PATIENCE_MAX, RolloutPlan, RolloutState, STEPS_MAX, TOLERANCE_MAX_PPM, WINDOW_MS,
};
pub use tier::{GUEST_TIER, RateLimits, TIER_WEIGHT_MAX, Tier};
pub use tokenizer::{TokenizerSource, TokenizerSourceError};

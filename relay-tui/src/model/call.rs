//! What the console asks the daemon to do, and how it ended.

use std::fmt;

use super::data::{AuditEntry, Customer, Limits, ModelUsage};
use super::rollouts::GateKind;

/// A change, on its way once it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Names the call inside this console; the link gives it its request id on the wire.
    pub(crate) no: u64,
    pub(crate) verb: Verb,
    /// The id of the object; empty on creation.
    pub(crate) object: String,
    /// What the operator calls the object.
    pub(crate) name: String,
    /// The version that the operator saw.
    pub(crate) expected_version: u64,
    pub(crate) reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Probe,
    Cordon,
    Uncordon,
    Drain,
    Weight(u32),
    Approve,
    Reject,
    Suspend,
    Reconsider,
    LimitProvider(ProviderBounds),
    Revise(RevisionDraft),
    StartRollout(RolloutStart),
    Advance,
    Hold,
    Resume,
    RollBack,
    CreateKey(NewKey),
    LimitKey(KeyLimits),
    RevokeKey,
}

/// How a rollout is to go; zeros and nothing are as relayd has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolloutStart {
    pub(crate) revision: u32,
    pub(crate) steps_permille: Vec<u32>,
    pub(crate) window_ms: u64,
    pub(crate) min_samples: u32,
    pub(crate) patience_windows: u32,
    pub(crate) alpha_ppm: u32,
    pub(crate) shadow_permille: u32,
    /// Those that are named; the others are as usual.
    pub(crate) gates: Vec<(GateKind, GateLimit)>,
    pub(crate) canaries: Canaries,
}

/// How much worse a gate lets a revision be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GateLimit {
    Off,
    Ppm(u32),
}

/// Prompts whose answers are known, each with what its answer must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Canaries {
    Typed(Vec<(String, String)>),
    /// A JSON list of `{"prompt": .., "expect": ..}`, read when the change is sent.
    File(String),
}

impl Default for Canaries {
    fn default() -> Self {
        Self::Typed(Vec::new())
    }
}

/// A revision to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RevisionDraft {
    /// Backend, and what its engine calls the model; empty is what its row says.
    pub(crate) targets: Vec<(String, String)>,
    pub(crate) note: String,
    pub(crate) temperature_milli: Option<u32>,
    pub(crate) top_p_milli: Option<u32>,
    pub(crate) max_tokens: Option<u32>,
}

/// What a provider may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProviderBounds {
    /// Of each engine; 0 is what it offers.
    pub(crate) max_concurrency: u32,
    /// Empty is all that it offers.
    pub(crate) models: Vec<String>,
    /// Of a million answer tokens; 0 is any.
    pub(crate) price_floor_ncr: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewKey {
    pub(crate) customer_id: String,
    pub(crate) name: String,
    pub(crate) limits: Limits,
    pub(crate) budget_ncr: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyLimits {
    pub(crate) limits: Limits,
    /// `Some(None)` takes the cap away, `None` leaves it as it is.
    pub(crate) budget_ncr: Option<Option<i64>>,
}

/// Something to read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Customers,
    Audit,
    KeyUsage { key_id: String },
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Customers(Vec<Customer>),
    Audit(Vec<AuditEntry>),
    KeyUsage { key_id: String, rows: Vec<ModelUsage> },
    Failed(Read, String),
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// A key was made; its secret is here and nowhere else.
    KeyMade {
        name: String,
        secret: Secret,
    },
    /// The object has moved on since the operator saw it.
    Conflict(String),
    Refused(String),
    /// The link broke before the answer; the daemon is asked by the request id when it is back.
    Unknown,
    /// The audit log has the request id: it was done before the link broke.
    FoundDone,
    /// The audit log does not have it: it was not done.
    FoundAbsent,
}

/// A secret. Never printed by `Debug`, wiped by leaving the overlay.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Verb {
    /// The word of toasts.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Cordon => "cordon",
            Self::Uncordon => "uncordon",
            Self::Drain => "drain",
            Self::Weight(_) => "weight",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Suspend => "suspend",
            Self::Reconsider => "reconsider",
            Self::LimitProvider(_) => "limits",
            Self::Revise(_) => "revise",
            Self::StartRollout(_) => "start",
            Self::Advance => "advance",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::RollBack => "roll back",
            Self::CreateKey(_) => "new key",
            Self::LimitKey(_) => "limits",
            Self::RevokeKey => "revoke",
        }
    }
}

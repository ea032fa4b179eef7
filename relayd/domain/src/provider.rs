//! Independent owners of GPUs: who they are, where they are paid, and how far they have come.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How far a provider has come. Every change is one of [`ProviderState::may_become`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderState {
    /// It has joined and nothing is known of it yet.
    Joining,
    /// Its host and engines are being examined.
    Probing,
    /// The evidence is complete; a person decides.
    Pending,
    /// It serves.
    Approved,
    /// A person refused it.
    Rejected,
    /// It served and may not for now.
    Suspended,
    /// It went, by its own wish or an operator's.
    Left,
}

/// Where a provider's earnings go: an EVM address, `0x` and 40 hex digits. Kept in lower case; a
/// text in mixed case is taken as it is, without its checksum being looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PayoutAddress(Arc<str>);

/// Why a text is not a payout address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a payout address is 0x and 40 hex digits")]
pub struct PayoutAddressError;

impl ProviderState {
    /// Every state, in the order in which a good provider goes through them.
    pub const ALL: [Self; 7] = [
        Self::Joining,
        Self::Probing,
        Self::Pending,
        Self::Approved,
        Self::Rejected,
        Self::Suspended,
        Self::Left,
    ];

    /// The word, as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Probing => "probing",
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Suspended => "suspended",
            Self::Left => "left",
        }
    }

    /// Whether a provider in this state may come into that one. The one table of transitions.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use ProviderState::{Approved, Joining, Left, Pending, Probing, Rejected, Suspended};
        match (self, next) {
            (Joining, Probing | Rejected | Left)
            // Back to probing when the evidence is out of date: other engines, other cards.
            | (Probing, Pending | Rejected | Left)
            | (Pending, Probing | Approved | Rejected | Left)
            | (Approved, Suspended | Left)
            // A rejected one may be looked at again; it is never let in without being examined.
            | (Rejected, Probing | Left)
            | (Suspended, Approved | Rejected | Left)
            | (Left, Joining) => true,
            _ => false,
        }
    }

    /// Whether its engines may get customers' requests.
    #[must_use]
    pub const fn serves(self) -> bool {
        matches!(self, Self::Approved)
    }

    /// Whether its agent is let in at all.
    #[must_use]
    pub const fn may_connect(self) -> bool {
        !matches!(self, Self::Rejected | Self::Left)
    }
}

impl fmt::Display for ProviderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ProviderState {
    type Err = String;
    /// Fails with a sentence that names the text.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("unknown provider state '{text}'"))
    }
}

impl PayoutAddress {
    /// The text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PayoutAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PayoutAddress {
    type Err = PayoutAddressError;
    fn from_str(text: &str) -> Result<Self, PayoutAddressError> {
        let digits = text.strip_prefix("0x").ok_or(PayoutAddressError)?;
        if digits.len() == 40 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(PayoutAddressError)
        }
    }
}

impl TryFrom<String> for PayoutAddress {
    type Error = PayoutAddressError;
    fn try_from(text: String) -> Result<Self, PayoutAddressError> {
        text.parse()
    }
}

impl From<PayoutAddress> for String {
    fn from(address: PayoutAddress) -> Self {
        address.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_serves_who_was_not_examined() {
        use ProviderState::{Approved, Pending, Suspended};
        for from in ProviderState::ALL {
            let may = matches!(from, Pending | Suspended);
            assert_eq!(from.may_become(Approved), may, "{from}");
            assert!(!from.may_become(from), "{from}");
            assert_eq!(from.as_str().parse::<ProviderState>().unwrap(), from);
        }
        // Whatever is gone or refused goes through the examination again.
        assert!(!ProviderState::Rejected.may_become(Pending));
        assert!(!ProviderState::Left.may_become(ProviderState::Probing));
    }

    #[test]
    fn an_address_is_40_hex_digits() {
        let mixed = "0xAbCdef0123456789aBcDEF0123456789abcdef01";
        assert_eq!(mixed.parse::<PayoutAddress>().unwrap().as_str(), mixed.to_lowercase());
        for bad in ["", "0x", "abcdef0123456789abcdef0123456789abcdef01", "0xg0", &mixed[..41]] {
            assert!(bad.parse::<PayoutAddress>().is_err(), "{bad}");
        }
    }
}

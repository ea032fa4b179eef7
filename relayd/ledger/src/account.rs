//! Whose money it is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use relay_domain::{CustomerId, KeyId, ProviderId};

/// Most writer shards of one process: a shard number takes six bits in a chain number.
const SHARDS_MAX: u8 = 64;
/// Longest name of a way to pay, in bytes: it is part of an account's id.
const VIA_MAX_BYTES: usize = 32;

/// What an account counts. A transfer never crosses units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Money: nano-credits.
    Credit,
    /// Permission to spend: nano-credits of a key's budget. Reserved and spent like money, but it
    /// is nobody's money.
    Allowance,
}

/// One writer of the ledger. System accounts have a sub-account per shard, so that shards meet on
/// no row. 0 to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard(u8);

/// The way by which money came in: `admin`, `stripe`, ...; 1 to 32 of `a-z 0-9 _`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Via(Arc<str>);

/// One account. Its text form is its id in the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// A customer's bought credit: `paid:<customer>`. Floor zero.
    Paid(CustomerId),
    /// A customer's granted credit, drawn first: `promo:<customer>`. Floor zero.
    Promo(CustomerId),
    /// What a key may still spend: `budget:<key>`. Floor zero, unit allowance.
    Budget(KeyId),
    /// What customers were charged, less what providers earned of it: `revenue:<shard>`.
    Revenue(Shard),
    /// What the platform owes a provider: `earning:<provider>:<shard>`. A sub-account per shard,
    /// since providers serve customers of every shard.
    Earning(ProviderId, Shard),
    /// What the platform bore instead of a customer: `write_off:<shard>`.
    WriteOff(Shard),
    /// The other side of money that came in: `funding:<via>:<shard>`.
    Funding(Via, Shard),
    /// Where budgets come from: `budget_source:<shard>`.
    BudgetSource(Shard),
    /// Where spent and withdrawn budgets go: `budget_sink:<shard>`.
    BudgetSink(Shard),
}

/// Why a text is not an account, a way to pay or a shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an account, a way to pay or a shard number")]
pub struct AccountError(String);

impl Shard {
    /// A shard by its number.
    ///
    /// # Errors
    /// When the number is above 63.
    pub fn new(number: u8) -> Result<Self, AccountError> {
        if number < SHARDS_MAX { Ok(Self(number)) } else { Err(AccountError(number.to_string())) }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The shard among `count` that owns a customer: the same in every process (FNV-1a), so that
    /// one customer's commands always queue behind each other.
    #[must_use]
    pub fn of(customer: &CustomerId, count: u8) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in customer.as_str().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        let count = u64::from(count.clamp(1, SHARDS_MAX));
        Self(u8::try_from((hash >> 32) % count).unwrap_or(0))
    }
}

impl Via {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Account {
    /// What it counts.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        match self {
            Self::Paid(_)
            | Self::Promo(_)
            | Self::Revenue(_)
            | Self::Earning(..)
            | Self::WriteOff(_)
            | Self::Funding(..) => Unit::Credit,
            Self::Budget(_) | Self::BudgetSource(_) | Self::BudgetSink(_) => Unit::Allowance,
        }
    }

    /// Whether its balance may not fall below what is held on it. The others are mirrors.
    #[must_use]
    pub const fn has_floor(&self) -> bool {
        matches!(self, Self::Paid(_) | Self::Promo(_) | Self::Budget(_))
    }

    /// The kind of account, as stored.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Paid(_) => "paid",
            Self::Promo(_) => "promo",
            Self::Budget(_) => "budget",
            Self::Revenue(_) => "revenue",
            Self::Earning(..) => "earning",
            Self::WriteOff(_) => "write_off",
            Self::Funding(..) => "funding",
            Self::BudgetSource(_) => "budget_source",
            Self::BudgetSink(_) => "budget_sink",
        }
    }

    /// The customer, key or provider it belongs to; empty for system accounts.
    #[must_use]
    pub fn owner(&self) -> &str {
        match self {
            Self::Paid(customer) | Self::Promo(customer) => customer.as_str(),
            Self::Budget(key) => key.as_str(),
            Self::Earning(provider, _) => provider.as_str(),
            _ => "",
        }
    }
}

impl Unit {
    /// The name, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Allowance => "allowance",
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.class();
        match self {
            Self::Paid(customer) | Self::Promo(customer) => write!(f, "{class}:{customer}"),
            Self::Budget(key) => write!(f, "{class}:{key}"),
            Self::Funding(via, shard) => write!(f, "{class}:{via}:{shard}"),
            Self::Earning(provider, shard) => write!(f, "{class}:{provider}:{shard}"),
            Self::Revenue(shard)
            | Self::WriteOff(shard)
            | Self::BudgetSource(shard)
            | Self::BudgetSink(shard) => write!(f, "{class}:{shard}"),
        }
    }
}

impl FromStr for Shard {
    type Err = AccountError;
    fn from_str(text: &str) -> Result<Self, AccountError> {
        text.parse().map_err(|_| AccountError(text.to_owned())).and_then(Self::new)
    }
}

impl FromStr for Via {
    type Err = AccountError;
    fn from_str(text: &str) -> Result<Self, AccountError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if text.is_empty() || text.len() > VIA_MAX_BYTES || !text.bytes().all(plain) {
            return Err(AccountError(text.chars().take(VIA_MAX_BYTES).collect()));
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for Account {
    type Err = AccountError;
    fn from_str(text: &str) -> Result<Self, AccountError> {
        let wrong = || AccountError(text.chars().take(80).collect());
        let (class, rest) = text.split_once(':').ok_or_else(wrong)?;
        let customer = || rest.parse().map_err(|_| wrong());
        let shard = || rest.parse().map_err(|_| wrong());
        Ok(match class {
            "paid" => Self::Paid(customer()?),
            "promo" => Self::Promo(customer()?),
            "budget" => Self::Budget(rest.parse().map_err(|_| wrong())?),
            "revenue" => Self::Revenue(shard()?),
            "write_off" => Self::WriteOff(shard()?),
            "budget_source" => Self::BudgetSource(shard()?),
            "budget_sink" => Self::BudgetSink(shard()?),
            "earning" => {
                let (provider, shard) = rest.split_once(':').ok_or_else(wrong)?;
                Self::Earning(provider.parse().map_err(|_| wrong())?, shard.parse()?)
            }
            "funding" => {
                let (via, shard) = rest.split_once(':').ok_or_else(wrong)?;
                Self::Funding(via.parse()?, shard.parse()?)
            }
            _ => return Err(wrong()),
        })
    }
}

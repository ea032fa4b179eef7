//! Money as an exact integer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Nano-credits in one credit. One credit is one US dollar.
pub const NCR_PER_CREDIT: i64 = 1_000_000_000;

/// An amount in nano-credits (1 credit = 1 USD = 1,000,000,000 ncr).
///
/// Range: plus or minus 9.22 billion credits. Arithmetic is checked: an overflow is an error to
/// the caller and never wraps. Its text form, and its form in public JSON, is US dollars with at
/// most nine decimals; its serde form is the integer.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Ncr(i64);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not of the form `-?digits[.digits]`.
    #[error("expected a decimal number such as 0.15")]
    Syntax,
    /// More than nine decimals: it cannot be held exactly.
    #[error("at most 9 decimals can be held exactly")]
    TooFine,
    /// Outside the range of 64 bits of nano-credits.
    #[error("the amount is out of range")]
    Range,
}

impl Ncr {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);

    /// An amount from its nano-credits.
    #[must_use]
    pub const fn new(nano_credits: i64) -> Self {
        Self(nano_credits)
    }

    /// Whole credits (US dollars); `None` on overflow.
    #[must_use]
    pub const fn credits(credits: i64) -> Option<Self> {
        match credits.checked_mul(NCR_PER_CREDIT) {
            Some(ncr) => Some(Self(ncr)),
            None => None,
        }
    }

    /// The nano-credits.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// `self + other`, or `None` on overflow.
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// `self - other`, or `None` on overflow.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// `self * factor`, or `None` on overflow.
    #[must_use]
    pub const fn checked_mul(self, factor: i64) -> Option<Self> {
        match self.0.checked_mul(factor) {
            Some(product) => Some(Self(product)),
            None => None,
        }
    }

    /// Whether the amount is below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// Whether the amount is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// US dollars, shortest exact decimal form: `0.0032704`, `12`, `-0.5`. A valid JSON number.
impl fmt::Display for Ncr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let unit = NCR_PER_CREDIT.unsigned_abs();
        let (whole, fraction) = (magnitude / unit, magnitude % unit);
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Ncr {
    type Err = AmountError;

    /// Reads US dollars written as a plain decimal, exactly; a tenth decimal is refused.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(AmountError::Syntax);
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 9 {
            return Err(AmountError::TooFine);
        }
        let whole: i64 = whole.parse().map_err(|_| AmountError::Range)?;
        let padded = format!("{fraction:0<9}");
        let fraction: i64 = padded.parse().map_err(|_| AmountError::Syntax)?;
        whole
            .checked_mul(NCR_PER_CREDIT)
            .and_then(|ncr| ncr.checked_add(fraction))
            .map(|ncr| Self(if negative { -ncr } else { ncr }))
            .ok_or(AmountError::Range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_and_prints_exactly() {
        for (text, ncr) in [
            ("0", 0),
            ("0.0032704", 3_270_400),
            ("12", 12_000_000_000),
            ("-0.5", -500_000_000),
            ("0.000000001", 1),
        ] {
            assert_eq!(text.parse(), Ok(Ncr(ncr)));
            assert_eq!(Ncr(ncr).to_string(), text);
        }
        assert_eq!("0.1000000000".parse::<Ncr>(), Ok(Ncr(100_000_000)));
    }

    #[test]
    fn refuses_what_it_cannot_hold() {
        assert_eq!("0.0000000001".parse::<Ncr>(), Err(AmountError::TooFine));
        assert_eq!("9223372037".parse::<Ncr>(), Err(AmountError::Range));
        for text in ["", ".", "1.", ".5", "1e3", "+1", " 1", "1,5", "--1", "0x1"] {
            assert_eq!(text.parse::<Ncr>(), Err(AmountError::Syntax), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(ncr in (i64::MIN + 1)..i64::MAX) {
            prop_assert_eq!(Ncr(ncr).to_string().parse::<Ncr>(), Ok(Ncr(ncr)));
        }
    }
}

//! Money in public JSON: a number of US dollars with at most nine decimals, from and to integers.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::domain::{AmountError, Ncr};

/// Largest power of ten in a number's exponent that is looked at: beyond it every number but zero
/// is too fine or out of range.
const EXPONENT_MAX: i32 = 30;

/// An amount as a JSON number of US dollars. Never passes through a float.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usd(pub Ncr);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The text form of an amount is a JSON number.
        let number =
            RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        read(raw.get()).map(Self).map_err(D::Error::custom)
    }
}

/// Reads a JSON number exactly; an exponent, as JavaScript and Python print small numbers, is
/// expanded.
fn read(number: &str) -> Result<Ncr, AmountError> {
    let Some((mantissa, exponent)) = number.split_once(['e', 'E']) else {
        return number.parse();
    };
    let exponent: i32 = exponent.parse().map_err(|_| AmountError::Syntax)?;
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if mantissa.bytes().all(|b| matches!(b, b'0' | b'.')) {
        return Ok(Ncr::ZERO);
    }
    if exponent > EXPONENT_MAX {
        return Err(AmountError::Range);
    }
    if exponent < -EXPONENT_MAX {
        return Err(AmountError::TooFine);
    }
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).map_err(|_| AmountError::Range)? + exponent;
    let plain = match usize::try_from(point) {
        Err(_) | Ok(0) => {
            let zeros = usize::try_from(-point).unwrap_or_default();
            format!("{sign}0.{}{digits}", "0".repeat(zeros))
        }
        Ok(point) if point >= digits.len() => {
            format!("{sign}{digits}{}", "0".repeat(point - digits.len()))
        }
        Ok(point) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
    };
    plain.parse()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_exact() {
        let json = serde_json::to_string(&[Usd(Ncr::new(3_270_400)), Usd(Ncr::new(-1))]).unwrap();
        assert_eq!(json, "[0.0032704,-0.000000001]");
        for (text, ncr) in [
            ("0", Ok(0)),
            ("1e-7", Ok(100)),
            ("1.5e-05", Ok(15_000)),
            ("-2.50E+1", Ok(-25_000_000_000)),
            ("12e0", Ok(12_000_000_000)),
            ("123.456e-2", Ok(1_234_560_000)),
            ("0e999", Ok(0)),
            ("0.1", Ok(100_000_000)),
            ("0.30000000000000004", Err(AmountError::TooFine)),
            ("1e-10", Err(AmountError::TooFine)),
            ("1e99", Err(AmountError::Range)),
            ("1e10", Err(AmountError::Range)),
        ] {
            assert_eq!(read(text), ncr.map(Ncr::new), "{text}");
        }
        for bad in ["\"1\"", "true", "null", "[1]"] {
            assert!(serde_json::from_str::<Usd>(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_amount_round_trips(ncr in (i64::MIN + 1)..i64::MAX) {
            let json = serde_json::to_string(&Usd(Ncr::new(ncr))).unwrap();
            prop_assert_eq!(serde_json::from_str::<Usd>(&json).unwrap(), Usd(Ncr::new(ncr)));
        }
    }
}

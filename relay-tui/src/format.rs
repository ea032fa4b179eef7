//! Numbers, durations and money as an operator reads them. Pure; integers in, short text out.

/// Nano-credits of one US dollar.
const NCR_PER_USD: i128 = 1_000_000_000;

/// `$1,204.33`; below a dollar four decimals, below a cent up to nine, because requests cost
/// fractions of a cent. Cut, not rounded: it never shows money that is not there.
pub(crate) fn usd(ncr: i64) -> String {
    let sign = if ncr < 0 { "-" } else { "" };
    let ncr = i128::from(ncr).abs();
    let (whole, nano) = (ncr / NCR_PER_USD, ncr % NCR_PER_USD);
    let fraction = if whole > 0 || nano == 0 {
        format!("{:02}", nano / 10_000_000)
    } else if nano >= 10_000_000 {
        format!("{:04}", nano / 100_000)
    } else if nano >= 1_000 {
        format!("{:06}", nano / 1_000)
    } else {
        format!("{nano:09}")
    };
    format!("{sign}${}.{fraction}", grouped(whole.unsigned_abs()))
}

/// The nano-credits of what an operator typed: `12`, `$1,000.50`, at most nine decimals.
pub(crate) fn parse_usd(text: &str) -> Option<i64> {
    let text: String = text.trim().trim_start_matches('$').replace(',', "");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) {
        return None;
    }
    if fraction.len() > 9 {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nano: i64 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(nano)
}

/// The amount as it is typed: `0.28`, `12`; every decimal that it has.
pub(crate) fn amount(ncr: i64) -> String {
    let sign = if ncr < 0 { "-" } else { "" };
    let ncr = i128::from(ncr).abs();
    let text = format!("{sign}{}.{:09}", ncr / NCR_PER_USD, ncr % NCR_PER_USD);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A typed decimal number, `%` or not, times ten to the power of `decimals`, exactly; `None` where
/// it is no number or has more decimals.
pub(crate) fn scaled(text: &str, decimals: usize) -> Option<u32> {
    let text = text.trim().trim_end_matches('%');
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(rest) || rest.len() > decimals {
        return None;
    }
    format!("{whole}{rest:0<decimals$}").parse().ok()
}

/// `918,233`.
pub(crate) fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `999`, `41.9k`, `14.8M`.
pub(crate) fn count(number: u64) -> String {
    const STEPS: [(u64, &str); 4] =
        [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    for (step, unit) in STEPS {
        if number >= step {
            let tenths = number / (step / 10);
            return if tenths >= 1_000 {
                format!("{}{unit}", tenths / 10)
            } else {
                format!("{}.{}{unit}", tenths / 10, tenths % 10)
            };
        }
    }
    number.to_string()
}

/// A rate that the protocol gives per thousand seconds: `184.2`, `0.4`, `41.9k`, `0`.
pub(crate) fn rate(per_ks: u64) -> String {
    if per_ks == 0 {
        "0".to_owned()
    } else if per_ks >= 1_000_000 {
        count(per_ks / 1_000)
    } else {
        let tenths = (per_ks + 50) / 100;
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// `0.31%` from parts per million.
pub(crate) fn percent(ppm: u32) -> String {
    if ppm >= 100_000 {
        format!("{}%", ppm / 10_000)
    } else {
        format!("{}.{:02}%", ppm / 10_000, ppm % 10_000 / 100)
    }
}

/// `0.951` from thousandths.
pub(crate) fn thousandths(milli: u64) -> String {
    format!("{}.{:03}", milli / 1_000, milli % 1_000)
}

/// A measured delay: `212ms`, `1.9s`, `64s`; `-` for none.
pub(crate) fn delay(ms: u32) -> String {
    match ms {
        0 => "-".to_owned(),
        1..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{}s", ms / 1_000),
    }
}

/// How long something has lasted: `42s`, `14m`, `3h05m`, `12d04h`.
pub(crate) fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1_000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `0.4s`, from 10 s on whole seconds: how old the newest word from the daemon is.
pub(crate) fn freshness(ms: i64) -> String {
    let ms = ms.max(0);
    if ms < 10_000 { format!("{}.{}s", ms / 1_000, ms % 1_000 / 100) } else { age(ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_well_at_every_size() {
        for (ncr, text) in [
            (0, "$0.00"),
            (1_204_330_000_000, "$1,204.33"),
            (999_999_999, "$0.9999"),
            (12_345_678, "$0.0123"),
            (500_000, "$0.000500"),
            (7, "$0.000000007"),
            (-2_140_000_000, "-$2.14"),
            (i64::MIN, "-$9,223,372,036.85"),
        ] {
            assert_eq!(usd(ncr), text);
        }
    }

    #[test]
    fn typed_money_is_exact_or_refused() {
        assert_eq!(parse_usd("12"), Some(12_000_000_000));
        assert_eq!(parse_usd("$1,000.5"), Some(1_000_500_000_000));
        assert_eq!(parse_usd(".000000001"), Some(1));
        for wrong in ["", ".", "-1", "1e3", "0.0000000001", "99999999999", "1.2.3", "$"] {
            assert_eq!(parse_usd(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_amount_is_typed_as_it_is_read() {
        for (ncr, text) in [(280_000_000, "0.28"), (12_000_000_000, "12"), (1, "0.000000001")] {
            assert_eq!((amount(ncr).as_str(), parse_usd(text)), (text, Some(ncr)));
        }
    }

    #[test]
    fn scaled_numbers_are_exact_or_none() {
        assert_eq!(
            [scaled("2.5%", 1), scaled("100", 1), scaled("0.1", 4)].map(Option::unwrap),
            [25, 1_000, 1_000]
        );
        for wrong in ["", "-1", "1.25", ".5", "1e3", "9999999999", "abc", "1 2"] {
            assert_eq!(scaled(wrong, 1), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_three_digits() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1.0k"),
            (41_900, "41.9k"),
            (148_000, "148k"),
            (14_800_000, "14.8M"),
        ] {
            assert_eq!(count(number), text);
        }
        for (rate_per_ks, text) in
            [(0, "0"), (40, "0.0"), (184_200, "184.2"), (41_900_000, "41.9k")]
        {
            assert_eq!(rate(rate_per_ks), text);
        }
        assert_eq!((percent(3_100), percent(1_000_000)), ("0.31%".into(), "100%".into()));
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            (delay(0), delay(212), delay(1_960)),
            ("-".into(), "212ms".into(), "1.9s".into())
        );
        assert_eq!((age(42_000), age(849_000)), ("42s".into(), "14m".into()));
        assert_eq!((age(11_100_000), age(1_051_200_000)), ("3h05m".into(), "12d04h".into()));
        assert_eq!((freshness(400), freshness(41_000)), ("0.4s".into(), "41s".into()));
    }
}

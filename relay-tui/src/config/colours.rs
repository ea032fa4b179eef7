//! `[colours]` of the settings file: the operator's own ink for a meaning.

use std::collections::BTreeMap;

use super::ConfigError;
use crate::model::{Colours, Ink};

/// The terminal's own 16, in the order of their numbers.
const NAMES: [&str; 16] = [
    "black",
    "red",
    "green",
    "yellow",
    "blue",
    "magenta",
    "cyan",
    "white",
    "bright-black",
    "bright-red",
    "bright-green",
    "bright-yellow",
    "bright-blue",
    "bright-magenta",
    "bright-cyan",
    "bright-white",
];

/// # Errors
/// The first word that is no meaning or no colour.
pub(super) fn read(words: &BTreeMap<String, String>) -> Result<Colours, ConfigError> {
    let mut colours = Colours::default();
    for (meaning, word) in words {
        let ink = ink(word).ok_or_else(|| {
            ConfigError(format!(
                "[colours] {meaning} = \"{word}\" is no colour: write a name like bright-blue, a \
                 number to 255 or #rrggbb"
            ))
        })?;
        *match meaning.as_str() {
            "quiet" => &mut colours.quiet,
            "focus" => &mut colours.focus,
            "good" => &mut colours.good,
            "warn" => &mut colours.warn,
            "bad" => &mut colours.bad,
            "alarm" => &mut colours.alarm,
            _ => {
                return Err(ConfigError(format!(
                    "[colours] has no '{meaning}'; there are: quiet, focus, good, warn, bad, alarm"
                )));
            }
        } = Some(ink);
    }
    Ok(colours)
}

fn ink(word: &str) -> Option<Ink> {
    if let Some(hex) = word.strip_prefix('#') {
        let number = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 6)?;
        let [_, red, green, blue] = number.to_be_bytes();
        return Some(Ink::Exact(red, green, blue));
    }
    let named = NAMES.iter().position(|name| *name == word);
    named.and_then(|at| u8::try_from(at).ok()).or_else(|| word.parse().ok()).map(Ink::Numbered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_colour_is_a_name_a_number_or_exact() {
        let colours =
            read(&words(&[("good", "bright-blue"), ("warn", "208"), ("bad", "#ff0080")])).unwrap();
        assert_eq!(colours.good, Some(Ink::Numbered(12)));
        assert_eq!(colours.warn, Some(Ink::Numbered(208)));
        assert_eq!(colours.bad, Some(Ink::Exact(255, 0, 128)));
        assert_eq!(colours.quiet, None);
    }

    #[test]
    fn mistakes_are_named() {
        for (meaning, word, part) in [
            ("good", "pinkish", "good = \"pinkish\" is no colour"),
            ("good", "#12345", "is no colour"),
            ("good", "256", "is no colour"),
            ("lovely", "red", "has no 'lovely'"),
        ] {
            let ConfigError(text) = read(&words(&[(meaning, word)])).unwrap_err();
            assert!(text.contains(part), "{text}");
        }
    }
}

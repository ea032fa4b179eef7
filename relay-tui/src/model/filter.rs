//! The grammar behind `/`: words, `field:value`, `!` negates, `>` and `<` compare.
//!
//! `acme` any text contains it; `state:down` that field does; `!prod` it does not; `run:>30`,
//! `ttft:<1.5s`, `cost:>=2` compare numbers. Every term must hold. Any string is a filter: what
//! is not a known field is a word, so that nothing typed is an error.

/// What a row answers when it is asked for a field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Text(std::borrow::Cow<'a, str>),
    /// One of a few words; a filter gives its beginning, so that `ok` is not found in `revoked`.
    Word(&'static str),
    Number(f64),
}

/// A row that can be listed, filtered, sorted and copied.
pub(crate) trait Row {
    /// Stable over the row's life; never shown twice.
    fn id(&self) -> &str;
    /// What an operator calls it; the id where it has no other name.
    fn name(&self) -> &str {
        self.id()
    }
    /// What `y` copies.
    fn copied(&self) -> &str {
        self.id()
    }
    /// When it was, for a row that was at a moment.
    fn at_ms(&self) -> Option<i64> {
        None
    }
    /// What only a copy and an export have beside the fields.
    fn details(&self) -> Vec<(&'static str, &str)> {
        Vec::new()
    }
    /// Names that a filter and a sort may use, the first being the default order.
    const FIELDS: &'static [Field];
    /// One field; the name is one of [`Self::FIELDS`].
    fn field(&self, name: &str) -> Value<'_>;
    /// What a sort by a field compares; the field itself where that is enough.
    fn rank(&self, name: &str) -> Value<'_> {
        self.field(name)
    }
}

/// A field of a row, with the key that sorts by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// Pressed after `s`.
    pub(crate) key: char,
    /// Whether the first press sorts the greatest first.
    pub(crate) descending: bool,
}

/// A parsed filter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    negated: bool,
    field: Option<&'static str>,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Contains(String),
    Compare(Comparison, f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
}

pub(crate) const fn field(name: &'static str, key: char, descending: bool) -> Field {
    Field { name, key, descending }
}

impl Filter {
    /// Reads what was typed, for rows of one kind.
    pub(crate) fn parse<R: Row>(text: &str) -> Self {
        Self {
            terms: text
                .split_whitespace()
                .filter_map(|word| Term::parse(word, R::FIELDS))
                .collect(),
        }
    }

    pub(crate) fn admits<R: Row>(&self, row: &R) -> bool {
        self.terms.iter().all(|term| term.holds(row) != term.negated)
    }
}

impl Term {
    fn parse(word: &str, fields: &[Field]) -> Option<Self> {
        let (negated, word) = match word.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        if word.is_empty() {
            return None;
        }
        let known = word.split_once(':').and_then(|(name, value)| {
            let name = name.to_lowercase();
            let field = fields.iter().find(|field| field.name == name)?;
            (!value.is_empty()).then_some((field.name, value))
        });
        let (field, test) = match known {
            Some((field, value)) => (Some(field), Test::parse(value)),
            None => (None, Test::Contains(word.to_lowercase())),
        };
        Some(Self { negated, field, test })
    }

    fn holds<R: Row>(&self, row: &R) -> bool {
        match self.field {
            Some(name) => self.test.holds(&row.field(name)),
            None => R::FIELDS.iter().any(|field| match row.field(field.name) {
                text @ (Value::Text(_) | Value::Word(_)) => self.test.holds(&text),
                Value::Number(_) => false,
            }),
        }
    }
}

impl Test {
    fn parse(value: &str) -> Self {
        const SIGNS: [(&str, Comparison); 5] = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Above),
            ("<", Comparison::Below),
            ("=", Comparison::Equal),
        ];
        for (sign, comparison) in SIGNS {
            if let Some(number) = value.strip_prefix(sign).and_then(number) {
                return Self::Compare(comparison, number);
            }
        }
        Self::Contains(value.to_lowercase())
    }

    fn holds(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Contains(part), Value::Text(text)) => text.to_lowercase().contains(part),
            (Self::Contains(part), Value::Word(word)) => word.to_lowercase().starts_with(part),
            (Self::Contains(part), Value::Number(is)) => {
                number(part).is_some_and(|asked| (asked - is).abs() < f64::EPSILON)
            }
            (Self::Compare(comparison, than), Value::Number(is)) => match comparison {
                Comparison::Above => is > than,
                Comparison::AtLeast => is >= than,
                Comparison::Below => is < than,
                Comparison::AtMost => is <= than,
                Comparison::Equal => (is - than).abs() < f64::EPSILON,
            },
            (Self::Compare(..), Value::Text(_) | Value::Word(_)) => false,
        }
    }
}

/// `30`, `$2`, `40%`, `1.5s` (milliseconds), `12k`, `3M`.
fn number(text: &str) -> Option<f64> {
    let text = text.trim_start_matches('$').trim_end_matches('%');
    let (digits, scale) = [("ms", 1.0), ("s", 1e3), ("k", 1e3), ("M", 1e6), ("m", 1e6), ("G", 1e9)]
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .unwrap_or((text, 1.0));
    digits.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Card(&'static str, &'static str, f64);

    impl Row for Card {
        const FIELDS: &'static [Field] =
            &[field("name", 'n', false), field("state", 's', false), field("util", 'u', true)];

        fn id(&self) -> &str {
            self.0
        }

        fn field(&self, name: &str) -> Value<'_> {
            match name {
                "name" => Value::Text(self.0.into()),
                "state" => Value::Text(self.1.into()),
                _ => Value::Number(self.2),
            }
        }
    }

    fn admits(filter: &str) -> Vec<&'static str> {
        let cards = [
            Card("vllm-a", "ok", 97.0),
            Card("sgl-b", "DOWN", 0.0),
            Card("vllm-c", "DOWN", 1500.0),
        ];
        let filter = Filter::parse::<Card>(filter);
        cards.iter().filter(|card| filter.admits(*card)).map(|card| card.0).collect()
    }

    #[test]
    fn words_fields_negation_and_comparison() {
        for (filter, names) in [
            ("", vec!["vllm-a", "sgl-b", "vllm-c"]),
            ("VLLM", vec!["vllm-a", "vllm-c"]),
            ("state:down", vec!["sgl-b", "vllm-c"]),
            ("state:down vllm", vec!["vllm-c"]),
            ("!vllm", vec!["sgl-b"]),
            ("!state:down", vec!["vllm-a"]),
            ("util:>90", vec!["vllm-a", "vllm-c"]),
            ("util:>=1.5s", vec!["vllm-c"]),
            ("util:<97", vec!["sgl-b"]),
            ("!util:>0", vec!["sgl-b"]),
            ("util:97", vec!["vllm-a"]),
            ("util:=0", vec!["sgl-b"]),
            ("name:>1", vec![]),
            ("nofield:x", vec![]),
            ("!", vec!["vllm-a", "sgl-b", "vllm-c"]),
            ("util:>abc", vec![]),
        ] {
            assert_eq!(admits(filter), names, "{filter}");
        }
    }

    proptest! {
        #[test]
        fn any_string_is_a_filter(text in any::<String>()) {
            admits(&text);
        }

        #[test]
        fn negation_is_the_complement(word in "[a-z:<>=0-9.!]{1,8}") {
            prop_assume!(!word.starts_with('!'));
            let (yes, no) = (admits(&word), admits(&format!("!{word}")));
            prop_assert_eq!(yes.len() + no.len(), 3);
        }
    }
}

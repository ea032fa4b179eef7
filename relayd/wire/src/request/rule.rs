//! What a field may hold, and the errors when it holds something else.
//!
//! The words (`missing`, `int_type`, ...) and sentences are those of the validation list in the
//! public contract, which is pydantic's. Values are never repeated in an error.

use relay_domain::{FieldError, Loc};

use crate::json::{Kind, Raw};

/// Most errors reported for one body. More would help nobody and a body of junk could make them
/// many.
const ERRORS_MAX: usize = 64;

/// Longest piece of a caller's own key that an error repeats, in characters.
const KEY_SHOWN_CHARS: usize = 64;

/// What a field may hold. `null` is checked before and means absent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rule {
    Any,
    Text,
    /// Text of at least one and at most this many characters.
    TextUpTo(usize),
    Bool,
    BoolOrText,
    Integer {
        min: i64,
        max: i64,
    },
    Number {
        min: i32,
        max: i32,
    },
    OneOf(&'static [&'static str]),
    Object,
    Objects,
    TextOrObject,
    /// The elements of the list are checked elsewhere.
    TextOrList,
    Texts,
    /// One text or a list of at most this many.
    TextOrTexts(usize),
}

/// Whether and how a field goes to the engine when the formats match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carry {
    /// As the slice it came in.
    Keep,
    /// Not: it is Relay's own, or Relay writes it.
    Ours,
}

/// One field of a request body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    pub(crate) key: &'static str,
    pub(crate) rule: Rule,
    pub(crate) required: bool,
    pub(crate) carry: Carry,
}

/// The errors found so far, bounded.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<FieldError>);

/// Where in the body a value stands: a chain of steps on the stack, so that a body without
/// errors costs no allocation for them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl Field {
    /// An optional field that goes to the engine.
    pub(crate) const fn kept(key: &'static str, rule: Rule) -> Self {
        Self { key, rule, required: false, carry: Carry::Keep }
    }

    /// An optional field that stays here.
    pub(crate) const fn ours(key: &'static str, rule: Rule) -> Self {
        Self { key, rule, required: false, carry: Carry::Ours }
    }

    /// The same field, required.
    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }
}

impl Errors {
    pub(crate) fn push(&mut self, path: &Path<'_>, kind: &'static str, msg: impl Into<String>) {
        if self.0.len() < ERRORS_MAX {
            self.0.push(FieldError { kind, loc: path.loc(), msg: msg.into() });
        }
    }

    /// An error about `body.<key>`.
    pub(crate) fn body(&mut self, key: &str, kind: &'static str, msg: impl Into<String>) {
        self.push(&Path::BODY.key(key), kind, msg);
    }

    /// `done` if nothing was found.
    pub(crate) fn or<T>(self, done: T) -> Result<T, Vec<FieldError>> {
        if self.0.is_empty() { Ok(done) } else { Err(self.0) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_list(self) -> Vec<FieldError> {
        self.0
    }
}

impl<'p> Path<'p> {
    /// The body itself.
    pub(crate) const BODY: &'static Path<'static> = &Path { parent: None, step: Step::Key("body") };

    pub(crate) const fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Key(key) }
    }

    pub(crate) const fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), step: Step::Index(index) }
    }

    fn loc(&self) -> Vec<Loc> {
        let mut loc = self.parent.map_or_else(Vec::new, Path::loc);
        loc.push(match self.step {
            Step::Key(key) => {
                Loc::Key(key.chars().take(KEY_SHOWN_CHARS).collect::<String>().into())
            }
            Step::Index(index) => Loc::Index(index),
        });
        loc
    }
}

impl Rule {
    /// Checks a value that is not `null`.
    pub(crate) fn check(self, value: Raw<'_>, path: &Path<'_>, errors: &mut Errors) {
        let kind = value.kind();
        match self {
            Self::Any => {}
            Self::Text => expect_text(value, path, errors),
            Self::TextUpTo(most) => text_up_to(value, most, path, errors),
            Self::Bool => {
                if kind != Kind::Bool {
                    errors.push(path, "bool_type", "Input should be a valid boolean");
                }
            }
            Self::BoolOrText => {
                if !matches!(kind, Kind::Bool | Kind::String) {
                    errors.push(path, "bool_type", "Input should be a valid boolean or string");
                }
            }
            Self::Integer { min, max } => integer(value, min, max, path, errors),
            Self::Number { min, max } => number(value, min, max, path, errors),
            Self::OneOf(words) => one_of(value, words, path, errors),
            Self::Object => {
                if kind != Kind::Object {
                    errors.push(path, "dict_type", "Input should be a valid dictionary");
                }
            }
            Self::Objects => objects(value, path, errors),
            Self::TextOrObject => {
                if kind != Kind::Object {
                    expect_text(value, path, errors);
                }
            }
            Self::TextOrList => {
                if kind != Kind::Array {
                    expect_text(value, path, errors);
                }
            }
            Self::Texts => texts(value, usize::MAX, path, errors),
            Self::TextOrTexts(most) => {
                if kind == Kind::Array {
                    texts(value, most, path, errors);
                } else {
                    expect_text(value, path, errors);
                }
            }
        }
    }
}

fn expect_text(value: Raw<'_>, path: &Path<'_>, errors: &mut Errors) {
    if value.kind() != Kind::String {
        errors.push(path, "string_type", "Input should be a valid string");
    }
}

fn text_up_to(value: Raw<'_>, most: usize, path: &Path<'_>, errors: &mut Errors) {
    match value.string() {
        None => errors.push(path, "string_type", "Input should be a valid string"),
        Some(text) if text.is_empty() => {
            errors.push(path, "string_too_short", "String should have at least 1 character");
        }
        Some(text) if text.chars().count() > most => {
            let msg = format!("String should have at most {most} characters");
            errors.push(path, "string_too_long", msg);
        }
        Some(_) => {}
    }
}

fn integer(value: Raw<'_>, min: i64, max: i64, path: &Path<'_>, errors: &mut Errors) {
    if value.kind() != Kind::Number {
        return errors.push(path, "int_type", "Input should be a valid integer");
    }
    if value.text().contains(['.', 'e', 'E']) {
        let msg = "Input should be a valid integer, got a number with a fractional part";
        return errors.push(path, "int_from_float", msg);
    }
    // A text of digits beyond 64 bits lies outside every range.
    let beyond = if value.text().starts_with('-') { i64::MIN } else { i64::MAX };
    let number = value.integer().unwrap_or(beyond);
    if number < min {
        let msg = format!("Input should be greater than or equal to {min}");
        errors.push(path, "greater_than_equal", msg);
    } else if number > max || value.integer().is_none() {
        let msg = format!("Input should be less than or equal to {max}");
        errors.push(path, "less_than_equal", msg);
    }
}

fn number(value: Raw<'_>, min: i32, max: i32, path: &Path<'_>, errors: &mut Errors) {
    let Some(number) = value.number() else {
        return errors.push(path, "float_type", "Input should be a valid number");
    };
    if number < f64::from(min) {
        let msg = format!("Input should be greater than or equal to {min}");
        errors.push(path, "greater_than_equal", msg);
    } else if number > f64::from(max) {
        let msg = format!("Input should be less than or equal to {max}");
        errors.push(path, "less_than_equal", msg);
    }
}

fn one_of(value: Raw<'_>, words: &[&str], path: &Path<'_>, errors: &mut Errors) {
    if value.string().is_some_and(|text| words.contains(&text.as_ref())) {
        return;
    }
    let mut msg = String::from("Input should be ");
    for (n, word) in words.iter().enumerate() {
        let join = match n {
            0 => "",
            _ if n + 1 == words.len() => " or ",
            _ => ", ",
        };
        msg.push_str(join);
        msg.push('\'');
        msg.push_str(word);
        msg.push('\'');
    }
    errors.push(path, "literal_error", msg);
}

fn objects(value: Raw<'_>, path: &Path<'_>, errors: &mut Errors) {
    if value.kind() != Kind::Array {
        return errors.push(path, "list_type", "Input should be a valid list");
    }
    for (index, element) in value.elements().enumerate() {
        if element.kind() != Kind::Object {
            errors.push(&path.index(index), "dict_type", "Input should be a valid dictionary");
        }
    }
}

fn texts(value: Raw<'_>, most: usize, path: &Path<'_>, errors: &mut Errors) {
    if value.kind() != Kind::Array {
        return errors.push(path, "list_type", "Input should be a valid list");
    }
    let mut count = 0;
    for (index, element) in value.elements().enumerate() {
        expect_text(element, &path.index(index), errors);
        count = index + 1;
    }
    if count > most {
        let msg = format!("List should have at most {most} items after validation, not {count}");
        errors.push(path, "too_long", msg);
    }
}

//! Reading text that the scanner has accepted.

use std::borrow::Cow;

use memchr::memchr2;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// One JSON value as its own text, without blanks around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw<'a>(&'a str);

/// One member of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    /// The key as it stands, with quotes and escapes.
    pub(crate) literal: &'a str,
    /// The value.
    pub(crate) value: Raw<'a>,
}

/// Iterates over the members of an object or the elements of an array.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Raw<'a> {
    /// Takes a value out of scanned text: `text` is that value and nothing else.
    pub(crate) const fn trusted(text: &'a str) -> Self {
        Self(text)
    }

    /// The value's text.
    pub(crate) const fn text(self) -> &'a str {
        self.0
    }

    pub(crate) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            _ => Kind::Null,
        }
    }

    pub(crate) fn is_null(self) -> bool {
        self.kind() == Kind::Null
    }

    pub(crate) fn bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The unescaped text of a string.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        (self.kind() == Kind::String).then(|| unescape(self.0))
    }

    /// The text of a string as it stands, with quotes and escapes.
    pub(crate) fn literal(self) -> Option<&'a str> {
        (self.kind() == Kind::String).then_some(self.0)
    }

    /// An integer written without fraction and exponent that fits 64 bits.
    pub(crate) fn integer(self) -> Option<i64> {
        self.0.parse().ok().filter(|_| self.kind() == Kind::Number)
    }

    pub(crate) fn number(self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok()).flatten()
    }

    /// The members of an object in order; nothing for any other value.
    pub(crate) fn members(self) -> impl Iterator<Item = Member<'a>> {
        let mut cursor = Cursor::new(self, Kind::Object);
        std::iter::from_fn(move || cursor.member())
    }

    /// The elements of an array in order; nothing for any other value.
    pub(crate) fn elements(self) -> impl Iterator<Item = Raw<'a>> {
        let mut cursor = Cursor::new(self, Kind::Array);
        std::iter::from_fn(move || cursor.element())
    }

    /// The last member with that key, which is the one parsers keep. `null` counts as absent.
    pub(crate) fn get(self, key: &str) -> Option<Raw<'a>> {
        let mut found = None;
        for member in self.members() {
            if member.is(key) {
                found = Some(member.value);
            }
        }
        found.filter(|value| !value.is_null())
    }
}

impl<'a> Member<'a> {
    /// The unescaped key.
    pub(crate) fn key(&self) -> Cow<'a, str> {
        unescape(self.literal)
    }

    /// Whether the unescaped key is `key`.
    pub(crate) fn is(&self, key: &str) -> bool {
        match inner(self.literal) {
            plain if plain == key => true,
            plain if plain.contains('\\') => unescape(self.literal) == key,
            _ => false,
        }
    }
}

impl<'a> Cursor<'a> {
    fn new(raw: Raw<'a>, kind: Kind) -> Self {
        Self { text: if raw.kind() == kind { raw.0 } else { "" }, at: 1 }
    }

    /// Moves to the next key or element; `false` at the end.
    fn next(&mut self) -> bool {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => self.at += 1,
                b']' | b'}' => return false,
                _ => return true,
            }
        }
        false
    }

    fn take(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at = skip(self.text.as_bytes(), start);
        self.text.get(start..self.at).filter(|taken| !taken.is_empty())
    }

    fn member(&mut self) -> Option<Member<'a>> {
        if !self.next() {
            return None;
        }
        let literal = self.take()?;
        if !self.next() {
            return None;
        }
        Some(Member { literal, value: Raw(self.take()?) })
    }

    fn element(&mut self) -> Option<Raw<'a>> {
        if self.next() { self.take().map(Raw) } else { None }
    }
}

/// The key or text between the quotes of a literal.
fn inner(literal: &str) -> &str {
    literal.get(1..literal.len().saturating_sub(1)).unwrap_or_default()
}

/// Where the value that starts at `at` ends.
fn skip(text: &[u8], mut at: usize) -> usize {
    match text.get(at) {
        Some(b'"') => skip_string(text, at),
        Some(b'{' | b'[') => {
            let mut depth = 0_usize;
            while let Some(byte) = text.get(at) {
                match byte {
                    b'"' => {
                        at = skip_string(text, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    break;
                }
            }
            at
        }
        _ => {
            let rest = text.get(at..).unwrap_or_default();
            let ends =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            at + rest.iter().position(ends).unwrap_or(rest.len())
        }
    }
}

fn skip_string(text: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(step) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += step;
        if text.get(at) == Some(&b'"') {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

/// The text that a string literal (with its quotes) stands for.
pub(crate) fn unescape(literal: &str) -> Cow<'_, str> {
    let plain = inner(literal);
    if plain.contains('\\') {
        Cow::Owned(serde_json::from_str(literal).unwrap_or_default())
    } else {
        Cow::Borrowed(plain)
    }
}

/// How many bytes of UTF-8 a string literal (with its quotes) stands for.
pub(crate) fn literal_len(literal: &str) -> u64 {
    let text = inner(literal).as_bytes();
    let (mut at, mut bytes) = (0, text.len());
    while let Some(step) = text.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += step;
        let (written, meant) = match text.get(at + 1) {
            Some(b'u') => match text.get(at + 2..at + 4) {
                Some([b'd' | b'D', b'8'..=b'9' | b'a'..=b'b' | b'A'..=b'B']) => (12, 4),
                Some([b'0', b'0'..=b'7']) => (6, if is_ascii_unit(text, at) { 1 } else { 2 }),
                _ => (6, 3),
            },
            _ => (2, 1),
        };
        bytes -= written.min(bytes) - meant;
        at += written;
    }
    bytes as u64
}

/// Whether the `\u00XX` at `at` stands for one byte of UTF-8. Called for `\u00..` to `\u07..`.
fn is_ascii_unit(text: &[u8], at: usize) -> bool {
    matches!(text.get(at + 3..at + 5), Some([b'0', b'0'..=b'7']))
}

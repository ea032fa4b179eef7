//! The strict scanner: one pass, no values, positions of the top level's members.

/// How many arrays and objects may be nested in one another. The parsers behind us refuse more,
/// and so does `serde_json`, whose limit of 128 counts the first level it refuses.
const DEPTH_MAX: u8 = 127;

/// Digits and signs after which a number may leave the range of 64-bit floats without having an
/// exponent.
const LONG_NUMBER_BYTES: usize = 300;

/// Why a text is not a JSON document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// Byte offset of the first byte that cannot stand there.
    pub(crate) at: usize,
    /// What is wrong, for people.
    pub(crate) what: &'static str,
}

/// One member of the top-level object, as byte offsets into the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The opening quote of the key.
    pub(crate) key: usize,
    /// One past the closing quote of the key.
    pub(crate) key_end: usize,
    /// The first byte of the value.
    pub(crate) value: usize,
    /// One past the last byte of the value.
    pub(crate) end: usize,
}

/// Checks a whole document and notes the members of its top-level object, in order, into `spans`
/// (emptied first). Answers whether the top level is an object.
///
/// # Errors
/// The first flaw: broken UTF-8, anything outside the grammar, a lone surrogate, a number beyond
/// the range of floats, more than 127 levels, or bytes after the end.
pub(crate) fn document<'a>(text: &'a [u8], spans: &mut Vec<Span>) -> Result<(&'a str, bool), Flaw> {
    spans.clear();
    let whole = std::str::from_utf8(text)
        .map_err(|error| Flaw { at: error.valid_up_to(), what: "invalid UTF-8" })?;
    let mut scanner = Scanner { text, at: 0 };
    scanner.blank();
    let is_object = scanner.peek() == Some(b'{');
    if is_object {
        scanner.object(DEPTH_MAX, Some(spans))?;
    } else {
        scanner.value(DEPTH_MAX)?;
    }
    scanner.blank();
    if scanner.at == text.len() {
        Ok((whole, is_object))
    } else {
        Err(scanner.flaw("unexpected text after the document"))
    }
}

/// A position in the text. Every method leaves it after what it accepted.
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn flaw(&self, what: &'static str) -> Flaw {
        Flaw { at: self.at, what }
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self, depth: u8) -> Result<(), Flaw> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.object(depth, None),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(_) => Err(self.flaw("expected a value")),
            None => Err(self.flaw("the document ends too early")),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Flaw> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.flaw("expected a value"))
        }
    }

    fn object(&mut self, depth: u8, mut spans: Option<&mut Vec<Span>>) -> Result<(), Flaw> {
        let depth = self.descend(depth)?;
        self.at += 1;
        self.blank();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.flaw("expected a key in double quotes"));
            }
            let key = self.at;
            self.string()?;
            let key_end = self.at;
            self.blank();
            if self.peek() != Some(b':') {
                return Err(self.flaw("expected ':'"));
            }
            self.at += 1;
            self.blank();
            let value = self.at;
            self.value(depth)?;
            if let Some(spans) = spans.as_deref_mut() {
                spans.push(Span { key, key_end, value, end: self.at });
            }
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.flaw("expected ',' or '}'")),
            }
            self.blank();
        }
    }

    fn array(&mut self, depth: u8) -> Result<(), Flaw> {
        let depth = self.descend(depth)?;
        self.at += 1;
        self.blank();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth)?;
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.flaw("expected ',' or ']'")),
            }
            self.blank();
        }
    }

    fn descend(&self, depth: u8) -> Result<u8, Flaw> {
        depth.checked_sub(1).ok_or_else(|| self.flaw("nested deeper than 127 levels"))
    }

    fn digits(&mut self) -> Result<(), Flaw> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.flaw("expected a digit"));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Flaw> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.flaw("a number has no leading zero"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let has_exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if has_exponent {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        if has_exponent || self.at - start > LONG_NUMBER_BYTES {
            let text = self.text.get(start..self.at).unwrap_or_default();
            if serde_json::from_slice::<serde_json::Number>(text).is_err() {
                return Err(Flaw { at: start, what: "the number is out of range" });
            }
        }
        Ok(())
    }

    /// From the opening quote to after the closing one.
    fn string(&mut self) -> Result<(), Flaw> {
        self.at += 1;
        loop {
            self.plain();
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.flaw("a control character must be escaped")),
                Some(_) => self.at += 1,
                None => return Err(self.flaw("the document ends inside a string")),
            }
        }
    }

    /// Skips eight bytes at a time up to the next quote, backslash or control character, or to
    /// the last seven bytes of the text.
    fn plain(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const TOPS: u64 = ONES << 7;
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
        while let Some(eight) = self.text.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) {
            let word = u64::from_le_bytes(*eight);
            let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
            let stops = control
                | zero_byte(word ^ (ONES * u64::from(b'"')))
                | zero_byte(word ^ (ONES * u64::from(b'\\')));
            if stops != 0 {
                self.at += (stops.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
    }

    /// From the backslash to after the escape.
    fn escape(&mut self) -> Result<(), Flaw> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            _ => Err(self.flaw("unknown escape")),
        }
    }

    fn unicode_escape(&mut self) -> Result<(), Flaw> {
        match self.unit(self.at)? {
            0xDC00..=0xDFFF => Err(self.flaw("a surrogate without its pair")),
            0xD800..=0xDBFF => {
                let low = self.at + 6;
                let pairs = self.text.get(low..low + 2) == Some(b"\\u".as_slice())
                    && matches!(self.unit(low)?, 0xDC00..=0xDFFF);
                if !pairs {
                    return Err(self.flaw("a surrogate without its pair"));
                }
                self.at += 12;
                Ok(())
            }
            _ => {
                self.at += 6;
                Ok(())
            }
        }
    }

    /// The UTF-16 unit of the `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Result<u16, Flaw> {
        let hex = self.text.get(at + 2..at + 6).ok_or_else(|| self.flaw("an escape is cut off"))?;
        let mut unit = 0_u16;
        for &byte in hex {
            let digit = char::from(byte)
                .to_digit(16)
                .ok_or_else(|| self.flaw("expected four hexadecimal digits"))?;
            unit = (unit << 4) | digit as u16;
        }
        Ok(unit)
    }
}

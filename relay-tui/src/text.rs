//! Strings from outside, made safe to draw.
//!
//! Everything that the daemon says passes [`clean`] once, where the protocol's messages become the
//! console's own rows. After that no string of the model can move the cursor, change a colour,
//! reorder a line or fill the memory. This file knows nothing of terminals or of the protocol.

/// Longest text kept of one field, in characters: more than the widest page shows.
pub(crate) const TEXT_MAX_CHARS: usize = 400;
/// Longest document kept of one field (before and after of an audit entry), in characters.
pub(crate) const DOCUMENT_MAX_CHARS: usize = 8_000;

/// A text without control, bidirectional, invisible and private characters, at most
/// [`TEXT_MAX_CHARS`] long. Line breaks and tabs become spaces, the others a question mark.
pub(crate) fn clean(text: &str) -> String {
    bounded(text, TEXT_MAX_CHARS)
}

/// As [`clean`], for documents.
pub(crate) fn clean_document(text: &str) -> String {
    bounded(text, DOCUMENT_MAX_CHARS)
}

/// Whether a typed or pasted character may enter a field.
pub(crate) fn is_plain(c: char) -> bool {
    !is_unsafe(c)
}

fn bounded(text: &str, max: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(max));
    let mut marks = 0;
    for (count, c) in text.chars().enumerate() {
        if count == max {
            safe.push_str("...");
            break;
        }
        // One mark on a letter is language, a tower of them covers the rows above.
        marks = if is_mark(c) { marks + 1 } else { 0 };
        match c {
            '\n' | '\r' | '\t' => safe.push(' '),
            _ if marks > 1 => {}
            _ if is_unsafe(c) => safe.push('?'),
            _ => safe.push(c),
        }
    }
    safe
}

fn is_mark(c: char) -> bool {
    matches!(u32::from(c),
        0x0300..=0x036F | 0x0483..=0x0489 | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x20D0..=0x20FF
        | 0xFE20..=0xFE2F)
}

/// Control, format, line separator, private use, and what only looks empty.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(u32::from(c),
            0x00AD | 0x034F | 0x061C | 0x115F | 0x1160 | 0x17B4 | 0x17B5
            | 0x180B..=0x180F | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F
            | 0x3164 | 0xE000..=0xF8FF | 0xFE00..=0xFE0F | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFC
            | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0x10FFFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_bidi_and_invisible_characters_do_not_pass() {
        assert_eq!(clean("a\x1b[31mb\x07"), "a?[31mb?");
        assert_eq!(clean("\u{9b}2J\u{85}x"), "?2J?x");
        assert_eq!(clean("abc\u{202e}fed\u{2066}"), "abc?fed?");
        assert_eq!(clean("a\u{200b}b\u{feff}"), "a?b?");
        assert_eq!(clean("one\ntwo\tthree"), "one two three");
        assert_eq!(clean("Zürich 東京 é"), "Zürich 東京 é");
    }

    #[test]
    fn towers_of_marks_and_long_texts_are_cut() {
        assert_eq!(clean("a\u{301}\u{301}\u{301}b"), "a\u{301}b");
        let long = clean(&"x".repeat(10_000));
        assert_eq!(long.len(), TEXT_MAX_CHARS + 3);
        assert!(long.ends_with("..."));
    }

    proptest! {
        #[test]
        fn no_string_leaves_with_a_character_that_acts(text in any::<String>()) {
            let safe = clean(&text);
            prop_assert!(safe.chars().all(|c| !c.is_control() && is_plain(c)));
            prop_assert!(safe.chars().count() <= TEXT_MAX_CHARS + 3);
            prop_assert_eq!(clean(&safe).chars().count().min(TEXT_MAX_CHARS), safe.chars().count().min(TEXT_MAX_CHARS));
        }

        #[test]
        fn no_bytes_leave_with_an_escape(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let safe = clean(&String::from_utf8_lossy(&bytes));
            prop_assert!(!safe.bytes().any(|b| b < 0x20 || b == 0x7f));
        }
    }
}

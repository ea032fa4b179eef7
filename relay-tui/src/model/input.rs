//! A line that is being typed.

use crate::keymap::{Code, Press};
use crate::text::is_plain;

/// Longest typed or pasted line, in characters; the daemon's longest field is a reason of 500.
const INPUT_MAX_CHARS: usize = 500;

/// One line of text with a cursor. Holds only characters that are safe to draw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Input {
    text: String,
    /// In characters, at most the length.
    cursor: usize,
}

impl Input {
    pub(crate) fn with(text: &str) -> Self {
        let mut input = Self::default();
        input.paste(text);
        input
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn cursor(&self) -> usize {
        self.cursor
    }

    /// Puts text in at the cursor; what may not be drawn and what is too much is left out.
    pub(crate) fn paste(&mut self, text: &str) {
        let room = INPUT_MAX_CHARS.saturating_sub(self.text.chars().count());
        let plain: String = text.chars().filter(|c| is_plain(*c)).take(room).collect();
        let at = self.byte(self.cursor);
        self.text.insert_str(at, &plain);
        self.cursor += plain.chars().count();
    }

    /// Takes an editing key; `false` when it is none.
    pub(crate) fn press(&mut self, press: Press) -> bool {
        match press {
            Press { code: Code::Char('u'), ctrl: true } => *self = Self::default(),
            Press { code: Code::Char('w'), ctrl: true } => self.drop_word(),
            Press { code: Code::Char('a'), ctrl: true } | Press { code: Code::Home, .. } => {
                self.cursor = 0;
            }
            Press { code: Code::Char('e'), ctrl: true } | Press { code: Code::End, .. } => {
                self.cursor = self.text.chars().count();
            }
            Press { code: Code::Char(c), ctrl: false } => self.paste(c.encode_utf8(&mut [0; 4])),
            Press { code: Code::Backspace, .. } => {
                if self.cursor > 0 {
                    self.cursor -= 1;
                    self.text.remove(self.byte(self.cursor));
                }
            }
            Press { code: Code::Delete, .. } => {
                if self.cursor < self.text.chars().count() {
                    self.text.remove(self.byte(self.cursor));
                }
            }
            Press { code: Code::Left, .. } => self.cursor = self.cursor.saturating_sub(1),
            Press { code: Code::Right, .. } => {
                self.cursor = (self.cursor + 1).min(self.text.chars().count());
            }
            Press { .. } => return false,
        }
        true
    }

    fn drop_word(&mut self) {
        let end = self.byte(self.cursor);
        let head = self.text[..end].trim_end();
        let space = head.char_indices().rev().find(|(_, c)| c.is_whitespace());
        let start = space.map_or(0, |(at, c)| at + c.len_utf8());
        self.cursor = self.text[..start].chars().count();
        self.text.replace_range(start..end, "");
    }

    fn byte(&self, chars: usize) -> usize {
        self.text.char_indices().nth(chars).map_or(self.text.len(), |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_edits_by_characters() {
        let mut input = Input::with("zürich");
        input.press(Press::plain(Code::Left));
        input.press(Press::plain(Code::Backspace));
        assert_eq!((input.text(), input.cursor()), ("zürih", 4));
        input.press(Press::plain(Code::Home));
        input.press(Press::plain(Code::Delete));
        assert_eq!(input.text(), "ürih");
        input.paste("two words\x1b[2J");
        input.press(Press::ctrl('w'));
        assert_eq!(input.text(), "two ürih");
        let mut wide = Input::with("a\u{a0}b");
        wide.press(Press::ctrl('w'));
        assert_eq!(wide.text(), "a\u{a0}");
        assert!(!input.press(Press::plain(Code::Enter)));
    }

    #[test]
    fn a_huge_paste_is_cut() {
        let input = Input::with(&"x".repeat(1_000_000));
        assert_eq!(input.text().len(), INPUT_MAX_CHARS);
    }

    proptest! {
        #[test]
        fn the_cursor_stays_inside(steps in proptest::collection::vec((0..9_u8, any::<char>()), 0..80)) {
            let mut input = Input::default();
            for (step, c) in steps {
                let press = match step {
                    0 => Press::plain(Code::Left),
                    1 => Press::plain(Code::Right),
                    2 => Press::plain(Code::Backspace),
                    3 => Press::plain(Code::Delete),
                    4 => Press::ctrl('w'),
                    5 => Press::plain(Code::Home),
                    6 => Press::plain(Code::End),
                    _ => Press::plain(Code::Char(c)),
                };
                input.press(press);
                prop_assert!(input.cursor() <= input.text().chars().count());
            }
        }
    }
}

//! Pages to bytes: only what changed, and all of a frame at once.

use std::io;

use crossterm::queue;
use crossterm::terminal::{BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::sgr::encode;
use crate::model::layout::Size;

/// Knows what the terminal shows.
#[derive(Debug)]
pub(crate) struct Painter {
    shown: Buffer,
    cursor: Option<Position>,
    /// What the terminal shows is not known: draw every cell.
    anew: bool,
}

impl Painter {
    pub(crate) fn new() -> Self {
        Self { shown: Buffer::empty(Rect::ZERO), cursor: None, anew: true }
    }

    /// The next frame draws every cell.
    pub(crate) fn forget(&mut self) {
        self.anew = true;
    }

    /// The bytes from what is shown to the page that `draw` makes; none when nothing changed.
    /// One synchronized block, the cursor inside, so that no half of a page is ever seen.
    pub(crate) fn frame(
        &mut self,
        size: Size,
        draw: impl FnOnce(&mut Buffer) -> Option<Position>,
    ) -> io::Result<Vec<u8>> {
        let area = Rect { x: 0, y: 0, width: size.width, height: size.height };
        if self.shown.area != area {
            self.anew = true;
        }
        let mut page = Buffer::empty(area);
        let cursor = draw(&mut page).filter(|position| area.contains(*position));
        let mut bytes = Vec::new();
        queue!(bytes, BeginSynchronizedUpdate)?;
        let opening = bytes.len();
        if self.anew {
            self.shown = Buffer::empty(area);
            queue!(bytes, crossterm::style::ResetColor, Clear(ClearType::All))?;
        }
        let before = bytes.len();
        encode(&mut bytes, &self.shown, &page)?;
        let moved = bytes.len() > before || self.anew;
        match cursor {
            Some(Position { x, y }) if moved || cursor != self.cursor => {
                queue!(bytes, crossterm::cursor::MoveTo(x, y))?;
            }
            _ => {}
        }
        match (self.cursor.is_some() && !self.anew, cursor.is_some()) {
            (false, true) => queue!(bytes, crossterm::cursor::Show)?,
            (true, false) => queue!(bytes, crossterm::cursor::Hide)?,
            _ if self.anew => queue!(bytes, crossterm::cursor::Hide)?,
            _ => {}
        }
        self.shown = page;
        self.cursor = cursor;
        self.anew = false;
        if bytes.len() == opening {
            return Ok(Vec::new());
        }
        queue!(bytes, EndSynchronizedUpdate)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    const SIZE: Size = Size { width: 20, height: 3 };

    fn paint(painter: &mut Painter, text: &str, cursor: Option<(u16, u16)>) -> String {
        let bytes = painter
            .frame(SIZE, |buffer| {
                buffer.set_string(0, 0, text, Style::new());
                cursor.map(Position::from)
            })
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_frame_is_one_synchronized_block_with_the_cursor_inside() {
        let mut painter = Painter::new();
        let first = paint(&mut painter, "hello", Some((4, 1)));
        assert!(first.starts_with("\x1b[?2026h") && first.ends_with("\x1b[?2026l"), "{first:?}");
        assert!(first.contains("\x1b[2J") && first.contains("hello"), "{first:?}");
        assert!(first.contains("\x1b[2;5H\x1b[?25h"), "{first:?}");
    }

    #[test]
    fn what_did_not_change_costs_nothing() {
        let mut painter = Painter::new();
        paint(&mut painter, "hello", None);
        assert_eq!(paint(&mut painter, "hello", None), "");
        let next = paint(&mut painter, "hallo", None);
        assert!(next.contains('a') && !next.contains("llo") && next.len() < 60, "{next:?}");
        painter.forget();
        assert!(paint(&mut painter, "hallo", None).contains("hallo"));
    }

    #[test]
    fn the_cursor_goes_where_nothing_wants_it() {
        let mut painter = Painter::new();
        paint(&mut painter, "x", Some((0, 0)));
        assert!(paint(&mut painter, "x", None).contains("\x1b[?25l"));
        assert!(paint(&mut painter, "x", Some((2, 2))).contains("\x1b[3;3H\x1b[?25h"));
        assert_eq!(paint(&mut painter, "x", Some((2, 2))), "");
    }
}

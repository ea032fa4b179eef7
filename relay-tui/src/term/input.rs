//! What the terminal says, as the console's own messages.

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use crate::keymap::{Code, Press};
use crate::model::layout::Size;
use crate::msg::Msg;

/// Rows of one step of the wheel.
const WHEEL_LINES: i32 = 3;

/// What an event of the terminal is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Msg(Msg),
    /// Sizes come in storms; the loop waits for the last.
    Size(Size),
    Nothing,
}

pub(crate) fn heard(event: Event) -> Heard {
    match event {
        Event::Key(key) => press(key).map_or(Heard::Nothing, |press| Heard::Msg(Msg::Press(press))),
        Event::Paste(text) => Heard::Msg(Msg::Paste(text)),
        Event::Resize(width, height) => Heard::Size(Size { width, height }),
        Event::Mouse(MouseEvent { kind, column, row, .. }) => match kind {
            MouseEventKind::Down(MouseButton::Left) => Heard::Msg(Msg::Click { x: column, y: row }),
            MouseEventKind::ScrollUp => Heard::Msg(Msg::Wheel(-WHEEL_LINES)),
            MouseEventKind::ScrollDown => Heard::Msg(Msg::Wheel(WHEEL_LINES)),
            _ => Heard::Nothing,
        },
        Event::FocusGained | Event::FocusLost => Heard::Nothing,
    }
}

fn press(key: KeyEvent) -> Option<Press> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    let code = match key.code {
        KeyCode::Char(c) if ctrl => Code::Char(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Code::Char(c),
        KeyCode::Enter => Code::Enter,
        KeyCode::Esc => Code::Esc,
        KeyCode::Tab if key.modifiers.contains(KeyModifiers::SHIFT) => Code::BackTab,
        KeyCode::Tab => Code::Tab,
        KeyCode::BackTab => Code::BackTab,
        KeyCode::Backspace => Code::Backspace,
        KeyCode::Delete => Code::Delete,
        KeyCode::Up => Code::Up,
        KeyCode::Down => Code::Down,
        KeyCode::Left => Code::Left,
        KeyCode::Right => Code::Right,
        KeyCode::PageUp => Code::PageUp,
        KeyCode::PageDown => Code::PageDown,
        KeyCode::Home => Code::Home,
        KeyCode::End => Code::End,
        _ => return None,
    };
    // Alt is nobody's: a terminal sends it for an Esc and a letter typed fast.
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    (!alt).then_some(Press { code, ctrl: ctrl && matches!(code, Code::Char(_)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Heard {
        heard(Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn keys_become_presses() {
        let pressed = |press| Heard::Msg(Msg::Press(press));
        assert_eq!(key(KeyCode::Char('j'), KeyModifiers::NONE), pressed(Press::char('j')));
        assert_eq!(key(KeyCode::Char('G'), KeyModifiers::SHIFT), pressed(Press::char('G')));
        assert_eq!(key(KeyCode::Char('C'), KeyModifiers::CONTROL), pressed(Press::ctrl('c')));
        assert_eq!(
            key(KeyCode::BackTab, KeyModifiers::SHIFT),
            pressed(Press::plain(Code::BackTab))
        );
        assert_eq!(key(KeyCode::Char('y'), KeyModifiers::ALT), Heard::Nothing);
        assert_eq!(key(KeyCode::F(1), KeyModifiers::NONE), Heard::Nothing);
    }

    #[test]
    fn a_released_key_is_none() {
        let mut event = KeyEvent::new(KeyCode::Char('y'), KeyModifiers::NONE);
        event.kind = KeyEventKind::Release;
        assert_eq!(heard(Event::Key(event)), Heard::Nothing);
    }
}

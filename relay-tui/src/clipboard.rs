//! Text for the operator's own clipboard, over whatever lies between (OSC 52).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest text that is copied, in bytes: with base64 it stays below the 100,000 bytes that
/// terminals take in one sequence.
pub(crate) const COPY_MAX_BYTES: usize = 60_000;

/// What stands between the console and the terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Between {
    #[default]
    Nothing,
    /// tmux passes on what is wrapped, where `allow-passthrough` is on, or takes it itself.
    Tmux,
}

/// The sequence that puts a text on the clipboard; `None` for a text that is too long.
pub(crate) fn sequence(text: &str, between: Between) -> Option<Vec<u8>> {
    if text.len() > COPY_MAX_BYTES {
        return None;
    }
    let osc = format!("\x1b]52;c;{}\x07", STANDARD.encode(text));
    Some(match between {
        Between::Nothing => osc.into_bytes(),
        // Both ways: the plain one for tmux's own `set-clipboard`, the wrapped one for the
        // terminal outside.
        Between::Tmux => {
            let wrapped = osc.replace('\x1b', "\x1b\x1b");
            format!("{osc}\x1bPtmux;{wrapped}\x1b\\").into_bytes()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_encoded_so_that_nothing_in_it_acts() {
        let bytes = sequence("a\x1b[2Jb", Between::Nothing).unwrap();
        assert_eq!(bytes, b"\x1b]52;c;YRtbMkpi\x07");
    }

    #[test]
    fn tmux_gets_it_wrapped_too() {
        let text = String::from_utf8(sequence("hi", Between::Tmux).unwrap()).unwrap();
        assert_eq!(text, "\x1b]52;c;aGk=\x07\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\");
    }

    #[test]
    fn what_is_too_long_is_not_copied_in_part() {
        assert!(sequence(&"x".repeat(COPY_MAX_BYTES), Between::Nothing).is_some());
        assert!(sequence(&"x".repeat(COPY_MAX_BYTES + 1), Between::Nothing).is_none());
    }
}

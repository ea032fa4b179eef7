//! The terminal: taking it, giving it back whatever happens, keys in, frames out.
//!
//! It is given back once: on a normal end, on an error, on a signal, on a panic.

mod input;
mod painter;
mod sgr;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture,
};
use crossterm::style::ResetColor;
use crossterm::terminal::{
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, queue};

pub(crate) use self::input::{Heard, heard};
pub(crate) use self::painter::Painter;
use crate::model::layout::Size;

/// The terminal is ours.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Holds the terminal; gives it back when dropped.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Without a buffer of its own: a frame is one write.
    out: File,
}

impl Terminal {
    /// Takes the terminal: raw keys, a page of its own, pastes as such, the mouse if wanted.
    ///
    /// # Errors
    /// Standard input or output is no terminal, or it cannot be set up.
    pub(crate) fn take(mouse: bool) -> io::Result<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return Err(io::Error::other(
                "this is no terminal; `relay-tui once overview` prints one page",
            ));
        }
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        restore_on_panic();
        TAKEN.store(true, Ordering::SeqCst);
        // From here on the drop gives everything back, also when the rest fails.
        let mut terminal = Self { out };
        enable_raw_mode()?;
        let mut bytes = Vec::new();
        queue!(bytes, EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
        if mouse {
            queue!(bytes, EnableMouseCapture)?;
        }
        terminal.write(&bytes)?;
        Ok(terminal)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.out.write_all(bytes) }
    }

    pub(crate) fn size() -> io::Result<Size> {
        crossterm::terminal::size().map(|(width, height)| Size { width, height })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, once. A terminal that is gone cannot be given back: errors are none.
fn restore() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut bytes = Vec::new();
    let _ = queue!(
        bytes,
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        ResetColor,
        LeaveAlternateScreen,
        cursor::Show
    );
    let mut out = io::stdout();
    let _ = out.write_all(&bytes);
    let _ = out.flush();
    let _ = disable_raw_mode();
}

/// A panic says what it says on the operator's own page, not on ours.
fn restore_on_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        before(panic);
    }));
}

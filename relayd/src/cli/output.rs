//! What a command prints: answers to standard output, problems to standard error.

use std::fmt;
use std::io::Write as _;

/// Prints one line of an answer. A reader that went away (`| head`) is not a failure.
pub fn line(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints a problem.
pub fn problem(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "relayd: {text}");
}

/// Says what goes on, to standard error, so that a script's output stays clean.
pub fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

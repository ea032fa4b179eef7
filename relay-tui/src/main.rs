//! The operator's console of Relay: a terminal program over the admin plane.

use std::process::ExitCode;

fn main() -> ExitCode {
    relay_tui::main()
}

//! `relayd`: see [`relayd::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    relayd::cli::main()
}

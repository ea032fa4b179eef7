//! The command line: each command is a page that builds what it needs and says what happened.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 78 a configuration that is refused (`EX_CONFIG`).

pub mod admin;
pub mod output;
pub mod pki;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// `relayd 0.1.0 (0123456789ab)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RELAY_COMMIT"), ")");
/// The commit that this program was built from, or `unknown`.
pub const COMMIT: &str = env!("RELAY_COMMIT");
/// A configuration that is refused.
const EXIT_CONFIG: u8 = 78;

/// One API for AI inference on GPUs that nobody has to own in one place.
#[derive(Debug, Parser)]
#[command(name = "relayd", version = VERSION, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration file and say the first mistake with its line.
    CheckConfig(CheckConfig),
    Admin(admin::AdminArgs),
    Pki(pki::PkiArgs),
}

#[derive(Debug, clap::Args)]
struct CheckConfig {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: std::path::PathBuf,
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::CheckConfig(arguments) => check_config(&arguments),
        Command::Admin(arguments) => admin::main(arguments),
        Command::Pki(arguments) => pki::main(arguments),
    }
}

fn check_config(arguments: &CheckConfig) -> ExitCode {
    match crate::config::load(&arguments.config, &environment()) {
        Ok(_) => {
            output::line(format_args!("{} is good", arguments.config.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::problem(format_args!("{error}"));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// The process's environment, as far as it is text.
pub(crate) fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

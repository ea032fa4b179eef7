//! The command line: each command is a page that builds what it needs and says what happened.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 78 a configuration that is refused (`EX_CONFIG`).

pub mod admin;
pub mod agent;
pub mod dev;
pub mod ledger;
pub mod output;
pub mod pki;
mod private;
pub mod serve;
pub mod tokens;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::Program;
use crate::config::{self, Config};

/// `relayd 0.1.0 (0123456789ab)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RELAY_COMMIT"), ")");
/// The commit that this program was built from, or `unknown`.
pub const COMMIT: &str = env!("RELAY_COMMIT");
/// What this program is.
const PROGRAM: Program = Program { version: env!("CARGO_PKG_VERSION"), commit: COMMIT };
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
    Dev(Box<dev::DevArgs>),
    Serve(serve::ConfigArgs),
    /// Check a configuration file and say the first mistake with its line.
    CheckConfig(serve::ConfigArgs),
    /// Bring the schema of the database up to this build, and end.
    Migrate(serve::ConfigArgs),
    /// The ledger: prove its invariants.
    Ledger(ledger::LedgerArgs),
    Admin(Box<admin::AdminArgs>),
    Agent(agent::AgentArgs),
    Pki(pki::PkiArgs),
    Tokens(tokens::TokensArgs),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    // Before anything else is read or set up: a guard must be small and do nothing by itself.
    if words.next().is_some_and(|word| word == "guard") {
        let command = words.skip_while(|word| word == "--");
        return crate::launch::guard_main(command, None);
    }
    match Cli::parse().command {
        Command::Dev(arguments) => dev::main(*arguments),
        Command::Serve(arguments) => serve::serve(&arguments),
        Command::CheckConfig(arguments) => check_config(&arguments),
        Command::Migrate(arguments) => serve::migrate(&arguments),
        Command::Ledger(arguments) => ledger::main(arguments),
        Command::Admin(arguments) => admin::main(*arguments),
        Command::Agent(arguments) => agent::main(arguments),
        Command::Pki(arguments) => pki::main(arguments),
        Command::Tokens(arguments) => tokens::main(&arguments),
    }
}

fn check_config(arguments: &serve::ConfigArgs) -> ExitCode {
    match configuration(&arguments.config) {
        Ok(_) => {
            output::line(format_args!("{} is good", arguments.config.display()));
            ExitCode::SUCCESS
        }
        Err(exit) => exit,
    }
}

/// Reads a configuration file.
///
/// # Errors
/// The exit code, after the mistake was printed.
fn configuration(file: &Path) -> Result<Config, ExitCode> {
    config::load(file, &environment()).map_err(|error| {
        output::problem(format_args!("{error}"));
        ExitCode::from(EXIT_CONFIG)
    })
}

/// The runtime of every command.
#[expect(
    clippy::expect_used,
    reason = "without threads and an event queue nothing can be done or said"
)]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime")
}

/// The process's environment, as far as it is text.
pub(crate) fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

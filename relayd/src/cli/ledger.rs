//! `relayd ledger audit`: proves the invariants of the ledger, beside a running daemon or without.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use super::{configuration, output, runtime};
use crate::config::Config;
use crate::store::{Store, audit};

/// The ledger's own commands.
#[derive(Debug, clap::Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Debug, Subcommand)]
enum LedgerCommand {
    /// Check every invariant of the ledger and print a table of breaches.
    ///
    /// Reads the database and writes nothing, so it works beside a running relayd. Exits with 1
    /// when an invariant is broken.
    #[command(after_help = "\
Examples:
  relayd ledger audit --data-dir .relay
  relayd ledger audit --config /etc/relay/relayd.toml")]
    Audit(Place),
}

/// Where the ledger is.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The data directory of `relayd dev`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration of `relayd serve`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn main(arguments: LedgerArgs) -> ExitCode {
    let LedgerCommand::Audit(place) = arguments.command;
    let config = match (&place.data_dir, &place.config) {
        (Some(dir), _) => super::dev::configuration(dir, None),
        (None, Some(file)) => configuration(file),
        (None, None) => Ok(Config::default()),
    };
    let config = match config {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match runtime().block_on(check(&config)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            output::problem(format_args!("{message}"));
            ExitCode::FAILURE
        }
    }
}

/// Whether the ledger is whole.
async fn check(config: &Config) -> Result<bool, String> {
    let options = crate::app::store_options(config).map_err(|error| error.to_string())?;
    let store = Store::open_read_only(&options).await.map_err(|error| error.to_string())?;
    let report = audit::verify(&store).await.map_err(|error| error.to_string());
    store.close().await;
    let report = report?;
    output::line(format_args!("{report}"));
    Ok(report.breaches.is_empty())
}

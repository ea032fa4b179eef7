//! `relayd admin`: the admin plane for scripts and for people without the console.
//!
//! A gRPC client like any other: it knows the protocol and nothing of relayd's rooms. It fills in
//! what a careful caller would (request ids, the version it just read), and says in one sentence
//! what went wrong and what to do next.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage.

mod args;
mod backends;
mod catalogue;
mod change;
mod context;
mod customers;
mod deployments;
mod format;
mod history;
mod hosts;
mod keys;
mod link;
mod models;
mod operators;
mod overview;
mod providers;
mod rollouts;
mod show;
mod time;
mod usage;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

pub use args::AdminArgs;

use args::Noun;
use link::Link;
use show::Show;

/// Why a command failed: a sentence for standard error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem(String);

impl Problem {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Runs the command and prints what it says.
#[must_use]
pub fn main(arguments: AdminArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            super::output::problem(format_args!("the runtime could not start: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let mut show = Show::stdout(arguments.options.json);
    match runtime.block_on(run(arguments, &mut show)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Problem(text)) => {
            super::output::problem(format_args!("{text}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: AdminArgs, show: &mut Show) -> Result<(), Problem> {
    let target = context::target(&arguments.options, &super::environment())?;
    let link = Link::open(&target)?;
    match arguments.noun {
        Noun::Overview { verb } => overview::run(&link, verb, show).await,
        Noun::Whoami => overview::whoami(&link, show).await,
        Noun::Operators { verb } => operators::run(&link, verb, show).await,
        Noun::Customers { verb } => customers::run(&link, verb, show).await,
        Noun::Keys { verb } => keys::run(&link, verb, show).await,
        Noun::Models { verb } => models::run(&link, verb, show).await,
        Noun::Tiers { verb } => models::tiers(&link, verb, show).await,
        Noun::Backends { verb } => backends::run(&link, verb, show).await,
        Noun::Providers { verb } => providers::run(&link, verb, show).await,
        Noun::Rollouts { verb } => rollouts::run(&link, verb, show).await,
        Noun::Hosts { verb } => hosts::run(&link, verb, show).await,
        Noun::Usage { verb } => usage::run(&link, verb, show).await,
        Noun::Requests { verb } => usage::requests(&link, verb, show).await,
        Noun::Events { verb } => history::events(&link, verb, show).await,
        Noun::Audit { verb } => history::audit(&link, verb, show).await,
        Noun::Apply(arguments) => catalogue::apply(&link, &arguments, show).await,
        Noun::Export => catalogue::export(&link, show).await,
    }
}

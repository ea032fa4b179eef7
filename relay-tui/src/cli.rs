//! The command line.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Choice, Contexts, Environment, Settings};
use crate::model::{Model, Screen};
use crate::persist::Memory;
use crate::run::Manner;
use crate::zone::Zone;
use crate::{once, run};

/// The operator's console of Relay.
///
/// The token is taken from RELAY_OPERATOR_TOKEN, else from the context. Contexts stand in
/// ~/.config/relay/contexts.toml, shared with `relayd admin`; settings in
/// ~/.config/relay/relay-tui.toml.
#[derive(Debug, Parser)]
#[command(name = "relay-tui", version, max_term_width = 100)]
struct Line {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct Options {
    /// A context of the contexts file ("default" where it has one)
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// The admin plane: host:port, http://host:port or https://host:port [default: 127.0.0.1:8701]
    #[arg(long, global = true, value_name = "ADDR")]
    addr: Option<String>,
    /// Another contexts file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Another settings file
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The authority of an https address, PEM
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The client's certificate, PEM
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    /// The client's key, PEM
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<PathBuf>,
    /// Change nothing; cannot be unlocked
    #[arg(long, global = true)]
    read_only: bool,
    /// For a slow line: data every other second
    #[arg(long, global = true)]
    slow: bool,
    /// default, light, cb-safe or mono (NO_COLOR means mono)
    #[arg(long, global = true, value_name = "THEME")]
    theme: Option<String>,
    /// unicode, braille or ascii
    #[arg(long, global = true, value_name = "SET")]
    glyphs: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print one page and leave
    Once {
        screen: Screen,
        /// The data as JSON
        #[arg(long)]
        json: bool,
    },
}

impl ValueEnum for Screen {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let page = self.page();
        Some(PossibleValue::new(page.word).help(page.question))
    }
}

/// Runs the program with the process's arguments and environment. 0 is a normal end, 1 a failure,
/// 2 a command line or a file that is not understood.
#[must_use]
pub fn main() -> ExitCode {
    let line = Line::parse();
    let environment: Environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match start(line, &environment) {
        Ok(code) => code,
        Err((code, sentence)) => {
            // Nobody is left to tell when this fails too.
            let _ = writeln!(io::stderr(), "relay-tui: {sentence}");
            ExitCode::from(code)
        }
    }
}

fn start(line: Line, environment: &Environment) -> Result<ExitCode, (u8, String)> {
    let usage = |error: crate::config::ConfigError| (2, error.to_string());
    let Line { options, command } = line;
    let settings = Settings::load(
        options.settings.as_deref(),
        options.theme.as_deref(),
        options.glyphs.as_deref(),
        environment,
    )
    .map_err(usage)?;
    let choice = Choice {
        context: options.context,
        addr: options.addr,
        contexts_file: options.config,
        ca: options.ca,
        client_cert: options.client_cert,
        client_key: options.client_key,
    };
    let contexts = Contexts::load(choice, environment).map_err(usage)?;
    let target = contexts.target(&contexts.first).map_err(usage)?;
    let mut model = Model::new(contexts.shown(&contexts.first), settings.keymap);
    model.theme = settings.theme;
    model.colours = settings.colours;
    model.local_zone = Zone::local(jiff::tz::TimeZone::system());
    if settings.local_time {
        model.zone = model.local_zone.clone();
    }
    model.glyphs = settings.glyphs;
    model.forced_read_only = options.read_only;
    let manner = Manner { mouse: settings.mouse, slow: options.slow };
    // One thread: the link and the loop take turns, and neither ever computes for long.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (1, error.to_string()))?;
    match command {
        None => runtime
            .block_on(run::run(model, contexts, Memory::of(environment), manner))
            .map_err(|error| (1, error.to_string()))?,
        Some(Command::Once { screen, json }) => {
            let page = runtime
                .block_on(once::page(model, &target, screen, json))
                .map_err(|sentence| (1, sentence))?;
            io::stdout().write_all(page.as_bytes()).map_err(|error| (1, error.to_string()))?;
        }
    }
    // A reader of the terminal may still wait for a key; it must not keep the program.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Line::command().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_noun() {
        for words in [
            ["relay-tui", "--addr", "x:1", "once", "keys", "--json"],
            ["relay-tui", "once", "keys", "--json", "--addr", "x:1"],
        ] {
            let line = Line::try_parse_from(words).unwrap();
            assert_eq!(line.options.addr.as_deref(), Some("x:1"));
            assert!(matches!(
                line.command,
                Some(Command::Once { screen: Screen::Keys, json: true })
            ));
        }
    }

    #[test]
    fn without_a_token_it_says_where_one_comes_from() {
        let line = Line::try_parse_from(["relay-tui", "once", "overview"]).unwrap();
        let (code, sentence) = start(line, &Environment::new()).unwrap_err();
        assert_eq!(code, 2);
        assert!(sentence.contains("RELAY_OPERATOR_TOKEN"), "{sentence}");
    }
}

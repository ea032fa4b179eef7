//! `relayd tokens`: counts a text as a model's tokenizer does, before the catalogue names it.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use super::output;
use crate::domain::TokenizerSource;
use crate::tokenizer::LocalTokenizer;

/// Longest text, in bytes: a million tokens and more.
const TEXT_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Count the tokens of standard input.
///
/// Prints what relayd would bill for the text under this tokenizer, special tokens that the text
/// spells included and none added: a way to try a `tokenizer` of the catalogue.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  relayd tokens gguf:/models/SmolLM2-135M-Instruct.Q4_1.gguf < prompt.txt
  relayd tokens json:/models/qwen2/tokenizer.json < prompt.txt")]
pub struct TokensArgs {
    /// gguf:PATH or json:PATH.
    tokenizer: TokenizerSource,
}

/// Runs the command.
pub(super) fn main(arguments: &TokensArgs) -> ExitCode {
    match count(&arguments.tokenizer) {
        Ok(count) => {
            output::line(format_args!("{count}"));
            ExitCode::SUCCESS
        }
        Err(message) => {
            output::problem(format_args!("{message}"));
            ExitCode::FAILURE
        }
    }
}

fn count(source: &TokenizerSource) -> Result<u64, String> {
    let tokenizer = match source {
        TokenizerSource::Gguf(path) => LocalTokenizer::gguf(Path::new(path.as_ref())),
        TokenizerSource::Json(path) => LocalTokenizer::json(Path::new(path.as_ref())),
        TokenizerSource::Engine(_) => {
            return Err("only files are counted by here: gguf:PATH or json:PATH".to_owned());
        }
    };
    let tokenizer = tokenizer.map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = std::io::stdin().lock().take(TEXT_MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    tokenizer.count(&text).map_err(|error| error.to_string())
}

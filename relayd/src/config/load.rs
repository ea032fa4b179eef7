//! From a file and the environment to a checked tree.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Value;

use super::Config;
use super::check::{self, Problem};

/// Prefix of environment variables that override a key: `RELAY__LISTENER__ADMIN__LISTEN`.
const ENV_PREFIX: &str = "RELAY__";

/// Why a configuration is refused. Names the file and the line, or the environment variable.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ConfigError {
    /// `relayd.toml:12`, `relayd.toml` or the name of a variable.
    pub place: String,
    /// What is wrong and what is expected.
    pub message: String,
}

/// Reads, overlays and checks a configuration file.
///
/// # Errors
/// The first problem found: unreadable file, syntax, unknown key, wrong type, or a breach of one
/// of the rules of [the module](super).
pub fn load(file: &Path, environment: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
        place: name.clone(),
        message: format!("cannot read the configuration: {error}"),
    })?;
    load_text(&name, &text, environment)
}

/// As [`load`], from text that was read already. `name` stands in errors.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    name: &str,
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Result<Config, ConfigError> {
    let located = |span: Option<Range<usize>>, message: String| ConfigError {
        place: match span {
            Some(span) => format!("{name}:{}", line_of(text, span.start)),
            None => name.to_owned(),
        },
        message,
    };
    // The file alone first, so that its mistakes are told with a line.
    let mut config: Config =
        toml::from_str(text).map_err(|error| located(error.span(), error.message().to_owned()))?;
    let overrides: Vec<(&String, &String)> =
        environment.iter().filter(|(key, _)| key.starts_with(ENV_PREFIX)).collect();
    if !overrides.is_empty() {
        let mut tree: toml::Table = toml::from_str(text)
            .map_err(|error| located(error.span(), error.message().to_owned()))?;
        for (variable, value) in overrides {
            let refuse = |message: String| ConfigError { place: variable.clone(), message };
            set(&mut tree, variable, value).map_err(refuse)?;
            config = tree
                .clone()
                .try_into()
                .map_err(|error: toml::de::Error| refuse(error.message().to_owned()))?;
        }
    }
    check::check(&config).map_err(|Problem { path, message }| {
        let document = toml_edit::Document::parse(text).ok();
        let span = document.and_then(|document| find(document.as_item(), &path));
        let key = path.join(".");
        located(span, if key.is_empty() { message } else { format!("{key}: {message}") })
    })?;
    Ok(config)
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The place of a key, or of the nearest key above it that the file has.
fn find(item: &toml_edit::Item, path: &[String]) -> Option<Range<usize>> {
    let here = item.span();
    let Some((key, rest)) = path.split_first() else { return here };
    let child = match key.parse::<usize>() {
        Ok(index) => item.as_array_of_tables().and_then(|tables| tables.get(index)).map(|table| {
            rest.split_first()
                .and_then(|(key, rest)| find(table.get(key)?, rest))
                .or_else(|| table.span())
        }),
        Err(_) => item.get(key).map(|child| find(child, rest)),
    };
    child.flatten().or(here)
}

/// Sets `RELAY__A__B=value` at `a.b`. A value is TOML where it reads as TOML, else a string.
fn set(tree: &mut toml::Table, variable: &str, value: &str) -> Result<(), String> {
    let path: Vec<String> =
        variable[ENV_PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    let Some((last, parents)) = path.split_last() else {
        return Err("names no key".into());
    };
    let mut table = tree;
    for parent in parents {
        let entry = table.entry(parent.clone()).or_insert_with(|| Value::Table(toml::Table::new()));
        table = match entry {
            Value::Table(inner) => inner,
            _ => return Err(format!("'{parent}' is not a section")),
        };
    }
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut parsed| parsed.remove("v"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    table.insert(last.clone(), parsed);
    Ok(())
}

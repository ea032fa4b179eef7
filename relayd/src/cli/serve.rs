//! `relayd serve` and `relayd migrate`: production.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{PROGRAM, configuration, output, runtime};
use crate::app::{App, FleetTls, Parts, store_options};
use crate::catalogue::Document;
use crate::config::Config;
use crate::domain::Role;
use crate::store::Store;
use crate::telemetry;

/// The first operator of a fresh database.
const FIRST_OPERATOR: &str = "admin";

/// Serve with a configuration file.
///
/// A fresh database gets the catalogue files that the configuration names, and a first operator
/// whose token is written to `operator-token` in the data directory, readable by the owner only.
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Serves.
pub(super) fn serve(arguments: &ConfigArgs) -> ExitCode {
    finish(&arguments.config, async |config| {
        let telemetry = telemetry::init(&config.telemetry).map_err(|error| error.to_string())?;
        let served = run(config, &telemetry).await;
        telemetry.shutdown();
        served
    })
}

/// Brings the schema of the database up to this build, and ends.
pub(super) fn migrate(arguments: &ConfigArgs) -> ExitCode {
    finish(&arguments.config, async |config| {
        let options = store_options(&config).map_err(|error| error.to_string())?;
        let store = Store::open(&options).await.map_err(|error| error.to_string())?;
        store.close().await;
        output::line(format_args!("the schema is that of relayd {}", super::VERSION));
        Ok(())
    })
}

fn finish(file: &Path, work: impl AsyncFnOnce(Config) -> Result<(), String>) -> ExitCode {
    let config = match configuration(file) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let made = super::private::folder(&config.data_dir.0);
    match made.and_then(|()| runtime().block_on(work(config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            output::problem(format_args!("{message}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config, telemetry: &telemetry::Telemetry) -> Result<(), String> {
    let files = config.catalogue.files.clone();
    let token = config.in_data_dir("operator-token");
    let fleet_tls = FleetTls::open(&config).map_err(|error| error.to_string())?;
    let app = App::build(config, PROGRAM, fleet_tls).await.map_err(|error| error.to_string())?;
    first_catalogue(app.parts(), &files).await?;
    first_operator(app.parts(), &token).await?;
    app.follow_catalogue().await.map_err(|error| error.to_string())?;
    app.run(telemetry, || {}).await.map_err(|error| error.to_string())
}

/// Applies the catalogue files to an empty database; later the database is the truth.
async fn first_catalogue(parts: &Parts, files: &[PathBuf]) -> Result<(), String> {
    let empty = parts.catalogue.is_empty().await.map_err(|error| error.to_string())?;
    if !empty || files.is_empty() {
        return Ok(());
    }
    let texts = read_documents(files)?;
    let documents: Vec<Document<'_>> =
        texts.iter().map(|(name, toml)| Document { name, toml }).collect();
    let applied =
        parts.catalogue.apply(&documents, None).await.map_err(|error| error.to_string())?;
    tracing::info!(changes = applied.differences.len(), "the catalogue was applied");
    Ok(())
}

/// Every TOML file that is named, or lies in a folder that is named.
fn read_documents(files: &[PathBuf]) -> Result<Vec<(String, String)>, String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut paths = Vec::new();
    for file in files {
        if !file.is_dir() {
            paths.push(file.clone());
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(file).map_err(|error| failed(file, error))? {
            let path = entry.map_err(|error| failed(file, error))?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                inside.push(path);
            }
        }
        inside.sort();
        paths.extend(inside);
    }
    paths
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
            Ok((path.display().to_string(), text))
        })
        .collect()
}

async fn first_operator(parts: &Parts, token_file: &Path) -> Result<(), String> {
    let operators = parts.store.operators().await.map_err(|error| error.to_string())?;
    if !operators.is_empty() {
        return Ok(());
    }
    let made = parts
        .identity
        .create_operator(FIRST_OPERATOR, Role::Admin, None)
        .await
        .map_err(|fault| fault.to_string())?;
    super::private::write(token_file, made.token.expose().as_bytes())
        .map_err(|error| format!("cannot write {}: {error}", token_file.display()))?;
    tracing::info!(file = %token_file.display(), operator = FIRST_OPERATOR, "the first operator's token was written");
    Ok(())
}

//! `relayd dev`: a complete Relay without any configuration.

mod arguments;
mod banner;
mod bootstrap;
mod engine;
mod ready;
mod secrets;

use std::path::Path;
use std::process::ExitCode;

pub use arguments::DevArgs;

use super::{EXIT_CONFIG, PROGRAM, environment, output, private, runtime};
use crate::app::{App, FleetTls};
use crate::catalogue::{Document, FoundEngine, dev_document};
use crate::config::{Config, ConfigError, load_text};
use crate::telemetry::{self, Telemetry};
use ready::Ready;

/// The configuration that `relayd dev` begins from; the environment may override it.
const CONFIGURATION: &str = r#"
name = "dev"
[drain]
deadline = "1500ms"
[telemetry]
log_filter = "warn,relayd=info"
"#;

/// Runs the command.
pub(super) fn main(arguments: DevArgs) -> ExitCode {
    let config = match configuration(&arguments.data_dir, Some(&arguments)) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match runtime().block_on(run(arguments, config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            output::problem(format_args!("{message}"));
            ExitCode::FAILURE
        }
    }
}

/// What `relayd dev` runs with in a data directory.
///
/// # Errors
/// The exit code, after the problem was printed.
pub(super) fn configuration(
    data_dir: &Path,
    arguments: Option<&DevArgs>,
) -> Result<Config, ExitCode> {
    let refused = |error: ConfigError| {
        output::problem(format_args!("{error}"));
        ExitCode::from(EXIT_CONFIG)
    };
    let mut config = load_text("relayd dev", CONFIGURATION, &environment()).map_err(refused)?;
    config.data_dir.0 = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_path_buf());
    if let Some(arguments) = arguments {
        for public in &mut config.listener.public {
            public.listen = arguments.public_listen;
        }
        config.listener.admin.listen = arguments.admin_listen;
        config.listener.fleet.listen = arguments.fleet_listen;
        config.listener.ops.listen = arguments.ops_listen;
    }
    Ok(config)
}

async fn run(arguments: DevArgs, config: Config) -> Result<(), String> {
    let choices = arguments.engines()?;
    let data_dir = config.data_dir.0.clone();
    private::folder(&data_dir)?;
    for file in config.pepper_files() {
        secrets::ensure_pepper(&file)
            .map_err(|error| format!("cannot make {}: {error}", file.display()))?;
    }
    let telemetry = telemetry::init(&config.telemetry).map_err(|error| error.to_string())?;
    let engines = engine::engines(choices, &arguments.engines_dir).await?;
    let served = serve(&arguments, config, &engines.found, &telemetry).await;
    if let Some(child) = engines.child {
        child.stop().await;
    }
    telemetry.shutdown();
    served
}

async fn serve(
    arguments: &DevArgs,
    config: Config,
    engines: &[FoundEngine],
    telemetry: &Telemetry,
) -> Result<(), String> {
    let data_dir = config.data_dir.0.clone();
    let fleet_tls = FleetTls::open(&config).map_err(|error| error.to_string())?;
    let fleet_ca = fleet_tls.ca_pem.clone();
    let app = App::build(config, PROGRAM, fleet_tls).await.map_err(|error| error.to_string())?;
    let toml = dev_document(engines).map_err(|error| error.to_string())?;
    let document = Document { name: "relayd dev", toml: &toml };
    app.parts().catalogue.apply(&[document], None).await.map_err(|error| error.to_string())?;
    app.follow_catalogue().await.map_err(|error| error.to_string())?;
    let (secrets, fresh) =
        bootstrap::bootstrap(app.parts(), &data_dir).await.map_err(|error| error.to_string())?;
    let addresses = app.addresses();
    let public = addresses.public.first().copied().unwrap_or(arguments.public_listen);
    let ready = Ready {
        public_url: format!("http://{public}"),
        admin_addr: addresses.admin,
        fleet_addr: addresses.fleet,
        ops_url: format!("http://{}", addresses.ops),
        api_key: secrets.api_key,
        operator_token: secrets.operator_token,
        models: model_names(engines),
        engine_url: engines.first().map(|engine| engine.url.clone()).unwrap_or_default(),
        fleet_ca,
        join_token: secrets.join_token,
        data_dir: data_dir.clone(),
        pid: std::process::id(),
    };
    let context = banner::write_context(&ready)
        .map_err(|error| format!("cannot write into {}: {error}", data_dir.display()))?;
    let ready_file = arguments.ready_file.clone();
    let up = move || {
        banner::print(&ready, fresh, &context);
        if let Some(file) = ready_file
            && let Err(error) = ready.write(&file)
        {
            output::problem(format_args!("cannot write {}: {error}", file.display()));
        }
    };
    app.run(telemetry, up).await.map_err(|error| error.to_string())
}

/// Every model once, in the order in which the engines list them.
fn model_names(engines: &[FoundEngine]) -> Vec<String> {
    let mut names = Vec::new();
    for model in engines.iter().flat_map(|engine| &engine.models) {
        let name = model.name.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

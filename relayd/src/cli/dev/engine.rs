//! Which engine `relayd dev` serves with: found, named or fetched.

use std::path::Path;
use std::time::Duration;

use super::arguments::EngineChoice;
use crate::catalogue::{FoundEngine, FoundModel};
use crate::cli::output;
use crate::domain::{BackendId, ModelName};
use crate::engines::{DetectError, Detected, detect, detect_usual, size};
use crate::launch::{Child, Guard, LlamaOptions, fetch, free_port, llama};

/// What the fetched engine lists its model under.
const FETCHED_MODEL: &str = "SmolLM2-135M-Instruct";
/// Requests that the fetched engine runs at once. More would share two cores among more.
const FETCHED_SLOTS: u32 = 4;
/// Context of each of them: as much as the model was trained for.
const FETCHED_CONTEXT: u32 = 2048;
/// Requests that an engine found or named runs at once, unless it says otherwise.
const FOUND_SLOTS: u32 = 16;
/// Context of a model whose engine does not tell.
const UNKNOWN_CONTEXT: u64 = 4096;
/// Time for the fetched engine to load its model: seconds, on a busy machine a minute.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Time for a named engine to finish loading.
const LOADING_TIMEOUT: Duration = Duration::from_secs(120);
/// Time that the fetched engine has to end when it is told to.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// The engines, and the one that must be stopped with relayd.
pub(super) struct Engines {
    pub(super) found: Vec<FoundEngine>,
    pub(super) child: Option<Child>,
}

/// Finds, asks or fetches what the arguments say.
///
/// # Errors
/// A sentence that says what to do.
pub(super) async fn engines(
    choices: Vec<EngineChoice>,
    engines_dir: &Path,
) -> Result<Engines, String> {
    match choices.as_slice() {
        [EngineChoice::Auto] => match detect_usual().await {
            Some(engine) => {
                output::note(format_args!("found {} at {}", engine.kind.as_str(), engine.url));
                named(vec![engine]).await
            }
            None => {
                output::note(format_args!(
                    "no engine answers on its usual port (Ollama 11434, vLLM 8000, llama.cpp 8080): using one of our own"
                ));
                fetched(engines_dir).await
            }
        },
        [EngineChoice::Fetch] => fetched(engines_dir).await,
        choices => {
            let mut engines = Vec::new();
            for choice in choices {
                if let EngineChoice::At(url) = choice {
                    engines.push(wait_for(url.as_str().trim_end_matches('/')).await?);
                }
            }
            named(engines).await
        }
    }
}

/// Asks an engine until it has loaded its model.
async fn wait_for(url: &str) -> Result<Detected, String> {
    let asked = async {
        loop {
            match detect(url).await {
                Err(DetectError::Engine { error, .. }) if error.busy_for.is_some() => {
                    tokio::time::sleep(Duration::from_millis(250)).await;
                }
                other => return other,
            }
        }
    };
    let found = tokio::time::timeout(LOADING_TIMEOUT, asked)
        .await
        .map_err(|_| {
            format!("the engine at {url} still loads its model; try again when it serves")
        })?
        .map_err(|error| format!("no engine can be used: {error}"))?;
    if found.models.is_empty() {
        return Err(format!("the engine at {url} lists no model; load one and try again"));
    }
    Ok(found)
}

async fn named(engines: Vec<Detected>) -> Result<Engines, String> {
    let mut found = Vec::new();
    for (n, engine) in engines.into_iter().enumerate() {
        let name = match n {
            0 => engine.kind.as_str().to_owned(),
            n => format!("{}-{}", engine.kind.as_str(), n + 1),
        };
        let told = size(&engine).await;
        let context = told.context_tokens.unwrap_or(UNKNOWN_CONTEXT);
        found.push(describe(&name, engine, told.slots.unwrap_or(FOUND_SLOTS), context)?);
    }
    Ok(Engines { found, child: None })
}

async fn fetched(dir: &Path) -> Result<Engines, String> {
    let guard =
        Guard::own().map_err(|error| format!("cannot find the running program: {error}"))?;
    let installed = fetch(dir, &guard, |line| output::note(format_args!("engine: {line}")))
        .await
        .map_err(|error| error.to_string())?;
    let port = free_port().map_err(|error| format!("no port is free for the engine: {error}"))?;
    let options = LlamaOptions {
        alias: FETCHED_MODEL.to_owned(),
        port,
        model: None,
        context_tokens: FETCHED_CONTEXT * FETCHED_SLOTS,
        slots: FETCHED_SLOTS,
    };
    let spec = llama(&installed, &options)
        .map_err(|error| format!("cannot write the engine's launcher: {error}"))?;
    output::note(format_args!("engine: loading {FETCHED_MODEL}"));
    let child = Child::start(spec, guard, STOP_GRACE);
    if let Err(error) = child.ready(READY_TIMEOUT).await {
        let lines = child.last_lines().join("\n  ");
        child.stop().await;
        return Err(format!("the engine did not start: {error}\n  {lines}"));
    }
    let url = format!("http://127.0.0.1:{port}");
    let engine = wait_for(&url).await?;
    let found = vec![describe("llamacpp", engine, FETCHED_SLOTS, u64::from(FETCHED_CONTEXT))?];
    Ok(Engines { found, child: Some(child) })
}

fn describe(
    name: &str,
    engine: Detected,
    max_concurrency: u32,
    context_tokens: u64,
) -> Result<FoundEngine, String> {
    let models: Vec<FoundModel> = engine
        .models
        .iter()
        .filter_map(|upstream| {
            // A name that cannot stand in a path or a label is not offered.
            let name = ModelName::new(upstream).ok()?;
            Some(FoundModel { name, upstream: upstream.clone(), context_tokens })
        })
        .collect();
    if models.is_empty() {
        return Err(format!("the engine at {} lists no model with a usable name", engine.url));
    }
    let name: BackendId = name.parse().map_err(|error| format!("{error}"))?;
    Ok(FoundEngine {
        name,
        url: engine.url,
        dialect: engine.dialect,
        kind: engine.kind,
        max_concurrency,
        models,
    })
}

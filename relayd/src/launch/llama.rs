//! How to run the llama.cpp server that [`super::fetch`] installs.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use super::child::ChildSpec;
use super::fetch::Installed;

/// The launcher: llama.cpp's own HTTP server, started from its Python package.
const SCRIPT: &str = include_str!("llama_server.py");

/// How the server is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlamaOptions {
    /// The name it lists its model under.
    pub alias: String,
    /// Port on 127.0.0.1. It stays the same over restarts, so name one ([`free_port`]).
    pub port: u16,
    /// A model file in place of the installed one.
    pub model: Option<PathBuf>,
    /// Context in tokens, shared by all slots.
    pub context_tokens: u32,
    /// Requests it runs at once; each has `context_tokens / slots` of context.
    pub slots: u32,
}

/// A port of 127.0.0.1 that is free now.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Describes the server as a child. Writes the launcher beside the installation.
///
/// # Errors
/// When the launcher cannot be written.
pub fn llama(installed: &Installed, options: &LlamaOptions) -> io::Result<ChildSpec> {
    let script = installed.dir.join("llama_server.py");
    if std::fs::read(&script).ok().as_deref() != Some(SCRIPT.as_bytes()) {
        // Another relayd may be reading it: replaced as a whole, never half written.
        let fresh = installed.dir.join(format!(".llama_server.{}.py", std::process::id()));
        std::fs::write(&fresh, SCRIPT)?;
        std::fs::rename(&fresh, &script)?;
    }
    let model = options.model.clone().unwrap_or_else(|| installed.model.clone());
    let args = [
        ("--model", model.into_os_string()),
        ("--alias", options.alias.clone().into()),
        ("--port", options.port.to_string().into()),
        ("--context", options.context_tokens.to_string().into()),
        ("--slots", options.slots.to_string().into()),
    ];
    let named = args.into_iter().flat_map(|(name, value)| [OsString::from(name), value]);
    Ok(ChildSpec {
        name: "llama.cpp".to_owned(),
        program: installed.python.clone(),
        args: std::iter::once(script.into_os_string()).chain(named).collect(),
        env: vec![
            // More threads than one fight over busy cores (spin barriers), and nothing is fetched.
            ("OMP_NUM_THREADS".into(), "1".into()),
            ("PYTHONUNBUFFERED".into(), "1".into()),
            ("HF_HUB_OFFLINE".into(), "1".into()),
        ],
        cwd: None,
        ready_line: Some("LISTEN "),
    })
}

//! What `relayd dev` says once it is up, and the files for console and scripts: a context, the
//! operator's token, an API key.

use std::io;
use std::path::PathBuf;

use super::ready::Ready;
use crate::cli::{output, private};

/// The files in the data directory.
const CONTEXTS: &str = "contexts.toml";
const TOKEN: &str = "operator-token";
const API_KEY: &str = "api-key";

/// Writes the API key for scripts and a context for `relay-tui` and `relayd admin`; gives the
/// context's file.
///
/// # Errors
/// Those of the file system.
pub(super) fn write_context(ready: &Ready) -> io::Result<PathBuf> {
    private::write(&ready.data_dir.join(API_KEY), ready.api_key.as_bytes())?;
    let token = ready.data_dir.join(TOKEN);
    private::write(&token, ready.operator_token.as_bytes())?;
    let file = ready.data_dir.join(CONTEXTS);
    let mut contexts = toml_edit::DocumentMut::new();
    let mut table = toml_edit::Table::new();
    table.insert("addr", toml_edit::value(ready.admin_addr.to_string()));
    table.insert("token_file", toml_edit::value(token.display().to_string()));
    let mut context = toml_edit::Table::new();
    context.set_implicit(true);
    context.insert("dev", toml_edit::Item::Table(table));
    contexts.insert("context", toml_edit::Item::Table(context));
    private::write(&file, contexts.to_string().as_bytes())?;
    Ok(file)
}

/// Prints how to use what runs now. Secrets are printed at the first start only.
pub(super) fn print(ready: &Ready, fresh: bool, context: &std::path::Path) {
    let Ready { public_url, ops_url, admin_addr, data_dir, .. } = ready;
    let model = ready.models.first().map_or("MODEL", String::as_str);
    output::line(format_args!("relay is up"));
    output::line(format_args!("  public   {public_url}"));
    output::line(format_args!("  admin    {admin_addr} (gRPC)"));
    output::line(format_args!("  ops      {ops_url}/metrics"));
    output::line(format_args!("  engine   {}", ready.engine_url));
    output::line(format_args!("  models   {}", ready.models.join(", ")));
    output::line(format_args!("  data     {}", data_dir.display()));
    let file = data_dir.join(API_KEY);
    let key = if fresh {
        output::line(format_args!(
            "\nan API key, shown this once (a superkey with 1,000 USD of credit):"
        ));
        output::line(format_args!("  {}", ready.api_key));
        ready.api_key.as_str()
    } else {
        output::line(format_args!("\nthe API key is the one of the first start:"));
        output::line(format_args!("  export KEY=$(cat {})", file.display()));
        "$KEY"
    };
    let message = r#""messages":[{"role":"user","content":"What is the capital of France? Answer in one sentence."}]"#;
    output::line(format_args!("\ntry it:"));
    for (route, auth, more) in [
        ("openai/v1/chat/completions", "Authorization: Bearer ", ""),
        ("vllm/v1/chat/completions", "Authorization: Bearer ", r#","stream":true"#),
        ("anthropic/v1/messages", "X-API-Key: ", r#","max_tokens":64"#),
        ("ollama/api/chat", "Authorization: Bearer ", ""),
    ] {
        output::line(format_args!(
            "  curl -sN {public_url}/v2/{route} -H \"{auth}{key}\" -H 'content-type: application/json' \\\n    -d '{{\"model\":\"{model}\",{message}{more}}}'"
        ));
    }
    let context = context.display();
    output::line(format_args!("\nwatch it:"));
    let (console, relayd) = (program("relay-tui"), program("relayd"));
    output::line(format_args!("  {console} --config {context} --context dev"));
    output::line(format_args!("  {relayd} admin --config {context} --context dev overview\n"));
}

/// How a program of this workspace is started: by its name, or by cargo where cargo started us and
/// nothing may be installed.
fn program(name: &str) -> String {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(_) => format!("cargo run -qp {name} --"),
        None => name.to_owned(),
    }
}

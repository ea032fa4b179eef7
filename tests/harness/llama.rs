//! The real llama.cpp server with the tests' tiny model.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

use crate::place::{engines_dir, repository};

/// Share of the model's file, from its end, whose weights another model has in another order.
const OTHERWISE: usize = 2;

/// A running server; ends when dropped.
pub struct Llama {
    child: Child,
    /// Another model than the tests' own, for as long as the server reads it.
    _weights: Option<NamedTempFile>,
    /// `http://127.0.0.1:port`.
    pub url: String,
    /// What it calls its model.
    pub model: String,
}

impl Llama {
    /// Starts a server with 4 slots of 1,024 tokens.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        Self::with("relay-tiny", 4)
    }

    /// Starts a server that lists its model as `alias` and runs `slots` requests at once.
    ///
    /// # Errors
    /// As [`Llama::start`].
    pub fn with(alias: &str, slots: u32) -> anyhow::Result<Self> {
        let model = engines_dir()?.join("models/relay-tiny.gguf");
        Self::serve(&model, alias, slots, free_port()?, None)
    }

    /// Starts a server that calls its model `relay-tiny` and has other weights: the same words and
    /// layers, half of them in another order. Where it listens is given, so that it can take the
    /// place of an honest one.
    ///
    /// # Errors
    /// As [`Llama::start`], and when the port is not free.
    pub fn other(port: u16) -> anyhow::Result<Self> {
        let mut weights = std::fs::read(engines_dir()?.join("models/relay-tiny.gguf"))?;
        let from = weights.len() / OTHERWISE / 4 * 4;
        let mut words: Vec<[u8; 4]> = weights[from..]
            .chunks_exact(4)
            .map(|word| [word[0], word[1], word[2], word[3]])
            .collect();
        words.reverse();
        for (place, word) in weights[from..].chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word);
        }
        let mut file = NamedTempFile::new()?;
        file.write_all(&weights)?;
        let model = file.path().to_owned();
        Self::serve(&model, "relay-tiny", 4, port, Some(file))
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    fn serve(
        model: &Path,
        alias: &str,
        slots: u32,
        port: u16,
        weights: Option<NamedTempFile>,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(engines_dir()?.join("venv/bin/python"))
            .arg(repository().join("relayd/src/launch/llama_server.py"))
            .arg("--model")
            .arg(model)
            .args(["--alias", alias, "--port", &port.to_string()])
            .args(["--context", &(1024 * slots).to_string(), "--slots", &slots.to_string()])
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start the llama.cpp server")?;
        let stdout = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(stdout).lines();
        loop {
            match lines.next() {
                Some(Ok(line)) if line.starts_with("LISTEN ") => break,
                Some(Ok(_)) => {}
                Some(Err(error)) => bail!("the llama.cpp server's output broke: {error}"),
                None => bail!("the llama.cpp server ended before it listened"),
            }
        }
        // Whatever it prints later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { child, _weights: weights, url, model: alias.to_owned() })
    }

    /// A template `llama` of an agent's configuration that starts this server, two instances at
    /// most, with the tests' model as `relay-tiny` and as `relay-tiny-v2`.
    ///
    /// # Errors
    /// When it is not installed or there is no free port.
    pub fn template() -> anyhow::Result<String> {
        let engines = engines_dir()?;
        // Others may take some of them; an instance takes the first that is free.
        let first = free_port()?.min(u16::MAX - 9);
        Ok(format!(
            "\n[[template]]\nname = \"llama\"\nkind = \"llamacpp\"\ndialect = \"openai\"\n\
             command = \"{python}\"\nargs = [\"{script}\", \"--model\", \"{{reference}}\", \
             \"--alias\", \"{{model}}\", \"--port\", \"{{port}}\", \"--slots\", \"{{slots}}\"]\n\
             ports = [{first}, {last}]\nmax_instances = 2\nmax_concurrency = 4\n\
             env = {{ OMP_NUM_THREADS = \"1\" }}\n\
             models = {{ relay-tiny = \"{model}\", relay-tiny-v2 = \"{model}\" }}\n\
             [template.parameters]\n\
             slots = {{ type = \"integer\", min = 1, max = 8, default = 4 }}\n",
            python = engines.join("venv/bin/python").display(),
            script = repository().join("relayd/src/launch/llama_server.py").display(),
            model = engines.join("models/relay-tiny.gguf").display(),
            last = first + 9,
        ))
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Llama {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

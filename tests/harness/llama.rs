//! The real llama.cpp server with the tests' tiny model.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};

use crate::place::{engines_dir, repository};

/// A running server; ends when dropped.
pub struct Llama {
    child: Child,
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
        let engines = engines_dir()?;
        let port = free_port()?;
        let mut child = Command::new(engines.join("venv/bin/python"))
            .arg(repository().join("relayd/src/launch/llama_server.py"))
            .arg("--model")
            .arg(engines.join("models/relay-tiny.gguf"))
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
        Ok(Self { child, url: format!("http://127.0.0.1:{port}"), model: alias.to_owned() })
    }

    /// A template `llama` of an agent's configuration that starts this server, two instances at
    /// most, with the tests' model as `relay-tiny`.
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
             env = {{ OMP_NUM_THREADS = \"1\" }}\nmodels = {{ relay-tiny = \"{model}\" }}\n\
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

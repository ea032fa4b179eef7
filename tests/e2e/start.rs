//! Daemons as most tests want them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use relay_tests::scripted::{Script, Scripted};
use relay_tests::{Relay, RelayOptions, binary};

/// A daemon over one scripted engine.
pub(crate) async fn over_scripted(script: Script) -> (Scripted, Relay) {
    over_scripted_with(script, |options| options).await
}

/// The same, configured.
pub(crate) async fn over_scripted_with(
    script: Script,
    with: impl FnOnce(RelayOptions) -> RelayOptions,
) -> (Scripted, Relay) {
    let engine = Scripted::start(script).unwrap();
    let relay = with(RelayOptions::over(&[&engine.url])).start().unwrap();
    (engine, relay)
}

/// An answer of so many tokens at once.
pub(crate) const fn tokens(count: u64) -> Script {
    Script::Tokens { count, gap: Duration::ZERO }
}

/// Lets callers without a key use every model.
pub(crate) fn open_to_guests(relay: &Relay) {
    let export = relay.command(&["admin", "--addr", &relay.ready.admin_addr, "export"]).unwrap();
    assert!(export.contains("guests = false"), "{export}");
    let file = relay.dir().join("open.toml");
    std::fs::write(&file, export.replace("guests = false", "guests = true")).unwrap();
    relay.admin(&["apply", "-f", file.to_str().unwrap()]).unwrap();
}

/// A daemon started by a configuration file.
pub(crate) struct Serve(Child);

impl Serve {
    /// `relayd serve`, with its log in a file.
    pub(crate) fn start(config: &Path, log: &Path) -> Self {
        let log = std::fs::File::create(log).unwrap();
        let child = Command::new(binary("relayd").unwrap())
            .args(["serve", "--config", config.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports that are free now, all different.
pub(crate) fn free_ports() -> [u16; 4] {
    let listeners = [(); 4].map(|()| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

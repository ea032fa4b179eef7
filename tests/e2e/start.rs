//! Daemons as most tests want them.

use std::time::Duration;

use relay_tests::scripted::{Script, Scripted};
use relay_tests::{Relay, RelayOptions};

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

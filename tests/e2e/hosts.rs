//! The host that relayd runs on, and its GPUs, over a stand-in for NVIDIA's library.

use relay_tests::scripted::Scripted;
use relay_tests::{Caller, FakeNvml, Relay, RelayOptions, eventually};
use serde_json::Value;

use crate::start::{over_scripted_with, tokens};

/// A daemon that asks this library for its GPUs.
fn asking(options: RelayOptions, library: &str) -> RelayOptions {
    options.set("GPU__NVML_LIBRARY", library)
}

/// The host as `relayd admin hosts list --json` prints it.
fn local(relay: &Relay) -> anyhow::Result<Value> {
    let list = relay.admin(&["hosts", "list"])?;
    let hosts = list["hosts"].as_array().cloned().unwrap_or_default();
    anyhow::ensure!(hosts.len() == 1 && hosts[0]["host_id"] == "local", "{list}");
    Ok(hosts[0].clone())
}

async fn until(relay: &Relay, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let look = async || Ok(Some(local(relay)?).filter(&is));
    eventually(what, look).await.unwrap()
}

/// Waits for a line of the metrics.
async fn metric(relay: &Relay, line: &str) {
    let ops = Caller::at(&relay.ready.ops_url);
    let look = async || {
        let text = ops.get("/metrics").await?.text;
        Ok(text.lines().any(|found| found == line).then_some(()))
    };
    eventually(line, look).await.unwrap();
}

#[tokio::test]
async fn a_card_that_falls_off_the_bus_is_shown_lost_and_shown_again_when_it_is_back() {
    let two = "cards = 2\ncard.1.gpu = 99\ncard.1.power = 690000\ncard.1.throttle = 4\n";
    let nvml = FakeNvml::build(two).unwrap();
    let library = nvml.shared_object().display().to_string();
    let (_engine, relay) = over_scripted_with(tokens(1), |options| asking(options, &library)).await;
    let host = until(&relay, "two cards", |host| host["gpus"]["state"] == "cards").await;
    assert_eq!(host["state"], "live", "{host}");
    assert!(host["memory_total_mib"].as_u64().unwrap() > 0, "{host}");
    let gpus = &host["gpus"];
    assert_eq!(
        (&gpus["driver_version"], &gpus["cuda_version"]),
        (&"550.54.15".into(), &"12.4".into())
    );
    assert_eq!(gpus["cards"].as_array().unwrap().len(), 2);
    let card = &gpus["cards"][1];
    for (field, value) in [
        ("uuid", Value::from("GPU-00000001-0000-4000-8000-000000000000")),
        ("name", "NVIDIA H100 80GB HBM3".into()),
        ("state", "ok".into()),
        ("gpu_pct", 99.into()),
        ("memory_total_mib", 81_920.into()),
        ("power_draw_mw", 690_000.into()),
        ("throttle", "power cap".into()),
        ("fan_pct", Value::Null),
    ] {
        assert_eq!(card[field], value, "{field}: {card}");
    }
    let labels = r#"host="local",gpu="1",uuid="GPU-00000001""#;
    metric(&relay, &format!("relay_gpu_up{{{labels}}} 1")).await;
    metric(&relay, &format!("relay_gpu_power_watts{{{labels}}} 690")).await;
    metric(&relay, &format!("relay_gpu_memory_total_bytes{{{labels}}} 85899345920")).await;
    metric(&relay, r#"relay_gpu_driver_up{host="local"} 1"#).await;

    nvml.say(&format!("{two}card.1.error = 15\n")).unwrap();
    let host = until(&relay, "the loss", |host| host["gpus"]["cards"][1]["state"] == "lost").await;
    let lost = &host["gpus"]["cards"][1];
    assert!(
        lost["state_reason"].as_str().unwrap().starts_with("device fell off the bus"),
        "{lost}"
    );
    assert_eq!((&lost["gpu_pct"], &lost["uuid"]), (&Value::Null, &card["uuid"]));
    assert_eq!(host["gpus"]["cards"][0]["state"], "ok", "the other one is well");
    metric(&relay, &format!("relay_gpu_up{{{labels}}} 0")).await;
    metric(&relay, &format!("relay_gpu_power_watts{{{labels}}} 0")).await;
    metric(&relay, r#"relay_gpu_up{host="local",gpu="0",uuid="GPU-00000000"} 1"#).await;
    let addr = relay.ready.admin_addr.as_str();
    let table = relay.command(&["admin", "--addr", addr, "hosts", "list"]).unwrap();
    assert!(table.contains("1 ok, 1 lost"), "{table}");

    nvml.say(two).unwrap();
    until(&relay, "its return", |host| host["gpus"]["cards"][1]["state"] == "ok").await;
    metric(&relay, &format!("relay_gpu_power_watts{{{labels}}} 690")).await;
    let log = relay.log();
    assert_eq!(log.matches("a gpu is lost").count(), 1, "it is told once");
    assert_eq!(log.matches("a gpu answers again").count(), 1);
}

#[tokio::test]
async fn a_driver_that_hangs_is_shown_stale_while_everything_else_goes_on() {
    let nvml = FakeNvml::build("").unwrap();
    let library = nvml.shared_object().display().to_string();
    let (_engine, relay) = over_scripted_with(tokens(1), |options| asking(options, &library)).await;
    until(&relay, "a card", |host| host["gpus"]["state"] == "cards").await;
    nvml.say("hang.nvmlDeviceGetPowerUsage = 3600000\n").unwrap();
    let host = until(&relay, "the age", |host| host["gpus"]["state"] == "stale").await;
    assert_eq!(
        (&host["state"], &host["gpus"]["cards"][0]["state"]),
        (&"live".into(), &"ok".into())
    );
    assert!(host["gpus"]["age_ms"].as_u64().unwrap() >= 5_000, "{host}");
    metric(&relay, r#"relay_gpu_driver_up{host="local"} 0"#).await;
    // A thread that hangs keeps nobody: this one ends while it does.
    let dir = relay.stop().unwrap();
    assert!(nvml.hangs(), "the call never returned");
    drop(dir);
}

#[tokio::test]
async fn no_driver_is_one_line_of_the_log_and_a_shown_state() {
    let nowhere = "libnvidia-ml-of-nobody.so.1";
    let (_engine, relay) = over_scripted_with(tokens(1), |options| asking(options, nowhere)).await;
    let host = until(&relay, "the state", |host| host["gpus"]["state"] == "no_driver").await;
    let reason = format!("{nowhere} could not be loaded");
    assert_eq!(host["gpus"]["state_reason"], Value::from(reason), "{host}");
    assert_eq!(host["gpus"]["cards"], Value::Array(Vec::new()));
    metric(&relay, r#"relay_gpu_driver_up{host="local"} 0"#).await;
    assert_eq!(relay.log().matches("no gpu driver").count(), 1);
    let dir = relay.stop().unwrap();
    let engine = Scripted::start(tokens(1)).unwrap();
    let options = RelayOptions::over(&[&engine.url]).in_dir(dir).set("GPU__ENABLED", "false");
    let relay = options.start().unwrap();
    let host = until(&relay, "the host", |host| host["state"] == "live").await;
    assert_eq!(host["gpus"]["state"], "off", "{host}");
    assert_eq!(relay.log().matches("no gpu driver").count(), 1, "nobody looked");
}

//! The host that relayd runs on, and its GPUs, over a stand-in for NVIDIA's library.

use relay_tests::scripted::Scripted;
use relay_tests::{Agent, Caller, FakeNvml, Relay, RelayOptions, eventually};
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

    relay.told("GPU 1 (NVIDIA H100 80GB HBM3) of ").await.unwrap();
    relay.told("gpu.lost").await.unwrap();

    nvml.say(two).unwrap();
    until(&relay, "its return", |host| host["gpus"]["cards"][1]["state"] == "ok").await;
    metric(&relay, &format!("relay_gpu_power_watts{{{labels}}} 690")).await;
    let log = relay.log();
    assert_eq!(log.matches("a gpu is lost").count(), 1, "it is told once");
    assert_eq!(log.matches("a gpu answers again").count(), 1);
    relay.told("gpu.back").await.unwrap();
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

/// A provider's host as the operator sees it; none while it is not listed.
fn theirs(relay: &Relay, agent: &Agent) -> anyhow::Result<Option<Value>> {
    let list = relay.admin(&["hosts", "list"])?;
    let hosts = list["hosts"].as_array().cloned().unwrap_or_default();
    Ok(hosts.into_iter().find(|host| host["host_id"] == agent.provider.as_str()))
}

#[tokio::test]
async fn a_providers_cards_are_seen_through_its_agent_and_held_against_what_it_declares() {
    let nvml = FakeNvml::build("cards = 1\ncard.0.gpu = 41\n").unwrap();
    let library = nvml.shared_object().display().to_string();
    let own = Scripted::counting(tokens(1)).unwrap();
    let engine = Scripted::start(tokens(1)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).set("GPU__ENABLED", "false").start().unwrap();
    let options = ["--nvml-library", &library, "--gpu", "2x H100 80GB"];
    let ready = relay.dir().join("ready.json");
    let mut agent = Agent::join(&ready, "gpu-1", &[&engine.url], &options).unwrap();
    agent.run().unwrap();
    let until = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(what, async || Ok(theirs(&relay, &agent)?.filter(|host| is(host))))
            .await
            .unwrap()
    };
    let host = until("its card", &|host| host["gpus"]["state"] == "cards").await;
    let card = &host["gpus"]["cards"][0];
    assert_eq!(host["provider_id"], agent.provider.as_str(), "{host}");
    assert_eq!((&host["name"], &host["state"]), (&"gpu-1".into(), &"live".into()), "{host}");
    assert!(host["memory_total_mib"].as_u64().unwrap() > 0, "{host}");
    assert_eq!((&card["state"], &card["gpu_pct"]), (&"ok".into(), &41.into()), "{card}");
    assert_eq!(local_of(&relay)["gpus"]["state"], "off", "the relay's own host is another");

    // It said two and shows one: nobody approves it before it shows both.
    let provider = || relay.admin(&["providers", "show", &agent.provider]);
    let lacking = eventually("its examination", async || {
        let found = provider()?;
        Ok((found["examined_at_ms"] != 0).then_some(found))
    });
    let lacking = lacking.await.unwrap();
    let sentence = "it declares 2x H100 of 81920 MiB and its telemetry shows 1";
    assert_eq!(lacking["missing"], serde_json::json!([sentence]), "{lacking}");
    assert_eq!(lacking["gpus"][0]["count"], 2, "{lacking}");
    let refused = relay.admin(&["providers", "approve", &agent.provider]).unwrap_err().to_string();
    assert!(refused.contains(sentence), "{refused}");
    nvml.say("cards = 2\n").unwrap();
    let pending = eventually("the second look", async || {
        let found = provider()?;
        Ok((found["state"] == "pending").then_some(found))
    });
    assert_eq!(pending.await.unwrap()["missing"], serde_json::json!([]));

    nvml.say("cards = 2\ncard.1.error = 15\n").unwrap();
    let host = until("the loss", &|host| host["gpus"]["cards"][1]["state"] == "lost").await;
    let lost = &host["gpus"]["cards"][1];
    assert!(
        lost["state_reason"].as_str().unwrap().starts_with("device fell off the bus"),
        "{lost}"
    );
    assert_eq!(
        (&lost["gpu_pct"], &host["gpus"]["cards"][0]["state"]),
        (&Value::Null, &"ok".into())
    );

    // An agent that stands still is stale before anybody calls it gone.
    agent.signal("STOP");
    until("its age", &|host| host["state"] == "stale" && host["gpus"]["state"] == "stale").await;
    agent.signal("CONT");
    agent.kill();
    eventually("its host to go with it", async || {
        Ok(theirs(&relay, &agent)?.is_none().then_some(()))
    })
    .await
    .unwrap();
}

fn local_of(relay: &Relay) -> Value {
    let list = relay.admin(&["hosts", "list"]).unwrap();
    list["hosts"][0].clone()
}

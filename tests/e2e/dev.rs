//! The commands: `relayd dev` from start to end, and how wrong input is told.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use relay_tests::scripted::{MODEL, Script, Scripted, WORD};
use relay_tests::{Caller, RelayOptions, Route, binary, engines_dir, eventually};
use serde_json::Value;

use crate::start::tokens;

/// The documented bound of a `dev` daemon's end.
const STOP_WITHIN: Duration = Duration::from_secs(5);

fn relayd(arguments: &[&str]) -> Output {
    Command::new(binary("relayd").unwrap()).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

#[tokio::test]
async fn a_second_start_reuses_everything_and_prints_no_secret() {
    let engine = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
    let first = relay.ready.clone();
    let file = relay.dir().join("ready.json");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the ready file holds secrets");
    let ready: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let fields: Vec<_> = ready.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        fields,
        [
            "public_url",
            "admin_addr",
            "fleet_addr",
            "ops_url",
            "api_key",
            "operator_token",
            "models",
            "engine_url",
            "fleet_ca",
            "join_token",
            "data_dir",
            "pid",
        ]
    );
    assert_eq!(first.models, [MODEL]);
    assert_eq!(first.engine_url, engine.url);
    assert!(first.public_url.starts_with("http://127.0.0.1:"), "{}", first.public_url);
    assert!(first.fleet_ca.starts_with("-----BEGIN CERTIFICATE-----"), "{}", first.fleet_ca);
    assert!(first.api_key.starts_with("relay_sk_"));
    assert!(Path::new("/proc").join(first.pid.to_string()).exists());
    for (what, text) in [
        ("the key", first.api_key.as_str()),
        ("a curl line for each format", "/v2/openai/v1/chat/completions"),
        ("a curl line for each format", "/v2/vllm/v1/chat/completions"),
        ("a curl line for each format", "/v2/anthropic/v1/messages"),
        ("a curl line for each format", "/v2/ollama/api/chat"),
        ("the console's command", "relay-tui"),
    ] {
        assert!(relay.output().contains(text), "{what}: {}", relay.output());
    }
    let credits = Caller::of(&relay).get("/v2/customer/credits").await.unwrap().json();
    assert_eq!(credits["balance"], 1000, "{credits}");
    check_first_model(&relay);
    for route in Route::ALL {
        let answer = Caller::of(&relay).chat(route, &route.body(MODEL, 4, false)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let printed = relay.output().len();
    let dir = relay.stop().unwrap();

    let relay = RelayOptions::over(&[&engine.url]).in_dir(dir).start().unwrap();
    let second = &relay.ready;
    assert_eq!(second.api_key, first.api_key);
    assert_eq!(second.operator_token, first.operator_token);
    assert_eq!((&second.join_token, &second.fleet_ca), (&first.join_token, &first.fleet_ca));
    let output = relay.output();
    for secret in [&first.api_key, &first.operator_token, &first.join_token] {
        assert!(!output[printed..].contains(secret.as_str()), "{}", &output[printed..]);
    }
    let credits = Caller::of(&relay).get("/v2/customer/credits").await.unwrap().json();
    let balance = credits["balance"].as_f64().unwrap();
    assert!(balance < 1000.0 && balance > 999.0, "the same wallet: {credits}");
}

/// What the ready file promises of its first model.
fn check_first_model(relay: &relay_tests::Relay) {
    let model = relay.admin(&["models", "show", &relay.ready.models[0]]).unwrap();
    let prices = model["prices"].as_array().unwrap();
    assert_eq!(prices.len(), 4, "a price row for each source: {model}");
    for price in prices {
        let rates = price["rates"].as_object().unwrap();
        assert_eq!(rates.len(), 6, "{price}");
        for (meter, rate) in rates {
            let a_token = rate.as_i64().unwrap() / 1_000_000;
            assert!(a_token >= 100, "{meter} costs {a_token} ncr a token");
        }
    }
    let backends = relay.admin(&["backends", "list"]).unwrap();
    assert!(backends["backends"][0]["queue_limit"].as_u64().unwrap() >= 256, "{backends}");
    let tier = relay.admin(&["tiers", "list"]).unwrap();
    let dev = tier["tiers"].as_array().unwrap().iter().find(|tier| tier["name"] == "dev").unwrap();
    assert_eq!(dev["custom"], true, "{dev}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_in_time_while_a_stream_runs() {
    let gap = Duration::from_millis(50);
    let engine = Scripted::start(Script::Tokens { count: 4000, gap }).unwrap();
    for signal in ["TERM", "INT"] {
        let mut relay = RelayOptions::over(&[&engine.url]).start().unwrap();
        let caller = Caller::of(&relay);
        let body = Route::Openai.body(MODEL, 4096, true);
        let mut stream = caller.stream(Route::Openai, &body).await.unwrap();
        stream.until(WORD, 3).await.unwrap();
        let since = Instant::now();
        relay.signal(signal);
        let reading = tokio::spawn(async move {
            while stream.more().await.unwrap_or(false) {}
            stream.text.clone()
        });
        let status = relay.wait(STOP_WITHIN).unwrap();
        assert!(since.elapsed() < STOP_WITHIN);
        assert_eq!(status.code(), Some(0), "{signal}: {}", relay.log());
        let text = reading.await.unwrap();
        assert!(text.contains("data: {\"error\":"), "the reader is told: {text}");
        // What was delivered is billed before the end.
        let audit = relay.audit().unwrap();
        assert!(!audit.is_empty());
    }
}

#[test]
fn the_fetched_engine_ends_with_the_daemon_however_it_dies() {
    let engines = engines_dir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ready = dir.path().join("ready.json");
    for signal in ["KILL", "TERM"] {
        let _ = std::fs::remove_file(&ready);
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut child = Command::new(binary("relayd").unwrap())
            .args(["dev", "--engine", "fetch"])
            .args(["--engines-dir", engines.to_str().unwrap()])
            .args(["--data-dir", dir.path().join("data").to_str().unwrap()])
            .args(["--ready-file", ready.to_str().unwrap()])
            .args(["--public-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--fleet-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"])
            .env("OMP_NUM_THREADS", "1")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(120);
        while !ready.exists() {
            let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
            assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        let told: Value = serde_json::from_slice(&std::fs::read(&ready).unwrap()).unwrap();
        let address = told["engine_url"].as_str().unwrap().trim_start_matches("http://");
        assert!(std::net::TcpStream::connect(address).is_ok(), "the engine runs at {address}");
        let _ =
            Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), (signal == "TERM").then_some(0));
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(address).is_ok() {
            assert!(Instant::now() < until, "the engine outlived relayd after SIG{signal}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(!log.contains("download"), "nothing is fetched twice: {log}");
    }
}

#[tokio::test]
async fn engines_can_be_named_twice_and_in_either_way() {
    let one = Scripted::start(tokens(1)).unwrap();
    let two = Scripted::start(tokens(1)).unwrap();
    let with_v1 = format!("{}/v1", two.url);
    let relay = RelayOptions::over(&[]).argument("--engine-url", &one.url);
    let relay = relay.argument("--engine", &with_v1).start().unwrap();
    assert_eq!(relay.ready.models, [MODEL], "one model on two engines");
    let backends = relay.admin(&["backends", "list"]).unwrap();
    let mut urls: Vec<_> =
        backends["backends"].as_array().unwrap().iter().map(|b| b["base_url"].clone()).collect();
    urls.sort_by_key(ToString::to_string);
    let mut expected = [one.url.clone(), two.url.clone()];
    expected.sort();
    assert_eq!(urls, expected, "{backends}");
    let caller = Caller::of(&relay);
    eventually("both to be used", async || {
        caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await?;
        Ok((one.requests() > 0 && two.requests() > 0).then_some(()))
    })
    .await
    .unwrap();
}

#[test]
fn wrong_arguments_and_configurations_are_explained() {
    let version = said(&relayd(&["--version"]));
    let (name, rest) = version.trim().split_once(' ').unwrap();
    let (number, commit) = rest.split_once(' ').unwrap();
    assert_eq!((name, number), ("relayd", env!("CARGO_PKG_VERSION")));
    let commit = commit.trim_matches(['(', ')']);
    assert!(commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");

    for (arguments, expected) in [
        (&["dev", "--engine", "nonsense"][..], "http://127.0.0.1:8080"),
        (&["dev", "--public-listen", "nowhere"], "--public-listen"),
        (&["admin", "keys", "frobnicate"], "frobnicate"),
        (&["ledger", "audit"], "--data-dir"),
        (&["serve"], "--config"),
    ] {
        let output = relayd(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    let nobody = relayd(&["admin", "--addr", "127.0.0.1:9", "keys", "list"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(!said(&nobody).trim().is_empty());

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("relayd.toml");
    let empty = dir.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let path = file.to_str().unwrap();
    let pepper = format!("name = \"a\"\n[identity]\npepper_files = [\"{}\"]\n", empty.display());
    for (what, toml, line, expected) in [
        ("an unknown key", "name = \"a\"\n[http]\nmax_body = 3\n", 3, "max_body"),
        ("a wrong type", "\n\n[http]\nmax_body_mib = \"much\"\n", 4, "expected u32"),
        ("no TOML", "name = \n", 1, ""),
        ("an empty secret", pepper.as_str(), 3, "empty"),
        (
            "an admin listener off loopback",
            "[listener.admin]\nlisten = \"0.0.0.0:8701\"\n",
            2,
            "mTLS",
        ),
        ("two listeners on one port", "[listener.ops]\nlisten = \"127.0.0.1:8701\"\n", 2, "8701"),
    ] {
        std::fs::write(&file, toml).unwrap();
        for command in ["check-config", "serve"] {
            let output = relayd(&[command, "--config", path]);
            let said = said(&output);
            assert_eq!(output.status.code(), Some(78), "{what}: {said}");
            assert!(said.contains(&format!("relayd.toml:{line}")), "{what}: {said}");
            assert!(said.contains(expected), "{what}: {said}");
        }
    }
    let shipped = relay_tests::repository().join("config/relayd.toml");
    let good = relayd(&["check-config", "--config", shipped.to_str().unwrap()]);
    assert_eq!(good.status.code(), Some(0), "{}", said(&good));
}

//! Backends under an operator's hand: bounded queues, cordon, drain.

use std::os::unix::fs::PermissionsExt as _;

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Caller, DEV_TIER, Relay, RelayOptions, Route, eventually};
use serde_json::Value;
use tokio::time::Duration;

use crate::start::{over_scripted, tokens};

/// Changes the exported catalogue and applies it.
pub(crate) fn rewrite(relay: &Relay, change: impl Fn(&str) -> String) {
    let export = relay.command(&["admin", "--addr", &relay.ready.admin_addr, "export"]).unwrap();
    let changed = change(&export);
    assert_ne!(changed, export, "nothing to change in {export}");
    let file = relay.dir().join("changed.toml");
    std::fs::write(&file, changed).unwrap();
    relay.admin(&["apply", "-f", file.to_str().unwrap()]).unwrap();
}

fn backend(relay: &Relay, name: &str) -> Value {
    relay.admin(&["backends", "show", name]).unwrap()
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let (engine, relay) = over_scripted(Script::UntilNext).await;
    rewrite(&relay, |export| {
        export
            .replace("max_concurrency = 16", "max_concurrency = 1")
            .replace("queue = 256", "queue = 1")
    });
    let name = relay.admin(&["backends", "list"]).unwrap()["backends"][0]["backend_id"].clone();
    let name = name.as_str().unwrap();
    eventually("the smaller queue", async || {
        Ok((backend(&relay, name)["queue_limit"] == 1).then_some(()))
    })
    .await
    .unwrap();
    let ask = || {
        let caller = Caller::of(&relay);
        tokio::spawn(async move {
            caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await.unwrap()
        })
    };
    let first = ask();
    eventually("the first to run", async || Ok((engine.requests() == 1).then_some(())))
        .await
        .unwrap();
    let second = ask();
    eventually("the second to wait", async || {
        Ok((backend(&relay, name)["queued"] == 1).then_some(()))
    })
    .await
    .unwrap();
    let third = ask().await.unwrap();
    assert_eq!(third.outcome(), "503 CAPACITY_EXHAUSTED", "{}", third.text);
    assert!(third.header("retry-after").parse::<u32>().is_ok(), "{:?}", third.headers);
    engine.then(tokens(1));
    for admitted in [first, second] {
        assert_eq!(admitted.await.unwrap().status, 200);
    }
    let metrics = Caller::at(&relay.ready.ops_url).get("/metrics").await.unwrap().text;
    assert!(metrics.contains("relay_shed_total 1"), "{metrics}");
    relay.told("backend.changed").await.unwrap();
    relay.told("1 request refused for want of capacity").await.unwrap();
}

#[tokio::test]
async fn a_models_policy_is_changed_while_it_serves() {
    let engines = [Scripted::start(tokens(1)).unwrap(), Scripted::start(tokens(1)).unwrap()];
    let urls = [engines[0].url.as_str(), engines[1].url.as_str()];
    let relay = RelayOptions::over(&urls).start().unwrap();
    let caller = Caller::of(&relay);
    let shown = relay.admin(&["models", "show", MODEL]).unwrap();
    assert_eq!((&shown["policy"], &shown["policy_version"]), (&"predictive".into(), &0.into()));
    // A long prompt stays at home, however fast the others are.
    relay.admin(&["models", "policy", MODEL, "affinity"]).unwrap();
    let mut body = Route::Openai.body(MODEL, 4, false);
    body["messages"][0]["content"] = "The same words again and again. ".repeat(40).into();
    let counts = || [engines[0].requests(), engines[1].requests()];
    let ask = async |times: usize| {
        let before = counts();
        for _ in 0..times {
            assert_eq!(caller.chat(Route::Openai, &body).await.unwrap().status, 200);
        }
        let after = counts();
        [after[0] - before[0], after[1] - before[1]]
    };
    eventually("the policy to be followed", async || Ok(ask(2).await.contains(&2).then_some(())))
        .await
        .unwrap();
    let at_home = ask(20).await;
    assert!(at_home.contains(&20), "{at_home:?}");
    let wrong = relay.admin(&["models", "policy", MODEL, "best"]).unwrap_err().to_string();
    assert!(wrong.contains("round-robin"), "it names what there is: {wrong}");
    let set = relay.admin(&["models", "policy", MODEL, "round-robin"]).unwrap();
    assert_eq!((&set["policy"], &set["policy_version"]), (&"round-robin".into(), &2.into()));
    eventually("the policy to be followed", async || Ok((ask(2).await == [1, 1]).then_some(())))
        .await
        .unwrap();
    assert_eq!(ask(20).await, [10, 10]);
    relay.told("model.policy_changed").await.unwrap();
    let audit = relay.admin(&["audit", "list", "--object", MODEL]).unwrap();
    assert_eq!(audit["entries"][0]["action"], "ModelsService/SetModelPolicy", "{audit}");
}

#[tokio::test]
async fn a_cordon_turns_traffic_away_and_a_drain_says_when_it_is_empty() {
    let gap = Duration::from_millis(20);
    let one = Scripted::start(Script::Tokens { count: 4000, gap }).unwrap();
    let two = Scripted::start(tokens(1)).unwrap();
    let relay = RelayOptions::over(&[&one.url, &two.url]).start().unwrap();
    let caller = Caller::of(&relay);
    let list = relay.admin(&["backends", "list"]).unwrap();
    let named = |url: &str| {
        let rows = list["backends"].as_array().unwrap();
        let row = rows.iter().find(|row| row["base_url"] == url).unwrap();
        row["backend_id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (named(&one.url), named(&two.url));

    relay.admin(&["backends", "cordon", &second]).unwrap();
    let before = two.requests();
    let body = Route::Openai.body(MODEL, 4096, true);
    let mut stream = caller.stream(Route::Openai, &body).await.unwrap();
    stream.until("word", 1).await.unwrap();
    assert_eq!((one.requests(), two.requests()), (1, before), "the other one has it");

    relay.admin(&["backends", "uncordon", &second]).unwrap();
    relay.admin(&["backends", "drain", &first, "--reason", "driver update"]).unwrap();
    assert_eq!(backend(&relay, &first)["state"], "draining", "a stream still runs there");
    for _ in 0..6 {
        let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, true)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    assert_eq!((one.requests(), two.requests()), (1, before + 6), "nothing new goes there");
    assert!(stream.more().await.unwrap(), "what runs goes on");
    drop(stream);
    eventually("the drain to end", async || {
        Ok((backend(&relay, &first)["state"] == "drained").then_some(()))
    })
    .await
    .unwrap();
    let told = |name: &str, kind: &str| {
        let events = relay.admin(&["events", "list", "--subject", name]).unwrap();
        let kinds = events["events"].as_array().unwrap().iter();
        kinds.filter(|event| event["kind"] == kind).count()
    };
    eventually("the event", async || Ok((told(&first, "backend.drained") == 1).then_some(())))
        .await
        .unwrap();
    assert_eq!(told(&first, "backend.draining"), 1);
    // Nothing runs on the other: its drain is over at once, and each one is told once.
    relay.admin(&["backends", "drain", &second, "--reason", "driver update"]).unwrap();
    eventually("the second event", async || {
        Ok((told(&second, "backend.drained") == 1).then_some(()))
    })
    .await
    .unwrap();
    relay.admin(&["backends", "uncordon", &second]).unwrap();
    let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, true)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((told(&first, "backend.drained"), told(&second, "backend.drained")), (1, 1));
    relay.admin(&["backends", "cordon", &second]).unwrap();
    let nobody = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await.unwrap();
    assert!(matches!(nobody.status, 502 | 503), "{}", nobody.text);
}

#[tokio::test]
async fn one_that_cannot_be_set_up_keeps_no_other_away() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let (one, two) = (Scripted::start(tokens(1)).unwrap(), Scripted::start(tokens(1)).unwrap());
    let credential = relay.dir().join("late.key");
    let described = |name: &str, url: &str, more: &str| {
        format!(
            "\n[[backend]]\nname = \"{name}\"\nurl = \"{url}\"\ndialect = \"openai\"\n\
             engine = \"unknown\"\nmodels = {{ \"{MODEL}\" = \"{MODEL}\" }}\n{more}"
        )
    };
    let file = format!("credential_file = \"{}\"\n", credential.display());
    rewrite(&relay, |export| {
        export.to_owned() + &described("locked", &one.url, &file) + &described("open", &two.url, "")
    });
    let is_up = async |name: &str| {
        eventually(name, async || {
            let shown = relay.admin(&["backends", "show", name]);
            Ok(shown.ok().filter(|shown| shown["state"] == "up"))
        })
        .await
        .unwrap()
    };
    is_up("open").await;
    relay.told("locked cannot be set up as it is described").await.unwrap();
    // The file comes later: nobody has to say so.
    let written = credential.with_extension("new");
    std::fs::write(&written, "sk-late-0123456789").unwrap();
    std::fs::set_permissions(&written, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::rename(&written, &credential).unwrap();
    is_up("locked").await;
    let caller = Caller::of(&relay);
    let name = relay.admin(&["backends", "list"]).unwrap();
    for other in name["backends"].as_array().unwrap() {
        if other["backend_id"] != "locked" {
            relay.admin(&["backends", "cordon", other["backend_id"].as_str().unwrap()]).unwrap();
        }
    }
    let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, true)).await.unwrap();
    assert_eq!((answer.status, one.requests()), (200, 1), "{}", answer.text);
}

#[tokio::test]
async fn a_drain_ends_a_stream_whose_reader_stands_still() {
    let (_engine, relay) = over_scripted(Script::Heavy { count: 4_000, bytes: 16 * 1024 }).await;
    let name = relay.admin(&["backends", "list"]).unwrap()["backends"][0]["backend_id"].clone();
    let name = name.as_str().unwrap();
    let caller = Caller::of(&relay);
    let mut stream =
        caller.stream(Route::Openai, &Route::Openai.body(MODEL, 4_096, true)).await.unwrap();
    stream.until("xxxx", 1).await.unwrap();
    relay.admin(&["backends", "drain", name, "--within", "1", "--reason", "driver"]).unwrap();
    // Nothing is read from here on: what it is sent waits in its own connection.
    eventually("the drain to end", async || {
        Ok((backend(&relay, name)["state"] == "drained").then_some(()))
    })
    .await
    .unwrap();
    relay.told("requests that still ran were ended, 1 of them").await.unwrap();
    drop(stream);
}

#[tokio::test]
async fn a_drain_with_a_bound_ends_what_outlives_it_and_says_how_much() {
    let gap = Duration::from_millis(20);
    let one = Scripted::start(Script::Tokens { count: 4000, gap }).unwrap();
    let two = Scripted::start(tokens(3)).unwrap();
    let relay = RelayOptions::over(&[&one.url, &two.url]).start().unwrap();
    let account = relay.account(DEV_TIER, "5").unwrap();
    let (caller, began) = (relay.caller(&account), relay.balance(&account).unwrap());
    let list = relay.admin(&["backends", "list"]).unwrap();
    let named = |url: &str| {
        let rows = list["backends"].as_array().unwrap();
        rows.iter().find(|row| row["base_url"] == url).unwrap()["backend_id"].clone()
    };
    let (first, second) = (named(&one.url), named(&two.url));
    let (first, second) = (first.as_str().unwrap(), second.as_str().unwrap());
    relay.admin(&["backends", "cordon", second]).unwrap();
    let mut stream =
        caller.stream(Route::Openai, &Route::Openai.body(MODEL, 4096, true)).await.unwrap();
    stream.until("word", 1).await.unwrap();
    // A second one has been taken and nothing of it was shown: it can still go elsewhere.
    one.then(Script::HangAfter(0));
    let waiting = caller.clone();
    let waiting = tokio::spawn(async move {
        waiting.chat(Route::Openai, &Route::Openai.body(MODEL, 8, true)).await.unwrap()
    });
    eventually("both to run", async || Ok((backend(&relay, first)["running"] == 2).then_some(())))
        .await
        .unwrap();
    relay.admin(&["backends", "uncordon", second]).unwrap();
    let drain = ["backends", "drain", first, "--within", "1", "--reason", "driver update"];
    let shown = relay.admin(&drain).unwrap();
    assert!(shown["drain_until_ms"].as_i64().unwrap() > 0, "{shown}");
    let cut = stream.rest().await.unwrap();
    assert!(cut.contains("taken out of service") && !cut.contains("[DONE]"), "{cut}");
    let elsewhere = waiting.await.unwrap();
    assert!(elsewhere.status == 200 && elsewhere.text.contains("[DONE]"), "{}", elsewhere.text);
    eventually("the drain to end", async || {
        Ok((backend(&relay, first)["state"] == "drained").then_some(()))
    })
    .await
    .unwrap();
    eventually("the event", async || {
        let events = relay.admin(&["events", "list", "--subject", first])?.to_string();
        Ok((events.contains("backend.cut") && events.contains("2 of them")).then_some(()))
    })
    .await
    .unwrap();
    // What was shown is paid for, and nothing else.
    let settled = relay.settled(&account, 2).await.unwrap();
    relay.check_charges(&account, began, &settled).unwrap();
    let back = relay.admin(&["backends", "uncordon", first]).unwrap();
    assert_eq!(back["drain_until_ms"], 0);
    one.then(tokens(1));
    relay.admin(&["backends", "cordon", second]).unwrap();
    let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, true)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
}

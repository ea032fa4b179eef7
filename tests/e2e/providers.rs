//! Providers: an agent dials in, is examined, approved, serves, and is taken out again.

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Agent, Caller, DEV_TIER, Llama, Relay, RelayOptions, Route, eventually};
use serde_json::Value;
use tokio::time::Duration;

use crate::start::tokens;

fn provider(relay: &Relay, agent: &Agent) -> anyhow::Result<Value> {
    relay.admin(&["providers", "show", &agent.provider])
}

async fn reaches(relay: &Relay, agent: &Agent, state: &str) -> Value {
    let found = eventually(&format!("the provider to be {state}"), async || {
        // Until its first greeting nobody knows it.
        let Ok(found) = provider(relay, agent) else { return Ok(None) };
        Ok((found["state"] == state).then_some(found))
    })
    .await;
    found
        .unwrap_or_else(|error| panic!("{error:#}\n{:?}\n{}", provider(relay, agent), agent.said()))
}

/// The provider's backends, as the operator sees them.
fn backends(relay: &Relay, agent: &Agent) -> Vec<Value> {
    let all = relay.admin(&["backends", "list"]).unwrap();
    let all = all["backends"].as_array().unwrap().clone();
    all.into_iter().filter(|backend| backend["provider_id"] == agent.provider.as_str()).collect()
}

/// Approves it and waits until its backend serves; gives the backend's name.
async fn approve(relay: &Relay, agent: &Agent) -> String {
    reaches(relay, agent, "pending").await;
    relay.admin(&["providers", "approve", &agent.provider, "--reason", "good evidence"]).unwrap();
    serves(relay, agent).await
}

async fn serves(relay: &Relay, agent: &Agent) -> String {
    let up = eventually("the provider's backend to serve", async || {
        let found = backends(relay, agent);
        let up = found.iter().find(|backend| backend["state"] == "up");
        Ok(up.map(|backend| backend["backend_id"].as_str().unwrap().to_owned()))
    });
    up.await.unwrap()
}

/// Turns traffic away from every backend of the operator's own.
fn cordon_own(relay: &Relay) {
    let all = relay.admin(&["backends", "list"]).unwrap();
    for backend in all["backends"].as_array().unwrap() {
        if backend["provider_id"] == "" {
            let name = backend["backend_id"].as_str().unwrap();
            relay.admin(&["backends", "cordon", name]).unwrap();
        }
    }
}

#[tokio::test]
async fn an_approved_provider_answers_every_format_and_is_billed_exactly() {
    let (own, theirs) = (Llama::start().unwrap(), Llama::start().unwrap());
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let pending = reaches(&relay, &agent, "pending").await;
    assert_eq!(pending["missing"].as_array().unwrap().len(), 0, "{pending}");
    let engine = &pending["engines"][0];
    assert_eq!((&engine["kind"], &engine["dialect"]), (&"llamacpp".into(), &"openai".into()));
    let model = relay.ready.models[0].clone();
    assert_eq!(engine["models"][0]["model"], model.as_str());
    let runs = engine["benchmarks"].as_array().unwrap();
    let at_once: Vec<_> = runs.iter().map(|run| run["concurrency"].as_u64().unwrap()).collect();
    assert_eq!(at_once, [1, 2, 4]);
    for run in runs {
        assert!(run["failed"] == 0 && run["tokens_per_ks"].as_u64().unwrap() > 0, "{run}");
    }
    // Nobody's request goes there before a person said so.
    assert!(backends(&relay, &agent).is_empty());

    let name = approve(&relay, &agent).await;
    assert_eq!(name, "gpu-1.llamacpp");
    cordon_own(&relay);
    let account = relay.account(DEV_TIER, "5").unwrap();
    let caller = relay.caller(&account);
    let mut asked = 0;
    for route in [Route::Openai, Route::Vllm, Route::Anthropic, Route::Ollama] {
        for stream in [false, true] {
            let answer = caller.chat(route, &route.body(&model, 8, stream)).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
            asked += 1;
        }
    }
    let rows = relay.settled(&account, asked).await.unwrap();
    relay.check_charges(&account, 5_000_000_000, &rows).unwrap();
    let served = &backends(&relay, &agent)[0];
    assert_eq!(served["requests"].as_u64().unwrap(), u64::try_from(asked).unwrap(), "{served}");
    relay.audit().unwrap();

    // Who decided is on record, and what happened is told.
    let audit = relay.admin(&["audit", "list", "--object", &agent.provider]).unwrap();
    assert_eq!(audit["entries"][0]["action"], "ProvidersService/ApproveProvider", "{audit}");
    for kind in ["provider.joined", "provider.connected", "provider.pending", "provider.approved"] {
        relay.told(kind).await.unwrap();
    }
}

#[tokio::test]
async fn nobody_is_approved_before_the_evidence_is_complete() {
    let own = Scripted::counting(tokens(3)).unwrap();
    let theirs = Scripted::start(tokens(3)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let ready = relay.dir().join("ready.json");
    let mut agent = Agent::join(&ready, "gpu-1", &[&theirs.url], &[]).unwrap();
    theirs.then(Script::UntilNext);
    agent.run().unwrap();
    reaches(&relay, &agent, "probing").await;
    let refused = relay.admin(&["providers", "approve", &agent.provider]).unwrap_err().to_string();
    assert!(refused.contains("its examination has not ended"), "{refused}");
    theirs.then(tokens(3));
    approve(&relay, &agent).await;
    let again = relay.admin(&["providers", "approve", &agent.provider]).unwrap_err().to_string();
    assert!(again.contains("is approved and cannot become approved"), "{again}");
}

#[tokio::test]
async fn a_provider_that_vanishes_costs_nobody_a_request_that_had_not_begun() {
    let gap = Duration::from_millis(20);
    let own = Scripted::counting(tokens(2)).unwrap();
    let theirs = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let mut agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let name = approve(&relay, &agent).await;
    cordon_own(&relay);
    let caller = Caller::of(&relay);
    let body = Route::Openai.body(MODEL, 4096, true);
    theirs.then(Script::Tokens { count: 4000, gap });
    let mut stream = caller.stream(Route::Openai, &body).await.unwrap();
    assert!(stream.more().await.unwrap());
    let mine = relay.admin(&["backends", "list"]).unwrap();
    for backend in mine["backends"].as_array().unwrap() {
        if backend["provider_id"] == "" {
            let own = backend["backend_id"].as_str().unwrap();
            relay.admin(&["backends", "uncordon", own]).unwrap();
        }
    }
    agent.kill();
    // What was shown stands, what is missing is said, nothing is retried.
    let rest = stream.rest().await.unwrap();
    assert!(rest.contains("\"error\""), "{rest}");
    for _ in 0..8 {
        let answer =
            caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    eventually("the provider's backend to be down", async || {
        let state = relay.admin(&["backends", "show", &name])?;
        Ok((state["state"] == "down").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(provider(&relay, &agent).unwrap()["connected"], false);

    // It comes back by itself as who it was, without being asked for anything.
    theirs.then(tokens(2));
    agent.run().unwrap();
    assert_eq!(serves(&relay, &agent).await, name);
    cordon_own(&relay);
    let before = theirs.requests();
    let answer = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await.unwrap();
    assert_eq!((answer.status, theirs.requests()), (200, before + 1));
    relay.audit().unwrap();
}

#[tokio::test]
async fn an_agent_that_answers_no_ping_is_gone_until_it_dials_again() {
    let (own, theirs) =
        (Scripted::counting(tokens(3)).unwrap(), Scripted::counting(tokens(3)).unwrap());
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    approve(&relay, &agent).await;
    // It stands still, and its connection stays open.
    agent.signal("STOP");
    eventually("two pings to be missed", async || {
        let found = backends(&relay, &agent);
        let gone = found[0]["state"] == "down";
        Ok((gone && found[0]["state_reason"] == "the provider is not connected").then_some(()))
    })
    .await
    .unwrap();
    relay.told("is not connected any more").await.unwrap();
    agent.signal("CONT");
    serves(&relay, &agent).await;
    cordon_own(&relay);
    let answer =
        Caller::of(&relay).chat(Route::Openai, &Route::Openai.body(MODEL, 8, false)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn a_reader_who_leaves_ends_the_work_on_the_providers_host() {
    let own = Scripted::counting(tokens(2)).unwrap();
    let theirs = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    approve(&relay, &agent).await;
    cordon_own(&relay);
    theirs.then(Script::Tokens { count: 4000, gap: Duration::from_millis(20) });
    let caller = Caller::of(&relay);
    let body = Route::Openai.body(MODEL, 4096, true);
    let mut stream = caller.stream(Route::Openai, &body).await.unwrap();
    assert!(stream.more().await.unwrap());
    drop(stream);
    eventually("the engine to be told", async || Ok((theirs.cancelled() == 1).then_some(())))
        .await
        .unwrap();
    eventually("the agent to count nothing", async || {
        let found = provider(&relay, &agent)?;
        Ok((found["engines"][0]["running"] == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_suspended_provider_serves_no_more_and_a_rejected_one_is_sent_away() {
    let own = Scripted::counting(tokens(2)).unwrap();
    let theirs = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let mut agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    approve(&relay, &agent).await;
    let who = agent.provider.clone();
    relay.admin(&["providers", "suspend", &who, "--reason", "slow today"]).unwrap();
    assert!(
        backends(&relay, &agent).is_empty() || {
            // The fleet takes the new rows within a moment.
            eventually("its backend to go", async || {
                Ok(backends(&relay, &agent).is_empty().then_some(()))
            })
            .await
            .is_ok()
        }
    );
    let found = provider(&relay, &agent).unwrap();
    assert_eq!((&found["connected"], &found["state_reason"]), (&true.into(), &"slow today".into()));
    relay.admin(&["providers", "approve", &who]).unwrap();
    serves(&relay, &agent).await;

    relay.admin(&["providers", "suspend", &who, "--reason", "again"]).unwrap();
    relay.admin(&["providers", "reject", &who, "--reason", "sold another model"]).unwrap();
    let ended = agent.wait(Duration::from_secs(20)).unwrap();
    assert!(!ended.success(), "{}", agent.said());
    assert!(agent.said().contains("sold another model"), "{}", agent.said());
    let missing = relay.admin(&["providers", "reject", &who]).unwrap_err().to_string();
    assert!(missing.contains("--reason"), "{missing}");
}

#[tokio::test]
async fn a_limit_bounds_its_engines_and_leaves_what_an_operator_set() {
    let own = Scripted::counting(tokens(2)).unwrap();
    let theirs = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let name = approve(&relay, &agent).await;
    relay.admin(&["backends", "weight", &name, "7"]).unwrap();
    relay.admin(&["providers", "limit", &agent.provider, "2"]).unwrap();
    let bounded = eventually("the bound", async || {
        let found = backends(&relay, &agent).remove(0);
        Ok((found["max_concurrency"] == 2).then_some(found))
    });
    let bounded = bounded.await.unwrap();
    assert_eq!(bounded["weight"], 7, "{bounded}");
    assert_eq!(provider(&relay, &agent).unwrap()["max_concurrency"], 2);
}

#[tokio::test]
async fn a_provider_serves_the_models_and_at_the_prices_that_an_operator_allows_and_earns_its_share()
 {
    let own = Scripted::counting(tokens(2)).unwrap();
    let theirs = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    approve(&relay, &agent).await;
    let who = agent.provider.clone();
    let limit = |words: &[&str]| {
        let mut all = vec!["providers", "limit", &who];
        all.extend(words);
        relay.admin(&all).unwrap()
    };
    let offers = async |what: &str, count: usize| {
        eventually(what, async || {
            let found = backends(&relay, &agent).remove(0);
            let models = found["models"].as_array().map_or(0, Vec::len);
            Ok((models == count).then_some(()))
        })
        .await
        .unwrap();
    };
    // A million answer tokens cost 0.6 credits here.
    let bound = limit(&["3", "--price-floor", "0.7"]);
    assert_eq!(
        (&bound["price_floor_ncr"], &bound["max_concurrency"]),
        (&700_000_000.into(), &3.into())
    );
    offers("it to serve nothing below its price", 0).await;
    let open = limit(&["--price-floor", "0.6"]);
    assert_eq!(open["max_concurrency"], 3, "what is not named stays: {open}");
    offers("it to serve at its price", 1).await;
    limit(&["--models", "some-other-model"]);
    offers("it to serve no model that it may not", 0).await;
    let open = limit(&["--models", "all"]);
    assert_eq!(open["models_allowed"], serde_json::json!([]), "{open}");
    offers("it to serve what it offers", 1).await;

    cordon_own(&relay);
    assert_eq!(provider(&relay, &agent).unwrap()["earned_ncr"], 0);
    let account = relay.account(DEV_TIER, "5").unwrap();
    let body = Route::Openai.body(MODEL, 400, false);
    for _ in 0..3 {
        let answer = relay.caller(&account).chat(Route::Openai, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let rows = relay.settled(&account, 3).await.unwrap();
    let share: i64 = rows.iter().map(|row| row.charged() * 8 / 10).sum();
    assert!(share > 0);
    assert_eq!(provider(&relay, &agent).unwrap()["earned_ncr"], share);
    relay.audit().unwrap();
}

#[tokio::test]
async fn an_invitation_lets_in_as_many_as_it_says() {
    let own = Scripted::counting(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let file = relay.dir().join("invitation.json");
    let out = file.to_str().unwrap();
    let made = relay.admin(&["providers", "invite", "--note", "for Ann", "--out", out]).unwrap();
    let id = made["invitation"]["invitation_id"].as_str().unwrap().to_owned();
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut first = Agent::join(&file, "ann", &[&own.url], &[]).unwrap();
    first.run().unwrap();
    reaches(&relay, &first, "pending").await;
    let mut second = Agent::join(&file, "bob", &[&own.url], &[]).unwrap();
    second.run().unwrap();
    assert!(!second.wait(Duration::from_secs(20)).unwrap().success());
    assert!(second.said().contains("invitation is missing, spent, expired"), "{}", second.said());
    assert!(provider(&relay, &second).is_err(), "nothing is stored of who was not let in");
    let listed = relay.admin(&["providers", "invitations"]).unwrap();
    let row = listed["invitations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["invitation_id"] == id.as_str());
    assert_eq!(row.unwrap()["uses_left"], 0, "{listed}");

    // A key that is known needs none: the spent one does not keep it out.
    first.kill();
    first.run().unwrap();
    eventually("the first to be back", async || {
        Ok((provider(&relay, &first)?["connected"] == true).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_model_that_nobody_counts_here_is_not_open_to_providers() {
    // Neither server counts tokens for others, so the model's row names no tokenizer.
    let own = Scripted::start(tokens(2)).unwrap();
    let theirs = Scripted::start(tokens(2)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let examined = eventually("the provider to be examined", async || {
        let Ok(found) = provider(&relay, &agent) else { return Ok(None) };
        Ok((found["missing"].as_array().is_some_and(|all| !all.is_empty())).then_some(found))
    });
    let missing = examined.await.unwrap()["missing"].to_string();
    assert!(missing.contains("is not open to providers: its row names no tokenizer"), "{missing}");
    let refused = relay.admin(&["providers", "approve", &agent.provider]).unwrap_err().to_string();
    assert!(refused.contains("names no tokenizer"), "{refused}");
}

#[tokio::test]
async fn a_provider_is_billed_by_our_count_whatever_it_claims() {
    let own = Scripted::counting(tokens(3)).unwrap();
    let theirs = Scripted::start(tokens(3)).unwrap();
    // Scored and not suspended: it shall go on claiming.
    let relay = RelayOptions::over(&[&own.url]).set("TRUST__AUTOMATIC", "false").start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    approve(&relay, &agent).await;
    cordon_own(&relay);
    theirs.then(Script::Inflated { count: 5, times: 40 });
    let account = relay.account(DEV_TIER, "5").unwrap();
    let caller = relay.caller(&account);
    let mut asked = 0;
    for route in [Route::Openai, Route::Anthropic, Route::Ollama] {
        for stream in [false, true] {
            let answer = caller.chat(route, &route.body(MODEL, 400, stream)).await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
            // The customer is shown what is billed, not the claim of 200.
            assert!(!answer.text.contains("\":200"), "{}", answer.text);
            asked += 1;
        }
    }
    let rows = relay.settled(&account, asked).await.unwrap();
    relay.check_charges(&account, 5_000_000_000, &rows).unwrap();
    for row in &rows {
        // Five words of four bytes; the prompt's text, and at most the row's 256 of the template.
        assert_eq!(row.meter("out_text"), 5, "{}", row.row);
        assert!(row.meter("in_uncached") <= 300, "{}", row.row);
    }
    // Eight tenths of each charge, rounded down, in the same transaction.
    let share: i64 = rows.iter().map(|row| row.charged() * 8 / 10).sum();
    assert!(share > 0);
    let shown = provider(&relay, &agent).unwrap();
    assert_eq!(shown["earned_ncr"], share, "{shown}");
    let listed = relay.admin(&["providers", "list"]).unwrap();
    assert_eq!(listed["providers"][0]["earned_ncr"], share);
    relay.audit().unwrap();
}

//! What the examination of a provider finds out of its engines: whose weights answer, how long a
//! prompt they take, and that they are measured once.

use relay_tests::scripted::{Script, Scripted};
use relay_tests::{Agent, FakeNvml, Llama, Relay, RelayOptions, eventually};
use serde_json::Value;

use crate::start::tokens;

fn shown(relay: &Relay, agent: &Agent) -> anyhow::Result<Value> {
    relay.admin(&["providers", "show", &agent.provider])
}

async fn examined(relay: &Relay, agent: &Agent) -> Value {
    let pending = eventually("a person to decide", async || {
        // Until its first greeting nobody knows it.
        let found = shown(relay, agent).ok();
        Ok(found.filter(|found| found["state"] == "pending"))
    });
    pending.await.unwrap_or_else(|error| panic!("{error:#}\n{:?}", shown(relay, agent)))
}

#[tokio::test]
async fn the_same_weights_are_recognised_and_their_context_is_verified() {
    let (own, theirs) = (Llama::start().unwrap(), Llama::start().unwrap());
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let found = examined(&relay, &agent).await;
    let identity = &found["engines"][0]["identity"][0];
    assert_eq!(identity["state"], "passed", "{found}");
    assert_eq!(
        (&identity["model"], &identity["upstream"]),
        (&"relay-tiny".into(), &"relay-tiny".into())
    );
    // One processor adds alike each time, but for requests that it happened to run together.
    assert!(identity["difference_milli"].as_u64().unwrap() < 50, "{identity}");
    assert!(identity["passed"].as_u64().unwrap() >= 2, "{identity}");
    let context = &found["engines"][0]["context"];
    assert_eq!(context["declared_tokens"], 1_024, "{found}");
    let verified = context["verified_tokens"].as_u64().unwrap();
    // What is left of 1,024 after the template's 256 and the answer's 24, in words of chance.
    assert!((600..1_024).contains(&verified), "{context}");
    let text = relay.admin_text(&["providers", "show", &agent.provider]).unwrap();
    assert!(text.contains("is it relay-tiny: passed; "), "{text}");
    assert!(
        text.contains(&format!("a prompt of {verified} tokens was taken (declared 1024")),
        "{text}"
    );
}

#[tokio::test]
async fn other_weights_under_the_same_name_fail_the_examination_and_a_person_is_told() {
    let own = Llama::start().unwrap();
    let place = Llama::start().unwrap().port();
    let theirs = Llama::other(place).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let found = examined(&relay, &agent).await;
    let identity = &found["engines"][0]["identity"][0];
    assert_eq!((&identity["state"], &identity["passed"]), (&"failed".into(), &0.into()), "{found}");
    let told = "was examined and waits for a decision; it does not answer as relay-tiny";
    relay.told(told).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_compared_is_not_offered_and_says_why() {
    let own = Scripted::counting(tokens(3)).unwrap();
    let theirs = Scripted::start(tokens(3)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let found = examined(&relay, &agent).await;
    let engine = &found["engines"][0];
    let identity = &engine["identity"][0];
    assert_eq!(
        (&identity["state"], &identity["asked"]),
        (&"not offered".into(), &0.into()),
        "{found}"
    );
    assert_eq!(identity["state_reason"], "only answers of llama.cpp and vLLM can be compared");
    // It takes any prompt and says that it read ten tokens of it.
    let context = &engine["context"];
    assert_eq!((&context["declared_tokens"], &context["verified_tokens"]), (&0.into(), &0.into()));
    let reason = context["state_reason"].as_str().unwrap();
    assert!(reason.ends_with("tokens it says that it read 10"), "{reason}");
}

#[tokio::test]
async fn an_engine_that_tells_no_likelihoods_is_compared_by_its_words() {
    let own = Scripted::counting(tokens(3)).unwrap();
    let theirs = Scripted::counting(Script::WordsAlone { count: 3 }).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let found = examined(&relay, &agent).await;
    let identity = &found["engines"][0]["identity"][0];
    assert_eq!((&identity["state"], &identity["asked"]), (&"passed".into(), &3.into()), "{found}");
}

#[tokio::test]
async fn engines_are_measured_once_while_declared_cards_are_awaited() {
    let nvml = FakeNvml::build("cards = 1\n").unwrap();
    let library = nvml.shared_object().display().to_string();
    let own = Scripted::counting(tokens(3)).unwrap();
    let theirs = Scripted::counting(tokens(3)).unwrap();
    let relay = RelayOptions::over(&[&own.url]).set("GPU__ENABLED", "false").start().unwrap();
    let ready = relay.dir().join("ready.json");
    let options = ["--nvml-library", library.as_str(), "--gpu", "2x H100 80GB"];
    let mut agent = Agent::join(&ready, "gpu-1", &[&theirs.url], &options).unwrap();
    agent.run().unwrap();
    let waits = eventually("its cards to be missed", async || {
        let found = shown(&relay, &agent).ok();
        Ok(found.filter(|found| found["missing"].to_string().contains("it declares 2x H100")))
    });
    let found = waits.await.unwrap();
    assert_eq!(found["engines"][0]["identity"][0]["state"], "passed", "{found}");
    let (asked, own_asked) = (theirs.requests(), own.requests());
    nvml.say("cards = 2\n").unwrap();
    let later = examined(&relay, &agent).await;
    assert_eq!(later["examined_at_ms"], found["examined_at_ms"], "{later}");
    assert_eq!((theirs.requests(), own.requests()), (asked, own_asked), "nothing was asked again");
}

#[tokio::test]
async fn an_own_engine_without_likelihoods_calls_nobody_another_model() {
    let own = Scripted::counting(Script::Reticent { count: 9 }).unwrap();
    let theirs = Scripted::counting(Script::Says("something else, and honestly so")).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let found = examined(&relay, &agent).await;
    let identity = &found["engines"][0]["identity"][0];
    assert_eq!((&identity["state"], &identity["asked"]), (&"not offered".into(), &0.into()));
    assert_eq!(identity["state_reason"], "the operator's own engine tells no likelihoods");
}

#[tokio::test]
async fn who_answers_no_question_stays_in_examination_and_has_ours_asked_nothing() {
    let own = Scripted::counting(tokens(3)).unwrap();
    // It streams, as it is measured by, and refuses what comes whole.
    let theirs = Scripted::counting(Script::StreamsAlone { count: 3 }).unwrap();
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
    let waits = eventually("its answers to be missed", async || {
        let found = shown(&relay, &agent).ok();
        Ok(found.filter(|found| found["missing"].to_string().contains("questions to")))
    });
    let found = waits.await.unwrap();
    assert_eq!(found["state"], "probing", "{found}");
    assert_eq!(found["missing"][0], "engine vllm left 5 questions to scripted unanswered");
    assert_eq!(own.likelihoods(), 0, "ours was asked nothing");
    theirs.then(tokens(3));
    let found = examined(&relay, &agent).await;
    assert_eq!(found["engines"][0]["identity"][0]["state"], "passed", "{found}");
    assert_eq!(own.likelihoods(), 3);
}

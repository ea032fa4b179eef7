//! Providers that cheat: each is found out, and every test says after how many requests.

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Agent, Caller, Relay, RelayOptions, Route, eventually};
use serde_json::Value;
use tokio::time::Duration;

use crate::start::tokens;

/// A relay whose only open engine is a provider's.
struct Scene {
    relay: Relay,
    agent: Agent,
    theirs: Scripted,
    _own: Scripted,
}

impl Scene {
    async fn new() -> Self {
        let own = Scripted::counting(tokens(3)).unwrap();
        let theirs = Scripted::counting(tokens(3)).unwrap();
        let relay = RelayOptions::over(&[&own.url]).start().unwrap();
        let agent = Agent::start(&relay, "gpu-1", &[&theirs.url]).unwrap();
        let scene = Self { relay, agent, theirs, _own: own };
        scene.until("a person to decide", |found| found["state"] == "pending").await;
        scene.relay.admin(&["providers", "approve", &scene.agent.provider]).unwrap();
        scene.serves().await;
        let all = scene.relay.admin(&["backends", "list"]).unwrap();
        for backend in all["backends"].as_array().unwrap() {
            if backend["provider_id"] == "" {
                let name = backend["backend_id"].as_str().unwrap();
                scene.relay.admin(&["backends", "cordon", name]).unwrap();
            }
        }
        scene
    }

    fn provider(&self) -> anyhow::Result<Value> {
        self.relay.admin(&["providers", "show", &self.agent.provider])
    }

    async fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = eventually(what, async || {
            // Until its first greeting nobody knows it.
            Ok(self.provider().ok().filter(|found| is(found)))
        });
        found.await.unwrap_or_else(|error| panic!("{error:#}\n{:?}", self.provider()))
    }

    async fn serves(&self) {
        eventually("its backend to serve", async || {
            let all = self.relay.admin(&["backends", "list"])?;
            let mut all = all["backends"].as_array().unwrap().iter();
            let up = |one: &Value| one["provider_id"] != "" && one["state"] == "up";
            Ok(all.any(up).then_some(()))
        })
        .await
        .unwrap();
    }

    /// One request with a prompt of its own, judged before the next one.
    async fn ask(&self, number: u64, stream: bool, cap: u64) {
        let before = weight(&self.provider().unwrap());
        let mut body = Route::Openai.body(MODEL, cap, stream);
        body["messages"][0]["content"] = format!("question {number}").into();
        let caller = Caller::of(&self.relay);
        if stream {
            if let Ok(stream) = caller.stream(Route::Openai, &body).await {
                let _ = stream.rest().await;
            }
        } else {
            let _ = caller.chat(Route::Openai, &body).await;
        }
        self.until("the request to be judged", |found| weight(found) != before).await;
    }

    /// Asks until it stands so; how many requests that took.
    async fn caught(&self, standing: &str, stream: bool, cap: u64) -> (u64, Value) {
        for number in 1..=20 {
            self.ask(number, stream, cap).await;
            let found = self.provider().unwrap();
            if found["reputation"]["standing"] == standing {
                return (number, found);
            }
        }
        panic!("not caught: {}", self.provider().unwrap());
    }

    /// Waits for an event that says so.
    async fn told(&self, words: &str) {
        self.relay.told(words).await.unwrap();
    }

    /// Suspended by the policy: explained in its state, its evidence and an event, and on record.
    async fn suspended_for(&self, dimension: &str) {
        let found = self.until("its suspension", |found| found["state"] == "suspended").await;
        let reason = found["state_reason"].as_str().unwrap();
        assert!(
            reason.starts_with(&format!("by policy: {dimension} has a lower bound")),
            "{reason}"
        );
        let step = &found["reputation"]["steps"][0];
        assert_eq!(
            (&step["to"], &step["score"]),
            (&"suspended".into(), &dimension.into()),
            "{found}"
        );
        self.told(reason).await;
        let audit = self.relay.admin(&["audit", "list", "--object", &self.agent.provider]).unwrap();
        let entry = &audit["entries"][0];
        assert_eq!(entry["action"], "ProvidersService/SuspendProvider", "{audit}");
        assert_eq!(entry["operator"], "relayd", "{audit}");
    }
}

/// Everything that was seen, as one text: it differs after each judgement.
fn weight(found: &Value) -> String {
    found["reputation"]["scores"].to_string()
}

#[tokio::test]
async fn an_honest_provider_is_scored_and_stays() {
    let scene = Scene::new().await;
    for number in 1..=6 {
        scene.ask(number, number % 2 == 0, 400).await;
    }
    let found = scene.provider().unwrap();
    assert_eq!(
        (&found["state"], &found["reputation"]["standing"]),
        (&"approved".into(), &"good".into())
    );
    assert_eq!(found["reputation"]["steps"], serde_json::json!([]), "{found}");
    let scores = found["reputation"]["scores"].as_array().unwrap();
    for score in scores {
        assert_eq!(score["bad_milli"], 0, "{score}");
        let named = score["score"].as_str().unwrap();
        assert_eq!(score["good_milli"].as_i64().unwrap() > 5_000, named != "identity", "{score}");
    }
}

#[tokio::test]
async fn a_newcomer_is_drawn_less_until_it_has_shown_what_it_does() {
    let scene = Scene::new().await;
    let drawn = || {
        let all = scene.relay.admin(&["backends", "list"]).unwrap();
        let all = all["backends"].as_array().unwrap().clone();
        let number = |one: &Value, field: &str| one[field].as_u64().unwrap();
        let both = |one: &Value| (number(one, "weight"), number(one, "effective_weight"));
        let (theirs, own): (Vec<_>, Vec<_>) = all.iter().partition(|one| one["provider_id"] != "");
        (both(theirs[0]), both(own[0]))
    };
    let until = async |what: &str, is: &dyn Fn(u64) -> bool| {
        let drawn = eventually(what, async || Ok(Some(drawn()).filter(|now| is(now.0.1))));
        drawn.await.unwrap()
    };
    let new = until("its rank to count", &|weight| weight < 100).await;
    assert_eq!(new, ((100, 13), (100, 100)), "of a newcomer's scores 5 % lie below 0.132");
    for number in 1..=8 {
        scene.ask(number, false, 400).await;
    }
    let proven = until("its good answers to count", &|weight| weight > 50).await;
    assert_eq!(proven.1, (100, 100));
    let all = scene.relay.admin(&["backends", "list"]).unwrap();
    let all = all["backends"].as_array().unwrap();
    let theirs = all.iter().find(|one| one["provider_id"] != "").unwrap();
    let name = theirs["backend_id"].as_str().unwrap();
    let text = scene.relay.admin_text(&["backends", "show", name]).unwrap();
    assert!(text.contains(&format!("100, drawn by {}", proven.0.1)), "{text}");
}

#[tokio::test]
async fn inflated_counts_are_caught_after_two_requests() {
    let scene = Scene::new().await;
    scene.theirs.then(Script::Inflated { count: 5, times: 40 });
    let (requests, found) = scene.caught("suspended", false, 400).await;
    assert_eq!(requests, 2, "{found}");
    let mishap = found["reputation"]["mishaps"][0]["text"].as_str().unwrap();
    assert_eq!(mishap, "claims 200 answer tokens for 5");
    scene.suspended_for("honesty").await;
}

#[tokio::test]
async fn truncated_output_is_caught_after_three_requests() {
    let scene = Scene::new().await;
    scene.theirs.then(Script::Truncated { count: 5 });
    let (requests, found) = scene.caught("suspended", true, 400).await;
    assert_eq!(requests, 3, "{found}");
    scene.suspended_for("quality").await;
}

#[tokio::test]
async fn replayed_answers_are_caught_after_four_requests() {
    let scene = Scene::new().await;
    scene.theirs.then(tokens(40));
    let (requests, found) = scene.caught("suspended", false, 400).await;
    assert_eq!(requests, 4, "the first answer is not a repetition: {found}");
    scene.suspended_for("quality").await;
}

#[tokio::test]
async fn a_slow_drip_is_on_probation_after_five_requests_and_serves_less() {
    let scene = Scene::new().await;
    scene.theirs.then(Script::Tokens { count: 6, gap: Duration::from_millis(250) });
    let (requests, found) = scene.caught("probation", true, 400).await;
    assert_eq!((requests, &found["state"]), (5, &"approved".into()), "{found}");
    scene.told("is on probation: latency has a lower bound of").await;
}

#[tokio::test]
async fn garbage_frames_are_caught_after_four_requests() {
    let scene = Scene::new().await;
    scene.theirs.then(Script::Garbage);
    let (requests, found) = scene.caught("suspended", true, 400).await;
    assert_eq!(requests, 4, "{found}");
    scene.suspended_for("availability").await;
}

#[tokio::test]
async fn vanishing_in_the_middle_of_streams_is_caught_after_four_requests() {
    let scene = Scene::new().await;
    scene.theirs.then(Script::ResetAfter(3));
    let (requests, found) = scene.caught("suspended", true, 400).await;
    assert_eq!(requests, 4, "{found}");
    scene.suspended_for("availability").await;
    // Whoever approves it again begins anew with it, and its past stays in sight.
    scene.relay.admin(&["providers", "approve", &scene.agent.provider]).unwrap();
    let found = scene.provider().unwrap();
    assert_eq!(found["reputation"]["standing"], "good", "{found}");
    assert_eq!(found["reputation"]["steps"].as_array().unwrap().len(), 1, "{found}");
}

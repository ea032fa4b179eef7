//! One request on several backends: hedged, raced, or answered by a quorum; and always charged once.

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Account, Agent, Caller, DEV_TIER, Relay, RelayOptions, Route, eventually};
use serde_json::Value;

use crate::start::tokens;

/// Takes a stream, begins it and says nothing.
const SILENT: Script = Script::HangAfter(0);

/// A Relay over engines, and a customer with ten dollars.
struct World {
    relay: Relay,
    engines: Vec<Scripted>,
    account: Account,
    began: i64,
}

impl World {
    fn start(scripts: &[Script]) -> Self {
        Self::start_with(scripts, |options| options)
    }

    fn start_with(scripts: &[Script], set: impl Fn(RelayOptions) -> RelayOptions) -> Self {
        let start = |script: &Script| Scripted::counting(script.clone()).unwrap();
        let engines: Vec<Scripted> = scripts.iter().map(start).collect();
        let urls: Vec<&str> = engines.iter().map(|engine| engine.url.as_str()).collect();
        let relay = set(RelayOptions::over(&urls)).start().unwrap();
        let account = relay.account(DEV_TIER, "10").unwrap();
        let began = relay.balance(&account).unwrap();
        Self { relay, engines, account, began }
    }

    /// Has requests run so from here on.
    async fn executes(&self, execution: &str) {
        let set = self.relay.admin(&["models", "execution", MODEL, execution]).unwrap();
        assert_eq!(set["execution"], execution);
        // Longer than the time between two looks at the settings.
        tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    }

    fn caller(&self) -> Caller {
        self.relay.caller(&self.account)
    }

    fn requests(&self) -> Vec<u64> {
        self.engines.iter().map(Scripted::requests).collect()
    }

    /// Every request was charged for one answer, none for its copies.
    async fn charged_once(&self, requests: usize) {
        let settled = self.relay.settled(&self.account, requests).await.unwrap();
        assert_eq!(settled.len(), requests);
        self.relay.check_charges(&self.account, self.began, &settled).unwrap();
        self.relay.audit().unwrap();
    }

    /// Requests until it is known what is late, each engine having answered twenty times, and until
    /// two may be sent twice; how many that were.
    async fn warm(&self, caller: &Caller) -> usize {
        let usual = Route::Openai.body(MODEL, 8, true);
        let ask = async |many: usize| {
            for _ in 0..many {
                assert!(streamed(caller, &usual).await.unwrap().contains("[DONE]"));
            }
        };
        ask(50).await;
        // Nothing was later than usual by much, but some were: it is spent sparingly.
        let early = usize::try_from(self.copies().await).unwrap();
        assert!(early <= 2, "{early} of 50");
        ask((2 - early) * 20).await;
        50 + (2 - early) * 20
    }

    async fn copies(&self) -> u64 {
        let metrics = Caller::at(&self.relay.ready.ops_url).get("/metrics").await.unwrap().text;
        let lines = metrics.lines().filter(|line| line.starts_with("relay_request_copies_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

/// A question that leaves nothing to chance.
fn greedy(number: u32, stream: bool) -> Value {
    let mut body = Route::Openai.body(MODEL, 64, stream);
    body["messages"][0]["content"] = format!("Which city? ({number})").into();
    body["temperature"] = 0.into();
    body
}

async fn streamed(caller: &Caller, body: &Value) -> anyhow::Result<String> {
    caller.stream(Route::Openai, body).await?.rest().await
}

#[tokio::test]
async fn a_late_stream_is_sent_twice_and_charged_once() {
    let world = World::start(&[tokens(3), tokens(3)]);
    let relay = &world.relay;
    relay.admin(&["models", "policy", MODEL, "round-robin"]).unwrap();
    world.executes("hedge").await;
    let caller = world.caller();
    let asked = world.warm(&caller).await;
    let usual = Route::Openai.body(MODEL, 8, true);
    let before = (world.engines[0].cancelled(), world.requests()[1], world.copies().await);
    world.engines[0].then(SILENT);
    // One after another: one of two goes to whom nothing comes from.
    for _ in 0..2 {
        assert!(streamed(&caller, &usual).await.unwrap().contains("[DONE]"));
    }
    assert_eq!(world.requests()[1], before.1 + 2, "both were answered by the other");
    assert_eq!(world.copies().await, before.2 + 1);
    eventually("the late copy to be cancelled", async || {
        Ok((world.engines[0].cancelled() > before.0).then_some(()))
    })
    .await
    .unwrap();
    world.charged_once(asked + 2).await;
}

#[tokio::test]
async fn a_late_copy_goes_where_no_other_is() {
    let world = World::start(&[tokens(3), tokens(3)]);
    world.relay.admin(&["models", "policy", MODEL, "round-robin"]).unwrap();
    world.executes("hedge").await;
    let caller = world.caller();
    world.warm(&caller).await;
    let body = Route::Openai.body(MODEL, 8, true);
    // Until the second answered: the first one is next.
    for _ in 0..4 {
        let before = world.requests();
        streamed(&caller, &body).await.unwrap();
        if world.requests() == [before[0], before[1] + 1] {
            break;
        }
    }
    world.engines[0].then(Script::Refuse(500, r#"{"error":{"message":"out of memory"}}"#));
    world.engines[1].then(SILENT);
    let before = world.requests();
    // It fails on the first and goes to the second, from which nothing comes: it is late there, and
    // the first has failed.
    let asked = streamed(&caller, &body);
    let nothing = tokio::time::timeout(std::time::Duration::from_millis(1_500), asked).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(world.requests(), [before[0] + 1, before[1] + 1], "nobody is asked twice");
}

#[tokio::test]
async fn a_race_is_won_by_who_has_content_first_and_the_others_are_free() {
    let world = World::start(&[tokens(3), SILENT, SILENT, tokens(3)]);
    world.executes("race:4").await;
    let caller = world.caller();
    for _ in 0..5 {
        let text = streamed(&caller, &Route::Openai.body(MODEL, 8, true)).await.unwrap();
        assert!(text.matches("word").count() == 3 && text.contains("[DONE]"), "{text}");
    }
    eventually("the silent ones to be cancelled, and no place to be held", async || {
        let silent = &world.engines[1..3];
        let all = world.relay.admin(&["backends", "list"])?;
        let mut running = all["backends"].as_array().unwrap().iter().map(|one| &one["running"]);
        let cancelled = silent.iter().all(|engine| engine.cancelled() >= 1);
        Ok((cancelled && running.all(|running| *running == 0)).then_some(()))
    })
    .await
    .unwrap();
    // Who fails has not won, whether he is asked first or last.
    for engine in &world.engines[1..] {
        engine.then(Script::Refuse(500, r#"{"error":{"message":"out of memory"}}"#));
    }
    let whole = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 8, false)).await.unwrap();
    assert_eq!(whole.status, 200, "{}", whole.text);
    world.charged_once(6).await;
    assert!(world.copies().await >= 15);
}

#[tokio::test]
async fn a_quorum_answers_what_enough_agree_about_and_nothing_else() {
    let (paris, lyon) = (Script::Says("Paris"), Script::Says("Lyon"));
    let world = World::start(&[lyon.clone(), paris.clone(), paris.clone()]);
    world.executes("quorum:3:2").await;
    let caller = world.caller();
    for number in 0..6 {
        let answer = caller.chat(Route::Openai, &greedy(number, false)).await.unwrap();
        let said = answer.json()["choices"][0]["message"]["content"].clone();
        assert_eq!((answer.status, said), (200, "Paris".into()), "{}", answer.text);
    }
    for number in 6..9 {
        let text = streamed(&caller, &greedy(number, true)).await.unwrap();
        assert!(
            text.contains("Paris") && text.contains("[DONE]") && !text.contains("Lyon"),
            "{text}"
        );
    }
    world.charged_once(9).await;
    // Without a quorum nobody is answered, and nothing is charged.
    world.engines[1].then(Script::Says("Marseille"));
    let balance = world.relay.balance(&world.account).unwrap();
    let none = caller.chat(Route::Openai, &greedy(10, false)).await.unwrap();
    assert_eq!(none.status, 502, "{}", none.text);
    assert!(none.text.contains("fewer than 2 providers"), "{}", none.text);
    let none = caller.chat(Route::Openai, &greedy(11, true)).await.unwrap();
    assert_eq!(none.status, 502, "{}", none.text);
    world.charged_once(11).await;
    assert_eq!(world.relay.balance(&world.account).unwrap(), balance);
    // What is left to chance is not compared.
    let before: u64 = world.requests().iter().sum();
    let free = caller.chat(Route::Openai, &Route::Openai.body(MODEL, 8, false)).await.unwrap();
    assert_eq!(free.status, 200, "{}", free.text);
    assert_eq!(world.requests().iter().sum::<u64>(), before + 1);
    let wrong = world.relay.admin(&["models", "execution", MODEL, "quorum:4:2"]).unwrap_err();
    assert!(wrong.to_string().contains("more than half"), "{wrong}");
    world.relay.told("model.execution_changed").await.unwrap();
}

#[tokio::test]
async fn a_reader_who_stands_still_on_an_answer_of_a_quorum_has_no_more_time_than_others() {
    // The whole answer is there at once, and more than all buffers on the way to him take.
    let heavy = Script::Heavy { count: 2_000, bytes: 16 * 1024 };
    let world = World::start_with(&[heavy.clone(), heavy], |options| {
        options.set("CHAT__TOTAL_TIMEOUT", "15s").set("HTTP__WRITE_STALL", "30m")
    });
    world.executes("quorum:2:2").await;
    let mut body = greedy(1, true);
    body["max_tokens"] = 4_096.into();
    let mut stream = world.caller().stream(Route::Openai, &body).await.unwrap();
    stream.until("xxxx", 1).await.unwrap();
    // Nothing is read from here on. Its time is over long before anybody calls him stalled.
    let settled = world.relay.settled(&world.account, 1).await.unwrap();
    assert_eq!(settled[0].outcome(), "failed UPSTREAM_TIMEOUT");
    let left = world.relay.balance(&world.account).unwrap();
    assert!(left < world.began, "what he was handed was generated for him");
    world.charged_once(1).await;
    drop(stream);
}

#[tokio::test]
async fn a_provider_that_answers_otherwise_than_a_quorum_is_found_out() {
    let paris = Script::Says("Paris is the capital");
    let world = World::start(&[tokens(3), tokens(3)]);
    let theirs = Scripted::counting(tokens(3)).unwrap();
    let agent = Agent::start(&world.relay, "gpu-1", &[&theirs.url]).unwrap();
    let found = || world.relay.admin(&["providers", "show", &agent.provider]);
    let until = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        eventually(what, async || Ok(found().ok().filter(|found| is(found)))).await.unwrap()
    };
    until("a person to decide", &|found| found["state"] == "pending").await;
    world.relay.admin(&["providers", "approve", &agent.provider]).unwrap();
    eventually("its backend to serve", async || {
        let all = world.relay.admin(&["backends", "list"])?;
        let mut all = all["backends"].as_array().unwrap().iter();
        Ok(all.any(|one| one["provider_id"] != "" && one["state"] == "up").then_some(()))
    })
    .await
    .unwrap();
    world.executes("quorum:3:3").await;
    world.engines.iter().for_each(|engine| engine.then(paris.clone()));
    theirs.then(paris.clone());
    let caller = world.caller();
    let agreed = caller.chat(Route::Openai, &greedy(0, false)).await.unwrap();
    assert_eq!(agreed.status, 200, "all three agree: {}", agreed.text);
    world.executes("quorum:3:2").await;
    theirs.then(Script::Says("Lyon"));
    let identity = |found: &Value| {
        let mishaps = found["reputation"]["mishaps"].as_array().unwrap().iter();
        mishaps.filter(|mishap| mishap["score"] == "identity").count()
    };
    let mut asked = 0;
    let caught = loop {
        asked += 1;
        assert!(asked <= 3, "not caught: {}", found().unwrap());
        // One of the others answers last, so that this one is heard before two agree.
        world.engines[1].then(Script::UntilNext);
        let (caller, before) = (caller.clone(), theirs.requests());
        let asking = tokio::spawn(async move {
            caller.chat(Route::Openai, &greedy(asked, false)).await.unwrap().status
        });
        eventually("its answer to be there", async || {
            let all = world.relay.admin(&["backends", "list"])?;
            let mut all = all["backends"].as_array().unwrap().iter();
            let done = all.any(|one| one["provider_id"] != "" && one["running"] == 0);
            Ok((done && theirs.requests() > before).then_some(()))
        })
        .await
        .unwrap();
        world.engines[1].then(paris.clone());
        assert_eq!(asking.await.unwrap(), 200, "two agree");
        let judged = usize::try_from(asked).unwrap();
        let found = until("it to be judged", &|found| identity(found) == judged).await;
        if found["reputation"]["standing"] != "good" {
            break found;
        }
    };
    assert_eq!(asked, 2, "one mishap is none");
    let step = &caught["reputation"]["steps"][0];
    assert_eq!(step["score"], "identity", "{caught}");
    assert!(caught.to_string().contains("otherwise than a quorum"), "{caught}");
}

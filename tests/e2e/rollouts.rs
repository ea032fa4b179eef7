//! Models rolled out under load: a bad revision goes back by itself, a good one takes all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Account, Caller, DEV_TIER, Relay, RelayOptions, Route, eventually};
use serde_json::Value;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, MissedTickBehavior};

use crate::backends::rewrite;
use crate::start::tokens;

/// Requests a second, half of them streamed.
const RATE: u32 = 200;

/// Requests under way at most: fewer than one engine and its queue take. A machine that is too slow
/// for the rate is asked less; what it refuses when it is full is another test.
const UNDER_WAY: usize = 32;

/// A Relay over two engines, of which the first alone serves, as revision 2.
struct World {
    relay: Relay,
    old: Scripted,
    new: Scripted,
    names: [String; 2],
}

impl World {
    fn start(new: Script) -> Self {
        let old = Scripted::start(tokens(8)).unwrap();
        let new = Scripted::start(new).unwrap();
        let relay = RelayOptions::over(&[&old.url, &new.url]).start().unwrap();
        let list = relay.admin(&["backends", "list"]).unwrap();
        let names = [&old, &new].map(|engine| {
            let rows = list["backends"].as_array().unwrap();
            let row = rows.iter().find(|row| row["base_url"] == engine.url).unwrap();
            row["backend_id"].as_str().unwrap().to_owned()
        });
        let world = Self { relay, old, new, names };
        // The first revision that is made keeps how the model was served, here by both.
        assert_eq!(world.revise(0), 2);
        world.start_rollout(2, &[]);
        for _ in 0..5 {
            world.rollouts(&["advance", MODEL]);
        }
        let shown = world.shown();
        assert_eq!(
            (&shown["live_revision"], &shown["rollout"]["state"]),
            (&Value::from(2), &Value::from("completed"))
        );
        assert_eq!(world.revise(1), 3);
        world
    }

    fn rollouts(&self, arguments: &[&str]) -> Value {
        self.relay.admin(&[&["rollouts"], arguments].concat()).unwrap()
    }

    fn shown(&self) -> Value {
        self.rollouts(&["show", MODEL])
    }

    /// Makes a revision that runs on one of the engines.
    fn revise(&self, engine: usize) -> u64 {
        let made = self.rollouts(&["revise", MODEL, "--target", &self.names[engine]]);
        made["number"].as_u64().unwrap()
    }

    fn start_rollout(&self, revision: u32, plan: &[&str]) -> Value {
        let number = revision.to_string();
        self.rollouts(&[&["start", MODEL, &number, "--reason", "newer weights"], plan].concat())
    }

    async fn ended(&self) -> Value {
        eventually("the rollout to end", async || {
            let rollout = self.shown()["rollout"].clone();
            Ok((rollout["state"] != "running").then_some(rollout))
        })
        .await
        .unwrap()
    }
}

/// An open loop up to a bound: a request begins whether or not the others have ended. What the
/// machine missed is not caught up with: two hundred at once would be another test.
struct Load {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Outcomes>,
    begun: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Outcomes {
    whole: usize,
    failed: Vec<String>,
    took: Duration,
}

impl Load {
    fn begin(caller: &Caller) -> Self {
        let (stop, begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let running = tokio::spawn({
            let (stop, begun, caller) = (Arc::clone(&stop), Arc::clone(&begun), caller.clone());
            async move {
                let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let (mut asking, mut outcomes) = (JoinSet::new(), Outcomes::default());
                let began = Instant::now();
                while !stop.load(Ordering::SeqCst) {
                    ticks.tick().await;
                    if asking.len() >= UNDER_WAY
                        && let Some(ended) = asking.join_next().await
                    {
                        outcomes.take(ended.unwrap());
                    }
                    let n = begun.fetch_add(1, Ordering::SeqCst);
                    let caller = caller.clone();
                    asking.spawn(async move { ask(&caller, n).await });
                    while let Some(ended) = asking.try_join_next() {
                        outcomes.take(ended.unwrap());
                    }
                }
                while let Some(ended) = asking.join_next().await {
                    outcomes.take(ended.unwrap());
                }
                outcomes.took = began.elapsed();
                outcomes
            }
        });
        Self { stop, running, begun }
    }

    async fn reaches(&self, requests: usize) {
        eventually("traffic", async || {
            Ok((self.begun.load(Ordering::SeqCst) >= requests).then_some(()))
        })
        .await
        .unwrap();
    }

    async fn end(self) -> Outcomes {
        self.stop.store(true, Ordering::SeqCst);
        self.running.await.unwrap()
    }
}

impl Outcomes {
    /// Requests a second: the rate, or what the machine can do.
    fn rate(&self) -> f64 {
        (self.whole + self.failed.len()) as f64 / self.took.as_secs_f64()
    }

    fn take(&mut self, ended: Result<(), String>) {
        match ended {
            Ok(()) => self.whole += 1,
            Err(why) => self.failed.push(why),
        }
    }
}

async fn ask(caller: &Caller, n: usize) -> Result<(), String> {
    let (route, streams) = (Route::ALL[n % 4], (n / 4).is_multiple_of(2));
    let answer = caller.chat(route, &route.body(MODEL, 40, streams)).await;
    let answer = answer.map_err(|error| format!("{error:#}"))?;
    let complete = answer.status == 200 && (!streams || answer.text.contains(route.end_marker()));
    if complete { Ok(()) } else { Err(format!("{route:?} {}: {}", answer.status, answer.text)) }
}

/// Every request's bill is its price times its usage, and nothing is held any more.
async fn bills_are_right(world: &World, account: &Account, began: i64, requests: usize) {
    let rows = world.relay.settled(account, requests).await.unwrap();
    assert_eq!(rows.len(), requests, "one row a request, and none for a copy");
    world.relay.check_charges(account, began, &rows).unwrap();
    world.relay.audit().unwrap();
}

// The daemon is asked by blocking commands while the load runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_revision_under_load_goes_back_by_itself() {
    const STEP: u64 = 10;
    let world = World::start(Script::Flaky { count: 8, every: 5 });
    let account = world.relay.account(DEV_TIER, "50").unwrap();
    let began = world.relay.balance(&account).unwrap();
    let load = Load::begin(&world.relay.caller(&account));
    load.reaches(200).await;
    assert_eq!(world.new.requests(), 0, "a revision without a rollout gets nothing");
    let (window, steps) = ("20s", STEP.to_string() + ",50,100");
    let started =
        world.start_rollout(3, &["--steps", &steps, "--window", window, "--min-samples", "50"]);
    assert_eq!(
        (&started["state"], &started["share_permille"]),
        (&Value::from("running"), &Value::from(100))
    );
    let before = load.begun.load(Ordering::SeqCst);
    let ended = world.ended().await;
    let (asked, during) = (world.new.requests(), load.begun.load(Ordering::SeqCst) - before);
    load.reaches(before + during + 200).await;
    let outcomes = load.end().await;

    assert_eq!(ended["state"], "rolled_back", "{ended:#}");
    let reason = ended["state_reason"].as_str().unwrap();
    assert!(reason.starts_with("errors ") && reason.contains("p < 0.0001"), "{reason}");
    let last = ended["history"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["by"], &last["step"]), (&Value::from("gates"), &Value::from(0)));
    let late = world.new.requests() - asked;
    assert!(late <= 10, "{late} requests more once it was rolled back");
    // One in five of those that the step lets through, and only those that had begun to answer:
    // the others were served by the old revision after all.
    let failed = outcomes.failed.len() as u64;
    println!(
        "{:.0} a second, {during} requests during the rollout, {asked} on the new revision, {failed} seen to fail, rolled back: {reason}",
        outcomes.rate()
    );
    assert!(failed <= (asked + late).div_ceil(5), "{failed} of {asked}: {:?}", outcomes.failed);
    assert!(outcomes.failed.iter().all(|why| why.contains(" 200: ")), "{:?}", outcomes.failed);
    // A tenth, give or take four standard deviations.
    let most = during as f64 / 10.0 + 4.0 * (during as f64 * 0.09).sqrt() + 1.0;
    assert!(asked as f64 <= most, "{asked} of {during} at a share of {STEP} %");
    let total = outcomes.whole + outcomes.failed.len();
    bills_are_right(&world, &account, began, total).await;
    world.relay.told("rollout.rolled_back").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_revision_under_load_takes_all_and_no_bill_is_wrong() {
    let world = World::start(tokens(8));
    let account = world.relay.account(DEV_TIER, "50").unwrap();
    let began = world.relay.balance(&account).unwrap();
    let load = Load::begin(&world.relay.caller(&account));
    load.reaches(100).await;
    let plan = [
        &["--steps", "10,50,100", "--window", "1s", "--min-samples", "50"][..],
        // Two stand-ins on a busy machine differ by more than models do.
        &["--gate", "ttft=500", "--gate", "tokens_per_second=off"],
    ];
    world.start_rollout(3, &plan.concat());
    let ended = world.ended().await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    let (old, new) = (world.old.requests(), world.new.requests());
    load.reaches(load.begun.load(Ordering::SeqCst) + 200).await;
    let outcomes = load.end().await;
    assert!(outcomes.failed.is_empty(), "{:?}", outcomes.failed);
    assert!(world.old.requests() - old <= 20, "what had begun there, and no more");
    assert!(world.new.requests() >= new + 150);
    let shares: Vec<_> = ended["history"].as_array().unwrap().iter().collect();
    let shares: Vec<_> = shares.iter().map(|note| &note["share_permille"]).collect();
    assert_eq!(shares, [100, 500, 1_000, 1_000]);
    println!("{} requests, {:.0} a second, none failed", outcomes.whole, outcomes.rate());
    bills_are_right(&world, &account, began, outcomes.whole).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_stays_and_copies_are_neither_billed_nor_shown() {
    let world = World::start(tokens(3));
    let account = world.relay.account(DEV_TIER, "5").unwrap();
    let began = world.relay.balance(&account).unwrap();
    let caller = world.relay.caller(&account);
    // Copies of all, and nothing else at first.
    world.start_rollout(3, &["--steps", "0,50,100", "--shadow", "100"]);
    let old = world.old.requests();
    for n in 0..20 {
        let route = Route::ALL[n % 4];
        let answer = caller.chat(route, &route.body(MODEL, 40, n.is_multiple_of(3))).await.unwrap();
        assert_eq!(
            (answer.status, answer.text.contains("wordwordwordword")),
            (200, !n.is_multiple_of(3))
        );
    }
    assert_eq!(world.old.requests(), old + 20, "every caller hears the old revision");
    let shadowed = eventually("the copies' figures", async || {
        let rollout = world.shown()["rollout"].clone();
        Ok((rollout["shadow_figures"]["requests"] == 20).then_some(rollout))
    })
    .await
    .unwrap();
    assert_eq!((&shadowed["to_figures"]["requests"], world.new.requests()), (&Value::from(0), 20));
    assert_eq!(shadowed["shadow_figures"]["tokens_out"], 60);
    bills_are_right(&world, &account, began, 20).await;

    world.rollouts(&["advance", MODEL]);
    let mut on_new = 0;
    for session in 0..24 {
        let mut to_new = Vec::new();
        for _ in 0..3 {
            let before = world.old.requests();
            let asked = caller
                .request(reqwest::Method::POST, Route::Openai.path())
                .header("x-session-id", format!("conversation-{session}"))
                .body(Route::Openai.body(MODEL, 4, false).to_string());
            assert_eq!(asked.send().await.unwrap().status().as_u16(), 200);
            to_new.push(world.old.requests() == before);
        }
        assert!(to_new.iter().all(|there| *there == to_new[0]), "session {session}: {to_new:?}");
        on_new += usize::from(to_new[0]);
    }
    // Half of 24, give or take four standard deviations.
    assert!((3..=21).contains(&on_new), "{on_new} of 24 sessions on the new revision");
    world.rollouts(&["rollback", MODEL, "--reason", "enough"]);
    let before = world.new.requests();
    for _ in 0..10 {
        let body = Route::Openai.body(MODEL, 4, false);
        assert_eq!(caller.chat(Route::Openai, &body).await.unwrap().status, 200);
    }
    assert_eq!(world.new.requests(), before, "no request and no copy any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_says_nothing_goes_back_though_every_caller_leaves() {
    // It takes every request and its stream never begins; nobody waits for the relay's own bound.
    let world = World::start(Script::HangAfter(0));
    let account = world.relay.account(DEV_TIER, "5").unwrap();
    let caller = world.relay.caller(&account);
    let plan = ["--steps", "50,100", "--window", "2s", "--min-samples", "30"];
    world.start_rollout(3, &plan);
    let impatient = async |_: usize| {
        let body = Route::Openai.body(MODEL, 40, true);
        let asked = async { caller.stream(Route::Openai, &body).await?.rest().await };
        tokio::time::timeout(Duration::from_millis(400), asked).await.is_ok()
    };
    let (mut served, mut left) = (0, 0);
    while world.shown()["rollout"]["state"] == "running" {
        for was_served in futures::future::join_all((0..16).map(impatient)).await {
            if was_served { served += 1 } else { left += 1 }
        }
        assert!(served + left < 3_000, "nobody heard it: {}", world.shown()["rollout"]);
    }
    let ended = world.shown()["rollout"].clone();
    assert_eq!(ended["state"], "rolled_back", "{ended:#}");
    let reason = ended["state_reason"].as_str().unwrap();
    assert!(reason.contains("of the first content"), "{reason}");
    assert!(left >= 15 && served > left / 4, "{served} served, {left} left");
    println!("rolled back after {left} callers left and {served} were served: {reason}");
    world.relay.settled(&account, served + left).await.unwrap();
    world.relay.audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_answers_other_than_known_goes_back() {
    // As fast and as sound as the old one, and it says something else.
    let world = World::start(Script::Heavy { count: 8, bytes: 4 });
    let account = world.relay.account(DEV_TIER, "50").unwrap();
    let began = world.relay.balance(&account).unwrap();
    let canaries = world.relay.dir().join("canaries.json");
    std::fs::write(&canaries, r#"[{"prompt": "say it", "expect": "WordWord"}]"#).unwrap();
    let load = Load::begin(&world.relay.caller(&account));
    let plan = [
        &["--steps", "25,100", "--window", "3s", "--min-samples", "50"][..],
        &["--gate", "ttft=500", "--gate", "tokens_per_second=off"],
        &["--canaries", canaries.to_str().unwrap()],
    ];
    world.start_rollout(3, &plan.concat());
    let ended = world.ended().await;
    let outcomes = load.end().await;
    assert_eq!(ended["state"], "rolled_back", "{ended:#}");
    let reason = ended["state_reason"].as_str().unwrap();
    assert!(reason.starts_with("canary prompts answered as expected 0.0 %"), "{reason}");
    let verdict = |gate: &str| {
        let gates = ended["gates"].as_array().unwrap().iter();
        gates.clone().find(|result| result["gate"] == gate).unwrap()["verdict"].clone()
    };
    assert_eq!((verdict("errors"), verdict("canary")), ("passed".into(), "failed".into()));
    assert!(outcomes.failed.is_empty(), "{:?}", outcomes.failed);
    println!("{} requests, none failed, rolled back: {reason}", outcomes.whole);
    // What was asked to look at the revisions is on nobody's bill.
    bills_are_right(&world, &account, began, outcomes.whole).await;
}

#[tokio::test]
async fn that_all_are_busy_is_no_revisions_error_and_that_only_the_new_one_is_counts() {
    let world = World::start(Script::UntilNext);
    rewrite(&world.relay, |export| {
        export
            .replace("max_concurrency = 16", "max_concurrency = 1")
            .replace("queue = 256", "queue = 0")
    });
    eventually("no queues", async || {
        let all = world.relay.admin(&["backends", "list"])?;
        let mut all = all["backends"].as_array().unwrap().iter();
        Ok(all.all(|backend| backend["queue_limit"] == 0).then_some(()))
    })
    .await
    .unwrap();
    world.old.then(Script::UntilNext);
    let ask = || {
        let caller = Caller::of(&world.relay);
        tokio::spawn(async move {
            caller.chat(Route::Openai, &Route::Openai.body(MODEL, 4, false)).await.unwrap()
        })
    };
    // Of the old revision and the new one: failed, cancelled.
    let traffic = || {
        let shown = world.shown();
        let of = |number: u64| {
            let mut all = shown["traffic"].as_array().unwrap().iter();
            let found = all.find(|traffic| traffic["revision"] == number)?;
            let figures = &found["figures"];
            Some((figures["failed"].as_u64()?, figures["cancelled"].as_u64()?))
        };
        (of(2), of(3))
    };
    // All of it goes to the new revision.
    world.start_rollout(3, &["--steps", "50,100", "--window", "1h", "--min-samples", "50"]);
    world.rollouts(&["advance", MODEL]);
    let there = ask();
    eventually("one on the new revision", async || Ok((world.new.requests() == 1).then_some(())))
        .await
        .unwrap();
    let before = world.old.requests();
    let instead = ask();
    eventually("one on the old", async || Ok((world.old.requests() > before).then_some(())))
        .await
        .unwrap();
    let refused = ask().await.unwrap();
    assert_eq!(refused.outcome(), "503 CAPACITY_EXHAUSTED", "{}", refused.text);
    eventually("what it says of each", async || {
        // Each request counts on the side that it was given to, once.
        let (old, new) = traffic();
        Ok((old.is_none_or(|old| old == (0, 0)) && new == Some((1, 1))).then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}: {:#}", world.shown()["traffic"]));
    world.new.then(tokens(1));
    world.old.then(tokens(1));
    for admitted in [there, instead] {
        assert_eq!(admitted.await.unwrap().status, 200);
    }
}

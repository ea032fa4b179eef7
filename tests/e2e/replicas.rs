//! Two and three relayds over one PostgreSQL: they agree, one may die, and one may follow the
//! other on the same sockets without a caller noticing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context as _;
use futures::future::join_all;
use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{
    Agent, Caller, DEV_TIER, Database, Relay, RelayOptions, Route, Sockets, eventually,
};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use crate::start::tokens;

/// A database with a first replica, and more beside it.
struct Replicas {
    relays: Vec<Relay>,
    sockets: Vec<Sockets>,
}

impl Replicas {
    async fn start(engines: &[&str], count: usize) -> Self {
        let database = Database::create().await.unwrap();
        let first = RelayOptions::over(engines).on(&database).unwrap().start().unwrap();
        let sockets: Vec<_> = (1..count).map(|_| Sockets::bind().unwrap()).collect();
        let more: Vec<_> = sockets.iter().map(|own| first.replica(own).unwrap()).collect();
        let relays = std::iter::once(first).chain(more).collect();
        Self { relays, sockets }
    }

    fn callers(&self, key: &str) -> Vec<Caller> {
        let at = |relay: &Relay| Caller::at(&relay.ready.public_url).with_key(key);
        self.relays.iter().map(at).collect()
    }
}

async fn status(caller: &Caller) -> u16 {
    caller.chat(Route::Openai, &Route::Openai.body(MODEL, 16, false)).await.unwrap().status
}

fn backend(relay: &Relay) -> Value {
    relay.admin(&["backends", "list"]).unwrap()["backends"][0].clone()
}

#[tokio::test]
async fn three_agree_about_keys_limits_credit_and_cordons() {
    let engine = Scripted::start(tokens(3)).unwrap();
    let replicas = Replicas::start(&[&engine.url], 3).await;
    let [one, two, three] = &replicas.relays[..] else { panic!("three were started") };

    // A key made on one is good on all at once, and revoked on another it ends everywhere.
    let account = one.account(DEV_TIER, "5").unwrap();
    let callers = replicas.callers(&account.key);
    for caller in &callers {
        assert_eq!(status(caller).await, 200);
    }
    two.admin(&["keys", "revoke", &account.key_id, "--reason", "leaked"]).unwrap();
    let revoked = Instant::now();
    eventually("the key to end everywhere", async || {
        let all = join_all(callers.iter().map(status)).await;
        Ok(all.iter().all(|status| *status == 401).then_some(()))
    })
    .await
    .unwrap();
    println!("revoked everywhere after {:?}", revoked.elapsed());

    // 15 a minute are 15 a minute, whoever is asked.
    let limited = three.account("basic", "1").unwrap();
    let mut asking = JoinSet::new();
    for caller in replicas.callers(&limited.key).into_iter().cycle().take(45) {
        asking.spawn(async move { status(&caller).await });
    }
    let all = asking.join_all().await;
    assert_eq!(all.iter().filter(|status| **status == 200).count(), 15, "{all:?}");
    assert_eq!(all.iter().filter(|status| **status == 429).count(), 30, "{all:?}");

    // A backend cordoned on one gets nothing from another.
    let name = backend(one)["backend_id"].as_str().unwrap().to_owned();
    one.admin(&["backends", "cordon", &name]).unwrap();
    let cordoned = Instant::now();
    eventually("the cordon to be seen", async || {
        let seen = [two, three].map(|relay| backend(relay)["state"] == "cordoned");
        Ok(seen.iter().all(|seen| *seen).then_some(()))
    })
    .await
    .unwrap();
    println!("cordoned everywhere after {:?}", cordoned.elapsed());
    let account = two.account(DEV_TIER, "5").unwrap();
    assert_eq!(status(&three.caller(&account)).await, 502);
    three.admin(&["backends", "uncordon", &name]).unwrap();
    eventually("the end of it", async || {
        Ok((status(&one.caller(&account)).await == 200).then_some(()))
    })
    .await
    .unwrap();
    one.audit().unwrap();
}

/// A rollout that begins on one replica, is led from another and ends on a third.
#[tokio::test]
async fn three_agree_about_a_rollout() {
    let engines = [Scripted::start(tokens(3)).unwrap(), Scripted::start(tokens(3)).unwrap()];
    let [old, new] = &engines;
    let replicas = Replicas::start(&[&old.url, &new.url], 3).await;
    let [one, two, three] = &replicas.relays[..] else { panic!("three were started") };
    let list = one.admin(&["backends", "list"]).unwrap();
    let named = |engine: &Scripted| {
        let rows = list["backends"].as_array().unwrap();
        let row = rows.iter().find(|row| row["base_url"] == engine.url).unwrap();
        row["backend_id"].as_str().unwrap().to_owned()
    };
    let revise = |relay: &Relay, engine| {
        relay.admin(&["rollouts", "revise", MODEL, "--target", &named(engine)]).unwrap()
    };
    let agree = async |what: &str, share: u32| {
        let since = Instant::now();
        eventually(what, async || {
            let shown = [one, two, three].map(|relay| {
                let shown = relay.admin(&["rollouts", "show", MODEL]).unwrap();
                shown["rollout"]["share_permille"] == share
            });
            Ok(shown.iter().all(|agrees| *agrees).then_some(()))
        })
        .await
        .unwrap();
        println!("{what}: seen everywhere after {:?}", since.elapsed());
    };
    assert_eq!(revise(one, old)["number"], 2);
    assert_eq!(revise(two, new)["number"], 3, "numbers are given out once");
    let start = |revision| {
        three.admin(&["rollouts", "start", MODEL, revision, "--steps", "50,100"]).unwrap();
    };
    start("2");
    agree("the rollout to begin", 500).await;
    let busy = one.admin(&["rollouts", "start", MODEL, "3"]).unwrap_err();
    assert!(format!("{busy:#}").contains("open already"), "{busy:#}");
    for _ in 0..2 {
        one.admin(&["rollouts", "advance", MODEL]).unwrap();
    }
    agree("revision 2 to be live", 1_000).await;

    // A conversation stays on its revision, whichever replica is asked.
    start("3");
    agree("the next one to begin", 500).await;
    let account = one.account(DEV_TIER, "5").unwrap();
    let callers = replicas.callers(&account.key);
    let ask = async |caller: &Caller, session: &str| {
        let before = new.requests();
        let asked = caller
            .request(reqwest::Method::POST, Route::Openai.path())
            .header("x-session-id", session)
            .body(Route::Openai.body(MODEL, 4, false).to_string());
        assert_eq!(asked.send().await.unwrap().status().as_u16(), 200);
        new.requests() > before
    };
    let mut taken = 0;
    for session in 0..16 {
        let session = format!("conversation-{session}");
        let first = ask(&callers[0], &session).await;
        for caller in &callers[1..] {
            assert_eq!(ask(caller, &session).await, first, "{session}");
        }
        taken += usize::from(first);
    }
    assert!((1..16).contains(&taken), "{taken} of 16 on the new revision");
    two.admin(&["rollouts", "rollback", MODEL, "--reason", "enough"]).unwrap();
    agree("the way back", 0).await;
    let before = new.requests();
    for caller in callers.iter().cycle().take(12) {
        assert_eq!(status(caller).await, 200);
    }
    assert_eq!(new.requests(), before);
    one.audit().unwrap();
}

#[tokio::test]
async fn replicas_together_never_spend_more_than_there_is() {
    const COVERED: i64 = 7;
    let engine = Scripted::start(tokens(3)).unwrap();
    let replicas = Replicas::start(&[&engine.url], 3).await;
    let relay = &replicas.relays[0];
    let route = Route::Openai;
    let body = route.body(MODEL, 16, true);

    // What one request reserves.
    engine.then(Script::UntilNext);
    let probe = relay.account(DEV_TIER, "5").unwrap();
    let asking = {
        let (caller, body) = (replicas.relays[1].caller(&probe), body.clone());
        tokio::spawn(async move { caller.chat(route, &body).await })
    };
    let hold = eventually("the first hold", async || {
        let held = relay.customer(&probe)?["held_ncr"].as_i64().unwrap_or(0);
        Ok((held > 0).then_some(held))
    })
    .await
    .unwrap();
    engine.then(tokens(3));
    assert_eq!(asking.await.unwrap().unwrap().status, 200);

    engine.then(Script::UntilNext);
    let credit = hold * COVERED + hold / 2;
    let usd = format!("{}.{:09}", credit / 1_000_000_000, credit % 1_000_000_000);
    let account = relay.account(DEV_TIER, &usd).unwrap();
    let mut running = JoinSet::new();
    for caller in replicas.callers(&account.key).into_iter().cycle().take(51) {
        let body = body.clone();
        running.spawn(async move { caller.chat(route, &body).await.unwrap().status });
    }
    for _ in 0..51 - COVERED {
        assert_eq!(running.join_next().await.unwrap().unwrap(), 402);
    }
    engine.then(tokens(3));
    while let Some(status) = running.join_next().await {
        assert_eq!(status.unwrap(), 200, "what was admitted is served");
    }
    let rows = relay.settled(&account, 7).await.unwrap();
    relay.check_charges(&account, credit, &rows).unwrap();
    assert!(relay.balance(&account).unwrap() >= 0);
    relay.audit().unwrap();
}

#[tokio::test]
async fn one_killed_under_load_loses_nothing_but_its_open_streams() {
    const EACH: usize = 20;
    let gap = Duration::from_millis(5);
    let engine = Scripted::start(Script::Tokens { count: 60, gap }).unwrap();
    let mut replicas = Replicas::start(&[&engine.url], 2).await;
    let account = replicas.relays[0].account(DEV_TIER, "5").unwrap();
    let callers = replicas.callers(&account.key);
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = JoinSet::new();
    for n in 0..2 * EACH {
        let (stop, here, there) = (stop.clone(), callers[n % 2].clone(), callers[0].clone());
        running.spawn(async move {
            let (mut finished, mut broken) = (0_usize, 0_usize);
            let mut caller = here;
            while !stop.load(Ordering::SeqCst) {
                let route = Route::ALL[n % 4];
                let whole = match caller.stream(route, &route.body(MODEL, 80, true)).await {
                    Ok(stream) => {
                        stream.rest().await.is_ok_and(|text| text.contains(route.end_marker()))
                    }
                    Err(_) => false,
                };
                if whole {
                    finished += 1;
                } else {
                    // As a load balancer would, from now on to the one that lives.
                    broken += 1;
                    caller = there.clone();
                }
            }
            (n, finished, broken)
        });
    }
    eventually("traffic", async || Ok((engine.requests() >= 80).then_some(()))).await.unwrap();
    // Nobody keeps its sockets open: who comes now is refused, not left to wait.
    drop(replicas.sockets.pop());
    drop(replicas.relays.pop().unwrap().crash().unwrap());
    let asked = engine.requests();
    eventually(
        "traffic on the other",
        async || Ok((engine.requests() >= asked + 80).then_some(())),
    )
    .await
    .unwrap();
    stop.store(true, Ordering::SeqCst);
    let mut finished = 0;
    for (n, whole, broken) in running.join_all().await {
        finished += whole;
        let allowed = n % 2;
        assert!(broken <= allowed, "caller {n} lost {broken}: one open stream at most may break");
    }
    let relay = &replicas.relays[0];
    let rows = relay.requests(&account).unwrap();
    let completed = rows.iter().filter(|row| row.outcome() == "completed").count();
    assert!(completed >= finished, "{completed} rows for {finished} streams that ended well");
    relay.check_charges(&account, 5_000_000_000, &rows).unwrap();
    relay.audit().unwrap();
}

#[tokio::test]
async fn an_agent_finds_every_replica_and_one_decision_ends_it_everywhere() {
    let own = Scripted::counting(tokens(3)).unwrap();
    let theirs = Scripted::start(tokens(3)).unwrap();
    let mut replicas = Replicas::start(&[&own.url], 2).await;
    let agent = Agent::start(&replicas.relays[0], "gpu-1", &[&theirs.url]).unwrap();
    let seen = async |relays: &[Relay], connected: bool| {
        let what = format!("every replica to see it connected: {connected}");
        eventually(&what, async || {
            let all = relays.iter().all(|relay| {
                relay
                    .admin(&["providers", "show", &agent.provider])
                    .is_ok_and(|found| found["connected"] == connected)
            });
            Ok(all.then_some(()))
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", agent.said()));
    };
    seen(&replicas.relays, true).await;
    eventually("it to wait for a decision", async || {
        let found = replicas.relays[1].admin(&["providers", "show", &agent.provider])?;
        Ok((found["state"] == "pending").then_some(()))
    })
    .await
    .unwrap();
    replicas.relays[1]
        .admin(&["providers", "approve", &agent.provider, "--reason", "good evidence"])
        .unwrap();
    let name = backend(&replicas.relays[0])["backend_id"].as_str().unwrap().to_owned();
    let own_name = if name.starts_with("gpu-1") {
        replicas.relays[0].admin(&["backends", "list"]).unwrap()["backends"][1]["backend_id"]
            .as_str()
            .unwrap()
            .to_owned()
    } else {
        name
    };
    replicas.relays[0].admin(&["backends", "cordon", &own_name]).unwrap();

    // A third one comes: it takes traffic once the agent is there, and serves by it.
    let sockets = Sockets::bind().unwrap();
    let third = replicas.relays[0].replica(&sockets).unwrap();
    let found = third.admin(&["providers", "show", &agent.provider]).unwrap();
    assert_eq!(found["connected"], true, "ready means that the agents are there: {found}");
    replicas.relays.push(third);
    let account = replicas.relays[0].account(DEV_TIER, "5").unwrap();
    let before = theirs.requests();
    for caller in replicas.callers(&account.key) {
        eventually("an answer by the provider", async || {
            Ok((status(&caller).await == 200).then_some(()))
        })
        .await
        .unwrap();
    }
    assert!(theirs.requests() >= before + 3);

    // The replica by which it joined goes; the others keep their sessions.
    drop(replicas.relays.remove(0).stop().unwrap());
    for relay in &replicas.relays {
        assert_eq!(status(&relay.caller(&account)).await, 200);
    }
    replicas.relays[0]
        .admin(&["providers", "remove", &agent.provider, "--reason", "no more"])
        .unwrap();
    seen(&replicas.relays, false).await;
}

// A daemon is awaited by a blocked thread; whoever asks meanwhile runs on another.
#[tokio::test(flavor = "multi_thread")]
async fn restarts_on_handed_sockets_lose_no_request() {
    const RESTARTS: usize = 4;
    let gap = Duration::from_millis(2);
    let engine = Scripted::start(Script::Tokens { count: 20, gap }).unwrap();
    let database = Database::create().await.unwrap();
    let first = RelayOptions::over(&[&engine.url]).on(&database).unwrap().start().unwrap();
    let account = first.account(DEV_TIER, "50").unwrap();
    let sockets = Sockets::bind().unwrap();
    let mut serving = first.replica(&sockets).unwrap();
    let url = serving.ready.public_url.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut asking = JoinSet::new();
    for n in 0..8_usize {
        let (stop, answered) = (stop.clone(), answered.clone());
        let (url, key) = (url.clone(), account.key.clone());
        asking.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                // A connection each: no kept one is closed under a request on its way.
                let caller = Caller::at(&url).with_key(&key);
                let (route, streams) = (Route::ALL[n % 4], n % 2 == 0);
                let answer = caller.chat(route, &route.body(MODEL, 40, streams)).await;
                let answer = answer.unwrap_or_else(|error| panic!("refused: {error:#}"));
                assert_eq!(answer.status, 200, "{}", answer.text);
                assert!(!streams || answer.text.contains(route.end_marker()), "{}", answer.text);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    for _ in 0..RESTARTS {
        let so_far = answered.load(Ordering::SeqCst);
        eventually("traffic", async || {
            if let Some(failed) = asking.try_join_next() {
                failed.with_context(|| serving.log())?;
            }
            Ok((answered.load(Ordering::SeqCst) >= so_far + 40).then_some(()))
        })
        .await
        .unwrap();
        let next = first.replica(&sockets).unwrap();
        drop(std::mem::replace(&mut serving, next).stop().unwrap());
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(asked) = asking.join_next().await {
        asked.unwrap();
    }
    let answered = answered.load(Ordering::SeqCst);
    println!("{answered} requests over {RESTARTS} restarts");
    let open = first.admin(&["overview"]).unwrap()["money"]["open_holds"].as_u64();
    assert_eq!(open, Some(0));
    first.audit().unwrap();
}

//! Many requests at once: over the balance, over a dying engine, over a dying daemon.

use futures::future::join_all;
use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{DEV_TIER, Database, Llama, Relay, RelayOptions, Route, eventually};
use tokio::time::Duration;

use crate::start::tokens;

#[tokio::test]
async fn parallel_requests_never_spend_more_than_there_is_on_sqlite() {
    let engine = Scripted::start(Script::UntilNext).unwrap();
    let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
    spend_in_parallel(&engine, &relay).await;
}

#[tokio::test]
async fn parallel_requests_never_spend_more_than_there_is_on_postgresql() {
    let engine = Scripted::start(Script::UntilNext).unwrap();
    let database = Database::create().await.unwrap();
    let relay = RelayOptions::over(&[&engine.url]).on(&database).unwrap().start().unwrap();
    spend_in_parallel(&engine, &relay).await;
}

/// 50 requests at once, and a balance that covers seven.
async fn spend_in_parallel(engine: &Scripted, relay: &Relay) {
    const COVERED: i64 = 7;
    let route = Route::Openai;
    let body = route.body(MODEL, 16, true);

    // What one request reserves.
    let probe = relay.account(DEV_TIER, "5").unwrap();
    let asking = {
        let (caller, body) = (relay.caller(&probe), body.clone());
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
    let caller = relay.caller(&account);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (caller, body) = (caller.clone(), body.clone());
        running.spawn(async move { caller.chat(route, &body).await.unwrap().status });
    }
    // Those that are not covered are told at once, while the others wait for the engine.
    for _ in 0..50 - COVERED {
        assert_eq!(running.join_next().await.unwrap().unwrap(), 402);
    }
    let held = relay.customer(&account).unwrap()["held_ncr"].as_i64();
    assert_eq!(held, Some(hold * COVERED));
    engine.then(tokens(3));
    while let Some(status) = running.join_next().await {
        assert_eq!(status.unwrap(), 200, "what was admitted is served");
    }
    let rows = relay.settled(&account, 7).await.unwrap();
    let charged: Vec<_> = rows.iter().filter(|row| row.charged() > 0).collect();
    assert_eq!(charged.len(), 7, "{rows:?}");
    relay.check_charges(&account, credit, &rows).unwrap();
    assert!(relay.balance(&account).unwrap() >= 0);
    relay.audit().unwrap();
}

#[tokio::test]
async fn an_engine_killed_under_load_fails_nothing_that_had_not_started() {
    const STREAMS: usize = 60;
    let mut dying = Llama::start().unwrap();
    let steady = Llama::start().unwrap();
    let relay = RelayOptions::over(&[&dying.url, &steady.url]).start().unwrap();
    let model = relay.ready.models[0].clone();
    let account = relay.account(DEV_TIER, "5").unwrap();
    let caller = relay.caller(&account);
    let started = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let streams = (0..STREAMS).map(|n| {
        let (caller, started, route) = (caller.clone(), started.clone(), Route::ALL[n % 4]);
        let body = route.body(&model, 96, true);
        tokio::spawn(async move {
            let mut stream = caller.stream(route, &body).await?;
            anyhow::ensure!(stream.more().await?, "an empty stream");
            started.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            while stream.more().await.unwrap_or(false) {}
            Ok((route, stream.text.clone()))
        })
    });
    let streams: Vec<_> = streams.collect();
    eventually("some streams to start", async || {
        let count = started.load(std::sync::atomic::Ordering::Relaxed);
        Ok((count >= 6).then_some(()))
    })
    .await
    .unwrap();
    dying.kill();
    let mut broken = 0;
    for stream in join_all(streams).await {
        // Whatever was not started when the engine died got a 200 from the other one.
        let (route, text) = match stream.unwrap() {
            Ok(answered) => answered,
            Err(error) => panic!("{error:#}:\n{}", trouble(&relay.log())),
        };
        if !text.contains(route.end_marker()) {
            assert!(text.contains("error"), "a broken stream says so: {text}");
            broken += 1;
        }
    }
    assert!(broken <= 4, "only what ran on the dead engine's 4 slots may break: {broken}");
    let rows = relay.settled(&account, STREAMS).await.unwrap();
    assert_eq!(rows.len(), STREAMS, "one row for each request");
    let completed = rows.iter().filter(|row| row.outcome() == "completed").count();
    assert_eq!(completed, STREAMS - broken);
    relay.check_charges(&account, 5_000_000_000, &rows).unwrap();
    relay.audit().unwrap();
}

/// The lines of a log that tell of engines.
fn trouble(log: &str) -> String {
    let lines = log.lines().filter(|line| line.contains("backend") && !line.contains("chat ended"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_daemon_killed_under_load_comes_back_whole_on_sqlite() {
    die_and_return(Lock::File, |options| options).await;
}

#[tokio::test]
async fn a_daemon_killed_under_load_comes_back_whole_on_postgresql() {
    let database = Database::create().await.unwrap();
    die_and_return(Lock::Silence, |options| options.on(&database).unwrap()).await;
}

/// How a new daemon knows that the old one is dead.
enum Lock {
    /// At once: the lock on the database file is free.
    File,
    /// After two minutes without a sign of life; until then its holds stay reserved.
    Silence,
}

async fn die_and_return(lock: Lock, with: impl Fn(RelayOptions) -> RelayOptions) {
    let gap = Duration::from_millis(5);
    let engine = Scripted::start(Script::Tokens { count: 60, gap }).unwrap();
    let options = || RelayOptions::over(&[&engine.url]);
    let relay = with(options()).start().unwrap();
    let account = relay.account(DEV_TIER, "5").unwrap();
    let caller = relay.caller(&account);
    let mut running = tokio::task::JoinSet::new();
    for n in 0..40_usize {
        let (caller, route) = (caller.clone(), Route::ALL[n % 4]);
        running.spawn(async move {
            let mut finished = 0_usize;
            // One after another until the daemon is gone.
            while let Ok(stream) = caller.stream(route, &route.body(MODEL, 80, true)).await {
                match stream.rest().await {
                    Ok(text) if text.contains(route.end_marker()) => finished += 1,
                    _ => break,
                }
            }
            finished
        });
    }
    eventually("traffic", async || Ok((engine.requests() >= 60).then_some(()))).await.unwrap();
    let dir = relay.crash().unwrap();
    let mut finished = 0;
    while let Some(count) = running.join_next().await {
        finished += count.unwrap();
    }

    let relay = with(options().in_dir(dir)).start().unwrap();
    let rows = match lock {
        Lock::File => relay.settled(&account, finished).await.unwrap(),
        Lock::Silence => relay.requests(&account).unwrap(),
    };
    let open = relay.admin(&["overview"]).unwrap()["money"]["open_holds"].as_u64().unwrap();
    match lock {
        Lock::File => {
            assert_eq!(open, 0, "every hold of the dead daemon is resolved");
            relay.told("holds.recovered").await.unwrap();
        }
        Lock::Silence => assert!(open > 0, "a hold that may still be alive is not touched"),
    }
    let completed = rows.iter().filter(|row| row.outcome() == "completed").count();
    assert!(completed >= finished, "{completed} rows for {finished} finished streams");
    assert!(rows.len() as u64 <= engine.requests() + 40, "no request has two rows");
    relay.check_charges(&account, 5_000_000_000, &rows).unwrap();
    relay.audit().unwrap();
    let body = Route::Openai.body(MODEL, 4, false);
    let answer = relay.caller(&account).chat(Route::Openai, &body).await.unwrap();
    assert_eq!(answer.status, 200, "and it serves again");
}

//! Engines that close kept connections without saying so, behind a single backend.

use relay_tests::scripted::MODEL;
use relay_tests::stale::Stale;
use relay_tests::{Account, Answer, Caller, DEV_TIER, Relay, RelayOptions, Route};

const CREDIT_NCR: i64 = 1_000_000_000;

fn over(engine: &Stale) -> (Relay, Account) {
    let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
    let account = relay.account(DEV_TIER, "1").unwrap();
    (relay, account)
}

async fn chat(caller: &Caller, route: Route) -> Answer {
    caller.chat(route, &route.body(MODEL, 8, false)).await.unwrap()
}

#[tokio::test]
async fn a_request_written_into_a_stale_connection_is_sent_again() {
    let engine = Stale::start().unwrap();
    let (relay, account) = over(&engine);
    let caller = relay.caller(&account);
    for n in 0..24 {
        let answer = chat(&caller, Route::ALL[n % 4]).await;
        assert_eq!(answer.status, 200, "{n}: {}", answer.text);
    }
    // Without a kept connection there was nothing to show.
    assert!(engine.lost() > 4, "{} of {}", engine.lost(), engine.asked());
    assert_eq!(engine.asked() - engine.lost(), 24, "each was answered once");
    let rows = relay.settled(&account, 24).await.unwrap();
    assert_eq!(rows.len(), 24);
    assert!(rows.iter().all(|row| row.outcome() == "completed"), "{rows:?}");
    relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
    let metrics = Caller::at(&relay.ready.ops_url).get("/metrics").await.unwrap().text;
    let again = format!("relay_reconnects_total {}\n", engine.lost());
    assert!(metrics.contains(&again), "{again}: {metrics}");
    let backend = &relay.admin(&["backends", "list"]).unwrap()["backends"][0];
    assert_eq!(backend["state"], "up", "{backend}");
    assert_eq!(backend["breaker"], "closed", "nothing is wrong with it: {backend}");
    relay.audit().unwrap();
}

#[tokio::test]
async fn a_fresh_connection_is_not_tried_twice_and_nothing_after_bytes() {
    let engine = Stale::start().unwrap();
    let (relay, account) = over(&engine);
    let caller = relay.caller(&account);
    engine.answer_nothing();
    let before = engine.asked();
    let answer = chat(&caller, Route::Openai).await;
    assert_eq!(answer.outcome(), "502 UPSTREAM_ERROR", "{}", answer.text);
    // At most: once on a kept connection (a probe's), once on a fresh one.
    let asked = engine.asked() - before;
    assert!((1..=2).contains(&asked), "{asked}");
    let metrics = Caller::at(&relay.ready.ops_url).get("/metrics").await.unwrap().text;
    let again = asked == 2;
    assert_eq!(metrics.contains("relay_reconnects_total 1\n"), again, "{metrics}");
    drop(relay);

    let engine = Stale::start().unwrap();
    engine.begin_then_close();
    let (relay, account) = over(&engine);
    let caller = relay.caller(&account);
    let mut cut = 0;
    for _ in 0..8 {
        let before = (engine.asked(), engine.lost());
        let answer = chat(&caller, Route::Openai).await;
        assert_eq!(engine.asked() - before.0, 1, "nothing is sent again after bytes came");
        match engine.lost() - before.1 {
            0 => assert_eq!(answer.status, 200, "{}", answer.text),
            _ => {
                assert_eq!(answer.outcome(), "502 UPSTREAM_ERROR", "{}", answer.text);
                cut += 1;
            }
        }
        if cut == 2 {
            break;
        }
    }
    assert!(cut > 0, "no kept connection was used");
    let rows = relay.settled(&account, 2).await.unwrap();
    let failed = rows.iter().filter(|row| row.outcome() == "failed UPSTREAM_ERROR");
    assert_eq!(failed.count(), cut);
    relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
}

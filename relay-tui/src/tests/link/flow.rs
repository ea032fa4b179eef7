//! How much flows, and what is asked again: a slow reader, skipped events, one look without a watch.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::daemon::{Daemon, Door, backend, snapshot};
use super::{Line, PATIENCE, timings};
use crate::config::{Target, Token};
use crate::link::{Page, once};
use crate::model::Screen;
use crate::model::data::Rows;
use crate::model::link::Stream;
use crate::msg::{Told, Update};

#[tokio::test]
async fn a_slow_screen_stalls_the_daemon_and_fills_no_memory() {
    let daemon = Daemon::default();
    daemon.script(vec![snapshot(1, vec![backend("a", 0)])]);
    daemon.flood.store(true, Ordering::SeqCst);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Backends]).await;
    line.until_rows().await;
    // Nobody reads now: the flood stops by itself, for flow control has reached its source.
    let flooded = || daemon.flooded.load(Ordering::SeqCst);
    let stalls = async {
        let mut before = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            match flooded() {
                now if now == before && now > 0 => return now,
                now => before = now,
            }
        }
    };
    let stalled = tokio::time::timeout(PATIENCE, stalls).await.expect("the flood goes on");
    line.until("more of the flood", |_| flooded() > stalled).await;
}

#[tokio::test]
async fn skipped_events_are_listed_again() {
    let daemon = Daemon::default();
    daemon.skip_events.store(true, Ordering::SeqCst);
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[Stream::Events]).await;
    let page =
        |told: &Told| matches!(told, Told::Data { update: Update::Events(Rows::Snapshot(_)), .. });
    line.until("a page", page).await;
    line.until("what was skipped", |told| {
        matches!(told, Told::Data { update: Update::EventsSkipped { before: 103 }, .. })
    })
    .await;
    line.until("the page again", page).await;
}

#[tokio::test]
async fn the_way_to_the_daemon_is_measured() {
    let daemon = Daemon::default();
    let door = Door::open(&daemon).await;
    let mut line = Line::watching(&door.url(), &[]).await;
    line.until("a round trip", |told| matches!(told, Told::RoundTrip { .. })).await;
}

#[tokio::test]
async fn one_look_reads_every_page_and_says_why_it_cannot() {
    let daemon = Daemon::default();
    let mut door = Door::open(&daemon).await;
    let target =
        Target { url: door.url(), token: Token("relay_op_right".into()), ..Target::default() };
    let look = |screen, json| once(&target, timings(), screen, json);
    let Ok(Page::Json(json)) = look(Screen::Backends, true).await else { panic!("no JSON") };
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["backends"][0]["backend_id"], &json["backends"][1]["backend_id"]),
        (&"a".into(), &"b".into())
    );
    let Ok(Page::Data { session, updates }) = look(Screen::Events, false).await else {
        panic!("no data")
    };
    assert_eq!(session.operator, "jo");
    assert!(matches!(&updates[..], [Update::Events(Rows::Snapshot(events))] if events[0].seq == 3));
    let problem = look(Screen::Keys, false).await.unwrap_err();
    assert!(problem.contains("too old for this console"), "{problem}");
    door.shut().await;
    let problem = look(Screen::Events, false).await.unwrap_err();
    assert!(problem.contains("refuses connections"), "{problem}");
}

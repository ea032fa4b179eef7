use tokio_util::sync::CancellationToken;

use super::*;
use crate::store::StoreOptions;

async fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&StoreOptions::sqlite(folder.path().join("relay.db"))).await.unwrap()
}

fn event(seq: u64) -> Event {
    Event {
        seq,
        at_ms: 0,
        kind: EventKind::KeyCreated.as_str().to_owned(),
        severity: Severity::Info,
        subject: String::new(),
        text: String::new(),
    }
}

fn seq(update: &Update) -> u64 {
    match update {
        Update::Event(event) => event.seq,
        Update::Resync { before } => panic!("resync before {before}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_gets_what_comes_after_its_place() {
    let ring = Arc::new(Ring::new((1..=5).map(event).collect()));
    let mut from_three = Subscription::new(Arc::clone(&ring), 3);
    let mut new_only = Subscription::new(Arc::clone(&ring), 0);
    assert_eq!(seq(&from_three.next().await), 4);
    assert_eq!(seq(&from_three.next().await), 5);
    ring.push(event(9));
    assert_eq!(seq(&from_three.next().await), 9, "numbers may have gaps");
    assert_eq!(seq(&new_only.next().await), 9);
    let idle = tokio::time::timeout(std::time::Duration::from_secs(9), new_only.next()).await;
    assert!(idle.is_err());
    ring.push(event(10));
    assert_eq!(seq(&new_only.next().await), 10);
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed() {
    let ring = Arc::new(Ring::new(vec![event(1)]));
    let mut slow = Subscription::new(Arc::clone(&ring), 1);
    for n in 2..=2 * RING_MAX as u64 {
        ring.push(event(n));
    }
    let first = RING_MAX as u64 + 1;
    assert_eq!(slow.next().await, Update::Resync { before: first });
    for n in first..=2 * RING_MAX as u64 {
        assert_eq!(seq(&slow.next().await), n);
    }
}

#[tokio::test]
async fn a_reader_that_asks_too_late_is_told_at_once() {
    let ring = Arc::new(Ring::new((500..=510).map(event).collect()));
    let mut late = Subscription::new(Arc::clone(&ring), 20);
    assert_eq!(late.next().await, Update::Resync { before: 500 });
    assert_eq!(seq(&late.next().await), 500);
    let mut foreign = Subscription::new(Arc::clone(&ring), 99_999);
    ring.push(event(511));
    assert_eq!(seq(&foreign.next().await), 511);
}

#[test]
fn foreign_text_becomes_one_plain_line() {
    let event = new_event(EventKind::BackendDown, Severity::Critical, "a\u{1b}[2J", "x\ny");
    assert_eq!((event.subject.as_str(), event.text.as_str()), ("a [2J", "x y"));
    let long = new_event(EventKind::BackendDown, Severity::Info, "", &"x".repeat(9_999));
    assert_eq!(long.text.len(), TEXT_MAX_CHARS);
}

#[tokio::test]
async fn events_are_stored_in_order_and_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let database = store(&folder).await;
    let (events, writer) = Events::open(database.clone()).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(writer.run(stop.clone()));
    let mut reader = events.subscribe(0);
    for n in 0..300 {
        events.emit(EventKind::KeyCreated, Severity::Info, "key", &format!("number {n}"));
    }
    let mut last = 0;
    for n in 0..300 {
        let Update::Event(event) = reader.next().await else { panic!("nothing was missed") };
        assert_eq!(event.text, format!("number {n}"));
        assert!(event.seq > last);
        last = event.seq;
    }
    events.emit(EventKind::RelayStopping, Severity::Info, "", "the last");
    stop.cancel();
    running.await.unwrap();
    database.close().await;
    drop(database);

    let database = store(&folder).await;
    let (events, _writer) = Events::open(database.clone()).await.unwrap();
    let mut reader = events.subscribe(last);
    let Update::Event(event) = reader.next().await else { panic!("it is in the ring") };
    assert_eq!((event.kind.as_str(), event.text.as_str()), ("relay.stopping", "the last"));
    database.close().await;
}

#[tokio::test]
async fn what_overflows_is_counted_and_said_and_never_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let database = store(&folder).await;
    let (events, writer) = Events::open(database.clone()).await.unwrap();
    for n in 0..QUEUE_MAX + 17 {
        events.emit(EventKind::RateLimited, Severity::Info, "key", &n.to_string());
    }
    let mut reader = events.subscribe(0);
    let stop = CancellationToken::new();
    let running = tokio::spawn(writer.run(stop.clone()));
    loop {
        if let Update::Event(event) = reader.next().await
            && event.kind == EventKind::EventsLost.as_str()
        {
            assert!(event.text.starts_with("17 events were lost"), "{}", event.text);
            assert_eq!(event.severity, Severity::Warning);
            break;
        }
    }
    stop.cancel();
    running.await.unwrap();
    let all = database.events(&EventFilter::default(), &Page::first(1)).await.unwrap();
    assert_eq!(
        all.rows[0].seq,
        QUEUE_MAX as u64 + 1,
        "the queue's events, and the one about the rest"
    );
    database.close().await;
}

/// The sources of relayd, tests aside.
fn sources(folder: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "kind.rs" {
            let text = std::fs::read_to_string(&path).unwrap();
            found.push(text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned());
        }
    }
}

#[test]
fn every_kind_is_told_somewhere() {
    let mut found = Vec::new();
    sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    for kind in EventKind::ALL {
        let name = format!("EventKind::{kind:?}");
        let told = |text: &String| {
            let mut rest = text.split(&name).skip(1);
            rest.any(|after| !after.starts_with(|c: char| c.is_alphanumeric()))
        };
        assert!(found.iter().any(told), "{name} is declared and never told");
    }
}

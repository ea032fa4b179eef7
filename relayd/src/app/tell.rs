//! What many requests, or the store by itself, did becomes events: added up, so that a flood of
//! refusals is one line and not a flood of events.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::events::{EventKind, Events, Severity};
use crate::observe::{Observe, Trouble};
use crate::store::{Recovered, Store};

/// How long trouble is added up once it began, so that its first event already says how much.
const GATHER: Duration = Duration::from_secs(1);
/// Shortest time between two tellings of trouble.
const QUIET: Duration = Duration::from_secs(10);

/// Tells refusals and failures of requests, until `stop`.
pub(super) async fn trouble(observe: Observe, events: Events, stop: CancellationToken) {
    let rest = async || tokio::time::sleep(QUIET.saturating_sub(GATHER)).await;
    let telling = async {
        loop {
            observe.troubled().await;
            tokio::time::sleep(GATHER).await;
            tell(&events, &observe.take_trouble());
            rest().await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => tell(&events, &observe.take_trouble()),
        () = telling => {}
    }
}

fn tell(events: &Events, trouble: &Trouble) {
    let requests = |count: u64| match count {
        1 => "1 request".to_owned(),
        count => format!("{count} requests"),
    };
    for (key, count) in &trouble.limited {
        let text = format!("{key} had {} refused with 429", requests(*count));
        events.emit(EventKind::RateLimited, Severity::Info, key.as_str(), &text);
    }
    if trouble.limited_others > 0 {
        let text = format!("other keys had {} refused with 429", requests(trouble.limited_others));
        events.emit(EventKind::RateLimited, Severity::Info, "", &text);
    }
    if trouble.shed > 0 {
        let text = format!("{} refused for want of capacity", requests(trouble.shed));
        events.emit(EventKind::CapacityShed, Severity::Warning, "", &text);
    }
    for (code, count) in &trouble.failed {
        let text = format!("{} failed by our fault: {}", requests(*count), code.as_str());
        events.emit(EventKind::RequestFailed, Severity::Warning, code.as_str(), &text);
    }
}

/// Tells holds of ended processes that the store resolved, those before this call included, until
/// `stop`.
pub(super) async fn recovered(store: Store, events: Events, stop: CancellationToken) {
    let mut sums = store.recovered();
    let mut told = Recovered::default();
    loop {
        let sum = *sums.borrow_and_update();
        let (posted, released) = (sum.posted - told.posted, sum.released - told.released);
        if posted + released > 0 {
            let text = format!(
                "holds of an ended process: {posted} charged by their checkpoint, {released} released"
            );
            events.emit(EventKind::HoldsRecovered, Severity::Warning, "ledger", &text);
        }
        told = sum;
        tokio::select! {
            () = stop.cancelled() => return,
            changed = sums.changed() => if changed.is_err() { return },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{RequestId, Scope};
    use crate::events::Update;
    use crate::observe::NewRequest;
    use crate::store::StoreOptions;

    #[tokio::test]
    async fn many_refusals_are_one_event_a_key_and_every_kind_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::sqlite(folder.path().join("relay.db"));
        let store = Store::open(&options).await.unwrap();
        let (events, writer) = Events::open(store.clone()).await.unwrap();
        let mut told = events.subscribe(0);
        let stop = CancellationToken::new();
        let writing = tokio::spawn(writer.run(stop.clone()));
        let observe = Observe::new();
        for n in [1, 1, 1, 2] {
            observe.limited(&format!("key_{n:016x}").parse().unwrap());
        }
        observe.shed();
        observe.shed();
        let scope: Scope = "direct.openai.m".parse().unwrap();
        let lost = NewRequest {
            request_id: RequestId::new(uuid::Uuid::now_v7()),
            key: None,
            key_name: "".into(),
            customer: None,
            scope,
            stream: false,
        };
        // A request without an end is one that we lost.
        drop(observe.begin(lost));
        let ended = CancellationToken::new();
        ended.cancel();
        trouble(observe.clone(), events.clone(), ended).await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            match told.next().await {
                Update::Event(event) => seen.push((event.kind.clone(), event.text.clone())),
                Update::Resync { .. } => panic!("nothing was missed"),
            }
        }
        let all = |kind: &str| {
            let of_kind = seen.iter().filter(|(found, _)| found == kind);
            of_kind.map(|(_, text)| text.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(
            all("rate.limited"),
            [
                "key_0000000000000001 had 3 requests refused with 429",
                "key_0000000000000002 had 1 request refused with 429"
            ]
        );
        assert_eq!(all("capacity.shed"), ["2 requests refused for want of capacity"]);
        assert_eq!(all("request.failed"), ["1 request failed by our fault: INTERNAL_ERROR"]);
        assert!(observe.take_trouble().is_none(), "each is told once");
        stop.cancel();
        writing.await.unwrap();
        store.close().await;
    }
}

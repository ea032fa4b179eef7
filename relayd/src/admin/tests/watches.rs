//! Streams over the wire: snapshot, deltas, slow readers, withdrawn tokens.

use std::time::Duration;

use proto::backends_service_client::BackendsServiceClient;
use proto::backends_update::Update as BackendsChange;
use proto::events_service_client::EventsServiceClient;
use proto::events_update::Update as EventsChange;
use proto::hosts_service_client::HostsServiceClient;
use proto::hosts_update::Update as HostsChange;
use proto::keys_service_client::KeysServiceClient;
use proto::overview_service_client::OverviewServiceClient;
use proto::requests_update::Update as RequestsChange;
use proto::usage_service_client::UsageServiceClient;
use tonic::Code;

use super::*;
use crate::domain::RequestId;
use crate::events::{EventKind, Severity};
use crate::observe::NewRequest;

fn request() -> NewRequest {
    NewRequest {
        request_id: RequestId::new(Uuid::now_v7()),
        key: None,
        key_name: name("guest"),
        customer: None,
        scope: "direct.openai.m".parse().unwrap(),
        stream: true,
    }
}

#[tokio::test]
async fn a_request_is_seen_to_come_run_and_go() {
    let plane = Plane::start().await;
    let mut client = UsageServiceClient::new(plane.wire(Some(&plane.viewer)));
    let watch = proto::WatchRequest { interval_ms: 100 };
    let mut updates = client.watch_requests(watch).await.unwrap().into_inner();
    let first = updates.message().await.unwrap().unwrap();
    assert_eq!(first.seq, 1);
    assert!(matches!(first.update, Some(RequestsChange::Snapshot(all)) if all.requests.is_empty()));

    let live = plane.parts.observe.begin(request());
    live.first_byte();
    let mut seq = 1;
    loop {
        let update = updates.message().await.unwrap().unwrap();
        assert_eq!(update.seq, seq + 1, "numbers have no gap");
        seq = update.seq;
        if let Some(RequestsChange::Delta(delta)) = update.update {
            assert_eq!(delta.changed[0].state(), proto::RequestState::Streaming);
            break;
        }
    }
    drop(live);
    loop {
        let update = updates.message().await.unwrap().unwrap();
        if let Some(RequestsChange::Delta(delta)) = update.update
            && delta.changed[0].state() == proto::RequestState::Failed
        {
            assert_eq!(delta.changed[0].error_code, "INTERNAL_ERROR");
            break;
        }
    }
    plane.end().await;
}

#[tokio::test]
async fn backends_change_under_a_watch() {
    let plane = Plane::start().await;
    plane.parts.fleet.apply(vec![backend("a"), backend("b")]).unwrap();
    let mut client = BackendsServiceClient::new(plane.as_admin());
    let watch = proto::WatchRequest { interval_ms: 100 };
    let mut updates = client.watch_backends(watch).await.unwrap().into_inner();
    let first = updates.message().await.unwrap().unwrap();
    assert!(matches!(first.update, Some(BackendsChange::Snapshot(all)) if all.backends.len() == 2));
    plane.parts.fleet.apply(vec![backend("a")]).unwrap();
    loop {
        let update = updates.message().await.unwrap().unwrap();
        if let Some(BackendsChange::Delta(delta)) = update.update {
            assert_eq!((delta.changed.len(), delta.removed), (0, vec!["b".to_owned()]));
            break;
        }
    }
    plane.end().await;
}

#[tokio::test]
async fn a_host_is_watched() {
    let plane = Plane::start().await;
    let mut client = HostsServiceClient::new(plane.wire(Some(&plane.viewer)));
    let watch = proto::WatchRequest { interval_ms: 100 };
    let mut updates = client.watch_hosts(watch).await.unwrap().into_inner();
    let first = updates.message().await.unwrap().unwrap();
    let Some(HostsChange::Snapshot(all)) = first.update else { panic!("{first:?}") };
    let mut observed = all.hosts[0].observed_at_ms;
    for _ in 0..2 {
        let host = loop {
            let update = updates.message().await.unwrap().unwrap();
            if let Some(HostsChange::Delta(delta)) = update.update
                && delta.changed[0].observed_at_ms > observed
            {
                break delta.changed[0].clone();
            }
        };
        observed = host.observed_at_ms;
        assert_eq!((host.host_id.as_str(), host.state()), ("local", proto::HostState::Live));
        assert_eq!(host.gpus.unwrap().state(), proto::GpusState::Off);
    }
    let asked = |host_id: &str| proto::GetHostRequest { host_id: host_id.to_owned() };
    assert!(client.get_host(asked("local")).await.unwrap().into_inner().memory_total_mib > Some(0));
    let nobody = client.get_host(asked("\u{1b}[2J")).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::NotFound, "there is no such host"));
    plane.end().await;
}

#[tokio::test]
async fn events_are_replayed_and_followed_with_a_heartbeat() {
    let plane = Plane::start().await;
    let events = &plane.parts.events;
    let mut own = events.subscribe(0);
    events.emit(EventKind::BackendDown, Severity::Critical, "a", "first");
    own.next().await;
    let mut client = EventsServiceClient::new(plane.wire(Some(&plane.viewer)));
    let list = client.list_events(proto::ListEventsRequest::default()).await.unwrap().into_inner();
    let seq = list.events[0].seq;
    assert_eq!(list.events[0].text, "first");

    let watch = proto::WatchEventsRequest { since_seq: 0 };
    let mut updates = client.watch_events(watch).await.unwrap().into_inner();
    events.emit(EventKind::BackendUp, Severity::Info, "a", "second");
    let second = updates.message().await.unwrap().unwrap().update.unwrap();
    assert!(matches!(second, EventsChange::Event(event) if event.text == "second"));
    let beat = updates.message().await.unwrap().unwrap().update.unwrap();
    assert!(matches!(beat, EventsChange::Heartbeat(_)));

    let replay = proto::WatchEventsRequest { since_seq: seq };
    let mut updates = client.watch_events(replay).await.unwrap().into_inner();
    let again = updates.message().await.unwrap().unwrap().update.unwrap();
    assert!(matches!(again, EventsChange::Event(event) if event.text == "second"));
    plane.end().await;
}

#[tokio::test]
async fn a_reader_that_stops_costs_little_and_then_gets_the_newest() {
    let plane = Plane::start().await;
    let observe = plane.parts.observe.clone();
    let mut client = UsageServiceClient::new(plane.wire(Some(&plane.viewer)));
    let watch = proto::WatchRequest { interval_ms: 100 };
    let mut updates = client.watch_requests(watch).await.unwrap().into_inner();
    updates.message().await.unwrap().unwrap();
    let live: Vec<_> = (0..150).map(|_| observe.begin(request())).collect();
    // Nobody reads for some intervals; the stream's window fills and the rest is merged.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    drop(live);
    let mut states = std::collections::HashMap::new();
    let mut messages = 0;
    while states.len() < 150 || states.values().any(|s| *s != proto::RequestState::Failed as i32) {
        let update = updates.message().await.unwrap().unwrap();
        messages += 1;
        if let Some(RequestsChange::Delta(delta)) = update.update {
            states.extend(delta.changed.into_iter().map(|row| (row.request_id, row.state)));
        }
    }
    assert!(messages < 40, "{messages} messages for a reader that paused");
    plane.end().await;
}

#[tokio::test]
async fn a_withdrawn_token_ends_its_streams() {
    let plane = Plane::start().await;
    let made = plane.parts.identity.create_operator("eve", Role::Viewer, None).await.unwrap();
    let wire = || plane.wire(Some(made.token.expose()));
    let watch = proto::WatchRequest { interval_ms: 60_000 };
    let mut overview = OverviewServiceClient::new(wire());
    let mut overview = overview.watch_overview(watch).await.unwrap().into_inner();
    let mut keys = KeysServiceClient::new(wire());
    let mut keys = keys.watch_keys(watch).await.unwrap().into_inner();
    overview.message().await.unwrap().unwrap();
    keys.message().await.unwrap().unwrap();
    plane.parts.identity.revoke_operator("eve", None, None).await.unwrap();
    let mut ended = Vec::new();
    while ended.is_empty() {
        ended.extend(overview.message().await.err());
    }
    while ended.len() < 2 {
        ended.extend(keys.message().await.err());
    }
    assert!(ended.iter().all(|status| status.code() == Code::Unauthenticated), "{ended:?}");
    plane.end().await;
}

#[tokio::test]
async fn streams_end_with_the_plane() {
    let plane = Plane::start().await;
    let mut client = OverviewServiceClient::new(plane.as_admin());
    let watch = proto::WatchRequest { interval_ms: 60_000 };
    let mut updates = client.watch_overview(watch).await.unwrap().into_inner();
    updates.message().await.unwrap().unwrap();
    plane.end().await;
    let end = updates.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Unavailable);
}

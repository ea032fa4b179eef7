//! Readers of watches: one task each, from request to end.
//!
//! A gap in the sequence, a delta before a snapshot, or skipped events: the reader asks again by
//! itself. A stream that the daemon does not have is a state. Everything else ends the connection.

use std::time::Duration;

use prost::Message;
use relay_proto::admin::v1 as proto;
use tokio::sync::mpsc;
use tonic::{Code, Response, Status, Streaming};

use super::channel::Wire;
use super::{Timings, convert, hosts, problem, providers, rollouts};
use crate::model::data::Rows;
use crate::model::link::Stream;
use crate::msg::Update;

/// Events asked for before the watch begins.
const EVENTS_FIRST: u32 = 200;
/// Least pause before a stream with gaps is asked again.
const GAP_PAUSE: Duration = Duration::from_millis(200);

/// Something that a reader has to say.
pub(super) struct Item {
    pub(super) stream: Stream,
    pub(super) said: Said,
}

pub(super) enum Said {
    Update { bytes: usize, update: Update },
    Gap,
    Missing(String),
    Broken(String),
}

/// One message, taken apart.
struct Part {
    /// Its number; `None` where the stream has none.
    seq: Option<u64>,
    /// `None` for a message that this console does not know.
    update: Option<Update>,
    snapshot: bool,
}

/// Why one reading is over.
enum Over {
    Gap,
    Left,
    Failed(Status),
}

pub(super) async fn read(wire: Wire, stream: Stream, timings: Timings, out: mpsc::Sender<Item>) {
    let say = |said| out.send(Item { stream, said });
    loop {
        let over = match one(&wire, stream, timings, &out).await {
            Ok(over) => over,
            Err(status) => Over::Failed(status),
        };
        let last = match over {
            Over::Left => return,
            Over::Gap => {
                if say(Said::Gap).await.is_err() {
                    return;
                }
                tokio::time::sleep(GAP_PAUSE).await;
                continue;
            }
            Over::Failed(status) => match status.code() {
                Code::Unimplemented => Said::Missing("this relayd does not have it".to_owned()),
                Code::PermissionDenied => Said::Missing(problem::of_call(&status)),
                _ => Said::Broken(problem::of_status(wire.url(), &status)),
            },
        };
        let _ = say(last).await;
        return;
    }
}

async fn one(
    wire: &Wire,
    stream: Stream,
    timings: Timings,
    out: &mpsc::Sender<Item>,
) -> Result<Over, Status> {
    let interval_ms = u32::try_from(timings.interval.as_millis()).unwrap_or(u32::MAX);
    let asked = proto::WatchRequest { interval_ms };
    Ok(match stream {
        Stream::Overview => {
            let answer = wire.overview().watch_overview(asked).await?;
            pump(stream, answer, out, overview).await
        }
        Stream::Hosts => {
            let answer = wire.hosts().watch_hosts(asked).await?;
            pump(stream, answer, out, hosts_part).await
        }
        Stream::Providers => {
            let answer = wire.providers().watch_providers(asked).await?;
            pump(stream, answer, out, providers_part).await
        }
        Stream::Backends => {
            let answer = wire.backends().watch_backends(asked).await?;
            pump(stream, answer, out, backends).await
        }
        Stream::Models => {
            let answer = wire.rollouts().watch_rollouts(asked).await?;
            pump(stream, answer, out, models_part).await
        }
        Stream::Keys => {
            let answer = wire.keys().watch_keys(asked).await?;
            pump(stream, answer, out, keys).await
        }
        Stream::Requests => {
            let answer = wire.usage().watch_requests(asked).await?;
            pump(stream, answer, out, requests).await
        }
        Stream::Events => {
            let page = Some(proto::Page { page_size: EVENTS_FIRST, page_token: String::new() });
            let first = proto::ListEventsRequest { page, ..Default::default() };
            let answer = wire.events().list_events(first).await?.into_inner();
            let bytes = answer.encoded_len();
            let events: Vec<_> = answer.events.into_iter().map(convert::event).collect();
            let since_seq = events.iter().map(|event| event.seq).max().unwrap_or(0);
            let update = Update::Events(Rows::Snapshot(events));
            if out.send(Item { stream, said: Said::Update { bytes, update } }).await.is_err() {
                return Ok(Over::Left);
            }
            let asked = proto::WatchEventsRequest { since_seq };
            let answer = wire.events().watch_events(asked).await?;
            pump(stream, answer, out, events_part).await
        }
    })
}

async fn pump<M: Message + Default>(
    stream: Stream,
    answer: Response<Streaming<M>>,
    out: &mpsc::Sender<Item>,
    take: impl Fn(M) -> Part,
) -> Over {
    let mut messages = answer.into_inner();
    let mut last: Option<u64> = None;
    loop {
        let message = match messages.message().await {
            Ok(Some(message)) => message,
            Ok(None) => return Over::Failed(Status::unavailable("")),
            Err(status) => return Over::Failed(status),
        };
        let bytes = message.encoded_len();
        let part = take(message);
        if let Some(seq) = part.seq {
            let follows = match last {
                None => part.snapshot,
                Some(last) => seq == last + 1 || part.snapshot,
            };
            if !follows {
                return Over::Gap;
            }
            last = Some(seq);
        }
        let Some(update) = part.update else { continue };
        let skipped = matches!(update, Update::EventsSkipped { .. });
        if out.send(Item { stream, said: Said::Update { bytes, update } }).await.is_err() {
            return Over::Left;
        }
        if skipped {
            return Over::Gap;
        }
    }
}

fn part(seq: u64, snapshot: bool, update: Option<Update>) -> Part {
    Part { seq: Some(seq), update, snapshot }
}

fn beat(heartbeat: &proto::Heartbeat) -> Option<Update> {
    Some(Update::Heartbeat { now_ms: heartbeat.now_ms })
}

fn overview(message: proto::OverviewUpdate) -> Part {
    use proto::overview_update::Update as U;
    match message.update {
        Some(U::Snapshot(all)) => {
            part(message.seq, true, Some(Update::Overview(convert::overview(all))))
        }
        Some(U::Delta(delta)) => {
            part(message.seq, false, Some(Update::Overview(convert::overview_delta(delta))))
        }
        Some(U::Heartbeat(heartbeat)) => part(message.seq, false, beat(&heartbeat)),
        None => part(message.seq, false, None),
    }
}

macro_rules! rows_part {
    ($name:ident, $message:ident, $module:ident, $variant:ident, $field:ident, $convert:path) => {
        fn $name(message: proto::$message) -> Part {
            use proto::$module::Update as U;
            match message.update {
                Some(U::Snapshot(all)) => {
                    let rows = all.$field.into_iter().map($convert).collect();
                    part(message.seq, true, Some(Update::$variant(Rows::Snapshot(rows))))
                }
                Some(U::Delta(delta)) => {
                    let changed = delta.changed.into_iter().map($convert).collect();
                    let removed = delta.removed.iter().map(|id| crate::text::clean(id)).collect();
                    let rows = Rows::Delta { changed, removed };
                    part(message.seq, false, Some(Update::$variant(rows)))
                }
                Some(U::Heartbeat(heartbeat)) => part(message.seq, false, beat(&heartbeat)),
                None => part(message.seq, false, None),
            }
        }
    };
}

rows_part!(hosts_part, HostsUpdate, hosts_update, Hosts, hosts, hosts::host);
rows_part!(
    providers_part,
    ProvidersUpdate,
    providers_update,
    Providers,
    providers,
    providers::provider
);
rows_part!(models_part, RolloutsUpdate, rollouts_update, Models, models, rollouts::model);
rows_part!(backends, BackendsUpdate, backends_update, Backends, backends, convert::backend);
rows_part!(keys, KeysUpdate, keys_update, Keys, keys, convert::key);
rows_part!(requests, RequestsUpdate, requests_update, Requests, requests, convert::request);

fn events_part(message: proto::EventsUpdate) -> Part {
    use proto::events_update::Update as U;
    let update = match message.update {
        Some(U::Event(event)) => Some(Update::Events(Rows::Delta {
            changed: vec![convert::event(event)],
            removed: Vec::new(),
        })),
        Some(U::ResyncBefore(before)) => Some(Update::EventsSkipped { before }),
        Some(U::Heartbeat(heartbeat)) => beat(&heartbeat),
        None => None,
    };
    Part { seq: None, update, snapshot: false }
}

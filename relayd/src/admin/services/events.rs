//! What happened.

use std::time::Duration;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::events_service_server::EventsService;
use relay_proto::admin::v1::events_update::Update;
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};

use crate::admin::error::status;
use crate::admin::watch::stopping;
use crate::admin::{Streams, UpdateStream, caller, convert, now_ms, page};
use crate::domain::Fault;
use crate::events::{self, Event};
use crate::store::{EventFilter, Store};

/// How often a stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

pub(in crate::admin) struct Events {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) events: events::Events,
    pub(in crate::admin) streams: Streams,
}

#[tonic::async_trait]
impl EventsService for Events {
    async fn list_events(
        &self,
        request: Request<proto::ListEventsRequest>,
    ) -> Result<Response<proto::ListEventsResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    type WatchEventsStream = UpdateStream<proto::EventsUpdate>;

    async fn watch_events(
        &self,
        request: Request<proto::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let mut events = self.events.subscribe(request.get_ref().since_seq);
        let streams = self.streams.clone();
        let caller = caller(&request)?.clone();
        Ok(Response::new(Box::pin(async_stream::try_stream! {
            let mut beat = Instant::now() + HEARTBEAT;
            loop {
                let next = tokio::select! {
                    () = streams.stop.cancelled() => Next::Stop,
                    update = events.next() => Next::Update(update),
                    () = sleep_until(beat) => Next::Beat,
                };
                let update = match next {
                    Next::Stop => Err(stopping())?,
                    Next::Update(events::Update::Event(event)) => {
                        Update::Event(convert::event(&event))
                    }
                    Next::Update(events::Update::Resync { before }) => {
                        Update::ResyncBefore(before)
                    }
                    Next::Beat => {
                        streams.may_go_on(&caller).await.map_err(|fault| status(&fault))?;
                        beat = Instant::now() + HEARTBEAT;
                        Update::Heartbeat(proto::Heartbeat { now_ms: now_ms() })
                    }
                };
                yield proto::EventsUpdate { update: Some(update) };
            }
        })))
    }
}

/// What a stream of events waits for.
enum Next {
    Stop,
    Update(events::Update),
    Beat,
}

impl Events {
    async fn list(
        &self,
        request: proto::ListEventsRequest,
    ) -> Result<proto::ListEventsResponse, Fault> {
        let asked = page::asked(request.page)?;
        let filter = EventFilter { kind_prefix: request.kind_prefix, subject: request.subject };
        let found = self.store.events(&filter, &asked.stored()).await.map_err(page::fault)?;
        let events = found.rows.into_iter().map(|row| convert::event(&Event::from(row))).collect();
        Ok(proto::ListEventsResponse { events, next_page_token: found.next.unwrap_or_default() })
    }
}

//! One look at one page, without watches: for `relay-tui once`.

use relay_proto::admin::v1 as proto;
use serde::Serialize;
use tonic::Status;

use super::channel::Wire;
use super::{Timings, convert, hosts, problem, providers, rollouts};
use crate::config::Target;
use crate::model::Screen;
use crate::model::data::{Rows, Session};
use crate::msg::Update;

/// Rows of a page of a list.
const PAGE: u32 = 1_000;
/// Pages that are read: as many rows as the console shows.
const PAGES_MAX: usize = 5;
/// Events of the page.
const EVENTS: u32 = 50;

/// What was found.
#[derive(Debug)]
pub(crate) enum Page {
    /// The protocol's messages as JSON, pretty.
    Json(String),
    /// To be shown as text.
    Data { session: Session, updates: Vec<Update> },
}

#[derive(Serialize)]
struct Hosts {
    hosts: Vec<proto::Host>,
}

#[derive(Serialize)]
struct Providers {
    providers: Vec<proto::Provider>,
}

#[derive(Serialize)]
struct Models {
    models: Vec<proto::ModelRollout>,
}

#[derive(Serialize)]
struct Backends {
    backends: Vec<proto::Backend>,
}

#[derive(Serialize)]
struct Keys {
    keys: Vec<proto::Key>,
}

#[derive(Serialize)]
struct Events {
    events: Vec<proto::Event>,
}

/// Connects, reads what the screen shows, and leaves.
///
/// # Errors
/// One sentence: what failed and where to look.
pub(crate) async fn once(
    target: &Target,
    timings: Timings,
    screen: Screen,
    json: bool,
) -> Result<Page, String> {
    let late = || format!("{} did not answer in {} s", target.url, timings.connect.as_secs());
    let wire = tokio::time::timeout(timings.connect, Wire::open(target, timings))
        .await
        .unwrap_or_else(|_| Err(late()))?;
    let session = wire.who_am_i().await?;
    let read = tokio::time::timeout(timings.call, read(&wire, screen, json));
    match read.await {
        Err(_) => Err(late()),
        Ok(Err(status)) => Err(problem::of_status(wire.url(), &status)),
        Ok(Ok(Read::Json(json))) => Ok(Page::Json(json)),
        Ok(Ok(Read::Updates(updates))) => Ok(Page::Data { session, updates }),
    }
}

enum Read {
    Json(String),
    Updates(Vec<Update>),
}

async fn read(wire: &Wire, screen: Screen, json: bool) -> Result<Read, Status> {
    Ok(match screen {
        Screen::Overview => {
            let ask = proto::GetOverviewRequest {};
            let overview = wire.overview().get_overview(ask).await?.into_inner();
            if json {
                return print(&overview);
            }
            let backends = backends(wire).await?.into_iter().map(convert::backend).collect();
            let events = events(wire).await?.into_iter().map(convert::event).collect();
            Read::Updates(vec![
                Update::Overview(convert::overview(overview)),
                Update::Backends(Rows::Snapshot(backends)),
                Update::Events(Rows::Snapshot(events)),
            ])
        }
        Screen::Gpus => {
            let all = self::hosts(wire).await?;
            if json {
                return print(&Hosts { hosts: all });
            }
            let rows = all.into_iter().map(hosts::host).collect();
            Read::Updates(vec![Update::Hosts(Rows::Snapshot(rows))])
        }
        Screen::Providers => {
            let all = self::providers(wire).await?;
            if json {
                return print(&Providers { providers: all });
            }
            let rows = all.into_iter().map(providers::provider).collect();
            let hosts = self::hosts(wire).await?.into_iter().map(hosts::host).collect();
            Read::Updates(vec![
                Update::Hosts(Rows::Snapshot(hosts)),
                Update::Providers(Rows::Snapshot(rows)),
            ])
        }
        Screen::Backends => {
            let backends = backends(wire).await?;
            if json {
                return print(&Backends { backends });
            }
            let rows = backends.into_iter().map(convert::backend).collect();
            Read::Updates(vec![Update::Backends(Rows::Snapshot(rows))])
        }
        Screen::Models => {
            let models = models(wire).await?;
            if json {
                return print(&Models { models });
            }
            let rows = models.into_iter().map(rollouts::model).collect();
            Read::Updates(vec![Update::Models(Rows::Snapshot(rows))])
        }
        Screen::Keys => {
            let keys = keys(wire).await?;
            if json {
                return print(&Keys { keys });
            }
            let rows = keys.into_iter().map(convert::key).collect();
            Read::Updates(vec![Update::Keys(Rows::Snapshot(rows))])
        }
        Screen::Events => {
            let events = events(wire).await?;
            if json {
                return print(&Events { events });
            }
            let rows = events.into_iter().map(convert::event).collect();
            Read::Updates(vec![Update::Events(Rows::Snapshot(rows))])
        }
    })
}

fn print(value: &impl Serialize) -> Result<Read, Status> {
    serde_json::to_string_pretty(value)
        .map(Read::Json)
        .map_err(|error| Status::internal(error.to_string()))
}

fn page(page_token: String) -> Option<proto::Page> {
    Some(proto::Page { page_size: PAGE, page_token })
}

/// Every page of a list, up to [`PAGES_MAX`].
macro_rules! all_pages {
    ($name:ident, $client:ident, $call:ident, $row:ident, $ask:expr) => {
        async fn $name(wire: &Wire) -> Result<Vec<proto::$row>, Status> {
            let ask: fn(Option<proto::Page>) -> _ = $ask;
            let mut all = Vec::new();
            let mut token = String::new();
            for _ in 0..PAGES_MAX {
                let answer = wire.$client().$call(ask(page(token))).await?.into_inner();
                all.extend(answer.$name);
                token = answer.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            Ok(all)
        }
    };
}

all_pages!(hosts, hosts, list_hosts, Host, |page| proto::ListHostsRequest { page });
all_pages!(backends, backends, list_backends, Backend, |page| proto::ListBackendsRequest { page });
all_pages!(models, rollouts, list_model_rollouts, ModelRollout, |page| {
    proto::ListModelRolloutsRequest { page }
});
all_pages!(keys, keys, list_keys, Key, |page| proto::ListKeysRequest {
    page,
    ..Default::default()
});
all_pages!(providers, providers, list_providers, Provider, |page| {
    proto::ListProvidersRequest { page }
});

async fn events(wire: &Wire) -> Result<Vec<proto::Event>, Status> {
    let page = Some(proto::Page { page_size: EVENTS, page_token: String::new() });
    let ask = proto::ListEventsRequest { page, ..Default::default() };
    Ok(wire.events().list_events(ask).await?.into_inner().events)
}

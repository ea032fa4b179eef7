//! `backends`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::backends_service_client::BackendsServiceClient;
use relay_proto::admin::v1::backends_update::Update;

use super::Problem;
use super::args::{ChangeArgs, Interval, Limit, ReasonedArgs};
use super::change;
use super::format::Column::{Left, Right};
use super::format::{Table, millis, or_dash, pairs, percent, plain, time};
use super::link::{Link, Wire};
use super::show::Show;

const TABLE: Table = Table::new(&[
    Left("BACKEND"),
    Left("STATE"),
    Left("BREAKER"),
    Left("ENGINE"),
    Right("WEIGHT"),
    Right("RUNNING"),
    Right("QUEUED"),
    Right("TTFT P95"),
    Right("FAILING"),
    Left("MODELS"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum BackendsVerb {
    /// All of them.
    #[command(alias = "ls")]
    List(Limit),
    /// One of them.
    #[command(alias = "get")]
    Show {
        /// The backend's name.
        backend: String,
    },
    /// A line for each that changes, until interrupted.
    Watch(Interval),
    /// Send it nothing new; what runs goes on.
    Cordon {
        /// The backend's name.
        backend: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// End a cordon or a drain.
    Uncordon {
        /// The backend's name.
        backend: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Cordon it and say when nothing runs there any more.
    Drain {
        /// The backend's name.
        backend: String,
        /// End what still runs after so many seconds; without it, what runs goes on to its end.
        #[arg(long, value_name = "SECONDS",
              value_parser = clap::value_parser!(u32).range(1..=86_400))]
        within: Option<u32>,
        #[command(flatten)]
        change: ReasonedArgs,
    },
    /// Give it a larger or smaller share: 0 to 1000.
    Weight {
        /// The backend's name.
        backend: String,
        /// 0 takes no new requests.
        #[arg(value_parser = clap::value_parser!(u32).range(0..=1_000))]
        weight: u32,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Ask its engine now.
    Probe {
        /// The backend's name.
        backend: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

pub(super) async fn run(link: &Link, verb: BackendsVerb, show: &mut Show) -> Result<(), Problem> {
    let client = BackendsServiceClient::new(link.wire());
    match verb {
        BackendsVerb::List(Limit { limit }) => {
            let fetch = async |page| {
                let request = proto::ListBackendsRequest { page: Some(page) };
                let answer = client.clone().list_backends(request).await?.into_inner();
                Ok((answer.backends, answer.next_page_token))
            };
            show.list(link, "backends", limit, fetch, &TABLE, cells).await
        }
        BackendsVerb::Show { backend } => {
            let found = get(&client, &backend).await.map_err(|status| link.problem(&status))?;
            show.one(&found, detail)
        }
        BackendsVerb::Watch(Interval { interval: interval_ms }) => {
            let opened = client.clone().watch_backends(proto::WatchRequest { interval_ms }).await;
            show.watch(link, opened, lines).await
        }
        verb => change(link, &client, verb, show).await,
    }
}

/// A line for each that changed or went.
fn lines(update: &proto::BackendsUpdate) -> Option<String> {
    let (changed, removed): (&[_], &[_]) = match &update.update {
        Some(Update::Snapshot(all)) => (&all.backends, &[]),
        Some(Update::Delta(delta)) => (&delta.changed, &delta.removed),
        Some(Update::Heartbeat(_)) | None => (&[], &[]),
    };
    let changed = changed.iter().map(line);
    let removed = removed.iter().map(|name| format!("{} is gone", plain(name)));
    let lines: Vec<_> = changed.chain(removed).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The verbs that change a backend.
async fn change(
    link: &Link,
    client: &BackendsServiceClient<Wire>,
    verb: BackendsVerb,
    show: &mut Show,
) -> Result<(), Problem> {
    let read = async |backend: &str| get(client, backend).await.map(|found| found.version);
    let changed = match verb {
        BackendsVerb::Cordon { backend, change } => {
            change::update(
                link,
                &change,
                async || read(&backend).await,
                async |change| {
                    let request = proto::CordonBackendRequest {
                        change: Some(change),
                        backend_id: backend.clone(),
                    };
                    client.clone().cordon_backend(request).await
                },
            )
            .await?
        }
        BackendsVerb::Uncordon { backend, change } => {
            change::update(
                link,
                &change,
                async || read(&backend).await,
                async |change| {
                    let request = proto::UncordonBackendRequest {
                        change: Some(change),
                        backend_id: backend.clone(),
                    };
                    client.clone().uncordon_backend(request).await
                },
            )
            .await?
        }
        BackendsVerb::Drain { backend, within, change } => {
            change::update(
                link,
                &change.into(),
                async || read(&backend).await,
                async |change| {
                    let request = proto::DrainBackendRequest {
                        change: Some(change),
                        backend_id: backend.clone(),
                        wait_ms: u64::from(within.unwrap_or(0)) * 1_000,
                    };
                    client.clone().drain_backend(request).await
                },
            )
            .await?
        }
        BackendsVerb::Weight { backend, weight, change } => {
            change::update(
                link,
                &change,
                async || read(&backend).await,
                async |change| {
                    let request = proto::SetBackendWeightRequest {
                        change: Some(change),
                        backend_id: backend.clone(),
                        weight,
                    };
                    client.clone().set_backend_weight(request).await
                },
            )
            .await?
        }
        BackendsVerb::Probe { backend, change } => {
            change::update(
                link,
                &change,
                async || read(&backend).await,
                async |change| {
                    let request = proto::ProbeBackendRequest {
                        change: Some(change),
                        backend_id: backend.clone(),
                    };
                    client.clone().probe_backend(request).await
                },
            )
            .await?
        }
        BackendsVerb::List(_) | BackendsVerb::Show { .. } | BackendsVerb::Watch(_) => return Ok(()),
    };
    show.one(&changed, detail)
}

async fn get(
    client: &BackendsServiceClient<Wire>,
    backend: &str,
) -> Result<proto::Backend, tonic::Status> {
    let request = proto::GetBackendRequest { backend_id: backend.to_owned() };
    Ok(client.clone().get_backend(request).await?.into_inner())
}

fn state(backend: &proto::Backend) -> String {
    proto::BackendState::try_from(backend.state).unwrap_or_default().word()
}

fn breaker(backend: &proto::Backend) -> String {
    proto::BreakerState::try_from(backend.breaker).unwrap_or_default().word()
}

fn names(backend: &proto::Backend) -> String {
    let names: Vec<_> = backend.models.iter().map(|model| model.model.as_str()).collect();
    or_dash(&names.join(", "))
}

fn line(backend: &proto::Backend) -> String {
    format!(
        "{} {} {} running, {} queued",
        plain(&backend.backend_id),
        state(backend),
        backend.running,
        backend.queued
    )
}

fn cells(backend: &proto::Backend) -> Vec<String> {
    vec![
        backend.backend_id.clone(),
        state(backend),
        breaker(backend),
        backend.engine.clone(),
        backend.weight.to_string(),
        format!("{}/{}", backend.running, backend.max_concurrency),
        format!("{}/{}", backend.queued, backend.queue_limit),
        millis(backend.ttft_p95_ms.into()),
        percent(backend.recent_failures_ppm),
        names(backend),
    ]
}

fn weight(backend: &proto::Backend) -> String {
    match backend.effective_weight {
        same if same == backend.weight => same.to_string(),
        now => format!("{}, drawn by {now}", backend.weight),
    }
}

fn detail(backend: &proto::Backend) -> String {
    pairs(&[
        ("backend", backend.backend_id.clone()),
        ("engine", format!("{} at {} ({})", backend.engine, backend.base_url, backend.dialect)),
        ("state", format!("{} since {}", state(backend), time(backend.state_since_ms))),
        ("reason", or_dash(&backend.state_reason)),
        ("breaker", format!("{} until {}", breaker(backend), time(backend.breaker_until_ms))),
        ("weight", weight(backend)),
        ("running", format!("{} of {}", backend.running, backend.max_concurrency)),
        ("queued", format!("{} of {}", backend.queued, backend.queue_limit)),
        (
            "first token",
            format!(
                "p50 {}, p95 {}",
                millis(backend.ttft_p50_ms.into()),
                millis(backend.ttft_p95_ms.into())
            ),
        ),
        (
            "served",
            format!(
                "{} requests, {} failed, {} of the last 100, {} tokens out",
                backend.requests,
                backend.failures,
                percent(backend.recent_failures_ppm),
                backend.tokens_out
            ),
        ),
        ("models", names(backend)),
        ("probed", time(backend.probed_at_ms)),
        ("version", backend.version.to_string()),
    ])
}

//! `overview` and `whoami`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1::overview_service_client::OverviewServiceClient;
use relay_proto::admin::v1::overview_update::Update;
use relay_proto::admin::v1::session_service_client::SessionServiceClient;
use relay_proto::admin::v1::{
    GetOverviewRequest, Overview, OverviewUpdate, Role, Severity, WatchRequest, WhoAmIRequest,
    WhoAmIResponse,
};

use super::Problem;
use super::args::Interval;
use super::format::{millis, pairs, percent, plain, thousandths, time, usd};
use super::link::Link;
use super::show::Show;

#[derive(Debug, Subcommand)]
pub(super) enum OverviewVerb {
    /// One page; what `relayd admin overview` alone prints.
    #[command(alias = "get")]
    Show,
    /// A line for each change, until interrupted.
    Watch(Interval),
}

pub(super) async fn run(
    link: &Link,
    verb: Option<OverviewVerb>,
    show: &mut Show,
) -> Result<(), Problem> {
    let mut client = OverviewServiceClient::new(link.wire());
    match verb {
        None | Some(OverviewVerb::Show) => {
            let answer = client.get_overview(GetOverviewRequest {}).await;
            show.one(&answer.map_err(|status| link.problem(&status))?.into_inner(), page)
        }
        Some(OverviewVerb::Watch(Interval { interval })) => {
            let opened = client.watch_overview(WatchRequest { interval_ms: interval }).await;
            show.watch(link, opened, |update: &OverviewUpdate| match &update.update {
                Some(Update::Snapshot(overview)) => Some(traffic_line(overview)),
                Some(Update::Delta(delta)) => delta.traffic.map(|traffic| {
                    traffic_line(&Overview { traffic: Some(traffic), ..Default::default() })
                }),
                Some(Update::Heartbeat(_)) | None => None,
            })
            .await
        }
    }
}

pub(super) async fn whoami(link: &Link, show: &mut Show) -> Result<(), Problem> {
    let answer = SessionServiceClient::new(link.wire()).who_am_i(WhoAmIRequest {}).await;
    show.one(&answer.map_err(|status| link.problem(&status))?.into_inner(), session)
}

fn session(answer: &WhoAmIResponse) -> String {
    pairs(&[
        ("operator", answer.operator.clone()),
        ("role", Role::try_from(answer.role).map(|role| role.word()).unwrap_or_default()),
        ("relay", answer.relay.clone()),
        ("version", format!("{} ({})", answer.version, answer.commit)),
        ("protocol", answer.protocol.to_string()),
        ("started", time(answer.started_at_ms)),
        ("now", time(answer.now_ms)),
    ])
}

fn traffic_line(overview: &Overview) -> String {
    let traffic = overview.traffic.unwrap_or_default();
    format!(
        "{} req/s  {} tok/s out  {} in flight  {} queued  errors {}  ttft p95 {}",
        thousandths(traffic.requests_per_ks),
        thousandths(traffic.tokens_out_per_ks),
        traffic.in_flight,
        traffic.queued,
        percent(traffic.errors_ppm),
        millis(traffic.ttft_p95_ms.into()),
    )
}

fn page(overview: &Overview) -> String {
    let traffic = overview.traffic.unwrap_or_default();
    let money = overview.money.unwrap_or_default();
    let fleet = overview.fleet.unwrap_or_default();
    let oldest = u64::try_from(traffic.oldest_queued_ms).unwrap_or(0);
    let mut text = pairs(&[
        ("requests", format!("{} /s", thousandths(traffic.requests_per_ks))),
        (
            "tokens",
            format!(
                "{} /s in, {} /s out",
                thousandths(traffic.tokens_in_per_ks),
                thousandths(traffic.tokens_out_per_ks)
            ),
        ),
        ("in flight", format!("{} ({} streams)", traffic.in_flight, traffic.streams)),
        ("queued", format!("{} (oldest {})", traffic.queued, millis(oldest))),
        ("errors", format!("{} of the last minute", percent(traffic.errors_ppm))),
        ("shed", format!("{} in the last minute", traffic.shed)),
        (
            "first token",
            format!(
                "p50 {}, p95 {}, p99 {}",
                millis(traffic.ttft_p50_ms.into()),
                millis(traffic.ttft_p95_ms.into()),
                millis(traffic.ttft_p99_ms.into())
            ),
        ),
        ("charged today", usd(money.charged_today_ncr)),
        ("held", format!("{} in {} holds", usd(money.held_ncr), money.open_holds)),
        ("balances", usd(money.balances_ncr)),
        (
            "ledger",
            match money.checked_at_ms {
                0 => "not checked since the start".to_owned(),
                at => format!("{} breaches, checked {}", money.breaches, time(at)),
            },
        ),
        (
            "backends",
            format!(
                "{} of {} up, {} down, {} cordoned",
                fleet.up, fleet.backends, fleet.down, fleet.cordoned
            ),
        ),
    ]);
    for item in &overview.attention {
        let severity = Severity::try_from(item.severity).unwrap_or(Severity::Info).word();
        text.push_str(&format!(
            "\n{severity}: {} (since {})",
            plain(&item.text),
            time(item.since_ms)
        ));
    }
    text
}

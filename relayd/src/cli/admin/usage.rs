//! `usage` and `requests`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::requests_update::Update;
use relay_proto::admin::v1::usage_service_client::UsageServiceClient;

use super::Problem;
use super::args::{Interval, Limit};
use super::format::Column::{Left, Right};
use super::format::{Table, millis, or_dash, plain, time, tokens, usd};
use super::link::Link;
use super::show::Show;
use super::time::moment;

const REQUESTS: Table = Table::new(&[
    Left("REQUEST"),
    Left("WHEN"),
    Left("KEY"),
    Left("SCOPE"),
    Left("BACKEND"),
    Left("STATE"),
    Right("IN"),
    Right("OUT"),
    Right("TTFT"),
    Right("TOOK"),
    Right("CHARGED"),
]);
const TOTALS: Table = Table::new(&[
    Left("GROUP"),
    Right("REQUESTS"),
    Right("ERRORS"),
    Right("IN"),
    Right("OUT"),
    Right("CHARGED"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum UsageVerb {
    /// Totals over a period; today when none is given.
    #[command(alias = "get")]
    Show {
        /// From this moment: 2026-11-23, 2026-11-23T10:00:00Z, or an age such as 24h.
        #[arg(long, value_name = "TIME", value_parser = moment)]
        from: Option<i64>,
        /// Until just before this moment.
        #[arg(long, value_name = "TIME", value_parser = moment)]
        to: Option<i64>,
        /// A row for each of these: mode, source, model, key, customer, backend.
        #[arg(long, value_name = "WORDS", value_delimiter = ',')]
        by: Vec<String>,
        /// Only this customer's.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        customer: String,
        /// Only this key's.
        #[arg(long = "key-id", value_name = "ID", default_value = "", hide_default_value = true)]
        key_id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RequestsVerb {
    /// Settled requests, newest first.
    #[command(alias = "ls")]
    List {
        /// Only this customer's.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        customer: String,
        /// Only this key's.
        #[arg(long = "key-id", value_name = "ID", default_value = "", hide_default_value = true)]
        key_id: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// A line for each step of the requests that run now, until interrupted.
    Watch(Interval),
}

pub(super) async fn run(link: &Link, verb: UsageVerb, show: &mut Show) -> Result<(), Problem> {
    let UsageVerb::Show { from, to, by, customer, key_id } = verb;
    let request = proto::SummarizeUsageRequest {
        from_ms: from.unwrap_or(0),
        to_ms: to.unwrap_or(0),
        group_by: by,
        customer_id: customer,
        key_id,
    };
    let answer = UsageServiceClient::new(link.wire()).summarize_usage(request).await;
    let answer = answer.map_err(|status| link.problem(&status))?.into_inner();
    show.one(&answer, |answer| {
        let mut rows: Vec<_> =
            answer.rows.iter().map(|row| total(row.group.join(" "), row)).collect();
        if let Some(all) = &answer.total {
            rows.push(total("total".to_owned(), all));
        }
        let widths = TOTALS.widths(&rows);
        let mut lines = vec![TOTALS.header(&widths)];
        lines.extend(rows.into_iter().map(|row| TOTALS.row(row, &widths)));
        lines.join("\n")
    })
}

pub(super) async fn requests(
    link: &Link,
    verb: RequestsVerb,
    show: &mut Show,
) -> Result<(), Problem> {
    let client = UsageServiceClient::new(link.wire());
    match verb {
        RequestsVerb::List { customer, key_id, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request = proto::ListRequestsRequest {
                    page: Some(page),
                    customer_id: customer.clone(),
                    key_id: key_id.clone(),
                };
                let answer = client.clone().list_requests(request).await?.into_inner();
                Ok((answer.requests, answer.next_page_token))
            };
            show.list(link, "requests", limit, fetch, &REQUESTS, cells).await
        }
        RequestsVerb::Watch(Interval { interval: interval_ms }) => {
            let opened = client.clone().watch_requests(proto::WatchRequest { interval_ms }).await;
            show.watch(link, opened, lines).await
        }
    }
}

/// A line for each that changed.
fn lines(update: &proto::RequestsUpdate) -> Option<String> {
    let changed: &[_] = match &update.update {
        Some(Update::Snapshot(all)) => &all.requests,
        Some(Update::Delta(delta)) => &delta.changed,
        Some(Update::Heartbeat(_)) | None => &[],
    };
    let lines: Vec<_> = changed.iter().map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn total(group: String, row: &proto::UsageRow) -> Vec<String> {
    let (input, output) = tokens(row.meters.as_ref());
    let (requests, errors) = (row.requests.to_string(), row.errors.to_string());
    vec![or_dash(&group), requests, errors, input, output, usd(row.charged_ncr)]
}

fn state(request: &proto::Request) -> String {
    let state = proto::RequestState::try_from(request.state).unwrap_or_default().word();
    if request.error_code.is_empty() { state } else { format!("{state} {}", request.error_code) }
}

fn line(request: &proto::Request) -> String {
    let (_, output) = tokens(request.meters.as_ref());
    plain(&format!(
        "{} {} {} {} {output} tokens, {}",
        request.request_id,
        request.scope,
        or_dash(&request.backend_id),
        state(request),
        millis(request.duration_ms.into())
    ))
}

fn cells(request: &proto::Request) -> Vec<String> {
    let (input, output) = tokens(request.meters.as_ref());
    let estimated = if request.estimated { "~" } else { "" };
    vec![
        request.request_id.clone(),
        time(request.created_at_ms),
        or_dash(if request.key_name.is_empty() { &request.key_id } else { &request.key_name }),
        request.scope.clone(),
        or_dash(&request.backend_id),
        state(request),
        format!("{estimated}{input}"),
        format!("{estimated}{output}"),
        millis(request.ttft_ms.into()),
        millis(request.duration_ms.into()),
        usd(request.charged_ncr),
    ]
}

//! What was served, to whom, for how much.

use std::collections::HashMap;

use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::requests_update::Update;
use relay_proto::admin::v1::usage_service_server::UsageService;
use tonic::{Request, Response, Status};

use crate::admin::error::status;
use crate::admin::watch::{Shared, Watched, difference, interval};
use crate::admin::{Streams, UpdateStream, convert, now_ms, optional_id, page};
use crate::domain::{Code, Fault, KeyId};
use crate::ledger::UsageRow;
use crate::observe::Observe;
use crate::store::{GroupBy, Span, Store, StoreError, UsageOf, UsageSum};

/// Requests that a watch shows.
const WATCHED_MAX: usize = 200;
/// Different keys of one page whose names are looked up, one indexed read each.
const NAMED_MAX: usize = 100;

/// The requests that run now.
#[derive(Clone)]
pub(in crate::admin) struct RequestsView(pub(in crate::admin) Observe);

pub(in crate::admin) struct Usage {
    pub(in crate::admin) store: Store,
    pub(in crate::admin) live: Shared<RequestsView>,
    pub(in crate::admin) streams: Streams,
}

#[tonic::async_trait]
impl UsageService for Usage {
    async fn summarize_usage(
        &self,
        request: Request<proto::SummarizeUsageRequest>,
    ) -> Result<Response<proto::SummarizeUsageResponse>, Status> {
        let answer = self.summarize(request.get_ref()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    async fn list_requests(
        &self,
        request: Request<proto::ListRequestsRequest>,
    ) -> Result<Response<proto::ListRequestsResponse>, Status> {
        let answer = self.list(request.into_inner()).await;
        answer.map(Response::new).map_err(|fault| status(&fault))
    }

    type WatchRequestsStream = UpdateStream<proto::RequestsUpdate>;

    async fn watch_requests(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchRequestsStream>, Status> {
        let interval = interval(request.get_ref().interval_ms).map_err(|fault| status(&fault))?;
        self.streams.open(&request, self.live.clone(), interval)
    }
}

impl Usage {
    async fn summarize(
        &self,
        request: &proto::SummarizeUsageRequest,
    ) -> Result<proto::SummarizeUsageResponse, Fault> {
        let of = UsageOf {
            customer: optional_id(&request.customer_id)?,
            key: optional_id(&request.key_id)?,
        };
        let now = now_ms();
        let span = Span {
            from_ms: if request.from_ms == 0 { Span::day_of(now).from_ms } else { request.from_ms },
            to_ms: if request.to_ms == 0 { now } else { request.to_ms },
        };
        if span.from_ms > span.to_ms {
            return Err(Fault::new(Code::ValidationError, "from_ms is after to_ms"));
        }
        let words = &request.group_by;
        let sums = self.store.summarize(&of, span, group_by(words)?).await?;
        let total = self.store.usage_total(&of, span).await?;
        Ok(proto::SummarizeUsageResponse {
            rows: sums.iter().map(|sum| row(sum, words)).collect(),
            total: Some(row(&total, &[])),
        })
    }

    async fn list(
        &self,
        request: proto::ListRequestsRequest,
    ) -> Result<proto::ListRequestsResponse, Fault> {
        let asked = page::asked(request.page)?;
        let of = UsageOf {
            customer: optional_id(&request.customer_id)?,
            key: optional_id(&request.key_id)?,
        };
        let found = self.store.usage(&of, &asked.stored()).await.map_err(page::fault)?;
        let names = self.key_names(&found.rows).await?;
        let name = |row: &UsageRow| row.key.as_ref().and_then(|key| names.get(key)).cloned();
        let requests = found
            .rows
            .iter()
            .map(|row| proto::Request {
                key_name: name(row).unwrap_or_default(),
                ..convert::settled_request(row)
            })
            .collect();
        Ok(proto::ListRequestsResponse {
            requests,
            next_page_token: found.next.unwrap_or_default(),
        })
    }

    /// What people call the keys of these rows. A deleted key has no name any more, and beyond a
    /// screenful of different keys the id must do.
    async fn key_names(&self, rows: &[UsageRow]) -> Result<HashMap<KeyId, String>, Fault> {
        let mut names = HashMap::new();
        for key in rows.iter().filter_map(|row| row.key.as_ref()) {
            if names.len() >= NAMED_MAX {
                break;
            }
            if names.contains_key(key) {
                continue;
            }
            let name = match self.store.key(key).await {
                Ok(known) => known.name,
                Err(StoreError::NotFound(_)) => String::new(),
                Err(error) => return Err(error.into()),
            };
            names.insert(key.clone(), name);
        }
        Ok(names)
    }
}

fn group_by(words: &[String]) -> Result<GroupBy, Fault> {
    let mut by = GroupBy::default();
    for word in words {
        let flag = match word.as_str() {
            "mode" => &mut by.mode,
            "source" => &mut by.source,
            "model" => &mut by.model,
            "key" => &mut by.key,
            "customer" => &mut by.customer,
            "backend" => &mut by.backend,
            _ => {
                return Err(Fault::new(
                    Code::ValidationError,
                    "group_by takes mode, source, model, key, customer and backend",
                ));
            }
        };
        *flag = true;
    }
    Ok(by)
}

fn row(sum: &UsageSum, words: &[String]) -> proto::UsageRow {
    let text = |value: Option<String>| value.unwrap_or_default();
    let value = |word: &String| match word.as_str() {
        "mode" => text(sum.mode.map(|mode| mode.to_string())),
        "source" => text(sum.source.map(|source| source.to_string())),
        "model" => text(sum.model.as_ref().map(ToString::to_string)),
        "key" => text(sum.key.as_ref().map(ToString::to_string)),
        "customer" => text(sum.customer.as_ref().map(ToString::to_string)),
        _ => text(sum.backend.clone()),
    };
    proto::UsageRow {
        group: words.iter().map(value).collect(),
        requests: sum.requests,
        errors: sum.errors,
        meters: Some(convert::meters(&sum.meters)),
        charged_ncr: sum.charged.get(),
    }
}

impl Watched for RequestsView {
    type View = Vec<proto::Request>;
    type Update = proto::RequestsUpdate;

    async fn view(&self) -> Result<Vec<proto::Request>, Fault> {
        Ok(self.0.requests(WATCHED_MAX).iter().map(convert::live_request).collect())
    }

    fn snapshot(seq: u64, view: &Vec<proto::Request>) -> proto::RequestsUpdate {
        let all = proto::RequestsSnapshot { requests: view.clone() };
        proto::RequestsUpdate { seq, update: Some(Update::Snapshot(all)) }
    }

    fn delta(
        seq: u64,
        old: &Vec<proto::Request>,
        new: &Vec<proto::Request>,
    ) -> Option<proto::RequestsUpdate> {
        let (changed, removed) = difference(old, new, |request| &request.request_id)?;
        let delta = proto::RequestsDelta { changed, removed };
        Some(proto::RequestsUpdate { seq, update: Some(Update::Delta(delta)) })
    }

    fn heartbeat(seq: u64, now_ms: i64) -> proto::RequestsUpdate {
        let heartbeat = proto::Heartbeat { now_ms };
        proto::RequestsUpdate { seq, update: Some(Update::Heartbeat(heartbeat)) }
    }
}

//! `models` and `tiers`.

use clap::Subcommand;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::models_service_client::ModelsServiceClient;

use super::Problem;
use super::args::{ChangeArgs, Limit};
use super::change;
use super::format::Column::{Left, Right};
use super::format::{Table, or_dash, pairs, time, usd};
use super::link::Link;
use super::show::Show;

const MODELS: Table = Table::new(&[
    Left("MODEL"),
    Left("TAG"),
    Left("STATUS"),
    Right("CONTEXT"),
    Right("PRICES"),
    Right("UP"),
    Left("BACKENDS"),
]);
const TIERS: Table = Table::new(&[
    Left("TIER"),
    Right("LEVEL"),
    Right("KEYS"),
    Right("WEIGHT"),
    Right("DIRECT/MIN"),
    Right("OPENGPU/MIN"),
    Right("ALL/MIN"),
    Left("DENIED"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum ModelsVerb {
    /// All of them, or those whose name contains a text.
    #[command(alias = "ls")]
    List {
        /// Only those that contain this text.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        query: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// One of them, with its prices.
    #[command(alias = "get")]
    Show {
        /// The model's name.
        model: String,
    },
    /// Choose among its backends in another way, from now on.
    Policy {
        /// The model's name.
        model: String,
        /// predictive, least-load, affinity, two-choices, round-robin or random.
        policy: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Run each of its requests on more than one backend, from now on.
    ///
    /// single: on one. hedge: on a second one as well when a stream's first content is late, for one
    /// request in twenty at most. race:3: on three providers' at once, the first content is heard.
    /// quorum:3:2: on three, answered when two agree; for requests with a temperature of 0, others
    /// are hedged. A request is charged once, whatever it runs on.
    #[command(verbatim_doc_comment)]
    Execution {
        /// The model's name.
        model: String,
        /// single, hedge, race:N or quorum:N:M.
        execution: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum TiersVerb {
    /// All of them, lowest first.
    #[command(alias = "ls")]
    List,
}

pub(super) async fn run(link: &Link, verb: ModelsVerb, show: &mut Show) -> Result<(), Problem> {
    let client = ModelsServiceClient::new(link.wire());
    match verb {
        ModelsVerb::List { query, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request = proto::ListModelsRequest { page: Some(page), query: query.clone() };
                let answer = client.clone().list_models(request).await?.into_inner();
                Ok((answer.models, answer.next_page_token))
            };
            show.list(link, "models", limit, fetch, &MODELS, cells).await
        }
        ModelsVerb::Show { model } => {
            let answer = client.clone().get_model(proto::GetModelRequest { name: model }).await;
            show.one(&answer.map_err(|status| link.problem(&status))?.into_inner(), detail)
        }
        ModelsVerb::Policy { model, policy, change } => {
            let read = async || {
                let request = proto::GetModelRequest { name: model.clone() };
                Ok(client.clone().get_model(request).await?.into_inner().policy_version)
            };
            let made = change::update(link, &change, read, async |change| {
                let (change, model, policy) = (Some(change), model.clone(), policy.clone());
                let request = proto::SetModelPolicyRequest { change, model, policy };
                client.clone().set_model_policy(request).await
            })
            .await?;
            show.one(&made, detail)
        }
        ModelsVerb::Execution { model, execution, change } => {
            let read = async || {
                let request = proto::GetModelRequest { name: model.clone() };
                Ok(client.clone().get_model(request).await?.into_inner().execution_version)
            };
            let made = change::update(link, &change, read, async |change| {
                let (change, model, execution) = (Some(change), model.clone(), execution.clone());
                let request = proto::SetModelExecutionRequest { change, model, execution };
                client.clone().set_model_execution(request).await
            })
            .await?;
            show.one(&made, detail)
        }
    }
}

pub(super) async fn tiers(link: &Link, verb: TiersVerb, show: &mut Show) -> Result<(), Problem> {
    let client = ModelsServiceClient::new(link.wire());
    let TiersVerb::List = verb;
    let fetch = async |_| {
        let answer = client.clone().list_tiers(proto::ListTiersRequest {}).await?.into_inner();
        Ok((answer.tiers, String::new()))
    };
    show.list(link, "tiers", None, fetch, &TIERS, |tier: &proto::Tier| {
        vec![
            tier.name.clone(),
            tier.level.to_string(),
            tier.max_keys.to_string(),
            tier.weight.to_string(),
            rate(tier.direct_rpm),
            rate(tier.opengpu_rpm),
            rate(tier.global_rpm),
            or_dash(&tier.denied_scopes.join(", ")),
        ]
    })
    .await
}

/// No limit is 0 on the wire.
fn rate(limit: u32) -> String {
    if limit == 0 { "-".to_owned() } else { limit.to_string() }
}

fn cells(model: &proto::Model) -> Vec<String> {
    vec![
        model.name.clone(),
        or_dash(&model.tag),
        if model.retired { "retired" } else { "available" }.to_owned(),
        model.context_tokens.to_string(),
        model.prices.len().to_string(),
        format!("{}/{}", model.backends_up, model.backends.len()),
        or_dash(&model.backends.join(", ")),
    ]
}

fn detail(model: &proto::Model) -> String {
    let mut text = pairs(&[
        ("model", model.name.clone()),
        ("display name", or_dash(&model.display_name)),
        ("tag", or_dash(&model.tag)),
        ("status", if model.retired { "retired" } else { "available" }.to_owned()),
        ("guests", if model.guests { "welcome" } else { "not allowed" }.to_owned()),
        ("context", format!("{} tokens", model.context_tokens)),
        ("scopes", or_dash(&model.scopes.join(", "))),
        (
            "backends",
            format!("{} up of: {}", model.backends_up, or_dash(&model.backends.join(", "))),
        ),
        ("policy", model.policy.clone()),
        ("execution", model.execution.clone()),
        ("version", model.version.to_string()),
    ]);
    for price in &model.prices {
        let rates = price.rates.unwrap_or_default();
        text.push_str(&format!(
            "\n\n{} since {}, for a million tokens:\n  in {}, cached {}, cache write {} (1 h: {}), \
             out {}, reasoning {}",
            price.scope,
            time(price.valid_from_ms),
            usd(rates.in_uncached),
            usd(rates.in_cache_read),
            usd(rates.in_cache_write_5m),
            usd(rates.in_cache_write_1h),
            usd(rates.out_text),
            usd(rates.out_reasoning),
        ));
    }
    text
}

//! `providers`.

mod detail;
mod invitations;

use std::path::PathBuf;

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::providers_service_client::ProvidersServiceClient;
use relay_proto::admin::v1::providers_update::Update;

use super::args::{ChangeArgs, Interval, Limit, ReasonedArgs};
use super::deployments::{self, DeployArgs};
use super::format::Column::{Left, Right};
use super::format::{Table, millis, or_dash, plain, thousandths};
use super::link::{Link, Wire};
use super::show::Show;
use super::time::age_ms;
use super::{Problem, change};
use crate::domain::Ncr;
use detail::detail;
use invitations::Invite;

type Client = ProvidersServiceClient<Wire>;

const TABLE: Table = Table::new(&[
    Left("PROVIDER"),
    Left("NAME"),
    Left("STATE"),
    Left("LINK"),
    Left("ENGINES"),
    Left("MODELS"),
    Right("TTFT"),
    Right("TOK/S"),
    Left("STANDING"),
    Right("RANK"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum ProvidersVerb {
    /// All of them.
    #[command(alias = "ls")]
    List(Limit),
    /// One of them, with its evidence.
    #[command(alias = "get")]
    Show {
        /// The provider's id.
        provider: String,
    },
    /// A line for each that changes, until interrupted.
    Watch(Interval),
    /// Let its engines serve; refused while something is missing.
    Approve {
        /// The provider's id.
        provider: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Refuse it; the provider sees the reason.
    Reject {
        /// The provider's id.
        provider: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
    /// Take it out of service for now.
    Suspend {
        /// The provider's id.
        provider: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
    /// Look at a rejected one again.
    Reconsider {
        /// The provider's id.
        provider: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
    /// Let it go for good.
    Remove {
        /// The provider's id.
        provider: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
    /// Bound what it may do; what is not named stays as it is.
    Limit {
        /// The provider's id.
        provider: String,
        /// Requests at once of each of its engines; 0 is what it offers.
        max_concurrency: Option<u32>,
        /// The models that it may serve: `a,b`; `all` is every one that it offers.
        #[arg(long, value_name = "MODELS", value_delimiter = ',')]
        models: Option<Vec<String>>,
        /// The lowest price of a million answer tokens at which it serves, in credits; 0 is any.
        #[arg(long, value_name = "CREDITS")]
        price_floor: Option<Ncr>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Have its agent run a model from one of the agent's own templates.
    Deploy(DeployArgs),
    /// Run more or fewer instances of a deployment.
    Scale {
        /// The deployment's id.
        deployment: String,
        /// How many instances.
        replicas: u32,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// End a deployment.
    Undeploy {
        /// The deployment's id.
        deployment: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// What agents run on demand.
    Deployments {
        /// Of this provider alone.
        provider: Option<String>,
        #[command(flatten)]
        limit: Limit,
    },
    /// Make an invitation; its token is shown once.
    Invite {
        /// What it is for.
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
        /// How many may join by it; 0 is any number.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it stands: "24h", "7d"; 0 is for good.
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = life)]
        expires: i64,
        /// Write the join file for `relayd agent init --join-file` here, mode 0600.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Invitations, newest first.
    Invitations(Limit),
    /// End an invitation; who joined by it stays.
    Withdraw {
        /// The invitation's id.
        invitation: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
}

pub(super) async fn run(link: &Link, verb: ProvidersVerb, show: &mut Show) -> Result<(), Problem> {
    let client = Client::new(link.wire());
    match verb {
        ProvidersVerb::List(Limit { limit }) => {
            let fetch = async |page| {
                let request = proto::ListProvidersRequest { page: Some(page) };
                let answer = client.clone().list_providers(request).await?.into_inner();
                Ok((answer.providers, answer.next_page_token))
            };
            show.list(link, "providers", limit, fetch, &TABLE, cells).await
        }
        ProvidersVerb::Show { provider } => {
            let found = get(&client, &provider).await.map_err(|status| link.problem(&status))?;
            show.one(&found, detail)
        }
        ProvidersVerb::Watch(Interval { interval: interval_ms }) => {
            let opened = client.clone().watch_providers(proto::WatchRequest { interval_ms }).await;
            show.watch(link, opened, lines).await
        }
        ProvidersVerb::Invite { note, uses, expires, out, change } => {
            let asked = Invite { note, uses, expires_in_ms: expires, out };
            invitations::invite(link, &client, asked, &change, show).await
        }
        ProvidersVerb::Invitations(Limit { limit }) => {
            invitations::list(link, &client, limit, show).await
        }
        ProvidersVerb::Withdraw { invitation, change } => {
            invitations::withdraw(link, &client, &invitation, change.into(), show).await
        }
        ProvidersVerb::Deploy(args) => deployments::deploy(link, args, show).await,
        ProvidersVerb::Scale { deployment, replicas, change } => {
            deployments::scale(link, &deployment, replicas, &change, show).await
        }
        ProvidersVerb::Undeploy { deployment, change } => {
            deployments::undeploy(link, &deployment, &change, show).await
        }
        ProvidersVerb::Deployments { provider, limit } => {
            deployments::list(link, provider, limit, show).await
        }
        verb => decide(link, &client, verb, show).await,
    }
}

/// A line for each that changed.
fn lines(update: &proto::ProvidersUpdate) -> Option<String> {
    let changed: &[_] = match &update.update {
        Some(Update::Snapshot(all)) => &all.providers,
        Some(Update::Delta(delta)) => &delta.changed,
        Some(Update::Heartbeat(_)) | None => &[],
    };
    let lines: Vec<_> = changed.iter().map(line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The verbs that decide about a provider.
async fn decide(
    link: &Link,
    client: &Client,
    verb: ProvidersVerb,
    show: &mut Show,
) -> Result<(), Problem> {
    let (provider_id, args) = match &verb {
        ProvidersVerb::Approve { provider, change }
        | ProvidersVerb::Limit { provider, change, .. } => (provider.clone(), change.clone()),
        ProvidersVerb::Reject { provider, change }
        | ProvidersVerb::Suspend { provider, change }
        | ProvidersVerb::Reconsider { provider, change }
        | ProvidersVerb::Remove { provider, change } => (provider.clone(), change.clone().into()),
        _ => return Ok(()),
    };
    let read = async || get(client, &provider_id).await.map(|found| found.version);
    let act = async |change| {
        let (mut client, change, provider_id) = (client.clone(), Some(change), provider_id.clone());
        match &verb {
            ProvidersVerb::Reject { .. } => {
                client.reject_provider(proto::RejectProviderRequest { change, provider_id }).await
            }
            ProvidersVerb::Suspend { .. } => {
                client.suspend_provider(proto::SuspendProviderRequest { change, provider_id }).await
            }
            ProvidersVerb::Reconsider { .. } => {
                let request = proto::ReconsiderProviderRequest { change, provider_id };
                client.reconsider_provider(request).await
            }
            ProvidersVerb::Remove { .. } => {
                client.remove_provider(proto::RemoveProviderRequest { change, provider_id }).await
            }
            ProvidersVerb::Limit { max_concurrency, models, price_floor, .. } => {
                let now = get(&client, &provider_id).await?;
                let models = match models.as_deref() {
                    None => now.models_allowed,
                    Some([all]) if all == "all" => Vec::new(),
                    Some(models) => models.to_vec(),
                };
                let request = proto::LimitProviderRequest {
                    change,
                    provider_id,
                    max_concurrency: max_concurrency.unwrap_or(now.max_concurrency),
                    models,
                    price_floor_ncr: price_floor.map_or(now.price_floor_ncr, Ncr::get),
                };
                client.limit_provider(request).await
            }
            _ => {
                client.approve_provider(proto::ApproveProviderRequest { change, provider_id }).await
            }
        }
    };
    let decided = change::update(link, &args, read, act).await?;
    show.one(&decided, detail)
}

async fn get(client: &Client, provider: &str) -> Result<proto::Provider, tonic::Status> {
    let request = proto::GetProviderRequest { provider_id: provider.to_owned() };
    Ok(client.clone().get_provider(request).await?.into_inner())
}

fn life(text: &str) -> Result<i64, String> {
    if text == "0" {
        return Ok(0);
    }
    age_ms(text).ok_or_else(|| format!("'{text}' is not a time: write 30m, 24h, 7d, or 0"))
}

fn state(provider: &proto::Provider) -> String {
    proto::ProviderState::try_from(provider.state).unwrap_or_default().word()
}

fn link_word(provider: &proto::Provider) -> &'static str {
    if provider.connected { "connected" } else { "away" }
}

/// The models that it serves or would serve.
fn models(provider: &proto::Provider) -> String {
    let all = provider.engines.iter().flat_map(|engine| &engine.models);
    let mut names: Vec<_> =
        all.filter(|model| !model.model.is_empty()).map(|model| model.model.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    or_dash(&names.join(", "))
}

/// The last benchmark of its first engine: the one with the most requests at once.
fn measured(provider: &proto::Provider) -> Option<&proto::ProviderBenchmark> {
    provider.engines.iter().find_map(|engine| engine.benchmarks.last())
}

fn rate(run: &proto::ProviderBenchmark) -> String {
    format!("{}.{}", run.tokens_per_ks / 1_000, run.tokens_per_ks % 1_000 / 100)
}

fn line(provider: &proto::Provider) -> String {
    format!(
        "{} {} {} {}",
        plain(&provider.provider_id),
        plain(&provider.name),
        state(provider),
        link_word(provider)
    )
}

fn cells(provider: &proto::Provider) -> Vec<String> {
    let engines: Vec<_> = provider
        .engines
        .iter()
        .map(|engine| format!("{} {}", engine.name, or_dash(&engine.state)))
        .collect();
    let (run, reputation) = (measured(provider), provider.reputation.as_ref());
    vec![
        provider.provider_id.clone(),
        provider.name.clone(),
        state(provider),
        link_word(provider).to_owned(),
        or_dash(&engines.join(", ")),
        models(provider),
        run.map_or_else(|| or_dash(""), |run| millis(run.ttft_p50_ms.into())),
        run.map_or_else(|| or_dash(""), rate),
        or_dash(reputation.map_or("", |found| found.standing.as_str())),
        reputation.map_or_else(|| or_dash(""), |found| thousandths(found.rank_milli.into())),
    ]
}

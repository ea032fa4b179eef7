//! `providers`.

use std::path::PathBuf;

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::providers_service_client::ProvidersServiceClient;
use relay_proto::admin::v1::providers_update::Update;

use super::Problem;
use super::args::{ChangeArgs, Interval, Limit, ReasonedArgs};
use super::change;
use super::deployments::{self, DeployArgs};
use super::format::Column::{Left, Right};
use super::format::{Table, millis, or_dash, pairs, plain, thousandths, time, usd};
use super::link::{Link, Wire};
use super::show::Show;
use super::time::age_ms;
use crate::cli::private;
use crate::domain::Ncr;

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

const INVITATIONS: Table = Table::new(&[
    Left("INVITATION"),
    Left("USES LEFT"),
    Left("EXPIRES"),
    Left("STATE"),
    Left("BY"),
    Left("NOTE"),
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

/// What an agent's `--join-file` takes.
#[derive(serde::Serialize)]
struct JoinFile<'a> {
    fleet_addr: &'a str,
    fleet_ca: &'a str,
    join_token: &'a str,
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
        ProvidersVerb::Watch(Interval { interval }) => watch(link, client, interval, show).await,
        ProvidersVerb::Invite { note, uses, expires, out, change } => {
            let asked = Invite { note, uses, expires_in_ms: expires, out };
            invite(link, &client, asked, &change, show).await
        }
        ProvidersVerb::Invitations(Limit { limit }) => {
            let fetch = async |page| {
                let request = proto::ListInvitationsRequest { page: Some(page) };
                let answer = client.clone().list_invitations(request).await?.into_inner();
                Ok((answer.invitations, answer.next_page_token))
            };
            show.list(link, "invitations", limit, fetch, &INVITATIONS, invitation_cells).await
        }
        ProvidersVerb::Withdraw { invitation, change } => {
            withdraw(link, &client, &invitation, change.into(), show).await
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

async fn watch(
    link: &Link,
    mut client: Client,
    interval_ms: u32,
    show: &mut Show,
) -> Result<(), Problem> {
    let answer = client.watch_providers(proto::WatchRequest { interval_ms }).await;
    let mut updates = answer.map_err(|status| link.problem(&status))?.into_inner();
    while let Some(update) = updates.message().await.map_err(|status| link.problem(&status))? {
        show.update(&update, |update| {
            let changed: &[_] = match &update.update {
                Some(Update::Snapshot(all)) => &all.providers,
                Some(Update::Delta(delta)) => &delta.changed,
                Some(Update::Heartbeat(_)) | None => &[],
            };
            let lines: Vec<_> = changed.iter().map(line).collect();
            (!lines.is_empty()).then(|| lines.join("\n"))
        })?;
    }
    Ok(())
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

/// What an invitation shall be.
struct Invite {
    note: String,
    uses: u32,
    expires_in_ms: i64,
    out: Option<PathBuf>,
}

async fn invite(
    link: &Link,
    client: &Client,
    asked: Invite,
    args: &ChangeArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let Invite { note, uses, expires_in_ms, out } = asked;
    let made = change::create(link, args, async |change| {
        let change = Some(change);
        let request = proto::CreateInvitationRequest { change, note, uses, expires_in_ms };
        client.clone().create_invitation(request).await
    })
    .await?;
    if let Some(file) = &out {
        if made.join_token.is_empty() {
            return Err(Problem::new(
                "this invitation was made before and its token was shown once",
            ));
        }
        let join = JoinFile {
            fleet_addr: &made.fleet_addr,
            fleet_ca: &made.fleet_ca,
            join_token: &made.join_token,
        };
        let json = serde_json::to_vec_pretty(&join).unwrap_or_default();
        private::write(file, &json)
            .map_err(|error| Problem::new(format!("cannot write {}: {error}", file.display())))?;
    }
    show.one(&made, |made| {
        let id = made.invitation.as_ref().map_or("", |row| row.invitation_id.as_str());
        match &out {
            Some(file) => format!(
                "{} written to {file}; the provider runs: relayd agent init --join-file {file} ...",
                plain(id),
                file = file.display()
            ),
            None if made.join_token.is_empty() => {
                format!("{} exists already; its token was shown once", plain(id))
            }
            None => format!(
                "{}\nThis token of {} is not shown again. Agents dial {}.",
                made.join_token,
                plain(id),
                plain(&made.fleet_addr)
            ),
        }
    })
}

async fn withdraw(
    link: &Link,
    client: &Client,
    invitation: &str,
    args: ChangeArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let read = async || {
        let page = Some(proto::Page { page_size: 1_000, page_token: String::new() });
        let request = proto::ListInvitationsRequest { page };
        let all = client.clone().list_invitations(request).await?.into_inner().invitations;
        let found = all.into_iter().find(|row| row.invitation_id == invitation);
        let missing =
            || tonic::Status::not_found(format!("there is no invitation '{}'", plain(invitation)));
        found.map(|row| row.version).ok_or_else(missing)
    };
    let withdrawn = change::update(link, &args, read, async |change| {
        let request = proto::WithdrawInvitationRequest {
            change: Some(change),
            invitation_id: invitation.to_owned(),
        };
        client.clone().withdraw_invitation(request).await
    })
    .await?;
    show.one(&withdrawn, |row| format!("withdrawn {}", plain(&row.invitation_id)))
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

fn detail(provider: &proto::Provider) -> String {
    let limit = match provider.max_concurrency {
        0 => "what it offers".to_owned(),
        most => format!("{most} at once an engine"),
    };
    let allowed = match provider.models_allowed.as_slice() {
        [] => "what it offers".to_owned(),
        models => models.join(", "),
    };
    let floor = match provider.price_floor_ncr {
        0 => "none".to_owned(),
        floor => format!("{} for a million answer tokens", usd(floor)),
    };
    let mut text = pairs(&[
        ("provider", provider.provider_id.clone()),
        ("name", provider.name.clone()),
        ("state", format!("{} since {}", state(provider), time(provider.state_since_ms))),
        ("reason", or_dash(&provider.state_reason)),
        ("missing", or_dash(&provider.missing.join("; "))),
        ("link", format!("{} from {}", link_word(provider), or_dash(&provider.address))),
        ("heard", time(provider.heard_at_ms)),
        ("earned", usd(provider.earned_ncr)),
        ("paid at", provider.payout_address.clone()),
        ("limit", limit),
        ("models", allowed),
        ("price floor", floor),
        ("gpus", gpus(provider)),
        ("agent", provider.agent_version.clone()),
        ("joined", time(provider.joined_at_ms)),
        ("examined", time(provider.examined_at_ms)),
        ("version", provider.version.to_string()),
    ]);
    if let Some(found) = &provider.reputation {
        text.push_str(&reputation(found));
    }
    for engine in &provider.engines {
        text.push_str(&format!(
            "\n\nengine {} ({}, {}), {} of {} running, {}",
            plain(&engine.name),
            plain(&engine.kind),
            plain(&engine.dialect),
            engine.running,
            engine.max_concurrency,
            or_dash(&engine.state),
        ));
        if let Some(load) = load(engine) {
            text.push_str(&format!("\n  says of itself: {load}"));
        }
        for model in &engine.models {
            let sold = if model.model.is_empty() { "not sold here" } else { &model.model };
            text.push_str(&format!("\n  {} -> {}", plain(&model.upstream), plain(sold)));
        }
        for run in &engine.benchmarks {
            text.push_str(&format!(
                "\n  {} at once: first token {} (slowest {}), {} tokens/s, {} of {} failed",
                run.concurrency,
                millis(run.ttft_p50_ms.into()),
                millis(run.ttft_max_ms.into()),
                rate(run),
                run.failed,
                run.requests
            ));
        }
    }
    text
}

/// Its scores, what followed from them, and what went wrong lately.
fn reputation(found: &proto::ProviderReputation) -> String {
    let rank = thousandths(found.rank_milli.into());
    let mut text = format!("\n\nstanding {}, rank {rank} of 1", plain(&found.standing));
    for score in &found.scores {
        text.push_str(&format!(
            "\n  {}: at least {} (lately {} good, {} bad)",
            plain(&score.score),
            thousandths(score.bound_milli.into()),
            thousandths(score.good_milli),
            thousandths(score.bad_milli),
        ));
    }
    for step in &found.steps {
        text.push_str(&format!(
            "\n  {} {}: {}",
            time(step.at_ms),
            plain(&step.to),
            plain(&step.reason)
        ));
    }
    for mishap in &found.mishaps {
        text.push_str(&format!("\n  {} {}", time(mishap.at_ms), plain(&mishap.text)));
    }
    text
}

/// The cards that it says it has.
fn gpus(provider: &proto::Provider) -> String {
    let each = provider.gpus.iter().map(|gpu| match gpu.memory_mib {
        0 => format!("{}x {}", gpu.count, gpu.name),
        memory => format!("{}x {} {memory} MiB", gpu.count, gpu.name),
    });
    or_dash(&each.collect::<Vec<_>>().join(", "))
}

/// An engine's queue and cache by its own word, as far as it tells.
fn load(engine: &proto::ProviderEngine) -> Option<String> {
    let told = [
        engine.engine_running.map(|count| format!("{count} running")),
        engine.engine_waiting.map(|count| format!("{count} waiting")),
        engine.kv_cache_milli.map(|milli| format!("KV cache {}.{} %", milli / 10, milli % 10)),
        engine.loaded_models.map(|count| format!("{count} models in memory")),
    ];
    let told: Vec<_> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

fn invitation_cells(row: &proto::Invitation) -> Vec<String> {
    let uses = if row.unlimited { "any".to_owned() } else { row.uses_left.to_string() };
    let state = match (row.withdrawn_at_ms, row.unlimited || row.uses_left > 0) {
        (0, true) => "stands",
        (0, false) => "spent",
        _ => "withdrawn",
    };
    vec![
        row.invitation_id.clone(),
        uses,
        if row.expires_at_ms == 0 { "never".to_owned() } else { time(row.expires_at_ms) },
        state.to_owned(),
        row.created_by.clone(),
        row.note.clone(),
    ]
}

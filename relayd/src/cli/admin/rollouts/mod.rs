//! `rollouts`: the revisions of models, and how traffic moves from one to the next.

mod plan;
mod text;

use clap::{Args, Subcommand};
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::rollouts_service_client::RolloutsServiceClient;
use relay_proto::admin::v1::rollouts_update::Update;

use super::Problem;
use super::args::{ChangeArgs, Interval, Limit, ReasonedArgs};
use super::change;
use super::link::{Link, Wire};
use super::show::Show;
use plan::PlanArgs;

type Client = RolloutsServiceClient<Wire>;

/// What the ids of rollouts begin with; no model's name does.
const ID_PREFIX: &str = "ro_";

#[derive(Debug, Subcommand)]
pub(super) enum RolloutsVerb {
    /// Every model, what serves it, and what its newest rollout came to.
    #[command(alias = "ls")]
    List(Limit),
    /// A model's revisions side by side, its rollout and what its gates say.
    #[command(alias = "get")]
    Show {
        /// The model's name, or a rollout's id.
        model: String,
    },
    /// The rollouts that were, newest first.
    History {
        /// Only of this model.
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        model: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// Say whenever something changes.
    Watch(Interval),
    /// Make a revision. It gets no traffic before a rollout to it starts.
    Revise(ReviseArgs),
    /// Begin to move traffic to a revision.
    Start(StartArgs),
    /// Go to the next step without waiting for the gates; past the last one it is complete.
    Advance {
        /// The model, or the rollout's id.
        rollout: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Keep the split as it is until a person acts.
    Pause {
        /// The model, or the rollout's id.
        rollout: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Begin the step anew.
    Resume {
        /// The model, or the rollout's id.
        rollout: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Let the old revision serve all again.
    Rollback {
        /// The model, or the rollout's id.
        rollout: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
}

/// A revision to make.
#[derive(Debug, Args)]
pub(super) struct ReviseArgs {
    /// The model's name.
    model: String,
    /// A backend of the revision, and what its engine calls the model where that differs; may be
    /// repeated.
    #[arg(long = "target", value_name = "BACKEND[=UPSTREAM]", required_unless_present = "deployment",
          conflicts_with = "deployment", value_parser = plan::target)]
    targets: Vec<proto::RevisionTarget>,
    /// A deployment that the revision runs on, on however many instances it has: see `relayd admin
    /// providers deploy`.
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
    /// What it is, for people.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    note: String,
    /// The temperature where the client says none, 0 to 2.
    #[arg(long, value_name = "NUMBER", value_parser = plan::thousandths)]
    temperature: Option<u32>,
    /// The nucleus where the client says none, 0 to 1.
    #[arg(long, value_name = "NUMBER", value_parser = plan::thousandths)]
    top_p: Option<u32>,
    /// The longest answer where the client says none, in tokens.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// A rollout to begin.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// The model's name.
    model: String,
    /// The number of the revision that shall serve it.
    revision: u32,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn run(link: &Link, verb: RolloutsVerb, show: &mut Show) -> Result<(), Problem> {
    let client = Client::new(link.wire());
    match verb {
        RolloutsVerb::List(Limit { limit }) => {
            let fetch = async |page| {
                let request = proto::ListModelRolloutsRequest { page: Some(page) };
                let answer = client.clone().list_model_rollouts(request).await?.into_inner();
                Ok((answer.models, answer.next_page_token))
            };
            show.list(link, "models", limit, fetch, &text::MODELS, text::cells).await
        }
        RolloutsVerb::Show { model } if model.starts_with(ID_PREFIX) => {
            let found = rollout(&client, model).await.map_err(|status| link.problem(&status))?;
            show.one(&found, text::rollout)
        }
        RolloutsVerb::Show { model } => {
            let found = of_model(&client, model).await.map_err(|status| link.problem(&status))?;
            show.one(&found, text::model)
        }
        RolloutsVerb::History { model, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request = proto::ListRolloutsRequest { page: Some(page), model: model.clone() };
                let answer = client.clone().list_rollouts(request).await?.into_inner();
                Ok((answer.rollouts, answer.next_page_token))
            };
            show.list(link, "rollouts", limit, fetch, &text::ROLLOUTS, text::row).await
        }
        RolloutsVerb::Watch(Interval { interval: interval_ms }) => {
            let opened = client.clone().watch_rollouts(proto::WatchRequest { interval_ms }).await;
            show.watch(link, opened, lines).await
        }
        RolloutsVerb::Revise(args) => revise(link, &client, args, show).await,
        RolloutsVerb::Start(args) => start(link, &client, args, show).await,
        verb => act(link, &client, verb, show).await,
    }
}

async fn of_model(client: &Client, model: String) -> Result<proto::ModelRollout, tonic::Status> {
    let request = proto::GetModelRolloutRequest { model };
    Ok(client.clone().get_model_rollout(request).await?.into_inner())
}

async fn rollout(client: &Client, rollout_id: String) -> Result<proto::Rollout, tonic::Status> {
    let request = proto::GetRolloutRequest { rollout_id };
    Ok(client.clone().get_rollout(request).await?.into_inner())
}

/// A line for each that changed.
fn lines(update: &proto::RolloutsUpdate) -> Option<String> {
    let changed: &[_] = match &update.update {
        Some(Update::Snapshot(all)) => &all.models,
        Some(Update::Delta(delta)) => &delta.changed,
        Some(Update::Heartbeat(_)) | None => &[],
    };
    let lines: Vec<_> = changed.iter().map(text::line).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

async fn revise(
    link: &Link,
    client: &Client,
    args: ReviseArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let ReviseArgs {
        model,
        targets,
        deployment,
        note,
        temperature,
        top_p,
        max_tokens,
        change: given,
    } = args;
    let parameters = proto::RevisionParameters {
        temperature_milli: temperature,
        top_p_milli: top_p,
        max_tokens,
    };
    let made = change::create(link, &given, async |change| {
        let request = proto::CreateRevisionRequest {
            change: Some(change),
            model,
            note,
            targets,
            parameters: Some(parameters),
            deployment_id: deployment.unwrap_or_default(),
        };
        client.clone().create_revision(request).await
    })
    .await?;
    show.one(&made, |made| {
        format!(
            "revision {number} of {model} is there\nnext: relayd admin rollouts start {model} {number}",
            number = made.number,
            model = super::format::plain(&made.model),
        )
    })
}

async fn start(
    link: &Link,
    client: &Client,
    args: StartArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let StartArgs { model, revision, plan, change: given } = args;
    let plan = plan.read()?;
    let read = async || of_model(client, model.clone()).await.map(|found| found.version);
    let made = change::update(link, &given, read, async |change| {
        let (change, model) = (Some(change), model.clone());
        let plan = Some(plan.clone());
        let request = proto::StartRolloutRequest { change, model, revision, plan };
        client.clone().start_rollout(request).await
    })
    .await?;
    show.one(&made, text::rollout)
}

/// The verbs on a rollout that is there.
async fn act(
    link: &Link,
    client: &Client,
    verb: RolloutsVerb,
    show: &mut Show,
) -> Result<(), Problem> {
    let (named, args) = match &verb {
        RolloutsVerb::Advance { rollout, change }
        | RolloutsVerb::Pause { rollout, change }
        | RolloutsVerb::Resume { rollout, change } => (rollout.clone(), change.clone()),
        RolloutsVerb::Rollback { rollout, change } => (rollout.clone(), change.clone().into()),
        _ => return Ok(()),
    };
    let rollout_id = if named.starts_with(ID_PREFIX) {
        named
    } else {
        let found = of_model(client, named).await.map_err(|status| link.problem(&status))?;
        let text = || format!("{} was never rolled out", super::format::plain(&found.model));
        found.rollout.as_ref().map(|rollout| rollout.rollout_id.clone()).ok_or_else(|| {
            Problem::new(format!("{}: `relayd admin rollouts start` begins one", text()))
        })?
    };
    let read = async || rollout(client, rollout_id.clone()).await.map(|found| found.version);
    let made = change::update(link, &args, read, async |change| {
        let (mut client, change) = (client.clone(), Some(change));
        let rollout_id = rollout_id.clone();
        match &verb {
            RolloutsVerb::Advance { .. } => {
                client.advance_rollout(proto::AdvanceRolloutRequest { change, rollout_id }).await
            }
            RolloutsVerb::Pause { .. } => {
                client.pause_rollout(proto::PauseRolloutRequest { change, rollout_id }).await
            }
            RolloutsVerb::Resume { .. } => {
                client.resume_rollout(proto::ResumeRolloutRequest { change, rollout_id }).await
            }
            _ => {
                client.roll_back_rollout(proto::RollBackRolloutRequest { change, rollout_id }).await
            }
        }
    })
    .await?;
    show.one(&made, text::rollout)
}

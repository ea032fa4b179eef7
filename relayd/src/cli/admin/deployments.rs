//! `providers deploy` and what follows it.

use std::collections::HashMap;

use clap::Args;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::deployments_service_client::DeploymentsServiceClient;

use super::Problem;
use super::args::{ChangeArgs, Limit};
use super::change;
use super::format::Column::{Left, Right};
use super::format::{Table, or_dash, pairs, plain, time};
use super::link::{Link, Wire};
use super::show::Show;

type Client = DeploymentsServiceClient<Wire>;

const TABLE: Table = Table::new(&[
    Left("DEPLOYMENT"),
    Left("PROVIDER"),
    Left("TEMPLATE"),
    Left("MODEL"),
    Right("REPLICAS"),
    Left("STATE"),
    Left("INSTANCES"),
]);

/// What a provider's agent shall run.
#[derive(Debug, Args)]
pub(super) struct DeployArgs {
    /// The provider's id.
    provider: String,
    /// A template of its agent's configuration.
    #[arg(long)]
    template: String,
    /// One of the template's models.
    #[arg(long)]
    model: String,
    /// How many instances.
    #[arg(long, default_value_t = 1)]
    replicas: u32,
    /// A parameter of the template; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn deploy(link: &Link, args: DeployArgs, show: &mut Show) -> Result<(), Problem> {
    let mut client = Client::new(link.wire());
    let DeployArgs { provider: provider_id, template, model, replicas, set, change: given } = args;
    let parameters: HashMap<String, String> = set.into_iter().collect();
    let made = change::create(link, &given, async |change| {
        let change = Some(change);
        let request = proto::CreateDeploymentRequest {
            change,
            provider_id,
            template,
            model,
            parameters,
            replicas,
        };
        client.create_deployment(request).await
    })
    .await?;
    show.one(&made, detail)
}

pub(super) async fn scale(
    link: &Link,
    deployment: &str,
    replicas: u32,
    args: &ChangeArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let client = Client::new(link.wire());
    let read = async || get(&client, deployment).await.map(|found| found.version);
    let made = change::update(link, args, read, async |change| {
        let (change, deployment_id) = (Some(change), deployment.to_owned());
        let request = proto::ScaleDeploymentRequest { change, deployment_id, replicas };
        client.clone().scale_deployment(request).await
    })
    .await?;
    show.one(&made, detail)
}

pub(super) async fn undeploy(
    link: &Link,
    deployment: &str,
    args: &ChangeArgs,
    show: &mut Show,
) -> Result<(), Problem> {
    let client = Client::new(link.wire());
    let read = async || get(&client, deployment).await.map(|found| found.version);
    let gone = change::update(link, args, read, async |change| {
        let (change, deployment_id) = (Some(change), deployment.to_owned());
        let request = proto::RemoveDeploymentRequest { change, deployment_id };
        client.clone().remove_deployment(request).await
    })
    .await?;
    show.one(&gone, |gone| format!("{} is wanted no more", plain(&gone.deployment_id)))
}

/// All of them, or a provider's.
pub(super) async fn list(
    link: &Link,
    provider: Option<String>,
    Limit { limit }: Limit,
    show: &mut Show,
) -> Result<(), Problem> {
    let client = Client::new(link.wire());
    let provider_id = provider.unwrap_or_default();
    let fetch = async |page| {
        let request =
            proto::ListDeploymentsRequest { page: Some(page), provider_id: provider_id.clone() };
        let answer = client.clone().list_deployments(request).await?.into_inner();
        Ok((answer.deployments, answer.next_page_token))
    };
    show.list(link, "deployments", limit, fetch, &TABLE, cells).await
}

async fn get(client: &Client, deployment: &str) -> Result<proto::Deployment, tonic::Status> {
    let request = proto::GetDeploymentRequest { deployment_id: deployment.to_owned() };
    Ok(client.clone().get_deployment(request).await?.into_inner())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("'{text}' is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn state(deployment: &proto::Deployment) -> String {
    let word = deployment.state().word();
    if deployment.state_reason.is_empty() {
        word
    } else {
        format!("{word}: {}", deployment.state_reason)
    }
}

fn cells(deployment: &proto::Deployment) -> Vec<String> {
    let each = deployment.instances.iter().map(|told| format!("{} {}", told.engine, told.state));
    vec![
        deployment.deployment_id.clone(),
        deployment.provider_id.clone(),
        deployment.template.clone(),
        deployment.model.clone(),
        deployment.replicas.to_string(),
        state(deployment),
        or_dash(&each.collect::<Vec<_>>().join(", ")),
    ]
}

fn detail(deployment: &proto::Deployment) -> String {
    let mut set: Vec<_> =
        deployment.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
    set.sort_unstable();
    let mut text = pairs(&[
        ("deployment", deployment.deployment_id.clone()),
        ("provider", deployment.provider_id.clone()),
        ("template", deployment.template.clone()),
        ("model", deployment.model.clone()),
        ("set", or_dash(&set.join(", "))),
        ("replicas", deployment.replicas.to_string()),
        ("state", state(deployment)),
        ("made by", format!("{} at {}", deployment.created_by, time(deployment.created_at_ms))),
        ("version", deployment.version.to_string()),
    ]);
    for told in &deployment.instances {
        text.push_str(&format!("\n\n{} {}", plain(&told.engine), plain(&told.state)));
        for line in std::iter::once(&told.state_reason).chain(&told.lines) {
            if !line.is_empty() {
                text.push_str(&format!("\n  {}", plain(line)));
            }
        }
    }
    text
}

//! `operators`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::operators_service_client::OperatorsServiceClient;

use super::Problem;
use super::args::{ChangeArgs, Limit, ReasonedArgs};
use super::change;
use super::format::Column::Left;
use super::format::{Table, plain, time};
use super::link::Link;
use super::show::Show;
use crate::domain::Role;

const TABLE: Table =
    Table::new(&[Left("NAME"), Left("ROLE"), Left("STATE"), Left("CREATED"), Left("LAST USED")]);

#[derive(Debug, Subcommand)]
pub(super) enum OperatorsVerb {
    /// Everybody who holds or held a token.
    #[command(alias = "ls")]
    List(Limit),
    /// Make a token; it is printed once.
    Create {
        /// A name of 1 to 64 of a-z, 0-9, dot, underscore, hyphen.
        name: String,
        /// viewer looks, operator runs the backends, admin does all.
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// End a token; its next call is refused.
    Revoke {
        /// Whose.
        name: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
}

pub(super) async fn run(link: &Link, verb: OperatorsVerb, show: &mut Show) -> Result<(), Problem> {
    let client = OperatorsServiceClient::new(link.wire());
    match verb {
        OperatorsVerb::List(Limit { limit }) => {
            let fetch = async |page| {
                let request = proto::ListOperatorsRequest { page: Some(page) };
                let answer = client.clone().list_operators(request).await?.into_inner();
                Ok((answer.operators, answer.next_page_token))
            };
            show.list(link, "operators", limit, fetch, &TABLE, cells).await
        }
        OperatorsVerb::Create { name, role, change } => {
            let role = proto::Role::from_word(role.as_str()).unwrap_or_default().into();
            let made = change::create(link, &change, async |change| {
                let request = proto::CreateOperatorRequest { change: Some(change), name, role };
                client.clone().create_operator(request).await
            })
            .await?;
            show.one(&made, |made| {
                let name = made.operator.as_ref().map_or("", |operator| operator.name.as_str());
                if made.token.is_empty() {
                    format!("{} exists already; its token was shown once", plain(name))
                } else {
                    format!("{}\nThis token of {} is not shown again.", made.token, plain(name))
                }
            })
        }
        OperatorsVerb::Revoke { name, change } => {
            let read = async || version(&client, &name).await;
            let revoked = change::update(link, &change.into(), read, async |change| {
                let request =
                    proto::RevokeOperatorRequest { change: Some(change), name: name.clone() };
                client.clone().revoke_operator(request).await
            })
            .await?;
            show.one(&revoked, |operator| format!("revoked {}", plain(&operator.name)))
        }
    }
}

/// Operators are few: the list is read for the one.
async fn version(
    client: &OperatorsServiceClient<super::link::Wire>,
    name: &str,
) -> Result<u64, tonic::Status> {
    let mut page_token = String::new();
    loop {
        let page = Some(proto::Page { page_size: 1_000, page_token });
        let answer =
            client.clone().list_operators(proto::ListOperatorsRequest { page }).await?.into_inner();
        if let Some(found) = answer.operators.iter().find(|operator| operator.name == name) {
            return Ok(found.version);
        }
        if answer.next_page_token.is_empty() {
            return Err(tonic::Status::not_found(format!(
                "there is no operator '{}'",
                plain(name)
            )));
        }
        page_token = answer.next_page_token;
    }
}

fn cells(operator: &proto::Operator) -> Vec<String> {
    vec![
        operator.name.clone(),
        proto::Role::try_from(operator.role).unwrap_or_default().word(),
        if operator.revoked { "revoked" } else { "active" }.to_owned(),
        time(operator.created_at_ms),
        time(operator.last_used_at_ms),
    ]
}

//! `keys`.

use clap::{Args, Subcommand};
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::keys_service_client::KeysServiceClient;

use super::Problem;
use super::args::{ChangeArgs, Limit, ReasonedArgs};
use super::change;
use super::format::Column::{Left, Right};
use super::format::{Table, limit as limit_text, or_dash, pairs, time, tokens, usd};
use super::link::{Link, Wire};
use super::show::Show;
use crate::domain::Ncr;

const TABLE: Table = Table::new(&[
    Left("KEY"),
    Left("NAME"),
    Left("CUSTOMER"),
    Left("STATUS"),
    Right("NOW"),
    Right("TODAY"),
    Right("IN"),
    Right("OUT"),
    Right("CHARGED"),
    Right("BUDGET"),
    Left("LAST USED"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum KeysVerb {
    /// All of them, or those that match.
    #[command(alias = "ls")]
    List {
        /// Only this customer's.
        #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
        customer: String,
        /// Only active or revoked ones.
        #[arg(long, value_parser = status)]
        status: Option<proto::KeyStatus>,
        /// Only those whose name, prefix or id contains this text.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        query: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// One of them.
    #[command(alias = "get")]
    Show {
        /// The key's id.
        key: String,
    },
    /// A new one; its secret is printed once.
    Create {
        /// Whose.
        #[arg(long, value_name = "ID")]
        customer: String,
        /// 3 to 100 characters, unique for the customer.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        rules: Rules,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change its name, limits, denied scopes or budget; what is not named stays.
    Update {
        /// The key's id.
        key: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        rules: Rules,
        /// Take all own limits away: the tier's hold again.
        #[arg(long, conflicts_with_all = ["rpm", "rpm_direct", "rpm_opengpu"])]
        clear_limits: bool,
        /// Deny nothing any more.
        #[arg(long, conflicts_with = "deny")]
        clear_denied: bool,
        /// Take the budget away: the customer's balance alone limits.
        #[arg(long, conflicts_with = "budget")]
        clear_budget: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Refuse it from the next second on.
    Revoke {
        /// The key's id.
        key: String,
        #[command(flatten)]
        change: ReasonedArgs,
    },
    /// Let a revoked one in again.
    Unrevoke {
        /// The key's id.
        key: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove a revoked one for good.
    Delete {
        /// The key's id.
        key: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Add to its own budget.
    #[command(alias = "topup")]
    TopUp {
        /// The key's id.
        key: String,
        /// US dollars.
        #[arg(long, value_name = "USD", alias = "usd")]
        amount: Ncr,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// What a key may do and spend.
#[derive(Debug, Default, Args)]
pub(super) struct Rules {
    /// A scope (mode.source.model) that it may not use; may be repeated.
    #[arg(long, value_name = "SCOPE")]
    deny: Vec<String>,
    /// A budget of its own, in US dollars.
    #[arg(long, value_name = "USD")]
    budget: Option<Ncr>,
    /// Requests a minute over all modes.
    #[arg(long, value_name = "N")]
    rpm: Option<u32>,
    /// Requests a minute in mode direct.
    #[arg(long, value_name = "N")]
    rpm_direct: Option<u32>,
    /// Requests a minute in mode opengpu.
    #[arg(long, value_name = "N")]
    rpm_opengpu: Option<u32>,
}

impl Rules {
    fn limits(&self) -> Option<proto::RateLimits> {
        let limits = proto::RateLimits {
            direct: self.rpm_direct,
            opengpu: self.rpm_opengpu,
            global: self.rpm,
        };
        (limits != proto::RateLimits::default()).then_some(limits)
    }
}

pub(super) async fn run(link: &Link, verb: KeysVerb, show: &mut Show) -> Result<(), Problem> {
    let client = KeysServiceClient::new(link.wire());
    match verb {
        KeysVerb::List { customer, status, query, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request = proto::ListKeysRequest {
                    page: Some(page),
                    customer_id: customer.clone(),
                    status: status.unwrap_or_default().into(),
                    query: query.clone(),
                };
                let answer = client.clone().list_keys(request).await?.into_inner();
                Ok((answer.keys, answer.next_page_token))
            };
            show.list(link, "keys", limit, fetch, &TABLE, cells).await
        }
        KeysVerb::Show { key } => {
            let found = get(&client, &key).await.map_err(|status| link.problem(&status))?;
            show.one(&found, detail)
        }
        KeysVerb::Create { customer, name, rules, change } => {
            let made = change::create(link, &change, async |change| {
                let request = proto::CreateKeyRequest {
                    change: Some(change),
                    customer_id: customer,
                    name,
                    rate_limits: rules.limits(),
                    budget_ncr: rules.budget.map(Ncr::get),
                    denied_scopes: rules.deny,
                };
                client.clone().create_key(request).await
            })
            .await?;
            show.one(&made, created)
        }
        verb => change(link, &client, verb, show).await,
    }
}

/// The verbs that change a key that exists.
async fn change(
    link: &Link,
    client: &KeysServiceClient<Wire>,
    verb: KeysVerb,
    show: &mut Show,
) -> Result<(), Problem> {
    let read = async |key: &str| get(client, key).await.map(|found| found.version);
    let changed = match verb {
        KeysVerb::Update { key, name, rules, clear_limits, clear_denied, clear_budget, change } => {
            let rate_limits = rules.limits().or(clear_limits.then(Default::default));
            let denied_scopes = (clear_denied || !rules.deny.is_empty())
                .then(|| proto::DeniedScopes { scopes: rules.deny.clone() });
            let budget = (clear_budget || rules.budget.is_some())
                .then(|| proto::Budget { amount_ncr: rules.budget.map(Ncr::get) });
            change::update(
                link,
                &change,
                async || read(&key).await,
                async |change| {
                    let request = proto::UpdateKeyRequest {
                        change: Some(change),
                        key_id: key.clone(),
                        name: name.clone(),
                        rate_limits,
                        denied_scopes: denied_scopes.clone(),
                        budget,
                    };
                    client.clone().update_key(request).await
                },
            )
            .await?
        }
        KeysVerb::Revoke { key, change } => {
            change::update(
                link,
                &change.into(),
                async || read(&key).await,
                async |change| {
                    let request =
                        proto::RevokeKeyRequest { change: Some(change), key_id: key.clone() };
                    client.clone().revoke_key(request).await
                },
            )
            .await?
        }
        KeysVerb::Unrevoke { key, change } => {
            change::update(
                link,
                &change,
                async || read(&key).await,
                async |change| {
                    let request =
                        proto::UnrevokeKeyRequest { change: Some(change), key_id: key.clone() };
                    client.clone().unrevoke_key(request).await
                },
            )
            .await?
        }
        KeysVerb::TopUp { key, amount, change } => {
            change::update(
                link,
                &change,
                async || read(&key).await,
                async |change| {
                    let request = proto::TopUpKeyRequest {
                        change: Some(change),
                        key_id: key.clone(),
                        amount_ncr: amount.get(),
                    };
                    client.clone().top_up_key(request).await
                },
            )
            .await?
        }
        KeysVerb::Delete { key, change } => {
            let gone = change::update(
                link,
                &change,
                async || read(&key).await,
                async |change| {
                    let request =
                        proto::DeleteKeyRequest { change: Some(change), key_id: key.clone() };
                    client.clone().delete_key(request).await
                },
            )
            .await?;
            return show.one(&gone, |_| format!("deleted {key}"));
        }
        KeysVerb::List { .. } | KeysVerb::Show { .. } | KeysVerb::Create { .. } => return Ok(()),
    };
    show.one(&changed, detail)
}

async fn get(client: &KeysServiceClient<Wire>, key: &str) -> Result<proto::Key, tonic::Status> {
    let request = proto::GetKeyRequest { key_id: key.to_owned() };
    Ok(client.clone().get_key(request).await?.into_inner())
}

fn status(text: &str) -> Result<proto::KeyStatus, String> {
    proto::KeyStatus::from_word(text)
        .filter(|status| *status != proto::KeyStatus::Unspecified)
        .ok_or_else(|| "expected active or revoked".to_owned())
}

fn created(made: &proto::CreateKeyResponse) -> String {
    let key = made.key.clone().unwrap_or_default();
    if made.secret.is_empty() {
        return format!("{}\nIt existed already; its secret was shown once.", detail(&key));
    }
    format!("{}\n\n{}\nThis secret is not shown again.", detail(&key), made.secret)
}

fn word(key: &proto::Key) -> String {
    proto::KeyStatus::try_from(key.status).unwrap_or_default().word()
}

fn cells(key: &proto::Key) -> Vec<String> {
    let today = key.today.unwrap_or_default();
    let (input, output) = tokens(today.meters.as_ref());
    vec![
        key.key_id.clone(),
        key.name.clone(),
        key.customer_name.clone(),
        word(key),
        key.now.unwrap_or_default().in_flight.to_string(),
        today.requests.to_string(),
        input,
        output,
        usd(today.charged_ncr),
        key.budget_ncr.map_or_else(|| "-".to_owned(), usd),
        time(key.last_used_at_ms),
    ]
}

fn detail(key: &proto::Key) -> String {
    let today = key.today.unwrap_or_default();
    let (input, output) = tokens(today.meters.as_ref());
    let limits = key.rate_limits.unwrap_or_default();
    pairs(&[
        ("key", key.key_id.clone()),
        ("name", key.name.clone()),
        ("prefix", key.prefix.clone()),
        ("customer", format!("{} ({})", key.customer_id, key.customer_name)),
        ("tier", key.tier.clone()),
        ("status", word(key)),
        ("superkey", key.superkey.to_string()),
        ("denied", or_dash(&key.denied_scopes.join(", "))),
        (
            "own limits",
            format!(
                "direct {}, opengpu {}, all {} a minute",
                limit_text(limits.direct),
                limit_text(limits.opengpu),
                limit_text(limits.global)
            ),
        ),
        ("budget", key.budget_ncr.map_or_else(|| "-".to_owned(), usd)),
        (
            "today",
            format!(
                "{} requests, {} errors, {} limited, {input} tokens in, {output} out, {}",
                today.requests,
                today.errors,
                today.limited,
                usd(today.charged_ncr)
            ),
        ),
        ("created", time(key.created_at_ms)),
        ("last used", time(key.last_used_at_ms)),
        ("revoked", time(key.revoked_at_ms)),
        ("version", key.version.to_string()),
    ])
}

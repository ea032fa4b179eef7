//! `customers`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::customers_service_client::CustomersServiceClient;

use super::Problem;
use super::args::{ChangeArgs, Limit, ReasonedArgs};
use super::change;
use super::format::Column::{Left, Right};
use super::format::{Table, or_dash, pairs, time, usd};
use super::link::{Link, Wire};
use super::show::Show;
use crate::domain::Ncr;

const TABLE: Table = Table::new(&[
    Left("CUSTOMER"),
    Left("NAME"),
    Left("TIER"),
    Left("STATUS"),
    Right("BALANCE"),
    Right("HELD"),
    Right("CONSUMED"),
    Right("KEYS"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum CustomersVerb {
    /// All of them, or those whose name, e-mail or id contains a text.
    #[command(alias = "ls")]
    List {
        /// Only those that contain this text.
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        query: String,
        #[command(flatten)]
        limit: Limit,
    },
    /// One of them.
    #[command(alias = "get")]
    Show {
        /// The customer's id.
        customer: String,
    },
    /// A new one.
    Create {
        /// What people call it.
        #[arg(long)]
        name: String,
        /// Where to reach it.
        #[arg(long, default_value = "", hide_default_value = true)]
        email: String,
        /// Its tier.
        #[arg(long)]
        tier: String,
        /// Credit to begin with, in US dollars.
        #[arg(long, value_name = "USD", default_value = "0")]
        credit: Ncr,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Change its name, tier or status.
    Update {
        /// The customer's id.
        customer: String,
        /// Another name.
        #[arg(long)]
        name: Option<String>,
        /// Another tier.
        #[arg(long)]
        tier: Option<String>,
        /// active or suspended.
        #[arg(long, value_parser = status)]
        status: Option<proto::CustomerStatus>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Add credit, or take it back with a negative amount. Exactly once per request id.
    Credit {
        /// The customer's id.
        customer: String,
        /// US dollars.
        #[arg(long, value_name = "USD", alias = "usd", allow_negative_numbers = true)]
        amount: Ncr,
        #[command(flatten)]
        change: ReasonedArgs,
    },
}

pub(super) async fn run(link: &Link, verb: CustomersVerb, show: &mut Show) -> Result<(), Problem> {
    let client = CustomersServiceClient::new(link.wire());
    match verb {
        CustomersVerb::List { query, limit: Limit { limit } } => {
            let fetch = async |page| {
                let request =
                    proto::ListCustomersRequest { page: Some(page), query: query.clone() };
                let answer = client.clone().list_customers(request).await?.into_inner();
                Ok((answer.customers, answer.next_page_token))
            };
            show.list(link, "customers", limit, fetch, &TABLE, cells).await
        }
        CustomersVerb::Show { customer } => {
            let found = get(&client, &customer).await.map_err(|status| link.problem(&status))?;
            show.one(&found, detail)
        }
        CustomersVerb::Create { name, email, tier, credit, change } => {
            let made = change::create(link, &change, async |change| {
                let request = proto::CreateCustomerRequest {
                    change: Some(change),
                    name,
                    email,
                    tier,
                    credit_ncr: credit.get(),
                };
                client.clone().create_customer(request).await
            })
            .await?;
            show.one(&made, detail)
        }
        CustomersVerb::Update { customer, name, tier, status, change } => {
            let read = async || get(&client, &customer).await.map(|found| found.version);
            let changed = change::update(link, &change, read, async |change| {
                let request = proto::UpdateCustomerRequest {
                    change: Some(change),
                    customer_id: customer.clone(),
                    name: name.clone(),
                    tier: tier.clone(),
                    status: status.map(Into::into),
                };
                client.clone().update_customer(request).await
            })
            .await?;
            show.one(&changed, detail)
        }
        CustomersVerb::Credit { customer, amount, change } => {
            let read = async || get(&client, &customer).await.map(|found| found.version);
            let done = change::update(link, &change.into(), read, async |change| {
                let request = proto::CreditCustomerRequest {
                    change: Some(change),
                    customer_id: customer.clone(),
                    amount_ncr: amount.get(),
                };
                client.clone().credit_customer(request).await
            })
            .await?;
            show.one(&done, |done| {
                let after = done.customer.clone().unwrap_or_default();
                format!("{}\ntransaction  {}", detail(&after), done.txn_id)
            })
        }
    }
}

async fn get(
    client: &CustomersServiceClient<Wire>,
    customer: &str,
) -> Result<proto::Customer, tonic::Status> {
    let request = proto::GetCustomerRequest { customer_id: customer.to_owned() };
    Ok(client.clone().get_customer(request).await?.into_inner())
}

fn status(text: &str) -> Result<proto::CustomerStatus, String> {
    proto::CustomerStatus::from_word(text)
        .filter(|status| *status != proto::CustomerStatus::Unspecified)
        .ok_or_else(|| "expected active or suspended".to_owned())
}

fn word(customer: &proto::Customer) -> String {
    proto::CustomerStatus::try_from(customer.status).unwrap_or_default().word()
}

fn cells(customer: &proto::Customer) -> Vec<String> {
    vec![
        customer.customer_id.clone(),
        customer.name.clone(),
        customer.tier.clone(),
        word(customer),
        usd(customer.balance_ncr),
        usd(customer.held_ncr),
        usd(customer.consumed_ncr),
        customer.active_keys.to_string(),
    ]
}

fn detail(customer: &proto::Customer) -> String {
    pairs(&[
        ("customer", customer.customer_id.clone()),
        ("name", customer.name.clone()),
        ("email", or_dash(&customer.email)),
        ("tier", customer.tier.clone()),
        ("status", word(customer)),
        ("balance", usd(customer.balance_ncr)),
        ("held", usd(customer.held_ncr)),
        ("consumed", usd(customer.consumed_ncr)),
        ("allocated", usd(customer.allocated_ncr)),
        ("active keys", customer.active_keys.to_string()),
        ("created", time(customer.created_at_ms)),
        ("version", customer.version.to_string()),
    ])
}

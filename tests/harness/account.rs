//! Customers with a key, and what the ledger says of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::http::Caller;
use crate::poll::eventually;
use crate::relay::Relay;
use crate::secrets::keep_secret;

/// The tier of a development Relay: custom and without a rate limit.
pub const DEV_TIER: &str = "dev";

/// A customer with one key.
#[derive(Clone, Debug)]
pub struct Account {
    /// The customer's id.
    pub customer: String,
    /// The key's id.
    pub key_id: String,
    /// The key. On a custom tier it is a superkey.
    pub key: String,
}

/// One settled request.
#[derive(Clone, Debug)]
pub struct Settled {
    /// As `relayd admin requests list --json` prints it.
    pub row: Value,
}

/// The sum of its meters by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

const METERS: [&str; 6] = [
    "in_uncached",
    "in_cache_read",
    "in_cache_write_5m",
    "in_cache_write_1h",
    "out_text",
    "out_reasoning",
];

impl Relay {
    /// Makes a customer with so many US dollars, and a key.
    ///
    /// # Errors
    /// When the admin plane refuses.
    pub fn account(&self, tier: &str, usd: &str) -> anyhow::Result<Account> {
        let name = format!("test-{}", Uuid::new_v4().simple());
        let customer =
            self.admin(&["customers", "create", "--name", &name, "--tier", tier, "--credit", usd])?;
        let customer = text(&customer, "customer_id")?;
        let made = self.admin(&["keys", "create", "--customer", &customer, "--name", &name])?;
        let (key_id, key) = (text(&made["key"], "key_id")?, text(&made, "secret")?);
        keep_secret(&key);
        Ok(Account { customer, key_id, key })
    }

    /// The caller with an account's key.
    #[must_use]
    pub fn caller(&self, account: &Account) -> Caller {
        Caller::at(&self.ready.public_url).with_key(&account.key)
    }

    /// The customer as the admin plane shows it.
    ///
    /// # Errors
    /// When the admin plane refuses.
    pub fn customer(&self, account: &Account) -> anyhow::Result<Value> {
        self.admin(&["customers", "show", &account.customer])
    }

    /// What the customer has, in nano-credits, holds not taken off.
    ///
    /// # Errors
    /// When the admin plane refuses.
    pub fn balance(&self, account: &Account) -> anyhow::Result<i64> {
        self.customer(account)?["balance_ncr"].as_i64().context("no balance")
    }

    /// The customer's settled requests so far, newest first.
    ///
    /// # Errors
    /// When the admin plane refuses.
    pub fn requests(&self, account: &Account) -> anyhow::Result<Vec<Settled>> {
        let list = self.admin(&["requests", "list", "--customer", &account.customer])?;
        let rows = list["requests"].as_array().cloned().context("no requests")?;
        Ok(rows.into_iter().map(|row| Settled { row }).collect())
    }

    /// The customer's settled requests, newest first, once there are at least so many and nothing
    /// is held any more.
    ///
    /// # Errors
    /// When that does not happen within the bound of [`eventually`].
    pub async fn settled(&self, account: &Account, least: usize) -> anyhow::Result<Vec<Settled>> {
        let what = format!("{least} requests of {} to be settled", account.customer);
        eventually(&what, async || {
            let rows = self.requests(account)?;
            let held = self.customer(account)?["held_ncr"].as_i64();
            Ok((rows.len() >= least && held == Some(0)).then_some(rows))
        })
        .await
    }

    /// The price that a scope's request must have cost, from the printed price row.
    ///
    /// # Errors
    /// When there is no such price.
    pub fn quote(&self, settled: &Settled) -> anyhow::Result<i64> {
        settled.costs(&self.price(settled.scope())?)
    }

    /// The printed price row of a scope.
    fn price(&self, scope: &str) -> anyhow::Result<Value> {
        let model = scope.splitn(3, '.').nth(2).context("a scope has three parts")?;
        let model = self.admin(&["models", "show", model])?;
        let prices = model["prices"].as_array().context("no prices")?;
        prices.iter().find(|price| price["scope"] == scope).cloned().context("no such price")
    }

    /// Holds each request's charge against its usage and the balance against the sum. `began` is
    /// the balance before; gives the sum.
    ///
    /// # Errors
    /// A request or a balance that differs.
    pub fn check_charges(
        &self,
        account: &Account,
        began: i64,
        settled: &[Settled],
    ) -> anyhow::Result<i64> {
        let (mut sum, mut prices) = (0, HashMap::new());
        for request in settled {
            let price = match prices.entry(request.scope().to_owned()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.price(request.scope())?),
            };
            let (charged, quoted) = (request.charged(), request.costs(price)?);
            ensure!(charged == quoted, "charged {charged}, not {quoted}: {}", request.row);
            sum += charged;
        }
        let left = self.balance(account)?;
        ensure!(began - left == sum, "the balance fell from {began} to {left}, not by {sum}");
        Ok(sum)
    }
}

impl Settled {
    /// What it was charged, in nano-credits.
    #[must_use]
    pub fn charged(&self) -> i64 {
        self.row["charged_ncr"].as_i64().unwrap_or_default()
    }

    /// `mode.source.model`.
    #[must_use]
    pub fn scope(&self) -> &str {
        self.row["scope"].as_str().unwrap_or_default()
    }

    /// `completed`, `failed` or `cancelled`, and the error code where there is one.
    #[must_use]
    pub fn outcome(&self) -> String {
        let text = |key: &str| self.row[key].as_str().unwrap_or_default().to_owned();
        format!("{} {}", text("state"), text("error_code")).trim_end().to_owned()
    }

    /// What it must have cost by a price row.
    fn costs(&self, price: &Value) -> anyhow::Result<i64> {
        let mut total = 0_i128;
        for meter in METERS {
            let rate =
                price["rates"][meter].as_i64().with_context(|| format!("no rate {meter}"))?;
            total += i128::from(self.meter(meter)) * i128::from(rate);
        }
        Ok(i64::try_from(total.div_euclid(1_000_000) + i128::from(total % 1_000_000 > 0))?)
    }

    /// Units of one meter.
    #[must_use]
    pub fn meter(&self, meter: &str) -> u64 {
        self.row["meters"][meter].as_u64().unwrap_or_default()
    }

    /// Its tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        let sum =
            |prefix| METERS.iter().filter(move |m| m.starts_with(prefix)).map(|m| self.meter(m));
        Tokens { input: sum("in_").sum(), output: sum("out_").sum() }
    }
}

fn text(object: &Value, key: &str) -> anyhow::Result<String> {
    let value = object[key].as_str().with_context(|| format!("no {key} in {object}"))?;
    Ok(value.to_owned())
}

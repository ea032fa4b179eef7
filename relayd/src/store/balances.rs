//! What customers have, what came in, what the platform holds. All of it is read from the
//! ledger's own rows: there is no second truth to drift.

use super::Store;
use super::error::StoreError;
use super::page::{PAGE_MAX, Page, Paged};
use super::row::{Columns, txn};
use crate::domain::{CustomerId, KeyId, Mode, Ncr};
use crate::ledger::{Account, TxnRow};

/// A customer's money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Bought and granted credit, parts held by running requests included.
    pub balance: Ncr,
    /// The granted part of it.
    pub promo: Ncr,
    /// What running requests hold.
    pub held: Ncr,
    /// Everything that was ever put in, less what was taken back.
    pub allocated: Ncr,
    /// Everything that was ever charged: allocated less balance.
    pub consumed: Ncr,
}

/// What a customer can reserve now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Available {
    /// Of the customer's credit.
    pub credit: Ncr,
    /// Of the key's budget; none is unlimited.
    pub budget: Option<Ncr>,
}

/// Which movements of credit to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnFilter {
    /// Only by this way.
    pub via: Option<String>,
    /// Only what came in (`Some(true)`) or was taken back (`Some(false)`).
    pub incoming: Option<bool>,
}

/// The platform's sums, for the overview.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What all customers have.
    pub balances: Ncr,
    /// What running requests hold of it.
    pub held: Ncr,
    /// How many requests hold.
    pub open_holds: u64,
}

macro_rules! select_txn {
    ($rest:literal) => {
        concat!(
            "select id, kind, subject, customer_id, amount, before_ncr, after_ncr, via, reason, actor,
                fingerprint, created_ms from txn
             where customer_id = $1 and kind not in ('charge', 'late', 'budget') ",
            $rest
        )
    };
}

impl Store {
    /// A customer's money; all zero for one who never had any.
    ///
    /// # Errors
    /// As every read.
    pub async fn balance(&self, customer: &CustomerId) -> Result<Balance, StoreError> {
        let row = sqlx::query(
            "select cast(coalesce(sum(a.balance), 0) as bigint) as balance,
                cast(coalesce(sum(a.held), 0) as bigint) as held,
                cast(coalesce(sum(case when a.class = 'promo' then a.balance else 0 end), 0) as bigint)
                    as promo,
                (select cast(coalesce(sum(t.amount), 0) as bigint) from txn t
                 where t.customer_id = $1 and t.kind not in ('charge', 'late', 'budget')) as allocated
             from account a where a.owner = $1 and a.unit = 'credit'",
        )
        .bind(customer.as_str())
        .fetch_one(self.reader())
        .await?;
        let (balance, allocated) = (row.ncr("balance")?, row.ncr("allocated")?);
        Ok(Balance {
            balance,
            promo: row.ncr("promo")?,
            held: row.ncr("held")?,
            allocated,
            consumed: allocated.checked_sub(balance).ok_or(StoreError::corrupt("balance"))?,
        })
    }

    /// What a customer and a key can reserve at this moment. By the time it is known it may be
    /// less: only a hold decides.
    ///
    /// # Errors
    /// As every read.
    pub async fn available(
        &self,
        customer: &CustomerId,
        key: Option<&KeyId>,
    ) -> Result<Available, StoreError> {
        let budget = key.map_or_else(String::new, |key| Account::Budget(key.clone()).to_string());
        let rows = sqlx::query(
            "select id, class, balance - held as available from account
             where id in ($1, $2) or (id = $3 and state = 'open')",
        )
        .bind(Account::Paid(customer.clone()).to_string())
        .bind(Account::Promo(customer.clone()).to_string())
        .bind(budget)
        .fetch_all(self.reader())
        .await?;
        let mut available = Available { credit: Ncr::ZERO, budget: None };
        for row in &rows {
            let amount = row.ncr("available")?;
            if row.text("class")? == "budget" {
                available.budget = Some(amount);
            } else {
                available.credit = available.credit.checked_add(amount).unwrap_or(Ncr::MAX);
            }
        }
        Ok(available)
    }

    /// What a customer was charged in each mode.
    ///
    /// # Errors
    /// As every read.
    pub async fn consumed_by_mode(
        &self,
        customer: &CustomerId,
    ) -> Result<Vec<(Mode, Ncr)>, StoreError> {
        let rows = sqlx::query(
            "select mode, cast(sum(charge_ncr) as bigint) as charged from usage
             where customer_id = $1 group by mode order by mode",
        )
        .bind(customer.as_str())
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(|row| Ok((row.parse("mode")?, row.ncr("charged")?))).collect()
    }

    /// The last credit that came in.
    ///
    /// # Errors
    /// As every read.
    pub async fn last_topup(&self, customer: &CustomerId) -> Result<Option<TxnRow>, StoreError> {
        let row = sqlx::query(select_txn!(
            "and kind = 'topup' order by created_ms desc, id desc limit 1"
        ))
        .bind(customer.as_str())
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| txn(&row)).transpose()
    }

    /// How credit came and went, newest first: top-ups, grants and deductions, not charges.
    /// Cursors are transaction ids; legs are not read.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is no transaction.
    pub async fn transactions(
        &self,
        customer: &CustomerId,
        filter: &TxnFilter,
        page: &Page,
    ) -> Result<Paged<TxnRow>, StoreError> {
        self.check_cursor("select id from txn where id = $1", page).await?;
        let rows = sqlx::query(select_txn!(
            "and ($2 = '' or via = $2) and ($3 = 0 or ($3 = 1 and amount > 0) or ($3 = -1 and amount < 0))
             and ($4 = '' or (created_ms, id) < (select created_ms, id from txn where id = $4))
             order by created_ms desc, id desc limit $5"
        ))
        .bind(customer.as_str())
        .bind(filter.via.clone().unwrap_or_default())
        .bind(filter.direction())
        .bind(page.after())
        .bind(page.fetch())
        .fetch_all(self.reader())
        .await?;
        page.cut(&rows, txn, |txn| txn.id.clone())
    }

    /// The same, newest first, after leaving out the first `offset`. For the public history, which
    /// counts rows where every other listing has cursors; credit moves rarely.
    ///
    /// # Errors
    /// As every read.
    pub async fn transactions_from(
        &self,
        customer: &CustomerId,
        filter: &TxnFilter,
        offset: u32,
        limit: u32,
    ) -> Result<Vec<TxnRow>, StoreError> {
        let rows = sqlx::query(select_txn!(
            "and ($2 = '' or via = $2) and ($3 = 0 or ($3 = 1 and amount > 0) or ($3 = -1 and amount < 0))
             order by created_ms desc, id desc limit $4 offset $5"
        ))
        .bind(customer.as_str())
        .bind(filter.via.clone().unwrap_or_default())
        .bind(filter.direction())
        .bind(i64::from(limit.min(PAGE_MAX)))
        .bind(i64::from(offset))
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(txn).collect()
    }

    /// How many movements of credit match.
    ///
    /// # Errors
    /// As every read.
    pub async fn count_transactions(
        &self,
        customer: &CustomerId,
        filter: &TxnFilter,
    ) -> Result<u64, StoreError> {
        sqlx::query(
            "select count(*) as n from txn
             where customer_id = $1 and kind not in ('charge', 'late', 'budget')
               and ($2 = '' or via = $2)
               and ($3 = 0 or ($3 = 1 and amount > 0) or ($3 = -1 and amount < 0))",
        )
        .bind(customer.as_str())
        .bind(filter.via.clone().unwrap_or_default())
        .bind(filter.direction())
        .fetch_one(self.reader())
        .await?
        .count("n")
    }

    /// What all customers have and hold.
    ///
    /// # Errors
    /// As every read.
    pub async fn totals(&self) -> Result<Totals, StoreError> {
        let row = sqlx::query(
            "select cast(coalesce(sum(balance), 0) as bigint) as balances,
                cast(coalesce(sum(held), 0) as bigint) as held,
                (select count(*) from hold where state = 'open') as open_holds
             from account where class in ('paid', 'promo')",
        )
        .fetch_one(self.reader())
        .await?;
        Ok(Totals {
            balances: row.ncr("balances")?,
            held: row.ncr("held")?,
            open_holds: row.count("open_holds")?,
        })
    }
}

impl TxnFilter {
    fn direction(&self) -> i64 {
        match self.incoming {
            None => 0,
            Some(true) => 1,
            Some(false) => -1,
        }
    }
}

//! Columns read by name, from a row of either driver or of both at once.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use sqlx::{ColumnIndex, Decode, Row, Type};

use super::error::StoreError;
use crate::domain::{Meters, Ncr, Scope};
use crate::ledger::{Account, AccountRow, Claimed, Earned, HoldRow, Leg, TxnRow, Usage, UsageRow};

/// Typed access to a row's columns. Every failure names the column.
pub(super) trait Columns {
    /// A whole number.
    fn int(&self, name: &'static str) -> Result<i64, StoreError>;
    /// A whole number or nothing.
    fn int_opt(&self, name: &'static str) -> Result<Option<i64>, StoreError>;
    /// A text.
    fn text(&self, name: &'static str) -> Result<String, StoreError>;
    /// A text or nothing.
    fn text_opt(&self, name: &'static str) -> Result<Option<String>, StoreError>;
    /// Bytes.
    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, StoreError>;

    /// Zero or one.
    fn flag(&self, name: &'static str) -> Result<bool, StoreError> {
        Ok(self.int(name)? != 0)
    }

    /// An amount.
    fn ncr(&self, name: &'static str) -> Result<Ncr, StoreError> {
        self.int(name).map(Ncr::new)
    }

    /// A count.
    fn count(&self, name: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.int(name)?).map_err(|_| StoreError::corrupt(name))
    }

    /// A small count.
    fn u32(&self, name: &'static str) -> Result<u32, StoreError> {
        u32::try_from(self.int(name)?).map_err(|_| StoreError::corrupt(name))
    }

    /// A limit.
    fn u32_opt(&self, name: &'static str) -> Result<Option<u32>, StoreError> {
        self.int_opt(name)?
            .map(|number| u32::try_from(number).map_err(|_| StoreError::corrupt(name)))
            .transpose()
    }

    /// Something with a text form.
    fn parse<T: FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        self.text(name)?.parse().map_err(|_| StoreError::corrupt(name))
    }

    /// Something with a text form, or nothing.
    fn parse_opt<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.text_opt(name)?
            .map(|text| text.parse().map_err(|_| StoreError::corrupt(name)))
            .transpose()
    }

    /// Something kept as JSON.
    fn json<T: DeserializeOwned>(&self, name: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(&self.text(name)?).map_err(|_| StoreError::corrupt(name))
    }

    /// The three columns `mode`, `source`, `model`.
    fn scope(&self) -> Result<Scope, StoreError> {
        Ok(Scope {
            mode: self.parse("mode")?,
            source: self.parse("source")?,
            model: self.parse("model")?,
        })
    }
}

impl<R> Columns for R
where
    R: Row,
    for<'a> &'a str: ColumnIndex<R>,
    i64: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    String: Type<R::Database> + for<'r> Decode<'r, R::Database>,
    Vec<u8>: Type<R::Database> + for<'r> Decode<'r, R::Database>,
{
    fn int(&self, name: &'static str) -> Result<i64, StoreError> {
        self.try_get(name).map_err(|_| StoreError::corrupt(name))
    }

    fn int_opt(&self, name: &'static str) -> Result<Option<i64>, StoreError> {
        self.try_get(name).map_err(|_| StoreError::corrupt(name))
    }

    fn text(&self, name: &'static str) -> Result<String, StoreError> {
        self.try_get(name).map_err(|_| StoreError::corrupt(name))
    }

    fn text_opt(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.try_get(name).map_err(|_| StoreError::corrupt(name))
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, StoreError> {
        self.try_get(name).map_err(|_| StoreError::corrupt(name))
    }
}

/// An account of the ledger.
pub(super) fn account(row: &impl Columns) -> Result<AccountRow, StoreError> {
    Ok(AccountRow {
        account: row.parse::<Account>("id")?,
        balance: row.ncr("balance")?,
        held: row.ncr("held")?,
        version: row.int("version")?,
        state: row.parse("state")?,
    })
}

/// A hold of the ledger.
pub(super) fn hold(row: &impl Columns) -> Result<HoldRow, StoreError> {
    Ok(HoldRow {
        id: row.parse("id")?,
        customer: row.parse("customer_id")?,
        key: row.parse_opt("key_id")?,
        scope: row.scope()?,
        price: row.parse("price_id")?,
        promo: row.ncr("promo")?,
        paid: row.ncr("paid")?,
        budget: row.ncr("budget")?,
        state: row.parse("state")?,
        phase: row.parse("phase")?,
        boot: row.parse("boot")?,
        fence: row.int("fence")?,
        ckpt_meters: Meters {
            in_uncached: row.count("ckpt_in_uncached")?,
            in_cache_read: row.count("ckpt_in_cache_read")?,
            in_cache_write_5m: row.count("ckpt_in_cache_write_5m")?,
            in_cache_write_1h: row.count("ckpt_in_cache_write_1h")?,
            out_text: row.count("ckpt_out_text")?,
            out_reasoning: row.count("ckpt_out_reasoning")?,
        },
        ckpt: row.ncr("ckpt_ncr")?,
        ckpt_seq: row.int("ckpt_seq")?,
        charge: row.ncr("charge_ncr")?,
        write_off: row.ncr("write_off_ncr")?,
        late: row.int_opt("late_ncr")?.map(Ncr::new),
        stream: row.flag("stream")?,
        created_ms: row.int("created_ms")?,
        deadline_ms: row.int("deadline_ms")?,
        resolved_ms: row.int_opt("resolved_ms")?,
    })
}

/// A transaction of the ledger, without its legs.
pub(super) fn txn(row: &impl Columns) -> Result<TxnRow, StoreError> {
    Ok(TxnRow {
        id: row.text("id")?,
        kind: row.parse("kind")?,
        subject: row.text("subject")?,
        customer: row.parse("customer_id")?,
        amount: row.ncr("amount")?,
        before: row.int_opt("before_ncr")?.map(Ncr::new),
        after: row.int_opt("after_ncr")?.map(Ncr::new),
        via: row.text("via")?,
        reason: row.text("reason")?,
        actor: row.text("actor")?,
        fingerprint: row.text("fingerprint")?,
        created_ms: row.int("created_ms")?,
        legs: Vec::new(),
    })
}

/// A leg of a transaction, its amount in `leg_amount`.
pub(super) fn leg(row: &impl Columns) -> Result<Leg, StoreError> {
    let amount = row.ncr("leg_amount")?;
    Ok(Leg { debit: row.parse("debit")?, credit: row.parse("credit")?, amount })
}

/// A usage row.
pub(super) fn usage(row: &impl Columns) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        request: row.parse("request_id")?,
        customer: row.parse("customer_id")?,
        key: row.parse_opt("key_id")?,
        scope: row.scope()?,
        price: row.parse("price_id")?,
        usage: Usage {
            attempt: u32::try_from(row.int("attempt")?)
                .map_err(|_| StoreError::corrupt("attempt"))?,
            backend: row.text_opt("backend")?,
            meters: meters(row)?,
            count: row.parse("count_source")?,
            claimed: claimed(row)?,
            estimated: row.flag("estimated")?,
            status: row.parse("status")?,
            error_code: row.text_opt("error_code")?,
            blame: row.parse_opt("blame")?,
            ttft_ms: row.int_opt("ttft_ms")?,
            upstream_ms: row.int_opt("upstream_ms")?,
            done_ms: row.int("done_ms")?,
            task_id: row.text_opt("task_id")?,
        },
        stream: row.flag("stream")?,
        created_ms: row.int("created_ms")?,
        charge: row.ncr("charge_ncr")?,
        write_off: row.ncr("write_off_ncr")?,
        earned: earned(row)?,
    })
}

fn claimed(row: &impl Columns) -> Result<Option<Claimed>, StoreError> {
    if row.int_opt("claimed_in")?.is_none() {
        return Ok(None);
    }
    Ok(Some(Claimed { input: row.count("claimed_in")?, output: row.count("claimed_out")? }))
}

fn earned(row: &impl Columns) -> Result<Option<Earned>, StoreError> {
    let Some(provider) = row.parse_opt("provider")? else { return Ok(None) };
    Ok(Some(Earned { provider, amount: row.ncr("provider_ncr")? }))
}

/// The six meter columns.
pub(super) fn meters(row: &impl Columns) -> Result<Meters, StoreError> {
    Ok(Meters {
        in_uncached: row.count("in_uncached")?,
        in_cache_read: row.count("in_cache_read")?,
        in_cache_write_5m: row.count("in_cache_write_5m")?,
        in_cache_write_1h: row.count("in_cache_write_1h")?,
        out_text: row.count("out_text")?,
        out_reasoning: row.count("out_reasoning")?,
    })
}

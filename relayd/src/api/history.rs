//! `GET /v2/customer/credits/history`: how credit came and went (contract section 1.4).
//!
//! The contract gives this route to the account's own login; a deployment has no such login, so
//! the superkey, which stands for the account everywhere else, reads it.

use axum::extract::State;
use axum::response::Response;
use http::Uri;
use serde::{Deserialize, Serialize};

use crate::domain::{Fault, FieldError, Ncr};
use crate::ledger::{TxnRow, Via};
use crate::store::TxnFilter;

use super::access::Owner;
use super::error::Refused;
use super::input;
use super::money::Usd;
use super::respond::{print, time};
use super::routes::Account;

/// Rows of a page that does not say how many it wants, and the most.
const LIST_DEFAULT: u32 = 50;
const LIST_MAX: u32 = 100;

/// Most rows that may be left out: more movements of credit than an account sees in its life.
const OFFSET_MAX: u32 = 100_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    limit: Option<u32>,
    offset: Option<u32>,
    via: Option<String>,
    action: Option<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    #[serde(rename = "credit_topup")]
    TopUp,
    #[serde(rename = "credit_deduct")]
    Deduct,
}

#[derive(Serialize)]
struct History {
    transactions: Vec<Transaction>,
    total: u64,
    limit: u32,
    offset: u32,
}

/// One movement. The amount is what moved; the action says which way.
#[derive(Serialize)]
struct Transaction {
    action: Action,
    amount: Usd,
    via: String,
    reason: String,
    created_at: String,
    details: Details,
}

#[derive(Serialize)]
struct Details {
    balance_before: Option<Usd>,
    balance_after: Option<Usd>,
}

/// `GET /v2/customer/credits/history`
pub(super) async fn list(
    State(face): State<Account>,
    owner: Owner,
    uri: Uri,
) -> Result<Response, Refused> {
    let query: HistoryQuery = input::query(&uri)?;
    let (limit, offset) = (query.limit.unwrap_or(LIST_DEFAULT), query.offset.unwrap_or(0));
    let wrong =
        |name, text: &str| Fault::validation(vec![FieldError::query(name, "value_error", text)]);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(wrong("limit", "Expected 1 to 100").into());
    }
    if offset > OFFSET_MAX {
        return Err(wrong("offset", "Expected 0 to 100000").into());
    }
    if query.via.as_ref().is_some_and(|via| via.parse::<Via>().is_err()) {
        return Err(wrong("via", "Expected a way to pay, such as admin or stripe").into());
    }
    let filter =
        TxnFilter { via: query.via, incoming: query.action.map(|action| action == Action::TopUp) };
    let customer = owner.customer();
    let total = face.store.count_transactions(customer, &filter).await.map_err(Fault::from)?;
    let rows = face.store.transactions_from(customer, &filter, offset, limit).await;
    let transactions = rows.map_err(Fault::from)?.into_iter().map(transaction).collect();
    print(&History { transactions, total, limit, offset })
}

fn transaction(row: TxnRow) -> Transaction {
    let out = row.amount.is_negative();
    Transaction {
        action: if out { Action::Deduct } else { Action::TopUp },
        amount: Usd(if out {
            Ncr::ZERO.checked_sub(row.amount).unwrap_or(Ncr::MAX)
        } else {
            row.amount
        }),
        via: row.via,
        reason: row.reason,
        created_at: time(row.created_ms),
        details: Details { balance_before: row.before.map(Usd), balance_after: row.after.map(Usd) },
    }
}

//! I6: what was charged is what was used, by the price it was held at.

use std::collections::HashMap;

use futures::TryStreamExt;
use sqlx::AnyConnection;

use super::super::catalogue::read_price;
use super::super::error::StoreError;
use super::super::row::{Columns, usage};
use super::{AuditReport, Invariant};
use crate::domain::{Ncr, PriceId};
use crate::ledger::{HoldState, Price};

pub(super) async fn check(
    connection: &mut AnyConnection,
    report: &mut AuditReport,
) -> Result<(), StoreError> {
    let prices = prices(connection).await?;
    let mut rows = sqlx::query(
        "select u.*, h.state as hold_state, h.charge_ncr as hold_charge,
            h.write_off_ncr as hold_write_off, h.price_id as hold_price
         from usage u left join hold h on h.id = u.request_id",
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        report.usage += 1;
        let subject = row.text("request_id")?;
        let used = match usage(&row) {
            Ok(used) => used,
            Err(error) => {
                report.breach(Invariant::I6, subject, error.to_string());
                continue;
            }
        };
        let Some(state) = row.parse_opt::<HoldState>("hold_state")? else {
            report.breach(Invariant::I6, subject, "the usage row has no hold".to_owned());
            continue;
        };
        let charged = (used.charge, used.write_off);
        let held = (row.ncr("hold_charge")?, row.ncr("hold_write_off")?);
        if charged != held || row.text("hold_price")? != used.price.as_str() {
            let what = format!("the usage row says {charged:?}, its hold {held:?}");
            report.breach(Invariant::I6, subject.clone(), what);
        }
        if let Some(earned) = &used.earned
            && let Some(price) = prices.get(&used.price)
            && earned.amount != price.provider_share(used.charge)
        {
            let share = price.provider_share(used.charge);
            let what =
                format!("{} earned {:?}, its share is {share:?}", earned.provider, earned.amount);
            report.breach(Invariant::I6, subject.clone(), what);
        }
        let total = used.charge.checked_add(used.write_off);
        let quoted = match state {
            HoldState::Posted => match prices.get(&used.price) {
                Some(price) => price.quote(&used.usage.meters),
                None => {
                    let what = format!("there is no price row {}", used.price);
                    report.breach(Invariant::I6, subject, what);
                    continue;
                }
            },
            _ => Some(Ncr::ZERO),
        };
        if quoted.is_none() || quoted != total {
            let what = format!("quoted at {quoted:?}, charged and written off {total:?}");
            report.breach(Invariant::I6, subject, what);
        }
    }
    drop(rows);
    let mut rows = sqlx::query(
        "select h.id, h.state from hold h
         where (h.state = 'open') = (exists (select 1 from usage u where u.request_id = h.id))",
    )
    .fetch(&mut *connection);
    while let Some(row) = rows.try_next().await? {
        let what =
            format!("a hold that is {} has too many or too few usage rows", row.text("state")?);
        report.breach(Invariant::I6, row.text("id")?, what);
    }
    Ok(())
}

/// Every price row: a few per model, kept by their ids.
async fn prices(connection: &mut AnyConnection) -> Result<HashMap<PriceId, Price>, StoreError> {
    let rows = sqlx::query("select * from price").fetch_all(connection).await?;
    rows.iter().map(|row| read_price(row).map(|price| (price.id.clone(), price))).collect()
}

//! The ledger's tables as both stores write them: columns, and a row's cells in their order.

use super::batch::{Link, int};
use crate::domain::{Meter, Meters, Ncr};
use crate::ledger::{AccountRow, HoldRow, TxnRow, UsageRow};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number.
    Int,
    /// A text.
    Text,
    /// Bytes.
    Bytes,
}

/// One value to write.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    /// A whole number or nothing.
    Int(Option<i64>),
    /// A text or nothing.
    Text(Option<String>),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// One table. The first column is never null, by which a row that only fills up is known.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// Its columns.
    pub(super) columns: &'static [(&'static str, Kind)],
    /// What happens to a row that exists. Nothing here: that it exists is an error.
    pub(super) conflict: &'static str,
}

/// Written only over the version that was read.
pub(super) const ACCOUNT: Table = Table {
    name: "account",
    columns: &[
        ("id", Kind::Text),
        ("unit", Kind::Text),
        ("class", Kind::Text),
        ("owner", Kind::Text),
        ("floor", Kind::Int),
        ("balance", Kind::Int),
        ("held", Kind::Int),
        ("version", Kind::Int),
        ("state", Kind::Text),
    ],
    conflict: " on conflict (id) do update set balance = excluded.balance, held = excluded.held, \
               version = excluded.version, state = excluded.state \
               where account.version = excluded.version - 1",
};

pub(super) const HOLD: Table = Table {
    name: "hold",
    columns: &[
        ("id", Kind::Text),
        ("customer_id", Kind::Text),
        ("key_id", Kind::Text),
        ("mode", Kind::Text),
        ("source", Kind::Text),
        ("model", Kind::Text),
        ("price_id", Kind::Text),
        ("promo", Kind::Int),
        ("paid", Kind::Int),
        ("budget", Kind::Int),
        ("state", Kind::Text),
        ("phase", Kind::Text),
        ("boot", Kind::Text),
        ("fence", Kind::Int),
        ("ckpt_in_uncached", Kind::Int),
        ("ckpt_in_cache_read", Kind::Int),
        ("ckpt_in_cache_write_5m", Kind::Int),
        ("ckpt_in_cache_write_1h", Kind::Int),
        ("ckpt_out_text", Kind::Int),
        ("ckpt_out_reasoning", Kind::Int),
        ("ckpt_ncr", Kind::Int),
        ("ckpt_seq", Kind::Int),
        ("charge_ncr", Kind::Int),
        ("write_off_ncr", Kind::Int),
        ("late_ncr", Kind::Int),
        ("stream", Kind::Int),
        ("created_ms", Kind::Int),
        ("deadline_ms", Kind::Int),
        ("resolved_ms", Kind::Int),
    ],
    conflict: " on conflict (id) do update set promo = excluded.promo, paid = excluded.paid, \
               budget = excluded.budget, state = excluded.state, phase = excluded.phase, \
               fence = excluded.fence, ckpt_in_uncached = excluded.ckpt_in_uncached, \
               ckpt_in_cache_read = excluded.ckpt_in_cache_read, \
               ckpt_in_cache_write_5m = excluded.ckpt_in_cache_write_5m, \
               ckpt_in_cache_write_1h = excluded.ckpt_in_cache_write_1h, \
               ckpt_out_text = excluded.ckpt_out_text, \
               ckpt_out_reasoning = excluded.ckpt_out_reasoning, ckpt_ncr = excluded.ckpt_ncr, \
               ckpt_seq = excluded.ckpt_seq, charge_ncr = excluded.charge_ncr, \
               write_off_ncr = excluded.write_off_ncr, late_ncr = excluded.late_ncr, \
               resolved_ms = excluded.resolved_ms",
};

pub(super) const TXN: Table = Table {
    name: "txn",
    columns: &[
        ("id", Kind::Text),
        ("kind", Kind::Text),
        ("subject", Kind::Text),
        ("customer_id", Kind::Text),
        ("amount", Kind::Int),
        ("before_ncr", Kind::Int),
        ("after_ncr", Kind::Int),
        ("via", Kind::Text),
        ("reason", Kind::Text),
        ("actor", Kind::Text),
        ("fingerprint", Kind::Text),
        ("created_ms", Kind::Int),
        ("chain", Kind::Int),
        ("batch", Kind::Int),
    ],
    conflict: "",
};

pub(super) const TRANSFER: Table = Table {
    name: "transfer",
    columns: &[
        ("txn_id", Kind::Text),
        ("leg", Kind::Int),
        ("debit", Kind::Text),
        ("credit", Kind::Text),
        ("amount", Kind::Int),
    ],
    conflict: "",
};

pub(super) const USAGE: Table = Table {
    name: "usage",
    columns: &[
        ("request_id", Kind::Text),
        ("attempt", Kind::Int),
        ("customer_id", Kind::Text),
        ("key_id", Kind::Text),
        ("mode", Kind::Text),
        ("source", Kind::Text),
        ("model", Kind::Text),
        ("backend", Kind::Text),
        ("price_id", Kind::Text),
        ("in_uncached", Kind::Int),
        ("in_cache_read", Kind::Int),
        ("in_cache_write_5m", Kind::Int),
        ("in_cache_write_1h", Kind::Int),
        ("out_text", Kind::Int),
        ("out_reasoning", Kind::Int),
        ("count_source", Kind::Text),
        ("estimated", Kind::Int),
        ("charge_ncr", Kind::Int),
        ("write_off_ncr", Kind::Int),
        ("status", Kind::Text),
        ("error_code", Kind::Text),
        ("blame", Kind::Text),
        ("stream", Kind::Int),
        ("created_ms", Kind::Int),
        ("ttft_ms", Kind::Int),
        ("upstream_ms", Kind::Int),
        ("done_ms", Kind::Int),
        ("task_id", Kind::Text),
        ("claimed_in", Kind::Int),
        ("claimed_out", Kind::Int),
        ("provider", Kind::Text),
        ("provider_ncr", Kind::Int),
        ("chain", Kind::Int),
        ("batch", Kind::Int),
    ],
    conflict: "",
};

pub(super) const BATCHLOG: Table = Table {
    name: "batchlog",
    columns: &[
        ("chain", Kind::Int),
        ("batch", Kind::Int),
        ("prev_hash", Kind::Bytes),
        ("hash", Kind::Bytes),
        ("n", Kind::Int),
        ("created_ms", Kind::Int),
    ],
    conflict: "",
};

pub(super) fn account(row: &AccountRow) -> Vec<Cell> {
    vec![
        text(row.account.to_string()),
        text(row.account.unit().as_str()),
        text(row.account.class()),
        text(row.account.owner()),
        flag(row.account.has_floor()),
        ncr(row.balance),
        ncr(row.held),
        number(row.version),
        text(row.state.as_str()),
    ]
}

pub(super) fn hold(row: &HoldRow) -> Vec<Cell> {
    let mut cells = vec![
        text(row.id.to_string()),
        text(row.customer.as_str()),
        Cell::Text(row.key.as_ref().map(ToString::to_string)),
        text(row.scope.mode.as_str()),
        text(row.scope.source.as_str()),
        text(row.scope.model.as_str()),
        text(row.price.as_str()),
        ncr(row.promo),
        ncr(row.paid),
        ncr(row.budget),
        text(row.state.as_str()),
        text(row.phase.as_str()),
        text(row.boot.to_string()),
        number(row.fence),
    ];
    cells.extend(meters(&row.ckpt_meters));
    cells.extend([
        ncr(row.ckpt),
        number(row.ckpt_seq),
        ncr(row.charge),
        ncr(row.write_off),
        Cell::Int(row.late.map(Ncr::get)),
        flag(row.stream),
        number(row.created_ms),
        number(row.deadline_ms),
        Cell::Int(row.resolved_ms),
    ]);
    cells
}

pub(super) fn txn(row: &TxnRow, link: &Link) -> Vec<Cell> {
    vec![
        text(row.id.as_str()),
        text(row.kind.as_str()),
        text(row.subject.as_str()),
        text(row.customer.as_str()),
        ncr(row.amount),
        Cell::Int(row.before.map(Ncr::get)),
        Cell::Int(row.after.map(Ncr::get)),
        text(row.via.as_str()),
        text(row.reason.as_str()),
        text(row.actor.as_str()),
        text(row.fingerprint.as_str()),
        number(row.created_ms),
        number(link.head.chain),
        number(link.head.batch),
    ]
}

pub(super) fn transfers(row: &TxnRow) -> impl Iterator<Item = Vec<Cell>> {
    row.legs.iter().zip(0_i64..).map(|(leg, n)| {
        vec![
            text(row.id.as_str()),
            number(n),
            text(leg.debit.to_string()),
            text(leg.credit.to_string()),
            ncr(leg.amount),
        ]
    })
}

pub(super) fn usage(row: &UsageRow, link: &Link) -> Vec<Cell> {
    let mut cells = vec![
        text(row.request.to_string()),
        number(i64::from(row.usage.attempt)),
        text(row.customer.as_str()),
        Cell::Text(row.key.as_ref().map(ToString::to_string)),
        text(row.scope.mode.as_str()),
        text(row.scope.source.as_str()),
        text(row.scope.model.as_str()),
        Cell::Text(row.usage.backend.clone()),
        text(row.price.as_str()),
    ];
    cells.extend(meters(&row.usage.meters));
    cells.extend([
        text(row.usage.count.as_str()),
        flag(row.usage.estimated),
        ncr(row.charge),
        ncr(row.write_off),
        text(row.usage.status.as_str()),
        Cell::Text(row.usage.error_code.clone()),
        Cell::Text(row.usage.blame.map(|blame| blame.as_str().to_owned())),
        flag(row.stream),
        number(row.created_ms),
        Cell::Int(row.usage.ttft_ms),
        Cell::Int(row.usage.upstream_ms),
        number(row.usage.done_ms),
        Cell::Text(row.usage.task_id.clone()),
        Cell::Int(row.usage.claimed.map(|claimed| int(claimed.input))),
        Cell::Int(row.usage.claimed.map(|claimed| int(claimed.output))),
        Cell::Text(row.earned.as_ref().map(|earned| earned.provider.to_string())),
        Cell::Int(row.earned.as_ref().map(|earned| earned.amount.get())),
        number(link.head.chain),
        number(link.head.batch),
    ]);
    cells
}

pub(super) fn batchlog(link: &Link) -> Vec<Cell> {
    vec![
        number(link.head.chain),
        number(link.head.batch),
        Cell::Bytes(link.previous.to_vec()),
        Cell::Bytes(link.head.hash.to_vec()),
        number(link.rows),
        number(link.at_ms),
    ]
}

fn meters(meters: &Meters) -> impl Iterator<Item = Cell> {
    Meter::ALL.into_iter().map(|meter| number(int(meters.get(meter))))
}

fn text(text: impl Into<String>) -> Cell {
    Cell::Text(Some(text.into()))
}

const fn number(number: i64) -> Cell {
    Cell::Int(Some(number))
}

const fn ncr(amount: Ncr) -> Cell {
    Cell::Int(Some(amount.get()))
}

fn flag(flag: bool) -> Cell {
    Cell::Int(Some(i64::from(flag)))
}

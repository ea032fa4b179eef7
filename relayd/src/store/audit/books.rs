//! I1 to I5 and I7: transfers, balances, reservations, settlements, triggers.

use futures::TryStreamExt;
use sqlx::AnyConnection;

use super::super::error::StoreError;
use super::super::options::Engine;
use super::super::row::Columns;
use super::{AuditReport, Invariant};

/// A question whose every answer is a breach: `subject`, and two numbers that should be equal.
struct Question {
    invariant: Invariant,
    sql: &'static str,
    what: &'static str,
}

const QUESTIONS: &[Question] = &[
    Question {
        invariant: Invariant::I1,
        sql: "select t.txn_id as subject, t.amount as found, t.leg as expected from transfer t
              left join account d on d.id = t.debit left join account c on c.id = t.credit
              left join txn x on x.id = t.txn_id
              where t.amount <= 0 or t.debit = t.credit or d.id is null or c.id is null
                 or d.unit <> c.unit or x.id is null",
        what: "a transfer without two accounts of one unit, an amount above zero and a transaction; amount and leg are",
    },
    Question {
        invariant: Invariant::I1,
        sql: "select unit as subject, cast(sum(balance) as bigint) as found,
                cast(0 as bigint) as expected
              from account group by unit having sum(balance) <> 0",
        what: "balances of the unit sum to",
    },
    Question {
        invariant: Invariant::I2,
        sql: "select a.id as subject, a.balance as found,
                cast(coalesce(s.total, 0) as bigint) as expected
              from account a left join
                (select account, sum(amount) as total from
                    (select credit as account, amount from transfer
                     union all select debit as account, -amount as amount from transfer) as legs
                 group by account) as s on s.account = a.id
              where a.balance <> coalesce(s.total, 0)",
        what: "the balance is not the sum of its transfers",
    },
    Question {
        invariant: Invariant::I3,
        sql: "select a.id as subject, a.held as found, cast(coalesce(s.total, 0) as bigint) as expected
              from account a left join
                (select account, sum(amount) as total from
                    (select 'paid:' || customer_id as account, paid as amount from hold where state = 'open'
                     union all select 'promo:' || customer_id as account, promo as amount from hold
                        where state = 'open'
                     union all select 'budget:' || key_id as account, budget as amount from hold
                        where state = 'open' and key_id is not null) as parts
                 group by account) as s on s.account = a.id
              where a.held <> coalesce(s.total, 0)",
        what: "what is held is not the sum of its open holds",
    },
    Question {
        invariant: Invariant::I3,
        sql: "select h.id as subject, h.promo + h.paid as found, cast(0 as bigint) as expected
              from hold h
              where h.state = 'open' and h.promo + h.paid > 0
                and not exists (select 1 from account a
                    where a.id in ('paid:' || h.customer_id, 'promo:' || h.customer_id))",
        what: "an open hold reserves on no account",
    },
    Question {
        invariant: Invariant::I4,
        sql: "select id as subject, balance as found, held as expected from account
              where held < 0 or (floor = 1 and balance < held)
                 or (class in ('paid', 'promo', 'budget') and floor <> 1)",
        what: "the balance is below what is held",
    },
    Question {
        invariant: Invariant::I5,
        sql: "select id as subject, charge_ncr as found, promo + paid as expected from hold
              where charge_ncr > promo + paid or charge_ncr < 0
                 or (state <> 'posted' and (charge_ncr <> 0 or write_off_ncr <> 0))
                 or (state = 'open') = (resolved_ms is not null)",
        what: "the charge does not fit the hold and its state",
    },
    Question {
        invariant: Invariant::I5,
        sql: "select h.id as subject, h.charge_ncr as found,
                cast(coalesce(s.total, 0) as bigint) as expected
              from hold h left join
                (select t.txn_id, sum(t.amount) as total from transfer t
                 where t.debit like 'paid:%' or t.debit like 'promo:%' group by t.txn_id) as s
                on s.txn_id = 'charge:' || h.id
              where h.charge_ncr <> coalesce(s.total, 0)",
        what: "the charge is not what its transaction took",
    },
    Question {
        invariant: Invariant::I5,
        sql: "select x.id as subject, x.amount as found,
                cast(coalesce(h.charge_ncr, -1) as bigint) as expected
              from txn x left join hold h on h.id = x.subject
              where x.kind = 'charge'
                and (h.id is null or h.state <> 'posted' or x.amount <> h.charge_ncr
                    or x.id <> 'charge:' || h.id)",
        what: "the transaction is not its hold's one settlement",
    },
    Question {
        invariant: Invariant::I5,
        sql: "select x.id as subject, x.amount as found,
                cast(coalesce(h.late_ncr, -1) as bigint) as expected
              from txn x left join hold h on h.id = x.subject
              where x.kind = 'late'
                and (h.id is null or h.late_ncr is null or x.amount <> h.late_ncr
                    or x.id <> 'late:' || h.id)",
        what: "the transaction is not its hold's one late settlement",
    },
    Question {
        invariant: Invariant::I5,
        sql: "select u.request_id as subject, coalesce(u.provider_ncr, 0) as found,
                cast(coalesce(s.total, 0) as bigint) as expected
              from usage u left join
                (select t.txn_id, sum(t.amount) as total from transfer t
                 where t.credit like 'earning:%' group by t.txn_id) as s
                on s.txn_id = 'charge:' || u.request_id
              where coalesce(u.provider_ncr, 0) <> coalesce(s.total, 0)
                 or coalesce(u.provider_ncr, 0) > u.charge_ncr
                 or (u.provider is null) <> (u.provider_ncr is null)",
        what: "what a provider earned is not what its transaction gave it, or more than was paid",
    },
    Question {
        invariant: Invariant::I5,
        sql: "select e.owner as subject, e.earned as found,
                cast(coalesce(u.earned, 0) as bigint) as expected
              from (select a.owner, cast(sum(t.amount) as bigint) as earned
                    from account a join transfer t on t.credit = a.id
                    where a.class = 'earning' group by a.owner) as e
              left join (select provider, sum(provider_ncr) as earned from usage
                         where provider is not null group by provider) as u on u.provider = e.owner
              where e.earned <> coalesce(u.earned, 0)",
        what: "a provider's earnings are not the sum of its requests",
    },
];

/// Tables that refuse changes, and by how many triggers on SQLite.
const APPEND_ONLY: [&str; 6] = ["txn", "transfer", "usage", "batchlog", "price", "audit"];

pub(super) async fn check(
    connection: &mut AnyConnection,
    engine: Engine,
    report: &mut AuditReport,
) -> Result<(), StoreError> {
    let counts = sqlx::query(
        "select (select count(*) from account) as accounts, (select count(*) from transfer) as transfers,
            (select count(*) from hold) as holds",
    )
    .fetch_one(&mut *connection)
    .await?;
    report.accounts = counts.count("accounts")?;
    report.transfers = counts.count("transfers")?;
    report.holds = counts.count("holds")?;
    for question in QUESTIONS {
        let mut rows = sqlx::query(question.sql).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            let (found, expected) = (row.int("found")?, row.int("expected")?);
            let what = format!("{}: {found}, expected {expected}", question.what);
            report.breach(question.invariant, row.text("subject")?, what);
        }
    }
    triggers(connection, engine, report).await
}

/// I7: the triggers stand, and stand switched on.
async fn triggers(
    connection: &mut AnyConnection,
    engine: Engine,
    report: &mut AuditReport,
) -> Result<(), StoreError> {
    let (sql, wanted) = match engine {
        Engine::Sqlite => (
            "select count(*) as n from sqlite_master
             where type = 'trigger' and tbl_name = $1 and sql like '%raise(abort%'",
            2,
        ),
        Engine::Postgres => (
            "select count(*) as n from pg_trigger t join pg_class c on c.oid = t.tgrelid
             join pg_proc p on p.oid = t.tgfoid
             where c.relname = $1 and p.proname = 'refuse_change' and t.tgenabled = 'O'",
            1,
        ),
    };
    for table in APPEND_ONLY {
        let found = sqlx::query(sql).bind(table).fetch_one(&mut *connection).await?.count("n")?;
        if found < wanted {
            let what = format!("{found} triggers refuse changes, expected {wanted}");
            report.breach(Invariant::I7, table, what);
        }
    }
    Ok(())
}

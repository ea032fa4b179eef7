-- The ledger. Text ids, integer times in milliseconds, integer amounts in nano-credits.
-- The same tables and columns as in ../postgres; only the spelling of types and triggers differs.

create table account (
    id text primary key not null,
    unit text not null,
    class text not null,
    owner text not null,
    floor integer not null,
    balance integer not null,
    held integer not null,
    version integer not null,
    state text not null,
    check (held >= 0),
    check (floor = 0 or balance >= held)
) strict, without rowid;
create index account_owner on account (owner) where owner <> '';

create table hold (
    id text primary key not null,
    customer_id text not null,
    key_id text,
    mode text not null,
    source text not null,
    model text not null,
    price_id text not null,
    promo integer not null check (promo >= 0),
    paid integer not null check (paid >= 0),
    budget integer not null check (budget >= 0),
    state text not null,
    phase text not null,
    boot text not null,
    fence integer not null,
    ckpt_in_uncached integer not null,
    ckpt_in_cache_read integer not null,
    ckpt_in_cache_write_5m integer not null,
    ckpt_in_cache_write_1h integer not null,
    ckpt_out_text integer not null,
    ckpt_out_reasoning integer not null,
    ckpt_ncr integer not null,
    ckpt_seq integer not null,
    charge_ncr integer not null check (charge_ncr >= 0),
    write_off_ncr integer not null check (write_off_ncr >= 0),
    late_ncr integer,
    stream integer not null,
    created_ms integer not null,
    deadline_ms integer not null,
    resolved_ms integer,
    check (charge_ncr <= promo + paid)
) strict, without rowid;
-- Open holds are few; one small index finds those of a process and those past their deadline.
create index hold_open on hold (boot, deadline_ms) where state = 'open';

create table txn (
    id text primary key not null,
    kind text not null,
    subject text not null,
    customer_id text not null,
    amount integer not null,
    before_ncr integer,
    after_ncr integer,
    via text not null,
    reason text not null,
    actor text not null,
    fingerprint text not null,
    chain integer not null,
    batch integer not null,
    created_ms integer not null
) strict, without rowid;
-- Charges have their usage row; this index serves the history of credit only.
create index txn_customer on txn (customer_id, created_ms, id) where kind not in ('charge', 'late', 'budget');

create table transfer (
    txn_id text not null,
    leg integer not null,
    debit text not null,
    credit text not null,
    amount integer not null check (amount > 0),
    primary key (txn_id, leg),
    check (debit <> credit)
) strict, without rowid;

create table usage (
    request_id text primary key not null,
    attempt integer not null,
    customer_id text not null,
    key_id text,
    mode text not null,
    source text not null,
    model text not null,
    backend text,
    price_id text not null,
    in_uncached integer not null,
    in_cache_read integer not null,
    in_cache_write_5m integer not null,
    in_cache_write_1h integer not null,
    out_text integer not null,
    out_reasoning integer not null,
    count_source text not null,
    estimated integer not null,
    charge_ncr integer not null check (charge_ncr >= 0),
    write_off_ncr integer not null check (write_off_ncr >= 0),
    status text not null,
    error_code text,
    blame text,
    stream integer not null,
    created_ms integer not null,
    ttft_ms integer,
    upstream_ms integer,
    done_ms integer not null,
    task_id text,
    chain integer not null,
    batch integer not null
) strict, without rowid;
create index usage_time on usage (created_ms, request_id);
create index usage_customer on usage (customer_id, created_ms, request_id);
create index usage_key on usage (key_id, created_ms, request_id) where key_id is not null;

create table batchlog (
    chain integer not null,
    batch integer not null,
    prev_hash blob not null,
    hash blob not null,
    n integer not null,
    created_ms integer not null,
    primary key (chain, batch)
) strict, without rowid;

create table price (
    id text primary key not null,
    mode text not null,
    source text not null,
    model text not null,
    in_uncached integer not null check (in_uncached >= 0),
    in_cache_read integer not null check (in_cache_read >= 0),
    in_cache_write_5m integer not null check (in_cache_write_5m >= 0),
    in_cache_write_1h integer not null check (in_cache_write_1h >= 0),
    out_text integer not null check (out_text >= 0),
    out_reasoning integer not null check (out_reasoning >= 0),
    long_above integer,
    long_in_uncached integer not null,
    long_in_cache_read integer not null,
    long_in_cache_write_5m integer not null,
    long_in_cache_write_1h integer not null,
    long_out_text integer not null,
    long_out_reasoning integer not null,
    provider_bps integer not null,
    valid_from_ms integer not null,
    created_ms integer not null
) strict, without rowid;
create index price_scope on price (source, model, mode, valid_from_ms);

create table instance (
    boot text primary key not null,
    no integer not null unique,
    host text not null,
    started_ms integer not null,
    seen_ms integer not null,
    stopped_ms integer,
    recovered_ms integer
) strict, without rowid;

create trigger txn_update before update on txn begin select raise(abort, 'txn is append-only'); end;
create trigger txn_delete before delete on txn begin select raise(abort, 'txn is append-only'); end;
create trigger transfer_update before update on transfer begin select raise(abort, 'transfer is append-only'); end;
create trigger transfer_delete before delete on transfer begin select raise(abort, 'transfer is append-only'); end;
create trigger usage_update before update on usage begin select raise(abort, 'usage is append-only'); end;
create trigger usage_delete before delete on usage begin select raise(abort, 'usage is append-only'); end;
create trigger batchlog_update before update on batchlog begin select raise(abort, 'batchlog is append-only'); end;
create trigger batchlog_delete before delete on batchlog begin select raise(abort, 'batchlog is append-only'); end;
create trigger price_update before update on price begin select raise(abort, 'price is append-only'); end;
create trigger price_delete before delete on price begin select raise(abort, 'price is append-only'); end;

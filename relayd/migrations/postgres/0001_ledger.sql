-- The ledger. Text ids, integer times in milliseconds, integer amounts in nano-credits.
-- The same tables and columns as in ../sqlite; only the spelling of types and triggers differs.

create table account (
    id text collate "C" primary key not null,
    unit text collate "C" not null,
    class text collate "C" not null,
    owner text collate "C" not null,
    floor bigint not null,
    balance bigint not null,
    held bigint not null,
    version bigint not null,
    state text collate "C" not null,
    check (held >= 0),
    check (floor = 0 or balance >= held)
);
create index account_owner on account (owner) where owner <> '';

create table hold (
    id text collate "C" primary key not null,
    customer_id text collate "C" not null,
    key_id text collate "C",
    mode text collate "C" not null,
    source text collate "C" not null,
    model text collate "C" not null,
    price_id text collate "C" not null,
    promo bigint not null check (promo >= 0),
    paid bigint not null check (paid >= 0),
    budget bigint not null check (budget >= 0),
    state text collate "C" not null,
    phase text collate "C" not null,
    boot text collate "C" not null,
    fence bigint not null,
    ckpt_in_uncached bigint not null,
    ckpt_in_cache_read bigint not null,
    ckpt_in_cache_write_5m bigint not null,
    ckpt_in_cache_write_1h bigint not null,
    ckpt_out_text bigint not null,
    ckpt_out_reasoning bigint not null,
    ckpt_ncr bigint not null,
    ckpt_seq bigint not null,
    charge_ncr bigint not null check (charge_ncr >= 0),
    write_off_ncr bigint not null check (write_off_ncr >= 0),
    late_ncr bigint,
    stream bigint not null,
    created_ms bigint not null,
    deadline_ms bigint not null,
    resolved_ms bigint,
    check (charge_ncr <= promo + paid)
);
-- Open holds are few; one small index finds those of a process and those past their deadline.
create index hold_open on hold (boot, deadline_ms) where state = 'open';

create table txn (
    id text collate "C" primary key not null,
    kind text collate "C" not null,
    subject text collate "C" not null,
    customer_id text collate "C" not null,
    amount bigint not null,
    before_ncr bigint,
    after_ncr bigint,
    via text collate "C" not null,
    reason text collate "C" not null,
    actor text collate "C" not null,
    fingerprint text collate "C" not null,
    chain bigint not null,
    batch bigint not null,
    created_ms bigint not null
);
-- Charges have their usage row; this index serves the history of credit only.
create index txn_customer on txn (customer_id, created_ms, id) where kind not in ('charge', 'late', 'budget');

create table transfer (
    txn_id text collate "C" not null,
    leg bigint not null,
    debit text collate "C" not null,
    credit text collate "C" not null,
    amount bigint not null check (amount > 0),
    primary key (txn_id, leg),
    check (debit <> credit)
);

create table usage (
    request_id text collate "C" primary key not null,
    attempt bigint not null,
    customer_id text collate "C" not null,
    key_id text collate "C",
    mode text collate "C" not null,
    source text collate "C" not null,
    model text collate "C" not null,
    backend text collate "C",
    price_id text collate "C" not null,
    in_uncached bigint not null,
    in_cache_read bigint not null,
    in_cache_write_5m bigint not null,
    in_cache_write_1h bigint not null,
    out_text bigint not null,
    out_reasoning bigint not null,
    count_source text collate "C" not null,
    estimated bigint not null,
    charge_ncr bigint not null check (charge_ncr >= 0),
    write_off_ncr bigint not null check (write_off_ncr >= 0),
    status text collate "C" not null,
    error_code text collate "C",
    blame text collate "C",
    stream bigint not null,
    created_ms bigint not null,
    ttft_ms bigint,
    upstream_ms bigint,
    done_ms bigint not null,
    task_id text collate "C",
    chain bigint not null,
    batch bigint not null
);
create index usage_time on usage (created_ms, request_id);
create index usage_customer on usage (customer_id, created_ms, request_id);
create index usage_key on usage (key_id, created_ms, request_id) where key_id is not null;

create table batchlog (
    chain bigint not null,
    batch bigint not null,
    prev_hash bytea not null,
    hash bytea not null,
    n bigint not null,
    created_ms bigint not null,
    primary key (chain, batch)
);

create table price (
    id text collate "C" primary key not null,
    mode text collate "C" not null,
    source text collate "C" not null,
    model text collate "C" not null,
    in_uncached bigint not null check (in_uncached >= 0),
    in_cache_read bigint not null check (in_cache_read >= 0),
    in_cache_write_5m bigint not null check (in_cache_write_5m >= 0),
    in_cache_write_1h bigint not null check (in_cache_write_1h >= 0),
    out_text bigint not null check (out_text >= 0),
    out_reasoning bigint not null check (out_reasoning >= 0),
    long_above bigint,
    long_in_uncached bigint not null,
    long_in_cache_read bigint not null,
    long_in_cache_write_5m bigint not null,
    long_in_cache_write_1h bigint not null,
    long_out_text bigint not null,
    long_out_reasoning bigint not null,
    provider_bps bigint not null,
    valid_from_ms bigint not null,
    created_ms bigint not null
);
create index price_scope on price (source, model, mode, valid_from_ms);

create table instance (
    boot text collate "C" primary key not null,
    no bigint not null unique,
    host text collate "C" not null,
    started_ms bigint not null,
    seen_ms bigint not null,
    stopped_ms bigint,
    recovered_ms bigint
);

-- An account's numbers change with every batch: leave room for the new version beside the old.
alter table account set (fillfactor = 50);
alter table hold set (fillfactor = 70);

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name;
end $$;
create trigger txn_append_only before update or delete or truncate on txn for each statement execute function refuse_change();
create trigger transfer_append_only before update or delete or truncate on transfer for each statement execute function refuse_change();
create trigger usage_append_only before update or delete or truncate on usage for each statement execute function refuse_change();
create trigger batchlog_append_only before update or delete or truncate on batchlog for each statement execute function refuse_change();
create trigger price_append_only before update or delete or truncate on price for each statement execute function refuse_change();

-- Who may do what, what is offered, what happened. Flags are 0 or 1; lists and free-form parts are JSON text.

create table tier (
    name text primary key not null,
    level integer not null,
    custom integer not null,
    max_keys integer not null,
    direct_rpm integer,
    opengpu_rpm integer,
    global_rpm integer,
    denied_scopes text not null,
    version integer not null
) strict, without rowid;

create table customer (
    id text primary key not null,
    name text not null,
    email text not null,
    tier text not null,
    status text not null,
    warning_threshold_ncr integer not null,
    model_allowlist text,
    created_ms integer not null,
    version integer not null,
    changed integer not null
) strict, without rowid;
create index customer_changed on customer (changed);

create table api_key (
    id text primary key not null,
    customer_id text not null references customer (id),
    name text not null,
    hash blob not null unique,
    pepper integer not null,
    prefix text not null,
    superkey integer not null,
    system integer not null,
    denied_scopes text not null,
    direct_rpm integer,
    opengpu_rpm integer,
    global_rpm integer,
    created_ms integer not null,
    last_used_ms integer,
    revoked_ms integer,
    deleted_ms integer,
    version integer not null,
    changed integer not null
) strict, without rowid;
create unique index api_key_name on api_key (customer_id, lower(name)) where deleted_ms is null;
create unique index api_key_superkey on api_key (customer_id) where superkey = 1 and revoked_ms is null and deleted_ms is null;
create index api_key_time on api_key (created_ms, id);
create index api_key_customer on api_key (customer_id, created_ms, id);
create index api_key_changed on api_key (changed);

create table operator (
    name text primary key not null,
    role text not null,
    token_hash blob not null unique,
    created_ms integer not null,
    revoked_ms integer,
    version integer not null
) strict, without rowid;

create table model (
    name text primary key not null,
    display_name text not null,
    tag text not null,
    retired integer not null,
    guests integer not null,
    context_tokens integer not null,
    max_output_default integer not null,
    template_overhead_tokens integer not null,
    capabilities text not null,
    scopes text not null,
    version integer not null
) strict, without rowid;

create table backend (
    id text primary key not null,
    url text not null,
    dialect text not null,
    engine text not null,
    max_concurrency integer not null,
    queue integer not null,
    weight integer not null,
    intake text not null,
    credential_file text,
    models text not null,
    version integer not null
) strict, without rowid;

create table idem (
    customer_id text not null,
    idem_key text not null,
    fingerprint blob not null,
    request_id text not null,
    status integer,
    body blob,
    created_ms integer not null,
    expires_ms integer not null,
    primary key (customer_id, idem_key)
) strict, without rowid;
create index idem_expiry on idem (expires_ms);

create table event (
    seq integer primary key not null,
    at_ms integer not null,
    kind text not null,
    severity text not null,
    subject text not null,
    text text not null,
    json text not null
) strict;

create table audit (
    seq integer primary key not null,
    at_ms integer not null,
    actor text not null,
    role text not null,
    action text not null,
    object text not null,
    before_json text not null,
    after_json text not null,
    request_id text not null unique,
    reason text not null,
    prev_hash blob not null,
    hash blob not null
) strict;
create index audit_object on audit (object, seq);

create table setting (
    k text primary key not null,
    v text not null,
    version integer not null
) strict, without rowid;

-- Counters that a write raises while it holds the row, so that their order is the order of commits.
create table counter (
    k text primary key not null,
    n integer not null
) strict, without rowid;
insert into counter (k, n) values
    ('instance', 0), ('event', 0), ('audit', 0),
    ('keys', 0), ('customers', 0), ('operators', 0), ('catalogue', 0), ('backends', 0), ('settings', 0);

create trigger audit_update before update on audit begin select raise(abort, 'audit is append-only'); end;
create trigger audit_delete before delete on audit begin select raise(abort, 'audit is append-only'); end;

-- Who may do what, what is offered, what happened. Flags are 0 or 1; lists and free-form parts are JSON text.

create table tier (
    name text collate "C" primary key not null,
    level bigint not null,
    custom bigint not null,
    max_keys bigint not null,
    direct_rpm bigint,
    opengpu_rpm bigint,
    global_rpm bigint,
    denied_scopes text collate "C" not null,
    version bigint not null
);

create table customer (
    id text collate "C" primary key not null,
    name text collate "C" not null,
    email text collate "C" not null,
    tier text collate "C" not null,
    status text collate "C" not null,
    warning_threshold_ncr bigint not null,
    model_allowlist text collate "C",
    created_ms bigint not null,
    version bigint not null,
    changed bigint not null
);
create index customer_changed on customer (changed);

create table api_key (
    id text collate "C" primary key not null,
    customer_id text collate "C" not null references customer (id),
    name text collate "C" not null,
    hash bytea not null unique,
    pepper bigint not null,
    prefix text collate "C" not null,
    superkey bigint not null,
    system bigint not null,
    denied_scopes text collate "C" not null,
    direct_rpm bigint,
    opengpu_rpm bigint,
    global_rpm bigint,
    created_ms bigint not null,
    last_used_ms bigint,
    revoked_ms bigint,
    deleted_ms bigint,
    version bigint not null,
    changed bigint not null
);
create unique index api_key_name on api_key (customer_id, lower(name)) where deleted_ms is null;
create unique index api_key_superkey on api_key (customer_id) where superkey = 1 and revoked_ms is null and deleted_ms is null;
create index api_key_time on api_key (created_ms, id);
create index api_key_customer on api_key (customer_id, created_ms, id);
create index api_key_changed on api_key (changed);

create table operator (
    name text collate "C" primary key not null,
    role text collate "C" not null,
    token_hash bytea not null unique,
    created_ms bigint not null,
    revoked_ms bigint,
    version bigint not null
);

create table model (
    name text collate "C" primary key not null,
    display_name text collate "C" not null,
    tag text collate "C" not null,
    retired bigint not null,
    guests bigint not null,
    context_tokens bigint not null,
    max_output_default bigint not null,
    template_overhead_tokens bigint not null,
    capabilities text collate "C" not null,
    scopes text collate "C" not null,
    version bigint not null
);

create table backend (
    id text collate "C" primary key not null,
    url text collate "C" not null,
    dialect text collate "C" not null,
    engine text collate "C" not null,
    max_concurrency bigint not null,
    queue bigint not null,
    weight bigint not null,
    intake text collate "C" not null,
    credential_file text collate "C",
    models text collate "C" not null,
    version bigint not null
);

create table idem (
    customer_id text collate "C" not null,
    idem_key text collate "C" not null,
    fingerprint bytea not null,
    request_id text collate "C" not null,
    status bigint,
    body bytea,
    created_ms bigint not null,
    expires_ms bigint not null,
    primary key (customer_id, idem_key)
);
create index idem_expiry on idem (expires_ms);

create table event (
    seq bigint primary key not null,
    at_ms bigint not null,
    kind text collate "C" not null,
    severity text collate "C" not null,
    subject text collate "C" not null,
    text text collate "C" not null,
    json text collate "C" not null
);

create table audit (
    seq bigint primary key not null,
    at_ms bigint not null,
    actor text collate "C" not null,
    role text collate "C" not null,
    action text collate "C" not null,
    object text collate "C" not null,
    before_json text collate "C" not null,
    after_json text collate "C" not null,
    request_id text collate "C" not null unique,
    reason text collate "C" not null,
    prev_hash bytea not null,
    hash bytea not null
);
create index audit_object on audit (object, seq);

create table setting (
    k text collate "C" primary key not null,
    v text collate "C" not null,
    version bigint not null
);

-- Counters that a write raises while it holds the row, so that their order is the order of commits.
create table counter (
    k text collate "C" primary key not null,
    n bigint not null
);
insert into counter (k, n) values
    ('instance', 0), ('event', 0), ('audit', 0),
    ('keys', 0), ('customers', 0), ('operators', 0), ('catalogue', 0), ('backends', 0), ('settings', 0);

create trigger audit_append_only before update or delete or truncate on audit for each statement execute function refuse_change();

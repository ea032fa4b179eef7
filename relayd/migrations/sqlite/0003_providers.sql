-- Independent owners of GPUs, and what lets a new one in. Lists and free-form parts are JSON text.

create table provider (
    id text primary key not null,
    public_key blob not null unique,
    name text not null,
    payout_address text not null,
    state text not null,
    reason text not null,
    state_since_ms integer not null,
    agent_version text not null,
    address text not null,
    engines text not null,
    evidence text not null,
    max_concurrency integer,
    joined_ms integer not null,
    version integer not null
) strict, without rowid;
create index provider_time on provider (joined_ms, id);

create table invitation (
    id text primary key not null,
    token_hash blob not null unique,
    note text not null,
    uses_left integer,
    expires_ms integer,
    created_by text not null,
    created_ms integer not null,
    revoked_ms integer,
    version integer not null
) strict, without rowid;
create index invitation_time on invitation (created_ms, id);

insert into counter (k, n) values ('providers', 0), ('invitations', 0);

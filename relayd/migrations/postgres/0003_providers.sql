-- Independent owners of GPUs, and what lets a new one in. Lists and free-form parts are JSON text.

create table provider (
    id text collate "C" primary key not null,
    public_key bytea not null unique,
    name text collate "C" not null,
    payout_address text collate "C" not null,
    state text collate "C" not null,
    reason text collate "C" not null,
    state_since_ms bigint not null,
    agent_version text collate "C" not null,
    address text collate "C" not null,
    engines text collate "C" not null,
    evidence text collate "C" not null,
    max_concurrency bigint,
    joined_ms bigint not null,
    version bigint not null
);
create index provider_time on provider (joined_ms, id);

create table invitation (
    id text collate "C" primary key not null,
    token_hash bytea not null unique,
    note text collate "C" not null,
    uses_left bigint,
    expires_ms bigint,
    created_by text collate "C" not null,
    created_ms bigint not null,
    revoked_ms bigint,
    version bigint not null
);
create index invitation_time on invitation (created_ms, id);

insert into counter (k, n) values ('providers', 0), ('invitations', 0);

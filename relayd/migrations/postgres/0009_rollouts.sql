-- Which revision of a model serves it, and how traffic moves to the next. Lists and plans are JSON text.

create table revision (
    model text collate "C" not null,
    number bigint not null,
    note text collate "C" not null,
    targets text collate "C" not null,
    parameters text collate "C" not null,
    created_by text collate "C" not null,
    created_ms bigint not null,
    primary key (model, number)
);

-- The revision that serves all that no rollout takes. A model without a row is served by every backend that lists it.
create table live_revision (
    model text collate "C" primary key not null,
    number bigint not null,
    version bigint not null
);

create table rollout (
    id text collate "C" primary key not null,
    model text collate "C" not null,
    from_number bigint not null,
    to_number bigint not null,
    state text collate "C" not null,
    reason text collate "C" not null,
    state_since_ms bigint not null,
    plan text collate "C" not null,
    step bigint not null,
    step_since_ms bigint not null,
    -- Counts the beginnings of steps: what a step's samples are kept under.
    round bigint not null,
    -- The round whose samples of the old revision the last step is compared with.
    baseline bigint not null,
    -- What the gates said last.
    gates text collate "C" not null,
    created_by text collate "C" not null,
    created_ms bigint not null,
    version bigint not null
);
create unique index rollout_open on rollout (model) where state in ('running', 'paused');
create index rollout_time on rollout (created_ms, id);
create index rollout_model on rollout (model, created_ms, id);

create table rollout_note (
    rollout_id text collate "C" not null references rollout (id),
    seq bigint not null,
    at_ms bigint not null,
    actor text collate "C" not null,
    state text collate "C" not null,
    step bigint not null,
    share_permille bigint not null,
    reason text collate "C" not null,
    primary key (rollout_id, seq)
);

-- What each replica saw of a round, written again and again; what is judged is their sum.
create table rollout_sample (
    rollout_id text collate "C" not null,
    round bigint not null,
    side text collate "C" not null,
    boot text collate "C" not null,
    sums text collate "C" not null,
    primary key (rollout_id, round, side, boot)
);

insert into counter (k, n) values ('rollouts', 0);

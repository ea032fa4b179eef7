-- Which revision of a model serves it, and how traffic moves to the next. Lists and plans are JSON text.

create table revision (
    model text not null,
    number integer not null,
    note text not null,
    targets text not null,
    parameters text not null,
    created_by text not null,
    created_ms integer not null,
    primary key (model, number)
) strict, without rowid;

-- The revision that serves all that no rollout takes. A model without a row is served by every backend that lists it.
create table live_revision (
    model text primary key not null,
    number integer not null,
    version integer not null
) strict, without rowid;

create table rollout (
    id text primary key not null,
    model text not null,
    from_number integer not null,
    to_number integer not null,
    state text not null,
    reason text not null,
    state_since_ms integer not null,
    plan text not null,
    step integer not null,
    step_since_ms integer not null,
    -- Counts the beginnings of steps: what a step's samples are kept under.
    round integer not null,
    -- The round whose samples of the old revision the last step is compared with.
    baseline integer not null,
    -- What the gates said last.
    gates text not null,
    created_by text not null,
    created_ms integer not null,
    version integer not null
) strict, without rowid;
create unique index rollout_open on rollout (model) where state in ('running', 'paused');
create index rollout_time on rollout (created_ms, id);
create index rollout_model on rollout (model, created_ms, id);

create table rollout_note (
    rollout_id text not null references rollout (id),
    seq integer not null,
    at_ms integer not null,
    actor text not null,
    state text not null,
    step integer not null,
    share_permille integer not null,
    reason text not null,
    primary key (rollout_id, seq)
) strict, without rowid;

-- What each replica saw of a round, written again and again; what is judged is their sum.
create table rollout_sample (
    rollout_id text not null,
    round integer not null,
    side text not null,
    boot text not null,
    sums text not null,
    primary key (rollout_id, round, side, boot)
) strict, without rowid;

insert into counter (k, n) values ('rollouts', 0);

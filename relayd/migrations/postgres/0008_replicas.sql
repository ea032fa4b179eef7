-- Where agents reach a start of relayd, and how many of them it holds.
alter table instance add column fleet_addr text collate "C" not null default '';
alter table instance add column sessions bigint not null default 0;

-- Requests counted in a minute, over all replicas. Worth nothing after a crash.
create unlogged table rate_window (
    subject text collate "C" primary key not null,
    began_ms bigint not null,
    direct bigint not null,
    opengpu bigint not null,
    -- What the last change of this row gave out.
    granted bigint not null
);
create index rate_window_began on rate_window (began_ms);

-- Where agents reach a start of relayd, and how many of them it holds.
alter table instance add column fleet_addr text not null default '';
alter table instance add column sessions integer not null default 0;

-- Requests counted in a minute, over all replicas. Worth nothing after a crash.
create table rate_window (
    subject text primary key not null,
    began_ms integer not null,
    direct integer not null,
    opengpu integer not null,
    -- What the last change of this row gave out.
    granted integer not null
) strict, without rowid;
create index rate_window_began on rate_window (began_ms);

-- A revision may run on a deployment: on whatever instances of it there are. Empty: on backends by name.
alter table revision add column deployment text not null default '';

-- The deployment that a backend is an instance of; empty where it is described by hand.
alter table backend add column deployment text not null default '';

-- When a drain ends what still runs, in milliseconds since the epoch; null lets it run to its end.
alter table backend add column drain_until_ms integer;

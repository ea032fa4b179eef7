-- What the first instance of a deployment was and spoke; empty before it was there.
alter table deployment add column engine text not null default '';
alter table deployment add column dialect text not null default '';

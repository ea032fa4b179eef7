-- The share of a tier's customers of a busy model, against others that give way as they do.
alter table tier add column weight integer not null default 1;

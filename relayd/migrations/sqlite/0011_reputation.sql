-- What a provider may do, and how it has done so far.

-- An operator's limits: models (JSON; null is all that it offers), and the lowest price of a million
-- answer tokens at which it serves.
alter table provider add column models text;
alter table provider add column price_floor_ncr integer;

-- Its scores, and what followed from them: JSON.
alter table provider add column standing text not null default '';

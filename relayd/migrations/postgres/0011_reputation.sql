-- What a provider may do, and how it has done so far.

-- An operator's limits: models (JSON; null is all that it offers), and the lowest price of a million
-- answer tokens at which it serves.
alter table provider add column models text collate "C";
alter table provider add column price_floor_ncr bigint;

-- Its scores, and what followed from them: JSON.
alter table provider add column standing text collate "C" not null default '';

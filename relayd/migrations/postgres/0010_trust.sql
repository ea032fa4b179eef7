-- Independent providers are counted by us, and paid for what was counted.

-- Where the model's tokenizer is: gguf:PATH, json:PATH or engine:BACKEND.
alter table model add column tokenizer text collate "C";

-- What whoever answered claims to have counted, and what a provider earned by the request.
alter table usage add column claimed_in bigint;
alter table usage add column claimed_out bigint;
alter table usage add column provider text collate "C";
alter table usage add column provider_ncr bigint;
create index usage_provider on usage (provider, created_ms) where provider is not null;

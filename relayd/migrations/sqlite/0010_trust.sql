-- Independent providers are counted by us, and paid for what was counted.

-- Where the model's tokenizer is: gguf:PATH, json:PATH or engine:BACKEND.
alter table model add column tokenizer text;

-- What whoever answered claims to have counted, and what a provider earned by the request.
alter table usage add column claimed_in integer;
alter table usage add column claimed_out integer;
alter table usage add column provider text;
alter table usage add column provider_ncr integer;
create index usage_provider on usage (provider, created_ms) where provider is not null;

-- What providers' agents declare, and what they are asked to run. Lists are JSON text.

alter table provider add column gpus text not null default '[]';

-- What a provider's agent shall run from one of its own templates. How it fares is not stored.
create table deployment (
    id text primary key not null,
    provider text not null,
    template text not null,
    model text not null,
    parameters text not null,
    replicas integer not null,
    created_by text not null,
    created_ms integer not null,
    version integer not null
) strict, without rowid;
create index deployment_of_provider on deployment (provider, id);

insert into counter (k, n) values ('deployments', 0);

-- What providers' agents declare, and what they are asked to run. Lists are JSON text.

alter table provider add column gpus text collate "C" not null default '[]';

-- What a provider's agent shall run from one of its own templates. How it fares is not stored.
create table deployment (
    id text collate "C" primary key not null,
    provider text collate "C" not null,
    template text collate "C" not null,
    model text collate "C" not null,
    parameters text collate "C" not null,
    replicas bigint not null,
    created_by text collate "C" not null,
    created_ms bigint not null,
    version bigint not null
);
create index deployment_of_provider on deployment (provider, id);

insert into counter (k, n) values ('deployments', 0);

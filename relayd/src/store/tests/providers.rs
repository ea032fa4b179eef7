//! What providers' agents shall run, and how providers have done.

use std::collections::BTreeMap;

use super::fixture::Fixture;
use super::on_both;
use crate::domain::{ProviderId, ProviderState};
use crate::store::{
    BackendEdit, BackendRow, BeganAs, Change, Counter, DeploymentRow, IntakeRow, NewInvitation,
    NewProvider, Presented, ProviderEdit, Store, StoreError,
};

on_both! {
    deployments_are_written_found_scaled_and_removed,
    a_standing_is_written_over_what_was_read,
    backends_of_a_provider_stand_and_fall_with_its_state,
    a_providers_backend_keeps_what_is_the_operators_and_takes_nobodys_name,
    evidence_is_written_while_it_is_examined,
}

const ONE: &str = "prov_0000000000000001";
const TWO: &str = "prov_0000000000000002";

fn provider(id: &str) -> ProviderId {
    id.parse().unwrap()
}

/// One who joins by an invitation of two.
fn joins(id: &str) -> Change {
    Change::NewProvider(NewProvider {
        id: provider(id),
        public_key: id.as_bytes().to_vec(),
        presented: Presented {
            name: format!("host-{}", &id[20..]),
            payout: "0x52908400098527886e0f7030069857d2e4169ee7".parse().unwrap(),
            agent_version: "test".to_owned(),
            address: "127.0.0.1".to_owned(),
            engines: Vec::new(),
            gpus: Vec::new(),
        },
        invitation: [7; 32],
        at_ms: 1,
    })
}

fn invitation() -> Change {
    Change::NewInvitation(NewInvitation {
        id: "inv_0000000000000001".to_owned(),
        token_hash: [7; 32],
        note: String::new(),
        uses: Some(2),
        expires_ms: None,
        created_by: "jo".to_owned(),
        created_ms: 0,
    })
}

fn deployment(number: u64, of: &str) -> DeploymentRow {
    let parameters =
        [("slots".to_owned(), "4".to_owned()), ("note".to_owned(), "\"\u{fc}".to_owned())];
    DeploymentRow {
        id: format!("dep_{number:016x}"),
        provider: provider(of),
        template: "llama".to_owned(),
        model: "relay-tiny".to_owned(),
        parameters: BTreeMap::from(parameters),
        replicas: 2,
        created_by: "jo".to_owned(),
        created_ms: 5,
        began_as: None,
        version: 1,
    }
}

async fn deployments_are_written_found_scaled_and_removed(fixture: Fixture) {
    let store = fixture.open().await;
    store.write(vec![invitation(), joins(ONE), joins(TWO)], None).await.unwrap();
    let before = store.counter(Counter::Deployments).await.unwrap();
    let rows = [deployment(1, ONE), deployment(2, TWO), deployment(3, ONE)];
    let early = store.write(vec![Change::NewDeployment(rows[0].clone())], None).await.unwrap_err();
    assert!(matches!(early, StoreError::Precondition(_)), "nobody approved it: {early:?}");
    let approved = |id| becomes(id, ProviderState::Joining, ProviderState::Approved);
    store.write(vec![approved(ONE), approved(TWO)], None).await.unwrap();
    for row in rows.iter().rev() {
        store.write(vec![Change::NewDeployment(row.clone())], None).await.unwrap();
    }
    assert!(store.counter(Counter::Deployments).await.unwrap() > before, "agents hear of it");
    assert_eq!(store.deployments(None).await.unwrap(), rows);
    let of = async |id| store.deployments(Some(&provider(id))).await.unwrap();
    assert_eq!(of(ONE).await, [rows[0].clone(), rows[2].clone()]);
    assert_eq!(of("prov_00000000000000ff").await, []);
    assert_eq!(store.deployment(&rows[1].id).await.unwrap(), rows[1]);
    let unknown = store.deployment("dep_00000000000000ff").await;
    assert_eq!(unknown, Err(StoreError::NotFound("deployment")));

    let scale = |expected, replicas| {
        vec![Change::ScaleDeployment { id: rows[0].id.clone(), expected, replicas }]
    };
    store.write(scale(Some(1), 5), None).await.unwrap();
    let scaled = store.deployment(&rows[0].id).await.unwrap();
    assert_eq!((scaled.replicas, scaled.version), (5, 2));
    let stale = store.write(scale(Some(1), 9), None).await.unwrap_err();
    assert_eq!(stale, StoreError::Version { noun: "deployment", expected: 1, found: 2 });
    assert_eq!(store.deployment(&rows[0].id).await.unwrap(), scaled, "nothing of it was written");

    let begin = |engine: &str| {
        let began = BeganAs { engine: engine.to_owned(), dialect: "openai".to_owned() };
        vec![Change::BeginDeployment { id: rows[0].id.clone(), began }]
    };
    store.write(begin("llamacpp"), None).await.unwrap();
    store.write(begin("llamacpp"), None).await.unwrap();
    let other = store.write(begin("ollama"), None).await.unwrap_err();
    assert!(matches!(other, StoreError::Precondition(_)), "{other:?}");
    let begun = store.deployment(&rows[0].id).await.unwrap();
    assert_eq!((begun.began_as.unwrap().engine.as_str(), begun.version), ("llamacpp", 2));

    let remove =
        |id: &str, expected| vec![Change::RemoveDeployment { id: id.to_owned(), expected }];
    let stale = store.write(remove(&rows[0].id, Some(1)), None).await.unwrap_err();
    assert_eq!(stale, StoreError::Version { noun: "deployment", expected: 1, found: 2 });
    store.write(remove(&rows[0].id, Some(2)), None).await.unwrap();
    store.write(remove(&rows[1].id, None), None).await.unwrap();
    assert_eq!(store.deployments(None).await.unwrap(), [rows[2].clone()]);
    let gone = store.write(remove(&rows[0].id, None), None).await.unwrap_err();
    assert_eq!(gone, StoreError::NotFound("deployment"));
    let all = |id| vec![Change::RemoveDeploymentsOf { provider: provider(id) }];
    store.write(all(TWO), None).await.unwrap();
    assert_eq!(store.deployments(None).await.unwrap(), [rows[2].clone()], "another one's");
    store.write(all(ONE), None).await.unwrap();
    store.write(all(ONE), None).await.unwrap();
    assert_eq!(store.deployments(None).await.unwrap(), []);
    store.close().await;
}

async fn a_standing_is_written_over_what_was_read(fixture: Fixture) {
    let store = fixture.open().await;
    store.write(vec![invitation(), joins(ONE)], None).await.unwrap();
    let note = |before: Option<&str>, after: &str| {
        let (before, after) = (before.map(str::to_owned), after.to_owned());
        vec![Change::NoteStanding { id: provider(ONE), before, after, steps: false }]
    };
    let backends = store.counter(Counter::Backends).await.unwrap();
    store.write(note(Some(""), "{\"a\":1}"), None).await.unwrap();
    let late = store.write(note(Some(""), "{\"a\":2}"), None).await.unwrap_err();
    assert!(matches!(late, StoreError::Precondition(_)), "{late:?}");
    assert_eq!(store.provider(&provider(ONE)).await.unwrap().standing, "{\"a\":1}");
    store.write(note(None, ""), None).await.unwrap();
    assert_eq!(store.provider(&provider(ONE)).await.unwrap().standing, "");
    assert_eq!(store.counter(Counter::Backends).await.unwrap(), backends);
    let (before, after) = (None, "{\"a\":3}".to_owned());
    let step = Change::NoteStanding { id: provider(ONE), before, after, steps: true };
    store.write(vec![step], None).await.unwrap();
    assert!(store.counter(Counter::Backends).await.unwrap() > backends, "the fleet hears of it");
    store.close().await;
}

fn becomes(id: &str, from: ProviderState, to: ProviderState) -> Change {
    let edit = ProviderEdit::State { from, to, reason: String::new(), at_ms: 1 };
    Change::EditProvider { id: provider(id), expected: None, edit }
}

fn served(of: &str, name: &str) -> Change {
    Change::PutProvidedBackend { provider: provider(of), backend: backend(of, name) }
}

fn backend(of: &str, name: &str) -> BackendRow {
    BackendRow {
        id: format!("{of}.{name}").parse().unwrap(),
        url: format!("agent://{of}/{name}"),
        dialect: "openai".to_owned(),
        engine: "llamacpp".to_owned(),
        max_concurrency: 4,
        queue: 8,
        weight: 100,
        intake: IntakeRow::Open,
        credential_file: None,
        models: Vec::new(),
        deployment: String::new(),
        drain_until_ms: None,
    }
}

async fn backends_of_a_provider_stand_and_fall_with_its_state(fixture: Fixture) {
    use ProviderState::{Approved, Joining, Suspended};
    let store = fixture.open().await;
    let names = async |store: &Store| {
        let rows = store.backends().await.unwrap();
        rows.into_iter().map(|known| known.row.url).collect::<Vec<_>>()
    };
    store.write(vec![invitation(), joins(ONE), joins(TWO)], None).await.unwrap();
    let early = store.write(vec![served(ONE, "a")], None).await.unwrap_err();
    assert!(matches!(early, StoreError::Precondition(_)), "{early:?}");
    // The state that the same write brings counts.
    for id in [ONE, TWO] {
        let all = vec![becomes(id, Joining, Approved), served(id, "a"), served(id, "b")];
        store.write(all, None).await.unwrap();
    }
    let gone = Change::RemoveBackendsUnder { url: format!("agent://{ONE}/") };
    store.write(vec![becomes(ONE, Approved, Suspended), gone.clone()], None).await.unwrap();
    let left = [format!("agent://{TWO}/a"), format!("agent://{TWO}/b")];
    assert_eq!(names(&store).await, left, "the other one's stay");
    store.write(vec![gone], None).await.unwrap();
    let late = store.write(vec![served(ONE, "a")], None).await.unwrap_err();
    assert!(matches!(late, StoreError::Precondition(_)), "{late:?}");
    let unknown = store.write(vec![served("prov_00000000000000ff", "a")], None).await.unwrap_err();
    assert_eq!(unknown, StoreError::NotFound("provider"));
    let absent = |expected| {
        let id = format!("{ONE}.a").parse().unwrap();
        vec![Change::RemoveBackend { id, expected }]
    };
    store.write(absent(None), None).await.unwrap();
    let missed = store.write(absent(Some(1)), None).await.unwrap_err();
    assert_eq!(missed, StoreError::NotFound("backend"));
    assert_eq!(names(&store).await, left);
    store.close().await;
}

async fn a_providers_backend_keeps_what_is_the_operators_and_takes_nobodys_name(fixture: Fixture) {
    use ProviderState::{Approved, Joining};
    let store = fixture.open().await;
    store.write(vec![invitation(), joins(ONE), joins(TWO)], None).await.unwrap();
    for id in [ONE, TWO] {
        store.write(vec![becomes(id, Joining, Approved)], None).await.unwrap();
    }
    store.write(vec![served(ONE, "a")], None).await.unwrap();
    let (id, expected) = (backend(ONE, "a").id, None);
    let edits = [BackendEdit::Weight(7), BackendEdit::Intake(IntakeRow::Cordoned)];
    let edits = edits.map(|edit| Change::EditBackend { id: id.clone(), expected, edit });
    store.write(edits.to_vec(), None).await.unwrap();
    // Written by somebody who read it before that.
    let told = BackendRow { max_concurrency: 2, ..backend(ONE, "a") };
    let write = Change::PutProvidedBackend { provider: provider(ONE), backend: told };
    store.write(vec![write], None).await.unwrap();
    let kept = store.backends().await.unwrap().remove(0).row;
    assert_eq!((kept.weight, kept.intake), (7, IntakeRow::Cordoned));
    assert_eq!((kept.max_concurrency, kept.queue), (2, 8));
    // Another one's engine under the same name, written at the same moment.
    let taken = BackendRow { id: id.clone(), ..backend(TWO, "a") };
    let write = Change::PutProvidedBackend { provider: provider(TWO), backend: taken.clone() };
    let refused = store.write(vec![write], None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Precondition(_)), "{refused:?}");
    assert_eq!(store.backends().await.unwrap().remove(0).row, kept);
    // An operator may point a name elsewhere.
    let moved = Change::PutBackend { backend: taken.clone(), expected: None };
    store.write(vec![moved], None).await.unwrap();
    assert_eq!(store.backends().await.unwrap().remove(0).row.url, taken.url);
    store.close().await;
}

async fn evidence_is_written_while_it_is_examined(fixture: Fixture) {
    use ProviderState::{Joining, Pending, Probing};
    let store = fixture.open().await;
    store.write(vec![invitation(), joins(ONE)], None).await.unwrap();
    let found = |text: &str| {
        let edit = ProviderEdit::Evidence(text.to_owned());
        Change::EditProvider { id: provider(ONE), expected: None, edit }
    };
    let refused = async |change| {
        let error = store.write(vec![change], None).await.unwrap_err();
        assert!(matches!(error, StoreError::Precondition(_)), "{error:?}");
    };
    refused(found("{}")).await;
    store.write(vec![becomes(ONE, Joining, Probing)], None).await.unwrap();
    let whole = vec![found("{\"a\":1}"), becomes(ONE, Probing, Pending)];
    store.write(whole, None).await.unwrap();
    refused(found("{\"a\":2}")).await;
    assert_eq!(store.provider(&provider(ONE)).await.unwrap().evidence, "{\"a\":1}");
    store.close().await;
}

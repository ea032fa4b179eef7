//! Providers over a real store: what an agent says later changes nothing that a person decided by,
//! and what two replicas do at once comes out as if one had done it.

use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::callers::GREETINGS;
use super::conduct::Finding;
use super::*;
use crate::domain::{BackendId, DeclaredGpu};
use crate::engines::{AgentAddress, Uplink};
use crate::events::{Subscription, Update};
use crate::identity::{InvitationRequest, Peppers};
use crate::store::{
    BackendEdit, BackendModel, BackendRow, DeploymentRow, IntakeRow, OfferRow, StoreOptions,
};

/// Makes what another relayd over the same database has.
type Replica = Box<dyn Fn(&Store, &Events) -> Providers>;

pub(super) struct World {
    pub(super) providers: Providers,
    store: Store,
    events: Events,
    /// What was told so far.
    told: Mutex<(Subscription, Vec<String>)>,
    token: String,
    replica: Replica,
    _folder: TempDir,
}

fn offer(kind: &str) -> OfferRow {
    OfferRow {
        name: "one".to_owned(),
        kind: kind.to_owned(),
        dialect: "openai".to_owned(),
        models: vec!["m".to_owned()],
        max_concurrency: 4,
    }
}

fn id() -> ProviderId {
    "prov_0000000000000001".parse().unwrap()
}

/// What was found out about an engine of that kind.
fn evidence(kind: &str, missing: &[&str]) -> Evidence {
    Evidence {
        examined_at_ms: 5,
        engines: vec![EngineEvidence {
            name: "one".to_owned(),
            kind: kind.to_owned(),
            dialect: "openai".to_owned(),
            state: "up".to_owned(),
            models: vec![ModelEvidence { upstream: "m".to_owned(), model: "m".parse().ok() }],
            ..EngineEvidence::default()
        }],
        missing: missing.iter().map(|&one| one.to_owned()).collect(),
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::sqlite(folder.path().join("relay.db"));
        let store = Store::open(&options).await.unwrap();
        let (events, writer) = Events::open(store.clone()).await.unwrap();
        tokio::spawn(writer.run(CancellationToken::new()));
        let told = Mutex::new((events.subscribe(0), Vec::new()));
        let catalogue = Catalogue::load(store.clone()).await.unwrap();
        let peppers = Peppers::new(&[&[7; 32]]).unwrap();
        let identity = Identity::new(store.clone(), catalogue.clone(), peppers, 10);
        let request = InvitationRequest {
            id: "inv_0000000000000001".to_owned(),
            note: String::new(),
            uses: None,
            life_ms: None,
            actor: "test".to_owned(),
        };
        let token = identity.invite(request, None).await.unwrap().token.expose().to_owned();
        let replica = move |store: &Store, events: &Events| {
            Providers::new(
                store.clone(),
                identity.clone(),
                catalogue.clone(),
                Fleet::new(),
                Tokenizers::default(),
                events.clone(),
                Watching::default(),
            )
        };
        let providers = replica(&store, &events);
        Self { providers, store, events, told, token, replica: Box::new(replica), _folder: folder }
    }

    /// Another relayd over the same database.
    fn replica(&self) -> Providers {
        (self.replica)(&self.store, &self.events)
    }

    /// The agent dials in and offers an engine of that kind.
    async fn greets(&self, kind: &str, gpus: Vec<DeclaredGpu>) -> ProviderRow {
        let greeting = Greeting { gpus, ..self.greeting(vec![offer(kind)]) };
        self.providers.greet(greeting).await.unwrap()
    }

    async fn greets_with(&self, engines: Vec<OfferRow>) {
        self.providers.greet(self.greeting(engines)).await.unwrap();
    }

    fn greeting(&self, engines: Vec<OfferRow>) -> Greeting {
        Greeting {
            id: id(),
            public_key: vec![1; 32],
            name: "host".to_owned(),
            payout_address: format!("0x{}", "0".repeat(40)),
            agent_version: "1".to_owned(),
            join_token: self.token.clone(),
            engines,
            gpus: Vec::new(),
            address: "127.0.0.1".to_owned(),
        }
    }

    async fn row(&self) -> ProviderRow {
        self.store.provider(&id()).await.unwrap()
    }

    /// Up to the examination of what it offers.
    async fn probed(&self, kind: &str) -> ProviderRow {
        let row = self.greets(kind, Vec::new()).await;
        let change = state_change(&row, ProviderState::Probing, "");
        self.store.write(vec![change], None).await.unwrap();
        self.row().await
    }

    async fn approved(&self, kind: &str) -> ProviderRow {
        let row = self.probed(kind).await;
        self.providers.conclude(&row, &evidence(kind, &[])).await.unwrap();
        self.decide(Decision::Approve).await.unwrap();
        self.row().await
    }

    async fn decide(&self, decision: Decision) -> Result<Provider, Fault> {
        self.providers.decide(&id(), decision, "so", None, None).await
    }

    async fn backends(&self) -> Vec<BackendRow> {
        self.store.backends().await.unwrap().into_iter().map(|known| known.row).collect()
    }

    /// How many events said so until now.
    async fn told(&self, words: &str) -> usize {
        const LAST: &str = "nothing after this";
        self.events.emit(EventKind::ProviderChanged, Severity::Info, "", LAST);
        let mut told = self.told.lock().await;
        let (reader, texts) = &mut *told;
        while let Update::Event(event) = reader.next().await {
            if event.text == LAST {
                break;
            }
            texts.push(event.text.clone());
        }
        texts.iter().filter(|text| text.contains(words)).count()
    }
}

#[tokio::test]
async fn an_engine_is_asked_as_what_it_was_examined_as() {
    let world = World::new().await;
    world.approved("llamacpp").await;
    let examined = world.backends().await;
    assert_eq!((examined.len(), examined[0].engine.as_str()), (1, "llamacpp"));
    // One that calls itself unknown would be asked no hidden question any more.
    world.greets("unknown", Vec::new()).await;
    let limits = ProviderLimits { max_concurrency: Some(2), ..ProviderLimits::default() };
    world.providers.limit(&id(), limits, None, None).await.unwrap();
    let after = world.backends().await;
    assert_eq!((after[0].engine.as_str(), after[0].max_concurrency), ("llamacpp", 2));
    let told = "says that engine one is unknown over openai now and no longer llamacpp";
    assert_eq!(world.told(told).await, 1);
    world.greets("unknown", Vec::new()).await;
    assert_eq!(world.told(told).await, 1, "told when it changes");
}

#[tokio::test]
async fn late_evidence_takes_nothing_away_from_what_a_person_decides_by() {
    let world = World::new().await;
    let row = world.probed("llamacpp").await;
    // Two replicas examine; the one that was slower found its engine down.
    let whole = evidence("llamacpp", &[]);
    world.providers.conclude(&row, &whole).await.unwrap();
    world.providers.conclude(&row, &evidence("llamacpp", &["engine one is down"])).await.unwrap();
    let found = world.row().await;
    assert_eq!((found.state, Evidence::read(&found.evidence)), (ProviderState::Pending, whole));
    assert_eq!(world.told("waits for a decision").await, 1);
    // Other cards by the time the evidence comes: it is about what was offered before.
    world.greets("vllm", Vec::new()).await;
    assert_eq!(world.row().await.state, ProviderState::Probing);
    let row = world.row().await;
    let gpus = vec![DeclaredGpu { name: "H100".to_owned(), count: 1, memory_mib: 0 }];
    world.greets("vllm", gpus).await;
    world.providers.conclude(&row, &evidence("vllm", &[])).await.unwrap();
    assert_eq!(world.row().await.state, ProviderState::Probing, "evidence about something else");
}

#[tokio::test]
async fn nobody_is_approved_by_evidence_that_lacks_something() {
    let world = World::new().await;
    let row = world.probed("llamacpp").await;
    world.providers.conclude(&row, &evidence("llamacpp", &["engine one is down"])).await.unwrap();
    let row = world.row().await;
    // By a hand in the database, or by an earlier build.
    let change = state_change(&row, ProviderState::Pending, "");
    world.store.write(vec![change], None).await.unwrap();
    let fault = world.decide(Decision::Approve).await.unwrap_err();
    assert_eq!(fault.code, crate::domain::Code::FailedPrecondition);
    assert!(fault.to_string().contains("engine one is down"), "{fault}");
    assert!(world.backends().await.is_empty());
}

#[tokio::test]
async fn a_suspension_by_policy_is_written_at_once_and_leaves_no_backend() {
    let world = World::new().await;
    let before = world.approved("llamacpp").await;
    let lies =
        vec![Finding { dimension: Dimension::Honesty, wrong: Some("it lied".to_owned()) }; 8];
    world.providers.found(&id(), &lies).await.unwrap();
    let after = world.row().await;
    assert_eq!(after.version, before.version + 1, "one write, one version");
    let standing = Record::read(&after.standing).standing;
    assert_eq!((after.state, standing), (ProviderState::Suspended, Standing::Suspended));
    assert!(after.reason.starts_with("by policy: "), "{}", after.reason);
    assert!(world.backends().await.is_empty());
    // A replica that read it before writes its backends too late.
    let late = world.providers.backends_of(&before).await.unwrap();
    assert!(!late.is_empty());
    let refused = world.store.write(late, None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Precondition(_)), "{refused:?}");
    // What it did is noted all the same, and changes no state again.
    world.providers.found(&id(), &lies).await.unwrap();
    assert_eq!(world.row().await.version, after.version);
    world.decide(Decision::Approve).await.unwrap();
    let known = world.backends().await;
    assert_eq!(known.len(), 1);
    // Somebody else took it away in the meantime: that stops no decision.
    let gone = Change::RemoveBackend { id: known[0].id.clone(), expected: None };
    world.store.write(vec![gone], None).await.unwrap();
    world.decide(Decision::Suspend).await.unwrap();
}

/// A session whose connection leads nowhere.
async fn session(world: &World) -> Session {
    let (near, far) = tokio::io::duplex(4_096);
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(near))
            .await
            .unwrap();
    tokio::spawn(async move {
        let _far = far;
        let _ = connection.await;
    });
    world.providers.open(world.row().await, Uplink::new(sender))
}

fn instance(name: &str, kind: &str) -> EngineReport {
    EngineReport {
        name: name.to_owned(),
        state: "up".to_owned(),
        models: vec!["m".to_owned()],
        deployment: "dep_0000000000000001".to_owned(),
        kind: kind.to_owned(),
        dialect: "openai".to_owned(),
        max_concurrency: 2,
        ..EngineReport::default()
    }
}

impl World {
    /// What its agent tells of its instances, and what becomes of them.
    async fn runs(&self, session: &Session, engines: &[EngineReport]) -> Vec<(String, String)> {
        let told = DeploymentReport {
            id: "dep_0000000000000001".to_owned(),
            replicas: 2,
            instances: Vec::new(),
        };
        let report =
            Report { engines: engines.to_vec(), deployments: vec![told], ..Report::default() };
        session.heard(report);
        self.providers.provision(session).await.unwrap();
        let named = |row: BackendRow| {
            let address = row.url.parse::<AgentAddress>().unwrap();
            (address.engine, row.engine)
        };
        let all = self.backends().await.into_iter();
        all.filter(|row| !row.deployment.is_empty()).map(named).collect()
    }
}

fn deployment_id() -> String {
    "dep_0000000000000001".to_owned()
}

fn deployment() -> DeploymentRow {
    DeploymentRow {
        id: deployment_id(),
        provider: id(),
        template: "llama".to_owned(),
        model: "m".to_owned(),
        parameters: std::collections::BTreeMap::new(),
        replicas: 2,
        created_by: "ann".to_owned(),
        created_ms: 1,
        began_as: None,
        version: 1,
    }
}

#[tokio::test]
async fn an_instance_is_what_its_deployment_began_as() {
    let world = World::new().await;
    world.approved("llamacpp").await;
    world.store.write(vec![Change::NewDeployment(deployment())], None).await.unwrap();
    let session = session(&world).await;
    let pair = |name: &str| (name.to_owned(), "llamacpp".to_owned());
    assert_eq!(world.runs(&session, &[instance("a", "llamacpp")]).await, [pair("a")]);
    // It says that it is another engine now, which nobody would hold against ours.
    let both = [instance("a", "unknown"), instance("b", "unknown")];
    assert_eq!(world.runs(&session, &both).await, [pair("a")], "it is asked as before");
    assert_eq!(world.runs(&session, &both).await, [pair("a")]);
    assert_eq!(world.told("remove it and deploy it anew").await, 1, "told once");
    let shown = world.providers.deployment("dep_0000000000000001").await.unwrap();
    assert!(shown.refused.unwrap().contains("says that it is unknown over openai"));
    // Another engine in its place: what an operator set waits for one of the same kind.
    let name: BackendId =
        world.backends().await.iter().find(|b| !b.deployment.is_empty()).unwrap().id.clone();
    let edit = BackendEdit::Intake(IntakeRow::Cordoned);
    world
        .store
        .write(vec![Change::EditBackend { id: name, expected: None, edit }], None)
        .await
        .unwrap();
    assert_eq!(world.runs(&session, &[instance("c", "ollama")]).await, [pair("a")]);
    assert_eq!(world.runs(&session, &[instance("d", "llamacpp")]).await, [pair("d")]);
    let known = world.backends().await;
    let heir = known.iter().find(|row| !row.deployment.is_empty()).unwrap();
    assert_eq!(heir.intake, IntakeRow::Cordoned);
    assert_eq!(heir.models, [BackendModel { model: "m".parse().unwrap(), upstream: "m".into() }]);
    // One that takes itself out of service comes back as what it was, or not at all; what an operator
    // set stays all the while.
    let broken = EngineReport { max_concurrency: 0, ..instance("d", "llamacpp") };
    let leaving = EngineReport { state: "draining".to_owned(), ..instance("d", "llamacpp") };
    for report in [broken, leaving, instance("d", "unknown"), instance("d", "llamacpp")] {
        assert_eq!(world.runs(&session, std::slice::from_ref(&report)).await, [pair("d")]);
        let known = world.backends().await;
        let known = known.iter().find(|row| !row.deployment.is_empty()).unwrap();
        assert_eq!(known.intake, IntakeRow::Cordoned, "{report:?}");
        assert_eq!(report.is_withdrawn(), report.max_concurrency == 0 || report.state != "up");
    }
    // Scaled down, the one that drains is not waited for.
    let both = [instance("d", "llamacpp"), instance("e", "llamacpp")];
    assert_eq!(world.runs(&session, &both).await, [pair("d"), pair("e")]);
    let scale = Change::ScaleDeployment { id: deployment_id(), expected: None, replicas: 1 };
    world.store.write(vec![scale], None).await.unwrap();
    let leaving = EngineReport { state: "draining".to_owned(), ..instance("d", "llamacpp") };
    assert_eq!(world.runs(&session, &[leaving, both[1].clone()]).await, [pair("e")]);
}

#[tokio::test]
async fn an_engine_that_is_left_out_for_a_while_keeps_what_an_operator_set() {
    let world = World::new().await;
    world.approved("llamacpp").await;
    let id = world.backends().await[0].id.clone();
    for edit in [BackendEdit::Intake(IntakeRow::Cordoned), BackendEdit::Weight(3)] {
        let edit = Change::EditBackend { id: id.clone(), expected: None, edit };
        world.store.write(vec![edit], None).await.unwrap();
    }
    let session = session(&world).await;
    let other = OfferRow { name: "two".to_owned(), ..offer("llamacpp") };
    world.greets_with(vec![other]).await;
    assert_eq!(world.told("offers engine one no more").await, 1);
    assert_eq!(world.told("offers engine two, which was not examined").await, 1);
    // An instance does not take its name.
    world.store.write(vec![Change::NewDeployment(deployment())], None).await.unwrap();
    assert_eq!(world.runs(&session, &[instance("one", "llamacpp")]).await, []);
    let fewer = OfferRow { max_concurrency: 2, ..offer("llamacpp") };
    world.greets_with(vec![fewer.clone()]).await;
    assert_eq!(world.told("offers engine one again").await, 1);
    let all = world.backends().await;
    assert_eq!((all.len(), all[0].intake, all[0].weight), (1, IntakeRow::Cordoned, 3));
    assert_eq!(all[0].max_concurrency, 2, "what it says of itself is followed");
    // What it says of itself adds none.
    let gone = Change::RemoveBackend { id, expected: None };
    world.store.write(vec![gone], None).await.unwrap();
    world.greets_with(vec![OfferRow { max_concurrency: 1, ..fewer }]).await;
    assert!(world.backends().await.is_empty());
}

#[tokio::test]
async fn who_says_something_else_all_the_time_is_suspended_all_the_same() {
    let world = World::new().await;
    let seen = world.approved("llamacpp").await;
    world.greets("vllm", Vec::new()).await;
    // What a person saw is not there any more: that stops an approval, and nothing else.
    let suspend = async |decision| {
        world.providers.decide(&id(), decision, "so", Some(seen.version), None).await
    };
    suspend(Decision::Suspend).await.unwrap();
    assert!(world.backends().await.is_empty());
    let fault = suspend(Decision::Approve).await.unwrap_err();
    assert_eq!(fault.code, crate::domain::Code::VersionConflict);
    suspend(Decision::Reject).await.unwrap();
    suspend(Decision::Remove).await.unwrap();
    let fault = suspend(Decision::Suspend).await.unwrap_err();
    assert_eq!(fault.code, crate::domain::Code::FailedPrecondition);
}

#[tokio::test]
async fn two_replicas_that_decide_greet_and_judge_at_once_come_out_as_one() {
    let world = World::new().await;
    for round in 0..8 {
        let row = match round {
            0 => world.approved("llamacpp").await,
            _ => {
                world.decide(Decision::Approve).await.unwrap();
                world.row().await
            }
        };
        let other = world.replica();
        let lie = Finding { dimension: Dimension::Honesty, wrong: Some("lied".to_owned()) };
        let lies = vec![lie; 8];
        // Both judge what they saw, a person limits and suspends, and it says something else of
        // itself meanwhile.
        let offers = OfferRow { max_concurrency: 5 + round, ..offer("llamacpp") };
        let limits = ProviderLimits { max_concurrency: Some(3), ..ProviderLimits::default() };
        let id = id();
        let (one, two, said, limited, suspended) = tokio::join!(
            world.providers.found(&id, &lies),
            other.found(&id, &lies),
            other.greet(world.greeting(vec![offers])),
            world.providers.limit(&id, limits, None, None),
            other.decide(&id, Decision::Suspend, "so", Some(row.version), None),
        );
        one.and(two).unwrap();
        said.unwrap();
        limited.map(drop).or_else(|fault| expected(&fault)).unwrap();
        suspended.map(drop).or_else(|fault| expected(&fault)).unwrap();
        let after = world.row().await;
        assert_eq!(after.state, ProviderState::Suspended, "round {round}");
        assert!(world.backends().await.is_empty(), "round {round}");
        assert!(Record::read(&after.standing).reputation.honesty.bad > 7.9, "round {round}");
        assert_eq!(after.presented.engines[0].max_concurrency, 5 + round);
    }
    assert_eq!(world.told("is suspended").await, 8, "once each");
}

/// The other one was first.
fn expected(fault: &Fault) -> Result<(), String> {
    match fault.code {
        crate::domain::Code::FailedPrecondition => Ok(()),
        code => Err(format!("{code:?}: {fault}")),
    }
}

#[tokio::test]
async fn a_key_greets_so_often_a_minute() {
    let world = World::new().await;
    let mut refused = None;
    for number in 1..=GREETINGS + 2 {
        let kind = if number % 2 == 0 { "vllm" } else { "llamacpp" };
        let greeted = world.providers.greet(world.greeting(vec![offer(kind)])).await;
        refused = refused.or(greeted.err().map(|refusal| (number, refusal.kind)));
    }
    // The first one joined.
    assert_eq!(refused, Some((GREETINGS + 2, RefusalKind::Unavailable)));
    let before = world.row().await.version;
    let again = world.providers.greet(world.greeting(vec![offer("ollama")])).await;
    again.unwrap_err();
    assert_eq!(world.row().await.version, before, "nothing of it is written");
}

//! A rollout from its beginning to its end, over real databases.

use std::time::Duration;

use crate::domain::{
    BackendId, CanaryPrompt, ModelName, RevisionParameters, RevisionTarget, RolloutId, RolloutPlan,
    RolloutState,
};
use crate::events::{EventWriter, Events};
use crate::rollouts::{Act, Rollouts, SampleEnd, Start};
use crate::store::tests::fixture::Fixture;
use crate::store::tests::on_both;
use crate::store::{Change, NewRevision, NewRollout, RolloutEdit, RolloutRow, Side, Store};
use crate::wire::Finish;

on_both! {
    a_bad_revision_goes_back_by_itself,
    a_good_one_goes_to_the_end_and_is_live,
    a_person_leads_and_each_act_is_a_line_of_history,
    what_comes_late_counts_for_the_round_it_began_in,
    a_step_of_copies_alone_is_judged_by_them_and_by_prompts,
    an_open_one_is_not_hidden_by_one_whose_clock_was_ahead,
}

const ONE: &str = "ro_0000000000000001";

struct World {
    rollouts: Rollouts,
    store: Store,
    _events: EventWriter,
}

fn model() -> ModelName {
    "m".parse().unwrap()
}

fn revision(note: &str, backend: &str) -> NewRevision {
    let backend: BackendId = backend.parse().unwrap();
    NewRevision {
        model: model(),
        number: 0,
        note: note.to_owned(),
        targets: vec![RevisionTarget { backend, upstream: "m".to_owned() }],
        deployment: String::new(),
        parameters: RevisionParameters::default(),
        created_by: "jo".to_owned(),
        created_ms: 1,
    }
}

/// Windows that are over at once, so that only samples are waited for.
fn plan(steps: &[u16]) -> RolloutPlan {
    RolloutPlan {
        steps_permille: steps.to_vec(),
        window_ms: 1_000,
        min_samples: 20,
        patience_windows: 1_000,
        ..RolloutPlan::default()
    }
}

impl World {
    async fn open(fixture: &Fixture) -> Self {
        let store = fixture.open().await;
        let (events, writer) = Events::open(store.clone()).await.unwrap();
        let rollouts = Rollouts::load(store.clone(), events).await.unwrap();
        Self { rollouts, store, _events: writer }
    }

    /// Two revisions and a rollout from the first to the second.
    async fn begin(fixture: &Fixture, plan: RolloutPlan) -> Self {
        let world = Self::open(fixture).await;
        let (now, wanted) = (revision("before", "old"), revision("after", "new"));
        let number = world.rollouts.create_revision(wanted, Some(now), None).await.unwrap();
        assert_eq!(number, 2);
        let start = Start {
            id: ONE.parse().unwrap(),
            model: model(),
            to: 2,
            plan,
            reason: "try it".to_owned(),
            actor: "jo".to_owned(),
            expected: Some(1),
        };
        world.rollouts.start(start, None).await.unwrap();
        world
    }

    /// Requests by key; `end` decides by the revision.
    fn ask(&self, keys: std::ops::Range<u32>, end: impl Fn(u32) -> SampleEnd) {
        for key in keys {
            let assignment = self.rollouts.assign(&model(), &key.to_be_bytes());
            self.rollouts.observed(&model(), &assignment, end(assignment.number()));
        }
    }

    fn on_second(&self) -> usize {
        let assigned = |key: u32| self.rollouts.assign(&model(), &key.to_be_bytes()).number();
        (0..1_000).filter(|key| assigned(*key) == 2).count()
    }

    async fn row(&self) -> RolloutRow {
        self.store.rollout(&ONE.parse::<RolloutId>().unwrap()).await.unwrap()
    }
}

fn answered(_: u32) -> SampleEnd {
    SampleEnd::Answered {
        finish: Some(Finish::Stop),
        ttft: Duration::from_millis(20),
        generating: Duration::from_millis(200),
        tokens: 10,
    }
}

fn second_fails(revision: u32) -> SampleEnd {
    if revision == 2 { SampleEnd::Failed } else { answered(revision) }
}

async fn a_bad_revision_goes_back_by_itself(fixture: Fixture) {
    let world = World::begin(&fixture, plan(&[100, 500, 1_000])).await;
    let taken = world.on_second();
    assert!((60..=140).contains(&taken), "{taken} of 1,000 at a tenth");
    world.ask(0..400, second_fails);
    // Long before the window is over.
    world.rollouts.look().await.unwrap();
    let row = world.row().await;
    assert_eq!(row.state, RolloutState::RolledBack);
    assert!(row.reason.contains("errors 100.0 % against 0.0 %"), "{}", row.reason);
    assert!(row.reason.contains("before the end of the window"), "{}", row.reason);
    assert_eq!(world.on_second(), 0, "the old one serves all again");
    let notes = world.store.rollout_notes(&row.id).await.unwrap();
    let told: Vec<_> = notes.iter().map(|note| (&*note.actor, note.share_permille)).collect();
    assert_eq!(told, [("jo", 100), ("gates", 0)]);
    // It is over for good, and the next one may begin.
    let refused = world.rollouts.act(&row.id, Act::Resume, "jo", "", None, None).await;
    assert!(refused.unwrap_err().to_string().contains("rolled_back"));
    world.store.close().await;
}

async fn a_good_one_goes_to_the_end_and_is_live(fixture: Fixture) {
    let world = World::begin(&fixture, plan(&[100, 500, 1_000])).await;
    let mut steps = Vec::new();
    for _ in 0..60 {
        world.ask(0..400, answered);
        world.rollouts.look().await.unwrap();
        let row = world.row().await;
        if steps.last() != Some(&(row.step, row.state)) {
            steps.push((row.step, row.state));
        }
        if !row.state.is_open() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    use RolloutState::{Completed, Running};
    assert_eq!(steps, [(0, Running), (1, Running), (2, Running), (2, Completed)]);
    let live = &world.rollouts.book().live[&model()];
    assert_eq!((live.number, live.version, world.on_second()), (2, 2, 1_000));
    let assignment = world.rollouts.assign(&model(), b"anybody");
    assert_eq!(assignment.backends().unwrap().backends[0].as_str(), "new");
    assert!(assignment.fallback().is_none(), "what is live has nothing behind it");
    let words: Vec<String> = world
        .store
        .rollout_notes(&ONE.parse().unwrap())
        .await
        .unwrap()
        .into_iter()
        .map(|note| note.reason)
        .collect();
    assert_eq!(words[3], "every gate passed at 100 %");
    world.store.close().await;
}

async fn a_person_leads_and_each_act_is_a_line_of_history(fixture: Fixture) {
    let world = World::begin(&fixture, plan(&[100, 500, 1_000])).await;
    let id: RolloutId = ONE.parse().unwrap();
    let act =
        async |act, expected| world.rollouts.act(&id, act, "jo", "because", expected, None).await;
    act(Act::Pause, Some(1)).await.unwrap();
    assert!((60..=140).contains(&world.on_second()), "a pause keeps the split");
    // Nothing is decided while it is paused.
    world.ask(0..400, second_fails);
    world.rollouts.look().await.unwrap();
    assert_eq!(world.row().await.state, RolloutState::Paused);
    let stale = act(Act::Resume, Some(1)).await.unwrap_err();
    assert!(stale.to_string().contains("version"), "{stale}");
    act(Act::Resume, Some(2)).await.unwrap();
    let again = act(Act::Resume, None).await.unwrap_err();
    assert!(again.to_string().contains("cannot be resumed"), "{again}");
    // What failed before the pause ended is not held against the step that begins anew.
    world.rollouts.look().await.unwrap();
    let row = world.row().await;
    assert_eq!((row.state, row.round), (RolloutState::Running, 2));
    act(Act::Advance, None).await.unwrap();
    assert!((430..=570).contains(&world.on_second()));
    act(Act::RollBack, None).await.unwrap();
    assert_eq!(world.on_second(), 0);
    let notes = world.store.rollout_notes(&id).await.unwrap();
    let told: Vec<_> =
        notes.iter().map(|note| (note.state.as_str(), note.step, note.share_permille)).collect();
    assert_eq!(
        told,
        [
            ("running", 0, 100),
            ("paused", 0, 100),
            ("running", 0, 100),
            ("running", 1, 500),
            ("rolled_back", 1, 0)
        ]
    );
    world.store.close().await;
}

async fn what_comes_late_counts_for_the_round_it_began_in(fixture: Fixture) {
    let world = World::begin(&fixture, plan(&[500, 1_000])).await;
    let early: Vec<_> =
        (0..200_u32).map(|key| world.rollouts.assign(&model(), &key.to_be_bytes())).collect();
    world.rollouts.act(&ONE.parse().unwrap(), Act::Advance, "jo", "", None, None).await.unwrap();
    for assignment in &early {
        world.rollouts.observed(&model(), assignment, second_fails(assignment.number()));
    }
    world.rollouts.look().await.unwrap();
    let row = world.row().await;
    assert_eq!((row.state, row.step), (RolloutState::Running, 1), "{}", row.reason);
    assert!(world.store.rollout_samples(&row.id, row.round).await.unwrap().is_empty());
    world.store.close().await;
}

async fn a_step_of_copies_alone_is_judged_by_them_and_by_prompts(fixture: Fixture) {
    let prompt = CanaryPrompt { prompt: "?".into(), expect: "!".into() };
    let copied =
        RolloutPlan { shadow_permille: 1_000, canary_prompts: vec![prompt], ..plan(&[0, 1_000]) };
    let world = World::begin(&fixture, copied).await;
    assert_eq!(world.on_second(), 0, "copies only");
    for key in 0..200_u32 {
        let key = key.to_be_bytes();
        let assignment = world.rollouts.assign(&model(), &key);
        world.rollouts.observed(&model(), &assignment, answered(1));
        let copy = assignment.shadow(&key).unwrap();
        world.rollouts.observed(&model(), &copy, answered(2));
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    world.rollouts.look().await.unwrap();
    assert_eq!(world.row().await.step, 0, "no prompt was answered yet");
    for canaries in world.rollouts.canaries() {
        for side in &canaries.sides {
            (0..40).for_each(|_| world.rollouts.canary(side, true));
        }
    }
    world.rollouts.look().await.unwrap();
    let row = world.row().await;
    assert_eq!((row.step, row.state), (1, RolloutState::Running), "{}", row.reason);
    world.store.close().await;
}

async fn an_open_one_is_not_hidden_by_one_whose_clock_was_ahead(fixture: Fixture) {
    let world = World::open(&fixture).await;
    let (now, wanted) = (revision("before", "old"), revision("after", "new"));
    world.rollouts.create_revision(wanted, Some(now), None).await.unwrap();
    let before: RolloutId = "ro_00000000000000ff".parse().unwrap();
    let at_ms = jiff::Timestamp::now().as_millisecond() + 3_600_000;
    let rollout = NewRollout {
        id: before.clone(),
        model: model(),
        from: 1,
        to: 2,
        plan: plan(&[100, 1_000]),
        reason: String::new(),
        actor: "jo".to_owned(),
        at_ms,
    };
    let begin = Change::NewRollout { rollout, expected: None };
    let edit = RolloutEdit {
        to: RolloutState::RolledBack,
        step: 0,
        begins: false,
        gates: "[]".to_owned(),
        actor: "jo".to_owned(),
        reason: String::new(),
        at_ms,
    };
    world.store.write(vec![begin], None).await.unwrap();
    let end = Change::EditRollout { id: before, expected: None, edit };
    world.store.write(vec![end], None).await.unwrap();
    let start = Start {
        id: ONE.parse().unwrap(),
        model: model(),
        to: 2,
        plan: plan(&[100, 1_000]),
        reason: "again".to_owned(),
        actor: "jo".to_owned(),
        expected: None,
    };
    world.rollouts.start(start, None).await.unwrap();
    let current = world.store.current_rollouts().await.unwrap();
    assert_eq!(current.len(), 1);
    assert_eq!((current[0].id.as_str(), current[0].state), (ONE, RolloutState::Running));
    assert!((60..=140).contains(&world.on_second()), "it gets its share");
    world.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_judge_by_all_that_they_saw_and_one_decides() {
    let fixture = Fixture::postgres().await;
    let one = World::begin(&fixture, plan(&[100, 1_000])).await;
    let other = World::open(&fixture).await;
    // Not enough on either for the first look at the errors, and enough on both.
    for world in [&one, &other] {
        let assigned = |key: u32| world.rollouts.assign(&model(), &key.to_be_bytes());
        for assignment in (0..).map(assigned).filter(|given| given.number() == 2).take(9) {
            world.rollouts.observed(&model(), &assignment, SampleEnd::Failed);
        }
        let others = |number| if number == 2 { SampleEnd::Cancelled } else { answered(number) };
        world.ask(0..200, others);
    }
    one.rollouts.look().await.unwrap();
    assert_eq!(one.row().await.state, RolloutState::Running, "nine are too few to say");
    let (looked, also) = tokio::join!(other.rollouts.look(), one.rollouts.look());
    looked.unwrap();
    also.unwrap();
    assert_eq!(one.row().await.state, RolloutState::RolledBack);
    one.rollouts.look().await.unwrap();
    assert_eq!((one.on_second(), other.on_second()), (0, 0));
    let notes = one.store.rollout_notes(&ONE.parse().unwrap()).await.unwrap();
    assert_eq!(notes.len(), 2, "one of them decided: {notes:?}");
    let samples = one.store.rollout_samples(&ONE.parse().unwrap(), 1).await.unwrap();
    assert_eq!(samples.iter().filter(|sample| sample.side == Side::Next).count(), 2);
    one.store.close().await;
    other.store.close().await;
}

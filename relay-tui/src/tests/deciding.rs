//! Decisions about providers and rollouts by key: what each asks first, what it sends, and who may.

use super::models::{failing, models};
use super::rooms::providers;
use super::world::{SMALL, World};
use crate::keymap::Code;
use crate::model::Screen;
use crate::model::call::{Call, Outcome, Verb};
use crate::model::data::{Role, Rows};
use crate::model::link::{LinkState, Stream};
use crate::model::providers::ProviderState;
use crate::model::rollouts::RolloutState;
use crate::msg::{Ask, Cmd, Told, Update};

pub(super) fn calls(cmds: &[Cmd]) -> Vec<Call> {
    let sent = cmds.iter().filter_map(|cmd| match cmd {
        Cmd::Link(Ask::Call(call)) => Some(call.clone()),
        _ => None,
    });
    sent.collect()
}

pub(super) fn on_provider(role: Role, name: &str) -> World {
    let mut world = World::as_role(SMALL, role);
    world.go(Screen::Providers);
    let id = providers().into_iter().find(|provider| provider.name == name).unwrap().id;
    assert!(world.model.providers.select(&id));
    world
}

pub(super) fn on_model(role: Role, name: &str) -> World {
    let mut world = World::as_role(SMALL, role);
    world.go(Screen::Models);
    assert!(world.model.models.select(name));
    world
}

fn footer(world: &World) -> String {
    world.text().lines().last().unwrap_or_default().to_owned()
}

/// Types a name and a reason into the open question and presses its button.
fn by_name(world: &mut World, name: &str, reason: &str) -> Vec<Call> {
    world.settle().keys(name);
    world.press(Code::Enter);
    world.keys(reason);
    world.press(Code::Tab);
    world.press(Code::Tab);
    let cmds = world.press(Code::Enter);
    calls(&cmds)
}

#[test]
fn a_pending_provider_is_approved_with_y_after_its_evidence_was_shown() {
    let mut world = on_provider(Role::Operator, "ann-4090");
    world.pass(1_000);
    assert!(footer(&world).contains("a approve  X reject"), "{}", footer(&world));
    world.keys("a");
    let page = world.text();
    for evidence in ["Approve ann-4090?", "qwen3-32b", "198.2 tok/s, 0 of 56 requests failed"] {
        assert!(page.contains(evidence), "no '{evidence}' in {page}");
    }
    world.settle();
    assert!(calls(&world.press(Code::Enter)).is_empty(), "the focus is on Cancel");
    world.keys("a");
    let cmds = world.settle().keys("y");
    let [call] = &calls(&cmds)[..] else { panic!("{cmds:?}") };
    assert_eq!(
        (&call.verb, call.object.as_str(), call.expected_version),
        (&Verb::Approve, "prov_ee410c1d00000000", 4)
    );
    assert!(world.text().contains("...       ann-4090"), "{}", world.text());
    world.tell(Told::Ended { no: call.no, outcome: Outcome::Done });
    assert!(world.text().contains("approve ann-4090: done"));
}

#[test]
fn a_rejection_needs_its_name_and_a_reason_that_the_provider_sees() {
    let mut world = on_provider(Role::Operator, "ann-4090");
    world.keys("X");
    assert!(world.text().contains("it sees the reason"), "{}", world.text());
    assert!(by_name(&mut world, "ann-4090", "").is_empty(), "no reason");
    world.press(Code::Esc);
    world.keys("X");
    assert!(by_name(&mut world, "ann-409", "runs behind a proxy").is_empty(), "not its name");
    world.press(Code::Esc);
    world.keys("X");
    let sent = by_name(&mut world, "ann-4090", "runs behind a proxy");
    assert_eq!((&sent[0].verb, sent[0].reason.as_str()), (&Verb::Reject, "runs behind a proxy"));
}

#[test]
fn a_serving_provider_is_suspended_by_name_and_told_how_much_runs_there() {
    let mut world = on_provider(Role::Operator, "nl-rack-2");
    assert!(footer(&world).contains("S suspend"), "{}", footer(&world));
    world.press(Code::Enter);
    let limits = "limits      4 at once each, only qwen3-32b, from $0.2800 a";
    assert!(world.text().contains(limits), "{}", world.text());
    world.press(Code::Esc);
    world.keys("S");
    assert!(world.text().contains("Now 5 running of 8 slots."), "{}", world.text());
    let sent = by_name(&mut world, "nl-rack-2", "answers differ");
    assert_eq!((&sent[0].verb, sent[0].expected_version), (&Verb::Suspend, 4));
}

#[test]
fn a_rejected_provider_is_reconsidered_with_a_reason() {
    let mut world = on_provider(Role::Operator, "nobody");
    world.keys("u");
    world.settle().keys("they moved");
    world.press(Code::Tab);
    world.press(Code::Tab);
    let sent = calls(&world.press(Code::Enter));
    assert_eq!((&sent[0].verb, sent[0].reason.as_str()), (&Verb::Reconsider, "they moved"));
}

/// Each decision where it may not be taken: said in words, and nothing is sent.
#[test]
fn what_a_providers_state_forbids_is_said_and_not_sent() {
    for (name, key, why) in [
        ("attic", 'a', "its evidence is not complete yet"),
        ("fresh", 'a', "its evidence is not complete yet"),
        ("nobody", 'a', "reconsider it first"),
        ("nl-rack-2", 'X', "suspend it first"),
        ("ann-4090", 'S', "ann-4090 is pending"),
        ("former", 'X', "it has left"),
        ("ann-4090", 'u', "ann-4090 is pending"),
    ] {
        let mut world = on_provider(Role::Admin, name);
        let cmds = world.keys(&key.to_string());
        assert!(calls(&cmds).is_empty() && world.model.overlay.is_none(), "{name} {key}");
        assert!(world.text().contains(why), "{name} {key}: no '{why}' in {}", world.text());
    }
}

#[test]
fn a_viewer_and_a_cut_link_decide_nothing_about_providers_or_rollouts() {
    for keys in ["a", "X", "S", "u"] {
        let mut world = on_provider(Role::Viewer, "ann-4090");
        assert!(!footer(&world).contains("approve"), "{}", footer(&world));
        assert!(calls(&world.keys(keys)).is_empty() && world.model.overlay.is_none(), "{keys}");
    }
    for keys in ["a", "h", "u", "X", "n"] {
        let mut world = on_model(Role::Viewer, "qwen3-32b");
        assert!(!footer(&world).contains("advance"), "{}", footer(&world));
        assert!(calls(&world.keys(keys)).is_empty() && world.model.overlay.is_none(), "{keys}");
        assert!(world.text().contains("needs the role operator"), "{}", world.text());
    }
    let mut world = on_provider(Role::Operator, "ann-4090");
    world.keys("a");
    world.settle();
    world.link(LinkState::Stale);
    assert!(calls(&world.keys("y")).is_empty());
    assert!(world.text().contains("nothing was sent"), "{}", world.text());
    assert!(calls(&world.keys("a")).is_empty() && world.model.overlay.is_none());
}

#[test]
fn a_decision_about_a_provider_that_moved_on_is_a_conflict_that_is_told() {
    let mut world = on_provider(Role::Operator, "ann-4090");
    world.keys("a");
    let cmds = world.settle().keys("y");
    let no = calls(&cmds)[0].no;
    let mut moved = providers().remove(0);
    moved.state = ProviderState::Probing;
    moved.version = 5;
    let rows = Rows::Delta { changed: vec![moved], removed: Vec::new() };
    world.data(Stream::Providers, Update::Providers(rows));
    world.tell(Told::Ended { no, outcome: Outcome::Conflict("version 5, expected 4".into()) });
    assert!(world.text().contains("it has changed meanwhile: version 5, expected 4"));
    assert!(!footer(&world).contains("a approve"), "{}", footer(&world));
}

#[test]
fn the_evidence_follows_the_selection_with_the_next_second() {
    let mut world = on_provider(Role::Operator, "ann-4090");
    world.pass(1_000);
    world.keys("jjj");
    assert!(world.text().contains("- ann-4090 -"), "{}", world.text());
    world.pass(1_000);
    let page = world.text();
    assert!(page.contains("- attic -") && page.contains("1 of 8 requests failed"), "{page}");
}

#[test]
fn a_step_is_advanced_with_y_and_the_last_one_by_name() {
    let mut world = on_model(Role::Operator, "qwen3-32b");
    world.keys("a");
    let page = world.text();
    assert!(page.contains("r4 gets 25% of the requests, not 10%."), "{page}");
    assert!(page.contains("! too few requests to judge by"), "why it waits is said: {page}");
    let cmds = world.settle().keys("y");
    let [call] = &calls(&cmds)[..] else { panic!("{cmds:?}") };
    assert_eq!(
        (&call.verb, call.object.as_str(), call.name.as_str(), call.expected_version),
        (&Verb::Advance, "ro_00000000000000a4", "qwen3-32b", 3)
    );
    assert!(world.text().contains("...         qwen3-32b"), "{}", world.text());

    let mut row = failing();
    row.rollout.as_mut().unwrap().step = 3;
    let rows = Rows::Delta { changed: vec![row], removed: Vec::new() };
    let mut world = on_model(Role::Operator, "qwen3-32b");
    world.data(Stream::Models, Update::Models(rows));
    world.keys("a");
    let page = world.text();
    assert!(page.contains("! 95th percentile of the first content 980 ms"), "{page}");
    assert!(calls(&world.settle().keys("y")).is_empty(), "the last step asks for the name");
    world.press(Code::Esc);
    world.keys("a");
    let sent = by_name(&mut world, "qwen3-32b", "looked at it");
    assert_eq!((&sent[0].verb, sent[0].reason.as_str()), (&Verb::Advance, "looked at it"));
}

#[test]
fn a_rollout_is_held_at_once_resumed_with_y_and_rolled_back_by_name() {
    let mut world = on_model(Role::Operator, "qwen3-32b");
    assert!(footer(&world).contains("a advance"), "{}", footer(&world));
    assert!(calls(&world.keys("h")).is_empty());
    assert!(world.text().contains("it is paused already"), "{}", world.text());
    world.keys("u");
    let cmds = world.settle().keys("y");
    assert_eq!(calls(&cmds)[0].verb, Verb::Resume);

    let mut running = models().remove(1);
    running.rollout.as_mut().unwrap().state = RolloutState::Running;
    let rows = Rows::Delta { changed: vec![running], removed: Vec::new() };
    let mut world = on_model(Role::Operator, "qwen3-32b");
    world.data(Stream::Models, Update::Models(rows));
    let cmds = world.keys("h");
    assert_eq!(calls(&cmds)[0].verb, Verb::Hold);
    world.model.calls.clear();
    world.keys("X");
    assert!(world.text().contains("r3 serves all from now on"), "{}", world.text());
    assert!(by_name(&mut world, "qwen3-32b", "").is_empty(), "no reason");
    world.press(Code::Esc);
    world.keys("X");
    let sent = by_name(&mut world, "qwen3-32b", "slower than promised");
    assert_eq!((&sent[0].verb, sent[0].reason.as_str()), (&Verb::RollBack, "slower than promised"));
}

#[test]
fn a_rollout_that_cannot_be_decided_says_why() {
    for (name, key, why) in [
        ("qwen3-32b", 'n', "a rollout to revision 4 is open"),
        ("llama-3.3", 'n', "it has no other revision"),
        ("bge-m3", 'a', "bge-m3 has no open rollout"),
        ("bge-m3", 'X', "bge-m3 has no open rollout"),
    ] {
        let mut world = on_model(Role::Operator, name);
        assert!(calls(&world.keys(&key.to_string())).is_empty(), "{name} {key}");
        assert!(world.text().contains(why), "{name} {key}: no '{why}' in {}", world.text());
    }
}

//! Forms about providers, revisions and rollouts: what they are filled with, what is wrong, what they
//! send.

use super::deciding::{calls, on_model, on_provider};
use super::world::World;
use crate::keymap::Code;
use crate::model::call::{
    Call, Canaries, GateLimit, ProviderBounds, RevisionDraft, RolloutStart, Verb,
};
use crate::model::data::Role;
use crate::model::rollouts::GateKind;

/// Puts a text in the place of what stands in the focused field.
fn put(world: &mut World, text: &str) {
    for _ in 0..40 {
        world.press(Code::Backspace);
    }
    world.keys(text);
}

/// Fills in the fields of an open form from the first on; `None` leaves one as it is. Then presses
/// its button.
fn fill(world: &mut World, values: &[Option<&str>]) -> Vec<Call> {
    world.settle();
    for value in values {
        if let Some(text) = value {
            put(world, text);
        }
        world.press(Code::Enter);
    }
    let cmds = world.press(Code::Enter);
    calls(&cmds)
}

/// Back to the first field of a form whose button was refused.
fn again(world: &mut World) {
    world.press(Code::Tab);
}

#[test]
fn what_a_provider_may_do_is_filled_in_and_sent_whole() {
    let mut world = on_provider(Role::Operator, "nl-rack-2");
    world.keys("e");
    let page = world.text();
    for filled in ["Limits of nl-rack-2", "models     qwen3-32b", "at once    4", "floor USD  0.28"]
    {
        assert!(page.contains(filled), "no '{filled}' in {page}");
    }
    assert!(fill(&mut world, &[None, None, None, None]).is_empty());
    assert!(world.text().contains("that is how it is already"), "{}", world.text());
    again(&mut world);
    assert!(fill(&mut world, &[None, Some("many"), None, None]).is_empty());
    assert!(world.text().contains("at once is a number of requests"), "{}", world.text());
    again(&mut world);
    let sent = fill(&mut world, &[Some("all"), Some("2"), Some("1.5"), Some("they asked")]);
    let bounds =
        ProviderBounds { max_concurrency: 2, models: Vec::new(), price_floor_ncr: 1_500_000_000 };
    assert_eq!(sent[0].verb, Verb::LimitProvider(bounds));
    assert_eq!((sent[0].expected_version, sent[0].reason.as_str()), (4, "they asked"));
    let mut world = on_provider(Role::Operator, "former");
    world.keys("e");
    assert!(world.text().contains("it has left"), "{}", world.text());
}

#[test]
fn a_revision_is_made_of_what_serves_now_and_what_is_typed() {
    let mut world = on_model(Role::Operator, "qwen3-32b");
    world.keys("e");
    let page = world.text();
    assert!(page.contains("sgl-a=qwen3-32b,prov-3=qwen3-32b"), "{page}");
    assert!(page.contains("Backends that list it: sgl-a=org/qwen3-32b"), "{page}");
    let wrong = [None, Some("int8"), Some("3"), None, None, None];
    assert!(fill(&mut world, &wrong).is_empty());
    assert!(world.text().contains("temp is a number from 0 to 2"), "{}", world.text());
    again(&mut world);
    let right =
        [Some("sgl-b=qwen3-32b-int8, sgl-a"), None, Some("0.7"), Some("0.95"), Some("512"), None];
    let sent = fill(&mut world, &right);
    let draft = RevisionDraft {
        targets: vec![("sgl-b".into(), "qwen3-32b-int8".into()), ("sgl-a".into(), String::new())],
        note: "int8".into(),
        temperature_milli: Some(700),
        top_p_milli: Some(950),
        max_tokens: Some(512),
    };
    assert_eq!((&sent[0].verb, sent[0].object.as_str()), (&Verb::Revise(draft), "qwen3-32b"));
    // A model that nobody made a revision of: what every backend that lists it serves.
    let mut world = on_model(Role::Operator, "llama-3.3");
    world.keys("e");
    assert!(world.text().contains("vllm-a=org/llama-3.3"), "{}", world.text());
}

#[test]
fn a_rollout_starts_from_a_form_that_says_what_is_wrong() {
    let mut world = on_model(Role::Operator, "bge-m3");
    world.keys("n");
    assert!(world.text().contains("Start a rollout of bge-m3"), "{}", world.text());
    let mut values: [Option<&str>; 14] = [None; 14];
    for (at, text, why) in [
        (1, "10,5,100", "steps grow, and the last is 100"),
        (1, "2.5,50,100", ""),
        (2, "soon", "window s is not a whole number"),
        (2, "60", ""),
        (4, "2", ""),
        (5, "100.5", "'100.5' is not a percentage"),
        (5, "5", ""),
        (6, "0.05", ""),
        (7, "half", "errors pp is a number with at most four decimals, or off"),
        (7, "1.5", ""),
        (9, "off", ""),
        (12, "2+2?", "canaries are written ask => answer"),
    ] {
        values[at] = Some(text);
        if !why.is_empty() {
            assert!(fill(&mut world, &values).is_empty());
            assert!(world.text().contains(why), "no '{why}' in {}", world.text());
            again(&mut world);
        }
    }
    values[12] = Some("2+2? => 4; capital of France? => Paris");
    values[13] = Some("smaller");
    let sent = fill(&mut world, &values);
    let start = RolloutStart {
        revision: 2,
        steps_permille: vec![25, 500, 1_000],
        window_ms: 60_000,
        min_samples: 0,
        patience_windows: 2,
        shadow_permille: 50,
        alpha_ppm: 500,
        gates: vec![
            (GateKind::Errors, GateLimit::Ppm(15_000)),
            (GateKind::TokensPerSecond, GateLimit::Off),
        ],
        canaries: Canaries::Typed(vec![
            ("2+2?".into(), "4".into()),
            ("capital of France?".into(), "Paris".into()),
        ]),
    };
    assert_eq!((&sent[0].verb, sent[0].expected_version), (&Verb::StartRollout(start), 1));
    assert_eq!(sent[0].reason, "smaller");
}

#[test]
fn canaries_of_a_file_are_read_when_the_rollout_is_sent() {
    let mut world = on_model(Role::Operator, "bge-m3");
    world.keys("n");
    let mut values: [Option<&str>; 14] = [None; 14];
    values[12] = Some("@/etc/relay/canaries.json");
    let sent = fill(&mut world, &values);
    let Verb::StartRollout(start) = &sent[0].verb else { panic!("{sent:?}") };
    assert_eq!(start.canaries, Canaries::File("/etc/relay/canaries.json".into()));
}

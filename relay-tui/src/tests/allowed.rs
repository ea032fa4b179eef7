//! Whatever is pressed, pasted or clicked, and however the link comes and goes: nothing that changes
//! something leaves the console without the role, the link and the context that it needs.

use proptest::prelude::*;

use super::world::{SMALL, World};
use crate::keymap::{ACTIONS, Code, Press};
use crate::model::call::{Call, Verb};
use crate::model::data::Role;
use crate::model::layout::Size;
use crate::model::link::LinkState;
use crate::msg::{Ask, Cmd, Msg};

#[derive(Clone, Debug)]
enum Step {
    Key(char),
    Named(Code),
    /// An action by its name, through the palette.
    Asked(usize),
    Link(LinkState),
    Tick,
    Resize(u16, u16),
    Paste(String),
    Click(u16, u16),
}

fn step() -> impl Strategy<Value = Step> {
    let named = proptest::sample::select(vec![
        Code::Enter,
        Code::Esc,
        Code::Tab,
        Code::BackTab,
        Code::Up,
        Code::Down,
        Code::Left,
        Code::Right,
        Code::Backspace,
    ]);
    let link = proptest::sample::select(vec![
        LinkState::Connecting,
        LinkState::Live,
        LinkState::Lagging,
        LinkState::Stale,
        LinkState::Backoff { failures: 1, until_ms: 0 },
    ]);
    prop_oneof![
        8 => proptest::sample::select("1234569acuDtWneXSjkgGzpfsyYwhb/:? qa[]".chars().collect::<Vec<_>>())
            .prop_map(Step::Key),
        6 => named.prop_map(Step::Named),
        3 => (0..ACTIONS.len()).prop_map(Step::Asked),
        1 => link.prop_map(Step::Link),
        1 => Just(Step::Tick),
        1 => (1..200_u16, 1..60_u16).prop_map(|(width, height)| Step::Resize(width, height)),
        1 => any::<String>().prop_map(Step::Paste),
        1 => (0..200_u16, 0..60_u16).prop_map(|(x, y)| Step::Click(x, y)),
    ]
}

/// Lets a console live through steps: every change that it sent, and whether the link was live.
fn live_through(world: &mut World, steps: &[Step]) -> Vec<(Call, bool)> {
    let mut sent = Vec::new();
    for step in steps {
        // Dialogs listen.
        world.settle();
        let live = world.model.link.state.is_live();
        let cmds = match step {
            Step::Key(c) => world.send(Msg::Press(Press::char(*c))),
            Step::Named(code) => world.press(*code),
            Step::Asked(at) => {
                world.press(Code::Esc);
                world.keys(":");
                world.keys(ACTIONS[*at].id);
                world.press(Code::Enter)
            }
            Step::Link(state) => {
                world.link(*state);
                Vec::new()
            }
            Step::Tick => world.send(Msg::Tick),
            Step::Resize(width, height) => {
                world.send(Msg::Resized(Size { width: *width, height: *height }))
            }
            Step::Paste(text) => world.send(Msg::Paste(text.clone())),
            Step::Click(x, y) => world.send(Msg::Click { x: *x, y: *y }),
        };
        for cmd in cmds {
            if let Cmd::Link(Ask::Call(call)) = cmd {
                sent.push((call, live));
                // Another one may go out on the same row.
                world.model.calls.clear();
            }
        }
        world.buffer();
    }
    sent
}

const fn needed(verb: &Verb) -> Role {
    match verb {
        Verb::CreateKey(_) | Verb::LimitKey(_) | Verb::RevokeKey => Role::Admin,
        Verb::Probe
        | Verb::Cordon
        | Verb::Uncordon
        | Verb::Drain
        | Verb::Weight(_)
        | Verb::Approve
        | Verb::Reject
        | Verb::Suspend
        | Verb::Reconsider
        | Verb::LimitProvider(_)
        | Verb::Revise(_)
        | Verb::StartRollout(_)
        | Verb::Advance
        | Verb::Hold
        | Verb::Resume
        | Verb::RollBack => Role::Operator,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_forbidden_or_stale_is_ever_sent(
        steps in proptest::collection::vec(step(), 0..50),
        role in proptest::sample::select(vec![Role::Viewer, Role::Operator, Role::Admin]),
        forced in any::<bool>(),
        production in any::<bool>(),
    ) {
        let mut world = World::as_role(SMALL, role);
        world.model.forced_read_only = forced;
        world.model.context.production = production;
        for (call, live) in live_through(&mut world, &steps) {
            prop_assert!(live, "over a link that is not live: {call:?}");
            prop_assert!(role >= needed(&call.verb), "as {role:?}: {call:?}");
            prop_assert!(!forced && !production, "read-only: {call:?}");
        }
    }
}

/// The property above is not empty: changes do go out.
#[test]
fn an_operator_with_a_live_link_does_change_things() {
    let steps: Vec<Step> = "3jjty".chars().map(Step::Key).collect();
    let sent = |role| live_through(&mut World::as_role(SMALL, role), &steps).len();
    assert_eq!((sent(Role::Operator), sent(Role::Viewer)), (1, 0));
}

//! Every screen as an operator sees it.

use std::collections::BTreeMap;

use super::world::{LARGE, SMALL, World, audit, customers, overview};
use crate::keymap::Code;
use crate::model::call::{Found, Outcome, Read, Secret};
use crate::model::data::{BackendState, Breaker, Role, Rows};
use crate::model::layout::Size;
use crate::model::link::{LinkState, Stream};
use crate::model::{GlyphSet, Model, Screen, ThemeName};
use crate::msg::{Cmd, Msg, Told, Update};

const HUGE: Size = Size { width: 200, height: 60 };

macro_rules! pages {
    ($($name:ident: $screen:expr, $size:expr, $world:ident;)*) => {$(
        #[test]
        fn $name() {
            let mut world = World::$world($size);
            world.go($screen);
            insta::assert_snapshot!(world.page());
        }
    )*};
}

pages! {
    overview_80x24_live: Screen::Overview, SMALL, live;
    overview_140x40_live: Screen::Overview, LARGE, live;
    overview_80x24_stale: Screen::Overview, SMALL, stale;
    overview_140x40_stale: Screen::Overview, LARGE, stale;
    overview_80x24_empty: Screen::Overview, SMALL, empty;
    overview_140x40_empty: Screen::Overview, LARGE, empty;
    backends_80x24_live: Screen::Backends, SMALL, live;
    backends_140x40_live: Screen::Backends, LARGE, live;
    backends_80x24_stale: Screen::Backends, SMALL, stale;
    backends_140x40_empty: Screen::Backends, LARGE, empty;
    gpus_80x24_live: Screen::Gpus, SMALL, live;
    gpus_140x40_live: Screen::Gpus, LARGE, live;
    gpus_200x60_live: Screen::Gpus, HUGE, live;
    gpus_80x24_stale: Screen::Gpus, SMALL, stale;
    gpus_140x40_empty: Screen::Gpus, LARGE, empty;
    providers_80x24_live: Screen::Providers, SMALL, live;
    providers_140x40_live: Screen::Providers, LARGE, live;
    providers_200x60_live: Screen::Providers, HUGE, live;
    providers_80x24_stale: Screen::Providers, SMALL, stale;
    providers_140x40_empty: Screen::Providers, LARGE, empty;
    models_80x24_live: Screen::Models, SMALL, live;
    models_140x40_live: Screen::Models, LARGE, live;
    models_200x60_live: Screen::Models, HUGE, live;
    models_80x24_stale: Screen::Models, SMALL, stale;
    models_140x40_empty: Screen::Models, LARGE, empty;
    keys_80x24_live: Screen::Keys, SMALL, live;
    keys_140x40_live: Screen::Keys, LARGE, live;
    keys_80x24_stale: Screen::Keys, SMALL, stale;
    keys_140x40_empty: Screen::Keys, LARGE, empty;
    events_80x24_live: Screen::Events, SMALL, live;
    events_140x40_live: Screen::Events, LARGE, live;
    events_80x24_stale: Screen::Events, SMALL, stale;
    events_80x24_empty: Screen::Events, SMALL, empty;
    overview_80x24_connecting: Screen::Overview, SMALL, new;
    overview_60x16_one_panel: Screen::Overview, Size { width: 60, height: 16 }, live;
    overview_200x60_live: Screen::Overview, HUGE, live;
    backends_200x60_live: Screen::Backends, HUGE, live;
    keys_200x60_live: Screen::Keys, HUGE, live;
    events_200x60_live: Screen::Events, HUGE, live;
    too_small_39x9: Screen::Overview, Size { width: 39, height: 9 }, live;
}

#[test]
fn overview_80x24_unicode() {
    let mut world = World::live(SMALL);
    world.model.glyphs = GlyphSet::Unicode;
    insta::assert_snapshot!(world.page());
}

#[test]
fn backends_140x40_braille() {
    let mut world = World::live(LARGE);
    world.model.glyphs = GlyphSet::Braille;
    world.go(Screen::Backends);
    insta::assert_snapshot!(world.page());
}

#[test]
fn audit_140x40() {
    let mut world = World::live(LARGE);
    world.go(Screen::Events).press(Code::Tab);
    world.tell(Told::Found(Found::Audit(audit())));
    insta::assert_snapshot!(world.page());
}

/// Models with one of them selected and its revisions beside it.
fn on_model(size: Size, name: &str) -> World {
    let mut world = World::live(size);
    world.go(Screen::Models);
    assert!(world.model.models.select(name));
    world.pass(1_000);
    world
}

#[test]
fn rollouts_side_by_side() {
    insta::assert_snapshot!("rollout_80x24_paused", on_model(SMALL, "qwen3-32b").page());
    insta::assert_snapshot!("rollout_140x40_paused", on_model(LARGE, "qwen3-32b").page());
    insta::assert_snapshot!("rollout_80x24_back", on_model(SMALL, "bge-m3").page());
}

#[test]
fn rollouts_are_decided_in_dialogs_80x24() {
    let mut world = on_model(SMALL, "qwen3-32b");
    world.keys("a");
    insta::assert_snapshot!("advance_asks_for_y_80x24", world.page());
    world.settle().press(Code::Esc);
    world.keys("X");
    insta::assert_snapshot!("roll_back_asks_for_name_and_reason_80x24", world.page());
    world.settle().press(Code::Esc);
    world.press(Code::Enter);
    insta::assert_snapshot!("a_model_in_full_80x24", world.page());
    let mut world = on_model(SMALL, "bge-m3");
    world.keys("n");
    insta::assert_snapshot!("a_new_rollout_80x24", world.page());
    let mut world = on_model(SMALL, "qwen3-32b");
    world.keys("e");
    insta::assert_snapshot!("a_new_revision_80x24", world.page());
}

#[test]
fn what_a_provider_may_do_80x24() {
    let mut world = World::live(SMALL);
    world.go(Screen::Providers);
    assert!(world.model.providers.select("prov_77e0d04b00000000"));
    world.keys("e");
    insta::assert_snapshot!(world.page());
}

/// A provider whose answers differ, and all that is known of it.
#[test]
fn a_provider_in_full_140x40() {
    let mut world = World::live(LARGE);
    world.go(Screen::Providers);
    assert!(world.model.providers.select("prov_5e0a779a00000000"));
    world.pass(1_000);
    insta::assert_snapshot!("provider_140x40_suspended", world.page());
    world.press(Code::Enter);
    insta::assert_snapshot!(world.page());
}

#[test]
fn help_80x24() {
    let mut world = World::as_role(SMALL, Role::Operator);
    world.go(Screen::Backends).keys("?");
    insta::assert_snapshot!(world.page());
}

#[test]
fn palette_80x24() {
    let mut world = World::as_role(SMALL, Role::Operator);
    world.keys(":re");
    insta::assert_snapshot!(world.page());
}

#[test]
fn cordon_asks_for_y_80x24() {
    let mut world = World::live(SMALL);
    world.go(Screen::Backends).keys("GGc");
    insta::assert_snapshot!(world.page());
}

#[test]
fn drain_asks_for_name_and_reason_80x24() {
    let mut world = World::live(SMALL);
    world.go(Screen::Backends).keys("D");
    // The first row is down; what it serves is served by nobody else.
    world.settle().keys("vllm-c");
    insta::assert_snapshot!(world.page());
}

#[test]
fn a_new_key_140x40() {
    let mut world = World::live(LARGE);
    world.go(Screen::Keys).keys("n");
    world.tell(Told::Found(Found::Customers(customers())));
    world.settle().keys("sro");
    insta::assert_snapshot!(world.page());
}

#[test]
fn a_secret_is_shown_once_80x24() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys).keys("n");
    world.tell(Told::Found(Found::Customers(customers())));
    world.settle().press(Code::Tab);
    world.keys("acme-two");
    for _ in 0..5 {
        world.press(Code::Enter);
    }
    let cmds = world.press(Code::Enter);
    let no = cmds
        .iter()
        .find_map(|cmd| match cmd {
            Cmd::Link(crate::msg::Ask::Call(call)) => Some(call.no),
            _ => None,
        })
        .expect("the form is complete");
    let secret = Secret("relay_sk_0123456789abcdefghijklmnopqrstuvwxyz".into());
    world.tell(Told::Ended { no, outcome: Outcome::KeyMade { name: "acme-two".into(), secret } });
    insta::assert_snapshot!(world.page());
    world.settle().press(Code::Enter);
    assert!(world.text().contains("relay_sk_0123456789abc"), "a stray enter took it away");
    world.press(Code::Esc);
    assert!(!world.text().contains("relay_sk_0123456789abc"));
    assert!(!format!("{:?}", world.model).contains("relay_sk_0123456789abc"));
}

#[test]
fn a_row_in_full_80x24() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys).press(Code::Enter);
    insta::assert_snapshot!(world.page());
}

#[test]
fn plain_pages_for_readers_and_scripts() {
    let world = World::live(SMALL);
    for screen in Screen::ALL {
        let page = crate::view::plain(&world.model, screen);
        let page = format!("{}\n{page}", screen.title());
        insta::assert_snapshot!(format!("plain_{}", screen.word()), page);
        assert!(!page.lines().any(|line| line.ends_with(' ')));
    }
    let empty = World::empty(SMALL);
    insta::assert_snapshot!("plain_empty", crate::view::plain(&empty.model, Screen::Overview));
}

#[test]
fn a_stream_that_is_missing_says_so() {
    let mut world = World::new(SMALL);
    world.link(LinkState::Live);
    world.go(Screen::Keys);
    world.tell(Told::Missing { stream: Stream::Keys, why: "this relayd does not have it".into() });
    assert!(world.text().contains("keys: this relayd does not have it"));
    world.tell(Told::Found(Found::Failed(Read::Audit, "not connected".into())));
}

/// States that must look different when colour is gone.
#[test]
fn in_mono_no_two_states_look_alike() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut look = |what: String, world: &mut World| {
        world.model.theme = ThemeName::Mono;
        let page = world.buffer();
        let looks: String = page
            .content
            .iter()
            .map(|cell| format!("{}{:?}", cell.symbol(), cell.modifier))
            .collect();
        assert!(page.content.iter().all(|cell| cell.fg == ratatui::style::Color::Reset));
        if let Some(other) = seen.insert(looks, what.clone()) {
            panic!("{what} looks like {other}");
        }
    };
    for state in [
        BackendState::Up,
        BackendState::Down,
        BackendState::Loading,
        BackendState::Unknown,
        BackendState::Cordoned,
        BackendState::Draining,
        BackendState::Drained,
    ] {
        for breaker in [Breaker::Closed, Breaker::HalfOpen, Breaker::Open] {
            let mut world = World::live(SMALL);
            let mut row = super::world::backend("x", "m", state, 1);
            row.breaker = breaker;
            world.data(Stream::Backends, Update::Backends(Rows::Snapshot(vec![row])));
            world.go(Screen::Backends);
            look(format!("{state:?} {breaker:?}"), &mut world);
        }
    }
    for (state, severity) in [
        (LinkState::Connecting, 0),
        (LinkState::Live, 1),
        (LinkState::Lagging, 2),
        (LinkState::Stale, 3),
        (LinkState::Backoff { failures: 1, until_ms: 70_000 }, 4),
    ] {
        let mut world = World::live(SMALL);
        world.link(state);
        look(format!("link {severity}"), &mut world);
    }
    for (what, change) in [
        ("paused", (|model: &mut Model| model.paused = Some(2)) as fn(&mut Model)),
        ("read-only", |model| model.forced_read_only = true),
        ("unlocked", |model| {
            model.context.production = true;
            model.unlocked_until_ms = Some(model.now.mono_ms + 600_000);
        }),
    ] {
        let mut world = World::live(SMALL);
        change(&mut world.model);
        look(what.into(), &mut world);
    }
}

#[test]
fn every_screen_draws_at_every_size() {
    for (width, height) in
        (1..160).step_by(13).flat_map(|w| (1..50).step_by(7).map(move |h| (w, h)))
    {
        let mut world = World::live(Size { width, height });
        for screen in Screen::ALL {
            world.go(screen);
            for overlay in ["", "?", ":", "n", "D", "e", "X", "b", "a", "u"] {
                world.press(Code::Esc);
                world.keys(overlay);
                world.buffer();
                world.settle().press(Code::Esc);
            }
        }
    }
}

/// Whatever a daemon says, nothing that acts reaches the terminal.
#[test]
fn no_page_holds_a_character_that_acts() {
    let mut world = World::live(LARGE);
    let mut evil = overview();
    if let Some(attention) = &mut evil.attention {
        attention[0].text = crate::text::clean("\x1b]0;owned\x07\u{202e}evil\r\n\x1b[2J");
    }
    world.data(Stream::Overview, Update::Overview(evil));
    world.send(Msg::Paste("\x1b[31m".into()));
    world.keys("/");
    world.send(Msg::Paste("\x1b[31m".into()));
    for screen in Screen::ALL {
        world.press(Code::Esc);
        world.go(screen);
        let text = world.text();
        assert!(text.chars().all(|c| c == '\n' || crate::text::is_plain(c)), "{screen:?}");
    }
}

/// The pictures of the README are these pages: who changes one draws it there again.
#[test]
fn the_pictures_of_the_readme_are_what_is_drawn() {
    let readme = include_str!("../../../README.md");
    let mut paused = on_model(SMALL, "qwen3-32b");
    for (name, world) in [
        ("GPUs", World::live(SMALL).go(Screen::Gpus)),
        ("Providers", World::live(SMALL).go(Screen::Providers)),
        ("Models", &mut paused),
    ] {
        let page = world.text();
        assert!(readme.contains(&format!("```text\n{page}```")), "{name} is drawn so now:\n{page}");
    }
}

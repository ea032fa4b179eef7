//! Behaviour by key: what reaches the daemon, and what must not.

use super::world::{LARGE, SMALL, World, backend, customers, event, keys};
use crate::keymap::{ACTIONS, Code, Level, Press};
use crate::model::Screen;
use crate::model::call::{Call, Found, NewKey, Outcome, Verb};
use crate::model::data::{BackendState, Role, Rows, Severity};
use crate::model::layout::Panel;
use crate::model::link::{LinkState, Stream};
use crate::msg::{Ask, Cmd, Msg, Told, Update};

fn calls(cmds: &[Cmd]) -> Vec<&Call> {
    cmds.iter()
        .filter_map(|cmd| match cmd {
            Cmd::Link(Ask::Call(call)) => Some(call),
            _ => None,
        })
        .collect()
}

/// A world on Backends with `vllm-a` selected.
fn on_backend(role: Role) -> World {
    let mut world = World::as_role(SMALL, role);
    world.go(Screen::Backends);
    assert!(world.model.backends.select("vllm-a"));
    world
}

#[test]
fn a_probe_goes_out_at_once_and_its_row_waits() {
    let mut world = on_backend(Role::Operator);
    let cmds = world.keys("t");
    let [call] = calls(&cmds)[..] else { panic!("{cmds:?}") };
    assert_eq!(
        (&call.verb, call.object.as_str(), call.expected_version),
        (&Verb::Probe, "vllm-a", 7)
    );
    assert!(world.text().contains("...      vllm-a"), "{}", world.text());
    assert!(calls(&world.keys("t")).is_empty(), "twice at once");
    assert!(world.text().contains("probe has no answer yet"));
    world.tell(Told::Ended { no: call.no, outcome: Outcome::Done });
    assert!(world.text().contains("probe vllm-a: done"));
}

#[test]
fn a_cordon_needs_y_and_enter_alone_does_not_do() {
    let mut world = on_backend(Role::Operator);
    world.keys("c");
    world.settle();
    assert!(calls(&world.press(Code::Enter)).is_empty(), "the focus is on Cancel");
    assert!(world.model.overlay.is_none());
    world.keys("c");
    let cmds = world.settle().keys("y");
    assert_eq!(calls(&cmds)[0].verb, Verb::Cordon);
}

#[test]
fn what_was_typed_ahead_confirms_nothing() {
    let mut world = on_backend(Role::Operator);
    assert!(calls(&world.keys("cyyyy")).is_empty());
    assert!(world.model.overlay.is_some());
    world.pass(299);
    assert!(calls(&world.keys("y")).is_empty());
    world.pass(1);
    assert_eq!(calls(&world.keys("y")).len(), 1);
}

#[test]
fn a_drain_needs_the_name_typed_and_a_reason() {
    let mut world = on_backend(Role::Operator);
    world.keys("D");
    world.settle();
    // A paste is no typing.
    world.send(Msg::Paste("vllm-a".into()));
    let to_button = |world: &mut World| {
        for _ in 0..3 {
            world.press(Code::Tab);
        }
    };
    to_button(&mut world);
    assert!(calls(&world.press(Code::Enter)).is_empty());
    world.keys("vllm-a");
    to_button(&mut world);
    assert!(calls(&world.press(Code::Enter)).is_empty(), "no reason yet");
    world.press(Code::Tab);
    world.keys("new driver");
    world.press(Code::Tab);
    world.press(Code::Tab);
    let cmds = world.press(Code::Enter);
    let [call] = calls(&cmds)[..] else { panic!("{cmds:?}") };
    assert_eq!((&call.verb, call.reason.as_str()), (&Verb::Drain, "new driver"));
}

#[test]
fn a_link_that_breaks_under_an_open_dialog_sends_nothing() {
    let mut world = on_backend(Role::Operator);
    world.keys("c");
    world.settle();
    world.link(LinkState::Stale);
    assert!(calls(&world.keys("y")).is_empty());
    assert!(world.text().contains("nothing was sent"));
}

#[test]
fn a_weight_is_a_number_from_0_to_1000() {
    let mut world = on_backend(Role::Operator);
    world.keys("W");
    world.settle().keys("2000");
    world.press(Code::Enter);
    assert!(calls(&world.press(Code::Enter)).is_empty());
    assert!(world.text().contains("the weight is a number from 0 to 1000"));
    world.press(Code::Tab);
    world.send(Msg::Press(Press::ctrl('u')));
    world.keys("50");
    world.press(Code::Enter);
    let cmds = world.press(Code::Enter);
    assert_eq!(calls(&cmds)[0].verb, Verb::Weight(50));
}

#[test]
fn a_key_is_made_for_the_customer_that_was_found() {
    let mut world = World::live(LARGE);
    world.go(Screen::Keys);
    let cmds = world.keys("n");
    assert!(matches!(cmds[0], Cmd::Link(Ask::Read(crate::model::call::Read::Customers))));
    world.tell(Told::Found(Found::Customers(customers())));
    world.settle().keys("sro");
    world.press(Code::Enter);
    world.keys("shop-two");
    world.press(Code::Enter);
    world.keys("600");
    for _ in 0..3 {
        world.press(Code::Enter);
    }
    world.keys("12.5");
    world.press(Code::Enter);
    let cmds = world.press(Code::Enter);
    let new = NewKey {
        customer_id: "cus-2".into(),
        name: "shop-two".into(),
        limits: crate::model::data::Limits { direct: Some(600), ..Default::default() },
        budget_ncr: Some(12_500_000_000),
    };
    assert_eq!(calls(&cmds)[0].verb, Verb::CreateKey(new));
    assert_eq!(calls(&cmds)[0].expected_version, 0);
}

#[test]
fn revoking_carries_the_version_that_was_seen_and_a_conflict_is_told() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys).keys("X");
    world.settle().keys("acme-prod");
    world.press(Code::Enter);
    world.keys("leaked");
    world.press(Code::Tab);
    world.press(Code::Tab);
    let cmds = world.press(Code::Enter);
    let [call] = calls(&cmds)[..] else { panic!("{cmds:?}") };
    assert_eq!(
        (&call.verb, call.object.as_str(), call.expected_version),
        (&Verb::RevokeKey, "key-1", 3)
    );
    let outcome = Outcome::Conflict("version 4, expected 3".into());
    world.tell(Told::Ended { no: call.no, outcome });
    assert!(world.text().contains("version 4, expected 3"));
}

#[test]
fn a_lost_answer_is_unknown_until_the_audit_log_says() {
    let mut world = on_backend(Role::Operator);
    let no = calls(&world.keys("t"))[0].no;
    world.tell(Told::Ended { no, outcome: Outcome::Unknown });
    assert!(world.text().contains("UNKNOWN"));
    assert!(world.text().contains("UNKNOWN? vllm-a"), "{}", world.text());
    world.tell(Told::Ended { no, outcome: Outcome::FoundDone });
    assert!(world.text().contains("probe vllm-a: it was done"));
    assert!(world.model.calls.is_empty());
}

/// Every verb, through every way of asking for it.
fn try_everything(world: &mut World) -> Vec<Call> {
    let mut sent = Vec::new();
    for screen in [Screen::Backends, Screen::Keys, Screen::Providers, Screen::Models] {
        for action in ACTIONS.iter().filter(|action| action.changes && action.visible_on(screen)) {
            world.model.overlay = None;
            world.go(screen);
            world.model.backends.select("vllm-a");
            world.model.providers.select("prov_ee410c1d00000000");
            world.model.models.select("qwen3-32b");
            let key = action.keys[0];
            sent.extend(world.send(Msg::Press(key)));
            world.settle();
            sent.extend(world.keys("y"));
            if action.level == Level::Form || action.level == Level::Name {
                world.press(Code::Esc);
            }
            // By name.
            sent.extend(world.keys(":"));
            sent.extend(world.keys(action.id));
            sent.extend(world.press(Code::Enter));
            world.settle();
            sent.extend(world.keys("y"));
            world.press(Code::Esc);
        }
    }
    calls(&sent).into_iter().cloned().collect()
}

#[test]
fn no_way_leads_past_a_role_a_context_or_a_cut_link() {
    assert!(!try_everything(&mut World::live(SMALL)).is_empty(), "the test can fail");
    assert!(try_everything(&mut World::as_role(SMALL, Role::Viewer)).is_empty());
    assert!(try_everything(&mut World::stale(SMALL)).is_empty());
    let mut forced = World::live(SMALL);
    forced.model.forced_read_only = true;
    assert!(try_everything(&mut forced).is_empty());
    let mut production = World::live(SMALL);
    production.model.context.production = true;
    assert!(try_everything(&mut production).is_empty());
    let mut operator = World::as_role(SMALL, Role::Operator);
    let sent = try_everything(&mut operator);
    let asks_little = |verb: &Verb| {
        matches!(verb, Verb::Probe | Verb::Cordon | Verb::Uncordon | Verb::Approve)
            || matches!(verb, Verb::Advance | Verb::Hold | Verb::Resume)
    };
    assert!(sent.iter().all(|call| asks_little(&call.verb)), "{sent:?}");
    assert!(sent.iter().any(|call| call.verb == Verb::Approve));
    assert!(sent.iter().any(|call| call.verb == Verb::Advance));
}

#[test]
fn forbidden_verbs_leave_the_footer() {
    let mut world = World::as_role(SMALL, Role::Viewer);
    let footer = |world: &World| world.text().lines().last().unwrap_or_default().to_owned();
    world.go(Screen::Backends);
    assert!(!footer(&world).contains("cordon"), "{}", footer(&world));
    let mut world = on_backend(Role::Operator);
    assert!(footer(&world).contains("W weight  c cordon"), "{}", footer(&world));
    assert!(!footer(&world).contains("uncordon"));
    world.link(LinkState::Stale);
    assert!(!footer(&world).contains("cordon"));
}

#[test]
fn a_production_context_is_unlocked_by_its_name_for_ten_minutes() {
    let mut world = on_backend(Role::Operator);
    world.model.context.production = true;
    assert!(world.text().contains("READ-ONLY"));
    world.keys(":unlock");
    world.press(Code::Enter);
    world.settle().keys("prod-us");
    world.press(Code::Enter);
    world.press(Code::Enter);
    assert!(world.text().contains("that is not prod-eu"), "{}", world.text());
    world.press(Code::Tab);
    world.send(Msg::Press(Press::ctrl('u')));
    world.keys("prod-eu");
    world.press(Code::Enter);
    world.press(Code::Enter);
    assert!(world.text().contains("UNLOCKED 10:00"), "{}", world.text());
    assert_eq!(calls(&world.keys("t")).len(), 1);
    world.pass(600_000);
    assert!(world.text().contains("READ-ONLY"), "{}", world.text());
}

#[test]
fn number_keys_go_and_screens_that_do_not_exist_have_none() {
    let mut world = World::live(SMALL);
    for (key, screen) in [
        ("3", Screen::Backends),
        ("4", Screen::Models),
        ("5", Screen::Keys),
        ("9", Screen::Events),
        ("7", Screen::Events),
        ("2", Screen::Gpus),
        ("6", Screen::Providers),
        ("1", Screen::Overview),
    ] {
        world.keys(key);
        assert_eq!(world.model.screen, screen, "{key}");
    }
    let cmds = world.keys("5");
    assert!(cmds.contains(&Cmd::Link(Ask::Watch(Screen::Keys.streams().to_vec()))));
}

#[test]
fn what_needs_a_person_leads_to_where_it_is_decided() {
    let mut world = World::live(SMALL);
    assert_eq!(world.model.focused(), Panel::Attention);
    world.press(Code::Enter);
    assert_eq!(world.model.screen, Screen::Backends);
    assert_eq!(world.model.backends.selected_id(), Some("vllm-c"));
    world.keys("1j");
    world.press(Code::Enter);
    assert_eq!(world.model.keys.selected_id(), Some("key-1"));
}

#[test]
fn the_list_narrows_while_a_filter_is_typed() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys).keys("/state:ok");
    assert!(world.text().contains("Keys 3 of 6"), "{}", world.text());
    assert!(world.text().lines().last().unwrap().starts_with(" / state:ok"));
    world.press(Code::Enter);
    world.keys("q");
    world.press(Code::Esc);
    assert_eq!(world.model.keys.shown_len(), 6);
}

#[test]
fn the_selection_follows_its_row_through_a_sort() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys).keys("jj");
    assert_eq!(world.model.keys.selected_id(), Some("key-3"));
    world.keys("sn");
    assert_eq!(world.model.keys.selected_id(), Some("key-3"));
    assert_eq!(world.model.keys.sort.field, "name");
    world.keys("s");
    assert!(world.text().lines().last().unwrap().starts_with(" sort c cost"));
    world.keys("n");
    assert!(world.model.keys.sort.descending);
}

#[test]
fn the_live_requests_of_the_selected_key_are_on_its_screen() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys);
    assert!(world.text().contains("Its live requests"), "{}", world.text());
    assert!(world.text().contains("prefill"));
    let mut mine = super::world::requests().remove(1);
    mine.id = "req-new".into();
    mine.tokens_out = 4_242;
    let rows = Rows::Delta { changed: vec![mine], removed: vec!["req-0001".into()] };
    world.data(Stream::Requests, Update::Requests(rows));
    assert!(
        world.text().contains("4.2k tk") && !world.text().contains("prefill"),
        "{}",
        world.text()
    );
}

#[test]
fn the_newest_request_is_on_top_until_somebody_moves() {
    let mut world = World::live(SMALL);
    let newest = |world: &mut World, id: &str, ms: i64| {
        let mut new = super::world::requests().remove(1);
        new.id = id.into();
        new.created_at_ms = super::world::NOON + ms;
        let rows = Rows::Delta { changed: vec![new], removed: Vec::new() };
        world.data(Stream::Requests, Update::Requests(rows));
    };
    newest(&mut world, "req-new", 1);
    assert_eq!(world.model.requests.selected_id(), Some("req-new"));
    world.press(Code::Tab);
    world.press(Code::Tab);
    world.keys("j");
    let chosen = world.model.requests.selected_id().map(str::to_owned);
    newest(&mut world, "req-newer", 2);
    assert_eq!(world.model.requests.selected_id().map(str::to_owned), chosen);
}

#[test]
fn pause_holds_the_data_and_not_the_keys() {
    let mut world = World::live(SMALL);
    world.keys("p");
    let rows = Rows::Snapshot(vec![backend("other", "m", BackendState::Up, 1)]);
    world.data(Stream::Backends, Update::Backends(rows));
    assert!(world.text().contains("PAUSED +1") && world.text().contains("vllm-a"));
    world.keys("3");
    assert_eq!(world.model.screen, Screen::Backends);
    assert!(world.keys("p").contains(&Cmd::Link(Ask::Again)));
}

#[test]
fn a_cut_leaves_a_mark_in_the_events_and_following_keeps_the_newest() {
    let mut world = World::stale(SMALL);
    world.link(LinkState::Live);
    world.go(Screen::Events);
    assert!(world.text().contains("this console was cut off 41s"), "{}", world.text());
    let new = event(918_234, 0, "backend.up", Severity::Info, "vllm-c", "back again");
    let rows = Rows::Delta { changed: vec![new], removed: Vec::new() };
    world.data(Stream::Events, Update::Events(rows));
    assert_eq!(world.model.events.selected_id(), Some("918234"));
    world.keys("j");
    assert!(world.text().contains("follow off"));
}

#[test]
fn copying_takes_the_id_or_the_row() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys);
    assert!(world.keys("y").contains(&Cmd::Copy("key-1".into())));
    let cmds = world.keys("Y");
    let Some(Cmd::Copy(json)) = cmds.first() else { panic!("{cmds:?}") };
    let row: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(row["name"], "acme-prod");
    assert_eq!(row["cost"], 80.0);
}

#[test]
fn leaving_asks_only_while_a_change_is_open() {
    let mut world = on_backend(Role::Operator);
    assert!(world.keys("q").contains(&Cmd::Quit));
    world.keys("t");
    assert!(!world.keys("q").contains(&Cmd::Quit));
    assert!(world.text().contains("Leave?"));
    let interrupt = Msg::Press(Press::ctrl('c'));
    assert!(!world.send(interrupt.clone()).contains(&Cmd::Quit));
    assert!(world.send(interrupt).contains(&Cmd::Quit), "twice always leaves");
}

#[test]
fn esc_never_quits_and_enter_is_no_verb() {
    let mut world = World::live(SMALL);
    for screen in Screen::ALL {
        world.go(screen);
        for code in [Code::Esc, Code::Enter, Code::Esc] {
            let cmds = world.press(code);
            assert!(!cmds.contains(&Cmd::Quit) && calls(&cmds).is_empty());
        }
    }
}

#[test]
fn clicks_select_rows_and_tabs() {
    let mut world = World::live(SMALL);
    let x = u16::try_from(world.text().lines().nth(1).unwrap().find("5 Keys").unwrap()).unwrap();
    world.send(Msg::Click { x: x + 2, y: 1 });
    assert_eq!(world.model.screen, Screen::Keys);
    let y = world.text().lines().position(|line| line.contains("nightly")).unwrap();
    world.send(Msg::Click { x: 10, y: u16::try_from(y).unwrap() });
    assert_eq!(world.model.keys.selected_id(), Some("key-3"));
    world.send(Msg::Wheel(-3));
    assert_eq!(world.model.keys.selected_id(), Some("key-1"));
}

#[test]
fn a_click_on_a_heading_sorts_by_it_and_another_turns_it_round() {
    let mut world = World::live(SMALL);
    world.go(Screen::Keys);
    let heading = world.text().lines().nth(3).unwrap().to_owned();
    let click = |world: &mut World, head: &str| {
        let x = u16::try_from(heading.find(head).unwrap()).unwrap();
        world.send(Msg::Click { x, y: 3 });
    };
    click(&mut world, "tokens");
    assert_eq!((world.model.keys.sort.field, world.model.keys.sort.descending), ("tokens", true));
    click(&mut world, "tokens");
    assert!(!world.model.keys.sort.descending);
    click(&mut world, "state");
    assert_eq!(world.model.keys.sort.field, "state");
    assert!(world.text().contains("state ^"), "{}", world.text());
}

#[test]
fn a_narrow_list_shows_its_other_columns_when_asked() {
    let mut world = World::live(SMALL);
    world.go(Screen::Backends);
    assert!(!world.text().contains("tokens out"));
    world.keys("w");
    let page = world.text();
    assert!(page.contains("engine") && page.contains("tokens out"), "{page}");
    assert!(page.contains("vllm-a"), "the name stays: {page}");
    world.keys("w");
    assert!(world.text().contains("weight"));
    world.go(Screen::Events).keys("w");
    assert!(world.text().contains("every column of this list is on the page"));
}

#[test]
fn five_thousand_keys_keep_their_place() {
    let mut world = World::live(LARGE);
    let many = (0..5_000).map(|no| {
        let mut key = keys().remove(0);
        key.id = format!("key-{no:05}");
        key.today.charged_ncr = i64::from(no);
        key
    });
    world.data(Stream::Keys, Update::Keys(Rows::Snapshot(many.collect())));
    world.go(Screen::Keys).keys("g");
    assert_eq!(world.model.keys.selected_id(), Some("key-04999"));
    world.keys("G");
    assert_eq!(world.model.keys.selected_id(), Some("key-00000"));
    assert!(world.text().contains("Keys 5000"));
}

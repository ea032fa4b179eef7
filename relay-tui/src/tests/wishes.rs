//! What an operator may want beside the screens: files, zones, colours, slow lines.

use super::world::{LARGE, SMALL, World};
use crate::keymap::Code;
use crate::model::link::{LinkState, SLOW_ROUND_TRIP_MS};
use crate::model::{Colours, Ink, Screen, ThemeName};
use crate::msg::{Cmd, Told};
use crate::zone::Zone;

fn exported(world: &mut World) -> (String, String) {
    world.keys(":export");
    world.press(Code::Enter);
    world.settle().press(Code::Enter);
    match world.press(Code::Enter).pop() {
        Some(Cmd::Export { file, text }) => (file, text),
        other => panic!("{other:?}: {}", world.text()),
    }
}

#[test]
fn events_are_exported_as_they_are_filtered() {
    let mut world = World::live(SMALL);
    world.go(Screen::Events).keys("/severity:crit");
    world.press(Code::Enter);
    let (file, text) = exported(&mut world);
    assert_eq!(file, "relay-events-20260302140731Z.jsonl");
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (rows[0]["kind"].as_str(), rows[0]["at"].as_str(), rows[0]["id"].as_str()),
        (Some("backend.down"), Some("2026-03-02T14:07:29Z"), Some("918233"))
    );
}

#[test]
fn an_empty_list_is_not_exported() {
    let mut world = World::empty(SMALL);
    world.go(Screen::Events).keys(":export");
    world.press(Code::Enter);
    assert!(world.text().contains("export: this list has no rows"), "{}", world.text());
}

#[test]
fn times_follow_the_zone_that_was_chosen() {
    let mut world = World::live(LARGE);
    world.model.local_zone = Zone::local(jiff::tz::TimeZone::fixed(jiff::tz::offset(2)));
    assert!(world.text().contains("14:07:31Z"));
    world.keys(":tz local");
    world.press(Code::Enter);
    let page = world.text();
    assert!(page.contains("16:07:29 backend.down") && !page.contains("14:07"), "{page}");
    assert!(page.lines().next().unwrap().ends_with("16:07:31"), "{page}");
    world.keys(":tz utc");
    world.press(Code::Enter);
    assert!(world.text().contains("14:07:31Z"));
}

#[test]
fn colours_of_ones_own_lie_over_a_theme_and_never_over_mono() {
    let mut world = World::live(SMALL);
    let warns = |world: &World| {
        world.buffer().content.iter().any(|cell| cell.fg == ratatui::style::Color::Indexed(208))
    };
    assert!(!warns(&world));
    world.model.colours = Colours { warn: Some(Ink::Numbered(208)), ..Colours::default() };
    assert!(warns(&world));
    world.model.theme = ThemeName::Mono;
    assert!(!warns(&world));
}

#[test]
fn the_first_failure_is_told_at_once_and_later_ones_when_they_last() {
    let refused = |failures| Told::State {
        state: LinkState::Backoff { failures, until_ms: 90_000 },
        problem: Some("http://relay:1 refuses connections".into()),
    };
    let mut world = World::new(SMALL);
    world.tell(refused(1));
    assert!(world.text().contains("refuses connections"), "{}", world.text());
    let mut world = World::live(SMALL);
    world.tell(refused(1));
    assert!(!world.text().contains("refuses connections"), "{}", world.text());
    world.tell(refused(3));
    assert!(world.text().contains("refuses connections"), "{}", world.text());
}

#[test]
fn a_long_round_trip_makes_the_line_a_slow_one() {
    let mut world = World::live(LARGE);
    world.tell(Told::RoundTrip { ms: SLOW_ROUND_TRIP_MS });
    assert!(!world.model.link.is_slow());
    world.tell(Told::RoundTrip { ms: SLOW_ROUND_TRIP_MS + 1 });
    assert!(world.model.link.is_slow());
    world.keys(":log link");
    world.press(Code::Enter);
    let page = world.text();
    assert!(page.contains("251 ms away") && page.contains("data every other second"), "{page}");
}

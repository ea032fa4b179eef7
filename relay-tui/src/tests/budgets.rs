//! Bytes to the terminal, counted at the painter.

use ratatui::buffer::Buffer;

use super::models::models;
use super::rooms::{hosts, providers};
use super::world::{LARGE, NOON, SMALL, World, backends, keys, overview, requests};
use crate::model::data::Rows;
use crate::model::layout::Size;
use crate::model::link::Stream;
use crate::model::{GlyphSet, Screen};
use crate::msg::{Msg, Update};
use crate::term::Painter;
use crate::view;

fn frame(painter: &mut Painter, world: &World) -> usize {
    let model = &world.model;
    painter.frame(model.size, |page: &mut Buffer| view::draw(model, page)).unwrap().len()
}

/// A painter that shows what the world shows.
fn shown(world: &World) -> Painter {
    let mut painter = Painter::new();
    frame(&mut painter, world);
    painter
}

/// Bytes that a page may cost.
#[derive(Clone, Copy)]
struct Budget {
    /// Every cell: at the start, after a resize, on `^l`.
    full: usize,
    /// A second in which only the clock and the ages move.
    idle: usize,
    /// One step through a list.
    press: usize,
    /// A second in which every number moves.
    worst: usize,
}

fn sizes() -> [(Size, Budget); 2] {
    [
        (SMALL, Budget { full: 5_000, idle: 100, press: 300, worst: 4_000 }),
        (LARGE, Budget { full: 9_000, idle: 150, press: 700, worst: 8_000 }),
    ]
}

#[test]
fn a_full_redraw_fits() {
    for (size, Budget { full, .. }) in sizes() {
        for screen in Screen::ALL {
            let mut world = World::live(size);
            world.go(screen);
            world.model.glyphs = GlyphSet::Unicode;
            let bytes = frame(&mut Painter::new(), &world);
            eprintln!("full redraw, {screen:?} {size:?}: {bytes} B");
            assert!(bytes <= full, "{screen:?} {size:?}: {bytes}");
        }
    }
}

#[test]
fn an_idle_second_fits() {
    for (size, Budget { idle, .. }) in sizes() {
        for screen in Screen::ALL {
            let mut world = World::empty(size);
            world.go(screen);
            let mut painter = shown(&world);
            let mut bytes = 0;
            for _ in 0..30 {
                world.pass(1_000);
                for stream in screen.streams() {
                    world.data(*stream, Update::Heartbeat { now_ms: world.now.wall_ms });
                }
                bytes += frame(&mut painter, &world);
            }
            eprintln!("idle second, {screen:?} {size:?}: {} B", bytes / 30);
            assert!(bytes / 30 <= idle, "{screen:?} {size:?}: {} a second", bytes / 30);
        }
    }
}

#[test]
fn an_unchanged_page_costs_nothing() {
    let world = World::live(LARGE);
    assert_eq!(frame(&mut shown(&world), &world), 0);
}

/// The median of 50 moves through a list: the bar, the row's details and its chart.
fn median_move(screen: Screen, size: Size, glyphs: GlyphSet) -> usize {
    let mut world = World::live(size);
    world.model.glyphs = glyphs;
    world.go(screen);
    let mut painter = shown(&world);
    let mut moves: Vec<usize> = (0..50)
        .map(|at| {
            world.keys(if at / 4 % 2 == 0 { "j" } else { "k" });
            frame(&mut painter, &world)
        })
        .collect();
    moves.sort_unstable();
    moves[25]
}

#[test]
fn moving_the_selection_fits() {
    for (size, Budget { press, .. }) in sizes() {
        for screen in Screen::ALL.into_iter().filter(|screen| *screen != Screen::Overview) {
            for glyphs in GlyphSet::ALL {
                let median = median_move(screen, size, glyphs);
                eprintln!("one key press, {screen:?} {size:?} {glyphs:?}: {median} B");
                assert!(median <= press, "{screen:?} {size:?} {glyphs:?}: {median}");
            }
        }
    }
}

/// Every number of every row moves.
fn storm(world: &mut World, second: u32) {
    let mut patch = overview();
    if let Some(traffic) = &mut patch.traffic {
        traffic.requests_per_ks += u64::from(second) * 1_373;
        traffic.tokens_in_per_ks += u64::from(second) * 91_321;
        traffic.in_flight += second;
        traffic.ttft_p50_ms += second * 7;
    }
    world.data(Stream::Overview, Update::Overview(patch));
    let mut fleet = backends();
    for backend in &mut fleet {
        backend.running = (backend.running + second * 7) % 64;
        backend.ttft_p95_ms += second * 13;
        backend.requests += u64::from(second) * 99;
    }
    world.data(Stream::Backends, Update::Backends(Rows::Snapshot(fleet)));
    let mut machines = hosts();
    for card in machines.iter_mut().flat_map(|host| &mut host.cards) {
        card.gpu_pct = card.gpu_pct.map(|used| (used + second * 37) % 101);
        card.memory_used_mib = card.memory_used_mib.map(|used| (used + 7_777) % 81_920);
        card.celsius = card.celsius.map(|celsius| 30 + (celsius + second * 7) % 60);
        card.power_mw = card.power_mw.map(|power| (power + second * 91_000) % 700_000);
    }
    world.data(Stream::Hosts, Update::Hosts(Rows::Snapshot(machines)));
    let mut owners = providers();
    for engine in owners.iter_mut().flat_map(|owner| &mut owner.engines) {
        engine.running = (engine.running + second * 3) % 8;
        for run in &mut engine.benchmarks {
            run.tokens_per_ks += u64::from(second) * 9_100;
        }
    }
    world.data(Stream::Providers, Update::Providers(Rows::Snapshot(owners)));
    let mut sold = models();
    for row in &mut sold {
        for traffic in &mut row.traffic {
            traffic.figures.requests += u64::from(second) * 31;
            traffic.figures.ttft_p95_ms += second * 17;
        }
        if let Some(rollout) = &mut row.rollout {
            rollout.to_figures.requests += u64::from(second) * 29;
            rollout.from_figures.requests += u64::from(second) * 290;
            rollout.to_figures.ttft_p95_ms += second * 11;
        }
    }
    world.data(Stream::Models, Update::Models(Rows::Snapshot(sold)));
    let mut all = keys();
    for key in &mut all {
        key.requests_per_ks += u64::from(second) * 777;
        key.today.charged_ncr += i64::from(second) * 123_456_789;
    }
    world.data(Stream::Keys, Update::Keys(Rows::Snapshot(all)));
    let mut running = requests();
    for request in &mut running {
        request.id = format!("{}-{second}", request.id);
        request.tokens_out += u64::from(second) * 31;
        request.created_at_ms = NOON + i64::from(second) * 1_000;
    }
    world.data(Stream::Requests, Update::Requests(Rows::Snapshot(running)));
}

#[test]
fn the_worst_second_fits() {
    for (size, Budget { worst, .. }) in sizes() {
        for screen in Screen::ALL {
            let mut world = World::live(size);
            world.go(screen);
            world.model.glyphs = GlyphSet::Unicode;
            let mut painter = shown(&world);
            let mut most = 0;
            for second in 1..20 {
                world.pass(1_000);
                storm(&mut world, second);
                most = most.max(frame(&mut painter, &world));
            }
            eprintln!("worst second, {screen:?} {size:?}: {most} B");
            assert!(most <= worst, "{screen:?} {size:?}: {most}");
        }
    }
}

#[test]
fn a_page_draws_only_the_rows_that_are_seen() {
    let mut world = World::live(LARGE);
    world.go(Screen::Keys);
    let few = world.text().lines().count();
    let many = (0..5_000).map(|no| {
        let mut key = keys().remove(0);
        key.id = format!("key-{no:05}");
        key
    });
    world.data(Stream::Keys, Update::Keys(Rows::Snapshot(many.collect())));
    world.send(Msg::Tick);
    assert_eq!(world.text().lines().count(), few);
    assert_eq!(world.model.keys.page(30).count(), 30);
}

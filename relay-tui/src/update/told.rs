//! What the link tells.

use std::collections::BTreeMap;

use crate::format;
use crate::model::call::{Found, Outcome, Read};
use crate::model::data::{Event, OverviewPatch, Rows, Severity};
use crate::model::gpus::{Grouping, Host};
use crate::model::link::{LinkState, Stream};
use crate::model::overlay::Overlay;
use crate::model::table::Move;
use crate::model::{Model, Screen};
use crate::msg::{Ask, Cmd, Told, Update};

/// Events that are kept; the oldest go first.
const EVENTS_MAX: usize = 2_000;

pub(super) fn told(model: &mut Model, told: Told) -> Vec<Cmd> {
    match told {
        Told::State { state, problem } => state_changed(model, state, problem),
        Told::Session(session) => {
            model.set_daemon_clock(session.now_ms);
            model.link.note(model.now.wall_ms, format!("connected as {}", session.operator));
            model.session = Some(session);
            model.link.missing.clear();
            model.dirty_input = true;
            Vec::new()
        }
        Told::Data { stream, bytes, update } => {
            model.link.heard.insert(stream, model.now.mono_ms);
            model.link.bytes_in += u64::try_from(bytes).unwrap_or(u64::MAX);
            data(model, update);
            Vec::new()
        }
        Told::Missing { stream, why } => {
            model.link.note(model.now.wall_ms, format!("{}: {why}", stream.word()));
            model.link.missing.insert(stream, why);
            model.dirty_data = true;
            Vec::new()
        }
        Told::Ended { no, outcome } => ended(model, no, outcome),
        Told::Found(found) => {
            self::found(model, found);
            Vec::new()
        }
        Told::RoundTrip { ms } => {
            model.link.round_trip_ms = Some(ms);
            let slow = if model.link.is_slow() { ": slow, data every other second" } else { "" };
            model.link.note(model.now.wall_ms, format!("round trip {ms} ms{slow}"));
            Vec::new()
        }
        Told::Note(text) => {
            model.link.note(model.now.wall_ms, text);
            Vec::new()
        }
    }
}

fn state_changed(model: &mut Model, state: LinkState, problem: Option<String>) -> Vec<Cmd> {
    let was = model.link.state;
    if was.is_live() && !state.is_live() {
        model.link.live_until = Some(model.now);
    }
    let line = match state {
        LinkState::Connecting => "connecting".to_owned(),
        LinkState::Live => "live".to_owned(),
        LinkState::Lagging => "lagging".to_owned(),
        LinkState::Stale => "stale".to_owned(),
        LinkState::Backoff { failures, until_ms } => format!(
            "attempt {failures} failed, next in {}: {}",
            format::freshness(until_ms.saturating_sub(model.now.mono_ms).try_into().unwrap_or(0)),
            problem.as_deref().unwrap_or("no reason given")
        ),
    };
    model.link.note(model.now.wall_ms, line);
    model.link.state = state;
    model.link.problem = problem.or(model.link.problem.take());
    model.dirty_input = true;
    if state == LinkState::Live {
        model.link.was_live = true;
        model.link.problem = None;
        if let Some(cut) = model.link.live_until.take()
            && model.events.loaded
        {
            cut_off(model, model.now.mono_ms.saturating_sub(cut.mono_ms));
        }
    }
    Vec::new()
}

/// Puts a line into the event tail where the console saw nothing.
fn cut_off(model: &mut Model, for_ms: u64) {
    let seq = model.events.all().iter().map(|event| event.seq).max().unwrap_or(0);
    let at_ms = model.daemon_now_ms();
    let for_ms = i64::try_from(for_ms).unwrap_or(i64::MAX);
    let event = Event {
        seq,
        // Above the event that it came after, below the next.
        id: format!("-cut-{at_ms}"),
        at_ms,
        kind: "console.cut".to_owned(),
        severity: Severity::Warning,
        subject: String::new(),
        text: format!("this console was cut off {}", format::age(for_ms)),
    };
    model.events.apply(Rows::Delta { changed: vec![event], removed: Vec::new() });
}

fn data(model: &mut Model, update: Update) {
    if let Update::Heartbeat { now_ms } = update {
        // A sign of life changes the age, which the next tick draws.
        model.set_daemon_clock(now_ms);
        return;
    }
    if let Some(count) = &mut model.paused {
        *count += 1;
        return;
    }
    model.dirty_data = true;
    match update {
        Update::Overview(patch) => overview(model, patch),
        Update::Hosts(rows) => hosts(model, rows),
        Update::Providers(rows) => model.arrange_providers(rows),
        Update::Models(rows) => model.arrange_models(rows),
        Update::Backends(rows) => {
            model.backends.apply(rows);
            if model.grouping == Grouping::Model && model.gpus.loaded {
                model.arrange_gpus();
            }
        }
        Update::Keys(rows) => model.keys.apply(rows),
        Update::Requests(rows) => {
            // Who has not moved sees the newest.
            let on_top = model.requests.position() == Some(0);
            model.requests.apply(rows);
            if on_top {
                model.requests.go(Move::First);
            }
        }
        Update::Events(rows) => events(model, rows),
        Update::EventsSkipped { before } => {
            let text = format!("events before {before} were skipped, asking again");
            model.link.note(model.now.wall_ms, text);
        }
        Update::Heartbeat { .. } => {}
    }
}

/// Hosts that are kept; what the daemon's own bound on a watch is.
const HOSTS_MAX: usize = crate::model::table::ROWS_MAX;

fn hosts(model: &mut Model, rows: Rows<Host>) {
    let (changed, removed) = match rows {
        Rows::Snapshot(all) => {
            model.hosts.clear();
            (all, Vec::new())
        }
        Rows::Delta { changed, removed } => (changed, removed),
    };
    for id in removed {
        model.hosts.remove(&id);
    }
    for host in changed {
        if model.hosts.len() < HOSTS_MAX || model.hosts.contains_key(&host.id) {
            model.hosts.insert(host.id.clone(), host);
        }
    }
    model.arrange_gpus();
}

fn overview(model: &mut Model, patch: OverviewPatch) {
    let overview = &mut model.overview;
    overview.loaded = true;
    if let Some(traffic) = patch.traffic {
        overview.traffic = traffic;
    }
    if let Some(money) = patch.money {
        overview.money = money;
    }
    if let Some(fleet) = patch.fleet {
        overview.fleet = fleet;
    }
    if let Some(mut attention) = patch.attention {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for item in &mut attention {
            let matter = seen.entry(item.subject.clone()).or_default();
            item.id = format!("{} {matter}", item.subject);
            *matter += 1;
        }
        // Who has not moved sees the most severe, also when it is new.
        let on_top = overview.attention.position() == Some(0);
        overview.attention.apply(Rows::Snapshot(attention));
        if on_top {
            overview.attention.go(Move::First);
        }
    }
}

/// A first page joins what is known when it overlaps it, so that a short cut loses no history.
fn events(model: &mut Model, rows: Rows<Event>) {
    let newest = model.events.all().iter().map(|event| event.seq).max();
    let changed = match rows {
        Rows::Snapshot(rows) => {
            let oldest = rows.iter().map(|event| event.seq).min();
            let joins = match (oldest, newest) {
                (Some(oldest), Some(newest)) => oldest <= newest.saturating_add(1),
                _ => false,
            };
            if !joins {
                model.events.apply(Rows::Snapshot(rows));
                return;
            }
            rows
        }
        Rows::Delta { changed, .. } => changed,
    };
    let too_many = (model.events.all().len() + changed.len()).saturating_sub(EVENTS_MAX);
    let mut removed = Vec::new();
    if too_many > 0 {
        let mut seqs: Vec<_> =
            model.events.all().iter().map(|event| (event.seq, event.id.clone())).collect();
        seqs.sort();
        // An eighth at once, so that a full list is not put in order for each event.
        removed = seqs.into_iter().take(too_many + EVENTS_MAX / 8).map(|(_, id)| id).collect();
    }
    model.events.apply(Rows::Delta { changed, removed });
    if model.follow {
        model.events.go(Move::First);
    }
}

fn ended(model: &mut Model, no: u64, outcome: Outcome) -> Vec<Cmd> {
    let Some(at) = model.calls.iter().position(|call| call.no == no) else { return Vec::new() };
    model.dirty_input = true;
    if outcome == Outcome::Unknown {
        model.calls[at].unknown = true;
        let call = &model.calls[at];
        let text = format!("{} {}: UNKNOWN, the answer was cut off", call.verb.word(), call.name);
        model.say(Severity::Critical, text);
        return Vec::new();
    }
    let call = model.calls.remove(at);
    let what = format!("{} {}", call.verb.word(), call.name);
    match outcome {
        Outcome::Done => model.say(Severity::Info, format!("{what}: done")),
        Outcome::KeyMade { name, secret } => {
            let opened_ms = model.now.mono_ms;
            model.overlay = Some(Overlay::Secret { name, secret, copied: false, opened_ms });
        }
        Outcome::Conflict(said) => {
            model.say(Severity::Warning, format!("{what}: it has changed meanwhile: {said}"));
        }
        Outcome::Refused(said) => model.say(Severity::Warning, format!("{what}: {said}")),
        Outcome::FoundDone => {
            let lost = if matches!(call.verb, crate::model::call::Verb::CreateKey(_)) {
                ", but its secret was cut off: revoke it and make another"
            } else {
                ""
            };
            model.say(Severity::Warning, format!("{what}: it was done{lost}"));
        }
        Outcome::FoundAbsent => {
            model.say(Severity::Warning, format!("{what}: it was NOT done, nothing is recorded"));
        }
        Outcome::Unknown => {}
    }
    if model.screen == Screen::Events {
        return vec![Cmd::Link(Ask::Read(Read::Audit))];
    }
    Vec::new()
}

fn found(model: &mut Model, found: Found) {
    model.dirty_data = true;
    match found {
        Found::Customers(customers) => model.customers = Some(Ok(customers)),
        Found::Audit(entries) => {
            model.audit_problem = None;
            model.audit.apply(Rows::Snapshot(entries));
        }
        Found::KeyUsage { key_id, rows } => {
            if model.key_usage.key_id == key_id {
                model.key_usage.rows = rows;
            }
        }
        Found::Failed(read, why) => match read {
            Read::Customers => model.customers = Some(Err(why)),
            Read::Audit => model.audit_problem = Some(why),
            Read::KeyUsage { .. } => {
                let text = format!("usage of the key: {why}");
                model.link.note(model.now.wall_ms, text);
            }
        },
    }
}

/// The streams of the screen that this daemon does not have, with the reason.
pub(crate) fn missing(model: &Model) -> Option<(Stream, &str)> {
    model
        .screen
        .streams()
        .iter()
        .find_map(|stream| Some((*stream, model.link.missing.get(stream)?.as_str())))
}

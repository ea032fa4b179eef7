//! The two lines on top: which daemon, how the link stands, who is here, what is wrong; the tabs.

use super::fits;
use super::pen::{Pen, Span, plain, span, width};
use super::theme::Tone;
use crate::format;
use crate::model::data::{Role, Severity};
use crate::model::layout::Area;
use crate::model::link::LinkState;
use crate::model::{Model, tabs};

pub(super) fn draw(pen: &mut Pen<'_>, model: &Model) {
    let top = Area { x: 0, y: 0, width: model.size.width, height: 1 };
    let right = right(model, top.width >= 120);
    let taken: u16 = right.iter().map(|span| width(&span.text)).sum();
    let left_area = Area { width: top.width.saturating_sub(taken + 1), ..top };
    let mut left = left(model, true);
    if !fits(left_area, &texts(&left)) {
        left = self::left(model, false);
    }
    pen.line(left_area, 0, &left);
    pen.line_right(top, 0, &right);
    tab_line(pen, model, Area { y: 1, ..top });
}

fn texts(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.text.as_str()).collect()
}

fn left(model: &Model, long: bool) -> Vec<Span> {
    let relay = model.session.as_ref().map_or("", |session| session.relay.as_str());
    let name = match (model.context.name.as_str(), relay) {
        ("", "") => model.context.addr.clone(),
        ("", relay) => relay.to_owned(),
        (context, _) => context.to_owned(),
    };
    let mut spans = vec![plain(" relay "), span(name, Tone::Strong), plain("  "), chip(model)];
    if let Some(held) = model.paused {
        spans.push(span(format!("  PAUSED +{held}"), Tone::Warn));
    }
    if let Some(session) = &model.session {
        let role = session.role.word();
        spans.push(plain(if long && model.size.width >= 120 {
            format!("  {} as {role}", session.operator)
        } else {
            format!("  {role}")
        }));
    }
    if long || model.is_read_only() || model.unlocked_ms().is_some() {
        spans.push(plain("  "));
        spans.push(read_only(model));
    }
    spans
}

/// `[LIVE 0.4s]`, `[LAG 4s]`, `[STALE 41s]`, `[RETRY 3 in 2s]`, `[CONNECTING]`.
fn chip(model: &Model) -> Span {
    let age = model.link.age_ms(model.screen.streams(), model.now).map_or_else(String::new, |ms| {
        format!(" {}", format::freshness(i64::try_from(ms).unwrap_or(i64::MAX)))
    });
    let cut_off = model.link.live_until.map_or_else(String::new, |cut| {
        let ms = model.now.mono_ms.saturating_sub(cut.mono_ms);
        format!("STALE {}, ", format::age(i64::try_from(ms).unwrap_or(i64::MAX)))
    });
    match model.link.state {
        LinkState::Connecting => span(format!("[{cut_off}CONNECTING]"), Tone::Warn),
        LinkState::Live => span(format!("[LIVE{age}]"), Tone::Good),
        LinkState::Lagging => span(format!("[LAG{age}]"), Tone::Warn),
        LinkState::Stale => span(format!("[STALE{age}]"), Tone::Alarm),
        LinkState::Backoff { failures, until_ms } => {
            let left = until_ms.saturating_sub(model.now.mono_ms).div_ceil(1_000);
            span(format!("[{cut_off}RETRY {failures} in {left}s]"), Tone::Alarm)
        }
    }
}

fn read_only(model: &Model) -> Span {
    if let Some(left) = model.unlocked_ms() {
        let seconds = left / 1_000;
        let text = format!("UNLOCKED {}:{:02}", seconds / 60, seconds % 60);
        return span(text, Tone::Alarm);
    }
    // A viewer changes nothing anyway.
    if !model.is_read_only() || model.session.as_ref().is_some_and(|s| s.role == Role::Viewer) {
        let tone = if model.is_read_only() { Tone::Warn } else { Tone::Quiet };
        return span(if model.is_read_only() { "ro:on" } else { "ro:off" }, tone);
    }
    span("READ-ONLY", Tone::Warn)
}

fn right(model: &Model, long: bool) -> Vec<Span> {
    let (critical, warnings) = model.alarms();
    let mut spans = Vec::new();
    if critical + warnings > 0 {
        let tone = Tone::from(if critical > 0 { Severity::Critical } else { Severity::Warning });
        spans.push(span(
            if long {
                format!("ALERTS {critical} crit {warnings} warn")
            } else {
                let all = critical + warnings;
                format!("{all} alert{}", if all == 1 { "" } else { "s" })
            },
            tone,
        ));
        spans.push(plain("  "));
    }
    let started = model.session.as_ref().map_or(0, |session| session.started_at_ms);
    if long && started > 0 {
        let up = format::age(model.daemon_now_ms().saturating_sub(started));
        spans.push(span(format!(" up {up}  "), Tone::Quiet));
    }
    spans.push(plain(format!("{} ", model.zone.stamp(model.daemon_now_ms()))));
    spans
}

fn tab_line(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let mut spans = vec![plain(" ")];
    for (screen, text) in tabs::texts(model) {
        let tone = if screen == model.screen { Tone::Selected } else { Tone::Plain };
        spans.push(span(text, tone));
        spans.push(plain(" "));
    }
    pen.line(area, 0, &spans);
}

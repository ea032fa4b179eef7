//! Who wants in, what was measured, who misbehaves: all that a decision needs, beside its keys.

use super::events::wrapped;
use super::reputation;
use crate::format;
use crate::model::Model;
use crate::model::columns::{self, Column};
use crate::model::layout::{Area, Panel};
use crate::model::providers::{Engine, Provider, ProviderState, Standing};
use crate::view::facts::{self, Fact, fact, toned};
use crate::view::glyphs::Glyphs;
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::theme::Tone;
use crate::view::{empty_line, framed, table};

/// Facts of a narrow page: up to what runs and the standing, so that measurements have room.
const NARROW_FACTS: usize = 9;

fn state_cell(model: &Model, provider: &Provider) -> Span {
    if let Some(call) = model.open_call(&provider.id) {
        return span(if call.unknown { "UNKNOWN?" } else { "..." }, Tone::Warn);
    }
    let tone = match provider.state {
        ProviderState::Approved if provider.reputation.standing == Standing::Probation => {
            Tone::Warn
        }
        ProviderState::Pending => Tone::Focus,
        ProviderState::Suspended => Tone::Warn,
        ProviderState::Rejected => Tone::Bad,
        ProviderState::Approved => Tone::Good,
        ProviderState::Probing | ProviderState::Joining | ProviderState::Left => Tone::Quiet,
    };
    span(provider.state_word(), tone)
}

/// `up`, or for how long there was none.
fn link_cell(model: &Model, provider: &Provider) -> Span {
    let serves = provider.state == ProviderState::Approved;
    match (provider.connected, provider.heard_at_ms) {
        (true, _) => span("up", Tone::Good),
        (false, 0) => span("never", Tone::Quiet),
        (false, heard) => {
            let age = format::age(model.daemon_now_ms().saturating_sub(heard));
            span(format!("down {age}"), if serves { Tone::Bad } else { Tone::Quiet })
        }
    }
}

pub(super) fn list(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let pending = model.providers.all().iter();
    let pending = pending.filter(|one| one.state == ProviderState::Pending).count();
    let title = format!("Providers {}", table::counted(&model.providers));
    let sort = table::state(pen, &model.providers, area.width.saturating_sub(40));
    let right = if pending > 0 { format!("{pending} pending  {sort}") } else { sort };
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    let glyphs = pen.glyphs;
    table::rows(pen, model, Panel::ProviderList, inside, &model.providers, |one, column, _| {
        cell(model, glyphs, one, column)
    });
    if model.providers.shown_len() == 0 {
        let table = &model.providers;
        let none = "no providers yet; relayd admin providers invite asks one in";
        let text = empty_line(model, table.loaded, table.filter_text(), none);
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

/// What stands under a column.
fn cell(model: &Model, glyphs: &Glyphs, provider: &Provider, column: &Column) -> Span {
    let or_dash = |text: String| if text.is_empty() { span("-", Tone::Quiet) } else { plain(text) };
    match column.head {
        "state" => state_cell(model, provider),
        "name" => plain(provider.name.as_str()),
        "gpus" => cards(model, provider),
        "score" => reputation::rank(&provider.reputation),
        "sides" => reputation::sides(glyphs, &provider.reputation),
        "models" => plain(provider.model_line()),
        "link" => link_cell(model, provider),
        "tok/s" => or_dash(provider.fastest_per_ks().map_or_else(String::new, format::rate)),
        "missing" => match provider.missing.len() {
            0 => span("0", Tone::Quiet),
            some => span(some.to_string(), Tone::Warn),
        },
        "run" => plain(format!("{}/{}", provider.running(), provider.slots())),
        "ttft50" => {
            let first = provider.benchmarks().next();
            first.map_or_else(
                || span("-", Tone::Quiet),
                |(_, run)| plain(format::delay(run.ttft_p50_ms)),
            )
        }
        "tests" => match provider.measured() {
            (0, _) => span("-", Tone::Quiet),
            (all, 0) => plain(format!("{all} ok")),
            (all, failed) => span(format!("{failed}/{all} bad"), Tone::Bad),
        },
        "alike" => match provider.likenesses() {
            (0, _) => span("-", Tone::Quiet),
            (all, alike) if all == alike => plain(format!("{alike}/{all}")),
            (all, alike) => span(format!("{alike}/{all}"), Tone::Bad),
        },
        "earned" => plain(format::usd(provider.earned_ncr)),
        "agent" => plain(provider.agent_version.as_str()),
        _ => Span::default(),
    }
}

/// The cards that its host measures; else those that it says it has, which are quiet.
fn cards(model: &Model, provider: &Provider) -> Span {
    let measured = model.cards_of(&provider.id);
    match (measured.is_empty(), declared(provider, false)) {
        (false, _) => plain(measured),
        (true, said) if said.is_empty() => span("-", Tone::Quiet),
        (true, said) => span(said, Tone::Quiet),
    }
}

/// `2x RTX 4090 24 GiB`, by its own word; in a list without the memory.
fn declared(provider: &Provider, with_memory: bool) -> String {
    let each = provider.declared.iter().map(|one| {
        let name = one.name.trim_start_matches("NVIDIA ").trim_start_matches("GeForce ");
        match one.memory_mib {
            memory if memory > 0 && with_memory => {
                format!("{}x {name} {} GiB", one.count, super::gpus::gib(memory))
            }
            _ => format!("{}x {name}", one.count),
        }
    });
    each.collect::<Vec<_>>().join(", ")
}

pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = model.examined_provider().map_or("Provider", |one| one.name.as_str());
    let inside = framed(pen, model, area, title, "", false);
    let Some(provider) = model.examined_provider() else { return };
    let mut all = facts_of(model, provider);
    // A narrow page has no panel of its own for what was measured: it stands here, and who the
    // provider is stands on the page of its row.
    if !model.size.is_wide() {
        all.truncate(NARROW_FACTS);
    }
    let used = facts::draw(pen, inside, &all);
    if !model.size.is_wide() {
        let below = |used: u16| Area {
            y: inside.y + used,
            height: inside.height.saturating_sub(used),
            ..inside
        };
        reputation::line(pen, below(used), &provider.reputation);
        measured(pen, below(used + 1), provider);
    }
}

/// What there is to know of a provider, the most wanted first.
pub(crate) fn facts_of(model: &Model, provider: &Provider) -> Vec<Fact> {
    let now = model.daemon_now_ms();
    let ago = |at: i64| match at {
        0 => "never".to_owned(),
        at if now.saturating_sub(at) < 10_000 => "just now".to_owned(),
        at => format!("{} ago", format::age(now.saturating_sub(at))),
    };
    let state = state_cell(model, provider);
    let since = match provider.since_ms {
        0 => String::new(),
        since => format!(" for {}", format::age(now.saturating_sub(since))),
    };
    let link = link_cell(model, provider);
    let from = if provider.address.is_empty() { "" } else { " from " };
    let link = Span { text: format!("{}{from}{}", link.text, provider.address), ..link };
    let missing = match provider.missing.as_slice() {
        [] if provider.examined_at_ms == 0 => span("the examination has not ended", Tone::Quiet),
        [] => span("nothing, the evidence is complete", Tone::Good),
        missing => span(missing.join("; "), Tone::Warn),
    };
    let gpus = match (model.cards_of(&provider.id), declared(provider, true)) {
        (measured, said) if said.is_empty() || measured == declared(provider, false) => measured,
        (measured, said) if measured.is_empty() => format!("says {said}"),
        (measured, said) => format!("{measured}; says {said}"),
    };
    let engines: Vec<String> = provider
        .engines
        .iter()
        .map(|engine| {
            let why = if engine.reason.is_empty() { "" } else { ": " };
            let (name, kind, state) = (&engine.name, &engine.kind, &engine.state);
            format!("{name} ({kind}) {state}{why}{}", engine.reason)
        })
        .collect();
    vec![
        toned("state", Span { text: format!("{}{since}", state.text), ..state }),
        toned("link", link),
        fact("why", provider.reason.as_str()).long(),
        toned("missing", missing).long(),
        fact("gpus", gpus),
        fact("models", provider.model_line()),
        fact("engines", engines.join(", ")).long(),
        fact("running", format!("{} of {}", provider.running(), provider.slots())),
        toned("standing", reputation::standing(&provider.reputation)),
        fact("earned", format::usd(provider.earned_ncr)),
        fact("limits", limits(provider)).long(),
        fact("payout", provider.payout.as_str()).long(),
        fact("id", provider.id.as_str()).long(),
        fact("examined", ago(provider.examined_at_ms)),
        fact("joined", model.zone.date(provider.joined_at_ms)),
        fact("agent", provider.agent_version.as_str()),
        fact("key", provider.public_key.as_str()).long(),
    ]
}

/// What an operator allows it: `4 at once each, only qwen3-32b, from $0.28 a million tokens`.
fn limits(provider: &Provider) -> String {
    let parts = [
        (provider.max_concurrency > 0)
            .then(|| format!("{} at once each", provider.max_concurrency)),
        (!provider.models_allowed.is_empty())
            .then(|| format!("only {}", provider.models_allowed.join(", "))),
        (provider.price_floor_ncr > 0)
            .then(|| format!("from {} a million tokens", format::usd(provider.price_floor_ncr))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What was measured and offered, a line each: for the page of one row.
pub(crate) fn evidence_lines(provider: &Provider) -> Vec<String> {
    let offers = provider.engines.iter().flat_map(|engine| {
        engine.models.iter().map(move |offer| {
            let sold = match (offer.model.as_str(), engine.deployment.as_str()) {
                ("", "") if !engine.examined => "not examined",
                ("", "") => "nobody buys it here",
                ("", deployment) => deployment,
                (sold, _) => sold,
            };
            format!("offers      {} on {}: {sold}", offer.upstream, engine.name)
        })
    });
    let runs = provider.benchmarks().map(|(engine, run)| {
        format!(
            "measured    {} {}: {} at once, {} tok/s, first token {} (most {}), {} of {} failed",
            engine.name,
            run.upstream,
            run.concurrency,
            format::rate(run.tokens_per_ks),
            format::delay(run.ttft_p50_ms),
            format::delay(run.ttft_max_ms),
            run.failed,
            run.requests
        )
    });
    let missing = provider.missing.iter().map(|missing| format!("missing     {missing}"));
    let told = provider.engines.iter().filter_map(of_itself);
    let examined = provider.engines.iter().flat_map(examined);
    missing.chain(offers).chain(told).chain(examined).chain(runs).collect()
}

/// Whether an engine's models are what they would be sold as, and how long a prompt it takes:
/// `identity    qwen3-32b on vllm: passed, 8 of 8 alike, agreement 0.981`.
fn examined(engine: &Engine) -> Vec<String> {
    let identity = engine.identity.iter().map(|one| {
        let why = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
        let mut line = format!("identity    {} on {}: {}{why}", one.model, engine.name, one.state);
        if one.asked > 0 {
            line.push_str(&format!(", {} of {} alike", one.passed, one.asked));
            if one.unsure > 0 {
                line.push_str(&format!(", {} say nothing", one.unsure));
            }
            let agreement = format::thousandths(one.agreement_milli.into());
            line.push_str(&format!(", agreement {agreement}"));
            if let Some(milli) = one.difference_milli {
                let nats = format::thousandths(milli.into());
                line.push_str(&format!(", {nats} nats apart at most"));
            }
        }
        line
    });
    let context = engine.context.iter().map(|one| {
        let tokens = |count: u64, none: &str| match count {
            0 => none.to_owned(),
            some => format::grouped(some.into()),
        };
        let why = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
        format!(
            "context     {} on {}: {} tokens taken, says {}, sold {}{why}",
            one.upstream,
            engine.name,
            format::grouped(one.verified.into()),
            tokens(one.declared, "nothing"),
            tokens(one.sold, "without a bound")
        )
    });
    identity.chain(context).collect()
}

/// `tells       vllm: 2 running, 1 waiting, KV cache 41.0%`, as far as the engine tells.
fn of_itself(engine: &Engine) -> Option<String> {
    let parts = [
        engine.own_running.map(|count| format!("{count} running")),
        engine.own_waiting.map(|count| format!("{count} waiting")),
        engine.kv_cache_milli.map(|milli| format!("KV cache {}.{}%", milli / 10, milli % 10)),
        engine.loaded_models.map(|count| format!("{count} models in memory")),
        (!engine.deployment.is_empty()).then(|| format!("instance of {}", engine.deployment)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("tells       {}: {}", engine.name, parts.join(", ")))
}

pub(super) fn evidence(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let examined = model.examined_provider().map_or(0, |provider| provider.examined_at_ms);
    let right = match examined {
        0 => String::new(),
        at => format!("examined {}", model.zone.moment(at)),
    };
    let inside = framed(pen, model, area, "Evidence", &right, false);
    let Some(provider) = model.examined_provider() else { return };
    let mut line = measured(pen, inside, provider);
    let room = inside.width.saturating_sub(2);
    let offers = evidence_lines(provider);
    let offers = offers.iter().filter(|text| !text.starts_with("measured"));
    for part in offers.flat_map(|text| wrapped(text, room)) {
        line += 1;
        pen.line(inside, line, &[plain(format!(" {part}"))]);
    }
}

/// The measurements as a table; the lines that were used.
fn measured(pen: &mut Pen<'_>, area: Area, provider: &Provider) -> u16 {
    if provider.benchmarks().next().is_none() {
        pen.line(area, 0, &[span(" nothing was measured yet", Tone::Quiet)]);
        return 1;
    }
    let columns = [
        columns::column("engine", 0),
        columns::number("at once", 7),
        columns::number("tok/s", 7),
        columns::number("ttft50", 7),
        columns::number("most", 7),
        columns::number("asked", 6),
        columns::number("failed", 6),
    ];
    let widths = columns::widths(area.width, &columns);
    if area.height > 0 {
        table::headings(pen, area, None, &columns, &widths);
    }
    let mut used = 1;
    for (line, (engine, run)) in (1..area.height).zip(provider.benchmarks()) {
        let bad = if run.failed > 0 { Tone::Bad } else { Tone::Quiet };
        let cells = [
            plain(engine.name.as_str()),
            plain(run.concurrency.to_string()),
            plain(format::rate(run.tokens_per_ks)),
            plain(format::delay(run.ttft_p50_ms)),
            plain(format::delay(run.ttft_max_ms)),
            plain(run.requests.to_string()),
            span(run.failed.to_string(), bad),
        ];
        table::put(pen, area, line, &columns, &widths, &cells);
        used = line + 1;
    }
    used
}

/// What was told of it, the newest first.
pub(super) fn happenings(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let inside = framed(pen, model, area, "Events", "this provider", false);
    let Some(provider) = model.examined_provider() else { return };
    let mut events: Vec<_> = model
        .events
        .all()
        .iter()
        .filter(|event| event.subject == provider.id || event.subject == provider.name)
        .collect();
    events.sort_by_key(|event| std::cmp::Reverse(event.seq));
    if events.is_empty() {
        pen.line(inside, 0, &[span(" none since the events that are kept", Tone::Quiet)]);
    }
    for (line, event) in (0..inside.height).zip(events) {
        let at = model.zone.when(event.at_ms, model.daemon_now_ms());
        let tone = Tone::from(event.severity);
        pen.line(
            inside,
            line,
            &[
                span(format!(" {at:<9} "), Tone::Quiet),
                span(format!("{:<20} ", event.kind), tone),
                span(event.text.as_str(), tone),
            ],
        );
    }
}

//! A screen as plain lines, for `relay-tui once`: no frames, no colour, nothing cut that a reader
//! or a script would miss.

use std::fmt::Write as _;

use super::pen::width;
use crate::format;
use crate::model::filter::Row as _;
use crate::model::{Model, Screen};

/// The page.
pub(crate) fn page(model: &Model, screen: Screen) -> String {
    let mut out = String::new();
    if let Some(session) = &model.session {
        line(
            &mut out,
            &format!(
                "{}  {}  {} ({})  {}",
                session.relay,
                session.version,
                session.operator,
                session.role.word(),
                model.zone.moment(session.now_ms)
            ),
        );
        out.push('\n');
    }
    match screen {
        Screen::Overview => overview(model, &mut out),
        Screen::Gpus => gpus(model, &mut out),
        Screen::Backends => backends(model, &mut out),
        Screen::Models => models(model, &mut out),
        Screen::Keys => keys(model, &mut out),
        Screen::Providers => providers(model, &mut out),
        Screen::Events => events(model, &mut out, usize::MAX),
    }
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// A column: its heading, and whether it holds numbers.
type Head = (&'static str, bool);

const fn text(head: &'static str) -> Head {
    (head, false)
}

const fn number(head: &'static str) -> Head {
    (head, true)
}

/// Columns as wide as their widest cell, numbers to the right.
fn table(out: &mut String, heads: &[Head], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return line(out, "none");
    }
    let wide = |column: usize| {
        let cells =
            rows.iter().filter_map(|row| row.get(column)).map(|cell| usize::from(width(cell)));
        cells.chain([heads[column].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(wide).collect();
    let mut put = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for ((cell, (_, is_number)), wide) in cells.zip(heads).zip(&widths) {
            let air = wide.saturating_sub(usize::from(width(cell)));
            let (before, after) = if *is_number { (air, 0) } else { (0, air) };
            // Writing to a String cannot fail.
            let _ = write!(text, "{:before$}{cell}{:after$}  ", "", "");
        }
        line(out, &text);
    };
    put(&mut heads.iter().map(|(head, _)| *head));
    for row in rows {
        put(&mut row.iter().map(String::as_str));
    }
}

fn overview(model: &Model, out: &mut String) {
    let (t, m, f) = (model.overview.traffic, model.overview.money, model.overview.fleet);
    line(
        out,
        &format!(
            "traffic   {} req/s   errors {}   shed {}   running {}   streams {}",
            format::rate(t.requests_per_ks),
            format::percent(t.errors_ppm),
            t.shed,
            t.in_flight,
            t.streams
        ),
    );
    line(
        out,
        &format!(
            "tokens    in {}/s   out {}/s",
            format::rate(t.tokens_in_per_ks),
            format::rate(t.tokens_out_per_ks)
        ),
    );
    line(
        out,
        &format!(
            "ttft      p50 {}   p95 {}   p99 {}",
            format::delay(t.ttft_p50_ms),
            format::delay(t.ttft_p95_ms),
            format::delay(t.ttft_p99_ms)
        ),
    );
    line(
        out,
        &format!("queue     {} waiting   oldest {}", t.queued, format::age(t.oldest_queued_ms)),
    );
    line(
        out,
        &format!(
            "money     {} charged today   {} held in {} holds   {} balances   {} breaches",
            format::usd(m.charged_today_ncr),
            format::usd(m.held_ncr),
            m.open_holds,
            format::usd(m.balances_ncr),
            m.breaches
        ),
    );
    line(
        out,
        &format!(
            "backends  {} in all   {} up   {} down   {} cordoned",
            f.backends, f.up, f.down, f.cordoned
        ),
    );
    out.push_str("\nneeds a person\n");
    if model.overview.attention.all().is_empty() {
        line(out, "none");
    }
    for item in model.overview.attention.admitted() {
        line(out, &format!("{:<5} {}", item.severity.word(), item.text));
    }
    out.push_str("\nbackends\n");
    backends(model, out);
    out.push_str("\nevents\n");
    events(model, out, 10);
}

fn backends(model: &Model, out: &mut String) {
    let rows: Vec<Vec<String>> = model
        .backends
        .admitted()
        .map(|b| {
            vec![
                b.state.word().to_owned(),
                b.id.clone(),
                b.engine.clone(),
                b.model_line(),
                format!("{}/{}", b.running, b.max_concurrency),
                b.queued.to_string(),
                format::delay(b.ttft_p50_ms),
                format::delay(b.ttft_p95_ms),
                format::percent(b.recent_failures_ppm),
                b.weight.to_string(),
                b.breaker.word().to_owned(),
                b.reason.clone(),
            ]
        })
        .collect();
    let heads = [
        text("state"),
        text("backend"),
        text("engine"),
        text("model"),
        number("run"),
        number("queue"),
        number("ttft50"),
        number("ttft95"),
        number("err"),
        number("weight"),
        text("breaker"),
        text("reason"),
    ];
    table(out, &heads, &rows);
}

fn told(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn gpus(model: &Model, out: &mut String) {
    let rows: Vec<Vec<String>> = model
        .gpus
        .admitted()
        .map(|g| {
            let c = &g.card;
            vec![
                g.state.word().to_owned(),
                g.name.clone(),
                if g.provider.is_empty() { "own".to_owned() } else { g.provider.clone() },
                told(g.index),
                told(c.name.as_deref()),
                told(c.gpu_pct),
                told(c.memory_used_mib),
                told(c.memory_total_mib),
                told(c.celsius),
                told(c.power_mw.map(|power| power / 1_000)),
                told(c.power_limit_mw.map(|power| power / 1_000)),
                told(c.sm_mhz),
                told(c.ecc_uncorrected),
                told(Some(c.uuid.as_str()).filter(|uuid| !uuid.is_empty())),
                c.reason.clone(),
            ]
        })
        .collect();
    let heads = [
        text("state"),
        text("host"),
        text("provider"),
        number("gpu"),
        text("card"),
        number("util%"),
        number("used MiB"),
        number("of MiB"),
        number("C"),
        number("W"),
        number("of W"),
        number("sm MHz"),
        number("ecc"),
        text("uuid"),
        text("reason"),
    ];
    table(out, &heads, &rows);
}

fn providers(model: &Model, out: &mut String) {
    let rows: Vec<Vec<String>> = model
        .providers
        .admitted()
        .map(|p| {
            let (asked, failed) = p.measured();
            let known = &p.reputation;
            let bound = |side: &str| {
                told(known.score(side).map(|s| format::thousandths(s.bound_milli.into())))
            };
            let rank = Some(known.rank_milli).filter(|_| !known.scores.is_empty());
            vec![
                p.state_word().to_owned(),
                p.name.clone(),
                p.id.clone(),
                if p.connected { "up" } else { "down" }.to_owned(),
                told(Some(model.cards_of(&p.id)).filter(|cards| !cards.is_empty())),
                p.model_line(),
                told(p.fastest_per_ks().map(format::rate)),
                asked.to_string(),
                failed.to_string(),
                match p.likenesses() {
                    (0, _) => "-".to_owned(),
                    (all, alike) => format!("{alike}/{all}"),
                },
                format!("{}/{}", p.running(), p.slots()),
                known.standing.word().to_owned(),
                told(rank.map(|rank| format::thousandths(rank.into()))),
                bound("identity"),
                bound("honesty"),
                bound("quality"),
                bound("availability"),
                bound("latency"),
                format::usd(p.earned_ncr),
                told(Some(p.missing.join("; ")).filter(|missing| !missing.is_empty())),
                p.reason.clone(),
            ]
        })
        .collect();
    let heads = [
        text("state"),
        text("provider"),
        text("id"),
        text("link"),
        text("gpus"),
        text("models"),
        number("tok/s"),
        number("asked"),
        number("failed"),
        number("alike"),
        number("run"),
        text("standing"),
        number("score"),
        number("identity"),
        number("honesty"),
        number("quality"),
        number("availability"),
        number("latency"),
        number("earned"),
        text("missing"),
        text("reason"),
    ];
    table(out, &heads, &rows);
}

fn models(model: &Model, out: &mut String) {
    let rows: Vec<Vec<String>> = model
        .models
        .admitted()
        .map(|m| {
            let revision = |number: u32| told(Some(number).filter(|number| *number > 0));
            let rollout = m.rollout.as_ref();
            let live = m.traffic_of(m.live).map(|traffic| traffic.figures).unwrap_or_default();
            vec![
                m.standing().word().to_owned(),
                m.name.clone(),
                revision(m.live),
                revision(m.next),
                told(Some(m.share_permille / 10).filter(|_| m.next > 0)),
                format!("{}/{}", m.targets_up, m.targets),
                format::rate(m.requests_per_ks()),
                format::delay(live.ttft_p50_ms),
                format::delay(live.ttft_p95_ms),
                told(m.failed_ppm().map(format::percent)),
                told(rollout.map(|rollout| rollout.id.as_str())),
                rollout.map_or_else(String::new, |rollout| rollout.reason.clone()),
            ]
        })
        .collect();
    let heads = [
        text("state"),
        text("model"),
        number("live"),
        number("next"),
        number("next%"),
        number("up"),
        number("req/s"),
        number("ttft50"),
        number("ttft95"),
        number("err"),
        text("rollout"),
        text("reason"),
    ];
    table(out, &heads, &rows);
}

fn keys(model: &Model, out: &mut String) {
    let rows: Vec<Vec<String>> = model
        .keys
        .admitted()
        .map(|k| {
            vec![
                k.name.clone(),
                k.prefix.clone(),
                k.customer.clone(),
                k.tier.clone(),
                format::rate(k.requests_per_ks),
                format::count(k.today.requests),
                format::count(k.tokens_today()),
                format::usd(k.today.charged_ncr),
                k.budget_ncr.map_or_else(|| "-".to_owned(), format::usd),
                k.state().word().to_owned(),
            ]
        })
        .collect();
    let heads = [
        text("key"),
        text("prefix"),
        text("customer"),
        text("tier"),
        number("req/s"),
        number("requests"),
        number("tokens"),
        number("cost"),
        number("left"),
        text("state"),
    ];
    table(out, &heads, &rows);
}

fn events(model: &Model, out: &mut String, most: usize) {
    let rows: Vec<Vec<String>> = model
        .events
        .admitted()
        .take(most)
        .map(|e| {
            vec![
                model.zone.moment(e.at_ms),
                e.severity.word().to_owned(),
                e.kind.clone(),
                e.subject.clone(),
                e.text.clone(),
                e.id().to_owned(),
            ]
        })
        .collect();
    let heads = ["time", "severity", "kind", "subject", "text"].map(text);
    table(out, &[&heads[..], &[number("seq")]].concat(), &rows);
}

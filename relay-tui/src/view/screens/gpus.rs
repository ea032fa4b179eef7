//! Which card is busy, hot, sick; on which host.

use crate::format;
use crate::model::Model;
use crate::model::columns::{self, Column};
use crate::model::gpus::{Card, Gpu, GpuState, Grouping, Host, Process};
use crate::model::layout::{Area, Panel};
use crate::model::series::Series;
use crate::view::facts::{self, Fact, fact, toned};
use crate::view::glyphs::Glyphs;
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::theme::Tone;
use crate::view::{chart, empty_line, framed, table};

/// From here on a card is hot.
const HOT_CELSIUS: u32 = 85;
/// Of memory, from here on there is hardly any left.
const FULL_PCT: u32 = 95;

fn state_cell(gpu: &Gpu) -> Span {
    let tone = match gpu.state {
        GpuState::Lost | GpuState::Failing => Tone::Bad,
        GpuState::Stale => Tone::Warn,
        GpuState::Ok => Tone::Good,
        GpuState::NoDriver | GpuState::NoCards | GpuState::Off | GpuState::Starting => Tone::Quiet,
    };
    span(gpu.state.word(), tone)
}

pub(super) fn list(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let title = match model.grouping {
        Grouping::Card => format!("GPUs {}", table::counted(&model.gpus)),
        by => format!("GPUs by {} {}", by.word(), table::counted(&model.gpus)),
    };
    let right = table::state(pen, &model.gpus, area.width.saturating_sub(30));
    let inside = framed(pen, model, area, title.trim_end(), &right, true);
    let glyphs = pen.glyphs;
    table::rows(pen, model, Panel::GpuList, inside, &model.gpus, |gpu, column, wide| {
        cell(glyphs, gpu, column, wide)
    });
    if model.gpus.shown_len() == 0 {
        let table = &model.gpus;
        let text = empty_line(model, table.loaded, table.filter_text(), "no host is known yet");
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

/// What stands under a column of this width. What is not told is a dash; old figures have a sign.
fn cell(glyphs: &Glyphs, gpu: &Gpu, column: &Column, wide: u16) -> Span {
    let card = &gpu.card;
    let told = match column.head {
        "state" => return state_cell(gpu),
        "host" => return plain(gpu.name.as_str()),
        "gpu" => return plain(gpu.index.map_or_else(|| count(gpu), |index| index.to_string())),
        "card" => match &card.name {
            Some(name) => return plain(make(name)),
            // There is room for the reason, and nothing else says it in the list.
            None if gpu.cards == 0 => return span(card.reason.as_str(), Tone::Quiet),
            None => None,
        },
        "util" => card.gpu_pct.map(|used| {
            let cells = wide.saturating_sub(7);
            span(format!("{used:>3}% [{}]", glyphs.share(used, cells)), Tone::Plain)
        }),
        "mem GiB" => memory(card).map(|text| {
            let full = gpu.memory_used_pct().is_some_and(|used| used >= FULL_PCT);
            span(text, if full { Tone::Warn } else { Tone::Plain })
        }),
        "temp" => card.celsius.map(|celsius| {
            span(
                format!("{celsius}C"),
                if celsius >= HOT_CELSIUS { Tone::Warn } else { Tone::Plain },
            )
        }),
        "watt" if wide < 8 => card.power_mw.map(|power| plain(watts(power))),
        "watt" => card.power_mw.map(|_| plain(power(card))),
        "mhz" => card.sm_mhz.map(|mhz| plain(mhz.to_string())),
        "ecc" => card.ecc_uncorrected.map(|errors| {
            span(format::count(errors), if errors > 0 { Tone::Bad } else { Tone::Quiet })
        }),
        "provider" => return owner(&gpu.provider),
        "uuid" => (!card.uuid.is_empty()).then(|| span(card.uuid.as_str(), Tone::Quiet)),
        _ => card.throttle.as_deref().filter(|held| !held.is_empty()).map(|h| span(h, Tone::Warn)),
    };
    match told {
        None => span("-", Tone::Quiet),
        Some(figure) if gpu.state == GpuState::Stale => {
            span(format!("~{}", figure.text.trim_start()), Tone::Quiet)
        }
        Some(figure) => figure,
    }
}

/// `8x`; `-` for a host without cards.
fn count(gpu: &Gpu) -> String {
    if gpu.cards == 0 { "-".to_owned() } else { format!("{}x", gpu.cards) }
}

/// What every card is called says nothing.
pub(super) fn make(name: &str) -> &str {
    name.trim_start_matches("NVIDIA ")
}

fn owner(provider: &str) -> Span {
    if provider.is_empty() { span("own", Tone::Quiet) } else { plain(provider) }
}

/// `78.9/80`, in GiB.
fn memory(card: &Card) -> Option<String> {
    let (used, total) = (card.memory_used_mib?, card.memory_total_mib?);
    Some(format!("{}/{}", gib(used), gib(total)))
}

/// `78.9`, `80`, `402`: tenths below a hundred, where there are any.
pub(super) fn gib(mib: u64) -> String {
    let tenths = mib.saturating_mul(10) / 1_024;
    match (tenths / 10, tenths % 10) {
        (whole @ 100.., _) | (whole, 0) => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

fn watts(milliwatts: u32) -> String {
    (milliwatts / 1_000).to_string()
}

/// `690/700`, in watts.
fn power(card: &Card) -> String {
    match (card.power_mw, card.power_limit_mw) {
        (Some(draw), Some(limit)) => format!("{}/{}", watts(draw), watts(limit)),
        (Some(draw), None) => watts(draw),
        _ => "-".to_owned(),
    }
}

/// Share, memory and power over time.
pub(super) fn history(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(gpu) = model.charted_gpu() else {
        framed(pen, model, area, "History", "", false);
        return;
    };
    let right = format!("{}  [ ] range", chart::range(pen, model, area.width.saturating_sub(4)));
    let inside = framed(pen, model, area, &title(gpu), &right, false);
    let air = Area { x: inside.x + 1, width: inside.width.saturating_sub(2), ..inside };
    let each = air.height.saturating_sub(3) / 3;
    let first = air.height.saturating_sub(3 + 2 * each);
    let card = &gpu.card;
    let empty = Series::default();
    let history = model.gpu_history.get(&gpu.id);
    let charts = [
        (
            "util",
            card.gpu_pct.map_or_else(|| "-".to_owned(), |used| format!("{used}%")),
            history.map_or(&empty, |history| &history.used),
            100.0,
            first,
        ),
        (
            "memory",
            memory(card).map_or_else(|| "-".to_owned(), |memory| format!("{memory} GiB")),
            history.map_or(&empty, |history| &history.memory),
            top(card.memory_total_mib),
            each,
        ),
        (
            "power",
            format!("{} W", power(card)),
            history.map_or(&empty, |history| &history.power),
            top(card.power_limit_mw.map(|limit| u64::from(limit) / 1_000)),
            each,
        ),
    ];
    let mut y = 0;
    for (label, now, series, full, height) in charts {
        pen.line(air, y, &[span(format!("{label:<7}"), Tone::Quiet), plain(now)]);
        let chart = Area { y: air.y + y + 1, height, ..air };
        if y + 1 + height <= air.height {
            chart::columns(pen, chart, series, model.range_s, full);
        }
        y += 1 + height;
    }
}

/// The top of a chart; 0 where the greatest value is.
#[expect(clippy::cast_precision_loss, reason = "the top of a chart")]
fn top(value: Option<u64>) -> f32 {
    value.unwrap_or(0) as f32
}

/// `relay-eu-1 gpu 7`, or what several have in common.
fn title(gpu: &Gpu) -> String {
    match gpu.index {
        Some(index) => format!("{} gpu {index}", gpu.name),
        None => gpu.name.clone(),
    }
}

pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(gpu) = model.gpus.selected() else {
        framed(pen, model, area, "GPU", "", false);
        return;
    };
    let inside = framed(pen, model, area, &title(gpu), "", false);
    facts::draw(pen, inside, &facts_of(model, gpu));
}

/// What there is to know of a row, the most wanted first.
pub(crate) fn facts_of(model: &Model, gpu: &Gpu) -> Vec<Fact> {
    let card = &gpu.card;
    let now = model.daemon_now_ms();
    let state = state_cell(gpu);
    let lasts = match (gpu.state, card.since_ms) {
        (GpuState::Stale, _) => {
            format!(" for {}", format::age(i64::try_from(gpu.age_ms).unwrap_or(i64::MAX)))
        }
        (GpuState::Ok, _) | (_, 0) => String::new(),
        (_, since) => format!(" for {}", format::age(now.saturating_sub(since))),
    };
    let state = Span { text: format!("{}{lasts}", state.text), ..state };
    let pct = |value: Option<u32>| value.map_or_else(String::new, |value| format!("{value}%"));
    let mhz = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let mut facts = vec![toned("state", state)];
    let tone = if gpu.state <= GpuState::Failing { Tone::Bad } else { Tone::Plain };
    let why = if card.reason.is_empty() { "-" } else { card.reason.as_str() };
    facts.push(toned("why", span(why, tone)).long());
    facts.push(fact("card", card.name.as_deref().map(make).unwrap_or_default()));
    facts.push(toned("owner", owner(&gpu.provider)));
    let held = match card.throttle.as_deref() {
        None => span("-", Tone::Quiet),
        Some("") => plain("by nothing"),
        Some(held) => span(held, Tone::Warn),
    };
    facts.push(toned("held back", held));
    let ecc = match (card.ecc_corrected, card.ecc_uncorrected) {
        (None, None) => String::new(),
        (corrected, uncorrected) => format!(
            "{} corrected, {} not",
            corrected.map_or_else(|| "-".to_owned(), format::count),
            uncorrected.map_or_else(|| "-".to_owned(), format::count)
        ),
    };
    facts.push(fact("ECC", ecc));
    let clocks = format!("sm {} mem {} MHz", mhz(card.sm_mhz), mhz(card.memory_mhz));
    facts.push(fact("clocks", clocks));
    facts.push(fact("serves", serves(model, &gpu.provider)));
    facts.push(fact("util", pct(card.gpu_pct)));
    let memory = memory(card).map_or_else(String::new, |memory| format!("{memory} GiB"));
    facts.push(fact("memory", memory));
    let temp = card.celsius.map_or_else(String::new, |celsius| format!("{celsius}C"));
    facts.push(fact("temp", temp));
    facts.push(fact("power", format!("{} W", power(card))));
    facts.push(fact("mem bus", pct(card.memory_pct)));
    facts.push(fact("fan", pct(card.fan_pct)));
    let bus = match (card.rx_kib_s, card.tx_kib_s) {
        (None, None) => String::new(),
        (rx, tx) => {
            let mib = |kib: Option<u32>| kib.map_or_else(|| "-".to_owned(), |k| gib(k.into()));
            format!("rx {} tx {} MiB/s", mib(rx), mib(tx))
        }
    };
    facts.push(fact("PCIe", bus));
    if let Some(host) = model.hosts.get(&gpu.host_id) {
        let driver = match (&host.driver, &host.cuda) {
            (None, None) => String::new(),
            (driver, cuda) => format!(
                "{}, CUDA {}",
                driver.as_deref().unwrap_or("-"),
                cuda.as_deref().unwrap_or("-")
            ),
        };
        facts.push(fact("driver", driver));
    }
    facts.push(fact("cards", gpu.cards.to_string()));
    facts.push(fact("MIG", card.mig.map_or("", |on| if on { "on" } else { "off" })));
    facts.push(fact("PCI", card.pci.as_deref().unwrap_or_default()));
    facts.push(fact("uuid", card.uuid.as_str()));
    facts
}

/// What the backends of a provider, or the operator's own, serve.
fn serves(model: &Model, provider: &str) -> String {
    let mut names: Vec<&str> = model
        .backends
        .all()
        .iter()
        .filter(|backend| backend.provider == provider)
        .flat_map(|backend| backend.models.iter().map(|served| served.model.as_str()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The processes of a card, a line each.
pub(crate) fn process_lines(gpu: &Gpu) -> Vec<String> {
    let line = |process: &Process| {
        let memory = process.memory_mib.map_or_else(|| "-".to_owned(), gib);
        let name = process.name.as_deref().unwrap_or("-");
        format!("process     {:>8} {memory:>6} GiB  {name}", process.pid)
    };
    gpu.card.processes.iter().map(line).collect()
}

pub(super) fn processes(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let Some(gpu) = model.gpus.selected() else {
        framed(pen, model, area, "Processes", "", false);
        return;
    };
    let all = gpu.card.processes_total.map_or_else(String::new, |count| count.to_string());
    let title = format!("Processes {all}");
    let inside = framed(pen, model, area, title.trim_end(), &self::title(gpu), false);
    let columns =
        [columns::number("pid", 9), columns::number("GiB", 7), columns::column("process", 0)];
    let widths = columns::widths(inside.width, &columns);
    table::headings(pen, inside, None, &columns, &widths);
    for (line, process) in (1..inside.height).zip(&gpu.card.processes) {
        let cells = [
            plain(process.pid.to_string()),
            plain(process.memory_mib.map_or_else(|| "-".to_owned(), gib)),
            plain(process.name.as_deref().unwrap_or("-")),
        ];
        table::put(pen, inside, line, &columns, &widths, &cells);
    }
    if gpu.card.processes.is_empty() {
        let text = if gpu.cards > 1 { "shown of one card" } else { "none is told" };
        pen.line(inside, 1, &[span(format!(" {text}"), Tone::Quiet)]);
    }
}

pub(super) fn host(pen: &mut Pen<'_>, model: &Model, area: Area) {
    let found = model.gpus.selected().and_then(|gpu| model.hosts.get(&gpu.host_id));
    let Some(host) = found else {
        framed(pen, model, area, "Host", "", false);
        return;
    };
    let inside = framed(pen, model, area, &host.name, "host", false);
    facts::draw(pen, inside, &host_facts(host));
}

fn host_facts(host: &Host) -> Vec<Fact> {
    let free = |free: Option<u64>, total: Option<u64>| match (free, total) {
        (Some(free), Some(total)) => format!("{} of {} GiB free", gib(free), gib(total)),
        _ => String::new(),
    };
    let heard = if host.stale {
        let age = i64::try_from(host.age_ms).unwrap_or(i64::MAX);
        span(format!("stale for {}", format::age(age)), Tone::Warn)
    } else {
        span("live", Tone::Good)
    };
    let cores = host.cores.map_or_else(String::new, |cores| format!(" of {cores} cores"));
    vec![
        toned("host", heard),
        fact("cpu", host.cpu_pct.map_or_else(String::new, |cpu| format!("{cpu}%{cores}"))),
        fact(
            "load",
            host.load_milli.map_or_else(String::new, |load| {
                format!("{}.{:02}", load / 1_000, load % 1_000 / 10)
            }),
        ),
        fact("memory", free(host.memory_available_mib, host.memory_total_mib)),
        fact("disk", free(host.disk_available_mib, host.disk_total_mib)),
        fact("id", host.id.as_str()),
    ]
}

#[cfg(test)]
mod tests {
    use super::gib;

    #[test]
    fn memory_is_short_and_never_more_than_there_is() {
        for (mib, text) in
            [(0, "0"), (81_920, "80"), (80_793, "78.8"), (512, "0.5"), (411_955, "402")]
        {
            assert_eq!(gib(mib), text);
        }
    }
}

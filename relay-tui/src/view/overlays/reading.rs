//! Pages to read: the selected row in full, and what the link did.

use super::boxed;
use crate::format;
use crate::model::Model;
use crate::model::layout::Panel;
use crate::view::facts::Fact;
use crate::view::pen::{Pen, Span, plain, span};
use crate::view::screens::{
    audit_lines, backend_facts, evidence_lines, gpu_facts, key_facts, model_lines, process_lines,
    provider_facts, reputation_lines, wrapped,
};
use crate::view::theme::Tone;

pub(super) fn detail(pen: &mut Pen<'_>, model: &Model, scroll: usize) {
    let width = model.size.width.saturating_sub(4).min(110);
    let room = width.saturating_sub(4);
    let (title, lines) = lines(model, room);
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let height = height.min(model.size.height.saturating_sub(2));
    let inside = boxed(pen, model, width, height, &title, "y copy id  Y json  esc close");
    let last = lines.len().saturating_sub(usize::from(inside.height));
    for (line, spans) in (0..inside.height).zip(lines.iter().skip(scroll.min(last))) {
        pen.line(inside, line, spans);
    }
}

fn lines(model: &Model, room: u16) -> (String, Vec<Vec<Span>>) {
    let facts = |facts: Vec<Fact>| {
        let mut lines = Vec::new();
        for Fact { label, value, .. } in facts {
            let parts = wrapped(&value.text, room.saturating_sub(12));
            for (at, part) in parts.into_iter().enumerate() {
                let label = if at == 0 { label } else { "" };
                let head = span(format!("{label:<12}"), Tone::Quiet);
                lines.push(vec![head, Span { text: part, tone: value.tone }]);
            }
        }
        lines
    };
    let texts = |texts: Vec<String>| -> Vec<Vec<Span>> {
        texts.iter().flat_map(|text| wrapped(text, room)).map(|part| vec![plain(part)]).collect()
    };
    match model.focused() {
        Panel::BackendList => model.backends.selected().map(|backend| {
            let mut lines = facts(backend_facts(model, backend));
            let served = backend
                .models
                .iter()
                .map(|one| format!("serves      {} as {}", one.model, one.upstream));
            lines.extend(texts(served.collect()));
            (backend.id.clone(), lines)
        }),
        Panel::GpuList => model.gpus.selected().map(|gpu| {
            let mut lines = facts(gpu_facts(model, gpu));
            lines.extend(texts(process_lines(gpu)));
            (gpu.id.clone(), lines)
        }),
        Panel::ProviderList => model.providers.selected().map(|provider| {
            let mut lines = facts(provider_facts(model, provider));
            lines.extend(texts(reputation_lines(model, provider)));
            lines.extend(texts(evidence_lines(provider)));
            (provider.name.clone(), lines)
        }),
        Panel::ModelList => {
            model.models.selected().map(|row| (row.name.clone(), texts(model_lines(model, row))))
        }
        Panel::KeyList => {
            model.keys.selected().map(|key| (key.name.clone(), facts(key_facts(model, key))))
        }
        Panel::AuditList => model
            .audit
            .selected()
            .map(|entry| (entry.action.clone(), texts(audit_lines(model, entry)))),
        _ => model.events.selected().map(|event| {
            let head = format!("{}  {}", model.zone.moment(event.at_ms), event.severity.word());
            (event.kind.clone(), texts(vec![head, event.subject.clone(), event.text.clone()]))
        }),
    }
    .unwrap_or_default()
}

pub(super) fn link_log(pen: &mut Pen<'_>, model: &Model) {
    let width = model.size.width.saturating_sub(4).min(110);
    let height = model.size.height.saturating_sub(4);
    let trip = model.link.round_trip_ms.map_or_else(String::new, |ms| format!("{ms} ms away, "));
    let (now, all) = (model.link.bytes_per_s, format::count(model.link.bytes_in));
    let right = format!("{trip}{now} B/s in, {all} in all");
    let inside = boxed(pen, model, width, height, "Link", &right);
    let first = model.link.log.len().saturating_sub(usize::from(inside.height));
    for (line, entry) in (0..inside.height).zip(model.link.log.iter().skip(first)) {
        let at = format!("{}  ", model.zone.stamp(entry.at_ms));
        pen.line(inside, line, &[span(at, Tone::Quiet), plain(entry.text.as_str())]);
    }
}

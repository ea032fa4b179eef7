//! Streams as engines send them, through every surface.

mod cross;
mod fixtures;
mod pass;

use bytes::Bytes;
use proptest::prelude::*;
use relay_domain::{Meters, Mode};
use serde_json::Value;

use super::*;
use fixtures::{ALL, End, Fixture};

pub(super) fn stamp() -> Stamp {
    Stamp {
        model: "vendor/model".into(),
        task_id: "direct:0b1c2d3e-0000-4000-8000-000000000001".into(),
        mode: Mode::Direct,
        request_id: "req-1".into(),
        created: 1_790_000_000,
    }
}

pub(super) fn translator(surface: Surface, dialect: Dialect, include_usage: bool) -> Translator {
    Translator::new(surface, dialect, stamp(), include_usage)
}

pub(super) fn meters(read: [u64; 6]) -> Meters {
    let [uncached, cached, short, long, out_text, out_reasoning] = read;
    Meters {
        in_uncached: uncached,
        in_cache_read: cached,
        in_cache_write_5m: short,
        in_cache_write_1h: long,
        out_text,
        out_reasoning,
    }
}

/// What came out of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Run {
    /// Up to and without the tail.
    pub(super) body: String,
    pub(super) tail: String,
    pub(super) end: Result<(), WireError>,
    pub(super) seen: Seen,
}

/// Runs a stream cut into pieces at the given places.
pub(super) fn run_cut(
    surface: Surface,
    dialect: Dialect,
    stream: &[u8],
    cuts: impl IntoIterator<Item = usize>,
) -> Run {
    let mut translator = translator(surface, dialect, true);
    let (mut out, mut tail, mut from) = (Vec::new(), Vec::new(), 0);
    let mut end = Ok(());
    for cut in cuts.into_iter().chain([stream.len()]) {
        let chunk = Bytes::copy_from_slice(&stream[from..cut.max(from)]);
        from = cut.max(from);
        end = translator.push(&chunk, &mut out);
        assert!(translator.seen().first_content || out.is_empty(), "shown before content");
        if end.is_err() {
            break;
        }
    }
    let end = end.and_then(|()| translator.end_of_input());
    if end.is_ok() {
        let billed = translator.seen().usage.unwrap_or_default();
        translator.tail(TailReason::Finished, &billed, &Timing::default(), &mut tail);
    }
    let text = |parts: Vec<Bytes>| String::from_utf8(parts.concat()).unwrap();
    Run { body: text(out), tail: text(tail), end, seen: translator.seen().clone() }
}

pub(super) fn run(surface: Surface, dialect: Dialect, stream: &str) -> Run {
    run_cut(surface, dialect, stream.as_bytes(), [])
}

/// The JSON of every frame of a client's stream, in order, end marker left out.
pub(super) fn frames(stream: &str) -> Vec<Value> {
    let lines = stream.lines().filter_map(|line| match line.strip_prefix("data: ") {
        Some("[DONE]") => None,
        Some(data) => Some(data),
        None => line.starts_with('{').then_some(line),
    });
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The text and reasoning that a client of the surface reads out of its stream.
fn text(surface: Surface, stream: &str) -> String {
    let mut text = String::new();
    for frame in frames(stream) {
        let pieces: Vec<&Value> = match surface.dialect() {
            Dialect::Openai => {
                let choices = frame["choices"].as_array().into_iter().flatten();
                choices
                    .flat_map(|choice| {
                        let delta = &choice["delta"];
                        let reasoning = match &delta["reasoning_content"] {
                            Value::String(_) => &delta["reasoning_content"],
                            _ => &delta["reasoning"],
                        };
                        let parts = delta["content"].as_array().into_iter().flatten();
                        [reasoning, &delta["content"], &delta["refusal"]]
                            .into_iter()
                            .chain(parts.map(|part| &part["text"]))
                    })
                    .collect()
            }
            Dialect::Anthropic => vec![&frame["delta"]["thinking"], &frame["delta"]["text"]],
            Dialect::Ollama => vec![&frame["message"]["thinking"], &frame["message"]["content"]],
        };
        pieces.into_iter().filter_map(Value::as_str).for_each(|piece| text.push_str(piece));
    }
    text
}

fn fixtures() -> impl Iterator<Item = &'static Fixture> {
    ALL.iter().flat_map(|group| group.iter())
}

#[test]
fn there_are_enough_shapes() {
    assert!(fixtures().count() >= 50, "{}", fixtures().count());
}

#[test]
fn every_shape_is_read_on_every_surface() {
    for fixture in fixtures() {
        for surface in Surface::ALL {
            let run = run(surface, fixture.dialect, fixture.stream);
            let name = format!("{} on {surface:?}\n{run:#?}", fixture.name);
            match (fixture.end, &run.end) {
                (End::Finished, Ok(())) | (End::Truncated, Err(WireError::Truncated)) => {}
                (End::Garbage, Err(WireError::Garbage(_))) => {}
                (End::Upstream(named), Err(WireError::Upstream { status, .. })) => {
                    assert_eq!(named, *status, "{name}");
                }
                _ => panic!("{name}"),
            }
            assert_eq!(run.seen.usage, fixture.usage.map(meters), "{name}");
            // A surface with one answer has one choice: the second one's text stays away.
            let is_double = fixture.name.contains("two choices");
            let is_same = surface.dialect() == fixture.dialect;
            // What arrives with a last frame without its line end comes out with the tail.
            let shown = text(surface, &format!("{}{}", run.body, run.tail));
            if is_same || !is_double {
                assert_eq!(shown, fixture.text, "{name}");
            } else {
                assert!(shown.len() < fixture.text.len(), "{name}");
            }
            assert_eq!(run.seen.finished, fixture.end == End::Finished, "{name}");
        }
    }
}

#[test]
fn no_client_sees_the_engines_name_or_measurements() {
    for fixture in fixtures() {
        for surface in Surface::ALL {
            let run = run(surface, fixture.dialect, fixture.stream);
            for frame in frames(&run.body) {
                for holder in [&frame, &frame["message"]] {
                    if let Some(model) = holder.get("model") {
                        assert_eq!(model, "vendor/model", "{}", fixture.name);
                    }
                }
                if surface.dialect() == Dialect::Openai {
                    assert!(frame.get("timings").is_none(), "{}", fixture.name);
                    assert!(frame.get("usage").is_none(), "{}", fixture.name);
                }
            }
        }
    }
}

#[test]
fn a_stream_cut_before_its_finish_is_truncated() {
    let mut cuts = 0;
    for fixture in fixtures().filter(|fixture| fixture.end == End::Finished) {
        let whole = fixture.stream.as_bytes();
        for cut in 0..whole.len() {
            let run = run_cut(Surface::Openai, fixture.dialect, &whole[..cut], []);
            if run.end.is_ok() {
                assert!(run.seen.finished, "{} at {cut}", fixture.name);
            } else {
                cuts += 1;
                assert!(!run.seen.finished, "{} at {cut}", fixture.name);
                assert!(
                    matches!(run.end, Err(WireError::Truncated | WireError::Garbage(_))),
                    "{} at {cut}: {run:?}",
                    fixture.name
                );
            }
        }
    }
    assert!(cuts > 1000, "{cuts}");
}

#[test]
fn one_byte_at_a_time_gives_the_same() {
    for fixture in fixtures() {
        for surface in Surface::ALL {
            let whole = run(surface, fixture.dialect, fixture.stream);
            let cuts = 1..fixture.stream.len();
            let bytes = run_cut(surface, fixture.dialect, fixture.stream.as_bytes(), cuts);
            assert_eq!(whole, bytes, "{} on {surface:?}", fixture.name);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_cutting_gives_the_same(
        which in any::<prop::sample::Index>(),
        surface in prop::sample::select(&Surface::ALL),
        places in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let all: Vec<&Fixture> = fixtures().collect();
        let fixture = which.get(&all);
        let length = fixture.stream.len();
        let mut cuts: Vec<usize> = places.iter().map(|place| place.index(length + 1)).collect();
        cuts.sort_unstable();
        let whole = run(surface, fixture.dialect, fixture.stream);
        let cut = run_cut(surface, fixture.dialect, fixture.stream.as_bytes(), cuts);
        prop_assert_eq!(whole, cut);
    }

    #[test]
    fn damaged_streams_never_panic_and_never_leave_the_shape(
        which in any::<prop::sample::Index>(),
        surface in prop::sample::select(&Surface::ALL),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let all: Vec<&Fixture> = fixtures().collect();
        let fixture = which.get(&all);
        let mut bytes = fixture.stream.as_bytes().to_vec();
        for (place, byte) in damage {
            if !bytes.is_empty() {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let run = run_cut(surface, fixture.dialect, &bytes, []);
        // Whatever came out is in the surface's shape.
        frames(&run.body);
        frames(&run.tail);
    }
}

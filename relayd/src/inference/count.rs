//! What a request used, when the engine said so and when it did not. Pure.

use crate::domain::Meters;
use crate::ledger::{Claimed, CountSource};

/// What was read of a stream so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    /// The final usage, if one was seen.
    pub(super) usage: Option<Meters>,
    /// The newest running usage, if the engine reports one.
    pub(super) running: Option<Meters>,
    /// The prompt's part, where the engine tells it before the answer.
    pub(super) prompt: Option<Meters>,
    /// Whether part of the report was filled in rather than reported.
    pub(super) estimated: bool,
    /// Content events shown; each holds at least one token.
    pub(super) deltas: u64,
    /// Bytes of text shown.
    pub(super) out_bytes: u64,
}

/// Bytes of a prompt that make one token when nobody counted: what English text has in common
/// tokenizers. A prompt is never estimated above one token a byte.
const BYTES_PER_TOKEN: u64 = 4;

/// What is billed and who counted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// The quantities.
    pub(super) meters: Meters,
    /// Who counted.
    pub(super) source: CountSource,
    /// Whether the count is an estimate rather than a report.
    pub(super) estimated: bool,
    /// What the provider that answered claims instead.
    pub(super) claimed: Option<Claimed>,
}

/// Usage to be billed. `complete` tells whether the stream ran to its end: only then is a final
/// usage block of the engine the truth about what was delivered; otherwise its running report is.
pub(super) fn count(read: &Read, prompt_bytes: u64, complete: bool) -> Count {
    let reported = if complete { read.usage.or(read.running) } else { read.running.or(read.usage) };
    if let Some(meters) = reported {
        let source = CountSource::Engine;
        return Count { meters, source, estimated: read.estimated, claimed: None };
    }
    let prompt = read.prompt.unwrap_or_else(|| Meters {
        in_uncached: prompt_bytes.div_ceil(BYTES_PER_TOKEN),
        ..Meters::default()
    });
    let out_text = read.deltas.max(read.out_bytes.div_ceil(BYTES_PER_TOKEN));
    let meters = Meters { out_text, out_reasoning: 0, ..prompt };
    Count { meters, source: CountSource::Own, estimated: true, claimed: None }
}

/// Answer tokens that a provider's stream has shown so far, as far as can be told at once: its
/// pieces, of which each byte is at most one, and no less than its bytes make.
pub(super) fn shown(deltas: u64, out_bytes: u64) -> u64 {
    deltas.min(out_bytes).max(out_bytes.div_ceil(BYTES_PER_TOKEN))
}

/// Usage cut down to a ceiling, the dearest direction first: an engine that reports more than it
/// was allowed to make is not believed.
pub(super) fn cap(meters: Meters, input: u64, output: u64) -> (Meters, bool) {
    let mut capped = meters;
    let mut over_out = meters.output().saturating_sub(output);
    for field in [&mut capped.out_text, &mut capped.out_reasoning] {
        let cut = over_out.min(*field);
        *field -= cut;
        over_out -= cut;
    }
    let mut over_in = meters.input().saturating_sub(input);
    for field in [
        &mut capped.in_uncached,
        &mut capped.in_cache_write_1h,
        &mut capped.in_cache_write_5m,
        &mut capped.in_cache_read,
    ] {
        let cut = over_in.min(*field);
        *field -= cut;
        over_in -= cut;
    }
    (capped, capped != meters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_final_word_counts_only_at_the_end() {
        let usage = Meters { in_uncached: 9, out_text: 24, ..Meters::default() };
        let running = Meters { in_uncached: 9, out_text: 7, ..Meters::default() };
        let read = Read {
            usage: Some(usage),
            running: Some(running),
            deltas: 7,
            out_bytes: 30,
            ..Read::default()
        };
        let source = CountSource::Engine;
        let engine = |meters| Count { meters, source, estimated: false, claimed: None };
        assert_eq!(count(&read, 100, true), engine(usage));
        assert_eq!(count(&read, 100, false), engine(running));
    }

    #[test]
    fn without_a_word_of_the_engine_we_count_ourselves() {
        let own = count(&Read { deltas: 5, out_bytes: 40, ..Read::default() }, 41, true);
        assert_eq!((own.meters.in_uncached, own.meters.out_text), (11, 10));
        assert!(own.estimated && own.source == CountSource::Own);
    }

    #[test]
    fn what_the_engine_told_of_the_prompt_is_believed() {
        let prompt = Meters { in_uncached: 3, in_cache_read: 9, ..Meters::default() };
        let cut = count(&Read { prompt: Some(prompt), deltas: 2, ..Read::default() }, 400, false);
        assert_eq!((cut.meters.input(), cut.meters.out_text, cut.estimated), (12, 2, true));
    }

    #[test]
    fn an_explicit_zero_is_not_missing() {
        let read = Read { usage: Some(Meters::default()), deltas: 3, ..Read::default() };
        let zero = count(&read, 100, true);
        assert_eq!((zero.meters, zero.estimated), (Meters::default(), false));
    }

    #[test]
    fn absurd_counts_are_cut_to_the_ceiling() {
        let meters = Meters {
            in_uncached: 900,
            in_cache_read: 200,
            out_text: u64::MAX,
            ..Meters::default()
        };
        let (capped, cut) = cap(meters, 1000, 50);
        assert!(cut);
        assert_eq!((capped.input(), capped.out_text, capped.in_cache_read), (1000, 50, 200));
        assert!(!cap(capped, 1000, 50).1);
    }
}

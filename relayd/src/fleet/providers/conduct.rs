//! What providers do with requests, noted as it happens and judged by the bounds of what they showed
//! when they were examined. Pure, but for the lock around what waits to be judged.
//!
//! Whoever runs requests notes each one that a provider had; the providers' own task takes the notes,
//! judges them and writes scores. Nothing on a request's way waits for that.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::canary::{Likeness, Verdict};
use super::evidence::Evidence;
use super::reputation::Dimension;
use crate::domain::{ModelName, ProviderId};
use crate::wire::Finish;

/// Most notes that wait to be judged, in requests: some seconds of the busiest relay. What comes
/// beyond is not judged.
const NOTES_MAX: usize = 20_000;

/// Answers of a provider that are remembered to find repeated ones.
const REMEMBERED: usize = 64;

/// Least tokens of an answer that is not given twice by chance.
const LONG_TOKENS: u64 = 24;

/// Tokens by which a claim may differ from our count, whatever its size: marks of beginning and
/// end that some servers count.
const SLACK_TOKENS: u64 = 8;

/// How much slower than at its examination a provider may be, in times.
const SLOWER: u32 = 4;

/// First content within this time is never slow, whatever the examination showed.
const QUICK: Duration = Duration::from_secs(2);

/// An answer that was generated within this time tells nothing about pace.
const SHORT: Duration = Duration::from_secs(1);

/// Tokens a second, in thousandths, that are never slow: more than people read.
const READING_PACE: u64 = 15_000;

/// How a provider's request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was answered to the end.
    Answered,
    /// The provider failed it, or cut the answer short.
    Failed,
    /// It was answered to the end, and otherwise than enough others answered it.
    Differed,
}

/// One request that a provider had.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// How it ended.
    pub ending: Ending,
    /// Time to the first content; none for an answer that came whole.
    pub first: Option<Duration>,
    /// Time in which the rest came, or the whole.
    pub generating: Duration,
    /// Answer tokens by our count.
    pub counted: u64,
    /// Answer tokens by its claim.
    pub claimed: Option<u64>,
    /// Why it says that the answer ended.
    pub finish: Option<Finish>,
    /// Answer tokens that the caller allowed and the model has room for.
    pub allowed: u64,
    /// Marks of the prompt and of the answer, by which repetition is seen.
    pub marks: (u64, u64),
}

/// What a request said about one side of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Which side.
    pub(super) dimension: Dimension,
    /// What was wrong; none where it went well.
    pub(super) wrong: Option<String>,
}

/// An answer to a hidden question.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The model that was asked for.
    pub model: ModelName,
    /// How like the operator's own engine it was answered.
    pub likeness: Likeness,
}

/// Something that was noted of a provider.
#[derive(Clone, Debug)]
pub(super) enum Noted {
    /// A customer's request.
    Request(Note),
    /// A hidden question.
    Canary(Canary),
}

/// Notes that wait. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Conduct(Arc<Mutex<Vec<(ProviderId, Noted)>>>);

/// The answers that a provider gave lately: marks of prompt and answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Remembered(VecDeque<(u64, u64)>);

/// What a provider showed at its examination, as bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    first: Duration,
    /// Tokens a second of one answer, in thousandths.
    tokens_per_ks: u64,
}

/// A mark of a text. The same text has another one after a restart.
#[must_use]
pub fn mark<'a>(texts: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hasher = DefaultHasher::new();
    texts.into_iter().for_each(|text| text.hash(&mut hasher));
    hasher.finish()
}

impl Conduct {
    /// Notes a request that a provider had.
    pub fn note(&self, provider: ProviderId, note: Note) {
        self.push(provider, Noted::Request(note));
    }

    /// Notes an answer to a hidden question.
    pub fn canary(&self, provider: ProviderId, canary: Canary) {
        self.push(provider, Noted::Canary(canary));
    }

    fn push(&self, provider: ProviderId, noted: Noted) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < NOTES_MAX {
            waiting.push((provider, noted));
        }
    }

    /// Takes what waits.
    pub(super) fn take(&self) -> Vec<(ProviderId, Noted)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pace {
    /// What an examination allows: so many times as slow as the slowest that it showed.
    pub(super) fn of(evidence: &Evidence) -> Self {
        let runs = || evidence.engines.iter().flat_map(|engine| &engine.benchmarks);
        let slowest = runs().map(|run| run.ttft_max_ms).max().unwrap_or(0);
        let first = Duration::from_millis(slowest.into()) * SLOWER;
        let each = runs().map(|run| run.tokens_per_ks / u64::from(run.concurrency.max(1)));
        let tokens_per_ks = each.min().unwrap_or(0) / u64::from(SLOWER);
        Self { first: first.max(QUICK), tokens_per_ks: tokens_per_ks.min(READING_PACE) }
    }
}

impl Remembered {
    /// Whether that answer was given lately to another prompt; remembers it.
    fn repeats(&mut self, (prompt, answer): (u64, u64)) -> bool {
        let known = self.0.iter().any(|(other, same)| *same == answer && *other != prompt);
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((prompt, answer));
        known
    }
}

/// What is said about a provider by what was noted of it.
pub(super) fn judge_noted(noted: &Noted, pace: Pace, remembered: &mut Remembered) -> Vec<Finding> {
    match noted {
        Noted::Request(note) => judge(note, pace, remembered),
        Noted::Canary(canary) => identity(canary).into_iter().collect(),
    }
}

/// What an answer to a hidden question says; nothing where it tells no model from another.
fn identity(Canary { model, likeness }: &Canary) -> Option<Finding> {
    let wrong = match likeness.verdict() {
        Verdict::Unsure => return None,
        Verdict::Same => None,
        Verdict::Other => Some(format!("answered a hidden question unlike {model}: {likeness}")),
    };
    Some(Finding { dimension: Dimension::Identity, wrong })
}

/// What a request says about a provider.
fn judge(note: &Note, pace: Pace, remembered: &mut Remembered) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |dimension, wrong| found.push(Finding { dimension, wrong });
    match note.ending {
        Ending::Answered => {}
        Ending::Failed => {
            say(Dimension::Availability, Some("failed a request or cut its answer".to_owned()));
            return found;
        }
        Ending::Differed => {
            say(Dimension::Identity, Some("answered otherwise than a quorum did".to_owned()));
            return found;
        }
    }
    say(Dimension::Availability, None);
    say(Dimension::Latency, slow(note, pace));
    let repeated = note.counted >= LONG_TOKENS && remembered.repeats(note.marks);
    say(Dimension::Quality, poor(note, repeated));
    if let Some(claimed) = note.claimed {
        say(Dimension::Honesty, untrue(note.counted, claimed));
    }
    found
}

fn slow(note: &Note, pace: Pace) -> Option<String> {
    if let Some(first) = note.first
        && first > pace.first
    {
        let (took, most) = (first.as_millis(), pace.first.as_millis());
        return Some(format!("first content after {took} ms, expected within {most} ms"));
    }
    if note.generating < SHORT {
        return None;
    }
    let took = u64::try_from(note.generating.as_millis()).unwrap_or(u64::MAX);
    let rate = note.counted.saturating_mul(1_000_000) / took.max(1);
    (rate < pace.tokens_per_ks).then(|| {
        format!(
            "{} tokens in {took} ms, expected {}.{} tokens/s",
            note.counted,
            pace.tokens_per_ks / 1_000,
            pace.tokens_per_ks % 1_000 / 100
        )
    })
}

fn poor(note: &Note, repeated: bool) -> Option<String> {
    if repeated {
        return Some("gave the same long answer to different prompts".to_owned());
    }
    if note.counted == 0 {
        return Some("an answer without a word".to_owned());
    }
    let least = note.allowed - note.allowed / 10;
    let short = note.counted.saturating_add(SLACK_TOKENS) < least;
    (note.finish == Some(Finish::Length) && short).then(|| {
        let (counted, allowed) = (note.counted, note.allowed);
        format!("says that the length of {allowed} tokens was reached after {counted}")
    })
}

/// Whether a claim is above our count by more than chance. One below costs nobody anything.
fn untrue(counted: u64, claimed: u64) -> Option<String> {
    let most = counted.saturating_add(SLACK_TOKENS.max(counted / 10));
    (claimed > most).then(|| format!("claims {claimed} answer tokens for {counted}"))
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Benchmark, EngineEvidence};
    use super::*;

    const PACE: Pace = Pace { first: QUICK, tokens_per_ks: 10_000 };

    fn note(counted: u64) -> Note {
        Note {
            ending: Ending::Answered,
            first: Some(Duration::from_millis(100)),
            generating: Duration::from_millis(500),
            counted,
            claimed: Some(counted + 1),
            finish: Some(Finish::Stop),
            allowed: 1_000,
            marks: (counted, counted),
        }
    }

    fn wrong(note: &Note) -> Vec<Dimension> {
        let found = judge(note, PACE, &mut Remembered::default());
        found.into_iter().filter(|one| one.wrong.is_some()).map(|one| one.dimension).collect()
    }

    #[test]
    fn an_honest_answer_is_good_on_every_side() {
        let found = judge(&note(40), PACE, &mut Remembered::default());
        assert_eq!(found.len(), 4);
        assert!(found.iter().all(|one| one.wrong.is_none()), "{found:?}");
        let silent = Note { claimed: None, ..note(40) };
        assert_eq!(judge(&silent, PACE, &mut Remembered::default()).len(), 3, "no claim, no score");
    }

    #[test]
    fn each_way_to_cheat_has_its_side() {
        let failed = Note { ending: Ending::Failed, ..note(3) };
        assert_eq!(wrong(&failed), [Dimension::Availability]);
        let alone = Note { ending: Ending::Differed, ..note(3) };
        assert_eq!(wrong(&alone), [Dimension::Identity]);
        let late = Note { first: Some(Duration::from_secs(3)), ..note(40) };
        assert_eq!(wrong(&late), [Dimension::Latency]);
        let drip = Note { generating: Duration::from_secs(20), ..note(40) };
        assert_eq!(wrong(&drip), [Dimension::Latency]);
        let inflated = Note { claimed: Some(60), ..note(40) };
        assert_eq!(wrong(&inflated), [Dimension::Honesty]);
        let within = Note { claimed: Some(48), ..note(40) };
        assert_eq!(wrong(&within), []);
        let cut = Note { finish: Some(Finish::Length), ..note(40) };
        assert_eq!(wrong(&cut), [Dimension::Quality]);
        let reached = Note { allowed: 40, ..cut };
        assert_eq!(wrong(&reached), []);
        assert_eq!(wrong(&Note { claimed: Some(0), ..note(0) }), [Dimension::Quality]);
    }

    #[test]
    fn a_long_answer_is_not_given_to_two_prompts() {
        let mut remembered = Remembered::default();
        let mut repeats = |prompt, answer, counted| {
            let note = Note { marks: (prompt, answer), ..note(counted) };
            let found = judge(&note, PACE, &mut remembered);
            found.iter().any(|one| one.dimension == Dimension::Quality && one.wrong.is_some())
        };
        assert!(!repeats(1, 7, 40));
        assert!(!repeats(1, 7, 40), "the same prompt may be answered alike");
        assert!(repeats(2, 7, 40));
        assert!(!repeats(3, 9, 40));
        assert!(!repeats(4, 8, 5) && !repeats(5, 8, 5), "a short answer may come twice");
        for other in 100..200 {
            repeats(other, other, 40);
        }
        assert!(!repeats(6, 7, 40), "what is long past is forgotten");
    }

    #[test]
    fn the_pace_follows_from_the_examination() {
        let run = |concurrency, ttft_max_ms, tokens_per_ks| Benchmark {
            concurrency,
            ttft_max_ms,
            tokens_per_ks,
            ..Benchmark::default()
        };
        let benchmarks = vec![run(1, 100, 40_000), run(4, 900, 80_000)];
        let engines = vec![EngineEvidence { benchmarks, ..EngineEvidence::default() }];
        let evidence = Evidence { engines, ..Evidence::default() };
        let expected = Pace { first: Duration::from_millis(3_600), tokens_per_ks: 5_000 };
        assert_eq!(Pace::of(&evidence), expected);
        let nothing = Pace { first: QUICK, tokens_per_ks: 0 };
        assert_eq!(Pace::of(&Evidence::default()), nothing, "nothing measured, nothing expected");
    }

    #[test]
    fn a_hidden_question_speaks_of_identity_or_not_at_all() {
        let found = |agreement_milli, gap_milli| {
            let likeness = Likeness { agreement_milli, difference_milli: None, gap_milli };
            let noted = Noted::Canary(Canary { model: "m".parse().unwrap(), likeness });
            judge_noted(&noted, PACE, &mut Remembered::default())
        };
        let same = Finding { dimension: Dimension::Identity, wrong: None };
        assert_eq!(found(1_000, None), [same]);
        assert_eq!(found(100, Some(50)), [], "where the reference was undecided");
        let wrong = "answered a hidden question unlike m: 100 of 1000 of the words agree";
        let other = Finding { dimension: Dimension::Identity, wrong: Some(wrong.to_owned()) };
        assert_eq!(found(100, None), [other]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let conduct = Conduct::default();
        let provider: ProviderId = "prov_0123456789abcdef".parse().unwrap();
        for _ in 0..NOTES_MAX + 5 {
            conduct.note(provider.clone(), note(1));
        }
        assert_eq!(conduct.take().len(), NOTES_MAX);
        assert!(conduct.take().is_empty());
    }
}

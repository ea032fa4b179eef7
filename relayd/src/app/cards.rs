//! GPUs that go, fail or come back become events, those of providers' hosts as well as our own.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::{Card, CardState, Gpus};
use crate::events::{EventKind, Events, Severity};
use crate::fleet::Providers;
use crate::gpu::{LOCAL, LocalHost};

/// Time between two looks.
const TICK: Duration = Duration::from_secs(1);

/// Shortest time between two tellings of one host: what flickers, or is made up by an agent, is a
/// few lines a minute.
const QUIET: Duration = Duration::from_secs(10);

/// What was told of one host.
struct Told {
    quiet_until: Option<Instant>,
    driver: bool,
    /// By uuid, or by place where the driver has not said it.
    cards: BTreeMap<String, Word>,
}

/// How a card is, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Ok,
    Failing,
    Lost,
}

/// One event to come.
#[derive(Debug, PartialEq, Eq)]
struct News {
    kind: EventKind,
    severity: Severity,
    text: String,
}

/// Tells what becomes of cards, until `stop`.
pub(super) async fn cards(
    local: LocalHost,
    providers: Providers,
    events: Events,
    stop: CancellationToken,
) {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        let ours = (LOCAL.to_owned(), local.name().to_owned(), local.report());
        let theirs = providers.hosts().into_iter();
        let theirs = theirs.map(|(id, name, report)| (id.to_string(), name, report));
        let hosts: BTreeMap<_, _> = std::iter::once(ours)
            .chain(theirs)
            .map(|(id, name, report)| (id, (name, report)))
            .collect();
        told.retain(|id, _| hosts.contains_key(id));
        for (id, (name, report)) in hosts {
            let gpus = &report.gpus;
            // What is old says how it was.
            if gpus.is_stale() || matches!(gpus.value, Gpus::Off | Gpus::Unknown) {
                continue;
            }
            let known = told.entry(id.clone()).or_insert_with(|| Told::new(&gpus.value));
            for News { kind, severity, text } in known.look(&name, &gpus.value, Instant::now()) {
                events.emit(kind, severity, &id, &text);
            }
        }
    }
}

impl Told {
    /// Of a host that is seen for the first time: one without a driver is as it should be.
    fn new(gpus: &Gpus) -> Self {
        Self { quiet_until: None, driver: gpus.driver().is_some(), cards: BTreeMap::new() }
    }

    /// What is new since it was told of last.
    fn look(&mut self, host: &str, gpus: &Gpus, now: Instant) -> Vec<News> {
        if self.quiet_until.is_some_and(|until| now < until) {
            return Vec::new();
        }
        let mut news = Vec::new();
        if let Gpus::NoDriver { reason, .. } = gpus {
            // The cards went with it, which is one thing to tell and not one of each.
            if std::mem::replace(&mut self.driver, false) {
                let text = format!("the GPU driver of {host} does not answer: {reason}");
                news.push(News { kind: EventKind::GpuLost, severity: Severity::Critical, text });
            }
        } else {
            if !std::mem::replace(&mut self.driver, true) {
                let text = format!("the GPU driver of {host} answers");
                news.push(News { kind: EventKind::GpuBack, severity: Severity::Info, text });
            }
            news.extend(self.compare(host, gpus.cards()));
        }
        if !news.is_empty() {
            self.quiet_until = Some(now + QUIET);
        }
        news
    }

    /// One piece of news for all cards that became the same.
    fn compare(&mut self, host: &str, cards: &[Card]) -> Vec<News> {
        let mut became: [Vec<&Card>; 3] = Default::default();
        for card in cards {
            let word = Word::of(card);
            let before = self.cards.insert(key(card), word).unwrap_or(Word::Ok);
            if before != word {
                became[word as usize].push(card);
            }
        }
        self.cards.retain(|known, _| cards.iter().any(|card| key(card) == *known));
        let of = |word: Word, (kind, severity), what: &str| {
            let cards = &became[word as usize];
            let first = cards.first()?;
            let reason = match &first.state {
                CardState::Ok => String::new(),
                CardState::Failing { reason, .. } | CardState::Lost { reason, .. } => {
                    format!(": {reason}")
                }
            };
            let verb = if cards.len() == 1 { "is" } else { "are" };
            let text = format!("{} of {host} {verb} {what}{reason}", named(cards));
            Some(News { kind, severity, text })
        };
        [
            of(Word::Lost, (EventKind::GpuLost, Severity::Critical), "lost"),
            of(Word::Failing, (EventKind::GpuFailing, Severity::Warning), "failing"),
            of(Word::Ok, (EventKind::GpuBack, Severity::Info), "well again"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Word {
    const fn of(card: &Card) -> Self {
        match card.state {
            CardState::Ok => Self::Ok,
            CardState::Failing { .. } => Self::Failing,
            CardState::Lost { .. } => Self::Lost,
        }
    }
}

fn key(card: &Card) -> String {
    if card.uuid.is_empty() { format!("#{}", card.index) } else { card.uuid.clone() }
}

/// `GPU 1 (NVIDIA H100)`, `GPUs 1, 2, 3`.
fn named(cards: &[&Card]) -> String {
    match cards {
        [only] => match &only.name {
            Some(name) => format!("GPU {} ({name})", only.index),
            None => format!("GPU {}", only.index),
        },
        several => {
            let all: Vec<_> = several.iter().map(|card| card.index.to_string()).collect();
            format!("GPUs {}", all.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CardReading, Driver};

    fn card(index: u32, state: CardState) -> Card {
        Card {
            index,
            uuid: format!("GPU-{index}"),
            pci_id: None,
            name: Some("H100".to_owned()),
            state,
            reading: CardReading::default(),
        }
    }

    fn lost() -> CardState {
        CardState::Lost { since_ms: 1, reason: "fell off".to_owned() }
    }

    fn failing() -> CardState {
        CardState::Failing { since_ms: 1, reason: "ecc".to_owned() }
    }

    fn with(states: [CardState; 3]) -> Gpus {
        let cards = (0..).zip(states).map(|(index, state)| card(index, state)).collect();
        Gpus::Cards { driver: Driver::default(), cards }
    }

    #[test]
    fn each_change_is_told_once_and_a_host_that_flickers_seldom() {
        let all_well = || with([CardState::Ok, CardState::Ok, CardState::Ok]);
        let mut told = Told::new(&all_well());
        let start = Instant::now();
        let mut look = |gpus: &Gpus, seconds: u64| {
            let news = told.look("gpu-1", gpus, start + Duration::from_secs(seconds));
            news.into_iter().map(|news| (news.kind, news.text)).collect::<Vec<_>>()
        };
        assert_eq!(look(&all_well(), 0), []);
        let one_gone = with([CardState::Ok, lost(), failing()]);
        assert_eq!(
            look(&one_gone, 1),
            [
                (EventKind::GpuLost, "GPU 1 (H100) of gpu-1 is lost: fell off".to_owned()),
                (EventKind::GpuFailing, "GPU 2 (H100) of gpu-1 is failing: ecc".to_owned())
            ]
        );
        assert_eq!(look(&all_well(), 2), [], "it was told of a moment ago");
        assert_eq!(look(&one_gone, 11), [], "as it was told");
        let back = look(&all_well(), 12);
        assert_eq!(back, [(EventKind::GpuBack, "GPUs 1, 2 of gpu-1 are well again".to_owned())]);

        let cards = vec![card(0, lost()), card(1, lost()), card(2, lost())];
        let gone = Gpus::NoDriver { reason: "unloaded".to_owned(), since_ms: 1, lost: cards };
        let text = "the GPU driver of gpu-1 does not answer: unloaded".to_owned();
        assert_eq!(look(&gone, 30), [(EventKind::GpuLost, text)]);
        assert_eq!(look(&gone, 60), []);
        let news = look(&with([CardState::Ok, CardState::Ok, lost()]), 90);
        assert_eq!(news[0].1, "the GPU driver of gpu-1 answers");
        assert_eq!(news[1].1, "GPU 2 (H100) of gpu-1 is lost: fell off");
        // A host without GPUs never had any to lose.
        let mut none = Told::new(&gone);
        assert_eq!(none.look("cpu-1", &gone, start), []);
    }
}

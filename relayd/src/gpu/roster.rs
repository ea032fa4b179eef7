//! Remembers the cards of this host, so that one that goes is told as lost and not left out.
//!
//! A card is known by its uuid. Its index is only how the driver counts: when a card falls off the
//! bus the driver may go on counting it or not, and the others may move up.

use super::nvml::{Said, Trouble};
use crate::domain::{CARDS_MAX, Card, CardReading, CardState, Driver, Gpus};

/// A lost card that did not come back for this long is forgotten: it was taken out.
const LOST_KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// The cards that were ever seen, and whether the driver answers.
#[derive(Debug, Default)]
pub(super) struct Roster {
    cards: Vec<Card>,
    /// Since when the driver does not answer.
    gone_since_ms: Option<i64>,
}

impl Roster {
    /// Whether a card is missing, so that the driver's library may be worth opening again.
    pub(super) fn misses_any(&self) -> bool {
        self.cards.iter().any(|card| matches!(card.state, CardState::Lost { .. }))
    }

    /// The driver does not answer.
    pub(super) fn driver_gone(&mut self, reason: &str, now_ms: i64) -> Gpus {
        let since_ms = *self.gone_since_ms.get_or_insert(now_ms);
        for card in &mut self.cards {
            lose(card, "the driver does not answer", now_ms);
        }
        self.forget(now_ms);
        Gpus::NoDriver { reason: reason.to_owned(), since_ms, lost: self.cards.clone() }
    }

    /// The driver answered for these cards.
    pub(super) fn seen(&mut self, driver: Driver, said: Vec<Said>, now_ms: i64) -> Gpus {
        self.gone_since_ms = None;
        let mut present = vec![false; self.cards.len()];
        // Those that answered first: they say which of the known ones are left for the silent.
        let (answered, silent): (Vec<_>, Vec<_>) =
            said.into_iter().partition(|said| matches!(said, Said::Answered { .. }));
        for said in answered.into_iter().chain(silent) {
            let at = self.place(&said, &present);
            if at == present.len() {
                present.push(true);
            } else {
                present[at] = true;
            }
            tell(&mut self.cards[at], said, now_ms);
        }
        for (card, present) in self.cards.iter_mut().zip(present) {
            if !present {
                lose(card, "the driver no longer tells of it", now_ms);
            }
        }
        self.forget(now_ms);
        self.cards.sort_by_key(|card| card.index);
        if self.cards.is_empty() {
            Gpus::NoCards { driver }
        } else {
            Gpus::Cards { driver, cards: self.cards.clone() }
        }
    }

    /// Where the card that is spoken of stands; a new one is put at the end.
    fn place(&mut self, said: &Said, present: &[bool]) -> usize {
        let (index, uuid) = match said {
            Said::Answered { index, identity, .. } => (*index, Some(identity.uuid.as_str())),
            Said::Silent { index, uuid, .. } => (*index, uuid.as_deref()),
        };
        let free = |at: usize| !present.get(at).copied().unwrap_or(true);
        let found = match uuid {
            // A card that could not say its uuid may have taken the place at this index before.
            Some(uuid) => self
                .cards
                .iter()
                .position(|card| card.uuid == uuid)
                .or_else(|| self.at_index(index, |at, card| card.uuid.is_empty() && free(at))),
            None => self.at_index(index, |at, _| free(at)),
        };
        found.unwrap_or_else(|| {
            self.cards.push(Card {
                index,
                uuid: uuid.unwrap_or_default().to_owned(),
                pci_id: None,
                name: None,
                state: CardState::Ok,
                reading: CardReading::default(),
            });
            self.cards.len() - 1
        })
    }

    fn at_index(&self, index: u32, fits: impl Fn(usize, &Card) -> bool) -> Option<usize> {
        let mut cards = self.cards.iter().enumerate();
        cards.position(|(at, card)| card.index == index && fits(at, card))
    }

    /// Keeps the number of cards bounded.
    fn forget(&mut self, now_ms: i64) {
        self.cards.retain(|card| match &card.state {
            CardState::Lost { since_ms, .. } => now_ms.saturating_sub(*since_ms) < LOST_KEPT_MS,
            CardState::Ok | CardState::Failing { .. } => true,
        });
        while self.cards.len() > CARDS_MAX {
            let longest_lost =
                self.cards.iter().enumerate().min_by_key(|(_, card)| match &card.state {
                    CardState::Lost { since_ms, .. } => *since_ms,
                    CardState::Ok | CardState::Failing { .. } => i64::MAX,
                });
            let Some(at) = longest_lost.map(|(at, _)| at) else { return };
            self.cards.remove(at);
        }
    }
}

/// Writes down what was said about a card.
fn tell(card: &mut Card, said: Said, now_ms: i64) {
    match said {
        Said::Answered { index, identity, reading, failing } => {
            let before = std::mem::replace(&mut card.reading, *reading);
            // Asked of one card a turn only: until its next turn the last word holds.
            card.reading.pcie_rx_kib_s = card.reading.pcie_rx_kib_s.or(before.pcie_rx_kib_s);
            card.reading.pcie_tx_kib_s = card.reading.pcie_tx_kib_s.or(before.pcie_tx_kib_s);
            card.index = index;
            card.uuid = identity.uuid;
            card.pci_id = identity.pci_id.or(card.pci_id.take());
            card.name = identity.name.or(card.name.take());
            match failing {
                None => card.state = CardState::Ok,
                Some(reason) => fail(card, reason, now_ms),
            }
        }
        Said::Silent { index, uuid, trouble } => {
            card.index = index;
            if let Some(uuid) = uuid {
                card.uuid = uuid;
            }
            match trouble {
                Trouble::Lost(reason) => lose(card, &reason, now_ms),
                Trouble::Failing(reason) => {
                    card.reading = CardReading::default();
                    fail(card, reason, now_ms);
                }
            }
        }
    }
}

fn fail(card: &mut Card, reason: String, now_ms: i64) {
    let since_ms = match &card.state {
        CardState::Failing { since_ms, .. } => *since_ms,
        CardState::Ok | CardState::Lost { .. } => now_ms,
    };
    card.state = CardState::Failing { since_ms, reason };
}

/// The first reason stays: what follows from it tells less.
fn lose(card: &mut Card, reason: &str, now_ms: i64) {
    card.reading = CardReading::default();
    if !matches!(card.state, CardState::Lost { .. }) {
        card.state = CardState::Lost { since_ms: now_ms, reason: reason.to_owned() };
    }
}

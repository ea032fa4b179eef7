//! The cards that a provider declares, held against what its telemetry shows.

use super::Providers;
use crate::domain::{Card, CardState, DeclaredGpu, ProviderId};

/// Share of the declared memory that a card must show, in percent: drivers keep some for
/// themselves, and sellers count in thousands.
const MEMORY_SHOWN_PCT: u64 = 90;

impl Providers {
    /// What a provider's telemetry does not show of the cards that it declares, a sentence each.
    pub(super) fn cards_missing(&self, id: &ProviderId, declared: &[DeclaredGpu]) -> Vec<String> {
        let all = self.live();
        let host = all.get(id).and_then(|live| live.host());
        missing(declared, host.map_or(&[], |host| host.gpus().cards()))
    }
}

/// Each card that answers stands for one declared card at most.
fn missing(declared: &[DeclaredGpu], shown: &[Card]) -> Vec<String> {
    let mut left: Vec<&Card> =
        shown.iter().filter(|card| !matches!(card.state, CardState::Lost { .. })).collect();
    let mut missing = Vec::new();
    for gpu in declared {
        let mut found = 0;
        left.retain(|card| {
            let taken = found < gpu.count && is_one_of(card, gpu);
            found += u32::from(taken);
            !taken
        });
        if found < gpu.count {
            let memory = match gpu.memory_mib {
                0 => String::new(),
                mib => format!(" of {mib} MiB"),
            };
            missing.push(format!(
                "it declares {}x {}{memory} and its telemetry shows {found}",
                gpu.count, gpu.name
            ));
        }
    }
    missing
}

/// Whether a card is what was declared: every word stands in its name, and its memory is as large.
fn is_one_of(card: &Card, gpu: &DeclaredGpu) -> bool {
    let name = card.name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let named = gpu.name.split_whitespace().all(|word| name.contains(&word.to_ascii_lowercase()));
    let shown = card.reading.memory_total_mib.unwrap_or(0);
    named && shown.saturating_mul(100) >= gpu.memory_mib.saturating_mul(MEMORY_SHOWN_PCT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::CardReading;

    fn card(name: &str, memory_mib: u64) -> Card {
        Card {
            index: 0,
            uuid: String::new(),
            pci_id: None,
            name: Some(name.to_owned()),
            state: CardState::Ok,
            reading: CardReading { memory_total_mib: Some(memory_mib), ..CardReading::default() },
        }
    }

    fn gpu(name: &str, count: u32, memory_mib: u64) -> DeclaredGpu {
        DeclaredGpu { name: name.to_owned(), count, memory_mib }
    }

    #[test]
    fn every_declared_card_must_show() {
        let ours = [card("NVIDIA GeForce RTX 4090", 24_564), card("NVIDIA H100 80GB HBM3", 81_559)];
        assert!(missing(&[], &[]).is_empty(), "nothing declared, nothing missing");
        assert!(missing(&[gpu("rtx 4090", 1, 24_576), gpu("H100", 1, 81_920)], &ours).is_empty());
        let two = missing(&[gpu("RTX 4090", 2, 24_576)], &ours);
        assert_eq!(two, ["it declares 2x RTX 4090 of 24576 MiB and its telemetry shows 1"]);
        assert_eq!(missing(&[gpu("RTX 4090", 1, 49_152)], &ours).len(), 1, "too little memory");
        assert_eq!(missing(&[gpu("RTX 4090", 1, 0)], &[]).len(), 1, "nothing is shown");
        // One card is not two, whatever it is called in between.
        assert_eq!(missing(&[gpu("RTX", 1, 0), gpu("4090", 1, 0)], &ours).len(), 1);
        let mut lost = card("RTX 4090", 24_564);
        lost.state = CardState::Lost { since_ms: 1, reason: String::new() };
        assert_eq!(missing(&[gpu("RTX 4090", 1, 0)], &[lost]).len(), 1);
    }
}

//! Hosts and their GPUs, in the console's own words.
//!
//! A list of cards over all hosts. A host that has no card to show is a row too, with the reason; and
//! cards may be put together by host, by provider, by the models that are served there or by their
//! make, a row each.
//!
//! Units: memory in MiB, power in milliwatts, clocks in MHz, temperatures in degrees Celsius, shares
//! in whole percent. What a card does not tell is `None`, never 0.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::{Field, Row, Value, field};
use super::rows::{number, text};
use super::series::Series;

/// How a card stands, or a host that has none; the worst first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GpuState {
    Lost,
    Failing,
    /// What stands here is what was.
    Stale,
    NoDriver,
    Starting,
    #[default]
    Ok,
    NoCards,
    Off,
}

/// A machine, as it was last heard of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Empty for the operator's own.
    pub(crate) provider: String,
    pub(crate) stale: bool,
    pub(crate) age_ms: u64,
    pub(crate) cores: Option<u32>,
    pub(crate) cpu_pct: Option<u32>,
    pub(crate) load_milli: Option<u64>,
    pub(crate) memory_total_mib: Option<u64>,
    pub(crate) memory_available_mib: Option<u64>,
    pub(crate) disk_total_mib: Option<u64>,
    pub(crate) disk_available_mib: Option<u64>,
    /// How its GPUs stand as a whole; [`GpuState::Ok`] where the cards speak for themselves.
    pub(crate) state: GpuState,
    pub(crate) reason: String,
    pub(crate) since_ms: i64,
    pub(crate) gpus_age_ms: u64,
    pub(crate) driver: Option<String>,
    pub(crate) cuda: Option<String>,
    pub(crate) cards: Vec<Card>,
}

/// A card, as its host told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) index: u32,
    pub(crate) uuid: String,
    pub(crate) pci: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) state: GpuState,
    pub(crate) reason: String,
    pub(crate) since_ms: i64,
    pub(crate) gpu_pct: Option<u32>,
    pub(crate) memory_pct: Option<u32>,
    pub(crate) memory_total_mib: Option<u64>,
    pub(crate) memory_used_mib: Option<u64>,
    pub(crate) celsius: Option<u32>,
    pub(crate) power_mw: Option<u32>,
    pub(crate) power_limit_mw: Option<u32>,
    pub(crate) sm_mhz: Option<u32>,
    pub(crate) memory_mhz: Option<u32>,
    pub(crate) throttle: Option<String>,
    pub(crate) ecc_corrected: Option<u64>,
    pub(crate) ecc_uncorrected: Option<u64>,
    pub(crate) fan_pct: Option<u32>,
    pub(crate) rx_kib_s: Option<u32>,
    pub(crate) tx_kib_s: Option<u32>,
    pub(crate) mig: Option<bool>,
    pub(crate) processes_total: Option<u32>,
    pub(crate) processes: Vec<Process>,
}

/// A process that holds memory of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) memory_mib: Option<u64>,
    pub(crate) name: Option<String>,
}

/// What a row stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Grouping {
    #[default]
    Card,
    Host,
    Provider,
    /// The models that the backends of a card's provider serve: a card may stand in several rows.
    Model,
    Make,
}

/// The models that each provider serves, the operator's own under an empty id.
pub(crate) type Serving = BTreeMap<String, BTreeSet<String>>;

/// A row of the list: a card, a host without one, or several cards together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gpu {
    pub(crate) id: String,
    /// What stands under the first heading: the host, or what the cards have in common.
    pub(crate) name: String,
    pub(crate) host_id: String,
    pub(crate) provider: String,
    /// Cards that it stands for; 0 for a host without any.
    pub(crate) cards: u32,
    /// The only card, where it is one.
    pub(crate) index: Option<u32>,
    /// The worst of them.
    pub(crate) state: GpuState,
    pub(crate) age_ms: u64,
    /// Of several cards: mean share, sums of memory and power, the greatest temperature.
    pub(crate) card: Card,
}

/// What the charts of a row show.
#[derive(Clone, Debug, Default)]
pub(crate) struct GpuHistory {
    pub(crate) used: Series,
    pub(crate) memory: Series,
    pub(crate) power: Series,
}

impl GpuState {
    /// Words, so that the meaning needs no colour; capitals where service suffers.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Lost => "LOST",
            Self::Failing => "FAILING",
            Self::Stale => "stale",
            Self::NoDriver => "no driver",
            Self::Starting => "starting",
            Self::Ok => "ok",
            Self::NoCards => "no cards",
            Self::Off => "off",
        }
    }
}

impl Grouping {
    pub(crate) const fn next(self) -> Self {
        match self {
            Self::Card => Self::Host,
            Self::Host => Self::Provider,
            Self::Provider => Self::Model,
            Self::Model => Self::Make,
            Self::Make => Self::Card,
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Card => "card",
            Self::Host => "host",
            Self::Provider => "provider",
            Self::Model => "model",
            Self::Make => "make",
        }
    }

    /// What a card is put under; nothing where each is a row of its own.
    fn keys<'a>(self, host: &'a Host, card: &'a Card, serving: &'a Serving) -> Vec<&'a str> {
        match self {
            Self::Card => Vec::new(),
            Self::Host => vec![&host.id],
            Self::Provider => vec![&host.provider],
            Self::Model => match serving.get(&host.provider) {
                Some(models) if !models.is_empty() => models.iter().map(String::as_str).collect(),
                _ => vec![""],
            },
            Self::Make => vec![card.name.as_deref().unwrap_or_default()],
        }
    }
}

/// The rows of the list, over all hosts.
pub(crate) fn rows(
    hosts: &BTreeMap<String, Host>,
    serving: &Serving,
    grouping: Grouping,
) -> Vec<Gpu> {
    let mut all: Vec<Gpu> = Vec::new();
    let mut groups: BTreeMap<&str, Vec<(&Host, &Card)>> = BTreeMap::new();
    for host in hosts.values() {
        if host.cards.is_empty() {
            all.push(without(host));
        }
        for card in &host.cards {
            if grouping == Grouping::Card {
                all.push(alone(host, card));
            }
            for key in grouping.keys(host, card, serving) {
                groups.entry(key).or_default().push((host, card));
            }
        }
    }
    all.extend(groups.into_iter().map(|(key, cards)| together(grouping, key, &cards)));
    all
}

/// A host that has no card to show.
fn without(host: &Host) -> Gpu {
    let state = if host.stale { GpuState::Stale } else { host.state };
    let card = Card { reason: host.reason.clone(), since_ms: host.since_ms, ..Card::default() };
    Gpu {
        id: host.id.clone(),
        name: host.name.clone(),
        host_id: host.id.clone(),
        provider: host.provider.clone(),
        state,
        age_ms: host.age_ms.max(host.gpus_age_ms),
        card,
        ..Gpu::default()
    }
}

fn alone(host: &Host, card: &Card) -> Gpu {
    // An index may be another card's after one is gone: the identity is the row's, where it is known.
    let own = if card.uuid.is_empty() { card.index.to_string() } else { card.uuid.clone() };
    Gpu {
        id: format!("{}/{own}", host.id),
        name: host.name.clone(),
        host_id: host.id.clone(),
        provider: host.provider.clone(),
        cards: 1,
        index: Some(card.index),
        state: state_of(host, card),
        age_ms: host.age_ms.max(host.gpus_age_ms),
        card: card.clone(),
    }
}

/// A card that is lost stays so; of any other, old figures are the first thing to know.
fn state_of(host: &Host, card: &Card) -> GpuState {
    if (host.stale || host.state == GpuState::Stale) && card.state != GpuState::Lost {
        GpuState::Stale
    } else {
        card.state
    }
}

fn together(grouping: Grouping, key: &str, cards: &[(&Host, &Card)]) -> Gpu {
    let sum = |value: fn(&Card) -> Option<u64>| {
        cards.iter().filter_map(|(_, card)| value(card)).reduce(u64::saturating_add)
    };
    let small = |value: Option<u64>| value.map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    let told = |value: fn(&Card) -> Option<u64>| {
        u64::try_from(cards.iter().filter(|(_, card)| value(card).is_some()).count()).unwrap_or(1)
    };
    let used: fn(&Card) -> Option<u64> = |card| card.gpu_pct.map(u64::from);
    let first = cards.first();
    let same_make = cards.iter().all(|(_, card)| first.is_some_and(|(_, f)| f.name == card.name));
    let same_host = cards.iter().all(|(host, _)| first.is_some_and(|(f, _)| f.id == host.id));
    let same_provider =
        cards.iter().all(|(host, _)| first.is_some_and(|(f, _)| f.provider == host.provider));
    let name = match (grouping, key) {
        (Grouping::Host, _) => first.map_or(key, |(host, _)| host.name.as_str()),
        (Grouping::Provider, "") => "(own)",
        (Grouping::Model, "") => "(none)",
        (_, "") => "(not told)",
        _ => key,
    };
    let card = Card {
        name: if same_make { first.and_then(|(_, card)| card.name.clone()) } else { None },
        gpu_pct: small(sum(used).map(|all| all / told(used).max(1))),
        memory_total_mib: sum(|card| card.memory_total_mib),
        memory_used_mib: sum(|card| card.memory_used_mib),
        celsius: cards.iter().filter_map(|(_, card)| card.celsius).max(),
        power_mw: small(sum(|card| card.power_mw.map(u64::from))),
        power_limit_mw: small(sum(|card| card.power_limit_mw.map(u64::from))),
        ecc_corrected: sum(|card| card.ecc_corrected),
        ecc_uncorrected: sum(|card| card.ecc_uncorrected),
        processes_total: small(sum(|card| card.processes_total.map(u64::from))),
        ..Card::default()
    };
    Gpu {
        id: format!("{}:{key}", grouping.word()),
        name: name.to_owned(),
        host_id: first.filter(|_| same_host).map_or(String::new(), |(host, _)| host.id.clone()),
        provider: first
            .filter(|_| same_provider)
            .map_or(String::new(), |(host, _)| host.provider.clone()),
        cards: u32::try_from(cards.len()).unwrap_or(u32::MAX),
        index: None,
        state: cards.iter().map(|(host, card)| state_of(host, card)).min().unwrap_or_default(),
        age_ms: cards.iter().map(|(host, _)| host.age_ms.max(host.gpus_age_ms)).max().unwrap_or(0),
        card,
    }
}

impl Gpu {
    /// Share of the memory that is used.
    pub(crate) fn memory_used_pct(&self) -> Option<u32> {
        let (used, total) = (self.card.memory_used_mib?, self.card.memory_total_mib?);
        u32::try_from(used.saturating_mul(100).checked_div(total)?).ok()
    }

    /// One sample of what the charts show; `None` = not told, or old.
    #[expect(clippy::cast_precision_loss, reason = "a chart of some dozen steps")]
    pub(crate) fn sample(&self) -> [Option<f32>; 3] {
        if self.state == GpuState::Stale {
            return [None; 3];
        }
        [
            self.card.gpu_pct.map(|used| used as f32),
            self.card.memory_used_mib.map(|used| used as f32),
            self.card.power_mw.map(|power| power as f32 / 1e3),
        ]
    }
}

impl GpuHistory {
    pub(crate) fn push(&mut self, [used, memory, power]: [Option<f32>; 3]) {
        self.used.push(used);
        self.memory.push(memory);
        self.power.push(power);
    }
}

impl Row for Gpu {
    const FIELDS: &'static [Field] = &[
        field("util", 'u', true),
        field("state", 's', false),
        field("host", 'h', false),
        field("gpu", 'n', false),
        field("card", 'c', false),
        field("mem", 'm', true),
        field("temp", 't', true),
        field("watt", 'w', true),
        field("mhz", 'z', true),
        field("ecc", 'e', true),
        field("provider", 'p', false),
        field("uuid", 'i', false),
        field("held", 'b', false),
    ];

    fn id(&self) -> &str {
        &self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn copied(&self) -> &str {
        if self.card.uuid.is_empty() { &self.id } else { &self.card.uuid }
    }

    fn field(&self, name: &str) -> Value<'_> {
        let card = &self.card;
        // What is not told is less than anything that is.
        let told = |value: Option<u64>| value.map_or(Value::Number(-1.0), number);
        match name {
            "util" => told(card.gpu_pct.map(u64::from)),
            "state" => Value::Word(self.state.word()),
            "gpu" => told(self.index.map(u64::from)),
            "card" => text(card.name.as_deref().unwrap_or_default()),
            "mem" => told(self.memory_used_pct().map(u64::from)),
            "temp" => told(card.celsius.map(u64::from)),
            "watt" => told(card.power_mw.map(|power| u64::from(power) / 1_000)),
            "mhz" => told(card.sm_mhz.map(u64::from)),
            "ecc" => told(card.ecc_uncorrected),
            "provider" => text(&self.provider),
            "uuid" => text(&card.uuid),
            "held" => text(card.throttle.as_deref().unwrap_or_default()),
            _ => text(&self.name),
        }
    }

    fn rank(&self, name: &str) -> Value<'_> {
        match name {
            "state" => number(self.state as u8),
            // Cards of one host by their order there.
            "host" => Value::Text(
                format!("{}\u{0}{:05}", self.name, self.index.unwrap_or(u32::MAX)).into(),
            ),
            _ => self.field(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, provider: &str, cards: Vec<Card>) -> Host {
        Host {
            id: id.into(),
            name: format!("{id}.example"),
            provider: provider.into(),
            cards,
            ..Host::default()
        }
    }

    fn card(index: u32, used: Option<u32>, state: GpuState) -> Card {
        Card {
            index,
            uuid: format!("GPU-{index}"),
            name: Some("H100".into()),
            state,
            gpu_pct: used,
            memory_total_mib: used.map(|_| 1_000),
            memory_used_mib: used.map(|used| u64::from(used) * 10),
            celsius: used,
            power_mw: used.map(|used| used * 1_000),
            ..Card::default()
        }
    }

    fn hosts() -> BTreeMap<String, Host> {
        let mut bare = host("c", "", Vec::new());
        bare.state = GpuState::NoDriver;
        [
            host("a", "", vec![card(0, Some(80), GpuState::Ok), card(1, None, GpuState::Lost)]),
            host("b", "prov_1", vec![card(0, Some(20), GpuState::Ok)]),
            bare,
        ]
        .into_iter()
        .map(|host| (host.id.clone(), host))
        .collect()
    }

    fn serving() -> Serving {
        let own = ["llama", "qwen"].map(str::to_owned).into();
        [(String::new(), own), ("prov_1".to_owned(), ["llama".to_owned()].into())].into()
    }

    fn look(grouping: Grouping) -> Vec<(String, u32, GpuState, Option<u32>)> {
        let mut rows = rows(&hosts(), &serving(), grouping);
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        rows.into_iter().map(|row| (row.id, row.cards, row.state, row.card.gpu_pct)).collect()
    }

    #[test]
    fn each_card_is_a_row_and_so_is_a_host_without_one() {
        use GpuState::{Lost, NoDriver, Ok};
        let rows = look(Grouping::Card);
        let expected = [
            ("a/GPU-0", 1, Ok, Some(80)),
            ("a/GPU-1", 1, Lost, None),
            ("b/GPU-0", 1, Ok, Some(20)),
            ("c", 0, NoDriver, None),
        ];
        assert_eq!(rows, expected.map(|(id, n, state, used)| (id.to_owned(), n, state, used)));
    }

    #[test]
    fn cards_together_have_the_worst_state_and_the_mean_of_what_is_told() {
        use GpuState::{Lost, NoDriver, Ok};
        let named = |rows: &[(&str, u32, GpuState, Option<u32>)]| {
            rows.iter().map(|row| (row.0.to_owned(), row.1, row.2, row.3)).collect::<Vec<_>>()
        };
        let c = ("c", 0, NoDriver, None);
        assert_eq!(
            look(Grouping::Host),
            named(&[c, ("host:a", 2, Lost, Some(80)), ("host:b", 1, Ok, Some(20))])
        );
        assert_eq!(
            look(Grouping::Provider),
            named(&[c, ("provider:", 2, Lost, Some(80)), ("provider:prov_1", 1, Ok, Some(20))])
        );
        assert_eq!(look(Grouping::Make), named(&[c, ("make:H100", 3, Lost, Some(50))]));
        assert_eq!(
            look(Grouping::Model),
            named(&[c, ("model:llama", 3, Lost, Some(50)), ("model:qwen", 2, Lost, Some(80))])
        );
        let none = rows(&hosts(), &Serving::new(), Grouping::Model);
        assert!(none.iter().any(|row| row.name == "(none)" && row.cards == 3), "{none:?}");
        let all = rows(&hosts(), &serving(), Grouping::Make)
            .into_iter()
            .find(|row| row.cards == 3)
            .unwrap();
        assert_eq!(
            (all.card.memory_used_mib, all.card.memory_total_mib),
            (Some(1_000), Some(2_000))
        );
        assert_eq!((all.card.celsius, all.card.power_mw), (Some(80), Some(100_000)));
    }

    #[test]
    fn a_host_that_is_silent_makes_its_cards_stale_but_not_the_lost_one() {
        let mut hosts = hosts();
        hosts.get_mut("a").unwrap().stale = true;
        let states: Vec<_> =
            rows(&hosts, &serving(), Grouping::Card).iter().map(|row| row.state).collect();
        assert_eq!(states[..2], [GpuState::Stale, GpuState::Lost]);
        let stale = &rows(&hosts, &serving(), Grouping::Card)[0];
        assert_eq!(stale.sample(), [None; 3], "a chart does not go on with what was");
    }

    #[test]
    fn groupings_come_round() {
        let mut grouping = Grouping::Card;
        for _ in 0..5 {
            grouping = grouping.next();
        }
        assert_eq!(grouping, Grouping::Card);
    }
}

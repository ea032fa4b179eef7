//! `hosts`.

use clap::Subcommand;
use relay_proto::Word;
use relay_proto::admin::v1 as proto;
use relay_proto::admin::v1::hosts_service_client::HostsServiceClient;
use relay_proto::admin::v1::hosts_update::Update;

use super::Problem;
use super::args::{Interval, Limit};
use super::format::Column::{Left, Right};
use super::format::{Table, millis, or_dash, pairs, plain, thousandths, time};
use super::link::Link;
use super::show::Show;

const TABLE: Table = Table::new(&[
    Left("HOST"),
    Left("NAME"),
    Left("STATE"),
    Right("CPU"),
    Right("LOAD"),
    Right("MEMORY FREE"),
    Right("DISK FREE"),
    Left("GPUS"),
]);

const CARDS: Table = Table::new(&[
    Right("GPU"),
    Left("NAME"),
    Left("UUID"),
    Left("STATE"),
    Right("USED"),
    Right("MEMORY MIB"),
    Right("TEMP"),
    Right("POWER"),
    Right("SM MHZ"),
    Right("ECC"),
    Left("HELD BACK BY"),
]);

#[derive(Debug, Subcommand)]
pub(super) enum HostsVerb {
    /// All of them.
    #[command(alias = "ls")]
    List(Limit),
    /// One of them, with its GPUs.
    #[command(alias = "get")]
    Show {
        /// The host's id; "local" is the one that relayd runs on.
        host: String,
    },
    /// A line for each that changes, until interrupted.
    Watch(Interval),
}

pub(super) async fn run(link: &Link, verb: HostsVerb, show: &mut Show) -> Result<(), Problem> {
    let mut client = HostsServiceClient::new(link.wire());
    match verb {
        HostsVerb::List(Limit { limit }) => {
            let fetch = async |page| {
                let request = proto::ListHostsRequest { page: Some(page) };
                let answer = client.clone().list_hosts(request).await?.into_inner();
                Ok((answer.hosts, answer.next_page_token))
            };
            show.list(link, "hosts", limit, fetch, &TABLE, cells).await
        }
        HostsVerb::Show { host } => {
            let answer = client.get_host(proto::GetHostRequest { host_id: host }).await;
            show.one(&answer.map_err(|status| link.problem(&status))?.into_inner(), detail)
        }
        HostsVerb::Watch(Interval { interval: interval_ms }) => {
            let opened = client.watch_hosts(proto::WatchRequest { interval_ms }).await;
            show.watch(link, opened, lines).await
        }
    }
}

fn lines(update: &proto::HostsUpdate) -> Option<String> {
    let (changed, removed): (&[_], &[_]) = match &update.update {
        Some(Update::Snapshot(all)) => (&all.hosts, &[]),
        Some(Update::Delta(delta)) => (&delta.changed, &delta.removed),
        Some(Update::Heartbeat(_)) | None => (&[], &[]),
    };
    let changed = changed.iter().map(|host| {
        let cpu = share(host.cpu_pct);
        format!("{} {} cpu {cpu}, {}", plain(&host.host_id), state(host), plain(&summary(host)))
    });
    let removed = removed.iter().map(|id| format!("{} is gone", plain(id)));
    let lines: Vec<_> = changed.chain(removed).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

fn state(host: &proto::Host) -> String {
    host.state().word()
}

/// The GPUs in a few words: `8 ok, 1 lost` or why there are none.
fn summary(host: &proto::Host) -> String {
    use proto::GpusState::{Cards, NoDriver, Stale};
    let Some(gpus) = &host.gpus else { return "-".to_owned() };
    let counts = [proto::CardState::Ok, proto::CardState::Failing, proto::CardState::Lost]
        .into_iter()
        .map(|state| (gpus.cards.iter().filter(|card| card.state() == state).count(), state.word()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ");
    match gpus.state() {
        Cards => counts,
        Stale => format!("stale for {}: {}", millis(gpus.age_ms), or_dash(&counts)),
        NoDriver => format!("no driver: {}", gpus.state_reason),
        other => other.word().replace('_', " "),
    }
}

fn share(pct: Option<u32>) -> String {
    pct.map_or_else(|| "-".to_owned(), |pct| format!("{pct}%"))
}

fn number(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `12288 of 81920`, or `-`.
fn of(part: Option<u64>, whole: Option<u64>) -> String {
    match (part, whole) {
        (None, None) => "-".to_owned(),
        (part, whole) => format!("{} of {}", number(part), number(whole)),
    }
}

fn load(milli: Option<u64>) -> String {
    milli.map_or_else(|| "-".to_owned(), thousandths)
}

fn gib(mib: Option<u64>) -> String {
    mib.map_or_else(
        || "-".to_owned(),
        |mib| format!("{}.{} GiB", mib / 1_024, mib % 1_024 * 10 / 1_024),
    )
}

fn cells(host: &proto::Host) -> Vec<String> {
    vec![
        host.host_id.clone(),
        host.name.clone(),
        state(host),
        share(host.cpu_pct),
        load(host.load_1m_milli),
        gib(host.memory_available_mib),
        gib(host.disk_available_mib),
        summary(host),
    ]
}

fn detail(host: &proto::Host) -> String {
    let gpus = host.gpus.clone().unwrap_or_default();
    let loads = [host.load_1m_milli, host.load_5m_milli, host.load_15m_milli].map(load);
    let mut text = pairs(&[
        ("host", format!("{} ({})", host.host_id, host.name)),
        ("provider", or_dash(&host.provider_id)),
        ("state", state(host)),
        ("observed", time(host.observed_at_ms)),
        ("cpu", format!("{} of {} cores", share(host.cpu_pct), number(host.cores))),
        ("load", loads.join(" ")),
        (
            "memory",
            format!("{} free of {}", gib(host.memory_available_mib), gib(host.memory_total_mib)),
        ),
        ("disk", format!("{} free of {}", gib(host.disk_available_mib), gib(host.disk_total_mib))),
        ("gpus", summary(host)),
        ("driver", number(gpus.driver_version)),
        ("cuda", number(gpus.cuda_version)),
    ]);
    if !gpus.cards.is_empty() {
        let rows: Vec<_> = gpus.cards.iter().map(card).collect();
        let widths = CARDS.widths(&rows);
        text.push_str("\n\n");
        text.push_str(&CARDS.header(&widths));
        for row in rows {
            text.push('\n');
            text.push_str(&CARDS.row(row, &widths));
        }
    }
    text
}

fn card(card: &proto::Card) -> Vec<String> {
    let state = match card.state_reason.as_str() {
        "" => card.state().word(),
        reason => format!("{}: {reason}", card.state().word()),
    };
    let watts = |mw: Option<u32>| number(mw.map(|mw| mw / 1_000));
    let held_back = card
        .throttle
        .as_deref()
        .map_or("-", |words| if words.is_empty() { "nothing" } else { words });
    vec![
        card.index.to_string(),
        or_dash(card.name.as_deref().unwrap_or_default()),
        or_dash(&card.uuid),
        state,
        share(card.gpu_pct),
        of(card.memory_used_mib, card.memory_total_mib),
        card.temperature_celsius.map_or_else(|| "-".to_owned(), |celsius| format!("{celsius} C")),
        format!("{} of {} W", watts(card.power_draw_mw), watts(card.power_limit_mw)),
        number(card.sm_clock_mhz),
        number(card.ecc_uncorrected),
        held_back.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(gpus: proto::Gpus) -> proto::Host {
        proto::Host {
            host_id: "local".to_owned(),
            name: "gpu-1".to_owned(),
            state: proto::HostState::Live.into(),
            cpu_pct: Some(12),
            load_1m_milli: Some(1_250),
            memory_available_mib: Some(1_536),
            gpus: Some(gpus),
            ..proto::Host::default()
        }
    }

    fn gpus(state: proto::GpusState, cards: &[proto::CardState]) -> proto::Gpus {
        let card =
            |state: &proto::CardState| proto::Card { state: (*state).into(), ..Default::default() };
        proto::Gpus {
            state: state.into(),
            state_reason: "not loaded".to_owned(),
            age_ms: 7_000,
            cards: cards.iter().map(card).collect(),
            ..proto::Gpus::default()
        }
    }

    #[test]
    fn every_state_of_the_gpus_has_words() {
        use proto::CardState::{Failing, Lost, Ok};
        use proto::GpusState::{Cards, NoCards, NoDriver, Off, Stale, Starting};
        for (state, cards, words) in [
            (Cards, &[Ok, Lost, Ok, Failing][..], "2 ok, 1 failing, 1 lost"),
            (Stale, &[Ok], "stale for 7000 ms: 1 ok"),
            (Stale, &[], "stale for 7000 ms: -"),
            (NoDriver, &[Lost], "no driver: not loaded"),
            (NoCards, &[], "no cards"),
            (Off, &[], "off"),
            (Starting, &[], "starting"),
        ] {
            assert_eq!(summary(&host(gpus(state, cards))), words);
        }
    }

    #[test]
    fn absent_values_are_dashes() {
        let bare = proto::Host { host_id: "local".to_owned(), ..proto::Host::default() };
        assert_eq!(cells(&bare)[3..], ["-", "-", "-", "-", "-"]);
        let row = cells(&host(gpus(proto::GpusState::Off, &[])));
        assert_eq!(row, ["local", "gpu-1", "live", "12%", "1.2", "1.5 GiB", "-", "off"]);
        let shown = detail(&host(gpus(proto::GpusState::Cards, &[proto::CardState::Ok])));
        assert!(shown.contains("\ndriver    -\n"), "{shown}");
        assert!(shown.contains("\n  0  -     -     ok"), "{shown}");
    }
}

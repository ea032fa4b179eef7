//! The GPUs screen beside `relayd admin hosts list --json`.

use serde_json::Value;

use super::{Page, lines, list, number, plain, rows, text};

/// The list, and the panels of the card of this host, which is selected.
pub(crate) fn page(page: &Page, hosts: &Value, selected: &str, serves: &str) -> Result<(), String> {
    let all = list(&hosts["hosts"]);
    let wanted: Vec<String> = all.iter().flat_map(of_host).collect();
    rows(&page.panel("GPUs", 0)?[1..], &wanted)?;
    let host = all.iter().find(|host| host["name"] == selected).ok_or("the host is not told")?;
    let card = &list(&host["gpus"]["cards"])[0];
    let title = format!("{selected} gpu {}", card["index"]);
    let history = [
        format!("util {}", percent(&card["gpu_pct"])),
        format!("memory {} GiB", memory(card)),
        format!("power {} W", power(card)),
    ];
    lines(&page.panel(&title, 0)?, &history)?;
    lines(&page.panel(&title, 1)?, &facts(host, card, serves))?;
    let processes = processes(card, |pid, gib, name| format!("{pid} {gib} {name}"));
    let shown = page.panel("Processes", 0)?;
    if processes.is_empty() {
        lines(&shown[1..], &["none is told".to_owned()])?;
    } else {
        lines(&shown[1..], &processes)?;
    }
    lines(&page.panel(&format!("{selected} ──"), 0)?, &of_machine(host))
}

/// The card of this host in full.
pub(crate) fn whole(page: &Page, hosts: &Value, name: &str, serves: &str) -> Result<(), String> {
    let host = list(&hosts["hosts"]).iter().find(|host| host["name"] == name);
    let host = host.ok_or("the host is not told")?;
    let card = &list(&host["gpus"]["cards"])[0];
    let mut wanted = facts(host, card, serves);
    wanted.extend(processes(card, |pid, gib, name| format!("process {pid} {gib} GiB {name}")));
    text(&page.panel(&format!("{}/", plain(&host["host_id"])), 0)?, &wanted)
}

fn of_host(host: &Value) -> Vec<String> {
    let owner = match plain(&host["provider_id"]) {
        none if none == "-" => "own".to_owned(),
        provider => provider,
    };
    let cards = list(&host["gpus"]["cards"]);
    if cards.is_empty() {
        let gpus = &host["gpus"];
        let reason = gpus["state_reason"].as_str().unwrap_or_default();
        return vec![format!(
            "{} {} - {reason} - - - - - - {owner} - -",
            word(&gpus["state"]),
            plain(&host["name"])
        )];
    }
    let row = |card: &Value| {
        let name = plain(&card["name"]);
        format!(
            "{} {} {} {} {} {} {} {} {} {} {owner} {} {}",
            word(&card["state"]),
            plain(&host["name"]),
            card["index"],
            name.trim_start_matches("NVIDIA "),
            percent(&card["gpu_pct"]),
            memory(card),
            celsius(card),
            power(card),
            plain(&card["sm_clock_mhz"]),
            plain(&card["ecc_uncorrected"]),
            plain(&card["uuid"]),
            plain(&card["throttle"]),
        )
    };
    cards.iter().map(row).collect()
}

fn word(state: &Value) -> String {
    match state.as_str().unwrap_or_default() {
        "lost" => "LOST",
        "failing" => "FAILING",
        "no_driver" => "no driver",
        "no_cards" => "no cards",
        other => other,
    }
    .to_owned()
}

fn facts(host: &Value, card: &Value, serves: &str) -> Vec<String> {
    let or_dash = |value: &Value| plain(value);
    let held = match card["throttle"].as_str() {
        None => "-".to_owned(),
        Some("") => "by nothing".to_owned(),
        Some(held) => held.to_owned(),
    };
    let ecc = format!(
        "{} corrected, {} not",
        or_dash(&card["ecc_corrected"]),
        or_dash(&card["ecc_uncorrected"])
    );
    let mib = |value: &Value| value.as_u64().map_or_else(|| "-".to_owned(), gib);
    let bus = match (&card["pcie_rx_kib_s"], &card["pcie_tx_kib_s"]) {
        (Value::Null, Value::Null) => "-".to_owned(),
        (rx, tx) => format!("rx {} tx {} MiB/s", mib(rx), mib(tx)),
    };
    let gpus = &host["gpus"];
    let driver =
        format!("{}, CUDA {}", or_dash(&gpus["driver_version"]), or_dash(&gpus["cuda_version"]));
    let mig = match card["mig"].as_bool() {
        Some(true) => "on",
        Some(false) => "off",
        None => "-",
    };
    let owner = match plain(&host["provider_id"]) {
        none if none == "-" => "own".to_owned(),
        provider => provider,
    };
    vec![
        format!("state {}", word(&card["state"])),
        format!("why {}", plain(&card["state_reason"])),
        format!("card {}", plain(&card["name"]).trim_start_matches("NVIDIA ")),
        format!("owner {owner}"),
        format!("held back {held}"),
        format!("ECC {ecc}"),
        format!(
            "clocks sm {} mem {} MHz",
            or_dash(&card["sm_clock_mhz"]),
            or_dash(&card["memory_clock_mhz"])
        ),
        format!("serves {serves}"),
        format!("util {}", percent(&card["gpu_pct"])),
        format!("memory {} GiB", memory(card)),
        format!("temp {}", celsius(card)),
        format!("power {} W", power(card)),
        format!("mem bus {}", percent(&card["memory_pct"])),
        format!("fan {}", percent(&card["fan_pct"])),
        format!("PCIe {bus}"),
        format!("driver {driver}"),
        "cards 1".to_owned(),
        format!("MIG {mig}"),
        format!("PCI {}", plain(&card["pci_id"])),
        format!("uuid {}", plain(&card["uuid"])),
    ]
}

fn processes(card: &Value, line: impl Fn(String, String, String) -> String) -> Vec<String> {
    let each = list(&card["processes"]).iter().map(|process| {
        let memory = process["memory_used_mib"].as_u64().map_or_else(|| "-".to_owned(), gib);
        line(plain(&process["pid"]), memory, plain(&process["name"]))
    });
    each.collect()
}

fn of_machine(host: &Value) -> Vec<String> {
    let free = |free: &Value, total: &Value| match (free.as_u64(), total.as_u64()) {
        (Some(free), Some(total)) => format!("{} of {} GiB free", gib(free), gib(total)),
        _ => "-".to_owned(),
    };
    let cores = host["cores"].as_u64().map_or_else(String::new, |n| format!(" of {n} cores"));
    let cpu = host["cpu_pct"].as_u64().map_or_else(|| "-".to_owned(), |c| format!("{c}%{cores}"));
    let load = host["load_1m_milli"].as_u64().map_or_else(
        || "-".to_owned(),
        |load| format!("{}.{:02}", load / 1_000, load % 1_000 / 10),
    );
    vec![
        format!("host {}", plain(&host["state"])),
        format!("cpu {cpu}"),
        format!("load {load}"),
        format!("memory {}", free(&host["memory_available_mib"], &host["memory_total_mib"])),
        format!("disk {}", free(&host["disk_available_mib"], &host["disk_total_mib"])),
        format!("id {}", plain(&host["host_id"])),
    ]
}

fn percent(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), |value| format!("{value}%"))
}

fn celsius(card: &Value) -> String {
    card["temperature_celsius"].as_u64().map_or_else(|| "-".to_owned(), |c| format!("{c}C"))
}

fn memory(card: &Value) -> String {
    match (card["memory_used_mib"].as_u64(), card["memory_total_mib"].as_u64()) {
        (Some(used), Some(total)) => format!("{}/{}", gib(used), gib(total)),
        _ => "-".to_owned(),
    }
}

fn power(card: &Value) -> String {
    match (card["power_draw_mw"].as_u64(), card["power_limit_mw"].as_u64()) {
        (Some(draw), Some(limit)) => format!("{}/{}", draw / 1_000, limit / 1_000),
        (Some(draw), None) => number(&draw.into()).to_string(),
        _ => "-".to_owned(),
    }
}

/// `78.9`, `80`, `402`.
fn gib(mib: u64) -> String {
    let tenths = mib * 10 / 1_024;
    match (tenths / 10, tenths % 10) {
        (whole @ 100.., _) | (whole, 0) => whole.to_string(),
        (whole, tenth) => format!("{whole}.{tenth}"),
    }
}

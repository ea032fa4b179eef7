//! The Models screen beside `relayd admin rollouts show MODEL --json`, of the only model there is.

use serde_json::Value;

use super::{
    ANY, Page, clock, delay, lines, list, number, percent, plain, rate, rows, share, text,
};

/// The rows of the table of a rollout that a gate judges: its field, its name, its unit.
const JUDGED: [(&str, &str); 5] = [
    ("errors", "pp"),
    ("ttft", "%"),
    ("tokens_per_second", "%"),
    ("finish_reasons", "pp"),
    ("canary", "pp"),
];

/// The list, and every panel of the model with its last rollout.
pub(crate) fn page(page: &Page, model: &Value) -> Result<(), String> {
    rows(&page.panel("Models", 0)?[1..], &[row(model)])?;
    let rollout = &model["rollout"];
    let (from, to) = (&rollout["from_revision"], &rollout["to_revision"]);
    let title = format!("Rollout {}  r{from} -> r{to}", plain(&model["model"]));
    lines(&page.panel(&title, 0)?, &of_rollout(rollout))?;
    let history: Vec<_> = [&model["live_revision"], &model["next_revision"]]
        .into_iter()
        .filter_map(|number| {
            let traffic = traffic(model, number)?;
            Some(format!(
                "r{number} now {}",
                delay(self::number(&traffic["figures"]["ttft_p95_ms"]))
            ))
        })
        .collect();
    lines(&page.panel("First token", 0)?, &history)?;
    let mut revisions = vec!["rev state req/s err% tok/s targets note".to_owned()];
    revisions.extend(list(&model["revisions"]).iter().map(|one| revision(model, one)));
    lines(&page.panel("Revisions", 0)?, &revisions)?;
    let notes: Vec<_> = list(&rollout["history"])
        .iter()
        .rev()
        .map(|note| {
            let at = clock(number(&note["at_ms"]));
            let permille = number(&note["share_permille"]);
            let (by, state) = (plain(&note["by"]), state(&note["state"]));
            format!("{at} {by} {state} at {}{}", share(permille), because(&note["reason"]))
        })
        .collect();
    text(&page.panel("History", 0)?, &notes)
}

/// The model in full.
pub(crate) fn whole(page: &Page, model: &Value) -> Result<(), String> {
    let rollout = &model["rollout"];
    let plan = &rollout["plan"];
    let (from, to) = (&rollout["from_revision"], &rollout["to_revision"]);
    let steps: Vec<_> =
        list(&plan["steps_permille"]).iter().map(|step| share(number(step))).collect();
    let mut wanted = vec![
        format!("state {}", standing(model)),
        format!("live revision {}", model["live_revision"]),
        format!("targets {} of {} up", model["targets_up"], model["targets"]),
        format!("rollout {} r{from} to r{to}", plain(&rollout["rollout_id"])),
        format!("{}{}", state(&rollout["state"]), because(&rollout["state_reason"])),
        format!(
            "plan {}; {} s and {} requests at each",
            steps.join(", "),
            number(&plan["window_ms"]) / 1_000,
            plan["min_samples"]
        ),
        format!(
            "paused after {} windows without; alpha {}; shadow {}; {} canary prompts",
            plan["patience_windows"],
            percent(number(&plan["alpha_ppm"])),
            share(number(&plan["shadow_permille"])),
            list(&plan["canary_prompts"]).len()
        ),
    ];
    wanted.extend(list(&rollout["gates"]).iter().map(|gate| {
        let kind = match plain(&gate["gate"]).as_str() {
            "tokens_per_second" => "tok/s".to_owned(),
            "canary" => "canaries".to_owned(),
            other => other.replace('_', " "),
        };
        format!("gate {kind}: {} {}", verdict(gate), gate["words"].as_str().unwrap_or_default())
    }));
    wanted.extend(list(&rollout["history"]).iter().map(|note| {
        let at = clock(number(&note["at_ms"]));
        let (by, state) = (plain(&note["by"]), state(&note["state"]));
        let reason = note["reason"].as_str().unwrap_or_default();
        format!(
            "history {ANY} {at}Z {by} {state} at {} {reason}",
            share(number(&note["share_permille"]))
        )
    }));
    wanted.extend(list(&model["revisions"]).iter().map(|revision| {
        let parameters = &revision["parameters"];
        let said = parameters["temperature_milli"]
            .as_u64()
            .map(|milli| format!("temperature {}.{:03}; ", milli / 1_000, milli % 1_000));
        let note = revision["note"].as_str().unwrap_or_default();
        format!(
            "revision {} on {} ({}{note}), {} {ANY}",
            revision["number"],
            targets(revision),
            said.unwrap_or_default(),
            plain(&revision["created_by"])
        )
    }));
    text(&page.panel(&format!("{} ━", plain(&model["model"])), 0)?, &wanted)
}

fn row(model: &Value) -> String {
    let revision = |number: &Value| match number.as_u64() {
        Some(0) | None => "-".to_owned(),
        Some(number) => format!("r{number}"),
    };
    let live = traffic(model, &model["live_revision"]).map(|traffic| &traffic["figures"]);
    let of_live = |field: &str| live.map_or(0, |live| number(&live[field]));
    let count = |field: &str| -> u64 {
        list(&model["traffic"]).iter().map(|one| number(&one["figures"][field])).sum()
    };
    let failed = match (count("failed") * 1_000_000).checked_div(count("requests")) {
        None => "-".to_owned(),
        Some(0) => "0".to_owned(),
        Some(ppm) => format!("{}.{}", ppm / 10_000, ppm % 10_000 / 1_000),
    };
    let none_of = |permille: &Value, none: bool| {
        if none { "-".to_owned() } else { share(number(permille)) }
    };
    format!(
        "{} {} {} {} {} {}/{} {} {} {} {} {failed} {} {}",
        standing(model),
        plain(&model["model"]),
        revision(&model["live_revision"]),
        revision(&model["next_revision"]),
        none_of(&model["share_permille"], number(&model["next_revision"]) == 0),
        model["targets_up"],
        model["targets"],
        rates(list(&model["traffic"])),
        delay(of_live("ttft_p50_ms")),
        delay(of_live("ttft_p95_ms")),
        or_none(of_live("tokens_per_ks_p50")),
        none_of(&model["shadow_permille"], number(&model["shadow_permille"]) == 0),
        model["rollout"]["state_reason"].as_str().unwrap_or_default(),
    )
}

/// The panel of a rollout that went back.
fn of_rollout(rollout: &Value) -> Vec<String> {
    let (from, to) = (&rollout["from_figures"], &rollout["to_figures"]);
    let at = rollout["step"].as_u64().unwrap_or(0);
    let steps = (0..).zip(list(&rollout["plan"]["steps_permille"])).map(|(no, permille)| {
        let percent = share(number(permille));
        match no {
            no if no < at => format!("{percent} ok"),
            no if no == at => format!("{percent} FAILED"),
            _ => percent,
        }
    });
    let by = list(&rollout["history"]).last().map_or_else(String::new, |note| plain(&note["by"]));
    let both = |label: &str, show: &dyn Fn(&Value) -> String, gate: Option<usize>| {
        format!(
            "{label} {} {}{}",
            show(from),
            show(to),
            gate.map_or_else(|| " - -".to_owned(), |at| judged(rollout, at))
        )
    };
    let field = |name: &'static str| move |of: &Value| delay(number(&of[name]));
    let ends = ["stop", "length", "tools", "filter", "other"];
    let finished =
        |of: &Value| -> u64 { ends.iter().map(|end| number(&of[format!("finish_{end}")])).sum() };
    let part = |part: u64, all: u64| {
        (part * 1_000_000).checked_div(all).map_or_else(|| "-".to_owned(), percent)
    };
    let canaries = |of: &Value| match number(&of["canaries"]) {
        0 => "-".to_owned(),
        all => format!("{}/{all}", of["canaries_passed"]),
    };
    let failed = |of: &Value| part(number(&of["failed"]), number(&of["requests"]));
    let stopped = |of: &Value| part(number(&of["finish_stop"]), finished(of));
    vec![
        format!("steps {}", steps.collect::<Vec<_>>().join(" > ")),
        format!("state ROLLED BACK by {by}{}", because(&rollout["state_reason"])),
        format!(
            "of this step r{} r{} worse by may be gate",
            rollout["from_revision"], rollout["to_revision"]
        ),
        format!(
            "requests {} {} - >= {}",
            from["requests"], to["requests"], rollout["plan"]["min_samples"]
        ),
        both("failed", &failed, Some(0)),
        both("first token 50", &field("ttft_p50_ms"), None),
        both("first token 95", &field("ttft_p95_ms"), Some(1)),
        both("tok/s", &|of| or_none(number(&of["tokens_per_ks_p50"])), Some(2)),
        both("ended by stop", &stopped, Some(3)),
        both("canaries", &canaries, Some(4)),
    ]
}

/// ` +19.7pp +0.5pp FAIL`.
fn judged(rollout: &Value, at: usize) -> String {
    let (name, unit) = JUDGED[at];
    let Some(gate) = list(&rollout["gates"]).iter().find(|gate| gate["gate"] == name) else {
        return " - -".to_owned();
    };
    if gate["verdict"] == "off" {
        return " - - off".to_owned();
    }
    let signed = |value: &Value| {
        let ppm = value.as_i64().unwrap_or(0);
        let tenths = ppm.unsigned_abs() / 1_000;
        format!("{}{}.{}{unit}", if ppm < 0 { "-" } else { "+" }, tenths / 10, tenths % 10)
    };
    format!(" {} {} {}", signed(&gate["worse_ppm"]), signed(&gate["tolerance_ppm"]), verdict(gate))
}

fn verdict(gate: &Value) -> &'static str {
    match gate["verdict"].as_str() {
        Some("passed") => "ok",
        Some("failed") => "FAIL",
        Some("waiting") => "waits",
        _ => "off",
    }
}

fn revision(model: &Value, revision: &Value) -> String {
    let number = &revision["number"];
    let state = match () {
        () if number == &model["live_revision"] => "live".to_owned(),
        () if number == &model["next_revision"] => {
            format!("next {}", share(self::number(&model["share_permille"])))
        }
        () => "idle".to_owned(),
    };
    let asked = traffic(model, number)
        .filter(|traffic| traffic["figures"]["requests"].as_u64().is_some_and(|all| all > 0));
    let figures = asked.map_or_else(
        || "- - -".to_owned(),
        |traffic| {
            let of = |field: &str| self::number(&traffic["figures"][field]);
            format!(
                "{} {} {}",
                rates(std::slice::from_ref(traffic)),
                percent(of("failed") * 1_000_000 / of("requests")),
                rate(of("tokens_per_ks_p50"))
            )
        },
    );
    // Where there is more than one the list cuts them.
    let targets = targets(revision);
    let first = targets.split_inclusive(',').next().unwrap_or_default();
    format!("r{number} {state} {figures} {first} {}", plain(&revision["note"]))
}

fn targets(revision: &Value) -> String {
    let each = list(&revision["targets"]).iter();
    let each = each.map(|at| format!("{}={}", plain(&at["backend_id"]), plain(&at["upstream"])));
    each.collect::<Vec<_>>().join(", ")
}

fn traffic<'a>(model: &'a Value, revision: &Value) -> Option<&'a Value> {
    revision.as_u64().filter(|number| *number > 0)?;
    list(&model["traffic"]).iter().find(|traffic| traffic["revision"] == *revision)
}

/// The rates that the requests of a minute may be shown as: the console's look is a second or two
/// older than the JSON's, and the minute that is counted was as much shorter.
fn rates(traffic: &[Value]) -> String {
    let per_ks = |older_ms: u64| -> u64 {
        let of = |one: &Value| {
            let span_ms = number(&one["span_ms"]).saturating_sub(older_ms).max(1);
            number(&one["figures"]["requests"]) * 1_000_000 / span_ms
        };
        traffic.iter().map(of).sum()
    };
    let mut all: Vec<_> = (0..3_000).step_by(10).map(|older_ms| rate(per_ks(older_ms))).collect();
    all.dedup();
    all.join("|")
}

fn or_none(per_ks: u64) -> String {
    if per_ks == 0 { "-".to_owned() } else { rate(per_ks) }
}

fn because(reason: &Value) -> String {
    match reason.as_str() {
        Some("") | None => String::new(),
        Some(reason) => format!(": {reason}"),
    }
}

fn state(state: &Value) -> &str {
    match state.as_str().unwrap_or_default() {
        "rolled_back" => "ROLLED BACK",
        "paused" => "PAUSED",
        other => other,
    }
}

fn standing(model: &Value) -> &str {
    state(&model["rollout"]["state"])
}

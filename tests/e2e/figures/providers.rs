//! The Providers screen beside `relayd admin providers show --json`, of the only provider there is.

use serde_json::Value;

use super::{ANY, Page, clock, delay, lines, list, number, plain, rate, rows, text, thousandths};

/// The list, and the panels of the provider. `cards` is what its host measures.
pub(crate) fn page(page: &Page, provider: &Value, cards: &str) -> Result<(), String> {
    rows(&page.panel("Providers", 0)?[1..], &[row(provider, cards)])?;
    let name = plain(&provider["name"]);
    lines(&page.panel(&format!("{name} ─"), 0)?, &facts(provider, cards))?;
    let mut evidence = vec!["engine at once tok/s ttft50 most asked failed".to_owned()];
    evidence.extend(runs(provider, |engine, run| {
        format!(
            "{} {} {} {} {} {} {}",
            plain(&engine["name"]),
            run["concurrency"],
            rate(number(&run["tokens_per_ks"])),
            delay(number(&run["ttft_p50_ms"])),
            delay(number(&run["ttft_max_ms"])),
            run["requests"],
            run["failed"]
        )
    }));
    let measured = evidence.len();
    let shown = page.panel("Evidence", 0)?;
    lines(&shown[..measured.min(shown.len())], &evidence)?;
    let rest = offers(provider).into_iter().chain(own_words(provider)).chain(examined(provider));
    let rest: Vec<_> = rest.collect();
    text(&shown[measured.min(shown.len())..], &rest)?;
    let mut scores = vec!["side at least good bad".to_owned()];
    scores.extend(list(&provider["reputation"]["scores"]).iter().map(|score| {
        let [bound, good, bad] = milli(score);
        let unseen = if good == bad { " not seen yet" } else { "" };
        format!("{} {bound} {good} {bad}{unseen}", plain(&score["score"]))
    }));
    let mut told: Vec<(u64, String)> = Vec::new();
    for step in list(&provider["reputation"]["steps"]) {
        let at = number(&step["at_ms"]);
        let to = plain(&step["to"]).to_uppercase();
        told.push((at, format!("{} {to}: {}", clock(at), plain(&step["reason"]))));
    }
    for mishap in list(&provider["reputation"]["mishaps"]) {
        let at = number(&mishap["at_ms"]);
        let (score, words) = (plain(&mishap["score"]), plain(&mishap["text"]));
        told.push((at, format!("{} {score}: {words}", clock(at))));
    }
    told.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    scores.extend(told.into_iter().map(|(_, line)| line));
    lines(&page.panel("Reputation", 0)?, &scores)
}

/// All that is known of it.
pub(crate) fn whole(page: &Page, provider: &Value, cards: &str) -> Result<(), String> {
    let mut wanted = facts(provider, cards);
    wanted.extend([
        format!("examined {ANY} {ANY}"),
        format!("joined {ANY}"),
        format!("agent {}", plain(&provider["agent_version"])),
        format!("key {}", plain(&provider["public_key"])),
    ]);
    wanted.extend(list(&provider["reputation"]["scores"]).iter().map(|score| {
        let [bound, good, bad] = milli(score);
        format!("side {} at least {bound} {good} good {bad} bad", plain(&score["score"]))
    }));
    wanted.extend(list(&provider["reputation"]["steps"]).iter().map(|step| {
        let (at, by) = (clock(number(&step["at_ms"])), plain(&step["score"]));
        let to = plain(&step["to"]).to_uppercase();
        format!("step {ANY} {at}Z {to} by {by}: {}", plain(&step["reason"]))
    }));
    wanted.extend(list(&provider["reputation"]["mishaps"]).iter().map(|mishap| {
        let (at, score) = (clock(number(&mishap["at_ms"])), plain(&mishap["score"]));
        format!("mishap {ANY} {at}Z {score}: {}", plain(&mishap["text"]))
    }));
    wanted.extend(offers(provider));
    wanted.extend(own_words(provider));
    wanted.extend(examined(provider));
    wanted.extend(runs(provider, |engine, run| {
        format!(
            "measured {} {}: {} at once, {} tok/s, first token {} (most {}), {} of {} failed",
            plain(&engine["name"]),
            plain(&run["upstream"]),
            run["concurrency"],
            rate(number(&run["tokens_per_ks"])),
            delay(number(&run["ttft_p50_ms"])),
            delay(number(&run["ttft_max_ms"])),
            run["failed"],
            run["requests"]
        )
    }));
    // On top of the panel of the same name.
    text(&page.panel(&format!("{} ━", plain(&provider["name"])), 0)?, &wanted)
}

fn row(provider: &Value, cards: &str) -> String {
    let (asked, failed) = measured(provider);
    let tests = match (asked, failed) {
        (0, _) => "-".to_owned(),
        (asked, 0) => format!("{asked} ok"),
        (asked, failed) => format!("{failed}/{asked} bad"),
    };
    let compared = list(&provider["engines"]).iter().flat_map(|engine| list(&engine["identity"]));
    let compared = compared.filter(|one| number(&one["asked"]) > 0);
    let (all, alike) = compared
        .fold((0, 0), |(all, alike), one| (all + 1, alike + usize::from(one["state"] == "passed")));
    let alike = if all == 0 { "-".to_owned() } else { format!("{alike}/{all}") };
    let first = runs(provider, |_, run| delay(number(&run["ttft_p50_ms"]))).into_iter().next();
    format!(
        "{} {} {cards} {} {} {} {} {} {}/{} {} {tests} {alike} {} {}",
        state(provider),
        plain(&provider["name"]),
        if provider["connected"] == true { "up" } else { "down" },
        fastest(provider),
        list(&provider["missing"]).len(),
        rank(provider),
        models(provider),
        running(provider),
        slots(provider),
        first.unwrap_or_else(|| "-".to_owned()),
        usd(&provider["earned_ncr"]),
        plain(&provider["agent_version"]),
    )
}

fn facts(provider: &Value, cards: &str) -> Vec<String> {
    let missing: Vec<_> = list(&provider["missing"]).iter().map(plain).collect();
    let missing = if missing.is_empty() {
        "nothing, the evidence is complete".to_owned()
    } else {
        missing.join("; ")
    };
    let engines: Vec<_> = list(&provider["engines"])
        .iter()
        .map(|engine| {
            format!(
                "{} ({}) {}",
                plain(&engine["name"]),
                plain(&engine["kind"]),
                plain(&engine["state"])
            )
        })
        .collect();
    let said = list(&provider["gpus"]).iter().map(|gpu| {
        format!("{}x {}", gpu["count"], plain(&gpu["name"]).trim_start_matches("NVIDIA "))
    });
    let said: Vec<_> = said.collect();
    let cards = if said.join(", ") == cards { cards } else { "what it says is not so" };
    vec![
        format!("state {}", state(provider)),
        format!("link up from {}", plain(&provider["address"])),
        format!("why {}", plain(&provider["state_reason"])),
        format!("missing {missing}"),
        format!("gpus {cards}"),
        format!("models {}", models(provider)),
        format!("engines {}", engines.join(", ")),
        format!("running {} of {}", running(provider), slots(provider)),
        format!("standing {} {}", plain(&provider["reputation"]["standing"]), rank(provider)),
        format!("earned {}", usd(&provider["earned_ncr"])),
        format!("limits {}", limits(provider)),
        format!("payout {}", plain(&provider["payout_address"])),
        format!("id {}", plain(&provider["provider_id"])),
    ]
}

fn limits(provider: &Value) -> String {
    let mut parts = Vec::new();
    if let Some(most) = provider["max_concurrency"].as_u64().filter(|most| *most > 0) {
        parts.push(format!("{most} at once each"));
    }
    let models: Vec<_> = list(&provider["models_allowed"]).iter().map(plain).collect();
    if !models.is_empty() {
        parts.push(format!("only {}", models.join(", ")));
    }
    if provider["price_floor_ncr"].as_u64().is_some_and(|floor| floor > 0) {
        parts.push(format!("from {} a million tokens", usd(&provider["price_floor_ncr"])));
    }
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn offers(provider: &Value) -> Vec<String> {
    let each = list(&provider["engines"]).iter().flat_map(|engine| {
        list(&engine["models"]).iter().map(|model| {
            let sold = match plain(&model["model"]) {
                none if none == "-" => "nobody buys it here".to_owned(),
                sold => sold,
            };
            format!("offers {} on {}: {sold}", plain(&model["upstream"]), plain(&engine["name"]))
        })
    });
    each.collect()
}

/// What the engines tell of themselves.
fn own_words(provider: &Value) -> Vec<String> {
    let each = list(&provider["engines"]).iter().filter_map(|engine| {
        let count = |field: &str, words: &str| Some(format!("{} {words}", engine[field].as_u64()?));
        let cache = engine["kv_cache_milli"]
            .as_u64()
            .map(|milli| format!("KV cache {}.{}%", milli / 10, milli % 10));
        let deployment = engine["deployment_id"].as_str().filter(|id| !id.is_empty());
        let parts: Vec<String> = [
            count("engine_running", "running"),
            count("engine_waiting", "waiting"),
            cache,
            count("loaded_models", "models in memory"),
            deployment.map(|id| format!("instance of {id}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!parts.is_empty())
            .then(|| format!("tells {}: {}", plain(&engine["name"]), parts.join(", ")))
    });
    each.collect()
}

/// Whether models are what they would be sold as, and how long a prompt each engine takes.
fn examined(provider: &Value) -> Vec<String> {
    let mut told = Vec::new();
    for engine in list(&provider["engines"]) {
        let name = plain(&engine["name"]);
        let why = |of: &Value| match of["state_reason"].as_str() {
            Some("") | None => String::new(),
            Some(reason) => format!(": {reason}"),
        };
        for one in list(&engine["identity"]) {
            let mut line = format!(
                "identity {} on {name}: {}{}",
                plain(&one["model"]),
                plain(&one["state"]),
                why(one)
            );
            if number(&one["asked"]) > 0 {
                line.push_str(&format!(", {} of {} alike", one["passed"], one["asked"]));
                if number(&one["unsure"]) > 0 {
                    line.push_str(&format!(", {} say nothing", one["unsure"]));
                }
                let agreement = thousandths(number(&one["agreement_milli"]));
                line.push_str(&format!(", agreement {agreement}"));
                if let Some(milli) = one["difference_milli"].as_u64() {
                    line.push_str(&format!(", {} nats apart at most", thousandths(milli)));
                }
            }
            told.push(line);
        }
        let context = &engine["context"];
        if !context.is_null() {
            let tokens = |field: &str, none: &str| match number(&context[field]) {
                0 => none.to_owned(),
                some => grouped(some),
            };
            told.push(format!(
                "context {} on {name}: {} tokens taken, says {}, sold {}{}",
                plain(&context["upstream"]),
                tokens("verified_tokens", "0"),
                tokens("declared_tokens", "nothing"),
                tokens("sold_tokens", "without a bound"),
                why(context)
            ));
        }
    }
    told
}

/// `32,768`.
fn grouped(number: u64) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", grouped(number / 1_000), number % 1_000),
    }
}

fn runs<T>(provider: &Value, of: impl Fn(&Value, &Value) -> T) -> Vec<T> {
    let engines = list(&provider["engines"]).iter();
    let runs = engines.flat_map(|one| list(&one["benchmarks"]).iter().map(move |run| (one, run)));
    runs.map(|(engine, run)| of(engine, run)).collect()
}

fn measured(provider: &Value) -> (u64, u64) {
    let runs = runs(provider, |_, run| (number(&run["requests"]), number(&run["failed"])));
    runs.into_iter().fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1))
}

fn fastest(provider: &Value) -> String {
    let most = runs(provider, |_, run| number(&run["tokens_per_ks"])).into_iter().max();
    most.map_or_else(|| "-".to_owned(), rate)
}

fn models(provider: &Value) -> String {
    let engines = list(&provider["engines"]).iter();
    let mut names: Vec<_> = engines
        .flat_map(|engine| list(&engine["models"]))
        .map(|model| plain(&model["model"]))
        .filter(|model| model != "-")
        .collect();
    names.sort();
    names.dedup();
    names.join(",")
}

fn sum(provider: &Value, field: &str) -> u64 {
    list(&provider["engines"]).iter().map(|engine| number(&engine[field])).sum()
}

fn running(provider: &Value) -> u64 {
    sum(provider, "running")
}

fn slots(provider: &Value) -> u64 {
    sum(provider, "max_concurrency")
}

fn state(provider: &Value) -> String {
    match plain(&provider["state"]).as_str() {
        word @ ("pending" | "suspended" | "rejected") => word.to_uppercase(),
        word => word.to_owned(),
    }
}

fn rank(provider: &Value) -> String {
    thousandths(number(&provider["reputation"]["rank_milli"]))
}

fn milli(score: &Value) -> [String; 3] {
    ["bound_milli", "good_milli", "bad_milli"].map(|field| thousandths(number(&score[field])))
}

/// Whole cents from a dollar on, else four decimals or more: what is shown is never more than it is.
fn usd(ncr: &Value) -> String {
    let ncr = number(ncr);
    let (whole, nano) = (ncr / 1_000_000_000, ncr % 1_000_000_000);
    match (whole, nano) {
        (1.., _) | (_, 0) => format!("${whole}.{:02}", nano / 10_000_000),
        (_, 10_000_000..) => format!("$0.{:04}", nano / 100_000),
        (_, 1_000..) => format!("$0.{:06}", nano / 1_000),
        _ => format!("$0.{nano:09}"),
    }
}

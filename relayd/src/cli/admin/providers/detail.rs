//! One provider in full: what it says, what was found out, how it has done.

use relay_proto::admin::v1 as proto;

use super::super::format::{millis, or_dash, pairs, plain, thousandths, time, usd};
use super::{link_word, rate, state};

pub(super) fn detail(provider: &proto::Provider) -> String {
    let limit = match provider.max_concurrency {
        0 => "what it offers".to_owned(),
        most => format!("{most} at once an engine"),
    };
    let allowed = match provider.models_allowed.as_slice() {
        [] => "what it offers".to_owned(),
        models => models.join(", "),
    };
    let floor = match provider.price_floor_ncr {
        0 => "none".to_owned(),
        floor => format!("{} for a million answer tokens", usd(floor)),
    };
    let mut text = pairs(&[
        ("provider", provider.provider_id.clone()),
        ("name", provider.name.clone()),
        ("state", format!("{} since {}", state(provider), time(provider.state_since_ms))),
        ("reason", or_dash(&provider.state_reason)),
        ("missing", or_dash(&provider.missing.join("; "))),
        ("link", format!("{} from {}", link_word(provider), or_dash(&provider.address))),
        ("heard", time(provider.heard_at_ms)),
        ("earned", usd(provider.earned_ncr)),
        ("paid at", provider.payout_address.clone()),
        ("limit", limit),
        ("models", allowed),
        ("price floor", floor),
        ("gpus", gpus(provider)),
        ("agent", provider.agent_version.clone()),
        ("joined", time(provider.joined_at_ms)),
        ("examined", time(provider.examined_at_ms)),
        ("version", provider.version.to_string()),
    ]);
    if let Some(found) = &provider.reputation {
        text.push_str(&reputation(found));
    }
    for engine in &provider.engines {
        text.push_str(&format!(
            "\n\nengine {} ({}, {}), {} of {} running, {}",
            plain(&engine.name),
            plain(&engine.kind),
            plain(&engine.dialect),
            engine.running,
            engine.max_concurrency,
            or_dash(&engine.state),
        ));
        if let Some(load) = load(engine) {
            text.push_str(&format!("\n  says of itself: {load}"));
        }
        for model in &engine.models {
            let sold = match (model.model.as_str(), engine.deployment_id.as_str()) {
                ("", "") if !engine.examined => "not examined",
                ("", "") => "not sold here",
                // What it is sold as is the deployment's, and its revision's.
                ("", deployment) => deployment,
                (sold, _) => sold,
            };
            text.push_str(&format!("\n  {} -> {}", plain(&model.upstream), plain(sold)));
        }
        for found in &engine.identity {
            text.push_str(&format!("\n  {}", identity(found)));
        }
        if let Some(found) = &engine.context {
            text.push_str(&format!("\n  {}", context(found)));
        }
        for run in &engine.benchmarks {
            text.push_str(&format!(
                "\n  {} at once: first token {} (slowest {}), {} tokens/s, {} of {} failed",
                run.concurrency,
                millis(run.ttft_p50_ms.into()),
                millis(run.ttft_max_ms.into()),
                rate(run),
                run.failed,
                run.requests
            ));
        }
    }
    text
}

/// Its scores, what followed from them, and what went wrong lately.
fn reputation(found: &proto::ProviderReputation) -> String {
    let rank = thousandths(found.rank_milli.into());
    let mut text = format!("\n\nstanding {}, rank {rank} of 1", plain(&found.standing));
    for score in &found.scores {
        text.push_str(&format!(
            "\n  {}: at least {} (lately {} good, {} bad)",
            plain(&score.score),
            thousandths(score.bound_milli.into()),
            thousandths(score.good_milli),
            thousandths(score.bad_milli),
        ));
    }
    for step in &found.steps {
        text.push_str(&format!(
            "\n  {} {}: {}",
            time(step.at_ms),
            plain(&step.to),
            plain(&step.reason)
        ));
    }
    for mishap in &found.mishaps {
        text.push_str(&format!("\n  {} {}", time(mishap.at_ms), plain(&mishap.text)));
    }
    text
}

/// Whether a model is what it would be sold as.
fn identity(found: &proto::ProviderIdentity) -> String {
    let (model, state) = (plain(&found.model), plain(&found.state));
    let mut text = format!("is it {model}: {state}");
    if !found.state_reason.is_empty() {
        text.push_str(&format!(", {}", plain(&found.state_reason)));
    }
    if found.asked == 0 {
        return text;
    }
    let likelihoods = match found.difference_milli {
        None => "likelihoods not told".to_owned(),
        Some(milli) => format!("likelihoods differ by {}", thousandths(milli.into())),
    };
    text.push_str(&format!(
        "; {} of {} answers like our own, {} undecided ({} of the words, {likelihoods})",
        found.passed,
        found.asked,
        found.unsure,
        thousandths(found.agreement_milli.into())
    ));
    text
}

/// How long a prompt it takes.
fn context(found: &proto::ProviderContext) -> String {
    let told = |tokens: u64| match tokens {
        0 => "not said".to_owned(),
        tokens => tokens.to_string(),
    };
    let mut text = format!(
        "context: a prompt of {} tokens was taken (declared {}, sold {})",
        found.verified_tokens,
        told(found.declared_tokens),
        told(found.sold_tokens)
    );
    if !found.state_reason.is_empty() {
        text.push_str(&format!("; {}", plain(&found.state_reason)));
    }
    text
}

/// The cards that it says it has.
fn gpus(provider: &proto::Provider) -> String {
    let each = provider.gpus.iter().map(|gpu| match gpu.memory_mib {
        0 => format!("{}x {}", gpu.count, gpu.name),
        memory => format!("{}x {} {memory} MiB", gpu.count, gpu.name),
    });
    or_dash(&each.collect::<Vec<_>>().join(", "))
}

/// An engine's queue and cache by its own word, as far as it tells.
fn load(engine: &proto::ProviderEngine) -> Option<String> {
    let told = [
        engine.engine_running.map(|count| format!("{count} running")),
        engine.engine_waiting.map(|count| format!("{count} waiting")),
        engine.kv_cache_milli.map(|milli| format!("KV cache {}.{} %", milli / 10, milli % 10)),
        engine.loaded_models.map(|count| format!("{count} models in memory")),
    ];
    let told: Vec<_> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_examined_is_not_said_to_be_unsold() {
        let model = proto::ProviderModel { upstream: "smol".to_owned(), ..Default::default() };
        let joined = proto::ProviderEngine { models: vec![model], ..Default::default() };
        let examined = proto::ProviderEngine { examined: true, ..joined.clone() };
        let deployment_id = "dep_0000000000000001".to_owned();
        let deployed = proto::ProviderEngine { deployment_id, ..joined.clone() };
        for (engine, said) in [
            (joined, "  smol -> not examined"),
            (examined, "  smol -> not sold here"),
            (deployed, "  smol -> dep_0000000000000001"),
        ] {
            let provider = proto::Provider { engines: vec![engine], ..proto::Provider::default() };
            assert!(detail(&provider).contains(said), "{said}");
        }
    }
}

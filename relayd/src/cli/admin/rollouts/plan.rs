//! How a rollout goes, as it is written on the command line.

use std::path::PathBuf;

use clap::Args;
use relay_proto::admin::v1 as proto;

use super::super::Problem;
use super::super::time::age_ms;
use crate::domain::{CanaryPrompt, Gates};

/// What a plan may say; whatever is left out is relayd's own.
#[derive(Debug, Args)]
#[command(next_help_heading = "Plan")]
pub(in crate::cli::admin) struct PlanArgs {
    /// The new revision's share at each step, in percent [default: 1,5,25,50,100].
    #[arg(long, value_name = "PERCENT,...", value_delimiter = ',', value_parser = permille)]
    steps: Vec<u32>,
    /// Least time of a step: 30s, 10m, 1h [default: 10m].
    #[arg(long, value_name = "TIME", value_parser = window)]
    window: Option<u64>,
    /// Least requests of each revision before a step is judged [default: 200].
    #[arg(long, value_name = "N")]
    min_samples: Option<u32>,
    /// Windows that a step waits for that many before it is paused [default: 6].
    #[arg(long, value_name = "N")]
    patience: Option<u32>,
    /// The chance of each gate, at each step, to fail a revision that is no worse, in percent
    /// [default: 0.1].
    #[arg(long, value_name = "PERCENT", value_parser = ppm)]
    alpha: Option<u32>,
    /// The share of the old revision's requests that the new one gets a copy of, never billed or
    /// shown, in percent [default: 0].
    #[arg(long, value_name = "PERCENT", value_parser = permille)]
    shadow: Option<u32>,
    /// How much worse the new revision may be, in percent, or `off`: errors (points, 0.5), ttft
    /// (20), tokens_per_second (20), finish_reasons (points, 10), canary (points, 10); may be
    /// repeated.
    #[arg(long = "gate", value_name = "GATE=PERCENT", value_parser = gate)]
    gates: Vec<(String, Option<u32>)>,
    /// Prompts whose answers are known: a JSON list of {"prompt": "...", "expect": "..."}.
    #[arg(long, value_name = "FILE")]
    canaries: Option<PathBuf>,
}

impl PlanArgs {
    /// The plan that is asked for.
    pub(super) fn read(self) -> Result<proto::RolloutPlan, Problem> {
        let canaries = match &self.canaries {
            Some(file) => {
                let named = |error: &dyn std::fmt::Display| {
                    Problem::new(format!("{}: {error}", file.display()))
                };
                let text = std::fs::read(file).map_err(|error| named(&error))?;
                serde_json::from_slice::<Vec<CanaryPrompt>>(&text).map_err(|error| named(&error))?
            }
            None => Vec::new(),
        };
        let canary = |CanaryPrompt { prompt, expect }| proto::CanaryPrompt { prompt, expect };
        Ok(proto::RolloutPlan {
            steps_permille: self.steps,
            window_ms: self.window.unwrap_or_default(),
            min_samples: self.min_samples.unwrap_or_default(),
            patience_windows: self.patience.unwrap_or_default(),
            alpha_ppm: self.alpha.unwrap_or_default(),
            shadow_permille: self.shadow.unwrap_or_default(),
            gates: (!self.gates.is_empty()).then(|| gates(&self.gates)),
            canary_prompts: canaries.into_iter().map(canary).collect(),
        })
    }
}

/// The usual gates with these in their place. Saying one says them all on the wire.
fn gates(said: &[(String, Option<u32>)]) -> proto::Gates {
    let usual = Gates::default();
    let mut gates = proto::Gates {
        errors_ppm: usual.errors_ppm,
        ttft_ppm: usual.ttft_ppm,
        tokens_per_second_ppm: usual.tokens_per_second_ppm,
        finish_reasons_ppm: usual.finish_reasons_ppm,
        canary_ppm: usual.canary_ppm,
    };
    for (name, tolerance) in said {
        if let Some(place) = place(&mut gates, name) {
            *place = *tolerance;
        }
    }
    gates
}

fn place<'a>(gates: &'a mut proto::Gates, name: &str) -> Option<&'a mut Option<u32>> {
    Some(match name {
        "errors" => &mut gates.errors_ppm,
        "ttft" => &mut gates.ttft_ppm,
        "tokens_per_second" => &mut gates.tokens_per_second_ppm,
        "finish_reasons" => &mut gates.finish_reasons_ppm,
        "canary" => &mut gates.canary_ppm,
        _ => return None,
    })
}

fn gate(text: &str) -> Result<(String, Option<u32>), String> {
    let (name, tolerance) =
        text.split_once('=').ok_or_else(|| format!("'{text}' is not GATE=PERCENT"))?;
    if place(&mut proto::Gates::default(), name).is_none() {
        return Err(format!(
            "no gate '{name}': errors, ttft, tokens_per_second, finish_reasons or canary"
        ));
    }
    let tolerance = if tolerance == "off" { None } else { Some(ppm(tolerance)?) };
    Ok((name.to_owned(), tolerance))
}

/// `BACKEND` or `BACKEND=UPSTREAM`.
pub(super) fn target(text: &str) -> Result<proto::RevisionTarget, String> {
    let (backend, upstream) = text.split_once('=').unwrap_or((text, ""));
    if backend.is_empty() {
        return Err("a backend's name is missing".to_owned());
    }
    Ok(proto::RevisionTarget { backend_id: backend.to_owned(), upstream: upstream.to_owned() })
}

/// A number with at most three decimals, in thousandths.
pub(super) fn thousandths(text: &str) -> Result<u32, String> {
    scaled(text, 3)
}

/// A percentage with at most one decimal, in thousandths.
fn permille(text: &str) -> Result<u32, String> {
    scaled(text.trim_end_matches('%'), 1)
}

/// A percentage with at most four decimals, in millionths.
fn ppm(text: &str) -> Result<u32, String> {
    scaled(text.trim_end_matches('%'), 4)
}

/// A decimal number times ten to the power of `decimals`, exactly.
fn scaled(text: &str, decimals: usize) -> Result<u32, String> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let read = (digits(whole) && digits(rest) && rest.len() <= decimals && !whole.is_empty())
        .then(|| format!("{whole}{rest:0<decimals$}").parse().ok())
        .flatten();
    read.ok_or_else(|| format!("'{text}' is not a number with at most {decimals} decimals"))
}

/// The milliseconds of `30s`, `10m`, `1h` or `1d`.
fn window(text: &str) -> Result<u64, String> {
    let seconds = || Some(text.strip_suffix('s')?.parse::<u64>().ok()?.saturating_mul(1_000));
    let longer = || age_ms(text).and_then(|ms| u64::try_from(ms).ok());
    seconds().or_else(longer).ok_or_else(|| format!("'{text}' is not a time: write 30s, 10m or 1h"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_and_bounded() {
        assert_eq!([permille("1"), permille("2.5%"), permille("100")], [Ok(10), Ok(25), Ok(1_000)]);
        assert_eq!([ppm("0.1"), ppm("0.0001"), thousandths("0.7")], [Ok(1_000), Ok(1), Ok(700)]);
        for wrong in ["", "-1", "1.25", ".5", "1e3", "9999999999", "abc"] {
            assert!(permille(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            [window("30s"), window("10m"), window("1h")],
            [Ok(30_000), Ok(600_000), Ok(3_600_000)]
        );
        assert!(window("10").is_err());
    }

    #[test]
    fn one_gate_changes_itself_alone() {
        let said = [gate("errors=2").unwrap(), gate("canary=off").unwrap()];
        let gates = gates(&said);
        let usual = Gates::default();
        assert_eq!((gates.errors_ppm, gates.canary_ppm), (Some(20_000), None));
        assert_eq!(
            (gates.ttft_ppm, gates.finish_reasons_ppm),
            (usual.ttft_ppm, usual.finish_reasons_ppm)
        );
        assert!(gate("speed=2").is_err() && gate("errors").is_err() && gate("ttft=no").is_err());
    }

    #[test]
    fn a_target_names_a_backend_and_may_name_the_model() {
        let read = |text| target(text).map(|target| (target.backend_id, target.upstream));
        assert_eq!(read("gpu-1"), Ok(("gpu-1".to_owned(), String::new())));
        assert_eq!(read("gpu-1=qwen3:8b"), Ok(("gpu-1".to_owned(), "qwen3:8b".to_owned())));
        assert!(read("=x").is_err());
    }
}

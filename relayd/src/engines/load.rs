//! How much an engine has to do, by its own word: its queue and its cache.

use serde::Deserialize;

use super::Engine;
use super::probe::PROBE_TIMEOUT;
use crate::wire::EngineKind;

/// Most series of one page of metrics that are looked at: vLLM tells a few hundred.
const SERIES_MAX: usize = 20_000;

/// What an engine tells of its load. What it does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineLoad {
    /// Requests that it works on.
    pub running: Option<u32>,
    /// Requests that wait inside it.
    pub waiting: Option<u32>,
    /// Share of its KV cache that is taken, in thousandths.
    pub kv_milli: Option<u32>,
    /// Models that it holds in memory, where it may hold several or none.
    pub loaded: Option<u32>,
}

/// One of llama.cpp's `/slots`.
#[derive(Deserialize)]
struct Slot {
    is_processing: Option<bool>,
}

/// Ollama's `/api/ps`.
#[derive(Deserialize)]
struct Loaded {
    models: Vec<serde::de::IgnoredAny>,
}

impl EngineLoad {
    /// Whether it tells nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Engine {
    /// Asks an engine for its load: vLLM's and llama.cpp's metrics, Ollama's list of loaded
    /// models. An engine that does not tell, or not in time, tells nothing.
    pub async fn load(&self) -> EngineLoad {
        let read = async |path| {
            let (status, body) = self.get(path, PROBE_TIMEOUT).await.ok()?;
            status.is_success().then_some(body)
        };
        let load = match self.kind() {
            EngineKind::Vllm => read("/metrics").await.map(|body| vllm(&body)),
            EngineKind::Llamacpp => match read("/metrics").await {
                Some(body) => Some(llamacpp(&body)),
                // Metrics are told on request only, slots unless forbidden.
                None => read("/slots").await.and_then(|body| slots(&body)),
            },
            EngineKind::Ollama => read("/api/ps").await.and_then(|body| ollama(&body)),
            EngineKind::Commercial | EngineKind::Unknown => None,
        };
        load.unwrap_or_default()
    }
}

fn vllm(body: &[u8]) -> EngineLoad {
    let mut load = EngineLoad::default();
    for (name, value) in series(body) {
        match name {
            // One series for each engine of a group, and one for each model.
            "vllm:num_requests_running" => add(&mut load.running, value),
            "vllm:num_requests_waiting" => add(&mut load.waiting, value),
            "vllm:kv_cache_usage_perc" | "vllm:gpu_cache_usage_perc" => {
                load.kv_milli = load.kv_milli.max(share(value));
            }
            _ => {}
        }
    }
    load
}

fn llamacpp(body: &[u8]) -> EngineLoad {
    let mut load = EngineLoad::default();
    for (name, value) in series(body) {
        match name {
            "llamacpp:requests_processing" => add(&mut load.running, value),
            "llamacpp:requests_deferred" => add(&mut load.waiting, value),
            "llamacpp:kv_cache_usage_ratio" => load.kv_milli = load.kv_milli.max(share(value)),
            _ => {}
        }
    }
    load
}

fn slots(body: &[u8]) -> Option<EngineLoad> {
    let slots: Vec<Slot> = serde_json::from_slice(body).ok()?;
    let busy = slots.iter().filter(|slot| slot.is_processing == Some(true)).count();
    Some(EngineLoad { running: u32::try_from(busy).ok(), ..EngineLoad::default() })
}

fn ollama(body: &[u8]) -> Option<EngineLoad> {
    let loaded: Loaded = serde_json::from_slice(body).ok()?;
    Some(EngineLoad { loaded: u32::try_from(loaded.models.len()).ok(), ..EngineLoad::default() })
}

/// The series of a page in Prometheus' text format, by name; labels and times are left out, and so
/// is every line that cannot be read.
fn series(body: &[u8]) -> impl Iterator<Item = (&str, f64)> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.lines().take(SERIES_MAX).filter_map(|line| {
        let line = line.trim();
        if line.starts_with('#') {
            return None;
        }
        // A label's value may hold anything but an unescaped quote; the last brace ends them.
        let (name, rest) = match line.split_once('{') {
            Some((name, labelled)) => (name, labelled.rsplit_once('}')?.1),
            None => line.split_once(char::is_whitespace)?,
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some((name.trim_end(), value))
    })
}

/// A count, which a metric tells as a float; one that is no number does not count.
fn add(sum: &mut Option<u32>, value: f64) {
    if let Some(value) = whole(value) {
        *sum = Some(sum.unwrap_or(0).saturating_add(value));
    }
}

/// A share of one, in thousandths, at most the whole.
fn share(value: f64) -> Option<u32> {
    if !value.is_finite() {
        return None;
    }
    whole(value.clamp(0.0, 1.0) * 1_000.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is no number was left out; a float out of range becomes the nearest whole"
)]
fn whole(value: f64) -> Option<u32> {
    (value.is_finite() && value >= 0.0).then(|| value.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLLM: &str = r#"# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a}b {"} 3.0
vllm:num_requests_running{engine="1",model_name="a}b {"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 99.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.4125 1700000000000
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.2
"#;

    #[test]
    fn vllm_tells_of_every_engine_of_its_group() {
        let load = EngineLoad {
            running: Some(4),
            waiting: Some(7),
            kv_milli: Some(413),
            ..EngineLoad::default()
        };
        assert_eq!(vllm(VLLM.as_bytes()), load);
    }

    #[test]
    fn llamacpp_tells_its_queue_and_no_cache() {
        let text = "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 2\n\
                    llamacpp:requests_deferred 5\nllamacpp:n_tokens_max 80\n";
        let load = EngineLoad { running: Some(2), waiting: Some(5), ..EngineLoad::default() };
        assert_eq!(llamacpp(text.as_bytes()), load);
        let told = br#"[{"id":0,"is_processing":true},{"id":1,"is_processing":false},{"id":2}]"#;
        let busy = EngineLoad { running: Some(1), ..EngineLoad::default() };
        assert_eq!(slots(told), Some(busy));
    }

    #[test]
    fn ollama_tells_what_it_holds() {
        let told = br#"{"models":[{"name":"a:latest","size_vram":5},{"name":"b"}]}"#;
        let load = EngineLoad { loaded: Some(2), ..EngineLoad::default() };
        assert_eq!(ollama(told), Some(load));
        assert_eq!(ollama(br#"{"models":[]}"#).and_then(|load| load.loaded), Some(0));
    }

    #[test]
    fn what_makes_no_sense_is_absent() {
        for text in [
            "",
            "<html>",
            "vllm:num_requests_running",
            "vllm:num_requests_running NaN",
            "vllm:num_requests_running{} -1",
            "vllm:num_requests_running{engine=\"0\"",
            "vllm:kv_cache_usage_perc +Inf\n",
            "\u{0}\u{1}",
        ] {
            assert_eq!(vllm(text.as_bytes()), EngineLoad::default(), "{text}");
        }
        assert_eq!(vllm(b"vllm:num_requests_running 1e300").running, Some(u32::MAX));
        assert_eq!(vllm(&[0xff, 0xfe]), EngineLoad::default());
        assert_eq!((slots(b"{}"), ollama(b"[]")), (None, None));
    }
}

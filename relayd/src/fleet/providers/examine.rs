//! Examining a provider: its engines are asked and measured through its own connection, the way
//! customers' requests would go, once a session.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::greet::{MODELS_MAX, is_model_name};
use super::identity::Comparison;
use super::{
    Benchmark, EngineEvidence, Evidence, IdentityEvidence, ModelEvidence, Providers, now_ms,
    state_change,
};
use crate::catalogue::CatalogueSnapshot;
use crate::domain::{Mode, ModelName, ProviderId, ProviderState};
use crate::engines::{
    AgentAddress, ChatCall, Dialect, Engine, EngineSpec, ListedModel, Probe, Reply,
};
use crate::events::{EventKind, Severity};
use crate::store::{
    BackendRow, Change, OfferRow, ProviderEdit, ProviderRow, StoreError, Versioned,
};
use crate::wire::{Stamp, Surface, Translator};

/// The whole examination ends in this time, whatever an engine does: measuring, then comparing,
/// then trying long prompts. What one of them does not use is the next one's, and what a slow engine
/// has done need not be done again at the next look. Each round of measuring fits into its time, and
/// into that of comparing fits a question to both sides, so that each look gets further.
const EXAMINATION: Duration = Duration::from_secs(30);
const MEASURED_BY: Duration = Duration::from_secs(22);
const COMPARED_BY: Duration = Duration::from_secs(26);

/// Time for one request of it.
const REQUEST: Duration = Duration::from_secs(10);

/// Requests at once, and how many of them, one after the other.
const ROUNDS: [(u32, u32); 3] = [(1, 2), (2, 1), (4, 1)];

/// Answer tokens that are asked for: enough to measure a rate, little enough to be quick.
const OUTPUT_TOKENS: u32 = 24;

/// The word for an engine that answers.
const UP: &str = "up";

/// What is asked; each request has another number in it, so that no answer can be kept ready.
const PROMPT: &str = "Write one short sentence about the number";

/// What an examination found out before and need not find out again: a session's engines are
/// measured once, whatever else is waited for.
#[derive(Debug, Default)]
pub struct Measured {
    at_ms: i64,
    /// Each engine as it was offered, and what it was found to be.
    engines: Vec<(OfferRow, Seen)>,
    /// Whether nothing is missing of them.
    whole: bool,
}

/// What was found out about one engine.
#[derive(Clone, Debug, Default)]
struct Seen {
    found: EngineEvidence,
    /// The context that it declares for the model that it was measured with.
    declared: Option<u64>,
    /// How far its models are compared.
    compared: Vec<Comparison>,
}

impl Measured {
    /// Whether its engines need not be asked anything more.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.whole
    }
}

/// What one request of the examination showed.
struct Shown {
    first: Duration,
    tokens: u64,
}

impl Providers {
    /// Examines a provider that waits for it, over its session; then a person decides. Nothing
    /// happens to one in another state. `measured` belongs to that session: engines that were
    /// measured in full are not measured again while the cards that go with them do not show.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn examine(
        &self,
        id: &ProviderId,
        measured: &mut Measured,
    ) -> Result<(), StoreError> {
        let mut row = self.0.store.provider(id).await?;
        if row.state == ProviderState::Joining {
            let change = state_change(&row, ProviderState::Probing, "its engines are examined");
            match self.0.store.write(vec![change], None).await {
                // Another replica examines it too.
                Err(StoreError::Precondition(_)) => {}
                written => written?,
            }
            self.changed();
            row = self.0.store.provider(id).await?;
        }
        if row.state != ProviderState::Probing {
            return Ok(());
        }
        let offers = &row.presented.engines;
        if !(measured.whole && measured.engines.iter().map(|(offer, _)| offer).eq(offers)) {
            let before = std::mem::take(&mut measured.engines);
            measured.engines = self.engines_of(id, offers, &before).await?;
            measured.at_ms = now_ms();
        }
        let examined_at_ms = measured.at_ms;
        let engines: Vec<_> = measured.engines.iter().map(|(_, seen)| seen.found.clone()).collect();
        let mut missing = missing(&engines, |model| self.0.tokenizers.lack(model));
        measured.whole = missing.is_empty();
        missing.extend(self.cards_missing(id, &row.presented.gpus));
        let evidence = Evidence { examined_at_ms, engines, missing };
        if !evidence.is_complete() && evidence.says_what(&Evidence::read(&row.evidence)) {
            return Ok(());
        }
        self.conclude(&row, &evidence).await
    }

    /// Writes evidence about a provider as it was read, and with complete evidence that a person
    /// decides. Evidence about a provider that is another by now is worth nothing.
    pub(super) async fn conclude(
        &self,
        row: &ProviderRow,
        evidence: &Evidence,
    ) -> Result<(), StoreError> {
        let text = serde_json::to_string(evidence).unwrap_or_default();
        let edit = ProviderEdit::Evidence(text);
        let expected = Some(row.version);
        let mut changes = vec![Change::EditProvider { id: row.id.clone(), expected, edit }];
        let complete = evidence.is_complete();
        if complete {
            changes.push(state_change(row, ProviderState::Pending, "examined, a person decides"));
        }
        match self.0.store.write(changes, None).await {
            Err(StoreError::Version { .. } | StoreError::Precondition(_)) => return Ok(()),
            written => written?,
        }
        if complete {
            let others = evidence.other_models();
            let (severity, text) = match others.as_slice() {
                [] => (Severity::Info, "was examined and waits for a decision".to_owned()),
                others => (
                    Severity::Warning,
                    format!(
                        "was examined and waits for a decision; it does not answer as {}",
                        others.join(", ")
                    ),
                ),
            };
            self.tell(EventKind::ProviderPending, severity, row, &text);
        }
        self.changed();
        Ok(())
    }

    async fn engines_of(
        &self,
        id: &ProviderId,
        offers: &[OfferRow],
        before: &[(OfferRow, Seen)],
    ) -> Result<Vec<(OfferRow, Seen)>, StoreError> {
        let backends = self.0.store.backends().await?;
        let catalogue = self.0.catalogue.snapshot();
        let began = Instant::now();
        let turn = &Semaphore::new(1);
        let each = offers.iter().map(|offer| {
            let engine = self.engine(id, offer);
            let named = |upstream: &str| sold_as(&catalogue, &backends, upstream);
            let known = before.iter().find(|(of, _)| of == offer).map(|(_, seen)| seen.clone());
            async move {
                let mut seen = known.unwrap_or_else(|| Seen::of(offer));
                if let Some(engine) = engine {
                    let places = offer.max_concurrency.max(1);
                    self.see((&engine, places), named, &mut seen, (turn, began)).await;
                }
                (offer.clone(), seen)
            }
        });
        Ok(join_all(each).await)
    }

    /// Everything that is asked of an engine and was not found out before, the most needed first.
    /// What was found until the time for it was over stands.
    async fn see(
        &self,
        (engine, places): (&Engine, u32),
        named: impl Fn(&str) -> Option<ModelName>,
        seen: &mut Seen,
        (turn, began): (&Semaphore, Instant),
    ) {
        if !seen.is_measured() {
            let looking = look((engine, places), named, seen);
            let _ = timeout_at(began + MEASURED_BY, looking).await;
        }
        seen.list();
        let Seen { found, declared, compared } = seen;
        self.identify((engine, places), compared, turn, began + COMPARED_BY).await;
        found.identity = compared.iter().map(Comparison::evidence).collect();
        let Some((model, upstream)) = found.sold().next() else { return };
        let known = found.context.as_ref();
        if known.is_none_or(|known| known.upstream != upstream || !known.reason.is_empty()) {
            let until = began + EXAMINATION;
            let context = self.stretch(engine, (model, upstream), *declared, until).await;
            found.context = Some(context);
        }
    }

    /// An engine behind the provider's connection.
    fn engine(&self, id: &ProviderId, offer: &OfferRow) -> Option<Engine> {
        let address = AgentAddress { provider: id.clone(), engine: offer.name.clone() };
        let spec = EngineSpec {
            base_url: address.to_string(),
            dialect: offer.dialect.parse().ok()?,
            kind: offer.kind.parse().ok()?,
            credential_file: None,
        };
        Some(Engine::over(&spec, self.0.fleet.uplink(id), &offer.name))
    }
}

/// The model of the catalogue that an engine's model would be sold as: the one of that name, or
/// the one that another backend serves under that name.
pub(super) fn sold_as(
    catalogue: &CatalogueSnapshot,
    backends: &[Versioned<BackendRow>],
    upstream: &str,
) -> Option<ModelName> {
    if let Ok(name) = ModelName::new(upstream)
        && let Some(listing) = catalogue.listing(name.as_str())
    {
        return Some(listing.model.name.clone());
    }
    let served = backends.iter().flat_map(|backend| &backend.row.models);
    served.into_iter().find(|served| served.upstream == upstream).map(|served| served.model.clone())
}

impl Seen {
    /// What is known before it is asked.
    fn of(offer: &OfferRow) -> Self {
        let found = EngineEvidence {
            name: offer.name.clone(),
            kind: offer.kind.clone(),
            dialect: offer.dialect.clone(),
            state: "down".to_owned(),
            ..EngineEvidence::default()
        };
        Self { found, declared: None, compared: Vec::new() }
    }

    /// Has each model that would be sold compared; what is known of one that was listed before stays.
    fn list(&mut self) {
        let mut before = std::mem::take(&mut self.compared);
        let each = self.found.sold().map(|(model, upstream)| {
            let known = before.iter().position(|one| one.is_of(model, upstream));
            known.map_or_else(|| Comparison::new(model, upstream), |at| before.swap_remove(at))
        });
        self.compared = each.collect();
    }

    /// Whether it is up and was measured to the end.
    fn is_measured(&self) -> bool {
        let found = &self.found;
        found.state == UP
            && found.benchmarks.len() == ROUNDS.len()
            && found.benchmarks.iter().all(|run| run.failed == 0)
    }
}

/// Asks an engine what it serves and measures it with the first model that can be sold, never with
/// more requests at once than it has places. Of what it lists as much is kept as it could have
/// offered.
async fn look(
    (engine, places): (&Engine, u32),
    named: impl Fn(&str) -> Option<ModelName>,
    seen: &mut Seen,
) {
    let Seen { found, declared, .. } = seen;
    found.state = match engine.probe().await {
        Probe::Up => UP,
        Probe::Loading => "loading",
        Probe::Down(_) => "down",
    }
    .to_owned();
    let Ok(mut listed) = engine.models().await else { return };
    listed.retain(|model| is_model_name(&model.name));
    listed.truncate(MODELS_MAX);
    let evidence = |model: &ListedModel| ModelEvidence {
        model: named(&model.name),
        upstream: model.name.clone(),
    };
    found.models = listed.iter().map(evidence).collect();
    let sold = listed.iter().zip(&found.models).find(|(_, served)| served.model.is_some());
    let Some((first, _)) = sold else { return };
    *declared = first.context_tokens;
    // A slow engine goes on where the time was over; one that failed begins anew.
    let sound = |run: &Benchmark| run.failed == 0 && run.upstream == first.name;
    if !found.benchmarks.iter().all(sound) {
        found.benchmarks.clear();
    }
    for (concurrency, rounds) in ROUNDS.into_iter().skip(found.benchmarks.len()) {
        let at_once = concurrency.min(places);
        found.benchmarks.push(measure(engine, &first.name, at_once, rounds).await);
    }
}

async fn measure(engine: &Engine, upstream: &str, concurrency: u32, rounds: u32) -> Benchmark {
    let mut shown = Vec::new();
    let mut failed = 0;
    let began = Instant::now();
    for _ in 0..rounds {
        let at_once = (0..concurrency).map(|_| timeout(REQUEST, ask(engine, upstream)));
        for answer in join_all(at_once).await {
            match answer {
                Ok(Some(answer)) => shown.push(answer),
                Ok(None) | Err(_) => failed += 1,
            }
        }
    }
    let took = began.elapsed().as_millis().max(1);
    let mut firsts: Vec<_> = shown.iter().map(|answer| answer.first).collect();
    firsts.sort_unstable();
    let millis = |time: Option<&Duration>| {
        time.map_or(0, |time| u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
    };
    let tokens: u64 = shown.iter().map(|answer| answer.tokens).sum();
    let rate = u128::from(tokens) * 1_000_000 / took;
    Benchmark {
        upstream: upstream.to_owned(),
        concurrency,
        requests: concurrency * rounds,
        failed,
        ttft_p50_ms: millis(firsts.get(firsts.len() / 2)),
        ttft_max_ms: millis(firsts.last()),
        tokens_per_ks: u64::try_from(rate).unwrap_or(u64::MAX),
    }
}

/// One streamed answer; nothing where it failed or was cut.
async fn ask(engine: &Engine, upstream: &str) -> Option<Shown> {
    let began = Instant::now();
    let call = ChatCall {
        body: body(engine.dialect(), upstream).into(),
        stream: true,
        traceparent: None,
        tracestate: None,
        request_id: Uuid::now_v7().to_string(),
        first_byte_timeout: REQUEST,
        fresh: false,
    };
    let Ok(Reply::Stream(mut stream)) = engine.chat(call).await else { return None };
    let stamp = Stamp {
        model: upstream.to_owned(),
        task_id: String::new(),
        mode: Mode::Direct,
        request_id: String::new(),
        created: 0,
    };
    let mut translator = Translator::new(Surface::Openai, engine.dialect(), stamp, true);
    let mut first = None;
    let mut frames = Vec::new();
    while let Some(chunk) = stream.next().await {
        translator.push(&chunk.ok()?, &mut frames).ok()?;
        frames.clear();
        if first.is_none() && translator.seen().first_content {
            first = Some(began.elapsed());
        }
    }
    translator.end_of_input().ok()?;
    let seen = translator.seen();
    // Pieces of content stand in where an engine counts nothing.
    let tokens = seen.usage.map_or(seen.deltas, |usage| usage.out_text + usage.out_reasoning);
    Some(Shown { first: first?, tokens })
}

fn body(dialect: Dialect, upstream: &str) -> Vec<u8> {
    let text = format!("{PROMPT} {}.", rand::random::<u32>());
    let messages = json!([{ "role": "user", "content": text }]);
    let body = match dialect {
        Dialect::Openai => json!({
            "model": upstream, "messages": messages, "max_tokens": OUTPUT_TOKENS, "stream": true,
            "stream_options": { "include_usage": true },
        }),
        Dialect::Anthropic => json!({
            "model": upstream, "messages": messages, "max_tokens": OUTPUT_TOKENS, "stream": true,
        }),
        Dialect::Ollama => json!({
            "model": upstream, "messages": messages, "stream": true,
            "options": { "num_predict": OUTPUT_TOKENS },
        }),
    };
    body.to_string().into_bytes()
}

/// What keeps a person from deciding.
fn missing(engines: &[EngineEvidence], lack: impl Fn(&ModelName) -> Option<String>) -> Vec<String> {
    let mut missing = Vec::new();
    if engines.is_empty() {
        missing.push("it offers no engine".to_owned());
    }
    for engine in engines {
        let name = &engine.name;
        let measured = engine.benchmarks.len() == ROUNDS.len();
        if engine.state != UP {
            missing.push(format!("engine {name} is {}", engine.state));
        } else if engine.models.iter().all(|served| served.model.is_none()) {
            missing.push(format!("engine {name} serves no model of the catalogue"));
        } else if let Some((model, lack)) = uncounted(engine, &lack) {
            missing.push(format!("model {model} is not open to providers: {lack}"));
        } else if !measured {
            missing.push(format!("engine {name} was not measured to the end"));
        } else if engine.benchmarks.iter().any(|run| run.failed > 0) {
            missing.push(format!("engine {name} failed requests of its examination"));
        }
        let open = engine.identity.iter().filter(|found| found.open > 0);
        missing.extend(open.map(|IdentityEvidence { upstream, unanswered, open, .. }| {
            match unanswered {
                0 => format!("engine {name} has {open} questions to {upstream} to answer yet"),
                silent => format!("engine {name} left {silent} questions to {upstream} unanswered"),
            }
        }));
    }
    missing
}

/// A model that an engine would serve and none of whose like can be counted here: without our own
/// count of any of them nobody could be paid.
fn uncounted(
    engine: &EngineEvidence,
    lack: impl Fn(&ModelName) -> Option<String>,
) -> Option<(ModelName, String)> {
    let mut lacking = None;
    for model in engine.models.iter().filter_map(|served| served.model.as_ref()) {
        match lack(model) {
            None => return None,
            Some(why) => lacking = lacking.or_else(|| Some((model.clone(), why))),
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_says_what_it_lacks() {
        let model = "smollm2".parse().ok();
        let good = EngineEvidence {
            name: "a".to_owned(),
            state: "up".to_owned(),
            models: vec![ModelEvidence { upstream: "m".to_owned(), model }],
            benchmarks: vec![Benchmark::default(); ROUNDS.len()],
            ..EngineEvidence::default()
        };
        assert!(missing(std::slice::from_ref(&good), |_| None).is_empty());
        assert_eq!(missing(&[], |_| None), ["it offers no engine"]);
        let lack = |_: &ModelName| Some("its row names no tokenizer".to_owned());
        let told = "model smollm2 is not open to providers: its row names no tokenizer";
        assert_eq!(missing(std::slice::from_ref(&good), lack), [told]);
        let down = EngineEvidence { state: "down".to_owned(), ..good.clone() };
        assert_eq!(missing(&[good.clone(), down], |_| None), ["engine a is down"]);
        let mut unknown = good.clone();
        unknown.models[0].model = None;
        assert_eq!(missing(&[unknown], |_| None), ["engine a serves no model of the catalogue"]);
        let mut cut = good.clone();
        cut.benchmarks.pop();
        assert_eq!(missing(&[cut], |_| None), ["engine a was not measured to the end"]);
        let mut failing = good;
        failing.benchmarks[1].failed = 1;
        let told = ["engine a failed requests of its examination"];
        assert_eq!(missing(std::slice::from_ref(&failing), |_| None), told);
        failing.benchmarks[1].failed = 0;
        let upstream = "m".to_owned();
        let open = IdentityEvidence { upstream, open: 2, ..IdentityEvidence::default() };
        let silent = IdentityEvidence { unanswered: 4, ..open.clone() };
        failing.identity = vec![IdentityEvidence::default(), silent, open];
        let told = [
            "engine a left 4 questions to m unanswered",
            "engine a has 2 questions to m to answer yet",
        ];
        assert_eq!(missing(&[failing], |_| None), told);
    }
}

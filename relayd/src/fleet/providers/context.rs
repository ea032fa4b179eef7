//! How long a prompt an engine takes, tried with prompts of rising length.
//!
//! What is shown is that the engine takes the prompt and says that it read about as much as we
//! count. That it used all of it is its word: one that drops the middle of a long prompt and claims
//! the whole is not found out by this.

use std::time::Duration;

use rand::seq::IndexedRandom as _;
use serde_json::json;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{ContextEvidence, Providers};
use crate::catalogue::Listing;
use crate::domain::{Mode, ModelName};
use crate::engines::{ChatCall, Engine, EngineError, Reply};
use crate::tokenizer::Tokenizer;
use crate::wire::{self, ChatRequest, Defaults, Stamp, Surface, Timing, Upstream};

/// Longest prompt that is tried, in tokens: it has to be read within the time.
const TRIED_MAX: u64 = 16_384;

/// The lengths, as shares of the longest, in percent.
const SHARES: [u64; 3] = [12, 50, 100];

/// Time for all of them.
const TIME: Duration = Duration::from_secs(10);

/// Room that is left for the answer and for what chat templates add, in tokens.
const RESERVE: u64 = 24;

/// Least part of our count of the prompt that the engine must claim to have read, in percent.
const READ_PCT: u64 = 80;

/// Words of a sample by which the length of a word in tokens is found.
const SAMPLE_WORDS: u64 = 200;

const WORDS: [&str; 16] = [
    "harbour", "copper", "window", "the", "and", "garden", "seven", "report", "of", "morning",
    "signal", "under", "paper", "river", "to", "quiet",
];

impl Providers {
    /// Tries how long a prompt an engine takes for one of its models, until then and within [`TIME`].
    pub(super) async fn stretch(
        &self,
        engine: &Engine,
        (model, upstream): (&ModelName, &str),
        declared: Option<u64>,
        until: Instant,
    ) -> ContextEvidence {
        let catalogue = self.0.catalogue.snapshot();
        let sold = catalogue.listing(model.as_str()).map(sold);
        let (sold_tokens, template) = sold.unwrap_or((0, 0));
        let mut found = ContextEvidence {
            upstream: upstream.to_owned(),
            declared_tokens: declared.unwrap_or(0),
            sold_tokens,
            ..ContextEvidence::default()
        };
        let Some(longest) = longest(found.declared_tokens, sold_tokens, template) else {
            found.reason = "neither the engine nor the catalogue says how much it takes".to_owned();
            return found;
        };
        let Some(tokenizer) = self.0.tokenizers.get(model) else {
            found.reason = "without a tokenizer of the model nothing can be counted".to_owned();
            return found;
        };
        let until = until.min(Instant::now() + TIME);
        for share in SHARES {
            let left = until.saturating_duration_since(Instant::now());
            let tokens = (longest * share / 100).max(1);
            let tried = attempt(engine, model, upstream, &tokenizer, tokens, left);
            match timeout(left, tried).await {
                Ok(Ok(verified)) => found.verified_tokens = verified,
                Ok(Err(reason)) => found.reason = reason,
                Err(_) => found.reason = format!("{tokens} tokens were not read in time"),
            }
            if !found.reason.is_empty() {
                return found;
            }
        }
        if found.declared_tokens > 0 && found.declared_tokens < sold_tokens {
            let declared = found.declared_tokens;
            found.reason = format!("it takes {declared} tokens and {sold_tokens} are sold");
        }
        found
    }
}

/// Context that is sold, and what its template adds.
fn sold(listing: &Listing) -> (u64, u64) {
    (listing.model.context_tokens, listing.model.template_overhead_tokens)
}

/// The longest prompt to try: what is declared or sold, whichever is less, with room for the rest.
fn longest(declared: u64, sold: u64, template: u64) -> Option<u64> {
    let context = [declared, sold].into_iter().filter(|tokens| *tokens > 0).min()?;
    let room = context.saturating_sub(RESERVE.saturating_add(template));
    Some(room.clamp(1, TRIED_MAX))
}

/// Sends one prompt of about so many tokens; gives its length by our count.
async fn attempt(
    engine: &Engine,
    model: &ModelName,
    upstream: &str,
    tokenizer: &Tokenizer,
    tokens: u64,
    patience: Duration,
) -> Result<u64, String> {
    let (prompt, counted) = prompt(tokenizer, tokens).await?;
    let body = json!({
        "model": model.as_str(),
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": 1,
    });
    let unsaid = |_| "its format has no word for the prompt".to_owned();
    let request = ChatRequest::scan(Surface::Openai, body.to_string().into()).map_err(unsaid)?;
    let target = Upstream {
        model: upstream,
        output_cap: 1,
        engine: engine.kind(),
        defaults: Defaults::default(),
    };
    let call = ChatCall {
        body: request.upstream(engine.dialect(), &target).map_err(unsaid)?,
        stream: false,
        traceparent: None,
        tracestate: None,
        request_id: Uuid::now_v7().to_string(),
        first_byte_timeout: patience,
        fresh: false,
    };
    let refused = |error: EngineError| match error.status {
        Some(status) => format!("{counted} tokens were refused with status {status}"),
        None => format!("{counted} tokens were not answered: {}", error.cause),
    };
    let body = match engine.chat(call).await.map_err(refused)? {
        Reply::Whole(body) => body,
        Reply::Stream(_) => return Err("a whole answer was asked for, a stream came".to_owned()),
    };
    let stamp = Stamp {
        model: String::new(),
        task_id: String::new(),
        mode: Mode::Direct,
        request_id: String::new(),
        created: 0,
    };
    let timing = Timing { total_ns: 0, load_ns: 0, prompt_ns: 0, eval_ns: 0 };
    let answer = wire::answer(Surface::Openai, engine.dialect(), &body, &stamp, &timing);
    let answer = answer.map_err(|_| format!("{counted} tokens brought no answer"))?;
    match answer.usage.map(|usage| usage.input()) {
        Some(read) if read.saturating_mul(100) < counted.saturating_mul(READ_PCT) => {
            Err(format!("of {counted} tokens it says that it read {read}"))
        }
        _ => Ok(counted),
    }
}

/// A prompt of at most so many tokens, and its count.
async fn prompt(tokenizer: &Tokenizer, tokens: u64) -> Result<(String, u64), String> {
    let uncounted =
        |error: crate::tokenizer::LoadError| format!("the prompt cannot be counted: {error}");
    let sample = words(SAMPLE_WORDS);
    let counted = tokenizer.count(vec![sample]).await.map_err(uncounted)?.max(1);
    let mut many = tokens.saturating_mul(SAMPLE_WORDS) / counted;
    loop {
        let text = words(many.max(1));
        let counted = tokenizer.count(vec![text.clone()]).await.map_err(uncounted)?;
        if counted <= tokens || many <= 1 {
            return Ok((text, counted));
        }
        // Words differ in length: a little less.
        many -= (many / 20).max(1);
    }
}

fn words(count: u64) -> String {
    let mut rng = rand::rng();
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(WORDS.choose(&mut rng).copied().unwrap_or_default());
        text.push(' ');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_fits_both_bounds_and_the_time() {
        assert_eq!(longest(0, 0, 16), None);
        assert_eq!(longest(1_024, 0, 16), Some(984));
        assert_eq!(longest(1_024, 4_096, 16), Some(984));
        assert_eq!(longest(8_192, 4_096, 0), Some(4_072));
        assert_eq!(longest(0, 1 << 40, 16), Some(TRIED_MAX));
        assert_eq!(longest(8, 0, 16), Some(1), "a context without room is tried all the same");
    }
}

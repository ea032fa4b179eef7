//! Counting anew what a provider answered: whoever is paid for a count does not supply it.
//!
//! The answer is the tokens of its text as relayd read it, and nothing else: no end marker, no
//! tokens that nobody saw. The prompt is the tokens of its texts, and of what the model's template
//! adds to them as much as the provider says, at most the template overhead of the model's row.
//! Pictures are not counted. The provider's own figures are kept beside the count.

use super::Inner;
use super::count::{self, Count, Read};
use super::task::Task;
use crate::domain::Meters;
use crate::ledger::{Claimed, CountSource};
use crate::wire::Transcript;

/// What came from a provider: the words, and the figures it claims for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The words.
    pub(super) transcript: Transcript,
    /// The figures; none where it gave none.
    pub(super) claim: Option<Meters>,
}

impl Heard {
    /// What it claims, as it is stored.
    fn claimed(&self) -> Option<Claimed> {
        self.claim.map(|claim| Claimed { input: claim.input(), output: claim.output() })
    }
}

/// Counts what a provider answered. Where the model's tokenizer fails, which a log line tells, the
/// bytes of the text are an estimate.
pub(super) async fn count(inner: &Inner, task: &Task, heard: &Heard) -> Count {
    let counted = match inner.tokenizers.get(&task.offer.scope.model) {
        Some(tokenizer) => {
            let owned = |texts: &mut dyn Iterator<Item = &str>| texts.map(str::to_owned).collect();
            let (text, reasoning) =
                (owned(&mut heard.transcript.texts()), owned(&mut heard.transcript.reasoning()));
            let prompt = tokenizer.count(task.request.prompt_texts());
            tokio::try_join!(prompt, tokenizer.count(text), tokenizer.count(reasoning))
                .inspect_err(|error| {
                    tracing::warn!(
                        request_id = %task.request_id,
                        model = %task.offer.scope.model,
                        %error,
                        "a provider's answer is billed by its bytes"
                    );
                })
                .ok()
        }
        // The model's row lost its tokenizer while the request ran.
        None => None,
    };
    let claimed = heard.claimed();
    let counted = match counted {
        Some((input, out_text, out_reasoning)) => {
            let overhead = task.offer.model.template_overhead_tokens;
            let meters = Meters { out_text, out_reasoning, ..prompt(input, overhead, heard.claim) };
            Count { meters, source: CountSource::Own, estimated: false, claimed }
        }
        None => {
            let read = Read { out_bytes: heard.transcript.bytes() as u64, ..Read::default() };
            Count { claimed, ..count::count(&read, task.request.prompt_bytes(), true) }
        }
    };
    task.capped(counted)
}

/// The prompt's meters: `counted` tokens of text, and of the template's what is claimed up to
/// `overhead`. What it claims to have read from a cache is believed, since it makes it cheaper.
fn prompt(counted: u64, overhead: u64, claim: Option<Meters>) -> Meters {
    let Some(claim) = claim else { return Meters { in_uncached: counted, ..Meters::default() } };
    let input = claim.input().clamp(counted, counted.saturating_add(overhead));
    let in_cache_read = claim.in_cache_read.min(input);
    Meters { in_uncached: input - in_cache_read, in_cache_read, ..Meters::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_counts_within_the_template_and_nowhere_else() {
        let claims = |in_uncached, in_cache_read| {
            Some(Meters { in_uncached, in_cache_read, out_text: 1 << 40, ..Meters::default() })
        };
        let read = |claim| {
            let found = prompt(100, 20, claim);
            assert_eq!(found.output(), 0);
            (found.in_uncached, found.in_cache_read)
        };
        assert_eq!(read(None), (100, 0));
        assert_eq!(read(claims(112, 0)), (112, 0));
        assert_eq!(read(claims(5_000, 0)), (120, 0), "inflated");
        assert_eq!(read(claims(3, 0)), (100, 0), "its word is not needed for the text");
        assert_eq!(read(claims(52, 60)), (52, 60), "a cache makes it cheaper");
        let dear = Some(Meters { in_cache_write_1h: 110, ..Meters::default() });
        assert_eq!(prompt(100, 20, dear).in_cache_write_1h, 0, "no dearer meter by its word");
    }
}

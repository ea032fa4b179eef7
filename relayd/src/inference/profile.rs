//! What routing is told of a request: estimates and hashes, nothing of its text. Pure.

use std::sync::Arc;

use tokio::time::Instant;

use super::Call;
use super::plan::Ceiling;
use super::task::Task;
use crate::balance::{Class, Customer, Demand, Hasher};
use crate::domain::{BackendId, Scope};
use crate::fleet::Members;
use crate::identity::Principal;
use crate::routing::Ask;
use crate::wire::ChatRequest;

/// Bytes of the prompt's head by which requests count as alike: some 256 tokens, a system prompt
/// of ordinary length.
const HEAD_BYTES: usize = 1024;

/// Least bytes of a prompt that is worth sending where it is cached, some 128 tokens: a shorter one
/// is read anew sooner than it is waited for, and spreads better.
const PREFIX_MIN_BYTES: u64 = 512;

/// Bytes that a token of a prompt has at least on average, over the languages of ordinary prompts.
const BYTES_PER_TOKEN: u64 = 4;

/// Output tokens that are expected of one choice, where the client allows more: the cap alone says
/// little, most clients leave it high.
const EXPECTED_OUTPUT: u64 = 512;

/// What routing is told of one request, worked out once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    demand: Demand,
    customer: Customer,
    class: Class,
    prefix: Option<u64>,
    session: Option<u64>,
}

impl Profile {
    /// Of a request and what it may use at most.
    pub(super) fn of(call: &Call, ceiling: &Ceiling) -> Self {
        Self {
            demand: Demand {
                input_tokens: (ceiling.input / BYTES_PER_TOKEN).max(1),
                output_tokens: ceiling.output_cap.min(EXPECTED_OUTPUT) * ceiling.choices,
            },
            customer: Customer { id: customer(&call.principal), weight: call.weight },
            class: call.class,
            prefix: (call.request.prompt_bytes() >= PREFIX_MIN_BYTES)
                .then(|| prefix(call.offer.scope.model.as_str(), &call.request)),
            session: call.session.as_deref().map(|name| Hasher::new().part(name).end()),
        }
    }

    /// What routing is asked.
    pub(super) fn ask<'a>(
        &self,
        scope: &'a Scope,
        exclude: &'a [BackendId],
        deadline: Instant,
    ) -> Ask<'a> {
        let Self { demand, customer, class, prefix, session } = *self;
        Ask { scope, only: None, exclude, deadline, demand, customer, class, prefix, session }
    }
}

impl Task {
    /// What routing is asked: one of the backends `only`, none of `exclude`, until `deadline`.
    pub(super) fn ask<'a>(
        &'a self,
        only: Option<&'a Arc<Members>>,
        exclude: &'a [BackendId],
        deadline: Instant,
    ) -> Ask<'a> {
        Ask { only, ..self.profile.ask(&self.offer.scope, exclude, deadline) }
    }
}

/// Whom a request is counted to: the customer, or a guest's address.
fn customer(principal: &Principal) -> u64 {
    match principal {
        Principal::Key(key) => Hasher::new().part(key.customer_id.as_str().as_bytes()).end(),
        Principal::Guest { addr } => {
            Hasher::new().part(b"guest").part(addr.to_string().as_bytes()).end()
        }
    }
}

/// A hash of the model and the head of the prompt.
fn prefix(model: &str, request: &ChatRequest) -> u64 {
    let hash = Hasher::new().part(model.as_bytes());
    request.prompt_head(HEAD_BYTES).fold(hash, Hasher::part).end()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Surface;

    fn hash(text: &str) -> u64 {
        let request = ChatRequest::scan(Surface::Openai, text.to_owned().into()).unwrap();
        prefix("m", &request)
    }

    #[test]
    fn a_conversation_keeps_its_prefix_while_it_grows() {
        let chat = |more: &str| {
            hash(&format!(
                r#"{{"model":"m","messages":[{{"role":"system","content":"s"}},{{"role":"user","content":"a"}}{more}]}}"#
            ))
        };
        let grown = r#",{"role":"assistant","content":"b"},{"role":"user","content":"c"}"#;
        assert_eq!(chat(""), chat(grown));
        let other = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":"z"}]}"#;
        assert_ne!(chat(""), hash(other));
    }

    #[test]
    fn only_the_head_counts() {
        let long = "x".repeat(HEAD_BYTES);
        let of = |tail: &str| {
            hash(&format!(
                r#"{{"model":"m","messages":[{{"role":"user","content":"{long}{tail}"}}]}}"#
            ))
        };
        assert_eq!(of("a"), of("b"));
    }
}

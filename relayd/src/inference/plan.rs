//! How much a request can cost at most, and how much of that is reserved at a time. Pure.

use crate::domain::{Code, Fault, FieldError, Ncr};
use crate::ledger::{self, Price};

/// The most that a request can use, known before any work begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    /// Prompt tokens: the bytes of all text, tools and schemas (a byte-level tokenizer never
    /// yields more than one token a byte) plus the template's own, at most the context.
    pub(super) input: u64,
    /// Output tokens of one choice: always sent to the engine, so that it holds.
    pub(super) output_cap: u64,
    /// Choices asked for.
    pub(super) choices: u64,
}

/// What the catalogue knows of a model's size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// Tokens that prompt and answer share; 0 = unknown.
    pub(super) context_tokens: u64,
    /// Tokens that the chat template adds.
    pub(super) template_tokens: u64,
    /// The output cap where the client names none.
    pub(super) default_output: u64,
}

impl Ceiling {
    /// The ceiling of one request.
    pub(super) fn of(size: Size, prompt_bytes: u64, asked: Option<u64>, choices: u32) -> Self {
        let bounded = |tokens: u64| match size.context_tokens {
            0 => tokens,
            context => tokens.min(context),
        };
        Self {
            input: bounded(prompt_bytes.saturating_add(size.template_tokens)),
            output_cap: bounded(asked.unwrap_or(size.default_output)).max(1),
            choices: u64::from(choices.max(1)),
        }
    }

    /// Output tokens of all choices.
    pub(super) fn output(&self) -> u64 {
        self.output_cap.saturating_mul(self.choices)
    }

    /// The price of the prompt and `output` tokens, on the dearest meters and tier in reach.
    ///
    /// # Errors
    /// A validation fault when the amount is beyond any wallet.
    pub(super) fn price(&self, price: &Price, output: u64) -> Result<Ncr, Fault> {
        price.quote_ceiling(ledger::Ceiling { input: self.input, output }).ok_or_else(|| {
            Fault::validation(vec![FieldError::body(
                "max_tokens",
                "less_than_equal",
                "the request could cost more than any account can hold; lower the output cap",
            )])
        })
    }
}

/// Output tokens reserved so far on a stream, and when more must be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// Reserved output tokens, all choices together.
    reserved: u64,
    /// Never reserve beyond this.
    most: u64,
    /// Tokens of one step.
    step: u64,
}

impl Window {
    /// The first window of a stream: a step, or all where the whole is smaller.
    pub(super) fn first(ceiling: &Ceiling, step: u64) -> Self {
        let most = ceiling.output();
        Self { reserved: most.min(step), most, step }
    }

    /// A window over everything, for answers that are not streamed.
    pub(super) fn whole(ceiling: &Ceiling) -> Self {
        let most = ceiling.output();
        Self { reserved: most, most, step: most }
    }

    /// Reserved output tokens.
    pub(super) const fn reserved(&self) -> u64 {
        self.reserved
    }

    /// The next window, once half of this one is used and there is more to come.
    pub(super) fn next(&self, used: u64) -> Option<Self> {
        let open = used.saturating_mul(2) >= self.reserved && self.reserved < self.most;
        open.then(|| Self {
            reserved: self.reserved.saturating_add(self.step).min(self.most),
            ..*self
        })
    }

    /// The same window, never to grow again.
    pub(super) const fn closed(&self) -> Self {
        Self { most: self.reserved, step: 0, ..*self }
    }

    /// Whether it was closed by a refusal.
    pub(super) const fn is_closed(&self) -> bool {
        self.step == 0
    }

    /// Whether everything reserved is used and more may come.
    pub(super) fn is_spent(&self, used: u64) -> bool {
        used >= self.reserved && self.reserved < self.most
    }
}

/// The refusal of a stream that outgrew the wallet.
pub(super) fn insufficient() -> Fault {
    Fault::new(
        Code::InsufficientCredits,
        "Insufficient credits for this model. Top up your account to continue.",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: Size = Size { context_tokens: 1024, template_tokens: 16, default_output: 256 };

    #[test]
    fn a_ceiling_is_bounded_by_the_context() {
        let ceiling = Ceiling::of(SIZE, 100, None, 2);
        assert_eq!(ceiling, Ceiling { input: 116, output_cap: 256, choices: 2 });
        assert_eq!(ceiling.output(), 512);
        assert_eq!(Ceiling::of(SIZE, 1 << 40, Some(u64::MAX), 1).input, 1024);
        assert_eq!(Ceiling::of(SIZE, 0, Some(u64::MAX), 1).output_cap, 1024);
        let unknown = Size { context_tokens: 0, ..SIZE };
        assert_eq!(Ceiling::of(unknown, 5000, Some(9000), 1).input, 5016);
    }

    #[test]
    fn a_window_grows_by_steps_at_half() {
        let ceiling = Ceiling { input: 1, output_cap: 10_000, choices: 1 };
        let first = Window::first(&ceiling, 4096);
        assert_eq!((first.reserved(), first.next(2047)), (4096, None));
        let second = first.next(2048).unwrap();
        assert_eq!(second.reserved(), 8192);
        assert_eq!(second.next(5000).unwrap().reserved(), 10_000);
        assert!(first.is_spent(4096) && !first.is_spent(4095));
        assert_eq!(Window::whole(&ceiling).next(10_000), None);
        assert!(!Window::whole(&ceiling).is_spent(10_000));
    }

    proptest! {
        #[test]
        fn a_window_never_passes_the_ceiling(
            cap in 1u64..200_000, choices in 1u64..10, step in 16u64..131_072, used in 0u64..2_000_000,
        ) {
            let ceiling = Ceiling { input: 0, output_cap: cap, choices };
            let mut window = Window::first(&ceiling, step);
            while let Some(next) = window.next(used) {
                prop_assert!(next.reserved() > window.reserved());
                window = next;
            }
            prop_assert!(window.reserved() <= ceiling.output());
        }
    }
}

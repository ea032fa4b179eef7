//! Usage: read from every shape that upstreams report it in, written in the surface's.
//!
//! Invariants. Reports of one answer are never added up: of each of the upstream's own counters
//! the largest value seen counts, and the disjoint meters are derived from those counters at the
//! end (a maximum per meter would count a prompt twice whose first report lacks the cached part
//! and whose last one has it). A zero is a report, not a gap. A count that is negative, broken or
//! absurd is treated as not reported and makes the report suspect.

#[cfg(test)]
mod tests;

use relay_domain::Meters;

use crate::Dialect;
use crate::json::{Kind, Object, Raw};

/// No answer has this many tokens; a count above is broken or a lie.
const ABSURD_TOKENS: u64 = 1 << 40;

/// An upstream's own counters, each the largest value seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The prompt: with the cached part in the OpenAI format, without it in Anthropic's.
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cache_read: u64,
    cache_write: u64,
    cache_write_5m: u64,
    cache_write_1h: u64,
    reasoning: u64,
    /// Whether the counters are Anthropic's, whose prompt excludes both cache classes.
    is_disjoint: bool,
    is_suspect: bool,
}

/// What the usage of an answer is read into.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// From reports of usage.
    pub(crate) usage: Tally,
    /// From those and from running counts.
    pub(crate) running: Tally,
    /// The last report as it came, to be shown again if it is what was billed.
    pub(crate) last: String,
    /// A report counted output. The one that opens a message in Anthropic's format does not: it
    /// says 1 or 2 whatever follows.
    pub(crate) has_output: bool,
    /// Running counts were seen.
    pub(crate) has_timings: bool,
    /// The choices of the answer report one by one.
    is_parted: bool,
}

impl Meter {
    /// Takes in a report of a dialect.
    pub(crate) fn report(&mut self, dialect: Dialect, usage: Raw<'_>) {
        if is_report(usage) {
            self.has_output = true;
            self.opening(dialect, usage);
            if dialect == Dialect::Openai {
                self.last.clear();
                self.last.push_str(usage.text());
            }
        }
    }

    /// Takes in the report that closes a stream in the OpenAI format. `is_parted` says that other
    /// choices are still open: then each of them closes with a report of its own (llama.cpp's
    /// servers do that), and only then are reports added up.
    pub(crate) fn closing(&mut self, usage: Raw<'_>, is_parted: bool) {
        if !is_report(usage) {
            return;
        }
        if !is_parted && !self.is_parted {
            return self.report(Dialect::Openai, usage);
        }
        if !std::mem::replace(&mut self.is_parted, true) {
            self.usage = Tally::default();
        }
        self.has_output = true;
        // No single report is the whole truth.
        self.last.clear();
        let mut part = Tally::default();
        part.usage(Dialect::Openai, usage);
        self.usage.add(&part);
        self.running = self.usage;
    }

    /// Takes in a report that says nothing of the output yet.
    pub(crate) fn opening(&mut self, dialect: Dialect, usage: Raw<'_>) {
        if is_report(usage) {
            self.usage.usage(dialect, usage);
            self.running.usage(dialect, usage);
        }
    }

    /// Takes in llama.cpp's running counts.
    pub(crate) fn timings(&mut self, timings: Raw<'_>) {
        self.has_timings = true;
        self.running.timings(timings);
    }
}

impl Tally {
    /// Takes in a `usage` value of a dialect. `null` and other types say nothing.
    pub(crate) fn usage(&mut self, dialect: Dialect, usage: Raw<'_>) {
        match dialect {
            Dialect::Openai => self.openai(usage),
            Dialect::Anthropic => self.anthropic(usage),
            Dialect::Ollama => self.ollama(usage),
        }
    }

    fn openai(&mut self, usage: Raw<'_>) {
        for member in usage.members() {
            match member.key().as_ref() {
                "prompt_tokens" => self.prompt = larger(self.prompt, self.count(member.value)),
                "completion_tokens" => {
                    self.completion = larger(self.completion, self.count(member.value));
                }
                "total_tokens" => self.total = larger(self.total, self.count(member.value)),
                "prompt_tokens_details" => {
                    self.most(member.value, "cached_tokens", |t| &mut t.cache_read);
                    self.most(member.value, "cache_write_tokens", |t| &mut t.cache_write);
                }
                // DeepSeek's and Moonshot's own words for the cached part.
                "prompt_cache_hit_tokens" | "cached_tokens" => {
                    self.cache_read = self.count(member.value).unwrap_or(0).max(self.cache_read);
                }
                "completion_tokens_details" => {
                    self.most(member.value, "reasoning_tokens", |t| &mut t.reasoning);
                }
                _ => {}
            }
        }
    }

    fn anthropic(&mut self, usage: Raw<'_>) {
        self.is_disjoint = true;
        for member in usage.members() {
            match member.key().as_ref() {
                "input_tokens" => self.prompt = larger(self.prompt, self.count(member.value)),
                "output_tokens" => {
                    self.completion = larger(self.completion, self.count(member.value));
                }
                "cache_read_input_tokens" => {
                    self.cache_read = self.count(member.value).unwrap_or(0).max(self.cache_read);
                }
                "cache_creation_input_tokens" => {
                    self.cache_write = self.count(member.value).unwrap_or(0).max(self.cache_write);
                }
                "cache_creation" => {
                    let split = member.value;
                    self.most(split, "ephemeral_5m_input_tokens", |t| &mut t.cache_write_5m);
                    self.most(split, "ephemeral_1h_input_tokens", |t| &mut t.cache_write_1h);
                }
                _ => {}
            }
        }
    }

    /// Takes in the counts of an Ollama object, which stand beside the rest.
    fn ollama(&mut self, object: Raw<'_>) {
        if let Some(count) = object.get("prompt_eval_count") {
            self.prompt = larger(self.prompt, self.count(count));
        }
        if let Some(count) = object.get("eval_count") {
            self.completion = larger(self.completion, self.count(count));
        }
    }

    /// Takes in llama.cpp's `timings`: what was evaluated and made so far.
    fn timings(&mut self, timings: Raw<'_>) {
        let mut of = |key| timings.get(key).and_then(|value| self.count(value));
        let (cached, fresh, made) = (of("cache_n"), of("prompt_n"), of("predicted_n"));
        if let Some(fresh) = fresh {
            self.prompt = larger(self.prompt, Some(fresh + cached.unwrap_or(0)));
            self.cache_read = cached.unwrap_or(0).max(self.cache_read);
        }
        self.completion = larger(self.completion, made);
    }

    /// Adds the report of one choice among several: they share the prompt.
    fn add(&mut self, part: &Self) {
        self.prompt = larger(self.prompt, part.prompt);
        self.cache_read = self.cache_read.max(part.cache_read);
        self.cache_write = self.cache_write.max(part.cache_write);
        if let Some(completion) = part.completion {
            self.completion = Some(self.completion.unwrap_or(0).saturating_add(completion));
        }
        self.reasoning = self.reasoning.saturating_add(part.reasoning);
        self.is_suspect |= part.is_suspect;
    }

    /// The disjoint meters, if anything was reported.
    pub(crate) fn meters(&self) -> Option<Meters> {
        if self.prompt.is_none() && self.completion.is_none() {
            return None;
        }
        let (prompt, completion) = (self.prompt.unwrap_or(0), self.completion.unwrap_or(0));
        let mut meters = Meters::default();
        if self.is_disjoint {
            meters.in_uncached = prompt;
            meters.in_cache_read = self.cache_read;
            meters.in_cache_write_1h = self.cache_write_1h;
            // Written tokens of unknown life count as the short one.
            let unsplit = self.cache_write.saturating_sub(self.cache_write_1h);
            meters.in_cache_write_5m = unsplit.max(self.cache_write_5m);
        } else {
            meters.in_cache_read = self.cache_read.min(prompt);
            meters.in_cache_write_5m = self.cache_write.min(prompt - meters.in_cache_read);
            meters.in_uncached = prompt - meters.in_cache_read - meters.in_cache_write_5m;
        }
        (meters.out_text, meters.out_reasoning) = self.output(prompt, completion);
        Some(meters)
    }

    /// Whether some count could not be believed.
    pub(crate) fn is_suspect(&self) -> bool {
        let too_much_cached = !self.is_disjoint
            && self.prompt.is_some_and(|prompt| self.cache_read + self.cache_write > prompt);
        let completion = self.completion.unwrap_or(0);
        let too_much_reasoning = self.reasoning > completion && !self.reasons_outside();
        self.is_suspect || too_much_cached || too_much_reasoning
    }

    /// Some vendors count reasoning beside the completion instead of inside it; then only their
    /// total adds up with it.
    fn reasons_outside(&self) -> bool {
        let (prompt, completion) = (self.prompt.unwrap_or(0), self.completion.unwrap_or(0));
        self.reasoning > 0 && self.total == Some(prompt + completion + self.reasoning)
    }

    fn output(&self, _prompt: u64, completion: u64) -> (u64, u64) {
        if self.reasons_outside() {
            return (completion, self.reasoning);
        }
        let reasoning = self.reasoning.min(completion);
        (completion - reasoning, reasoning)
    }

    fn most(&mut self, holder: Raw<'_>, key: &str, counter: impl Fn(&mut Self) -> &mut u64) {
        if let Some(count) = holder.get(key).and_then(|value| self.count(value)) {
            let counter = counter(self);
            *counter = count.max(*counter);
        }
    }

    fn count(&mut self, value: Raw<'_>) -> Option<u64> {
        if value.is_null() {
            return None;
        }
        let count = value.text().parse().ok().filter(|count| *count < ABSURD_TOKENS);
        self.is_suspect |= count.is_none();
        count
    }
}

fn larger(old: Option<u64>, new: Option<u64>) -> Option<u64> {
    old.max(new)
}

/// Whether a value is a usage report at all.
pub(crate) fn is_report(usage: Raw<'_>) -> bool {
    usage.kind() == Kind::Object
}

/// Writes meters as the members of a usage object of a dialect (for Ollama: nothing, its counts
/// stand elsewhere).
pub(crate) fn put(dialect: Dialect, meters: &Meters, object: &mut Object<'_>) {
    match dialect {
        Dialect::Openai => {
            object
                .count("prompt_tokens", meters.input())
                .count("completion_tokens", meters.output())
                .count("total_tokens", meters.input().saturating_add(meters.output()))
                .object("prompt_tokens_details", |details| {
                    details.count("cached_tokens", meters.in_cache_read);
                })
                .object("completion_tokens_details", |details| {
                    details.count("reasoning_tokens", meters.out_reasoning);
                });
        }
        Dialect::Anthropic => {
            let (short, long) = (meters.in_cache_write_5m, meters.in_cache_write_1h);
            object
                .count("input_tokens", meters.in_uncached)
                .count("cache_creation_input_tokens", short.saturating_add(long))
                .count("cache_read_input_tokens", meters.in_cache_read)
                .object("cache_creation", |split| {
                    split
                        .count("ephemeral_5m_input_tokens", short)
                        .count("ephemeral_1h_input_tokens", long);
                })
                .count("output_tokens", meters.output());
        }
        Dialect::Ollama => {}
    }
}

//! A whole answer: checked, counted and put into the surface's format.

mod splice;
#[cfg(test)]
mod tests;
mod write;

use bytes::{Bytes, BytesMut};
use relay_domain::Meters;

use crate::dialect::Dialect;
use crate::error::WireError;
use crate::finish::Finish;
use crate::json::{Raw, document, literal_len};
use crate::read::{self, Event, Piece};
use crate::stamp::{Stamp, Timing};
use crate::surface::Surface;
use crate::usage::Meter;

/// An answer as the caller gets it, and what was read of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The body.
    pub body: Bytes,
    /// What the upstream reports; `None` if nothing, an explicit zero is `Some`.
    pub usage: Option<Meters>,
    /// Bytes of UTF-8 of content: text, reasoning, tool names and arguments of all choices.
    pub out_bytes: u64,
    /// Why the first choice ended.
    pub finish: Finish,
    /// Some count was negative, broken, absurd or contradicts another and was left out.
    pub suspect: bool,
    /// Part of `usage` is an estimate: llama.cpp's servers count one of several choices only, so
    /// the others are counted by their bytes.
    pub estimated: bool,
}

/// The events of an answer, put together.
#[derive(Debug, Default)]
struct Reply<'a> {
    /// Literals whose texts follow one another.
    text: Vec<&'a str>,
    reasoning: Vec<&'a str>,
    calls: Vec<Call<'a>>,
    finish: Option<Finish>,
    stop_sequence: Option<&'a str>,
    out_bytes: u64,
    /// The part of those bytes that the first choice has.
    first_bytes: u64,
    choices: u32,
}

/// A tool call.
#[derive(Debug)]
struct Call<'a> {
    slot: u32,
    id: Option<&'a str>,
    name: &'a str,
    arguments: Vec<Piece<'a>>,
}

/// Turns an engine's whole body into the caller's. Where the formats match, `model` is replaced,
/// the task's members are added and everything else stays the slices it came in. Ollama's format
/// shows `timing` where the engine did not report its own.
///
/// # Errors
/// The upstream's failure under HTTP 200, or that the body is not an answer in the dialect.
pub fn answer(
    surface: Surface,
    dialect: Dialect,
    upstream_body: &Bytes,
    stamp: &Stamp,
    timing: &Timing,
) -> Result<Answer, WireError> {
    billed_answer(surface, dialect, upstream_body, stamp, timing, None)
}

/// As [`answer`], with other counts in the body than the engine's: those that are billed, where
/// somebody else counted.
///
/// # Errors
/// As [`answer`].
pub fn billed_answer(
    surface: Surface,
    dialect: Dialect,
    upstream_body: &Bytes,
    stamp: &Stamp,
    timing: &Timing,
    billed: Option<&Meters>,
) -> Result<Answer, WireError> {
    let mut spans = Vec::with_capacity(16);
    let object = match document(upstream_body, &mut spans) {
        Ok((text, true)) => Raw::trusted(text.trim()),
        Ok((_, false)) => return Err(WireError::Garbage("an answer that is no object")),
        Err(_) => return Err(WireError::Garbage("an answer that is not JSON")),
    };
    let (mut meter, mut reply) = (Meter::default(), Reply::default());
    let take = |event| reply.take(event);
    match dialect {
        Dialect::Openai => read::openai::body(object, &mut meter, take),
        Dialect::Anthropic => read::anthropic::body(object, &mut meter, take),
        Dialect::Ollama => read::ollama::body(object, &mut meter, take),
    }?;
    let mut usage = meter.usage.meters();
    let estimated = reply.choices > 1 && counts_one_choice(object, usage.as_ref());
    if let Some(usage) = usage.as_mut().filter(|_| estimated) {
        usage.out_text = reply.scaled(usage.out_text);
    }
    let mut out = BytesMut::with_capacity(upstream_body.len() + 256);
    if surface.dialect() == dialect {
        splice::body(dialect, object, stamp, billed, &mut out);
    } else {
        let billed = billed.copied().or(usage).unwrap_or_default();
        write::body(surface.dialect(), &reply, &billed, stamp, timing, &mut out)?;
    }
    Ok(Answer {
        body: out.freeze(),
        usage,
        out_bytes: reply.out_bytes,
        finish: reply.finish.unwrap_or(Finish::Unknown),
        suspect: meter.usage.is_suspect(),
        estimated,
    })
}

/// Whether the usage of an answer with several choices is that of one of them: llama.cpp's servers
/// repeat the measurements of the first choice, and its count is the whole they report.
fn counts_one_choice(answer: Raw<'_>, usage: Option<&Meters>) -> bool {
    let made = answer.get("timings").and_then(|timings| timings.get("predicted_n"));
    let made = made.and_then(|made| made.text().parse().ok());
    made.is_some() && made == usage.map(Meters::output)
}

impl<'a> Reply<'a> {
    /// Tokens of all choices, if the first one's bytes make `first` tokens.
    fn scaled(&self, first: u64) -> u64 {
        let all = u128::from(first) * u128::from(self.out_bytes);
        let all = all.div_ceil(u128::from(self.first_bytes.max(1)));
        u64::try_from(all).unwrap_or(u64::MAX).max(first)
    }

    fn count(&mut self, choice: u32, bytes: u64) {
        self.out_bytes += bytes;
        if choice == 0 {
            self.first_bytes += bytes;
        }
    }

    fn take(&mut self, event: Event<'a>) {
        match event {
            Event::Id(_) | Event::Foreign => {}
            Event::Text { choice, text } => {
                self.count(choice, literal_len(text));
                if choice == 0 {
                    self.text.push(text);
                }
            }
            Event::Reasoning { choice, text } => {
                self.count(choice, literal_len(text));
                if choice == 0 {
                    self.reasoning.push(text);
                }
            }
            Event::ToolStart { choice, slot, id, name } => {
                self.count(choice, literal_len(name));
                if choice == 0 {
                    self.calls.push(Call { slot, id, name, arguments: Vec::new() });
                }
            }
            Event::ToolArguments { choice, slot, piece } => {
                let bytes = match piece {
                    Piece::Literal(text) => literal_len(text),
                    Piece::Json(text) => text.len() as u64,
                };
                self.count(choice, bytes);
                let call = self.calls.iter_mut().rev().find(|call| call.slot == slot);
                if let Some(call) = call.filter(|_| choice == 0) {
                    call.arguments.push(piece);
                }
            }
            Event::Finish { choice, finish, stop_sequence } => {
                self.choices += 1;
                if choice == 0 {
                    self.finish = Some(finish);
                    self.stop_sequence = stop_sequence;
                }
            }
        }
    }
}

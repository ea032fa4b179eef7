//! What an answer says, kept as text: for whoever counts it anew instead of believing the engine.

use bytes::Bytes;

use crate::dialect::Dialect;
use crate::error::WireError;
use crate::json::{Raw, document, unescape};
use crate::read::{self, Event, Piece};
use crate::usage::Meter;

/// Most text kept of one answer, in bytes: 128,000 tokens, the largest output cap, at 32 bytes
/// each. What goes beyond is in no transcript.
pub const TRANSCRIPT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The words of an answer, each choice by itself: a tokenizer sees them as the model made them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcript {
    said: Vec<Said>,
    bytes: usize,
}

/// The words of one choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    choice: u32,
    text: String,
    reasoning: String,
    /// Names and arguments of tool calls.
    calls: String,
}

impl Transcript {
    /// The texts of all choices and the tool calls in them.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let all = self.said.iter().flat_map(|said| [said.text.as_str(), said.calls.as_str()]);
        all.filter(|text| !text.is_empty())
    }

    /// The reasoning of all choices, as far as it came as text.
    pub fn reasoning(&self) -> impl Iterator<Item = &str> {
        self.said.iter().map(|said| said.reasoning.as_str()).filter(|text| !text.is_empty())
    }

    /// Bytes kept, at most [`TRANSCRIPT_MAX_BYTES`].
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Text { choice, text } => {
                let text = unescape(text);
                self.keep(choice, &text, |said| &mut said.text);
            }
            Event::Reasoning { choice, text } => {
                let text = unescape(text);
                self.keep(choice, &text, |said| &mut said.reasoning);
            }
            Event::ToolStart { choice, name, .. } => {
                let name = unescape(name);
                self.keep(choice, &name, |said| &mut said.calls);
            }
            Event::ToolArguments { choice, piece: Piece::Literal(text), .. } => {
                let text = unescape(text);
                self.keep(choice, &text, |said| &mut said.calls);
            }
            Event::ToolArguments { choice, piece: Piece::Json(text), .. } => {
                self.keep(choice, text, |said| &mut said.calls);
            }
            Event::Id(_) | Event::Foreign | Event::Finish { .. } => {}
        }
    }

    fn keep(&mut self, choice: u32, text: &str, place: impl Fn(&mut Said) -> &mut String) {
        let mut room = TRANSCRIPT_MAX_BYTES.saturating_sub(self.bytes).min(text.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        let kept = &text[..room];
        if kept.is_empty() {
            return;
        }
        self.bytes += kept.len();
        if let Some(said) = self.said.iter_mut().find(|said| said.choice == choice) {
            return place(said).push_str(kept);
        }
        let mut said = Said { choice, ..Said::default() };
        place(&mut said).push_str(kept);
        self.said.push(said);
    }
}

/// The words of a whole answer.
///
/// # Errors
/// As [`crate::answer`].
pub fn transcript(dialect: Dialect, upstream_body: &Bytes) -> Result<Transcript, WireError> {
    let mut spans = Vec::with_capacity(16);
    let object = match document(upstream_body, &mut spans) {
        Ok((text, true)) => Raw::trusted(text.trim()),
        _ => return Err(WireError::Garbage("an answer that is not a JSON object")),
    };
    let (mut meter, mut transcript) = (Meter::default(), Transcript::default());
    let take = |event: Event<'_>| transcript.note(&event);
    match dialect {
        Dialect::Openai => read::openai::body(object, &mut meter, take),
        Dialect::Anthropic => read::anthropic::body(object, &mut meter, take),
        Dialect::Ollama => read::ollama::body(object, &mut meter, take),
    }?;
    Ok(transcript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_stay_apart_and_escapes_are_read() {
        let body = Bytes::from_static(
            br#"{"choices":[{"index":0,"message":{"content":"a\n","reasoning_content":"hm"},"finish_reason":"stop"},
                {"index":1,"message":{"content":"b"},"finish_reason":"stop"}]}"#,
        );
        let found = transcript(Dialect::Openai, &body).unwrap();
        assert_eq!(found.texts().collect::<Vec<_>>(), ["a\n", "b"]);
        assert_eq!(found.reasoning().collect::<Vec<_>>(), ["hm"]);
        assert_eq!(found.bytes(), 5);
        assert!(transcript(Dialect::Openai, &Bytes::from_static(b"[]")).is_err());
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let mut kept = Transcript::default();
        let piece = format!("\"{}\"", "\u{e9}".repeat(1_000_000));
        for _ in 0..4 {
            kept.note(&Event::Text { choice: 0, text: &piece });
        }
        assert!(kept.bytes() <= TRANSCRIPT_MAX_BYTES && kept.bytes() > TRANSCRIPT_MAX_BYTES - 2);
    }
}

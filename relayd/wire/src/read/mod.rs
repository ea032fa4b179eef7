//! Reading an engine's words: each dialect's chunks and bodies become events.
//!
//! Events borrow the text they were read from and carry strings as the JSON literals they came
//! in, so that a writer of another format can copy them without unescaping anything.

pub(crate) mod anthropic;
mod failure;
pub(crate) mod ollama;
pub(crate) mod openai;

pub(crate) use failure::{described, reported};

use crate::finish::Finish;

/// One step of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<'a> {
    /// The engine's own id of the answer, as a literal.
    Id(&'a str),
    /// Text for the caller.
    Text { choice: u32, text: &'a str },
    /// Reasoning, shown apart from the text.
    Reasoning { choice: u32, text: &'a str },
    /// A call of a tool begins. `slot` tells the calls of one answer apart.
    ToolStart { choice: u32, slot: u32, id: Option<&'a str>, name: &'a str },
    /// A piece of a call's arguments.
    ToolArguments { choice: u32, slot: u32, piece: Piece<'a> },
    /// Content that only the engine's own format can hold.
    Foreign,
    /// The answer ends.
    Finish { choice: u32, finish: Finish, stop_sequence: Option<&'a str> },
}

impl Event<'_> {
    /// The answer it belongs to, of several.
    pub(crate) const fn choice(&self) -> u32 {
        match *self {
            Self::Id(_) | Self::Foreign => 0,
            Self::Text { choice, .. }
            | Self::Reasoning { choice, .. }
            | Self::ToolStart { choice, .. }
            | Self::ToolArguments { choice, .. }
            | Self::Finish { choice, .. } => choice,
        }
    }
}

/// A piece of a tool call's arguments.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'a> {
    /// A literal whose text is a piece of JSON.
    Literal(&'a str),
    /// The JSON itself, whole.
    Json(&'a str),
}

/// What a chunk or line of a stream is, besides the events in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heading {
    /// The opening of a message that names model and id (Anthropic's format).
    Opening,
    /// Content, or nothing that matters: goes on as it is, apart from what has to be rewritten.
    Content,
    /// The last report: waits for the settlement.
    Closing,
    /// A mark without content: dropped, the tail writes its own.
    Mark,
}

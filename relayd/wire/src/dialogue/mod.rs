//! A request between two formats: what all three can say, as slices of the body it came from.
//!
//! Readers know one format each and writers one format each; none knows two. Invariants: texts are
//! carried as the JSON literals they came in; what the other format has no words for is an error
//! that names the field, except for hints (who asks, how hard to think, where to cache), which are
//! dropped with a reason.

pub(crate) mod read;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use std::borrow::Cow;

use crate::json::Raw;

/// What became of a part of a request that the engine's format has no words for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TranslationNote {
    /// The field, as a dotted path.
    pub field: String,
    /// `dropped` or `moved`.
    pub action: &'static str,
    /// Why, for people.
    pub reason: &'static str,
}

/// A request.
#[derive(Debug, Default)]
pub(crate) struct Dialogue<'a> {
    pub(crate) turns: Vec<Turn<'a>>,
    pub(crate) tools: Vec<Tool<'a>>,
    pub(crate) tool_choice: Option<ToolChoice<'a>>,
    /// `false`: at most one tool call in an answer.
    pub(crate) parallel_calls: Option<bool>,
    /// Sampling settings by the name they have in the source.
    pub(crate) knobs: Vec<Setting<'a>>,
    /// Stop sequences as literals.
    pub(crate) stop: Vec<&'a str>,
    pub(crate) format: Option<Format<'a>>,
    /// Who asks, as a literal.
    pub(crate) user: Option<&'a str>,
    /// The caller turned thinking off.
    pub(crate) no_thinking: bool,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    /// Its place in `messages`; `None` for a system prompt that stands elsewhere.
    pub(crate) at: Option<usize>,
    pub(crate) words: Words<'a>,
}

/// What a message says.
#[derive(Debug)]
pub(crate) enum Words<'a> {
    System(Vec<Part<'a>>),
    User(Vec<Part<'a>>),
    Assistant {
        parts: Vec<Part<'a>>,
        calls: Vec<Call<'a>>,
    },
    /// What a tool answered. `id` and `name` as literals.
    Result {
        id: Cow<'a, str>,
        name: Option<Cow<'a, str>>,
        parts: Vec<Part<'a>>,
    },
}

/// A part of a message.
#[derive(Debug)]
pub(crate) enum Part<'a> {
    /// A literal.
    Text(&'a str),
    Image(Image<'a>),
}

/// A picture.
#[derive(Debug)]
pub(crate) enum Image<'a> {
    /// Media type and base64.
    Data { media: Cow<'a, str>, data: Cow<'a, str> },
    /// An address.
    Link(Cow<'a, str>),
}

/// A tool call in an assistant's message.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// A literal.
    pub(crate) id: Cow<'a, str>,
    /// A literal.
    pub(crate) name: &'a str,
    pub(crate) arguments: Arguments<'a>,
}

/// A tool call's arguments.
#[derive(Debug)]
pub(crate) enum Arguments<'a> {
    /// A literal whose text is JSON.
    Literal(&'a str),
    /// A JSON object.
    Json(&'a str),
}

/// A tool that the model may call.
#[derive(Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: Raw<'a>,
    pub(crate) description: Option<Raw<'a>>,
    pub(crate) schema: Option<Raw<'a>>,
}

/// Whether and which tool is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ToolChoice<'a> {
    Auto,
    None,
    Required,
    /// By name, a literal.
    Named(&'a str),
}

/// The answer's shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format<'a> {
    /// Some JSON object.
    Json,
    /// JSON by a schema.
    Schema { name: Option<&'a str>, schema: Raw<'a> },
}

/// One sampling setting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) knob: Knob,
    /// The caller's name of it, as a path below the body.
    pub(crate) field: &'static [&'static str],
    pub(crate) value: Raw<'a>,
}

/// What can be set of the sampling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knob {
    Temperature,
    TopP,
    TopK,
    MinP,
    FrequencyPenalty,
    PresencePenalty,
    RepetitionPenalty,
    Seed,
    LogitBias,
    Logprobs,
    TopLogprobs,
}

impl Setting<'_> {
    /// Whether the value is the one that changes nothing, so that a format without the knob loses
    /// nothing.
    fn is_neutral(&self) -> bool {
        match self.knob {
            Knob::Temperature | Knob::TopP | Knob::Seed => false,
            Knob::TopK => self.value.integer().is_some_and(|k| k <= 0),
            Knob::MinP | Knob::FrequencyPenalty | Knob::PresencePenalty => {
                self.value.number() == Some(0.0)
            }
            Knob::RepetitionPenalty => self.value.number() == Some(1.0),
            Knob::LogitBias => self.value.members().next().is_none(),
            Knob::Logprobs => self.value.bool() == Some(false),
            Knob::TopLogprobs => self.value.integer() == Some(0),
        }
    }
}

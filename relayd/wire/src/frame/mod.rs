//! Cutting an upstream's bytes into frames, however they were cut before.
//!
//! Knows lines and events, nothing of what is in them. Invariants: the frames are the same for
//! every way to cut the same bytes, and no frame and no line may be longer than a mebibyte.

mod ndjson;
mod sse;

use crate::Dialect;
use crate::error::WireError;

use ndjson::Ndjson;
use sse::Sse;

/// Longest line and longest frame, in bytes: a picture in a delta fits, a stream without line
/// ends does not fill the memory.
pub(crate) const FRAME_MAX_BYTES: usize = 1 << 20;

/// One event of a stream, or one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// The event's name; empty where it has none.
    pub(crate) name: &'a [u8],
    /// The data. Not yet known to be JSON.
    pub(crate) data: &'a [u8],
    /// Where in the chunk the whole event stands, if it stands there in the very bytes in which
    /// it would be written again.
    pub(crate) run: Option<(usize, usize)>,
}

/// Cuts the bytes of one response.
#[derive(Debug)]
pub(crate) enum Framer {
    /// Server-sent events.
    Sse(Sse),
    /// Newline-delimited JSON.
    Ndjson(Ndjson),
}

impl Framer {
    /// For the stream of a dialect.
    pub(crate) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Openai | Dialect::Anthropic => Self::Sse(Sse::default()),
            Dialect::Ollama => Self::Ndjson(Ndjson::default()),
        }
    }

    /// The next frame that ends in `chunk` at or after `at`, which moves behind it. `None`: the
    /// chunk is used up. A new chunk starts with `at` 0.
    ///
    /// # Errors
    /// [`WireError::Garbage`] for bytes that are no such stream.
    pub(crate) fn next<'s>(
        &'s mut self,
        chunk: &[u8],
        at: &mut usize,
    ) -> Result<Option<Frame<'s>>, WireError> {
        match self {
            Self::Sse(sse) => sse.next(chunk, at),
            Self::Ndjson(lines) => lines.next(chunk, at),
        }
    }

    /// What the last bytes hold once no more come.
    ///
    /// # Errors
    /// As [`Framer::next`].
    pub(crate) fn last(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        match self {
            Self::Sse(sse) => sse.last(),
            Self::Ndjson(lines) => lines.last(),
        }
    }
}

/// Adds to a buffer up to the bound.
fn gather(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<(), WireError> {
    if buffer.len() + bytes.len() > FRAME_MAX_BYTES {
        return Err(WireError::Garbage("a line or event longer than 1 MiB"));
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}

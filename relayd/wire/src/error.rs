//! What can be wrong with an upstream's answer.

/// Longest piece of an upstream's own error text that is kept, in bytes: enough for a sentence,
/// too little to carry a prompt or a page.
pub(crate) const UPSTREAM_TEXT_MAX_BYTES: usize = 500;

/// An upstream's answer that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The upstream said so itself, with HTTP 200 and an error in the body or in the stream. Its
    /// words may repeat a prompt: they are for the client that caused it, never for a log.
    #[error("the upstream reported an error")]
    Upstream {
        /// The HTTP status named in the error, if it names one between 400 and 599.
        status: Option<u16>,
        /// The upstream's word for it; may be empty.
        kind: String,
        /// The upstream's sentence, at most 500 bytes.
        message: String,
    },
    /// The stream ended without the format's finish marker.
    #[error("the upstream's answer ended before it was finished")]
    Truncated,
    /// Not the format that was asked for: a page of HTML, broken JSON, a line without end.
    #[error("the upstream's answer is not in shape: {0}")]
    Garbage(&'static str),
}

/// Cuts a foreign text to its bound, at a character.
pub(crate) fn bounded(text: &str) -> String {
    let mut end = text.len().min(UPSTREAM_TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

//! Server-sent events: lines that end in LF, CR or CRLF, joined to events by blank lines.

use memchr::memchr2;

use super::{Frame, gather};
use crate::error::WireError;

/// The state between two chunks and, within one, between two events.
#[derive(Debug, Default)]
pub(crate) struct Sse {
    /// A line that began in an earlier chunk.
    line: Vec<u8>,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last line ended in CR: a LF that follows belongs to it.
    after_cr: bool,
    /// The event was handed out: the next line begins a new one.
    is_over: bool,
    /// Where in the current chunk the event began, as long as it is written as Relay writes it.
    plain_from: Option<usize>,
    /// Something was read.
    has_begun: bool,
    /// An event was read: this is a stream, odd lines notwithstanding.
    is_stream: bool,
    /// The body of an answer that is no stream but one JSON document.
    document: Option<Vec<u8>>,
}

impl Sse {
    pub(super) fn next<'s>(
        &'s mut self,
        chunk: &[u8],
        at: &mut usize,
    ) -> Result<Option<Frame<'s>>, WireError> {
        if *at == 0 {
            self.plain_from = None;
            self.begin(chunk)?;
        }
        if let Some(document) = &mut self.document {
            gather(document, chunk.get(*at..).unwrap_or_default())?;
            *at = chunk.len();
            return Ok(None);
        }
        self.clear();
        while let Some(rest) = chunk.get(*at..).filter(|rest| !rest.is_empty()) {
            if std::mem::take(&mut self.after_cr) && rest.first() == Some(&b'\n') {
                *at += 1;
                continue;
            }
            let start = *at;
            let Some(length) = memchr2(b'\n', b'\r', rest) else {
                gather(&mut self.line, rest)?;
                *at = chunk.len();
                break;
            };
            let (line, end) = rest.split_at(length);
            *at += length + 1;
            self.after_cr = end.first() == Some(&b'\r');
            let is_blank = if self.line.is_empty() {
                if !self.has_data && self.name.is_empty() && !line.is_empty() {
                    self.plain_from = Some(start);
                }
                self.line(line)?
            } else {
                self.plain_from = None;
                gather(&mut self.line, line)?;
                let line = std::mem::take(&mut self.line);
                let is_blank = self.line(&line)?;
                self.line = line;
                self.line.clear();
                is_blank
            };
            if self.after_cr {
                self.plain_from = None;
            }
            if is_blank && self.has_data {
                let run = self.plain_from.take().map(|from| (from, *at));
                return Ok(Some(self.event(run)));
            }
            if is_blank {
                self.name.clear();
                self.plain_from = None;
            }
        }
        Ok(None)
    }

    pub(super) fn last(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        self.clear();
        if self.document.is_some() {
            self.is_over = true;
            let data = self.document.as_deref().unwrap_or_default();
            return Ok(Some(Frame { name: b"", data, run: None }));
        }
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.line(&line)?;
        }
        Ok(if self.has_data { Some(self.event(None)) } else { None })
    }

    fn event(&mut self, run: Option<(usize, usize)>) -> Frame<'_> {
        self.is_over = true;
        self.is_stream = true;
        Frame { name: &self.name, data: &self.data, run }
    }

    /// Forgets the event that was handed out.
    fn clear(&mut self) {
        if std::mem::take(&mut self.is_over) {
            self.name.clear();
            self.data.clear();
            self.has_data = false;
        }
    }

    /// Looks at the first bytes: a byte order mark is dropped, a document or a page is no stream.
    fn begin(&mut self, chunk: &[u8]) -> Result<(), WireError> {
        if self.has_begun {
            return Ok(());
        }
        let text = chunk.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        match text {
            None => return Ok(()),
            Some(b'{' | b'[') => self.document = Some(Vec::new()),
            Some(b'<') => return Err(WireError::Garbage("a page instead of a stream")),
            Some(_) => {}
        }
        self.has_begun = true;
        Ok(())
    }

    /// Takes in a whole line; answers whether it is blank.
    fn line(&mut self, line: &[u8]) -> Result<bool, WireError> {
        let line = match line {
            [0xEF, 0xBB, 0xBF, rest @ ..] if !self.is_stream => rest,
            line => line,
        };
        if line.is_empty() {
            return Ok(true);
        }
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => line.split_at(colon),
            None => (line, b"".as_slice()),
        };
        let (value, is_spaced) = match value {
            [b':', b' ', value @ ..] => (value, true),
            [b':', value @ ..] => (value, false),
            value => (value, false),
        };
        let mut is_plain = is_spaced;
        match field {
            b"data" => {
                if self.has_data {
                    is_plain = false;
                    // The standard joins with a line end; between JSON's tokens a blank means the
                    // same, and the data stays on one line.
                    gather(&mut self.data, b" ")?;
                }
                self.has_data = true;
                gather(&mut self.data, value)?;
            }
            b"event" => {
                if !value.iter().all(u8::is_ascii_graphic) {
                    return Err(WireError::Garbage("an event name that is no word"));
                }
                is_plain &= !self.has_data && self.name.is_empty();
                self.name.clear();
                gather(&mut self.name, value)?;
            }
            // Older llama.cpp servers report a failure in a field of its own.
            b"error" => {
                is_plain = false;
                self.name = b"error".to_vec();
                self.data.clear();
                self.has_data = true;
                gather(&mut self.data, value)?;
            }
            b"" | b"id" | b"retry" => is_plain = false,
            _ if self.is_stream => is_plain = false,
            _ => return Err(WireError::Garbage("text instead of a stream of events")),
        }
        if !is_plain {
            self.plain_from = None;
        }
        Ok(false)
    }
}

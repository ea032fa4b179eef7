//! Newline-delimited JSON: one document a line.

use memchr::memchr;

use super::{Frame, gather};
use crate::error::WireError;

/// A line that has not ended yet, or the one handed out last.
#[derive(Debug, Default)]
pub(crate) struct Ndjson {
    line: Vec<u8>,
    is_over: bool,
}

impl Ndjson {
    pub(super) fn next<'s>(
        &'s mut self,
        chunk: &[u8],
        at: &mut usize,
    ) -> Result<Option<Frame<'s>>, WireError> {
        self.clear();
        while let Some(rest) = chunk.get(*at..).filter(|rest| !rest.is_empty()) {
            let Some(length) = memchr(b'\n', rest) else {
                gather(&mut self.line, rest)?;
                *at = chunk.len();
                break;
            };
            gather(&mut self.line, rest.get(..length).unwrap_or_default())?;
            *at += length + 1;
            if self.line.trim_ascii().is_empty() {
                self.line.clear();
            } else {
                return Ok(Some(self.frame()));
            }
        }
        Ok(None)
    }

    pub(super) fn last(&mut self) -> Result<Option<Frame<'_>>, WireError> {
        self.clear();
        Ok(if self.line.trim_ascii().is_empty() { None } else { Some(self.frame()) })
    }

    fn frame(&mut self) -> Frame<'_> {
        self.is_over = true;
        Frame { name: b"", data: self.line.trim_ascii(), run: None }
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_over) {
            self.line.clear();
        }
    }
}

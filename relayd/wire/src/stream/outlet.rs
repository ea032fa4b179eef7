//! What goes out to the client, in order, with as little copying as the frames allow.
//!
//! Frames that stay as they are go out as slices of the chunk they came in, neighbours as one;
//! the rest is written into one buffer that is reused. Until the gate opens everything waits in
//! the buffer: nothing may be shown before the first content.

use bytes::{Bytes, BytesMut};

use crate::error::WireError;

/// Most bytes that wait for the first content. Roles, ids and signs of life are a few hundred.
const PRELUDE_MAX_BYTES: usize = 256 << 10;

/// Room for a burst of frames; the buffer is taken back once the client's side has sent it.
const BUFFER_BYTES: usize = 8 << 10;

/// The outgoing side of one stream.
#[derive(Debug, Default)]
pub(super) struct Outlet {
    written: BytesMut,
    /// A part of the current chunk that goes out as it is. At most one of the two is not empty.
    run: (usize, usize),
    is_open: bool,
}

impl Outlet {
    /// From now on what is written goes out.
    pub(super) const fn open(&mut self) {
        self.is_open = true;
    }

    /// The buffer to write rewritten frames into.
    pub(super) fn buffer(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> &mut BytesMut {
        self.send_run(chunk, out);
        if self.written.capacity() == 0 {
            self.written.reserve(BUFFER_BYTES);
        }
        &mut self.written
    }

    /// Sends a part of the chunk as it is.
    pub(super) fn forward(&mut self, run: (usize, usize), chunk: &Bytes, out: &mut Vec<Bytes>) {
        if !self.is_open {
            let part = chunk.get(run.0..run.1).unwrap_or_default();
            self.written.extend_from_slice(part);
        } else if self.run.1 == run.0 && self.run.0 < self.run.1 {
            self.run.1 = run.1;
        } else {
            self.send_run(chunk, out);
            self.send_written(out);
            self.run = run;
        }
    }

    /// Hands over everything, at the end of a chunk.
    pub(super) fn flush(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) -> Result<(), WireError> {
        if self.is_open {
            self.send_run(chunk, out);
            self.send_written(out);
        } else if self.written.len() > PRELUDE_MAX_BYTES {
            return Err(WireError::Garbage("no content within the first 256 KiB"));
        }
        Ok(())
    }

    /// Hands over what the tail wrote.
    pub(super) fn finish(&mut self, out: &mut Vec<Bytes>) {
        self.send_written(out);
    }

    fn send_run(&mut self, chunk: &Bytes, out: &mut Vec<Bytes>) {
        let (from, to) = std::mem::take(&mut self.run);
        if from < to && to <= chunk.len() {
            out.push(chunk.slice(from..to));
        }
    }

    fn send_written(&mut self, out: &mut Vec<Bytes>) {
        if !self.written.is_empty() {
            out.push(self.written.split().freeze());
            self.written.reserve(BUFFER_BYTES);
        }
    }
}

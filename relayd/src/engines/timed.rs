//! Bounds on how long a stream may take.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use tokio::time::{Instant, Sleep};

use super::EngineError;

/// A stream of chunks that ends with an error when it stands still or takes too long.
///
/// Standing still means: no chunk with a line end for the idle time. Both stream formats end an
/// event with a line, so an engine that sends one byte a second does not look alive. Time in which
/// nobody asks for the next chunk (a slow client holds us back) is not counted. One timer is
/// allocated for the whole stream and none per chunk.
#[derive(Debug)]
pub struct Timed<S> {
    stream: S,
    idle: Duration,
    total: Instant,
    timer: Pin<Box<Sleep>>,
    /// When the idle time ends, once it runs.
    idle_until: Option<Instant>,
    ended: bool,
}

impl<S> Timed<S> {
    /// Bounds `stream`: at most `idle` between two line ends, and nothing after `total`.
    #[must_use]
    pub fn new(stream: S, idle: Duration, total: Instant) -> Self {
        let timer = Box::pin(tokio::time::sleep_until(total));
        Self { stream, idle, total, timer, idle_until: None, ended: false }
    }
}

impl<S> Stream for Timed<S>
where
    S: Stream<Item = Result<Bytes, EngineError>> + Unpin,
{
    type Item = Result<Bytes, EngineError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        if let Poll::Ready(item) = this.stream.poll_next_unpin(cx) {
            match &item {
                Some(Ok(chunk)) if chunk.contains(&b'\n') => this.idle_until = None,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => this.ended = true,
            }
            // An engine that always has a byte ready would never let the timer be looked at.
            if Instant::now() < this.total || this.ended {
                return Poll::Ready(item);
            }
            this.ended = true;
            return Poll::Ready(Some(Err(EngineError::total_timeout())));
        }
        if this.idle_until.is_none() {
            let until = Instant::now() + this.idle;
            this.idle_until = Some(until);
            this.timer.as_mut().reset(until.min(this.total));
        }
        match this.timer.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                this.ended = true;
                let error = if Instant::now() >= this.total {
                    EngineError::total_timeout()
                } else {
                    EngineError::idle()
                };
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

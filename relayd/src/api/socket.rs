//! A client's socket with two bounds that the HTTP engine does not have: time for the first bytes
//! to come, and time for written bytes to be taken.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Bytes after which the HTTP engine's own time for a head has begun: as many as the preface of
/// HTTP/2, which it waits for to tell the protocols apart.
const OPENING_BYTES: usize = 24;

/// A socket that fails when its peer stands still.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    /// Bytes read so far, until the opening is over.
    opening: Option<usize>,
    opening_timer: Pin<Box<Sleep>>,
    stall: Duration,
    /// Runs while a write waits for the peer.
    stall_timer: Pin<Box<Sleep>>,
    stalled: bool,
}

impl<S> Guarded<S> {
    /// Guards a socket. `opening` runs from now.
    pub(super) fn new(inner: S, opening: Duration, stall: Duration) -> Self {
        Self {
            inner,
            opening: Some(0),
            opening_timer: Box::pin(sleep(opening)),
            stall,
            stall_timer: Box::pin(sleep(stall)),
            stalled: false,
        }
    }

    /// Lets a write through when it made progress, and fails it when it made none for too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = false;
            return written;
        }
        if !self.stalled {
            self.stalled = true;
            self.stall_timer.as_mut().reset(Instant::now() + self.stall);
        }
        ready!(self.stall_timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let Some(so_far) = self.opening else { return read };
        if read.is_ready() {
            let so_far = so_far + buf.filled().len() - before;
            self.opening = (so_far < OPENING_BYTES).then_some(so_far);
            return read;
        }
        ready!(self.opening_timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client sends nothing")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Whoever is being answered has asked.
        self.opening = None;
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.opening = None;
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const OPENING: Duration = Duration::from_secs(10);
    const STALL: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_cut() {
        let (_client, server) = duplex(64);
        let began = Instant::now();
        let mut socket = Guarded::new(server, OPENING, STALL);
        let error = socket.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), OPENING);
    }

    #[tokio::test(start_paused = true)]
    async fn dribbling_the_first_bytes_does_not_help() {
        let (mut client, server) = duplex(64);
        let mut socket = Guarded::new(server, OPENING, STALL);
        for _ in 0..9 {
            client.write_all(b"P").await.unwrap();
            socket.read_exact(&mut [0; 1]).await.unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(socket.read(&mut [0; 1]).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_was_heard_may_be_silent() {
        let (mut client, server) = duplex(64);
        let mut socket = Guarded::new(server, OPENING, STALL);
        client.write_all(&[b'x'; OPENING_BYTES]).await.unwrap();
        socket.read_exact(&mut [0; OPENING_BYTES]).await.unwrap();
        let later = tokio::time::timeout(Duration::from_secs(600), socket.read(&mut [0; 1])).await;
        assert!(later.is_err(), "still waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_and_a_slow_one_is_not() {
        let (mut client, server) = duplex(4);
        let mut socket = Guarded::new(server, OPENING, STALL);
        let writer = tokio::spawn(async move {
            let began = Instant::now();
            let error = socket.write_all(&[0; 12]).await.unwrap_err();
            (error.kind(), began.elapsed())
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        client.read_exact(&mut [0; 4]).await.unwrap();
        let (kind, after) = writer.await.unwrap();
        assert_eq!((kind, after), (io::ErrorKind::TimedOut, Duration::from_secs(50)));
    }
}

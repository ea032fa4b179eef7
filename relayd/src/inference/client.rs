//! The client's side of a driver: first a promise of an answer, then a channel of frames.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{FRAMES_MAX, Frame, Reply};
use crate::domain::Fault;

/// Where a driver puts its answer.
pub(super) enum Client {
    /// Nothing was said yet.
    Waiting(oneshot::Sender<Result<Reply, Fault>>),
    /// Frames go out.
    Reading(mpsc::Sender<Frame>),
    /// It left, or everything was said.
    Gone,
}

impl Client {
    /// Resolves when the client has left; never, once everything was said.
    pub(super) async fn left(&mut self) {
        match self {
            Self::Waiting(head) => head.closed().await,
            Self::Reading(frames) => frames.closed().await,
            Self::Gone => std::future::pending().await,
        }
    }

    /// Answers with a whole body. False when nobody took it.
    pub(super) fn answer(&mut self, body: Bytes) -> bool {
        self.say(Ok(Reply::Whole(body)))
    }

    /// Refuses. False when nobody took it.
    pub(super) fn refuse(&mut self, fault: Fault) -> bool {
        self.say(Err(fault))
    }

    fn say(&mut self, answer: Result<Reply, Fault>) -> bool {
        match std::mem::replace(self, Self::Gone) {
            Self::Waiting(head) => head.send(answer).is_ok(),
            Self::Reading(_) | Self::Gone => false,
        }
    }

    /// Begins a stream. False when the client left.
    pub(super) fn begin_stream(&mut self) -> bool {
        let (frames, receiver) = mpsc::channel(FRAMES_MAX);
        let taken = self.say(Ok(Reply::Stream(receiver)));
        if taken {
            *self = Self::Reading(frames);
        }
        taken
    }

    /// Hands out frames in order, waiting for a slow reader. False when the client left or took
    /// nothing for `stall`; then some of them may not have been taken.
    pub(super) async fn send(&mut self, frames: &mut Vec<Bytes>, stall: Duration) -> bool {
        let Self::Reading(channel) = self else {
            frames.clear();
            return false;
        };
        for frame in frames.drain(..) {
            if !hand_out(channel, Ok(frame), stall).await {
                return false;
            }
        }
        true
    }

    /// Ends a stream with a fault.
    pub(super) async fn fail(&mut self, fault: Fault, stall: Duration) {
        if let Self::Reading(channel) = std::mem::replace(self, Self::Gone) {
            hand_out(&channel, Err(fault), stall).await;
        }
    }
}

async fn hand_out(channel: &mpsc::Sender<Frame>, frame: Frame, stall: Duration) -> bool {
    // The common case: there is room, and no timer is needed.
    let frame = match channel.try_send(frame) {
        Ok(()) => return true,
        Err(mpsc::error::TrySendError::Full(frame)) => frame,
        Err(mpsc::error::TrySendError::Closed(_)) => return false,
    };
    matches!(tokio::time::timeout(stall, channel.send(frame)).await, Ok(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(30);

    fn reading() -> (Client, mpsc::Receiver<Frame>) {
        let (head, mut answer) = oneshot::channel();
        let mut client = Client::Waiting(head);
        assert!(client.begin_stream());
        match answer.try_recv() {
            Ok(Ok(Reply::Stream(frames))) => (client, frames),
            other => panic!("{other:?}"),
        }
    }

    fn frames(count: usize) -> Vec<Bytes> {
        vec![Bytes::from_static(b"x"); count]
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stalls_counts_as_gone() {
        let (mut client, _receiver) = reading();
        assert!(client.send(&mut frames(FRAMES_MAX), STALL).await);
        assert!(!client.send(&mut frames(1), STALL).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_holds_the_driver_and_loses_nothing() {
        let (mut client, mut receiver) = reading();
        let read = tokio::spawn(async move {
            let mut count = 0;
            while receiver.recv().await.is_some() {
                tokio::time::sleep(Duration::from_secs(1)).await;
                count += 1;
            }
            count
        });
        assert!(client.send(&mut frames(4 * FRAMES_MAX), STALL).await);
        drop(client);
        assert_eq!(read.await.unwrap(), 4 * FRAMES_MAX);
    }

    #[tokio::test]
    async fn leaving_is_noticed_before_and_after_the_first_word() {
        let (head, answer) = oneshot::channel();
        let mut client = Client::Waiting(head);
        drop(answer);
        client.left().await;
        assert!(!client.begin_stream());
        let (mut client, receiver) = reading();
        drop(receiver);
        client.left().await;
        assert!(!client.send(&mut frames(1), STALL).await);
    }
}

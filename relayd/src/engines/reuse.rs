//! Whether a request went into a connection that had served before.
//!
//! A server may close an idle connection without the client having heard of it: a request written
//! into it then is lost although nothing is wrong. The pool does not tell which connection it took,
//! but it opens one within the request that waits for it, and that is noted here.

use std::cell::Cell;
use std::task::{Context, Poll};

use tower::{Layer, Service};

tokio::task_local! {
    /// Whether the request of this task opened a connection.
    static OPENED: Cell<bool>;
}

/// Notes, around a connector, that a connection is being opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noting;

/// A connector that notes.
#[derive(Clone, Debug)]
pub(crate) struct Noted<S>(S);

impl<S> Layer<S> for Noting {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        Noted(inner)
    }
}

impl<S: Service<R>, R> Service<R> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        // Outside of a request (a connection that is opened ahead) there is nobody to tell.
        let _ = OPENED.try_with(|opened| opened.set(true));
        self.0.call(request)
    }
}

/// Sends, and tells whether the connection had served before. A connection that was opened and
/// then not needed counts as opened: in doubt nothing is sent twice.
pub(crate) async fn watched<T>(sending: impl Future<Output = T>) -> (T, bool) {
    let sent = async {
        let answer = sending.await;
        (answer, !OPENED.with(Cell::get))
    };
    OPENED.scope(Cell::new(false), sent).await
}

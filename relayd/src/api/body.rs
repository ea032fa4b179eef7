//! Reads a request's body within its bounds, and hands a stream to the client.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::domain::{Code, Fault};

/// What is set aside at once for a body whose length is announced, in bytes; the rest grows as
/// bytes really come.
const FIRST_ALLOCATION: usize = 64 * 1024;

/// Bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub struct BodyBounds {
    /// Most bytes.
    pub max_bytes: usize,
    /// Time for all of it to come.
    pub timeout: Duration,
}

impl BodyBounds {
    /// Reads a whole body.
    ///
    /// # Errors
    /// [`Code::BodyTooLarge`], [`Code::RequestTimeout`], [`Code::ContentTypeUnsupported`] for a
    /// compressed body, [`Code::Unservable`] when the connection broke midway.
    pub async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Fault> {
        let encoding = headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let text = "Compressed request bodies are not accepted";
            return Err(Fault::new(Code::ContentTypeUnsupported, text));
        }
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.max_bytes) {
            return Err(self.too_large());
        }
        let reading = self.collect(body, announced.unwrap_or(0));
        match tokio::time::timeout(self.timeout, reading).await {
            Ok(read) => read,
            Err(_) => Err(Fault::new(
                Code::RequestTimeout,
                format!("The body did not arrive within {} s", self.timeout.as_secs()),
            )),
        }
    }

    async fn collect(&self, mut body: Body, announced: usize) -> Result<Bytes, Fault> {
        let broken = |_| Fault::new(Code::Unservable, "The body ended before it was complete");
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if whole.len().saturating_add(data.len()) > self.max_bytes {
                return Err(self.too_large());
            }
            if whole.is_empty() && data.len() == announced {
                return Ok(data);
            }
            if whole.is_empty() {
                whole.reserve(announced.min(FIRST_ALLOCATION).max(data.len()));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    }

    fn too_large(&self) -> Fault {
        let mib = self.max_bytes / (1024 * 1024);
        Fault::new(Code::BodyTooLarge, format!("The body is larger than {mib} MiB"))
    }
}

/// An answer whose frames come from a bounded channel: nothing is taken out of it before the
/// client's connection takes it, so a slow reader holds the sender. `last` prints a fault that ends
/// the stream.
#[must_use]
pub(super) fn stream(
    content_type: &'static str,
    frames: mpsc::Receiver<Result<Bytes, Fault>>,
    last: impl Fn(&Fault) -> Bytes + Send + 'static,
) -> Response {
    let print = move |frame: Result<Bytes, Fault>| frame.unwrap_or_else(|fault| last(&fault));
    let frames = ReceiverStream::new(frames).map(move |frame| Ok::<_, Infallible>(print(frame)));
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An answer of JSON that was printed elsewhere.
#[must_use]
pub(super) fn json(body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: BodyBounds = BodyBounds { max_bytes: 8, timeout: Duration::from_secs(30) };

    fn chunks(chunks: &[&'static str]) -> Body {
        let chunks: Vec<_> = chunks.iter().map(|&chunk| Ok::<_, Infallible>(chunk)).collect();
        Body::from_stream(futures::stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_is_bounded_with_or_without_a_length() {
        let none = HeaderMap::new();
        let read = async |headers: &HeaderMap, body| BOUNDS.read(headers, body).await;
        assert_eq!(read(&none, Body::from("12345678")).await.unwrap(), "12345678");
        assert_eq!(read(&none, chunks(&["1234", "5678"])).await.unwrap(), "12345678");
        assert_eq!(read(&none, Body::empty()).await.unwrap(), "");
        let too_large = read(&none, chunks(&["1234", "56789"])).await.unwrap_err();
        assert_eq!(too_large.code, Code::BodyTooLarge);
        let length = HeaderMap::from_iter([(header::CONTENT_LENGTH, "9".parse().unwrap())]);
        let announced = read(&length, Body::empty()).await.unwrap_err();
        assert_eq!(announced.code, Code::BodyTooLarge);
        let gzip = HeaderMap::from_iter([(header::CONTENT_ENCODING, "gzip".parse().unwrap())]);
        let packed = read(&gzip, Body::empty()).await.unwrap_err();
        assert_eq!(packed.code, Code::ContentTypeUnsupported);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let (sender, receiver) = mpsc::channel::<Bytes>(1);
        let body = Body::from_stream(ReceiverStream::new(receiver).map(Ok::<_, Infallible>));
        let error = BOUNDS.read(&HeaderMap::new(), body).await.unwrap_err();
        assert_eq!(error.code, Code::RequestTimeout);
        drop(sender);
    }

    #[tokio::test]
    async fn a_reader_that_stands_still_holds_the_sender() {
        let (sender, receiver) = mpsc::channel(4);
        let last = |fault: &Fault| Bytes::from(fault.message.to_string());
        let mut body = stream("text/event-stream", receiver, last).into_body();
        let frame = || Ok(Bytes::from_static(b"data: x\n\n"));
        for _ in 0..4 {
            sender.try_send(frame()).unwrap();
        }
        assert!(sender.try_send(frame()).is_err(), "nothing is taken ahead of the reader");
        body.frame().await.unwrap().unwrap();
        sender.try_send(Err(Fault::new(Code::UpstreamError, "broken"))).unwrap();
        assert!(sender.try_send(frame()).is_err(), "one frame was read, one was let in");
        drop(sender);
        let rest = body.collect().await.unwrap().to_bytes();
        assert_eq!(rest, "data: x\n\ndata: x\n\ndata: x\n\nbroken");
    }
}

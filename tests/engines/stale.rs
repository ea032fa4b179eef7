//! An inference server that keeps connections and then closes them without a word: whoever writes
//! a second request into one gets no answer.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::scripted::{MODEL, PROMPT_TOKENS, WORD};

/// A running server; ends when dropped.
pub struct Stale {
    /// `http://127.0.0.1:port`.
    pub url: String,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    asked: AtomicU64,
    lost: AtomicU64,
    broken: AtomicBool,
    begins: AtomicBool,
}

impl Stale {
    /// Starts a server, on a thread of its own.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (shared, stop) = (Arc::new(Shared::default()), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (server, stopped) = (Arc::clone(&shared), stop.clone());
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                let accepting = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(stream, Arc::clone(&server)));
                    }
                };
                tokio::select! {
                    () = accepting => {}
                    () = stopped.cancelled() => {}
                }
            });
        });
        Ok(Self { url, shared, stop, thread: Some(thread) })
    }

    /// Chat requests read so far, answered or not.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Those that got no answer.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Answers no chat request any more, on no connection.
    pub fn answer_nothing(&self) {
        self.shared.broken.store(true, Ordering::SeqCst);
    }

    /// Begins an answer on a kept connection before it closes it.
    pub fn begin_then_close(&self) {
        self.shared.begins.store(true, Ordering::SeqCst);
    }
}

impl Drop for Stale {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection: the first request is answered, the second ends it.
async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    for served in 0.. {
        let Some(request) = read(&mut stream).await else { return };
        let chat = request.starts_with("POST ");
        shared.asked.fetch_add(u64::from(chat), Ordering::SeqCst);
        let (body, partial) = if chat {
            (completion(), shared.begins.load(Ordering::SeqCst))
        } else {
            (models(), false)
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if served > 0 || (chat && shared.broken.load(Ordering::SeqCst)) {
            shared.lost.fetch_add(u64::from(chat), Ordering::SeqCst);
            if partial {
                let begun = format!("{head}{}", &body[..body.len() / 2]);
                let _ = stream.write_all(begun.as_bytes()).await;
            }
            return;
        }
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A request, head and body; none at the end of the connection.
async fn read(stream: &mut TcpStream) -> Option<String> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&request);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        match stream.read(&mut buffer).await {
            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
}

fn models() -> String {
    json!({"object":"list","data":[{"id":MODEL,"object":"model"}]}).to_string()
}

fn completion() -> String {
    json!({
        "id":"chatcmpl-1","object":"chat.completion","created":1,"model":MODEL,
        "choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":WORD}}],
        "usage":{"prompt_tokens":PROMPT_TOKENS,"completion_tokens":1,"total_tokens":PROMPT_TOKENS + 1},
    })
    .to_string()
}

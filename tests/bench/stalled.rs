//! What readers that stand still cost the others on a provider's one connection.
//!
//! `cargo run -p relay-tests --bin stalled`, after a build of the workspace. A relay, an agent and a
//! stand-in engine run as they do in production; short streams are timed one after another, alone
//! and beside 64 streams that nobody reads. Prints both and their ratio, and fails where the 99th
//! percentile is more than twice as late.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Agent, Caller, Relay, RelayOptions, Route, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Readers that stand still.
const STILL: usize = 64;

/// Streams that are timed, after some that are not.
const TIMED: usize = 1_000;
const WARM: usize = 100;

/// Pieces that each of them is sent, and bytes of one: more than all buffers on the way hold.
const PIECES: u64 = 4_000;
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes that one who stands still has room for.
const ROOM: u32 = 8 * 1024;

const SHORT: Script = Script::Tokens { count: 4, gap: Duration::ZERO };

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let own = Scripted::counting(SHORT)?;
    let theirs = Scripted::counting(SHORT)?;
    let relay = RelayOptions::over(&[&own.url])
        .set("HTTP__WRITE_STALL", "30m")
        .set("CHAT__WINDOW_TOKENS", "131072")
        .start()?;
    let _agent = serving(&relay, &theirs).await?;
    let caller = Caller::of(&relay);
    timed(&caller, WARM).await?;
    let alone = timed(&caller, TIMED).await?;
    let before = theirs.sent();
    theirs.then(Script::Heavy { count: PIECES, bytes: PIECE_BYTES });
    let mut still = Vec::new();
    for _ in 0..STILL {
        still.push(stand_still(&relay).await?);
    }
    // Until every window is full and the engine is read no further.
    let mut seen = (0, 0);
    let held = eventually("the engine to be held", async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let sent = theirs.sent();
        seen = if sent == seen.0 { (sent, seen.1 + 1) } else { (sent, 0) };
        Ok((seen.1 == 8).then_some(sent - before))
    })
    .await?;
    ensure!(held < PIECES * 64, "nobody stood still: all was taken");
    theirs.then(SHORT);
    timed(&caller, WARM).await?;
    let beside = timed(&caller, TIMED).await?;
    ensure!(theirs.cancelled() == 0, "one that stood still was cut");
    drop(still);
    println!("{TIMED} streams one after another through an agent, first content in ms");
    println!("of {} pieces, {held} were taken before all stood still", PIECES * 64);
    println!("{:<28} {:>8} {:>8} {:>8}", "", "p50", "p95", "p99");
    for (what, times) in [("alone", &alone), ("beside 64 that stand still", &beside)] {
        let [p50, p95, p99] = [500, 950, 990].map(|permille| quantile(times, permille));
        println!("{what:<28} {p50:>8.2} {p95:>8.2} {p99:>8.2}");
    }
    let ratio = quantile(&beside, 990) / quantile(&alone, 990);
    println!("the 99th percentile is {ratio:.2} times as late");
    ensure!(ratio <= 2.0, "more than twice as late");
    Ok(())
}

/// An agent in front of that engine, examined, approved and alone in traffic.
async fn serving(relay: &Relay, engine: &Scripted) -> anyhow::Result<Agent> {
    let mut agent = Agent::join(&relay.dir().join("ready.json"), "gpu-1", &[&engine.url], &[])?;
    let file = agent.folder().join("agent.toml");
    let config = std::fs::read_to_string(&file)?;
    let places = config.lines().find(|line| line.starts_with("max_concurrency"));
    let places = places.context("the agent's file names no places")?;
    std::fs::write(&file, config.replace(places, "max_concurrency = 128"))?;
    agent.run()?;
    eventually("a person to decide", async || {
        let found = relay.admin(&["providers", "show", &agent.provider]).ok();
        Ok(found.filter(|found| found["state"] == "pending"))
    })
    .await?;
    relay.admin(&["providers", "approve", &agent.provider])?;
    let all = eventually("its backend to serve", async || {
        let all = relay.admin(&["backends", "list"])?;
        let mut rows = all["backends"].as_array().into_iter().flatten();
        let up = |one: &Value| one["provider_id"] != "" && one["state"] == "up";
        let up = rows.any(up);
        Ok(up.then_some(all))
    })
    .await?;
    for own in all["backends"].as_array().into_iter().flatten() {
        if own["provider_id"] == "" {
            let name = own["backend_id"].as_str().context("a backend without a name")?;
            relay.admin(&["backends", "cordon", name])?;
        }
    }
    Ok(agent)
}

/// Times to the first content, ascending.
async fn timed(caller: &Caller, many: usize) -> anyhow::Result<Vec<Duration>> {
    let body = Route::Openai.body(MODEL, 8, true);
    let mut times = Vec::with_capacity(many);
    for _ in 0..many {
        let began = Instant::now();
        let mut stream = caller.stream(Route::Openai, &body).await?;
        stream.until("word", 1).await?;
        times.push(began.elapsed());
        ensure!(stream.rest().await?.contains("[DONE]"), "a stream was cut");
    }
    times.sort_unstable();
    Ok(times)
}

/// A caller who reads the first of his stream and nothing more.
async fn stand_still(relay: &Relay) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(ROOM)?;
    let address = relay.ready.public_url.trim_start_matches("http://");
    let mut stream = socket.connect(address.parse()?).await?;
    let body = Route::Openai.body(MODEL, 65_536, true).to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {address}\r\nx-api-key: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        Route::Openai.path(),
        relay.ready.api_key,
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut first = [0; 64];
    let read = stream.read(&mut first).await?;
    ensure!(first[..read].starts_with(b"HTTP/1.1 200"), "no stream: {:?}", &first[..read]);
    Ok(stream)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a bench")]
fn quantile(times: &[Duration], permille: usize) -> f64 {
    let place = (times.len() * permille / 1_000).min(times.len().saturating_sub(1));
    times.get(place).map_or(0.0, |time| time.as_micros() as f64 / 1e3)
}

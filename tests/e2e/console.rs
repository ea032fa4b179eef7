//! The operator's console in a real terminal, against a live daemon.

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Caller, Relay, RelayOptions, Route, Streamed, Terminal, binary};
use tokio::time::Duration;

/// A stream that runs until it is dropped.
async fn running(relay: &Relay) -> Streamed {
    let body = Route::Openai.body(MODEL, 4096, true);
    let mut stream = Caller::of(relay).stream(Route::Openai, &body).await.unwrap();
    stream.until("word", 1).await.unwrap();
    stream
}

#[tokio::test]
async fn the_console_sees_a_request_and_survives_the_daemon() {
    let gap = Duration::from_millis(100);
    let engine = Scripted::start(Script::Tokens { count: 4000, gap }).unwrap();
    let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
    let first = relay.ready.clone();
    let home = tempfile::tempdir().unwrap();
    let environment = [
        ("RELAY_OPERATOR_TOKEN", first.operator_token.as_str()),
        ("HOME", home.path().to_str().unwrap()),
        ("LC_ALL", "C.UTF-8"),
    ];
    let program = binary("relay-tui").unwrap();
    let mut console =
        Terminal::start(80, 24, &program, &["--addr", &first.admin_addr], &environment).unwrap();
    console.until("a live link", |screen| screen.contains("LIVE")).await.unwrap();
    assert!(console.is_alternate(), "it draws on a screen of its own");
    assert!(!console.is_cooked().unwrap());
    console.until("nothing to run", |screen| screen.contains("0 running")).await.unwrap();

    let stream = running(&relay).await;
    console.until("the request", |screen| screen.contains("1 running")).await.unwrap();
    let dir = relay.crash().unwrap();
    drop(stream);
    console.until("the loss of the link", |screen| !screen.contains("LIVE")).await.unwrap();

    let relay = RelayOptions::over(&[&engine.url]).in_dir(dir).at(&first).start().unwrap();
    assert_eq!(relay.ready.admin_addr, first.admin_addr);
    console.until("the link again", |screen| screen.contains("LIVE")).await.unwrap();
    let stream = running(&relay).await;
    console.until("the next request", |screen| screen.contains("1 running")).await.unwrap();
    console.resize(140, 40).unwrap();
    let wide = |screen: &str| screen.lines().any(|line| line.trim_end().chars().count() > 100);
    console.until("a wider page", wide).await.unwrap();
    drop(stream);

    console.keys("q").unwrap();
    let status = console.end().await.unwrap();
    assert!(status.success(), "{status:?}: {}", console.screen());
    assert!(!console.is_alternate(), "the old screen is back");
    assert!(!console.is_cursor_hidden(), "and its cursor");
    assert!(console.is_cooked().unwrap(), "and line editing");
    let drawn = console.raw();
    for secret in [&first.operator_token, &first.api_key] {
        assert!(!drawn.contains(secret.as_str()), "no secret is drawn");
    }
}

/// What an open console costs that nobody touches, over an idle daemon: bytes to the terminal, memory,
/// threads. The figures are printed; the processor's share is told but not judged here.
#[tokio::test]
async fn an_idle_console_costs_little() {
    const SECONDS: usize = 10;
    /// For a page of 140x40, with room for a busy machine.
    const BYTES_A_SECOND_MAX: usize = 195;
    /// Unoptimised code has more of everything.
    const MEMORY_MAX_KB: u64 = 30_000;
    const THREADS_MAX: u64 = 3;
    let engine = Scripted::start(Script::Tokens { count: 2, gap: Duration::ZERO }).unwrap();
    let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
    let home = tempfile::tempdir().unwrap();
    let environment = [
        ("RELAY_OPERATOR_TOKEN", relay.ready.operator_token.as_str()),
        ("HOME", home.path().to_str().unwrap()),
        ("LC_ALL", "C.UTF-8"),
    ];
    let program = binary("relay-tui").unwrap();
    let arguments = ["--addr", relay.ready.admin_addr.as_str()];
    let console = Terminal::start(140, 40, &program, &arguments, &environment).unwrap();
    console.until("a live link", |screen| screen.contains("LIVE")).await.unwrap();
    console.until("the daemon's events", |screen| screen.contains("relay.started")).await.unwrap();
    let id = console.process_id().unwrap();
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap();
    let status = |name: &str| -> u64 {
        let status = read("status");
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let ticks = || -> u64 {
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    let (bytes_before, ticks_before) = (console.raw().len(), ticks());
    // The clock on the page moves once a second: so many seconds are so many clocks.
    for _ in 0..SECONDS {
        let clock = console.screen().lines().next().unwrap_or_default().to_owned();
        console.until("the next second", |screen| !screen.starts_with(&clock)).await.unwrap();
    }
    let bytes = (console.raw().len() - bytes_before) / SECONDS;
    let (memory_kb, threads) = (status("VmRSS"), status("Threads"));
    eprintln!(
        "an idle console: {bytes} B/s, {memory_kb} kB, {threads} threads, {} ticks of 10 ms in \
         {SECONDS} s",
        ticks() - ticks_before
    );
    assert!(bytes <= BYTES_A_SECOND_MAX, "{bytes} B/s");
    assert!(memory_kb <= MEMORY_MAX_KB, "{memory_kb} kB");
    assert!(threads <= THREADS_MAX, "{threads} threads");
}

#[tokio::test]
async fn once_prints_one_page_and_leaves() {
    let engine = Scripted::start(Script::Tokens { count: 2, gap: Duration::ZERO }).unwrap();
    let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
    let once = |arguments: &[&str]| {
        let output = std::process::Command::new(binary("relay-tui").unwrap())
            .args(["--addr", &relay.ready.admin_addr, "once"])
            .args(arguments)
            .env("RELAY_OPERATOR_TOKEN", &relay.ready.operator_token)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    for page in ["overview", "gpus", "backends", "models", "keys", "providers", "events"] {
        let text = once(&[page]);
        assert!(!text.trim().is_empty() && !text.contains('\u{1b}'), "{page}: {text}");
        let json = once(&[page, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json.is_object(), "{page}: {json}");
    }
    let backends = once(&["backends"]);
    assert!(backends.contains("state") && backends.contains(MODEL), "{backends}");
}

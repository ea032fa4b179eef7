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
    for page in ["overview", "backends", "keys", "events"] {
        let text = once(&[page]);
        assert!(!text.trim().is_empty() && !text.contains('\u{1b}'), "{page}: {text}");
        let json = once(&[page, "--json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json.is_object(), "{page}: {json}");
    }
    assert!(once(&["backends"]).contains("up"));
}

//! The public listener: browsers, proxies, TLS.

use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use relay_tests::scripted::MODEL;
use relay_tests::{Answer, Caller, Route, eventually};
use reqwest::Method;

use crate::start::{Serve, free_ports, open_to_guests, over_scripted, over_scripted_with, tokens};

const ORIGIN: &str = "https://app.example.com";

async fn preflight(caller: &Caller, origin: &str) -> Answer {
    let request = caller
        .guest()
        .request(Method::OPTIONS, Route::Openai.path())
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-api-key,content-type");
    Answer::read(request.send().await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn browsers_of_other_origins_are_let_in_by_configuration_only() {
    let (_engine, closed) = over_scripted(tokens(1)).await;
    let caller = Caller::of(&closed);
    for answer in [preflight(&caller, ORIGIN).await, caller.get("/v2/models").await.unwrap()] {
        let cors: Vec<_> =
            answer.headers.keys().filter(|name| name.as_str().starts_with("access-")).collect();
        assert!(cors.is_empty(), "off by default: {cors:?}");
    }
    drop(closed);

    let (_engine, open) = over_scripted_with(tokens(1), |options| {
        options.set("HTTP__CORS_ORIGINS", format!("[\"{ORIGIN}\"]"))
    })
    .await;
    let caller = Caller::of(&open);
    let answer = preflight(&caller, ORIGIN).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    assert!(answer.header("access-control-allow-headers").contains("x-api-key"));
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let foreign = preflight(&caller, "https://evil.example.com").await;
    assert_eq!(foreign.header("access-control-allow-origin"), "");
    let request = caller.request(Method::POST, Route::Openai.path()).header("origin", ORIGIN);
    let request = request.header("content-type", "application/json");
    let answer = request.body(Route::Openai.body(MODEL, 4, true).to_string()).send().await.unwrap();
    let answer = Answer::read(answer).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("access-control-allow-origin"), ORIGIN);
    assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
}

/// The outcome of a guest's chat that claims these addresses.
async fn claiming(caller: &Caller, forwarded: &str) -> String {
    let request = caller
        .guest()
        .request(Method::POST, Route::Openai.path())
        .header("content-type", "application/json")
        .header("x-forwarded-for", forwarded)
        .body(Route::Openai.body(MODEL, 4, false).to_string());
    Answer::read(request.send().await.unwrap()).await.unwrap().outcome()
}

#[tokio::test]
async fn an_address_is_believed_from_trusted_proxies_only() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    open_to_guests(&relay);
    let caller = Caller::of(&relay);
    let mut outcomes = Vec::new();
    for n in 0..6 {
        outcomes.push(claiming(&caller, &format!("198.51.100.{n}")).await);
    }
    assert_eq!(outcomes[4], "200", "{outcomes:?}");
    assert_eq!(outcomes[5], "429 RATE_LIMITED", "a claim makes nobody new: {outcomes:?}");
    drop(relay);

    let (_engine, relay) = over_scripted_with(tokens(1), |options| {
        options.set("HTTP__TRUSTED_PROXIES", "[\"127.0.0.1\", \"10.0.0.0/8\"]")
    })
    .await;
    open_to_guests(&relay);
    let caller = Caller::of(&relay);
    // What the client wrote itself stands left of what the proxies appended.
    for n in 0..5 {
        let claim = format!("198.51.100.{n}, 203.0.113.9, 10.1.2.3");
        assert_eq!(claiming(&caller, &claim).await, "200");
    }
    let spoofed = claiming(&caller, "198.51.100.77, 203.0.113.9").await;
    assert_eq!(spoofed, "429 RATE_LIMITED", "the same client with another claim");
    assert_eq!(claiming(&caller, "203.0.113.9, 203.0.113.10").await, "200", "another client");
}

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate for localhost, the key first.
    fn write(&self, dir: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
        std::fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
    }

    /// A client that trusts it and nobody else.
    fn client(&self) -> reqwest::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = reqwest::Certificate::from_pem(self.0.pem().as_bytes()).unwrap();
        reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([root])
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(5))
            .build()
            .unwrap()
    }
}

#[tokio::test]
async fn the_public_listener_speaks_tls_from_files_and_reads_them_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::new("first");
    first.write(dir.path());
    let ports = free_ports();
    std::fs::write(dir.path().join("pepper"), "0123456789abcdef0123456789abcdef").unwrap();
    let here = dir.path().display();
    let config = format!(
        r#"
data_dir = "{here}/data"
[identity]
pepper_files = ["{here}/pepper"]
[[listener.public]]
listen = "127.0.0.1:{}"
tls = {{ cert_file = "{here}/cert.pem", key_file = "{here}/key.pem" }}
[listener.admin]
listen = "127.0.0.1:{}"
[listener.fleet]
listen = "127.0.0.1:{}"
[listener.ops]
listen = "127.0.0.1:{}"
"#,
        ports[0], ports[1], ports[2], ports[3]
    );
    let file = dir.path().join("relayd.toml");
    std::fs::write(&file, config).unwrap();
    let _serve = Serve::start(&file, &dir.path().join("log"));
    let base = format!("https://localhost:{}", ports[0]);
    let url = format!("{base}/v2/health");
    let up = eventually("the listener", async || Ok(first.client().get(&url).send().await.ok()));
    let answer = match up.await {
        Ok(answer) => answer,
        Err(error) => {
            panic!("{error}: {}", std::fs::read_to_string(dir.path().join("log")).unwrap())
        }
    };
    assert_eq!(answer.version(), http::Version::HTTP_2, "a client that can speaks HTTP/2");
    assert!(answer.headers().contains_key("x-request-id"));
    let plain = Caller::at(&format!("http://localhost:{}", ports[0])).get("/v2/health").await;
    assert!(plain.is_err() || plain.unwrap().status != 200, "no plain HTTP on a TLS port");

    // Another authority: who trusts the old one alone is refused once the files were read again.
    let second = Authority::new("second");
    second.write(dir.path());
    eventually("the new certificate", async || Ok(second.client().get(&url).send().await.ok()))
        .await
        .unwrap();
    assert!(first.client().get(&url).send().await.is_err(), "the old certificate is gone");
    // A broken file changes nothing.
    std::fs::write(dir.path().join("cert.pem"), "not a certificate").unwrap();
    let said = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    eventually("a word about the broken file", async || {
        Ok(said()
            .to_lowercase()
            .lines()
            .any(|l| l.contains("warn") && l.contains("cert"))
            .then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(second.client().get(&url).send().await.unwrap().status(), 200);
}

//! The rules that types alone do not hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use super::{Config, StoreKind, TlsFiles};

/// A breach of a rule, at a key.
pub(super) struct Problem {
    pub(super) path: Vec<String>,
    pub(super) message: String,
}

fn problem(path: &str, message: impl Into<String>) -> Problem {
    Problem {
        path: path.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        message: message.into(),
    }
}

pub(super) fn check(config: &Config) -> Result<(), Problem> {
    listeners(config)?;
    http(config)?;
    if !(1..=16).contains(&config.ledger.shards) {
        return Err(problem("ledger.shards", "expected 1 to 16 writers"));
    }
    if !(1..=128).contains(&config.store.connections) {
        return Err(problem("store.connections", "expected 1 to 128 connections"));
    }
    if !(16..=131_072).contains(&config.chat.window_tokens) {
        return Err(problem("chat.window_tokens", "expected 16 to 131072 tokens"));
    }
    if !(1..=365).contains(&config.trust.half_life_days) {
        return Err(problem("trust.half_life_days", "expected 1 to 365 days"));
    }
    let trust = &config.trust;
    for (name, bounds) in [
        ("trust.identity", trust.identity),
        ("trust.honesty", trust.honesty),
        ("trust.quality", trust.quality),
        ("trust.availability", trust.availability),
        ("trust.latency", trust.latency),
    ] {
        if bounds.probation.max(bounds.suspension) > 1_000 {
            return Err(problem(name, "expected 0 to 1000 thousandths"));
        }
    }
    if config.telemetry.trace_sample_ppm > 1_000_000 {
        return Err(problem("telemetry.trace_sample_ppm", "expected 0 to 1000000"));
    }
    if config.store.kind == StoreKind::Postgres && config.store.url_file.is_none() {
        return Err(problem(
            "store.url_file",
            "kind = \"postgres\" needs url_file, a file that holds postgres://user:password@host:port/database",
        ));
    }
    if let Some(library) = &config.gpu.nvml_library {
        library_path("gpu.nvml_library", library)?;
    }
    if let Some(file) = &config.store.url_file {
        secret_file("store.url_file", file, 1)?;
    }
    for file in &config.identity.pepper_files {
        secret_file("identity.pepper_files", file, 32)?;
    }
    for file in &config.catalogue.files {
        if !file.exists() {
            return Err(problem("catalogue.files", format!("{} does not exist", file.display())));
        }
    }
    Ok(())
}

fn listeners(config: &Config) -> Result<(), Problem> {
    let listener = &config.listener;
    if listener.public.is_empty() {
        return Err(problem("listener", "at least one [[listener.public]] is needed"));
    }
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    let named = listener
        .public
        .iter()
        .enumerate()
        .map(|(n, public)| (format!("listener.public.{n}.listen"), public.listen))
        .chain([
            ("listener.admin.listen".to_owned(), listener.admin.listen),
            ("listener.fleet.listen".to_owned(), listener.fleet.listen),
            ("listener.ops.listen".to_owned(), listener.ops.listen),
        ])
        .collect::<Vec<_>>();
    for (path, address) in &named {
        // Port 0 asks for a free port, so two of them never meet.
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = taken.insert(*address, path) {
            return Err(problem(path, format!("{address} is taken by {other} already")));
        }
    }
    for (n, public) in listener.public.iter().enumerate() {
        if let Some(tls) = &public.tls {
            tls_files(&format!("listener.public.{n}.tls"), tls)?;
        }
    }
    let admin = &listener.admin;
    if let Some(tls) = &admin.tls {
        tls_files("listener.admin.tls", tls)?;
    }
    if let Some(authority) = &admin.client_ca_file {
        readable("listener.admin.client_ca_file", authority)?;
    }
    let guarded = admin.tls.is_some() && admin.client_ca_file.is_some();
    if !admin.listen.ip().is_loopback() && !guarded {
        return Err(problem(
            "listener.admin.listen",
            "off loopback the admin plane needs mTLS: set listener.admin.tls and listener.admin.client_ca_file (relayd pki makes the files)",
        ));
    }
    if admin.client_ca_file.is_some() && admin.tls.is_none() {
        return Err(problem(
            "listener.admin.client_ca_file",
            "has no effect without listener.admin.tls",
        ));
    }
    Ok(())
}

fn http(config: &Config) -> Result<(), Problem> {
    let http = &config.http;
    if !(1..=256).contains(&http.max_body_mib) {
        return Err(problem("http.max_body_mib", "expected 1 to 256"));
    }
    if http.max_connections == 0 {
        return Err(problem("http.max_connections", "expected at least 1"));
    }
    for proxy in &http.trusted_proxies {
        if !is_network(proxy) {
            return Err(problem(
                "http.trusted_proxies",
                format!("'{proxy}' is not an address or a network such as 10.0.0.0/8"),
            ));
        }
    }
    for origin in &http.cors_origins {
        let is_origin = origin == "*"
            || url::Url::parse(origin).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https")
                    && url.origin().ascii_serialization() == *origin
            });
        if !is_origin {
            return Err(problem(
                "http.cors_origins",
                format!("'{origin}' is not an origin such as https://app.example.com"),
            ));
        }
    }
    for header in &http.cors_headers {
        // The tokens of RFC 9110; * would not cover the field that carries the key.
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
        if header.is_empty() || !header.bytes().all(token) {
            return Err(problem(
                "http.cors_headers",
                format!("'{header}' is not the name of a header field"),
            ));
        }
    }
    for host in &http.hosts {
        if !is_host(host) {
            return Err(problem(
                "http.hosts",
                format!("'{host}' is not a host name or address, without a port"),
            ));
        }
    }
    Ok(())
}

fn is_host(text: &str) -> bool {
    let name = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    text.parse::<std::net::IpAddr>().is_ok() || (!text.is_empty() && text.bytes().all(name))
}

fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()),
        None => (text, Some(0)),
    };
    match (address.parse::<std::net::IpAddr>(), bits) {
        (Ok(std::net::IpAddr::V4(_)), Some(bits)) => bits <= 32,
        (Ok(std::net::IpAddr::V6(_)), Some(bits)) => bits <= 128,
        _ => false,
    }
}

/// A bare name is for the system's loader to find; a path is ours to look at.
fn library_path(path: &str, library: &Path) -> Result<(), Problem> {
    if library.as_os_str().is_empty() {
        return Err(problem(path, "expected a path or a name such as \"libnvidia-ml.so.1\""));
    }
    let is_name = library.components().count() == 1 && library.is_relative();
    if is_name { Ok(()) } else { readable(path, library) }
}

fn tls_files(path: &str, tls: &TlsFiles) -> Result<(), Problem> {
    readable(&format!("{path}.cert_file"), &tls.cert_file)?;
    secret_file(&format!("{path}.key_file"), &tls.key_file, 1)
}

fn readable(path: &str, file: &Path) -> Result<(), Problem> {
    std::fs::File::open(file)
        .map(drop)
        .map_err(|error| problem(path, format!("cannot read {}: {error}", file.display())))
}

fn secret_file(path: &str, file: &Path, least: usize) -> Result<(), Problem> {
    super::Secret::read(file, least).map(drop).map_err(|error| {
        problem(path, format!("cannot use the secret in {}: {error}", file.display()))
    })
}

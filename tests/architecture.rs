//! The arrows of the house: which room of `relayd` may import which, and which driver crate may be
//! named where. Reads the source as text; a breach names file, line and rule.

#![expect(clippy::unwrap_used, reason = "without the source there is nothing to test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms and their rows. A room imports only from lower rows.
const ROWS: &[(&str, u8)] = &[
    ("domain", 0),
    ("wire", 1),
    ("ledger", 1),
    ("config", 2),
    ("telemetry", 2),
    ("store", 3),
    ("engines", 3),
    ("launch", 3),
    ("pki", 3),
    ("events", 4),
    ("audit", 4),
    ("identity", 5),
    ("catalogue", 5),
    ("fleet", 6),
    ("metering", 6),
    ("observe", 6),
    ("routing", 7),
    ("inference", 8),
    ("api", 12),
    ("admin", 12),
    ("fleet_edge", 12),
    ("ops", 12),
    ("app", 13),
    ("supervisor", 13),
    ("cli", 14),
    ("main", 14),
];

/// Arrows within a row.
const SAME_ROW: &[(&str, &str)] =
    &[("telemetry", "config"), ("identity", "catalogue"), ("app", "supervisor"), ("main", "cli")];

/// Driver crates, and the only rooms that may name them.
const DRIVERS: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("reqwest", &["engines"]),
    ("hyper", &["engines", "api"]),
    ("hyper_util", &["engines", "api"]),
    ("axum", &["api", "ops"]),
    ("tonic", &["admin", "cli"]),
    ("tonic_health", &["admin"]),
    ("tonic_reflection", &["admin"]),
    ("tracing_subscriber", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("rcgen", &["pki"]),
    ("clap", &["cli"]),
    ("moka", &["identity"]),
];

/// Longest source file, in lines: above it a room wants dividing.
const LINES_MAX: usize = 600;
/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];

/// One source file of a room.
struct Source {
    room: String,
    path: String,
    text: String,
}

fn breaches(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let Some(row) = row(&source.room) else {
            found.push(format!("{}: the room '{}' stands in no row", source.path, source.room));
            continue;
        };
        // Tests may build whatever they need around their room.
        let is_test = source.path.ends_with("tests.rs") || source.path.contains("/tests/");
        let code = if is_test {
            ""
        } else {
            source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or("")
        };
        for (n, line) in code.lines().enumerate() {
            let line = line.split("//").next().unwrap_or("");
            let place = format!("{}:{}", source.path, n + 1);
            for other in rooms_named(line) {
                let Some(other_row) = self::row(&other) else { continue };
                let same = other == source.room
                    || SAME_ROW.contains(&(source.room.as_str(), other.as_str()));
                if !same && other_row >= row {
                    found.push(format!(
                        "{place}: {} (row {row}) imports {other} (row {other_row})",
                        source.room
                    ));
                }
            }
            for (driver, allowed) in DRIVERS {
                if names_crate(line, driver) && !allowed.contains(&source.room.as_str()) {
                    found
                        .push(format!("{place}: {driver} is named outside {}", allowed.join(", ")));
                }
            }
        }
    }
    found
}

fn row(room: &str) -> Option<u8> {
    ROWS.iter().find(|(name, _)| *name == room).map(|(_, row)| *row)
}

/// The rooms that a line names through `crate::room` or `crate::{room, ..}`.
fn rooms_named(line: &str) -> Vec<String> {
    let mut named = Vec::new();
    for part in line.split("crate::").skip(1) {
        let words = part
            .strip_prefix('{')
            .map_or_else(|| vec![part], |group| group.split(',').map(str::trim).collect());
        for word in words {
            let end = word.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(word.len());
            named.push(word[..end].to_owned());
        }
    }
    named
}

/// Whether a line names a crate as the head of a path.
fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let is_head = before
            .is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':' && c != '.' && c != '"');
        is_head && after.starts_with("::")
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn room_of(inside: &Path) -> String {
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

#[test]
fn arrows_point_one_way() {
    let src = root().join("relayd/src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    let sources: Vec<Source> = files
        .iter()
        .map(|file| {
            let inside = file.strip_prefix(&src).unwrap();
            let path = format!("relayd/src/{}", inside.display());
            Source { room: room_of(inside), path, text: fs::read_to_string(file).unwrap() }
        })
        .filter(|source| source.room != "lib")
        .collect();
    assert!(sources.len() > 40, "the source was not found");
    let found = breaches(&sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_stay_small_and_names_say_something() {
    let mut files = Vec::new();
    for member in ["relayd", "relay-proto", "relay-tui", "tests"] {
        rust_files(&root().join(member), &mut files);
    }
    let mut found = Vec::new();
    for file in &files {
        let lines = fs::read_to_string(file).unwrap().lines().count();
        if lines > LINES_MAX {
            found.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.display()));
        }
        let stem = file.file_stem().unwrap().to_string_lossy();
        if EMPTY_NAMES.contains(&stem.as_ref()) {
            found.push(format!("{}: a name that says nothing", file.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn workspace_members_keep_to_themselves() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("relayd/domain", &[][..]),
        ("relayd/wire", &["relay-domain"][..]),
        ("relayd/ledger", &["relay-domain"][..]),
        ("relay-proto", &[][..]),
        ("relay-tui", &["relay-proto"][..]),
        ("relayd", &["relay-domain", "relay-ledger", "relay-proto", "relay-wire"][..]),
    ]);
    for (member, allowed) in allowed {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines().filter(|line| line.starts_with("relay")) {
            let name = line.split(['.', ' ', '=']).next().unwrap_or("");
            assert!(allowed.contains(&name), "{member} depends on {name}");
        }
    }
}

#[test]
fn the_test_can_fail() {
    let source = |room: &str, text: &str| Source {
        room: room.into(),
        path: format!("relayd/src/{room}/mod.rs"),
        text: text.into(),
    };
    let wrong = [
        source("store", "use crate::inference::Call;"),
        source("engines", "fn f() { crate::launch::start() }"),
        source("config", "use crate::telemetry::names;"),
        source("wire", "use crate::{config, domain::Ncr};"),
        source("api", "use sqlx::Row;"),
        source("inference", "async fn f(r: axum::Router) {}"),
        source("cellar", ""),
    ];
    for source in wrong {
        let found = breaches(std::slice::from_ref(&source));
        assert_eq!(found.len(), 1, "{}: {found:?}", source.text);
    }
    let right = [
        source("telemetry", "use crate::config::TelemetryConfig;"),
        source("store", "// crate::api is far away\nuse sqlx::Row; use crate::ledger::decide;"),
        source(
            "api",
            "use crate::{domain::Ncr, inference::Reply};\n#[cfg(test)]\nmod tests { use crate::cli; }",
        ),
        source("domain", "const S: &str = \"sqlx::Row\";"),
    ];
    assert_eq!(breaches(&right), Vec::<String>::new());
}

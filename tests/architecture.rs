//! The arrows of the house: which room of `relayd` may import which, and which driver crate may be
//! named where. Reads the source as text; a breach names file, line and rule.

#![expect(clippy::unwrap_used, reason = "without the source there is nothing to test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms and their rows. A room imports only from lower rows. Rooms that are still to come have
/// their row already, so that nobody chooses it in passing.
const ROWS: &[(&str, u8)] = &[
    ("domain", 0),
    ("wire", 1),
    ("ledger", 1),
    ("balance", 1),
    ("config", 2),
    ("telemetry", 2),
    ("store", 3),
    ("engines", 3),
    ("handshake", 3),
    ("hosts", 3),
    ("gpu", 3),
    ("chain", 3),
    ("objects", 3),
    ("egress", 3),
    ("launch", 3),
    ("pki", 3),
    ("events", 4),
    ("audit", 4),
    ("identity", 5),
    ("catalogue", 5),
    ("tokenizer", 5),
    ("fleet", 6),
    ("metering", 6),
    ("observe", 6),
    ("rollouts", 7),
    ("routing", 7),
    ("opengpu", 7),
    ("inference", 8),
    ("files", 9),
    ("webhooks", 9),
    ("tasks", 10),
    ("workflows", 11),
    ("settlement", 11),
    ("api", 12),
    ("admin", 12),
    ("fleet_edge", 12),
    ("ops", 12),
    ("agent", 12),
    ("app", 13),
    ("supervisor", 13),
    ("cli", 14),
    ("main", 14),
];

/// Arrows within a row.
const SAME_ROW: &[(&str, &str)] =
    &[("telemetry", "config"), ("identity", "catalogue"), ("app", "supervisor"), ("main", "cli")];

/// Rooms that reach less far down than their row would let them: the highest row they import.
/// The agent runs on a provider's host, where there is no store and no customer.
const REACH: &[(&str, u8)] = &[("agent", 3)];

/// Crates that only these rooms may name: drivers, and the admin plane's messages.
const DRIVERS: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("reqwest", &["engines", "objects", "egress"]),
    ("hyper", &["engines", "egress", "api", "fleet_edge", "agent"]),
    ("hyper_util", &["engines", "egress", "api", "fleet_edge", "agent"]),
    ("axum", &["api", "ops"]),
    ("tonic", &["admin", "fleet_edge", "agent", "cli"]),
    ("tonic_health", &["admin"]),
    ("tonic_reflection", &["admin"]),
    ("relay_proto", &["admin", "fleet_edge", "agent", "cli", "handshake", "hosts"]),
    ("nvml_wrapper", &["gpu"]),
    ("alloy", &["chain"]),
    ("object_store", &["objects"]),
    ("tracing_subscriber", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("rcgen", &["pki"]),
    ("clap", &["cli"]),
    ("moka", &["identity"]),
    ("statrs", &["rollouts"]),
    ("tokenizers", &["tokenizer"]),
];

/// Crates that are rooms by another name.
const CRATES: &[(&str, &str)] = &[
    ("relay_domain", "domain"),
    ("relay_wire", "wire"),
    ("relay_ledger", "ledger"),
    ("relay_balance", "balance"),
];

/// What the pure crates (`domain`, `wire`, `ledger`, `balance`) never name: whatever has to do with the world.
const WORLD: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io",
    "SystemTime::now",
    "Instant::now",
    "tokio::",
    "tracing::",
];

/// Longest source file, in lines: above it a room wants dividing.
const LINES_MAX: usize = 600;
/// Module names that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc", "manager"];
/// What marks work left undone, or a warning silenced for good. Written apart, lest this file
/// breaks its own rule.
const UNDONE: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("HA", "CK"),
    concat!("unimplem", "ented!"),
    concat!("to", "do!("),
    concat!("not impl", "emented"),
    concat!("#[all", "ow("),
    concat!("#![all", "ow("),
];

/// One source file of a room.
struct Source {
    room: String,
    /// From the repository's root.
    path: String,
    /// Modules between the crate's root and this file's items.
    depth: usize,
    text: String,
}

impl Source {
    fn read(src: &Path, file: &Path) -> Self {
        let inside = file.strip_prefix(src).unwrap();
        let text = fs::read_to_string(file).unwrap();
        Self::new(&inside.to_string_lossy(), &text)
    }

    /// `inside` is the path below `relayd/src`.
    fn new(inside: &str, text: &str) -> Self {
        let modules: Vec<&str> =
            inside.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
        Self {
            room: modules[0].to_owned(),
            path: format!("relayd/src/{inside}"),
            depth: modules.len(),
            text: text.to_owned(),
        }
    }

    /// The code that is built into the daemon, everything else blanked out, at its lines. Tests may
    /// use whatever they need around their room.
    fn code(&self) -> String {
        if self.path.ends_with("tests.rs") || self.path.contains("/tests/") {
            return String::new();
        }
        let mut code = code_of(&self.text);
        if let Some(tests) = code.find("#[cfg(test)]\nmod tests {") {
            code.truncate(tests);
        }
        code
    }
}

fn breaches(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let room = source.room.as_str();
        let Some(row) = row(room) else {
            found.push(format!("{}: the room '{room}' stands in no row", source.path));
            continue;
        };
        let reach = REACH.iter().find(|(name, _)| *name == room).map(|(_, highest)| *highest);
        let code = source.code();
        let mut say = |at: usize, what: String| {
            let line = code[..at].matches('\n').count() + 1;
            found.push(format!("{}:{line}: {what}", source.path));
        };
        let mut named = rooms_named(&code);
        for (name, other) in CRATES {
            named.extend(heads_of(&code, name).map(|at| (at, (*other).to_owned())));
        }
        for (at, other) in named {
            let Some(other_row) = self::row(&other) else { continue };
            let allowed = other == room
                || SAME_ROW.contains(&(room, other.as_str()))
                || (other_row < row && reach.is_none_or(|highest| other_row <= highest));
            if !allowed {
                say(at, format!("{room} (row {row}) imports {other} (row {other_row})"));
            }
        }
        for at in climbs(&code, source.depth) {
            say(at, "climbs out of its room by super".to_owned());
        }
        for (driver, rooms) in DRIVERS.iter().filter(|(_, rooms)| !rooms.contains(&room)) {
            for at in heads_of(&code, driver) {
                say(at, format!("{driver} is named outside {}", rooms.join(", ")));
            }
        }
    }
    found
}

fn row(room: &str) -> Option<u8> {
    ROWS.iter().find(|(name, _)| *name == room).map(|(_, row)| *row)
}

/// The rooms that are named through `crate::room` or `crate::{room, ..}`, and where.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for at in words(code, "crate") {
        let Some(path) = code[at + "crate".len()..].trim_start().strip_prefix("::") else {
            continue;
        };
        let path = path.trim_start();
        let Some(group) = path.strip_prefix('{') else {
            named.push((at, first_word(path)));
            continue;
        };
        let mut nested = 0_u32;
        let mut is_head = true;
        for (n, c) in group.char_indices() {
            match c {
                '{' => nested += 1,
                '}' if nested == 0 => break,
                '}' => nested -= 1,
                ',' if nested == 0 => is_head = true,
                c if is_head && nested == 0 && !c.is_whitespace() => {
                    named.push((at, first_word(&group[n..])));
                    is_head = false;
                }
                _ => {}
            }
        }
    }
    named
}

/// Where a crate is named as the head of a path, or taken by `use`.
fn heads_of<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    words(code, name).filter(move |at| {
        let before = code[..*at].trim_end();
        let after = code[at + name.len()..].trim_start();
        let is_head = !before.ends_with("::") && !before.ends_with('.');
        let is_taken = before.ends_with("use") || before.ends_with("extern crate");
        is_head && (after.starts_with("::") || is_taken)
    })
}

/// Where `super::super::..` leads to the crate's root from a module so deep.
fn climbs(code: &str, depth: usize) -> Vec<usize> {
    let mut found = Vec::new();
    for at in words(code, "super") {
        if code[..at].trim_end().ends_with("::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut steps = 0;
        while let Some(next) = rest.strip_prefix("super") {
            steps += 1;
            let Some(next) = next.trim_start().strip_prefix("::") else { break };
            rest = next.trim_start();
        }
        if steps >= depth {
            found.push(at);
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where a word stands by itself.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word)
    })
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

/// Source with everything blanked out that is no code: comments, texts, characters. Lines stay.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest)).unwrap_or(0);
        if skipped > 0 {
            let (blank, next) = rest.split_at(skipped);
            code.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = next;
        } else if is_word(first) {
            // A whole word at once, so that the `r` of `for` opens no raw text.
            let word = first_word(rest);
            code.push_str(&word);
            rest = &rest[word.len()..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// The length of the comment that a text starts with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut at = text.strip_prefix("/*").map(|_| 2)?;
    let mut open = 1_u32;
    while open > 0 && at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (open, at) = (open + 1, at + 2);
        } else if rest.starts_with("*/") {
            (open, at) = (open - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(at)
}

/// The length of the text or character that a text starts with.
fn literal(text: &str) -> Option<usize> {
    let bare = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - bare.len();
    if prefix > 1 {
        return None;
    }
    if let Some(raw) = bare.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let body = raw[hashes..].strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + 1 + hashes + 1 + length);
    }
    let quote = bare.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut inside = bare[1..].char_indices();
    if quote == '\'' {
        // `'a'` is a character, `'a` a lifetime.
        let mut ahead = bare[1..].chars();
        let first = ahead.next()?;
        if first != '\\' && ahead.next() != Some('\'') {
            return None;
        }
    }
    while let Some((at, c)) = inside.next() {
        match c {
            '\\' => drop(inside.next()),
            c if c == quote => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every source file of the workspace, by its path from the root.
fn workspace() -> Vec<(String, String)> {
    ["relayd", "relay-proto", "relay-tui", "tests"]
        .iter()
        .flat_map(|member| rust_files(&root().join(member)))
        .map(|file| {
            let path = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            (path, fs::read_to_string(file).unwrap())
        })
        .collect()
}

#[test]
fn arrows_point_one_way() {
    let src = root().join("relayd/src");
    let sources: Vec<Source> = rust_files(&src)
        .iter()
        .map(|file| Source::read(&src, file))
        .filter(|source| source.room != "lib")
        .collect();
    assert!(sources.len() > 40, "the source was not found");
    let found = breaches(&sources);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn pure_crates_know_nothing_of_the_world() {
    let mut found = Vec::new();
    for name in ["domain", "wire", "ledger", "balance"] {
        let src = root().join("relayd").join(name).join("src");
        let sources: Vec<Source> =
            rust_files(&src).iter().map(|file| Source::read(&src, file)).collect();
        assert!(!sources.is_empty(), "{name} was not found");
        for source in sources {
            let code = source.code();
            found.extend(
                WORLD
                    .iter()
                    .filter(|word| code.contains(*word))
                    .map(|word| format!("{name}: {} names {word}", source.path)),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn files_stay_small_and_names_say_something() {
    let mut found = Vec::new();
    for (path, text) in workspace() {
        let lines = text.lines().count();
        if lines > LINES_MAX {
            found.push(format!("{path}: {lines} lines, at most {LINES_MAX}"));
        }
        let path_words = path.trim_end_matches(".rs").split('/');
        for word in path_words.filter(|word| EMPTY_NAMES.contains(word)) {
            found.push(format!("{path}: '{word}' is a name that says nothing"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_left_undone() {
    let mut found = Vec::new();
    for (path, text) in workspace() {
        for (n, line) in text.lines().enumerate() {
            let marks = UNDONE.iter().filter(|mark| line.contains(*mark));
            found.extend(marks.map(|mark| format!("{path}:{}: {mark}", n + 1)));
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
        ("relayd/balance", &[][..]),
        ("relay-proto", &[][..]),
        ("relay-tui", &["relay-proto"][..]),
        (
            "relayd",
            &["relay-balance", "relay-domain", "relay-ledger", "relay-proto", "relay-wire"][..],
        ),
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
    let wrong = [
        ("store/mod.rs", "use crate::inference::Call;"),
        ("engines/mod.rs", "fn f() { crate::launch::start() }"),
        ("config/mod.rs", "use crate::telemetry::names;"),
        ("ledger/mod.rs", "use crate::{config::Config, domain::Ncr};"),
        ("store/keys.rs", "use crate::{\n    domain::{Ncr, Id},\n    events::{Event},\n};"),
        ("store/keys.rs", "pub use crate :: metering;"),
        ("engines/mod.rs", "use super::launch;"),
        ("engines/probe.rs", "use super::super::launch;"),
        ("api/mod.rs", "use sqlx::Row;"),
        ("api/mod.rs", "use sqlx as database;"),
        ("inference/mod.rs", "async fn f(r: axum::Router) {}"),
        ("metering/mod.rs", "use relay_proto::admin;"),
        ("domain/mod.rs", "use relay_wire::Surface;"),
        ("agent/mod.rs", "use crate::identity::Key;"),
        ("engines/mod.rs", "const A: char = '\"'; use crate::launch; const B: char = '\"';"),
        ("cellar/mod.rs", ""),
    ];
    for (path, text) in wrong {
        let found = breaches(&[Source::new(path, text)]);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    let right = [
        ("telemetry/mod.rs", "use crate::config::TelemetryConfig;"),
        ("store/mod.rs", "// crate::api is far away\nuse sqlx::Row; use crate::ledger::decide;"),
        ("store/mod.rs", "/* crate::api /* and */ crate::app */ fn f<'a>(x: &'a str) {}"),
        (
            "api/mod.rs",
            "use crate::{domain::Ncr, inference::Reply};\n#[cfg(test)]\nmod tests {\nuse crate::cli; }",
        ),
        ("domain/mod.rs", "const S: &str = \"sqlx::Row \\\" crate::api\";"),
        ("domain/mod.rs", "const S: &str = r#\"a \" crate::api\"#; const C: char = '\\'';"),
        ("store/ledger/writer.rs", "use super::super::error::StoreError;"),
        ("agent/mod.rs", "use crate::engines::Engine;"),
        ("api/tests.rs", "use crate::app::App;"),
    ];
    for (path, text) in right {
        assert_eq!(breaches(&[Source::new(path, text)]), Vec::<String>::new(), "{text}");
    }
    let third = Source::new("store/mod.rs", "use crate::ledger;\n\nuse crate::api;");
    assert!(breaches(&[third])[0].starts_with("relayd/src/store/mod.rs:3: "), "the line is named");
}

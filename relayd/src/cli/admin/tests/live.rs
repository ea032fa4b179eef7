//! The verbs against a real admin plane.

use serde_json::Value;

use super::super::{Problem, run};
use super::parse;
use crate::admin::tests::Plane;
use crate::cli::admin::show::Show;

/// A plane and a contexts file that knows its token.
struct Caller {
    plane: Plane,
    config: tempfile::NamedTempFile,
}

impl Caller {
    async fn new() -> Self {
        let plane = Plane::start().await;
        let config = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "[context.default]\naddr = '{}'\ntoken = '{}'\n\n[context.quiet]\naddr = '{}'\n\
             token = '{}'\nread_only = true\n",
            plane.address, plane.admin, plane.address, plane.admin
        );
        std::fs::write(config.path(), text).unwrap();
        Self { plane, config }
    }

    async fn say(&self, json: bool, line: &str) -> Result<String, Problem> {
        let words = line.split('|').flat_map(|part| match part.strip_prefix('=') {
            Some(word) => vec![word.to_owned()],
            None => part.split_whitespace().map(str::to_owned).collect(),
        });
        let config = self.config.path().display().to_string();
        let line: Vec<_> = words.chain(["--config".to_owned(), config]).collect();
        let arguments = parse(&line.join("\u{1f}")).unwrap();
        let mut show = Show::memory(json);
        run(arguments, &mut show).await.map(|()| show.taken())
    }

    async fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.say(true, line).await.unwrap()).unwrap()
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {value}"))
}

#[tokio::test]
async fn json_is_the_protocols_with_words_and_bare_objects() {
    let caller = Caller::new().await;
    let me = caller.json("whoami").await;
    assert_eq!((text(&me, "/operator"), text(&me, "/role")), ("admin", "admin"));
    assert_eq!(me["protocol"], 1);

    let acme = caller.json("customers create --name Acme --tier basic --credit 2.5").await;
    assert_eq!(
        (text(&acme, "/status"), &acme["balance_ncr"]),
        ("active", &2_500_000_000_i64.into())
    );
    let id = text(&acme, "/customer_id").to_owned();
    let made = caller.json(&format!("keys create --customer {id} --name ci-key --budget 1")).await;
    assert!(text(&made, "/secret").starts_with("relay_sk_"));
    let key = text(&made, "/key/key_id").to_owned();
    assert_eq!(made["key"]["budget_ncr"], 1_000_000_000_i64);

    for (line, list) in [
        ("customers list", "customers"),
        ("keys list", "keys"),
        ("operators list", "operators"),
        ("models list", "models"),
        ("tiers list", "tiers"),
        ("backends list", "backends"),
        ("hosts list", "hosts"),
        ("requests list", "requests"),
        ("events list", "events"),
        ("audit list", "entries"),
    ] {
        let listed = caller.json(line).await;
        let object = listed.as_object().unwrap();
        assert_eq!(object.len(), 1, "{line}: {listed}");
        assert!(object[list].is_array(), "{line}: {listed}");
    }
    let keys = caller.json("keys list").await;
    assert_eq!(text(&keys, "/keys/0/status"), "active");
    assert_eq!(keys["keys"][0]["today"]["requests"], 0);
    assert!(keys["keys"][0]["now"].is_object());
    assert!(keys["keys"][0].get("secret").is_none());

    let overview = caller.json("overview").await;
    assert_eq!(overview["money"]["balances_ncr"], 2_500_000_000_i64);
    assert_eq!(overview["attention"], Value::Array(vec![]));
    let usage = caller.json("usage show --by model,key").await;
    assert_eq!(
        (usage["rows"].as_array().map(Vec::len), &usage["total"]["requests"]),
        (Some(0), &0.into())
    );
    let revoked = caller.json(&format!("keys revoke {key} --reason leaked")).await;
    assert_eq!((text(&revoked, "/status"), &revoked["version"]), ("revoked", &2.into()));
    let report = caller.json("audit verify").await;
    assert_eq!((&report["entries"], &report["broken_at_seq"]), (&3.into(), &0.into()));
    caller.plane.end().await;
}

#[tokio::test]
async fn people_get_tables_dollars_and_utc() {
    let caller = Caller::new().await;
    let acme =
        caller.say(false, "customers create --name |=Acme Inc| --tier basic --credit 2.5").await;
    let acme = acme.unwrap();
    assert!(acme.contains("balance      $2.5\n"), "{acme}");
    let table = caller.say(false, "customers list").await.unwrap();
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("CUSTOMER"));
    assert!(lines.next().unwrap().contains("Acme Inc  basic  active     $2.5"), "{table}");
    let overview = caller.say(false, "overview show").await.unwrap();
    assert!(overview.contains("balances       $2.5"), "{overview}");
    caller.plane.end().await;
}

#[tokio::test]
async fn apply_and_export_round_trip() {
    let caller = Caller::new().await;
    let folder = tempfile::tempdir().unwrap();
    let exported = caller.say(false, "export").await.unwrap();
    std::fs::write(folder.path().join("all.toml"), &exported).unwrap();
    let apply = format!("apply -f {}", folder.path().display());
    let same = caller.say(false, &format!("{apply} --diff")).await.unwrap();
    assert_eq!(same, "nothing to change\n");
    let changed = exported.replace("max_keys = 3", "max_keys = 4");
    assert_ne!(changed, exported);
    std::fs::write(folder.path().join("all.toml"), changed).unwrap();
    let diff = caller.say(false, &format!("{apply} --diff")).await.unwrap();
    assert!(diff.contains("change tier basic\n         max_keys: 3 -> 4\n"), "{diff}");
    assert!(diff.ends_with("not applied: this was only the difference\n"), "{diff}");
    assert!(caller.say(false, &apply).await.unwrap().ends_with("applied\n"));
    assert_eq!(caller.say(false, &apply).await.unwrap(), "nothing to change\n");
    assert!(caller.say(false, "export").await.unwrap().contains("max_keys = 4"));
    caller.plane.end().await;
}

#[tokio::test]
async fn failures_are_one_sentence() {
    let caller = Caller::new().await;
    for (line, words) in [
        ("keys show key_0123456789abcdef", "key"),
        ("keys show nonsense", "is not a key id"),
        ("customers create --name a --tier gold", "tier"),
        ("--context quiet customers create --name a --tier basic", "read-only"),
        ("--context missing whoami", "it has: default, quiet"),
    ] {
        let Problem(text) = caller.say(false, line).await.unwrap_err();
        assert!(text.contains(words), "{line}: {text}");
        assert!(!text.contains('\n'), "{line}: {text}");
    }
    caller.plane.end().await;
}

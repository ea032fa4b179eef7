//! An operator's day in a real terminal: a provider with a card joins, is examined and approved, a
//! model is rolled out to it, a bad revision goes back. What the screen shows is what
//! `relayd admin ... --json` prints at that moment.

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{
    Agent, Caller, FakeNvml, Relay, RelayOptions, Route, Terminal, binary, eventually,
};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Duration;

use crate::figures::{self, agree, delay, number, rate};
use crate::start::tokens;

/// A dialog ignores what was typed before it was seen.
const SEEN: Duration = Duration::from_millis(400);

/// A line of the screen with its air taken out.
fn collapsed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Waits until some line of the screen has these words one after the other.
async fn line(console: &Terminal, words: &str) -> String {
    let has = |screen: &str| screen.lines().any(|line| collapsed(line).contains(words));
    console.until(&format!("a line with '{words}'"), has).await.unwrap()
}

struct Desk {
    relay: Relay,
    console: Terminal,
    agent: Agent,
    nvml: FakeNvml,
    own: Scripted,
    theirs: Scripted,
    _home: tempfile::TempDir,
}

impl Desk {
    /// A console beside a relay to which a provider with a busy card has just come.
    fn new() -> Self {
        let nvml = FakeNvml::build("cards = 1\ncard.0.gpu = 41\n").unwrap();
        let library = nvml.shared_object().display().to_string();
        let own = Scripted::counting(tokens(8)).unwrap();
        let theirs = Scripted::start(tokens(8)).unwrap();
        let relay = RelayOptions::over(&[&own.url]).set("GPU__ENABLED", "false").start().unwrap();
        let home = tempfile::tempdir().unwrap();
        let environment = [
            ("RELAY_OPERATOR_TOKEN", relay.ready.operator_token.as_str()),
            ("HOME", home.path().to_str().unwrap()),
            ("LC_ALL", "C.UTF-8"),
        ];
        let program = binary("relay-tui").unwrap();
        let arguments = ["--addr", relay.ready.admin_addr.as_str()];
        let console = Terminal::start(140, 40, &program, &arguments, &environment).unwrap();
        let ready = relay.dir().join("ready.json");
        let options = ["--nvml-library", &library];
        let mut agent = Agent::join(&ready, "gpu-1", &[&theirs.url], &options).unwrap();
        agent.run().unwrap();
        Self { relay, console, agent, nvml, own, theirs, _home: home }
    }

    fn provider(&self) -> Value {
        self.relay.admin(&["providers", "show", &self.agent.provider]).unwrap()
    }

    fn rollout(&self) -> Value {
        self.relay.admin(&["rollouts", "show", MODEL]).unwrap()
    }

    async fn types(&self, keys: &str) {
        tokio::time::sleep(SEEN).await;
        self.console.keys(keys).unwrap();
    }

    /// The provider is decided about where what needs a person leads to.
    async fn examines_and_approves(&self) {
        line(&self.console, "provider gpu-1 waits").await;
        self.console.keys("\r").unwrap();
        line(&self.console, "PENDING gpu-1 1x H100").await;
        let found = self.provider();
        assert_eq!(found["state"], "pending", "{found}");
        line(&self.console, "missing nothing, the evidence is complete").await;
        for shown in ["provider_id", "payout_address"] {
            line(&self.console, found[shown].as_str().unwrap()).await;
        }
        for engine in found["engines"].as_array().unwrap() {
            for run in engine["benchmarks"].as_array().unwrap() {
                let words = [
                    engine["name"].as_str().unwrap().to_owned(),
                    run["concurrency"].to_string(),
                    rate(number(&run["tokens_per_ks"])),
                    delay(number(&run["ttft_p50_ms"])),
                    delay(number(&run["ttft_max_ms"])),
                    run["requests"].to_string(),
                    run["failed"].to_string(),
                ];
                line(&self.console, &words.join(" ")).await;
            }
        }
        self.console.keys("a").unwrap();
        line(&self.console, "Approve gpu-1?").await;
        self.types("y").await;
        line(&self.console, "approved gpu-1 1x H100").await;
        assert_eq!(self.provider()["state"], "approved");
    }

    /// Its card, its loss and its return.
    async fn watches_the_card(&self) {
        self.console.keys("2").unwrap();
        let list = self.relay.admin(&["hosts", "show", &self.agent.provider]).unwrap();
        let card = &list["gpus"]["cards"][0];
        let (used, celsius) = (number(&card["gpu_pct"]), number(&card["temperature_celsius"]));
        let watts = number(&card["power_draw_mw"]) / 1_000;
        let limit = number(&card["power_limit_mw"]) / 1_000;
        line(&self.console, &format!("gpu-1 0 H100 80GB HBM3 {used}%")).await;
        line(&self.console, &format!("{celsius}C {watts}/{limit} {}", card["sm_clock_mhz"])).await;
        self.nvml.say("cards = 1\ncard.0.error = 15\n").unwrap();
        line(&self.console, "LOST gpu-1 0").await;
        self.console.keys("1").unwrap();
        line(&self.console, "gpu 0 of gpu-1 is lost").await;
        self.nvml.say("cards = 1\ncard.0.gpu = 41\n").unwrap();
        self.console.keys("2").unwrap();
        line(&self.console, "ok gpu-1 0").await;
    }

    /// Every figure of the three screens at this moment: lists, panels, and what enter opens.
    async fn compares_every_figure(&self) {
        let (relay, console) = (&self.relay, &self.console);
        let provider = self.agent.provider.as_str();
        let cards = "1x H100 80GB HBM3";
        self.opens("2", "gpu-1 0").await;
        let hosts = ["hosts", "list"];
        agree(relay, console, &hosts, |page, json| figures::gpus::page(page, json, "gpu-1", MODEL))
            .await;
        self.opens("\r", "esc close").await;
        agree(relay, console, &hosts, |page, json| {
            figures::gpus::whole(page, json, "gpu-1", MODEL)
        })
        .await;
        self.closes().await;
        self.opens("6", "approved gpu-1").await;
        let show = ["providers", "show", provider];
        agree(relay, console, &show, |page, json| figures::providers::page(page, json, cards))
            .await;
        self.opens("\r", "esc close").await;
        agree(relay, console, &show, |page, json| figures::providers::whole(page, json, cards))
            .await;
        self.closes().await;
        self.opens("4", "ROLLED BACK").await;
        let show = ["rollouts", "show", MODEL];
        agree(relay, console, &show, figures::models::page).await;
        self.opens("\r", "esc close").await;
        agree(relay, console, &show, figures::models::whole).await;
        self.closes().await;
    }

    /// Closes what lies over the screen.
    async fn closes(&self) {
        self.console.keys("\u{1b}").unwrap();
        let gone = |screen: &str| !screen.contains("esc close");
        self.console.until("the page below", gone).await.unwrap();
    }

    /// Presses a key and waits for the words of what it opens.
    async fn opens(&self, key: &str, words: &str) {
        self.console.keys(key).unwrap();
        line(&self.console, words).await;
    }

    /// Makes a revision of one backend, as it is revision `number`.
    async fn revises(&self, backend: &str, number: u64) {
        self.console.keys("e").unwrap();
        line(&self.console, &format!("New revision of {MODEL}")).await;
        // ^u empties the field of what serves now; then note, temperature, top_p, tokens, reason.
        self.types(&format!("\u{15}{backend}\rby hand\r0.7\r\r\r\r\r")).await;
        line(&self.console, &format!("r{number} idle")).await;
        let made = &self.rollout()["revisions"][0];
        let parameters = &made["parameters"];
        assert_eq!(
            (self::number(&made["number"]), &made["note"], &parameters["temperature_milli"]),
            (number, &"by hand".into(), &700.into()),
            "{made}"
        );
        assert_eq!(made["targets"][0]["backend_id"], backend);
    }

    /// Bounds what the provider may do, and takes the bounds away again.
    async fn bounds_the_provider(&self) {
        self.console.keys("e").unwrap();
        line(&self.console, "Limits of gpu-1").await;
        self.types(&format!("\u{15}{MODEL}\r\u{15}3\r0.5\rtoo busy\r\r")).await;
        line(&self.console, &format!("limits 3 at once each, only {MODEL}, from $0.5000")).await;
        let found = self.provider();
        assert_eq!(
            (number(&found["max_concurrency"]), &found["models_allowed"][0]),
            (3, &MODEL.into()),
            "{found}"
        );
        assert_eq!(found["price_floor_ncr"], 500_000_000, "{found}");
        self.console.keys("e").unwrap();
        line(&self.console, "Limits of gpu-1").await;
        self.types("\u{15}all\r\u{15}0\r\u{15}\r\r\r").await;
        line(&self.console, "limits -").await;
    }

    /// Fills in the form of a new rollout and waits until it runs: its steps, the least time of one,
    /// the least requests, and how much worse its errors may be.
    async fn starts(&self, revision: u64, [steps, window, requests, errors]: [&str; 4]) {
        line(&self.console, &format!("r{revision} idle")).await;
        self.console.keys("n").unwrap();
        line(&self.console, &format!("revision {revision} its number")).await;
        // Then patience, shadow and alpha, four gates and the canaries, the reason, the button.
        let plan = format!("{steps}\r{window}\r{requests}\r\r\r\r{errors}\r\r\r\r\r\r");
        self.types(&format!("\r{plan}from the keyboard\r\r")).await;
        line(&self.console, "next 50%").await;
        line(&self.console, &format!("rolling {MODEL}")).await;
        let rollout = &self.rollout()["rollout"];
        assert_eq!(
            (&rollout["state"], number(&rollout["share_permille"])),
            (&"running".into(), 500)
        );
        let gates = &rollout["plan"]["gates"];
        let tenth: f64 = errors.parse().unwrap();
        assert_eq!(gates["errors_ppm"].as_f64(), Some(tenth * 10_000.0), "{gates}");
        assert_eq!(number(&gates["ttft_ppm"]), 200_000, "{gates}");
    }

    /// Past a step that leaves nothing to compare with: by name and with a reason.
    async fn advances_by_name(&self) {
        self.console.keys("a").unwrap();
        line(&self.console, &format!("Advance {MODEL}?")).await;
        self.types(&format!("{MODEL}\rlooked at it\t\t\r")).await;
    }

    async fn rolls_out_to_the_provider(&self, theirs: &str) {
        self.console.keys("4").unwrap();
        line(&self.console, &format!("stable {MODEL}")).await;
        self.revises(theirs, 2).await;
        self.starts(2, ["50,100", "600", "", "0.4"]).await;
        self.console.keys("h").unwrap();
        line(&self.console, "<50% PAUSED>").await;
        line(&self.console, &format!("PAUSED {MODEL}")).await;
        assert_eq!(self.rollout()["rollout"]["state"], "paused");
        self.console.keys("u").unwrap();
        line(&self.console, "Resume").await;
        self.types("y").await;
        line(&self.console, "<50%>").await;
        line(&self.console, &format!("rolling {MODEL}")).await;
        self.advances_by_name().await;
        line(&self.console, "<100%>").await;
        line(&self.console, &format!("rolling {MODEL}")).await;
        self.advances_by_name().await;
        line(&self.console, "50% ok > 100% ok").await;
        let shown = self.rollout();
        assert_eq!(
            (number(&shown["live_revision"]), &shown["rollout"]["state"]),
            (2, &"completed".into())
        );
        let before = self.theirs.requests();
        let body = Route::Openai.body(MODEL, 4, false);
        assert_eq!(Caller::of(&self.relay).chat(Route::Openai, &body).await.unwrap().status, 200);
        assert_eq!(self.theirs.requests(), before + 1, "the provider serves");
    }

    /// One in five of its requests fails: it goes back while nobody touches a key.
    async fn sees_a_bad_revision_go_back(&self, own: &str) {
        self.own.then(Script::Flaky { count: 8, every: 5 });
        self.revises(own, 3).await;
        self.starts(3, ["50,100", "60", "50", "0.5"]).await;
        let caller = Caller::of(&self.relay);
        let ended = eventually("the rollout to go back", async || {
            let mut asking = JoinSet::new();
            for _ in 0..16 {
                let caller = caller.clone();
                asking.spawn(async move {
                    caller.chat(Route::Openai, &Route::Openai.body(MODEL, 40, false)).await
                });
            }
            asking.join_all().await;
            let rollout = self.rollout()["rollout"].clone();
            Ok((rollout["state"] == "rolled_back").then_some(rollout))
        })
        .await
        .unwrap();
        let reason = ended["state_reason"].as_str().unwrap();
        line(&self.console, "steps 50% FAILED > 100%").await;
        let begun: String = reason.chars().take(27).collect();
        line(&self.console, &collapsed(&begun)).await;
        eventually("the figures of the step", async || {
            let rollout = self.rollout()["rollout"].clone();
            let requests = |figures: &str| number(&rollout[figures]["requests"]);
            let words = format!("requests {} {}", requests("from_figures"), requests("to_figures"));
            let shown = self.console.screen().lines().any(|line| collapsed(line).contains(&words));
            Ok(shown.then_some(()))
        })
        .await
        .unwrap();
        assert_eq!(number(&self.rollout()["live_revision"]), 2);
        line(&self.console, "r2 live").await;
        self.console.keys("1").unwrap();
        line(&self.console, &format!("rollout {MODEL} r3 rolled bac")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_joins_is_approved_takes_a_model_and_a_bad_revision_goes_back() {
    let mut desk = Desk::new();
    desk.examines_and_approves().await;
    desk.bounds_the_provider().await;
    desk.watches_the_card().await;
    let backends = eventually("the provider's backend", async || {
        let list = desk.relay.admin(&["backends", "list"])?;
        let rows = list["backends"].as_array().cloned().unwrap_or_default();
        let up = |theirs: bool| {
            let mut all = rows.iter().filter(|row| (row["provider_id"] != "") == theirs);
            let row = all.find(|row| row["state"] == "up")?;
            Some(row["backend_id"].as_str()?.to_owned())
        };
        Ok(up(false).zip(up(true)))
    });
    let (own, theirs) = backends.await.unwrap();
    desk.rolls_out_to_the_provider(&theirs).await;
    desk.sees_a_bad_revision_go_back(&own).await;
    desk.compares_every_figure().await;
    for page in ["gpus", "models", "providers"] {
        let printed = std::process::Command::new(binary("relay-tui").unwrap())
            .args(["--addr", &desk.relay.ready.admin_addr, "once", page, "--json"])
            .env("RELAY_OPERATOR_TOKEN", &desk.relay.ready.operator_token)
            .output()
            .unwrap();
        let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
        let rows = printed.as_object().unwrap().values().next().unwrap().as_array().unwrap();
        assert!(!rows.is_empty(), "{page}: {printed}");
        match page {
            "models" => assert_eq!(rows[0]["rollout"], desk.rollout()["rollout"]),
            "providers" => assert_eq!(rows[0]["engines"], desk.provider()["engines"]),
            _ => assert!(rows.iter().any(|host| host["name"] == "gpu-1"), "{printed}"),
        }
    }
    desk.console.keys("q").unwrap();
    assert!(desk.console.end().await.unwrap().success());
}

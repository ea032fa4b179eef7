//! A daemon's story for tests, with a clock that stands still.

use std::collections::BTreeMap;

use ratatui::backend::{Backend as _, TestBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::models::models;
use super::rooms::{hosts, providers};
use crate::keymap::{Code, Keymap, Press};
use crate::model::data::{
    Attention, AuditEntry, Backend, BackendState, Breaker, Customer, Event, Fleet, Key, KeyUsage,
    Limits, Money, OverviewPatch, Request, RequestState, Role, Rows, Served, Session, Severity,
    Traffic,
};
use crate::model::layout::Size;
use crate::model::link::{LinkState, Stream};
use crate::model::{Context, GlyphSet, Model, Now, Screen};
use crate::msg::{Cmd, Msg, Told, Update};
use crate::{update, view};

pub(super) const SMALL: Size = Size { width: 80, height: 24 };
pub(super) const LARGE: Size = Size { width: 140, height: 40 };
/// 2026-03-02 14:07:31Z.
pub(super) const NOON: i64 = 1_772_460_451_000;
/// The console has run for a minute.
const STARTED: u64 = 60_000;

/// A console under test: messages in, commands out, pages as text.
pub(super) struct World {
    pub(super) model: Model,
    pub(super) now: Now,
}

impl World {
    /// Just started, nothing heard yet.
    pub(super) fn new(size: Size) -> Self {
        let context = Context {
            name: "prod-eu".into(),
            addr: "relay.example.com:8701".into(),
            ..Context::default()
        };
        let mut model = Model::new(context, Keymap::with(&BTreeMap::new()).unwrap());
        model.glyphs = GlyphSet::Ascii;
        model.size = size;
        let now = Now { wall_ms: NOON, mono_ms: STARTED };
        let mut world = Self { model, now };
        world.send(Msg::Resized(size));
        world
    }

    /// Connected as an admin to a busy daemon.
    pub(super) fn live(size: Size) -> Self {
        Self::as_role(size, Role::Admin)
    }

    pub(super) fn as_role(size: Size, role: Role) -> Self {
        let mut world = Self::connected(size, role);
        world.data(Stream::Overview, Update::Overview(overview()));
        world.data(Stream::Backends, Update::Backends(Rows::Snapshot(backends())));
        world.data(Stream::Hosts, Update::Hosts(Rows::Snapshot(hosts())));
        world.data(Stream::Providers, Update::Providers(Rows::Snapshot(providers())));
        world.data(Stream::Models, Update::Models(Rows::Snapshot(models())));
        world.data(Stream::Keys, Update::Keys(Rows::Snapshot(keys())));
        world.data(Stream::Requests, Update::Requests(Rows::Snapshot(requests())));
        world.data(Stream::Events, Update::Events(Rows::Snapshot(events())));
        history(&mut world.model);
        world
    }

    /// Connected to a daemon that has nothing yet.
    pub(super) fn empty(size: Size) -> Self {
        let mut world = Self::connected(size, Role::Admin);
        let calm = OverviewPatch {
            traffic: Some(Traffic::default()),
            money: Some(Money::default()),
            fleet: Some(Fleet::default()),
            attention: Some(Vec::new()),
        };
        world.data(Stream::Overview, Update::Overview(calm));
        world.data(Stream::Backends, Update::Backends(Rows::Snapshot(Vec::new())));
        world.data(Stream::Hosts, Update::Hosts(Rows::Snapshot(Vec::new())));
        world.data(Stream::Providers, Update::Providers(Rows::Snapshot(Vec::new())));
        world.data(Stream::Models, Update::Models(Rows::Snapshot(Vec::new())));
        world.data(Stream::Keys, Update::Keys(Rows::Snapshot(Vec::new())));
        world.data(Stream::Requests, Update::Requests(Rows::Snapshot(Vec::new())));
        world.data(Stream::Events, Update::Events(Rows::Snapshot(Vec::new())));
        world
    }

    fn connected(size: Size, role: Role) -> Self {
        let mut world = Self::new(size);
        world.link(LinkState::Live);
        world.tell(Told::Session(Session {
            operator: "jo".into(),
            role,
            relay: "prod-eu".into(),
            version: "0.1.0".into(),
            commit: "abcdef1".into(),
            protocol: 1,
            started_at_ms: NOON - 1_051_200_000,
            now_ms: NOON,
        }));
        world
    }

    /// Live, then cut for 41 seconds.
    pub(super) fn stale(size: Size) -> Self {
        let mut world = Self::live(size);
        world.tell(Told::State {
            state: LinkState::Backoff { failures: 4, until_ms: STARTED + 43_000 },
            problem: Some("is relayd running? http://relay:8701 refuses connections".into()),
        });
        world.pass(41_000);
        world
    }

    pub(super) fn link(&mut self, state: LinkState) {
        self.tell(Told::State { state, problem: None });
    }

    pub(super) fn tell(&mut self, told: Told) -> Vec<Cmd> {
        self.send(Msg::Link(told))
    }

    pub(super) fn data(&mut self, stream: Stream, update: Update) {
        self.tell(Told::Data { stream, bytes: 100, update });
    }

    pub(super) fn send(&mut self, msg: Msg) -> Vec<Cmd> {
        update::update(&mut self.model, self.now, msg)
    }

    /// Time goes by, with the ticks of a second.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        while self.now.mono_ms < end {
            let step = (end - self.now.mono_ms).min(1_000);
            self.now.mono_ms += step;
            self.now.wall_ms += i64::try_from(step).unwrap();
            if step == 1_000 {
                self.send(Msg::Tick);
            }
        }
    }

    pub(super) fn go(&mut self, screen: Screen) -> &mut Self {
        self.keys(&screen.number().to_string());
        self
    }

    /// Types each character.
    pub(super) fn keys(&mut self, keys: &str) -> Vec<Cmd> {
        keys.chars().flat_map(|c| self.send(Msg::Press(Press::char(c)))).collect()
    }

    pub(super) fn press(&mut self, code: Code) -> Vec<Cmd> {
        self.send(Msg::Press(Press::plain(code)))
    }

    /// Waits until an open dialog listens.
    pub(super) fn settle(&mut self) -> &mut Self {
        self.pass(301);
        self
    }

    pub(super) fn buffer(&self) -> Buffer {
        let Size { width, height } = self.model.size;
        let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width, height });
        view::draw(&self.model, &mut buffer);
        buffer
    }

    /// The page on a terminal of tests.
    pub(super) fn page(&self) -> TestBackend {
        let Size { width, height } = self.model.size;
        let mut terminal = TestBackend::new(width, height);
        let page = self.buffer();
        let cells = page.content.iter().enumerate().map(|(at, cell)| {
            let (x, y) = page.pos_of(at);
            (x, y, cell)
        });
        terminal.draw(cells).unwrap();
        terminal
    }

    pub(super) fn text(&self) -> String {
        let page = self.buffer();
        let mut text = String::new();
        for y in 0..page.area.height {
            let line: String = (0..page.area.width).map(|x| page[(x, y)].symbol()).collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

pub(super) fn overview() -> OverviewPatch {
    OverviewPatch {
        traffic: Some(Traffic {
            requests_per_ks: 184_200,
            tokens_in_per_ks: 6_100_000,
            tokens_out_per_ks: 35_800_000,
            errors_ppm: 3_100,
            shed: 0,
            in_flight: 61,
            streams: 58,
            queued: 3,
            oldest_queued_ms: 4_000,
            ttft_p50_ms: 212,
            ttft_p95_ms: 890,
            ttft_p99_ms: 1_900,
        }),
        money: Some(Money {
            charged_today_ncr: 1_204_330_000_000,
            held_ncr: 31_100_000_000,
            balances_ncr: 18_440_910_000_000,
            open_holds: 61,
            checked_at_ms: NOON - 31_000,
            breaches: 0,
        }),
        fleet: Some(Fleet { backends: 6, up: 4, down: 1, cordoned: 1 }),
        attention: Some(vec![
            attention(
                Severity::Warning,
                "key acme-prod at 80% of its budget",
                "keys",
                "key-1",
                540,
            ),
            attention(
                Severity::Critical,
                "vllm-c is down, nothing else serves flux.1",
                "backends",
                "vllm-c",
                42,
            ),
            attention(Severity::Warning, "key beta-lab was limited 312 times", "keys", "key-4", 60),
        ]),
    }
}

fn attention(severity: Severity, text: &str, screen: &str, subject: &str, age_s: i64) -> Attention {
    Attention {
        id: String::new(),
        severity,
        text: text.into(),
        screen: screen.into(),
        subject: subject.into(),
        since_ms: NOON - age_s * 1_000,
    }
}

pub(super) fn backend(id: &str, model: &str, state: BackendState, running: u32) -> Backend {
    Backend {
        id: id.into(),
        dialect: "openai".into(),
        engine: "vllm".into(),
        base_url: format!("http://10.0.0.7:8000/{id}"),
        state,
        since_ms: NOON - 3_600_000,
        weight: 100,
        max_concurrency: 64,
        queue_limit: 256,
        running,
        ttft_p50_ms: 210,
        ttft_p95_ms: 900 + running,
        requests: 148_204,
        failures: 12,
        tokens_out: 41_900_000,
        models: vec![Served { model: model.into(), upstream: format!("org/{model}") }],
        version: 7,
        probed_at_ms: NOON - 2_000,
        ..Backend::default()
    }
}

pub(super) fn backends() -> Vec<Backend> {
    let mut half = backend("sgl-b", "qwen3-32b", BackendState::Up, 0);
    half.breaker = Breaker::Open;
    half.breaker_until_ms = NOON + 9_000;
    half.recent_failures_ppm = 620_000;
    let mut down = backend("vllm-c", "flux.1", BackendState::Down, 0);
    down.since_ms = NOON - 42_000;
    down.reason = "connect refused, 3 of 3 probes".into();
    down.breaker = Breaker::Open;
    let mut busy = backend("sgl-a", "qwen3-32b", BackendState::Up, 64);
    busy.queued = 5;
    vec![
        backend("vllm-a", "llama-3.3", BackendState::Up, 38),
        backend("vllm-b", "llama-3.3", BackendState::Up, 35),
        busy,
        half,
        down,
        backend("old-one", "llama-3.3", BackendState::Cordoned, 2),
    ]
}

struct Use(u64, u64, u64, i64);

fn key(no: u8, name: &str, customer: &str, budget: Option<i64>, used: Use) -> Key {
    let Use(per_ks, tokens, requests, charged_ncr) = used;
    Key {
        id: format!("key-{no}"),
        customer_id: format!("cus-{no}"),
        customer: customer.into(),
        name: name.into(),
        prefix: format!("relay_sk_{no}Qd1xYz0AbC"),
        tier: "pro".into(),
        budget_ncr: budget,
        created_at_ms: NOON - 86_400_000 * 30,
        last_used_at_ms: if requests > 0 { NOON - 1_000 } else { 0 },
        version: 3,
        today: KeyUsage {
            requests,
            tokens_in: tokens / 3,
            tokens_out: tokens - tokens / 3,
            charged_ncr,
            ttft_p50_ms: 210,
            ttft_p95_ms: 900,
            ..KeyUsage::default()
        },
        in_flight: u32::try_from(per_ks / 3_000).unwrap(),
        requests_per_ks: per_ks,
        ..Key::default()
    }
}

pub(super) fn keys() -> Vec<Key> {
    const USD: i64 = 1_000_000_000;
    let mut limited = key(
        4,
        "beta-lab",
        "beta lab",
        Some(86 * USD),
        Use(31_900, 4_400_000, 9_000, 12_900_000_000),
    );
    limited.today.limited = 312;
    limited.limits = Limits { direct: Some(600), ..Limits::default() };
    let mut failing = key(5, "intern-2", "internal", None, Use(9_000, 300_000, 800, 880_000_000));
    failing.today.errors = 57;
    let mut revoked = key(6, "old-app", "acme gmbh", None, Use(0, 0, 0, 0));
    revoked.revoked = true;
    revoked.revoked_at_ms = NOON - 7_200_000;
    vec![
        key(1, "acme-prod", "acme gmbh", Some(20 * USD), Use(61_200, 14_800_000, 61_000, 80 * USD)),
        key(
            2,
            "shop-bot",
            "shop sro",
            Some(30 * USD),
            Use(44_000, 6_200_000, 40_000, 21_140_000_000),
        ),
        key(3, "nightly", "internal", None, Use(18_800, 9_100_000, 2_000, 17_310_000_000)),
        limited,
        failing,
        revoked,
    ]
}

pub(super) fn requests() -> Vec<Request> {
    let one = |no: i64, state, key: u8, name: &str, backend: &str, out| Request {
        id: format!("req-{no:04}"),
        key_id: format!("key-{key}"),
        key_name: name.into(),
        scope: "direct.own.llama-3.3".into(),
        backend: backend.into(),
        state,
        stream: true,
        tokens_in: 412,
        tokens_out: out,
        created_at_ms: NOON - no * 700,
        ttft_ms: 210,
        duration_ms: 4_200,
        ..Request::default()
    };
    let mut done = one(5, RequestState::Completed, 1, "acme-prod", "vllm-a", 512);
    done.charged_ncr = 1_204_000;
    let mut failed = one(6, RequestState::Failed, 5, "intern-2", "vllm-c", 0);
    failed.error_code = "upstream_unavailable".into();
    vec![
        one(1, RequestState::Prefill, 1, "acme-prod", "vllm-a", 0),
        one(2, RequestState::Streaming, 1, "acme-prod", "vllm-b", 87),
        one(3, RequestState::Streaming, 2, "shop-bot", "vllm-a", 203),
        one(4, RequestState::Queued, 3, "nightly", "", 0),
        done,
        failed,
    ]
}

pub(super) fn event(
    seq: u64,
    age_s: i64,
    kind: &str,
    severity: Severity,
    subject: &str,
    text: &str,
) -> Event {
    Event {
        seq,
        id: seq.to_string(),
        at_ms: NOON - age_s * 1_000,
        kind: kind.into(),
        severity,
        subject: subject.into(),
        text: text.into(),
    }
}

fn events() -> Vec<Event> {
    use Severity::{Critical, Info, Warning};
    vec![
        event(918_233, 2, "backend.down", Critical, "vllm-c", "failed probe 3/3, breaker opened"),
        event(918_232, 19, "rate.limited", Warning, "beta-lab", "600 requests a minute reached"),
        event(918_231, 33, "key.budget", Warning, "acme-prod", "80% of its budget is spent"),
        event(918_230, 60, "key.created", Info, "intern-2", "made by jo"),
        event(918_229, 171, "backend.up", Info, "vllm-b", "probe answered in 12 ms"),
        event(918_228, 300, "catalogue.applied", Info, "", "2 prices changed"),
    ]
}

pub(super) fn audit() -> Vec<AuditEntry> {
    let one = |seq: u64, action: &str, object: &str, reason: &str| AuditEntry {
        seq,
        id: seq.to_string(),
        at_ms: NOON - 60_000,
        operator: "maria".into(),
        role: "admin".into(),
        action: action.into(),
        object: object.into(),
        request_id: "0b0e7a52-0000-4000-8000-000000000000".into(),
        reason: reason.into(),
        before: r#"{"weight":100}"#.into(),
        after: r#"{"weight":50}"#.into(),
        hash: "ab".repeat(32),
    };
    vec![
        one(2, "BackendsService/SetBackendWeight", "vllm-a", "canary"),
        one(1, "KeysService/RevokeKey", "old-app", "leaked on a forum"),
    ]
}

pub(super) fn customers() -> Vec<Customer> {
    [("cus-1", "acme gmbh", false), ("cus-2", "shop sro", false), ("cus-9", "gone ag", true)]
        .map(|(id, name, suspended)| Customer {
            id: id.into(),
            name: name.into(),
            tier: "pro".into(),
            suspended,
            balance_ncr: 5_000_000_000,
        })
        .to_vec()
}

/// A minute of charts with a gap in it.
fn history(model: &mut Model) {
    let gpus: Vec<String> = model.gpus.all().iter().map(|gpu| gpu.id.clone()).collect();
    for second in 0..60_u16 {
        let seen = !(20..24).contains(&second);
        let wave = |scale: f32| seen.then_some(f32::from(second % 17 + second / 4) * scale);
        model.overview.requests.push(wave(9.0));
        model.overview.tokens.push(wave(1_700.0));
        for id in ["vllm-a", "vllm-c", "sgl-a"] {
            model.histories.entry(id.to_owned()).or_default().push(wave(2.0));
        }
        for (at, id) in (0..).zip(&gpus) {
            let scaled = |scale: f32| wave(scale * f32::from(at % 4 + 1_u16));
            let history = model.gpu_history.entry(id.clone()).or_default();
            history.push([scaled(0.7), scaled(600.0), scaled(5.0)]);
        }
        model.key_history.entry("key-1".to_owned()).or_default().push(wave(3.0));
    }
}

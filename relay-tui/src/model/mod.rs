//! What the console knows: rows, selections, dialogs, how the link stands.
//!
//! Plain values only. It knows neither the terminal nor the protocol; `update` changes it, `view`
//! reads it. Time comes in as [`Now`], so that every test has its own clock.

use std::collections::BTreeMap;

pub(crate) mod call;
pub(crate) mod columns;
pub(crate) mod data;
pub(crate) mod filter;
mod followed;
pub(crate) mod gpus;
pub(crate) mod input;
pub(crate) mod layout;
pub(crate) mod link;
pub(crate) mod list;
pub(crate) mod overlay;
pub(crate) mod providers;
pub(crate) mod rollouts;
pub(crate) mod rows;
pub(crate) mod screens;
pub(crate) mod series;
pub(crate) mod table;
pub(crate) mod tabs;

use self::call::Verb;
use self::data::{
    Attention, AuditEntry, Backend, Customer, Event, Fleet, Key, ModelUsage, Money, Request, Role,
    Session, Severity, Traffic,
};
use self::gpus::{Gpu, GpuHistory, Grouping, Host};
use self::input::Input;
use self::layout::{Panel, Size};
use self::link::{LAG_AFTER_MS, Link, LinkState, Stream};
use self::list::List;
use self::overlay::Overlay;
use self::providers::Provider;
use self::rollouts::ModelRow;
pub(crate) use self::screens::Screen;
use self::series::Series;
use self::table::{Sort, Table};
use crate::keymap::Keymap;
use crate::zone::Zone;

/// How long a message stays.
pub(crate) const TOAST_MS: u64 = 5_000;
/// How long an unlock lasts.
pub(crate) const UNLOCK_MS: u64 = 600_000;
/// Backends whose history is kept; a page shows one at a time.
const HISTORIES_MAX: usize = 64;
/// Difference between the daemon's clock and ours that is corrected.
const CLOCK_STEP_MS: i64 = 500;
/// Seconds that charts can show.
pub(crate) const RANGES_S: [usize; 4] = [60, 180, 300, 600];

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds since the Unix epoch.
    pub(crate) wall_ms: i64,
    /// Milliseconds since the console started; never goes back.
    pub(crate) mono_ms: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ThemeName {
    /// The terminal's own 16 colours on its own background.
    #[default]
    Default,
    /// For light backgrounds.
    Light,
    /// Blue and orange, for colour-blind eyes.
    ColourBlind,
    /// No colour at all.
    Mono,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GlyphSet {
    #[default]
    Unicode,
    Ascii,
    Braille,
}

/// A daemon that can be spoken to, as far as the screens care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    /// Empty when only an address was given.
    pub(crate) name: String,
    pub(crate) addr: String,
    pub(crate) production: bool,
    pub(crate) read_only: bool,
}

/// A message that goes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toast {
    pub(crate) severity: Severity,
    pub(crate) text: String,
    pub(crate) until_ms: u64,
}

/// A call that has no answer yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenCall {
    pub(crate) no: u64,
    pub(crate) verb: Verb,
    pub(crate) object: String,
    pub(crate) name: String,
    /// The link broke before the answer.
    pub(crate) unknown: bool,
}

/// The overview and its history.
#[derive(Clone, Debug)]
pub(crate) struct Overview {
    pub(crate) loaded: bool,
    pub(crate) traffic: Traffic,
    pub(crate) money: Money,
    pub(crate) fleet: Fleet,
    pub(crate) attention: Table<Attention>,
    pub(crate) requests: Series,
    pub(crate) tokens: Series,
}

impl Default for Overview {
    fn default() -> Self {
        Self {
            loaded: false,
            traffic: Traffic::default(),
            money: Money::default(),
            fleet: Fleet::default(),
            // The most severe first, then what has waited longest.
            attention: Table::new(Sort { field: "urgency", descending: true }),
            requests: Series::default(),
            tokens: Series::default(),
        }
    }
}

/// What is asked once for the selected key.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyUsageRead {
    pub(crate) key_id: String,
    pub(crate) rows: Vec<ModelUsage>,
    pub(crate) asked_ms: u64,
}

/// How `s` waits for its second key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Typing {
    #[default]
    Nothing,
    /// The filter line is open.
    Filter,
    /// The next key names the column.
    SortKey,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) now: Now,
    pub(crate) size: Size,
    pub(crate) theme: ThemeName,
    /// Colours of the operator's own, over the theme's.
    pub(crate) colours: Colours,
    /// In which times are shown.
    pub(crate) zone: Zone,
    /// The zone of this machine.
    pub(crate) local_zone: Zone,
    pub(crate) glyphs: GlyphSet,
    pub(crate) keymap: Keymap,
    /// Given on the command line: nothing unlocks it.
    pub(crate) forced_read_only: bool,
    pub(crate) contexts: Vec<Context>,
    pub(crate) context: Context,
    /// Changes are allowed in a production context until this moment.
    pub(crate) unlocked_until_ms: Option<u64>,
    pub(crate) link: Link,
    pub(crate) session: Option<Session>,
    /// The daemon's clock less ours.
    pub(crate) clock_offset_ms: i64,
    pub(crate) screen: Screen,
    pub(crate) focus: BTreeMap<Screen, Panel>,
    pub(crate) zoomed: bool,
    /// Lists of a narrow page show the columns that they usually leave out.
    pub(crate) other_columns: bool,
    /// Seconds that charts show.
    pub(crate) range_s: usize,
    /// Updates that came while drawing was paused; `None` when it is not.
    pub(crate) paused: Option<u64>,
    pub(crate) overview: Overview,
    /// Hosts by their id, as they were told.
    pub(crate) hosts: BTreeMap<String, Host>,
    /// Their cards, as they are put together now.
    pub(crate) gpus: Table<Gpu>,
    pub(crate) grouping: Grouping,
    pub(crate) gpu_history: BTreeMap<String, GpuHistory>,
    /// The row whose charts are shown. They follow the selection with the next second: running down
    /// a list does not draw the charts of every row on the way.
    pub(crate) charted: Option<String>,
    pub(crate) providers: Table<Provider>,
    /// The provider whose evidence is shown, which follows the selection likewise.
    pub(crate) examined: Option<String>,
    pub(crate) models: Table<ModelRow>,
    /// The model whose revisions are shown, likewise.
    pub(crate) compared: Option<String>,
    pub(crate) backends: Table<Backend>,
    pub(crate) histories: BTreeMap<String, Series>,
    pub(crate) keys: Table<Key>,
    pub(crate) key_history: BTreeMap<String, Series>,
    pub(crate) key_usage: KeyUsageRead,
    pub(crate) requests: Table<Request>,
    pub(crate) events: Table<Event>,
    pub(crate) audit: Table<AuditEntry>,
    pub(crate) audit_problem: Option<String>,
    pub(crate) customers: Option<Result<Vec<Customer>, String>>,
    pub(crate) follow: bool,
    pub(crate) typing: Typing,
    pub(crate) filter_input: Input,
    pub(crate) overlay: Option<Overlay>,
    pub(crate) calls: Vec<OpenCall>,
    pub(crate) next_call: u64,
    pub(crate) toast: Option<Toast>,
    /// Palette choices, newest first.
    pub(crate) recent: Vec<String>,
    /// When `^c` was pressed last.
    pub(crate) interrupted_ms: Option<u64>,
    /// A key or an answer to one changed something: draw at once.
    pub(crate) dirty_input: bool,
    /// Data changed: draw soon.
    pub(crate) dirty_data: bool,
}

impl ThemeName {
    pub(crate) const ALL: [Self; 4] = [Self::Default, Self::Light, Self::ColourBlind, Self::Mono];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Light => "light",
            Self::ColourBlind => "cb-safe",
            Self::Mono => "mono",
        }
    }
}

/// An ink of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// One of the terminal's own 16, or of the 256 of most.
    Numbered(u8),
    /// Only for terminals of true colour.
    Exact(u8, u8, u8),
}

/// Colours of the operator's own, by meaning; none = the theme's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Colours {
    pub(crate) quiet: Option<Ink>,
    pub(crate) focus: Option<Ink>,
    pub(crate) good: Option<Ink>,
    pub(crate) warn: Option<Ink>,
    pub(crate) bad: Option<Ink>,
    pub(crate) alarm: Option<Ink>,
}

impl GlyphSet {
    pub(crate) const ALL: [Self; 3] = [Self::Unicode, Self::Ascii, Self::Braille];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Unicode => "unicode",
            Self::Ascii => "ascii",
            Self::Braille => "braille",
        }
    }
}

impl Model {
    pub(crate) fn new(context: Context, keymap: Keymap) -> Self {
        Self {
            now: Now::default(),
            size: Size { width: 80, height: 24 },
            theme: ThemeName::default(),
            colours: Colours::default(),
            zone: Zone::default(),
            local_zone: Zone::default(),
            glyphs: GlyphSet::default(),
            keymap,
            forced_read_only: false,
            contexts: Vec::new(),
            context,
            unlocked_until_ms: None,
            link: Link::default(),
            session: None,
            clock_offset_ms: 0,
            screen: Screen::default(),
            focus: BTreeMap::new(),
            zoomed: false,
            other_columns: false,
            range_s: 60,
            paused: None,
            overview: Overview::default(),
            hosts: BTreeMap::new(),
            gpus: Table::new(Sort { field: "util", descending: true }),
            grouping: Grouping::default(),
            gpu_history: BTreeMap::new(),
            charted: None,
            examined: None,
            providers: Table::new(Sort { field: "state", descending: false }),
            models: Table::new(Sort { field: "state", descending: false }),
            compared: None,
            backends: Table::new(Sort { field: "state", descending: false }),
            histories: BTreeMap::new(),
            keys: Table::new(Sort { field: "cost", descending: true }),
            key_history: BTreeMap::new(),
            key_usage: KeyUsageRead::default(),
            requests: Table::new(Sort { field: "time", descending: true }),
            events: Table::new(Sort { field: "time", descending: true }),
            audit: Table::new(Sort { field: "time", descending: true }),
            audit_problem: None,
            customers: None,
            follow: true,
            typing: Typing::Nothing,
            filter_input: Input::default(),
            overlay: None,
            calls: Vec::new(),
            next_call: 1,
            toast: None,
            recent: Vec::new(),
            interrupted_ms: None,
            dirty_input: true,
            dirty_data: false,
        }
    }

    /// Forgets what one daemon said, before another is asked.
    pub(crate) fn forget(&mut self, context: Context) {
        let mut fresh = Self::new(context, self.keymap.clone());
        fresh.now = self.now;
        fresh.size = self.size;
        fresh.theme = self.theme;
        fresh.colours = self.colours;
        fresh.zone = self.zone.clone();
        fresh.local_zone = self.local_zone.clone();
        fresh.glyphs = self.glyphs;
        fresh.forced_read_only = self.forced_read_only;
        fresh.contexts = std::mem::take(&mut self.contexts);
        fresh.screen = self.screen;
        fresh.range_s = self.range_s;
        fresh.grouping = self.grouping;
        fresh.other_columns = self.other_columns;
        fresh.recent = std::mem::take(&mut self.recent);
        // Numbers go on, so that a late answer of the other daemon meets no open call.
        fresh.next_call = self.next_call;
        *self = fresh;
    }

    /// Charts show so many seconds, when that is one of [`RANGES_S`].
    pub(crate) fn set_range(&mut self, seconds: usize) {
        if RANGES_S.contains(&seconds) {
            self.range_s = seconds;
        }
    }

    /// Now, on the daemon's clock.
    pub(crate) fn daemon_now_ms(&self) -> i64 {
        self.now.wall_ms.saturating_add(self.clock_offset_ms)
    }

    pub(crate) fn set_daemon_clock(&mut self, now_ms: i64) {
        let offset = now_ms.saturating_sub(self.now.wall_ms);
        if now_ms > 0 && (offset - self.clock_offset_ms).abs() >= CLOCK_STEP_MS {
            self.clock_offset_ms = offset;
        }
    }

    pub(crate) fn role(&self) -> Role {
        self.session.as_ref().map_or(Role::Viewer, |session| session.role)
    }

    /// Milliseconds that an unlock still lasts.
    pub(crate) fn unlocked_ms(&self) -> Option<u64> {
        self.unlocked_until_ms?.checked_sub(self.now.mono_ms).filter(|left| *left > 0)
    }

    /// Changes are not allowed from here.
    pub(crate) fn is_read_only(&self) -> bool {
        self.is_hard_read_only() || (self.context.production && self.unlocked_ms().is_none())
    }

    /// Read-only by the command line or the context: nothing unlocks it.
    pub(crate) fn is_hard_read_only(&self) -> bool {
        self.forced_read_only || self.context.read_only
    }

    /// Numbers on the screen may be old.
    pub(crate) fn is_stale(&self) -> bool {
        !self.link.state.is_live()
    }

    /// Something has been shown that could be old.
    pub(crate) fn has_data(&self) -> bool {
        self.overview.loaded
            || self.gpus.loaded
            || self.backends.loaded
            || self.keys.loaded
            || self.providers.loaded
            || self.models.loaded
            || self.events.loaded
    }

    pub(crate) fn focused(&self) -> Panel {
        self.focus.get(&self.screen).copied().unwrap_or_else(|| self.screen.list())
    }

    /// The list of a panel.
    pub(crate) fn list(&self, panel: Panel) -> Option<&dyn List> {
        Some(match panel {
            Panel::Attention => &self.overview.attention,
            Panel::GpuList => &self.gpus,
            Panel::ProviderList => &self.providers,
            Panel::ModelList => &self.models,
            Panel::Fleet | Panel::BackendList => &self.backends,
            Panel::Running => &self.requests,
            Panel::Happenings | Panel::EventList => &self.events,
            Panel::KeyList => &self.keys,
            Panel::AuditList => &self.audit,
            _ => return None,
        })
    }

    pub(crate) fn list_mut(&mut self, panel: Panel) -> Option<&mut dyn List> {
        Some(match panel {
            Panel::Attention => &mut self.overview.attention,
            Panel::GpuList => &mut self.gpus,
            Panel::ProviderList => &mut self.providers,
            Panel::ModelList => &mut self.models,
            Panel::Fleet | Panel::BackendList => &mut self.backends,
            Panel::Running => &mut self.requests,
            Panel::Happenings | Panel::EventList => &mut self.events,
            Panel::KeyList => &mut self.keys,
            Panel::AuditList => &mut self.audit,
            _ => return None,
        })
    }

    /// The list that keys move, filter and sort.
    pub(crate) fn focused_list(&self) -> Option<&dyn List> {
        self.list(self.focused())
    }

    pub(crate) fn focused_list_mut(&mut self) -> Option<&mut dyn List> {
        self.list_mut(self.focused())
    }

    pub(crate) fn open_call(&self, object: &str) -> Option<&OpenCall> {
        self.calls.iter().find(|call| call.object == object)
    }

    pub(crate) fn say(&mut self, severity: Severity, text: impl Into<String>) {
        let until_ms = self.now.mono_ms + TOAST_MS;
        self.toast = Some(Toast { severity, text: text.into(), until_ms });
        self.dirty_input = true;
    }

    /// One sample of every history; blank while the link is cut or drawing is paused.
    pub(crate) fn sample(&mut self) {
        let live = self.link.state == LinkState::Live && self.paused.is_none();
        #[expect(clippy::cast_precision_loss, reason = "a chart of at most 8 steps")]
        let rate = |per_ks: u64| live.then_some(per_ks as f32 / 1e3);
        let traffic = self.overview.traffic;
        if self.overview.loaded {
            self.overview.requests.push(rate(traffic.requests_per_ks));
            let tokens = traffic.tokens_in_per_ks.saturating_add(traffic.tokens_out_per_ks);
            self.overview.tokens.push(rate(tokens));
        }
        #[expect(clippy::cast_precision_loss, reason = "a chart of at most 8 steps")]
        for backend in self.backends.all().iter().take(HISTORIES_MAX) {
            let series = self.histories.entry(backend.id.clone()).or_default();
            series.push(live.then_some(backend.running as f32));
        }
        let known = &self.backends;
        self.histories.retain(|id, _| known.get(id).is_some());
        for key in self.keys.admitted().take(HISTORIES_MAX) {
            let series = self.key_history.entry(key.id.clone()).or_default();
            series.push(rate(key.requests_per_ks));
        }
        self.sample_gpus(live);
        let known = &self.keys;
        if self.key_history.len() > 4 * HISTORIES_MAX {
            self.key_history.clear();
        }
        self.key_history.retain(|id, _| known.get(id).is_some());
    }

    /// Blank too while hosts are not watched: what was told last is old by then.
    fn sample_gpus(&mut self, live: bool) {
        let heard = self.link.heard.get(&Stream::Hosts);
        let fresh =
            heard.is_some_and(|at| self.now.mono_ms.saturating_sub(*at) < LAG_AFTER_MS) && live;
        for gpu in self.gpus.all().iter().take(HISTORIES_MAX) {
            let history = self.gpu_history.entry(gpu.id.clone()).or_default();
            history.push(if fresh { gpu.sample() } else { [None; 3] });
        }
        let known = &self.gpus;
        self.gpu_history.retain(|id, _| known.get(id).is_some());
        self.follow_selections();
    }

    /// `2x RTX 4090, 1x A100` of one provider; empty for none.
    pub(crate) fn cards_of(&self, provider: &str) -> String {
        let mut makes: BTreeMap<&str, usize> = BTreeMap::new();
        let hosts = self.hosts.values().filter(|host| host.provider == provider);
        for card in hosts.flat_map(|host| &host.cards) {
            *makes.entry(card.name.as_deref().unwrap_or("?")).or_default() += 1;
        }
        let parts = makes.iter().map(|(make, count)| {
            let short = make.trim_start_matches("NVIDIA ").trim_start_matches("GeForce ");
            format!("{count}x {short}")
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    /// Requests of one key, newest first.
    pub(crate) fn requests_of_key<'a>(
        &'a self,
        key_id: &'a str,
    ) -> impl Iterator<Item = &'a Request> {
        self.newest_requests().filter(move |request| request.key_id == key_id)
    }

    /// Requests on one backend, newest first.
    pub(crate) fn requests_on<'a>(&'a self, backend: &'a str) -> impl Iterator<Item = &'a Request> {
        self.newest_requests().filter(move |request| request.backend == backend)
    }

    fn newest_requests(&self) -> impl Iterator<Item = &Request> {
        let mut all: Vec<&Request> = self.requests.all().iter().collect();
        all.sort_by(|a, b| b.created_at_ms.cmp(&a.created_at_ms).then_with(|| a.id.cmp(&b.id)));
        all.into_iter()
    }

    /// The most severe things that need a person, counted: critical, warning.
    pub(crate) fn alarms(&self) -> (usize, usize) {
        let count = |severity| {
            self.overview.attention.all().iter().filter(|item| item.severity == severity).count()
        };
        (count(Severity::Critical), count(Severity::Warning))
    }
}

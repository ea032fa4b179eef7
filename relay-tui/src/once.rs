//! `relay-tui once SCREEN`: one plain page on standard output, for screen readers, logs and cron.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tokio::time::Instant;

use crate::config::Target;
use crate::link::{Page, Timings, once};
use crate::model::layout::Size;
use crate::model::link::LinkState;
use crate::model::{GlyphSet, Model, Now, Screen, ThemeName};
use crate::msg::{Msg, Told};
use crate::{update, view};

/// The page of `once`: wide, and as high as its list is long.
const WIDTH: u16 = 140;
const HEIGHT: u16 = 40;

/// Reads what the screen shows and gives its text.
///
/// # Errors
/// One sentence: what failed and where to look.
pub(crate) async fn page(
    mut model: Model,
    target: &Target,
    screen: Screen,
    json: bool,
) -> Result<String, String> {
    let start = Instant::now();
    match once(target, Timings::default(), screen, json).await? {
        Page::Json(json) => Ok(json + "\n"),
        Page::Data { session, updates } => {
            let now = || Now {
                wall_ms: jiff::Timestamp::now().as_millisecond(),
                mono_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            };
            model.screen = screen;
            model.theme = ThemeName::Mono;
            model.glyphs = GlyphSet::Ascii;
            let live = Told::State { state: LinkState::Live, problem: None };
            update::update(&mut model, now(), Msg::Link(live));
            update::update(&mut model, now(), Msg::Link(Told::Session(session)));
            for update in updates {
                // What is asked once is not a stream, and none is missing.
                let stream = screen.streams()[0];
                let told = Told::Data { stream, bytes: 0, update };
                update::update(&mut model, now(), Msg::Link(told));
            }
            Ok(text(&mut model))
        }
    }
}

/// The page as lines without the keys, which nobody can press here.
fn text(model: &mut Model) -> String {
    let rows = match model.screen {
        Screen::Backends => model.backends.shown_len(),
        Screen::Keys => model.keys.shown_len(),
        Screen::Overview | Screen::Events => 0,
    };
    let more = u16::try_from(rows).unwrap_or(u16::MAX).min(2_000).saturating_mul(2);
    let size = Size { width: WIDTH, height: HEIGHT.saturating_add(more) };
    let now = model.now;
    update::update(model, now, Msg::Resized(size));
    model.toast = None;
    let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width: size.width, height: size.height });
    view::draw(model, &mut buffer);
    let mut lines: Vec<String> = (0..size.height - 1)
        .map(|y| {
            let line: String = (0..size.width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        })
        .collect();
    lines.push(String::new());
    lines.join("\n")
}

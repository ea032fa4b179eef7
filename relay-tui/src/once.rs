//! `relay-tui once SCREEN`: one plain page on standard output, for screen readers, logs and cron.

use tokio::time::Instant;

use crate::config::Target;
use crate::link::{Page, Timings, once};
use crate::model::link::LinkState;
use crate::model::{Model, Now, Screen};
use crate::msg::{Msg, Told};
use crate::{update, view};

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
            let live = Told::State { state: LinkState::Live, problem: None };
            update::update(&mut model, now(), Msg::Link(live));
            update::update(&mut model, now(), Msg::Link(Told::Session(session)));
            for update in updates {
                // What is asked once is not a stream, and none is missing.
                let stream = screen.streams()[0];
                let told = Told::Data { stream, bytes: 0, update };
                update::update(&mut model, now(), Msg::Link(told));
            }
            Ok(view::plain(&model, screen))
        }
    }
}

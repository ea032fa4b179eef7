//! Where each panel of a screen stands. Pure: the view draws into these areas, the update scrolls
//! and clicks by them, so that neither needs the other.

use super::screens::Screen;

/// From here on a screen has its wide form.
const WIDE: Size = Size { width: 120, height: 34 };
/// Below this only one panel is shown.
const WHOLE: Size = Size { width: 80, height: 24 };
/// Below this there is no room for anything but saying so.
pub(crate) const LEAST: Size = Size { width: 40, height: 10 };
/// Header and tabs.
const TOP_LINES: u16 = 2;
/// The line of keys.
const BOTTOM_LINES: u16 = 1;
/// A short list of the overview has headings from this width on.
const HEADED: u16 = 62;
/// Lines of money under what needs a person.
pub(crate) const MONEY_LINES: u16 = 2;
/// Wide bodies are at least this high: what [`WIDE`] leaves.
const WIDE_BODY: u16 = WIDE.height - TOP_LINES - BOTTOM_LINES;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u16,
    pub(crate) height: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: u16,
    pub(crate) y: u16,
    pub(crate) width: u16,
    pub(crate) height: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Panel {
    Traffic,
    Attention,
    Money,
    Fleet,
    Running,
    Happenings,
    GpuList,
    GpuHistory,
    GpuDetail,
    GpuProcesses,
    GpuHost,
    BackendList,
    BackendHistory,
    BackendDetail,
    BackendRequests,
    ModelList,
    ModelRollout,
    ModelHistory,
    ModelRevisions,
    ModelNotes,
    KeyList,
    KeyHistory,
    KeyDetail,
    KeyRequests,
    ProviderList,
    ProviderDetail,
    ProviderEvidence,
    ProviderScores,
    ProviderEvents,
    EventList,
    EventDetail,
    AuditList,
    AuditDetail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) panel: Panel,
    pub(crate) area: Area,
}

impl Slot {
    /// The list has a line of headings.
    pub(crate) const fn has_heading(&self) -> bool {
        match self.panel {
            Panel::GpuList
            | Panel::BackendList
            | Panel::ModelList
            | Panel::KeyList
            | Panel::ProviderList
            | Panel::EventList
            | Panel::AuditList => true,
            Panel::Fleet => self.area.width >= HEADED,
            _ => false,
        }
    }

    /// Lines above the first row: the border and a heading.
    pub(crate) const fn top_lines(&self) -> u16 {
        if self.has_heading() { 2 } else { 1 }
    }

    /// Rows that there is room for.
    pub(crate) fn rows(&self, size: Size, zoomed: bool) -> u16 {
        let money =
            if self.panel == Panel::Attention && has_money(size, zoomed) { MONEY_LINES } else { 0 };
        self.area.height.saturating_sub(self.top_lines() + 1 + money)
    }
}

/// What needs a person shares its panel with money: a narrow page has no other place for it.
pub(crate) const fn has_money(size: Size, zoomed: bool) -> bool {
    !size.is_wide() && size.is_whole() && !zoomed
}

impl Size {
    pub(crate) const fn is_wide(self) -> bool {
        self.width >= WIDE.width && self.height >= WIDE.height
    }

    pub(crate) const fn is_whole(self) -> bool {
        self.width >= WHOLE.width && self.height >= WHOLE.height
    }

    pub(crate) const fn is_enough(self) -> bool {
        self.width >= LEAST.width && self.height >= LEAST.height
    }
}

impl Area {
    pub(crate) const fn contains(self, x: u16, y: u16) -> bool {
        x >= self.x && y >= self.y && x < self.x + self.width && y < self.y + self.height
    }

    /// The first `height` lines, and the rest.
    const fn split_top(self, height: u16) -> (Self, Self) {
        let top = if height < self.height { height } else { self.height };
        (Self { height: top, ..self }, Self { y: self.y + top, height: self.height - top, ..self })
    }

    /// The first `width` columns, and the rest.
    const fn split_left(self, width: u16) -> (Self, Self) {
        let left = if width < self.width { width } else { self.width };
        (Self { width: left, ..self }, Self { x: self.x + left, width: self.width - left, ..self })
    }
}

/// The panels of a screen at a size. The focused panel alone when it is zoomed or the page is
/// small.
pub(crate) fn panels(size: Size, screen: Screen, focus: Panel, zoomed: bool) -> Vec<Slot> {
    if !size.is_enough() {
        return Vec::new();
    }
    let body = Area {
        x: 0,
        y: TOP_LINES,
        width: size.width,
        height: size.height - TOP_LINES - BOTTOM_LINES,
    };
    if zoomed || !size.is_whole() {
        return vec![Slot { panel: focus, area: body }];
    }
    (screen.page().lay)(body, size.is_wide(), focus)
}

pub(super) fn overview(body: Area, wide: bool, _focus: Panel) -> Vec<Slot> {
    let half = body.width / 2;
    if wide {
        let more = body.height - WIDE_BODY;
        let (top, rest) = body.split_top(12 + more / 3);
        let (middle, bottom) = rest.split_top(10 + more / 8);
        let (traffic, fleet) = top.split_left(half);
        let (attention, others) = middle.split_left(body.width / 3);
        let (running, money) = others.split_left(body.width / 3 + 8);
        return vec![
            slot(Panel::Traffic, traffic),
            slot(Panel::Fleet, fleet),
            slot(Panel::Attention, attention),
            slot(Panel::Running, running),
            slot(Panel::Money, money),
            slot(Panel::Happenings, bottom),
        ];
    }
    let (top, rest) = body.split_top(8);
    let (middle, bottom) = rest.split_top(7 + (body.height - 21) / 2);
    let (traffic, fleet) = top.split_left(half);
    let (attention, running) = middle.split_left(half);
    vec![
        slot(Panel::Traffic, traffic),
        slot(Panel::Fleet, fleet),
        slot(Panel::Attention, attention),
        slot(Panel::Running, running),
        slot(Panel::Happenings, bottom),
    ]
}

pub(super) fn gpus(body: Area, wide: bool, _focus: Panel) -> Vec<Slot> {
    if !wide {
        let (list, rest) = body.split_top(11 + (body.height - 21) / 2);
        let (history, detail) = rest.split_left(body.width / 2);
        return vec![
            slot(Panel::GpuList, list),
            slot(Panel::GpuHistory, history),
            slot(Panel::GpuDetail, detail),
        ];
    }
    let more = body.height - WIDE_BODY;
    let (list, rest) = body.split_top(12 + more / 3);
    let (middle, bottom) = rest.split_top(13 + more / 3);
    let (history, detail) = middle.split_left(body.width * 3 / 5);
    let (processes, host) = bottom.split_left(body.width * 3 / 5);
    vec![
        slot(Panel::GpuList, list),
        slot(Panel::GpuHistory, history),
        slot(Panel::GpuDetail, detail),
        slot(Panel::GpuProcesses, processes),
        slot(Panel::GpuHost, host),
    ]
}

pub(super) fn providers(body: Area, wide: bool, _focus: Panel) -> Vec<Slot> {
    if !wide {
        let (list, rest) = body.split_top(8 + (body.height - 21) / 2);
        return vec![slot(Panel::ProviderList, list), slot(Panel::ProviderDetail, rest)];
    }
    let more = body.height - WIDE_BODY;
    let (list, rest) = body.split_top(11 + more / 3);
    let (middle, bottom) = rest.split_top(13 + more / 3);
    let (detail, evidence) = middle.split_left(body.width / 2);
    let (events, scores) = bottom.split_left(body.width / 2);
    vec![
        slot(Panel::ProviderList, list),
        slot(Panel::ProviderDetail, detail),
        slot(Panel::ProviderEvidence, evidence),
        slot(Panel::ProviderEvents, events),
        slot(Panel::ProviderScores, scores),
    ]
}

pub(super) fn backends(body: Area, wide: bool, _focus: Panel) -> Vec<Slot> {
    if !wide {
        let (list, detail) = body.split_top(13 + (body.height - 21) / 2);
        return vec![slot(Panel::BackendList, list), slot(Panel::BackendDetail, detail)];
    }
    let (list, rest) = body.split_top(13 + (body.height - WIDE_BODY) / 2);
    let (middle, bottom) = rest.split_top(10);
    let (history, detail) = middle.split_left(body.width / 3);
    vec![
        slot(Panel::BackendList, list),
        slot(Panel::BackendHistory, history),
        slot(Panel::BackendDetail, detail),
        slot(Panel::BackendRequests, bottom),
    ]
}

pub(super) fn models(body: Area, wide: bool, _focus: Panel) -> Vec<Slot> {
    if !wide {
        let (list, rest) = body.split_top(9 + (body.height - 21) / 2);
        return vec![slot(Panel::ModelList, list), slot(Panel::ModelRollout, rest)];
    }
    let more = body.height - WIDE_BODY;
    let (list, rest) = body.split_top(10 + more / 3);
    let (middle, bottom) = rest.split_top(13 + more / 4);
    let (rollout, history) = middle.split_left(body.width * 3 / 5);
    let (revisions, notes) = bottom.split_left(body.width * 3 / 5);
    vec![
        slot(Panel::ModelList, list),
        slot(Panel::ModelRollout, rollout),
        slot(Panel::ModelHistory, history),
        slot(Panel::ModelRevisions, revisions),
        slot(Panel::ModelNotes, notes),
    ]
}

pub(super) fn keys(body: Area, wide: bool, _focus: Panel) -> Vec<Slot> {
    if !wide {
        let (list, rest) = body.split_top(11 + (body.height - 21) / 2);
        let (requests, detail) = rest.split_left(body.width / 2 + 2);
        return vec![
            slot(Panel::KeyList, list),
            slot(Panel::KeyRequests, requests),
            slot(Panel::KeyDetail, detail),
        ];
    }
    let (list, rest) = body.split_top(13 + (body.height - WIDE_BODY) / 2);
    let (middle, bottom) = rest.split_top(10);
    let (history, detail) = middle.split_left(body.width * 3 / 5);
    vec![
        slot(Panel::KeyList, list),
        slot(Panel::KeyHistory, history),
        slot(Panel::KeyDetail, detail),
        slot(Panel::KeyRequests, bottom),
    ]
}

pub(super) fn events(body: Area, _wide: bool, focus: Panel) -> Vec<Slot> {
    let (list, detail) = body.split_top(body.height - 6 - (body.height - 21) / 6);
    if focus == Panel::AuditList {
        vec![slot(Panel::AuditList, list), slot(Panel::AuditDetail, detail)]
    } else {
        vec![slot(Panel::EventList, list), slot(Panel::EventDetail, detail)]
    }
}

const fn slot(panel: Panel, area: Area) -> Slot {
    Slot { panel, area }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_tile_the_body_at_every_size() {
        for width in (1..240).step_by(7).chain([80, 120, 140]) {
            for height in (1..80).step_by(3).chain([24, 34, 40]) {
                let size = Size { width, height };
                for screen in Screen::ALL {
                    for focus in screen.panels() {
                        for zoomed in [false, true] {
                            let slots = panels(size, screen, *focus, zoomed);
                            let covered: u32 = slots
                                .iter()
                                .map(|slot| {
                                    u32::from(slot.area.width) * u32::from(slot.area.height)
                                })
                                .sum();
                            let body = if size.is_enough() {
                                u32::from(width) * u32::from(height - 3)
                            } else {
                                0
                            };
                            assert_eq!(covered, body, "{screen:?} at {width}x{height}");
                            for slot in slots {
                                assert!(slot.area.x + slot.area.width <= width);
                                assert!(slot.area.y + slot.area.height < height);
                            }
                        }
                    }
                }
            }
        }
    }
}

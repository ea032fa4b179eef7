//! Where each panel of a screen stands. Pure: the view draws into these areas, the update scrolls
//! and clicks by them, so that neither needs the other.

use super::Screen;

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
    BackendList,
    BackendHistory,
    BackendDetail,
    BackendRequests,
    KeyList,
    KeyHistory,
    KeyDetail,
    KeyRequests,
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

/// The panels that `Tab` visits, in order.
pub(crate) const fn tab_order(screen: Screen) -> &'static [Panel] {
    match screen {
        Screen::Overview => &[Panel::Attention, Panel::Fleet, Panel::Running, Panel::Happenings],
        Screen::Backends => &[Panel::BackendList],
        Screen::Keys => &[Panel::KeyList],
        Screen::Events => &[Panel::EventList, Panel::AuditList],
    }
}

impl Panel {
    /// Lines of a panel that are not rows: borders and a heading.
    pub(crate) const fn frame_lines(self) -> u16 {
        match self {
            Self::BackendList | Self::KeyList | Self::EventList | Self::AuditList => 3,
            _ => 2,
        }
    }
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
    let wide = size.is_wide();
    let mut slots = Vec::new();
    let mut put = |panel, area| slots.push(Slot { panel, area });
    match screen {
        Screen::Overview => overview(body, wide, &mut put),
        Screen::Backends => backends(body, wide, &mut put),
        Screen::Keys => keys(body, wide, &mut put),
        Screen::Events => events(body, focus, &mut put),
    }
    slots
}

fn overview(body: Area, wide: bool, put: &mut impl FnMut(Panel, Area)) {
    let half = body.width / 2;
    if wide {
        let more = body.height - WIDE_BODY;
        let (top, rest) = body.split_top(12 + more / 3);
        let (middle, bottom) = rest.split_top(10 + more / 8);
        let (traffic, fleet) = top.split_left(half);
        let (attention, others) = middle.split_left(body.width / 3);
        let (running, money) = others.split_left(body.width / 3 + 8);
        put(Panel::Traffic, traffic);
        put(Panel::Fleet, fleet);
        put(Panel::Attention, attention);
        put(Panel::Running, running);
        put(Panel::Money, money);
        put(Panel::Happenings, bottom);
    } else {
        let (top, rest) = body.split_top(8);
        let (middle, bottom) = rest.split_top(7 + (body.height - 21) / 2);
        let (traffic, fleet) = top.split_left(half);
        let (attention, running) = middle.split_left(half);
        put(Panel::Traffic, traffic);
        put(Panel::Fleet, fleet);
        put(Panel::Attention, attention);
        put(Panel::Running, running);
        put(Panel::Happenings, bottom);
    }
}

fn backends(body: Area, wide: bool, put: &mut impl FnMut(Panel, Area)) {
    if wide {
        let (list, rest) = body.split_top(13 + (body.height - WIDE_BODY) / 2);
        let (middle, bottom) = rest.split_top(10);
        let (history, detail) = middle.split_left(body.width / 3);
        put(Panel::BackendList, list);
        put(Panel::BackendHistory, history);
        put(Panel::BackendDetail, detail);
        put(Panel::BackendRequests, bottom);
    } else {
        let (list, detail) = body.split_top(13 + (body.height - 21) / 2);
        put(Panel::BackendList, list);
        put(Panel::BackendDetail, detail);
    }
}

fn keys(body: Area, wide: bool, put: &mut impl FnMut(Panel, Area)) {
    if wide {
        let (list, rest) = body.split_top(13 + (body.height - WIDE_BODY) / 2);
        let (middle, bottom) = rest.split_top(10);
        let (history, detail) = middle.split_left(body.width * 3 / 5);
        put(Panel::KeyList, list);
        put(Panel::KeyHistory, history);
        put(Panel::KeyDetail, detail);
        put(Panel::KeyRequests, bottom);
    } else {
        let (list, rest) = body.split_top(11 + (body.height - 21) / 2);
        let (requests, detail) = rest.split_left(body.width / 2 + 2);
        put(Panel::KeyList, list);
        put(Panel::KeyRequests, requests);
        put(Panel::KeyDetail, detail);
    }
}

fn events(body: Area, focus: Panel, put: &mut impl FnMut(Panel, Area)) {
    let (list, detail) = body.split_top(body.height - 6 - (body.height - 21) / 6);
    if focus == Panel::AuditList {
        put(Panel::AuditList, list);
        put(Panel::AuditDetail, detail);
    } else {
        put(Panel::EventList, list);
        put(Panel::EventDetail, detail);
    }
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
                    for focus in tab_order(screen) {
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

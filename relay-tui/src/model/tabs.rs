//! The line of tabs: what stands on it and where. The view draws it, a click finds its tab.

use super::{Model, Screen};

/// Below this the tabs have their short names.
const NARROW: u16 = 80;
/// Below this only the present one has a name.
const NUMBERS: u16 = 60;

/// The text of each tab, in order.
pub(crate) fn texts(model: &Model) -> [(Screen, String); Screen::ALL.len()] {
    let narrow = model.size.width < NARROW;
    Screen::ALL.map(|screen| {
        let page = screen.page();
        let (number, title) = (page.number, if narrow { page.short } else { page.title });
        let text = if model.size.width < NUMBERS && screen != model.screen {
            number.to_string()
        } else if screen == model.screen {
            format!("{number}<{title}>")
        } else {
            format!("{number} {title} ")
        };
        (screen, text)
    })
}

/// The screen whose tab stands in a column of the line. Tabs are one column apart, the first
/// stands in column 1.
pub(crate) fn at(model: &Model, x: u16) -> Option<Screen> {
    let mut start = 1;
    texts(model).into_iter().find_map(|(screen, text)| {
        let end = start + u16::try_from(text.len()).unwrap_or(u16::MAX);
        let found = (start..end).contains(&x).then_some(screen);
        start = end + 1;
        found
    })
}

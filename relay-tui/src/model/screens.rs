//! The screens: one row of one table each. A new screen is a row here, its panels and their layout,
//! its lists in [`Model::list`](super::Model::list), its streams, its verbs, and a file that draws.

use super::layout::{self, Area, Panel, Slot};
use super::link::Stream;

/// A page of the console.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Screen {
    #[default]
    Overview,
    Gpus,
    Backends,
    Models,
    Keys,
    Providers,
    Events,
}

/// What a screen is.
#[derive(Debug)]
pub(crate) struct Page {
    /// The number key, as on the tab.
    pub(crate) number: char,
    /// The word of the command line, the palette and what the daemon calls it.
    pub(crate) word: &'static str,
    /// Other words of the palette.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) title: &'static str,
    /// The title where the page is narrow: four letters.
    pub(crate) short: &'static str,
    /// The question that it answers.
    pub(crate) question: &'static str,
    /// What it watches. Events are watched always.
    pub(crate) streams: &'static [Stream],
    /// The panels that `Tab` visits, in order. The first is the screen's own list.
    pub(crate) panels: &'static [Panel],
    /// Puts the panels on the body of a page; `wide` is its form, the panel the focused one.
    pub(crate) lay: fn(Area, bool, Panel) -> Vec<Slot>,
}

/// In the order of [`Screen`].
static PAGES: [Page; Screen::ALL.len()] = [
    Page {
        number: '1',
        word: "overview",
        aliases: &["home"],
        title: "Overview",
        short: "Over",
        question: "is it healthy, what needs me",
        streams: &[Stream::Overview, Stream::Backends, Stream::Requests, Stream::Events],
        panels: &[Panel::Attention, Panel::Fleet, Panel::Running, Panel::Happenings],
        lay: layout::overview,
    },
    Page {
        number: '2',
        word: "gpus",
        aliases: &["cards", "hosts"],
        title: "GPUs",
        short: "GPUs",
        question: "which card is busy, hot, sick",
        streams: &[Stream::Hosts, Stream::Backends, Stream::Events],
        panels: &[Panel::GpuList],
        lay: layout::gpus,
    },
    Page {
        number: '3',
        word: "backends",
        aliases: &["servers", "engines"],
        title: "Backends",
        short: "Back",
        question: "which server answers, breaker states",
        streams: &[Stream::Backends, Stream::Requests, Stream::Events],
        panels: &[Panel::BackendList],
        lay: layout::backends,
    },
    Page {
        number: '4',
        word: "models",
        aliases: &["rollouts"],
        title: "Models",
        short: "Modl",
        question: "which revision serves, is the new one worse",
        streams: &[Stream::Models, Stream::Backends, Stream::Events],
        panels: &[Panel::ModelList],
        lay: layout::models,
    },
    Page {
        number: '5',
        word: "keys",
        aliases: &["usage"],
        title: "Keys",
        short: "Keys",
        question: "who uses what, who hits limits",
        streams: &[Stream::Keys, Stream::Requests, Stream::Events],
        panels: &[Panel::KeyList],
        lay: layout::keys,
    },
    Page {
        number: '6',
        word: "providers",
        aliases: &["approvals"],
        title: "Providers",
        short: "Prov",
        question: "who wants in, who misbehaves",
        streams: &[Stream::Providers, Stream::Hosts, Stream::Events],
        panels: &[Panel::ProviderList],
        lay: layout::providers,
    },
    Page {
        number: '9',
        word: "events",
        aliases: &["audit", "log"],
        title: "Events",
        short: "Evts",
        question: "what happened, who did it",
        streams: &[Stream::Events],
        panels: &[Panel::EventList, Panel::AuditList],
        lay: layout::events,
    },
];

impl Screen {
    pub(crate) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Gpus,
        Self::Backends,
        Self::Models,
        Self::Keys,
        Self::Providers,
        Self::Events,
    ];

    pub(crate) const fn page(self) -> &'static Page {
        &PAGES[self as usize]
    }

    pub(crate) const fn number(self) -> char {
        self.page().number
    }

    pub(crate) const fn title(self) -> &'static str {
        self.page().title
    }

    pub(crate) const fn word(self) -> &'static str {
        self.page().word
    }

    pub(crate) const fn streams(self) -> &'static [Stream] {
        self.page().streams
    }

    pub(crate) const fn panels(self) -> &'static [Panel] {
        self.page().panels
    }

    /// The panel of the screen's own list.
    pub(crate) const fn list(self) -> Panel {
        self.page().panels[0]
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|screen| screen.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_screen_has_its_own_row_and_every_row_its_own_names() {
        for (at, screen) in Screen::ALL.into_iter().enumerate() {
            assert!(format!("{screen:?}").eq_ignore_ascii_case(screen.title()));
            assert_eq!(Screen::from_word(screen.word()), Some(screen));
            assert!(screen.streams().contains(&Stream::Events), "{screen:?}");
            assert!(!screen.panels().is_empty(), "{screen:?}");
            assert_eq!(screen.page().short.len(), 4, "{screen:?}");
            for other in &Screen::ALL[at + 1..] {
                assert_ne!(screen.number(), other.number());
                assert_ne!(screen.word(), other.word());
            }
        }
    }
}

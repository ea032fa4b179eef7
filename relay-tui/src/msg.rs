//! Everything that can happen to the console, and everything it can ask for.

use crate::keymap::Press;
use crate::model::call::{Call, Found, Outcome, Read};
use crate::model::data::{Backend, Event, Key, OverviewPatch, Request, Rows, Session};
use crate::model::gpus::Host;
use crate::model::layout::Size;
use crate::model::link::{LinkState, Stream};
use crate::model::providers::Provider;
use crate::model::rollouts::ModelRow;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Msg {
    Press(Press),
    Paste(String),
    Click {
        x: u16,
        y: u16,
    },
    /// Lines; negative is up.
    Wheel(i32),
    Resized(Size),
    /// Once a second.
    Tick,
    Link(Told),
    /// The terminal is going away, or somebody asked the process to end.
    Leave,
}

/// The link has something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    State {
        state: LinkState,
        problem: Option<String>,
    },
    Session(Session),
    /// How long the first answer took.
    RoundTrip {
        ms: u64,
    },
    Data {
        stream: Stream,
        bytes: usize,
        update: Update,
    },
    /// The daemon does not have this stream, or not for this role.
    Missing {
        stream: Stream,
        why: String,
    },
    Ended {
        no: u64,
        outcome: Outcome,
    },
    Found(Found),
    /// A line for the link's log.
    Note(String),
}

/// One message of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Update {
    Overview(OverviewPatch),
    Hosts(Rows<Host>),
    Backends(Rows<Backend>),
    Models(Rows<ModelRow>),
    Keys(Rows<Key>),
    Providers(Rows<Provider>),
    Requests(Rows<Request>),
    Events(Rows<Event>),
    /// Events before this sequence number were skipped.
    EventsSkipped {
        before: u64,
    },
    Heartbeat {
        now_ms: i64,
    },
}

/// Something to do outside of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cmd {
    Link(Ask),
    /// Speak to the daemon of another context.
    Switch {
        context: String,
    },
    /// Put text on the operator's clipboard.
    Copy(String),
    /// Write a new file; one that is there stays as it is.
    Export {
        file: String,
        text: String,
    },
    /// Draw every cell again.
    Redraw,
    Quit,
}

/// What the link is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Watch exactly these.
    Watch(Vec<Stream>),
    /// Connect now; when connected, ask for every snapshot again.
    Again,
    Call(Call),
    Read(Read),
}

//! The loop: messages in, model changed, frames out. One task owns the model.

mod gate;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::time::Duration;

use crossterm::event::EventStream;
use futures::StreamExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use self::gate::Gate;
use crate::clipboard::{self, Between};
use crate::config::Contexts;
use crate::link::{Link, Timings};
use crate::model::data::Severity;
use crate::model::layout::Size;
use crate::model::{Model, Now};
use crate::msg::{Ask, Cmd, Msg};
use crate::persist::Memory;
use crate::term::{Heard, Painter, Terminal, heard};
use crate::{update, view};

/// Messages from the link that wait for the loop; when it is full the link waits, and the daemon
/// merges what it would have sent.
const TOLD_QUEUE: usize = 64;
/// What the loop asks of the link. It never waits for room: the link may wait for the loop.
const ASK_QUEUE: usize = 256;
/// Sizes come in storms while a window is dragged; the last one counts.
const RESIZE_MS: Duration = Duration::from_millis(50);

/// What was exported is for the operator alone: it names customers.
const EXPORT_MODE: u32 = 0o600;

/// The connection to one daemon: its task and the ways to and from it.
struct Connection {
    asks: mpsc::Sender<Ask>,
    told: mpsc::Receiver<Msg>,
    task: JoinHandle<()>,
}

/// What the loop holds.
struct Console {
    model: Model,
    contexts: Contexts,
    start: Instant,
    connection: Connection,
    terminal: Terminal,
    painter: Painter,
    gate: Gate,
    slow: bool,
    between: Between,
    memory: Memory,
}

/// How the loop listens and speaks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Listen to the mouse.
    pub(crate) mouse: bool,
    /// The line is slow: data every other second.
    pub(crate) slow: bool,
}

/// Ways to be asked to leave.
struct Leaving {
    terminate: Signal,
    hang_up: Signal,
    interrupt: Signal,
}

impl Connection {
    /// Starts the link on a task of its own, so that neither typing nor drawing waits for the
    /// network. Dropping the connection ends the task.
    fn open(contexts: &Contexts, name: &str, start: Instant, slow: bool) -> Result<Self, String> {
        let target = contexts.target(name).map_err(|error| error.to_string())?;
        let (asks, asked) = mpsc::channel(ASK_QUEUE);
        let (tell, told) = mpsc::channel(TOLD_QUEUE);
        let mut timings = Timings::default();
        if slow {
            timings.interval = timings.slow_interval;
        }
        let link = Link::new(target, timings, start, asked, tell);
        Ok(Self { asks, told, task: tokio::spawn(link.run()) })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Leaving {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs until the operator leaves or a signal comes.
///
/// # Errors
/// The terminal cannot be taken or written; no daemon to speak to is known.
pub(crate) async fn run(
    mut model: Model,
    contexts: Contexts,
    memory: Memory,
    manner: Manner,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let connection = Connection::open(&contexts, &contexts.first, start, manner.slow)
        .map_err(anyhow::Error::msg)?;
    let leaving = Leaving::new()?;
    let terminal = Terminal::take(manner.mouse)?;
    model.size = Terminal::size()?;
    model.contexts = contexts.listed();
    memory.recall(&mut model);
    let between = match std::env::var_os("TMUX") {
        Some(socket) if !socket.is_empty() => Between::Tmux,
        _ => Between::Nothing,
    };
    let mut console = Console {
        model,
        contexts,
        start,
        connection,
        terminal,
        painter: Painter::new(),
        gate: Gate::default(),
        slow: manner.slow,
        between,
        memory,
    };
    // The page stands before the network is asked anything.
    console.model.now = console.now();
    console.draw()?;
    let first = update::start(&console.model);
    if console.carry_out(first)? {
        return Ok(());
    }
    console.serve(leaving).await
}

impl Console {
    async fn serve(mut self, mut leaving: Leaving) -> anyhow::Result<()> {
        let mut events = EventStream::new();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut resized: Option<(Size, Instant)> = None;
        loop {
            self.gate.set_slow(self.slow || self.model.link.is_slow());
            let due = self.gate.due_ms(self.model.dirty_input, self.model.dirty_data);
            if due.is_some_and(|due| due <= self.now().mono_ms) {
                self.draw()?;
                continue;
            }
            let frame = due.map(|due| self.start + Duration::from_millis(due));
            let settled = resized.map(|(_, at)| at + RESIZE_MS);
            let msg = tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => match heard(event) {
                        Heard::Msg(msg) => msg,
                        Heard::Size(size) => {
                            resized = Some((size, Instant::now()));
                            continue;
                        }
                        Heard::Nothing => continue,
                    },
                    // The terminal is gone.
                    Some(Err(_)) | None => Msg::Leave,
                },
                msg = self.connection.told.recv() => match msg {
                    Some(msg) => msg,
                    None => anyhow::bail!("the link to relayd ended by itself"),
                },
                _ = second.tick() => Msg::Tick,
                () = leaving.asked() => Msg::Leave,
                () = until(frame) => continue,
                () = until(settled) => {
                    let size = resized.take().map_or(self.model.size, |(size, _)| size);
                    self.painter.forget();
                    Msg::Resized(size)
                }
            };
            if self.take(msg)? {
                return Ok(());
            }
            // Everything that waits, then one frame.
            while let Ok(msg) = self.connection.told.try_recv() {
                if self.take(msg)? {
                    return Ok(());
                }
            }
        }
    }

    fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { wall_ms: jiff::Timestamp::now().as_millisecond(), mono_ms }
    }

    /// `true` when it is time to leave.
    fn take(&mut self, msg: Msg) -> io::Result<bool> {
        let now = self.now();
        let cmds = update::update(&mut self.model, now, msg);
        self.carry_out(cmds)
    }

    fn carry_out(&mut self, cmds: Vec<Cmd>) -> io::Result<bool> {
        for cmd in cmds {
            match cmd {
                Cmd::Quit => {
                    self.memory.keep(&self.model);
                    return Ok(true);
                }
                Cmd::Redraw => {
                    self.painter.forget();
                    self.model.dirty_input = true;
                }
                Cmd::Link(ask) => {
                    if self.connection.asks.try_send(ask).is_err() {
                        self.model.say(Severity::Warning, "the link is busy, nothing was sent");
                    }
                }
                Cmd::Copy(text) => match clipboard::sequence(&text, self.between) {
                    Some(bytes) => self.terminal.write(&bytes)?,
                    None => self.model.say(Severity::Warning, "too long to copy"),
                },
                Cmd::Export { file, text } => self.export(&file, &text),
                Cmd::Switch { context } => self.switch(&context),
            }
        }
        Ok(false)
    }

    fn export(&mut self, file: &str, text: &str) {
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(EXPORT_MODE)
            .open(file)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => self.model.say(Severity::Info, format!("written to {file}")),
            Err(error) => self.model.say(Severity::Warning, format!("{file}: {error}")),
        }
    }

    fn switch(&mut self, name: &str) {
        match Connection::open(&self.contexts, name, self.start, self.slow) {
            Err(why) => self.model.say(Severity::Warning, format!("ctx {name}: {why}")),
            Ok(connection) => {
                self.memory.keep(&self.model);
                self.connection = connection;
                self.model.forget(self.contexts.shown(name));
                self.memory.recall(&mut self.model);
                for cmd in update::start(&self.model) {
                    if let Cmd::Link(ask) = cmd {
                        // A new queue has room.
                        let _ = self.connection.asks.try_send(ask);
                    }
                }
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        let model = &self.model;
        let bytes = self.painter.frame(model.size, |buffer| view::draw(model, buffer))?;
        self.terminal.write(&bytes)?;
        self.model.dirty_input = false;
        self.model.dirty_data = false;
        let now = self.now().mono_ms;
        self.gate.drew(now);
        Ok(())
    }
}

/// Waits for a moment, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

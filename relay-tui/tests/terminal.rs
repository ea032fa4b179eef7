//! The program as built, in a real pseudo-terminal, with no daemon behind it: it draws at once,
//! never gives up, and gives the terminal back however it ends.

#![expect(clippy::unwrap_used, reason = "without a terminal there is nothing to test")]

use std::io::{Read as _, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

/// Longer than anything here can take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Seen {
    screen: vt100::Parser,
    raw: Vec<u8>,
}

/// A console in a terminal; killed when dropped.
struct Console {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    seen: Arc<Mutex<Seen>>,
}

impl Console {
    /// Starts it against an address where nothing listens.
    fn start(environment: &[(&str, &str)]) -> Self {
        let nobody = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().to_string()
        };
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_relay-tui"));
        command.args(["--addr", &nobody]);
        command.env_clear();
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        command.env("RELAY_OPERATOR_TOKEN", "relay_op_never_drawn");
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer = pair.master.take_writer().unwrap();
        let seen =
            Arc::new(Mutex::new(Seen { screen: vt100::Parser::new(24, 80, 0), raw: Vec::new() }));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut chunk = [0; 65_536];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                let mut seen = shared.lock().unwrap();
                seen.screen.process(&chunk[..count]);
                seen.raw.extend_from_slice(&chunk[..count]);
            }
        });
        Self { master: pair.master, child, writer, seen }
    }

    fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    fn until(&self, what: &str, fits: impl Fn(&str) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !fits(&self.screen()) {
            assert!(Instant::now() < end, "never saw {what}:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn types(&mut self, keys: &[u8]) {
        self.writer.write_all(keys).unwrap();
        self.writer.flush().unwrap();
    }

    fn resize(&self, cols: u16, rows: u16) {
        // The emulator does not like tiny sizes; the program must.
        self.seen.lock().unwrap().screen.screen_mut().set_size(rows.max(4), cols.max(10));
        self.master.resize(PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }).unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn is_cooked(&self) -> bool {
        let settings = self.master.get_termios().unwrap();
        format!("{:?}", settings.local_flags).contains("ICANON")
    }

    /// Waits for the end and checks that everything was given back.
    fn ends_well(mut self, how: &str) {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "{how}: it did not end:\n{}", self.screen());
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "{how}: {status:?}");
        // What was written last may still be on its way to the reader.
        let restored = |seen: &Seen| {
            let screen = seen.screen.screen();
            !screen.alternate_screen()
                && !screen.hide_cursor()
                && !screen.bracketed_paste()
                && screen.mouse_protocol_mode() == vt100::MouseProtocolMode::None
        };
        while !restored(&self.seen.lock().unwrap()) {
            assert!(Instant::now() < end, "{how}: the terminal was not given back");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.is_cooked(), "{how}: keys are still raw");
        let raw = String::from_utf8_lossy(&self.seen.lock().unwrap().raw).into_owned();
        assert!(!raw.contains("relay_op_never_drawn"), "{how}: the token was drawn");
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

#[test]
fn it_tells_why_there_is_no_link_and_every_end_gives_the_terminal_back() {
    for (how, end) in [
        ("q", (|console: &mut Console| console.types(b"q")) as fn(&mut Console)),
        ("ctrl-c twice", |console| console.types(b"\x03\x03")),
        ("SIGTERM", |console| console.signal("-TERM")),
        ("SIGHUP", |console| console.signal("-HUP")),
        ("SIGINT", |console| console.signal("-INT")),
    ] {
        let mut console = Console::start(&[]);
        console.until("the page", |screen| screen.contains("Needs a person"));
        assert!(console.seen.lock().unwrap().screen.screen().alternate_screen());
        assert!(!console.is_cooked());
        if how == "q" {
            console.until("the reason", |screen| screen.contains("is relayd running?"));
        }
        end(&mut console);
        console.ends_well(how);
    }
}

#[test]
fn keys_work_while_there_is_no_link() {
    let mut console = Console::start(&[]);
    console.until("the page", |screen| screen.contains("Needs a person"));
    for (key, title) in [(b"3", "3<Backends>"), (b"5", "5<Keys>"), (b"9", "9<Events>")] {
        console.types(key);
        console.until(title, |screen| screen.contains(title));
    }
    console.types(b"?");
    console.until("help", |screen| screen.contains("Help: Events"));
    console.types(b"\x1b");
    console.until("no help", |screen| !screen.contains("Help: Events"));
    console.types(b"q");
    console.ends_well("q");
}

#[test]
fn it_survives_a_storm_of_sizes_and_a_huge_paste() {
    let mut console = Console::start(&[]);
    console.until("the page", |screen| screen.contains("Needs a person"));
    for step in 0..200_u16 {
        console.resize(1 + step * 37 % 200, 1 + step * 13 % 60);
    }
    console.resize(30, 8);
    console.until("too small", |screen| screen.contains("too small: 30x8"));
    console.resize(140, 40);
    console.until("the wide page", |screen| screen.contains("Money"));
    console.types(b"/");
    let mut paste = b"\x1b[200~".to_vec();
    paste.extend(std::iter::repeat_n(b'x', 1_000_000));
    paste.extend(b"\x1b[201~");
    console.types(&paste);
    console.types(b"\r");
    console.until("the end of the filter line", |screen| screen.contains("? help"));
    console.types(b"q");
    console.ends_well("q after the storm");
}

#[test]
fn frames_are_synchronized_and_no_colour_means_none() {
    let mut console = Console::start(&[("NO_COLOR", "1")]);
    console.until("the page", |screen| screen.contains("Needs a person"));
    console.types(b"5");
    console.until("keys", |screen| screen.contains("5<Keys>"));
    let raw = String::from_utf8_lossy(&console.seen.lock().unwrap().raw).into_owned();
    let (begun, ended) = (raw.matches("\x1b[?2026h").count(), raw.matches("\x1b[?2026l").count());
    assert!(begun >= 2 && begun - ended <= 1, "{begun} begun, {ended} ended");
    let plain = |code: &u16| *code < 30;
    assert!(looks(&raw).iter().all(plain), "{:?}", looks(&raw));
    console.types(b"q");
    console.ends_well("q");
}

/// Every code of every sequence that changes how text looks.
fn looks(raw: &str) -> Vec<u16> {
    raw.split("\x1b[")
        .filter_map(|part| {
            let end = part.find(|c: char| c.is_ascii_alphabetic())?;
            part[end..].starts_with('m').then(|| &part[..end])
        })
        .flat_map(|codes| codes.split(';').map(|code| code.parse().unwrap_or(0)))
        .collect()
}

#[test]
fn a_terminal_of_16_colours_gets_its_own_codes_and_only_what_it_can_show() {
    for (term, bare) in [("linux", true), ("xterm", false), ("screen", false), ("vt100", true)] {
        let mut console = Console::start(&[("TERM", term)]);
        console.until("the page", |screen| screen.contains("Needs a person"));
        console.until("no link", |screen| screen.contains("RETRY"));
        let raw = String::from_utf8_lossy(&console.seen.lock().unwrap().raw).into_owned();
        let codes = looks(&raw);
        let classic = |code: &u16| matches!(code, 0..=29 | 30..=37 | 39..=47 | 49 | 90..=97);
        assert!(codes.iter().all(classic), "{term}: {codes:?}");
        let coloured = codes.iter().any(|code| *code >= 30);
        assert_eq!(coloured, term != "vt100", "{term}: {codes:?}");
        assert_eq!(console.screen().is_ascii(), bare, "{term}: {}", console.screen());
        console.types(b"q");
        console.ends_well(term);
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let output = Command::new(env!("CARGO_BIN_EXE_relay-tui"))
        .env_clear()
        .env("RELAY_OPERATOR_TOKEN", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("relay-tui once overview"), "{said}");
    assert!(output.stdout.is_empty());
}

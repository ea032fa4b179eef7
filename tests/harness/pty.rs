//! A program in a real pseudo-terminal, and the screen it draws.

use std::io::{Read as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use portable_pty::{Child, CommandBuilder, ExitStatus, MasterPty, PtySize, native_pty_system};

/// Longest wait for something on the screen.
const BOUND: Duration = Duration::from_secs(30);
/// Between two looks.
const STEP: Duration = Duration::from_millis(20);
/// Smaller screens are asked for by no person, and some emulators break on them.
const LEAST: (u16, u16) = (10, 4);

/// Questions that programs ask their terminal, and what one answers.
const QUESTIONS: [(&str, &str); 4] = [
    // Where the cursor is: filled in from the screen.
    ("\u{1b}[6n", ""),
    // What the terminal is: a VT220.
    ("\u{1b}[c", "\u{1b}[?62c"),
    // Which keyboard extensions are on: none.
    ("\u{1b}[?u", "\u{1b}[?0u"),
    // Whether synchronised output is known: it is not.
    ("\u{1b}[?2026$p", "\u{1b}[?2026;0$y"),
];

/// A running program and its screen; killed when dropped.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    writer: Arc<Mutex<Box<dyn Write + Send>>>,
    state: Arc<Mutex<State>>,
}

struct State {
    screen: vt100::Parser,
    /// Everything that was written.
    raw: Vec<u8>,
    ended: bool,
}

impl Terminal {
    /// Starts a program in a terminal of so many columns and rows.
    ///
    /// # Errors
    /// When there is no terminal to be had, or the program does not start.
    pub fn start(
        columns: u16,
        rows: u16,
        program: &std::path::Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        ensure!(columns >= LEAST.0 && rows >= LEAST.1, "a screen of at least {LEAST:?}");
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size)?;
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.env("TERM", "xterm-256color");
        for (name, value) in environment {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command)?;
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader()?;
        let writer = Arc::new(Mutex::new(pair.master.take_writer()?));
        let state =
            State { screen: vt100::Parser::new(rows, columns, 0), raw: Vec::new(), ended: false };
        let state = Arc::new(Mutex::new(state));
        let (shared, answers) = (Arc::clone(&state), Arc::clone(&writer));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                match reader.read(&mut chunk) {
                    Ok(0) | Err(_) => break lock(&shared).ended = true,
                    Ok(count) => {
                        let answer = lock(&shared).take(&chunk[..count]);
                        if !answer.is_empty() {
                            let _ = lock(&answers).write_all(answer.as_bytes());
                        }
                    }
                }
            }
        });
        Ok(Self { master: pair.master, child, writer, state })
    }

    /// The id of the program, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.process_id()
    }

    /// Types.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn keys(&self, keys: &str) -> anyhow::Result<()> {
        let mut writer = lock(&self.writer);
        writer.write_all(keys.as_bytes())?;
        Ok(writer.flush()?)
    }

    /// Makes the window another size.
    ///
    /// # Errors
    /// When it would be too small, or the terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> anyhow::Result<()> {
        ensure!(columns >= LEAST.0 && rows >= LEAST.1, "a screen of at least {LEAST:?}");
        lock(&self.state).screen.screen_mut().set_size(rows, columns);
        self.master.resize(PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 })
    }

    /// What the screen shows, a line each.
    #[must_use]
    pub fn screen(&self) -> String {
        lock(&self.state).screen.screen().contents()
    }

    /// Whether the program draws on the alternate screen.
    #[must_use]
    pub fn is_alternate(&self) -> bool {
        lock(&self.state).screen.screen().alternate_screen()
    }

    /// Whether the cursor is hidden.
    #[must_use]
    pub fn is_cursor_hidden(&self) -> bool {
        lock(&self.state).screen.screen().hide_cursor()
    }

    /// Everything that was written to the terminal.
    #[must_use]
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&lock(&self.state).raw).into_owned()
    }

    /// Whether the terminal edits lines, as it does under a shell.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn is_cooked(&self) -> anyhow::Result<bool> {
        let settings = self.master.get_termios().context("no settings")?;
        Ok(format!("{:?}", settings.local_flags).contains("ICANON"))
    }

    /// Waits until the screen is as wanted; gives it.
    ///
    /// # Errors
    /// When it is not within 30 s; the error shows the screen.
    pub async fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let until = Instant::now() + BOUND;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return Ok(screen);
            }
            if Instant::now() > until || lock(&self.state).ended {
                bail!("waited in vain for {what}; the screen:\n{screen}");
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Waits for the program's end, and until all that it wrote is on the screen.
    ///
    /// # Errors
    /// When it does not end within 30 s.
    pub async fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + BOUND;
        loop {
            let status = self.child.try_wait()?;
            if let Some(status) = status
                && lock(&self.state).ended
            {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "it did not end; the screen:\n{}", self.screen());
            tokio::time::sleep(STEP).await;
        }
    }
}

impl State {
    /// Takes what was written; gives what the terminal answers.
    fn take(&mut self, bytes: &[u8]) -> String {
        self.raw.extend_from_slice(bytes);
        self.screen.process(bytes);
        let text = String::from_utf8_lossy(bytes);
        let mut answer = String::new();
        for (question, fixed) in QUESTIONS {
            for _ in 0..text.matches(question).count() {
                if fixed.is_empty() {
                    let (row, column) = self.screen.screen().cursor_position();
                    answer.push_str(&format!("\u{1b}[{};{}R", row + 1, column + 1));
                } else {
                    answer.push_str(fixed);
                }
            }
        }
        answer
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

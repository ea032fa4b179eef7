//! A panic in a real terminal: it is given back first, and what went wrong stands on the operator's
//! own page.

use std::io::Read as _;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};

use crate::term::Terminal;

/// Set for the child of the test below: the terminal that it takes is its process's own.
const CHILD: &str = "TUI_TEST_TAKES_ITS_TERMINAL";

fn take_the_terminal_and_panic() {
    let mut terminal = Terminal::take(true).unwrap();
    terminal.write(b"\x1b[?2026h\x1b[31mhalf a page").unwrap();
    panic!("something went wrong");
}

#[test]
fn a_panic_gives_the_terminal_back_and_is_told_there() {
    if std::env::var_os(CHILD).is_some() {
        return take_the_terminal_and_panic();
    }
    let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
    let name = "tests::panic::a_panic_gives_the_terminal_back_and_is_told_there";
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, "1");
    command.env("TERM", "xterm-256color");
    command.env("RUST_BACKTRACE", "0");
    let mut child = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut reader = pair.master.try_clone_reader().unwrap();
    let mut screen = vt100::Parser::new(24, 80, 0);
    let (mut chunk, mut raw) = ([0; 4_096], Vec::new());
    // The terminal ends with its last process.
    while let Ok(count @ 1..) = reader.read(&mut chunk) {
        screen.process(&chunk[..count]);
        raw.extend_from_slice(&chunk[..count]);
    }
    assert!(!child.wait().unwrap().success());
    let screen = screen.screen();
    let raw = String::from_utf8_lossy(&raw);
    assert!(raw.contains("\x1b[?1049h"), "it never took the terminal: {raw}");
    assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
    assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    assert!(raw.ends_with('\n') && raw.rfind("\x1b[?2026l") > raw.rfind("\x1b[?2026h"), "{raw}");
    assert!(screen.contents().contains("something went wrong"), "{}", screen.contents());
    assert!(!screen.contents().contains("half a page"), "{}", screen.contents());
    let settings = format!("{:?}", pair.master.get_termios().unwrap().local_flags);
    assert!(settings.contains("ICANON"), "keys are still raw: {settings}");
}

//! The cells that changed as the fewest bytes that every terminal understands.
//!
//! Colours are the classic codes of 16-colour terminals, all attributes of a cell in one sequence,
//! and only what differs from the cell before. A blank shows no ink, so it goes along with whatever
//! is on; a short way over cells that stay is walked by writing them again; a run of plain blanks
//! is erased, and a run of full blocks painted.

use std::io::{self, Write};

use ratatui::buffer::{Buffer, Cell, CellWidth as _};
use ratatui::style::{Color, Modifier};

/// A way over this many columns is written; a longer one is a jump of four bytes and more.
const WALK_MAX: u16 = 4;
const FULL_BLOCK: &str = "█";
/// Full blocks in a row that pay for turning to paper and back.
const PAINT_MIN: usize = 6;

/// How cells look from here on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Look {
    ink: Color,
    paper: Color,
    modifier: Modifier,
}

impl Look {
    fn of(cell: &Cell) -> Self {
        Self { ink: cell.fg, paper: cell.bg, modifier: cell.modifier }
    }

    /// What is seen of a blank: paper, and the modifiers that draw without a character. Ink only
    /// where it is drawn as paper or as a line.
    fn of_blank(self) -> Self {
        const DRAWN: Modifier =
            Modifier::REVERSED.union(Modifier::UNDERLINED).union(Modifier::CROSSED_OUT);
        let modifier = self.modifier & DRAWN;
        let ink = if modifier.is_empty() { Color::Reset } else { self.ink };
        Self { ink, paper: self.paper, modifier }
    }

    /// A cell can be written with this look on.
    fn draws(self, cell: &Cell) -> bool {
        let wanted = Self::of(cell);
        self == wanted
            || (is_blank(cell) && self.of_blank() == wanted.of_blank())
            || self.draws_as_paper(cell)
    }

    /// A full block in an ink is a blank on paper of that colour: one byte instead of three.
    fn draws_as_paper(self, cell: &Cell) -> bool {
        cell.symbol() == FULL_BLOCK && cell.modifier.is_empty() && self == Self::of(cell).reversed()
    }

    fn reversed(self) -> Self {
        Self { modifier: self.modifier | Modifier::REVERSED, ..self }
    }
}

/// Bytes that turn one page into the other; attributes are off before and after.
pub(super) fn encode(out: &mut Vec<u8>, shown: &Buffer, page: &Buffer) -> io::Result<()> {
    let changes = changes(shown, page);
    let mut now = Look::default();
    let mut at: Option<(u16, u16)> = None;
    let mut rest = changes.as_slice();
    while let &[(x, y, cell), ref after @ ..] = rest {
        if at != Some((x, y)) {
            travel(out, page, now, at, (x, y))?;
        }
        let erased = Erased::of(page, rest);
        if erased.is_worth_it() {
            // Some terminals erase with whatever is on.
            if now.of_blank() != Look::default() {
                turn(out, now, Look::default())?;
                now = Look::default();
            }
            erased.write(out)?;
            at = Some((x, y));
            rest = &rest[erased.changes..];
            continue;
        }
        let paint = !now.draws_as_paper(cell) && paints(rest);
        if paint || !now.draws(cell) {
            let look = if paint { Look::of(cell).reversed() } else { Look::of(cell) };
            turn(out, now, look)?;
            now = look;
        }
        let symbol = if now.draws_as_paper(cell) { " " } else { cell.symbol() };
        out.write_all(symbol.as_bytes())?;
        let next = x + cell.cell_width().max(1);
        // Behind the last column terminals disagree where the cursor is.
        at = (next < page.area.width).then_some((next, y));
        rest = after;
    }
    if now != Look::default() {
        out.write_all(b"\x1b[m")?;
    }
    Ok(())
}

fn is_blank(cell: &Cell) -> bool {
    cell.symbol() == " "
}

/// Enough full blocks of one ink come to paint them as paper.
fn paints(changes: &[(u16, u16, &Cell)]) -> bool {
    let [(x, y, first), ..] = changes else { return false };
    let run = changes
        .iter()
        .zip(*x..)
        .take_while(|((column, line, cell), next)| column == next && line == y && cell == first);
    first.symbol() == FULL_BLOCK
        && first.modifier.is_empty()
        && run.take(PAINT_MIN).count() == PAINT_MIN
}

/// Plain blanks from a place on, as far as the last of them that changed.
struct Erased {
    columns: u16,
    changes: usize,
    /// Nothing else stands behind them on the line.
    to_the_end: bool,
    /// Something more changes behind them on the line, and costs a jump.
    goes_on: bool,
}

impl Erased {
    fn of(page: &Buffer, changes: &[(u16, u16, &Cell)]) -> Self {
        let none = Self { columns: 0, changes: 0, to_the_end: false, goes_on: false };
        let [(x, y, _), ..] = changes else { return none };
        let plain =
            |cell: &Cell| is_blank(cell) && Look::of(cell).of_blank() == Look::default().of_blank();
        let end = (*x..page.area.width)
            .find(|column| !plain(&page[(*column, *y)]))
            .unwrap_or(page.area.width);
        let within = changes.iter().take_while(|(column, line, _)| line == y && *column < end);
        let count = within.clone().count();
        let columns = within.last().map_or(0, |(column, ..)| column + 1 - x);
        Self {
            columns,
            changes: count,
            to_the_end: end == page.area.width,
            goes_on: changes.get(count).is_some_and(|(_, line, _)| line == y),
        }
    }

    fn is_worth_it(&self) -> bool {
        match (self.to_the_end, self.goes_on) {
            (true, _) => self.columns > 3,
            (false, false) => self.columns > 5,
            (false, true) => self.columns > 10,
        }
    }

    fn write(&self, out: &mut Vec<u8>) -> io::Result<()> {
        if self.to_the_end {
            out.write_all(b"\x1b[K")
        } else {
            write!(out, "\x1b[{}X", self.columns)
        }
    }
}

/// The cells to write, line by line. What a wide character hides is none.
fn changes<'a>(shown: &Buffer, page: &'a Buffer) -> Vec<(u16, u16, &'a Cell)> {
    let mut changes = Vec::new();
    for y in 0..page.area.height {
        let mut x = 0;
        while x < page.area.width {
            let (was, cell) = (&shown[(x, y)], &page[(x, y)]);
            // Half of a wide character that is written over goes in a way of the terminal's own.
            let broken = x > 0
                && shown[(x - 1, y)].cell_width() > 1
                && shown[(x - 1, y)] != page[(x - 1, y)];
            if broken || (was != cell && !(is_blank(cell) && stays(was, cell))) {
                changes.push((x, y, cell));
            }
            x += cell.cell_width().max(1);
        }
    }
    changes
}

/// A blank over a blank that looks the same, whatever their inks.
fn stays(before: &Cell, after: &Cell) -> bool {
    is_blank(before) && Look::of(before).of_blank() == Look::of(after).of_blank()
}

/// Moves the cursor: over a few cells by writing them again, forward on a line, or anywhere.
fn travel(
    out: &mut Vec<u8>,
    page: &Buffer,
    now: Look,
    from: Option<(u16, u16)>,
    (x, y): (u16, u16),
) -> io::Result<()> {
    if let Some((start, line)) = from
        && line == y
        && start < x
    {
        let between = || (start..x).map(|column| &page[(column, y)]);
        let plain = |cell: &Cell| cell.symbol().len() == 1 && now.draws(cell);
        if x - start <= WALK_MAX && between().all(plain) {
            return between().try_for_each(|cell| out.write_all(cell.symbol().as_bytes()));
        }
        return match x - start {
            1 => out.write_all(b"\x1b[C"),
            columns => write!(out, "\x1b[{columns}C"),
        };
    }
    match (x, y) {
        (0, 0) => out.write_all(b"\x1b[H"),
        (0, _) => write!(out, "\x1b[{}H", y + 1),
        _ => write!(out, "\x1b[{};{}H", y + 1, x + 1),
    }
}

/// One sequence from one look to another, by the shorter of two ways: what differs, or all anew.
fn turn(out: &mut Vec<u8>, from: Look, to: Look) -> io::Result<()> {
    let mut change = String::new();
    let gone = from.modifier - to.modifier;
    let mut kept = from.modifier;
    // One code ends bold and dim together.
    for (group, code) in [
        (Modifier::BOLD.union(Modifier::DIM), "22"),
        (Modifier::ITALIC, "23"),
        (Modifier::UNDERLINED, "24"),
        (Modifier::REVERSED, "27"),
        (Modifier::CROSSED_OUT, "29"),
    ] {
        if gone.intersects(group) {
            push(&mut change, code);
            kept -= group;
        }
    }
    differences(&mut change, Look { modifier: kept, ..from }, to);
    let mut anew = String::new();
    if to != Look::default() {
        anew.push('0');
        differences(&mut anew, Look::default(), to);
    }
    let codes = if anew.len() < change.len() { anew } else { change };
    write!(out, "\x1b[{codes}m")
}

fn push(codes: &mut String, code: &str) {
    if !codes.is_empty() {
        codes.push(';');
    }
    codes.push_str(code);
}

/// The codes of what `to` has and `from` has not.
fn differences(codes: &mut String, from: Look, to: Look) {
    let added = to.modifier - from.modifier;
    for (one, code) in [
        (Modifier::BOLD, "1"),
        (Modifier::DIM, "2"),
        (Modifier::ITALIC, "3"),
        (Modifier::UNDERLINED, "4"),
        (Modifier::REVERSED, "7"),
        (Modifier::CROSSED_OUT, "9"),
    ] {
        if added.contains(one) {
            push(codes, code);
        }
    }
    if to.ink != from.ink {
        push(codes, &colour(to.ink, 30));
    }
    if to.paper != from.paper {
        push(codes, &colour(to.paper, 40));
    }
}

/// The code of a colour; `base` is 30 for ink and 40 for paper.
fn colour(colour: Color, base: u8) -> String {
    let step = match colour {
        Color::Black => 0,
        Color::Red => 1,
        Color::Green => 2,
        Color::Yellow => 3,
        Color::Blue => 4,
        Color::Magenta => 5,
        Color::Cyan => 6,
        Color::Gray => 7,
        Color::Reset => 9,
        Color::DarkGray => 60,
        Color::LightRed => 61,
        Color::LightGreen => 62,
        Color::LightYellow => 63,
        Color::LightBlue => 64,
        Color::LightMagenta => 65,
        Color::LightCyan => 66,
        Color::White => 67,
        Color::Indexed(index) => return format!("{};5;{index}", base + 8),
        Color::Rgb(red, green, blue) => return format!("{};2;{red};{green};{blue}", base + 8),
    };
    (base + step).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    use super::*;

    const AREA: Rect = Rect { x: 0, y: 0, width: 24, height: 3 };

    fn bytes(shown: &Buffer, page: &Buffer) -> String {
        let mut out = Vec::new();
        encode(&mut out, shown, page).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn page(text: &str, style: Style) -> Buffer {
        let mut page = Buffer::empty(AREA);
        page.set_string(0, 0, text, style);
        page
    }

    #[test]
    fn a_colour_is_its_classic_code_and_attributes_come_in_one_sequence() {
        let blank = Buffer::empty(AREA);
        let red = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
        assert_eq!(bytes(&blank, &page("down", red)), "\x1b[H\x1b[1;31mdown\x1b[m");
        let bright = Style::new().fg(Color::LightBlue).bg(Color::Black);
        assert_eq!(bytes(&blank, &page("x", bright)), "\x1b[H\x1b[94;40mx\x1b[m");
    }

    #[test]
    fn what_stays_between_two_changes_is_walked_over_or_jumped() {
        let before = page("a-b-----------c", Style::new());
        let after = page("x-y-----------z", Style::new());
        assert_eq!(bytes(&before, &after), "\x1b[Hx-y\x1b[11Cz");
        assert_eq!(bytes(&after, &after), "");
    }

    #[test]
    fn blanks_are_erased_and_never_coloured() {
        let before = page("some words here", Style::new().fg(Color::Green));
        assert_eq!(bytes(&before, &Buffer::empty(AREA)), "\x1b[H\x1b[K");
        let inked = page("               ", Style::new().fg(Color::Red));
        assert_eq!(bytes(&Buffer::empty(AREA), &inked), "");
    }

    #[test]
    fn full_blocks_in_a_row_are_painted() {
        let green = Style::new().fg(Color::Green);
        let after = page("\u{2588}\u{2588}\u{2588}\u{2588}\u{2588}\u{2588}\u{2584}", green);
        assert_eq!(
            bytes(&Buffer::empty(AREA), &after),
            "\x1b[H\x1b[7;32m      \x1b[27m\u{2584}\x1b[m"
        );
    }

    fn style() -> impl Strategy<Value = Style> + Clone {
        let colour = prop_oneof![
            4 => Just(Color::Reset),
            1 => Just(Color::Red),
            1 => Just(Color::Green),
            1 => Just(Color::LightCyan),
        ];
        // What the emulator of this test can tell apart.
        let modifier = prop_oneof![
            4 => Just(Modifier::empty()),
            1 => Just(Modifier::BOLD),
            1 => Just(Modifier::DIM),
            1 => Just(Modifier::REVERSED),
            1 => Just(Modifier::UNDERLINED.union(Modifier::BOLD)),
        ];
        (colour.clone(), prop_oneof![5 => Just(Color::Reset), 1 => colour], modifier).prop_map(
            |(ink, paper, modifier)| Style::new().fg(ink).bg(paper).add_modifier(modifier),
        )
    }

    fn pages() -> impl Strategy<Value = Vec<Buffer>> {
        // A word a line: nothing is drawn over half of a wide character.
        let word = ("[ab \u{2588}\u{2584}\u{4e2d} ]{0,24}", 0..24_u16, style());
        let one = [word.clone(), word.clone(), word].prop_map(|words| {
            let mut page = Buffer::empty(AREA);
            for (y, (text, x, style)) in (0..).zip(words) {
                page.set_stringn(x, y, text, usize::from(AREA.width - x), style);
            }
            page
        });
        proptest::collection::vec(one, 1..5)
    }

    /// What is seen of a cell: a full block is paper of its ink, and a blank has no ink.
    fn seen(symbol: &str, look: Look) -> (String, Look) {
        match symbol {
            FULL_BLOCK if look.modifier.is_empty() => (" ".to_owned(), look.reversed()),
            "" | " " => (" ".to_owned(), look.of_blank()),
            other => (other.to_owned(), look),
        }
    }

    fn on_terminal(cell: &vt100::Cell) -> (String, Look) {
        let colour = |colour| match colour {
            vt100::Color::Default => Color::Reset,
            vt100::Color::Idx(1) => Color::Red,
            vt100::Color::Idx(2) => Color::Green,
            vt100::Color::Idx(14) => Color::LightCyan,
            other => panic!("nobody drew {other:?}"),
        };
        let mut modifier = Modifier::empty();
        modifier.set(Modifier::BOLD, cell.bold());
        modifier.set(Modifier::DIM, cell.dim());
        modifier.set(Modifier::REVERSED, cell.inverse());
        modifier.set(Modifier::UNDERLINED, cell.underline());
        let look = Look { ink: colour(cell.fgcolor()), paper: colour(cell.bgcolor()), modifier };
        seen(cell.contents(), look)
    }

    proptest! {
        #[test]
        fn a_terminal_shows_what_was_drawn(pages in pages()) {
            let mut terminal = vt100::Parser::new(AREA.height, AREA.width, 0);
            let mut shown = Buffer::empty(AREA);
            for page in pages {
                terminal.process(bytes(&shown, &page).as_bytes());
                for (at, cell) in page.content.iter().enumerate() {
                    let (x, y) = page.pos_of(at);
                    let there = terminal.screen().cell(y, x).unwrap();
                    if !there.is_wide_continuation() {
                        prop_assert_eq!(on_terminal(there), seen(cell.symbol(), Look::of(cell)), "{},{}", x, y);
                    }
                }
                shown = page;
            }
        }
    }
}

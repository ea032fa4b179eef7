//! Every figure on a screen of the console is one that `relayd admin ... --json` prints.
//!
//! The JSON is read before and after the screen is; where both are the same, each line of the screen's
//! panels must be the one that is written here from the JSON alone, by formatting of its own. What is
//! drawn (bars, charts) and what only time moves (`for 4s`) is left out.

pub(crate) mod gpus;
pub(crate) mod models;
pub(crate) mod providers;

use relay_tests::{Relay, Terminal, eventually};
use serde_json::Value;

/// What changes while nothing does.
const AGES: [&str; 4] = ["age_ms", "heard_at_ms", "observed_at_ms", "span_ms"];
/// What bars, charts and marks are drawn with.
const DRAWN: &str = "▁▂▃▄▅▆▇█·[]?";
/// A word of an expected line that stands for any.
const ANY: &str = "?";
/// The end of a cell that is cut.
const CUT: &str = "..";
/// Between the words of which an expected one is any: a rate falls while its minute goes on.
const OR: char = '|';

/// Waits until the screen says what the JSON of `arguments` says at the same moment.
pub(crate) async fn agree(
    relay: &Relay,
    console: &Terminal,
    arguments: &[&str],
    compare: impl Fn(&Page, &Value) -> Result<(), String>,
) {
    let mut last = String::new();
    let found = eventually("the screen to say what the JSON says", async || {
        let before = relay.admin(arguments)?;
        let page = Page::of(console);
        let after = relay.admin(arguments)?;
        if still(before.clone()) != still(after.clone()) {
            last = format!("{before:#}\nis meanwhile\n{after:#}");
            return Ok(None);
        }
        match compare(&page, &before) {
            Ok(()) => Ok(Some(())),
            Err(why) => {
                last = format!("{why}\n{}\n{before:#}", page.text);
                Ok(None)
            }
        }
    });
    found.await.unwrap_or_else(|error| panic!("{error}\n{last}"));
}

/// Without what only time moves.
fn still(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !AGES.contains(&name.as_str()));
            fields.values_mut().for_each(|field| *field = still(field.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = still(item.take())),
        _ => {}
    }
    value
}

/// The screen at one moment.
pub(crate) struct Page {
    text: String,
    cells: Vec<Vec<char>>,
}

impl Page {
    fn of(console: &Terminal) -> Self {
        let text = console.screen();
        let cells = text.lines().map(|line| line.chars().collect()).collect();
        Self { text, cells }
    }

    /// The lines of the `nth` panel whose title begins so; only those that say something.
    pub(crate) fn panel(&self, title: &str, nth: usize) -> Result<Vec<String>, String> {
        let tops = self.cells.iter().enumerate().flat_map(|(y, line)| {
            let corners = line.iter().enumerate().filter(|(_, cell)| **cell == '┌');
            corners.filter_map(move |(x, _)| {
                let said: String = line[x + 1..].iter().skip(1).collect();
                said.strip_prefix(' ')?.starts_with(title).then_some((x, y))
            })
        });
        let (x, y) =
            tops.into_iter().nth(nth).ok_or_else(|| format!("no panel '{title}' number {nth}"))?;
        let right = self.cells[y][x..].iter().position(|cell| *cell == '┐').unwrap_or(0);
        let below = self.cells[y + 1..].iter().take_while(|line| line.get(x) == Some(&'│'));
        let inside = below.map(|line| line[x + 1..x + right].iter().collect::<String>());
        Ok(inside.map(|line| said(&line)).filter(|line| !line.is_empty()).collect())
    }
}

/// A line without what is drawn and without how long something lasts.
fn said(line: &str) -> String {
    let line = line.strip_prefix('>').unwrap_or(line);
    let mut words: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        if word.chars().all(|c| DRAWN.contains(c)) {
            continue;
        }
        if words.last() == Some(&"for") && is_age(word) {
            words.pop();
            continue;
        }
        words.push(word);
    }
    words.join(" ")
}

/// `4s`, `3h05m`.
fn is_age(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h'])
        && word.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c))
}

/// Whether the shown line is the wanted one; a cell that is cut ends with two dots.
fn same(shown: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split_whitespace().peekable();
    let mut shown = shown.split_whitespace().peekable();
    while let Some(word) = shown.next() {
        if !wanted.next().is_some_and(|whole| fits(word, whole)) {
            return false;
        }
        if word.ends_with(CUT) {
            // The rest of the cell is not there.
            let Some(next) = shown.peek() else { return true };
            while wanted.peek().is_some_and(|whole| !fits(next, whole)) {
                wanted.next();
            }
        }
    }
    wanted.next().is_none()
}

fn fits(word: &str, whole: &str) -> bool {
    match word.strip_suffix(CUT) {
        Some(begun) => whole.starts_with(begun),
        None => is_one_of(word, whole),
    }
}

fn is_one_of(word: &str, wanted: &str) -> bool {
    wanted == ANY || wanted == word || wanted.split(OR).any(|one| one == word)
}

/// Every line of a panel is the wanted one in its place; a panel may end before all are said.
pub(crate) fn lines(shown: &[String], wanted: &[String]) -> Result<(), String> {
    if shown.is_empty() || shown.len() > wanted.len() {
        return Err(format!("{} lines, {} wanted: {shown:#?}", shown.len(), wanted.len()));
    }
    for (shown, wanted) in shown.iter().zip(wanted) {
        if !same(shown, wanted) {
            return Err(format!("shown  '{shown}'\nwanted '{wanted}'"));
        }
    }
    Ok(())
}

/// The lines of a list or a table, each once, in any order.
pub(crate) fn rows(shown: &[String], wanted: &[String]) -> Result<(), String> {
    if shown.len() != wanted.len() {
        return Err(format!("{shown:#?}\nwanted {wanted:#?}"));
    }
    let stray = shown.iter().find(|shown| !wanted.iter().any(|wanted| same(shown, wanted)));
    stray.map_or(Ok(()), |stray| Err(format!("shown  '{stray}'\nwanted {wanted:#?}")))
}

/// A panel whose lines are wrapped: all of it as one, as far as there was room.
pub(crate) fn text(shown: &[String], wanted: &[String]) -> Result<(), String> {
    let (shown, wanted) = (said(&shown.join(" ")), wanted.join(" "));
    let (some, all) = (shown.split_whitespace(), wanted.split_whitespace());
    let mut all = all.clone();
    for word in some {
        let whole = all.next().unwrap_or_default();
        if !is_one_of(word, whole) {
            return Err(format!(
                "'{word}' where '{whole}' is wanted\nshown  {shown}\nwanted {wanted}"
            ));
        }
    }
    Ok(())
}

/// A field as it stands, or a dash.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A rate given in a thousand seconds.
pub(crate) fn rate(per_ks: u64) -> String {
    match per_ks {
        0 => "0".to_owned(),
        1..1_000_000 => format!("{}.{}", (per_ks + 50) / 1_000, (per_ks + 50) % 1_000 / 100),
        _ => {
            let tenths = per_ks / 100_000;
            if tenths >= 1_000 {
                format!("{}k", tenths / 10)
            } else {
                format!("{}.{}k", tenths / 10, tenths % 10)
            }
        }
    }
}

pub(crate) fn delay(ms: u64) -> String {
    match ms {
        0 => "-".to_owned(),
        1..1_000 => format!("{ms}ms"),
        _ => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
    }
}

pub(crate) fn percent(ppm: u64) -> String {
    if ppm >= 100_000 {
        format!("{}%", ppm / 10_000)
    } else {
        format!("{}.{:02}%", ppm / 10_000, ppm % 10_000 / 100)
    }
}

pub(crate) fn share(permille: u64) -> String {
    match permille % 10 {
        0 => format!("{}%", permille / 10),
        tenth => format!("{}.{tenth}%", permille / 10),
    }
}

pub(crate) fn thousandths(milli: u64) -> String {
    format!("{}.{:03}", milli / 1_000, milli % 1_000)
}

/// The time of day of a moment, in UTC.
pub(crate) fn clock(at_ms: u64) -> String {
    let s = at_ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", s / 3_600, s % 3_600 / 60, s % 60)
}

//! How values look to people: aligned tables, dollars, UTC.

use jiff::Timestamp;
use relay_proto::admin::v1::Meters;

use crate::domain::Ncr;

/// Rows under a header. Widths come from the first page, so that a long list can be printed as it
/// arrives.
pub(super) struct Table {
    columns: &'static [Column],
}

/// A column: its header, and on which side its values stand.
pub(super) enum Column {
    Left(&'static str),
    Right(&'static str),
}

use Column::{Left, Right};

impl Table {
    pub(super) const fn new(columns: &'static [Column]) -> Self {
        Self { columns }
    }

    /// The width of each column for these rows.
    pub(super) fn widths(&self, rows: &[Vec<String>]) -> Vec<usize> {
        let width = |(n, column): (usize, &Column)| {
            let longest = rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count());
            longest.chain([column.header().len()]).max().unwrap_or(0)
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    pub(super) fn header(&self, widths: &[usize]) -> String {
        self.line(self.columns.iter().map(|column| column.header().to_owned()), widths)
    }

    pub(super) fn row(&self, cells: Vec<String>, widths: &[usize]) -> String {
        self.line(cells.into_iter(), widths)
    }

    fn line(&self, cells: impl Iterator<Item = String>, widths: &[usize]) -> String {
        let mut line = String::new();
        for ((column, cell), width) in self.columns.iter().zip(cells).zip(widths) {
            let cell = plain(&cell);
            let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
            if !line.is_empty() {
                line.push_str("  ");
            }
            match column {
                Left(_) => line.extend([cell, pad]),
                Right(_) => line.extend([pad, cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

impl Column {
    const fn header(&self) -> &'static str {
        match self {
            Left(header) | Right(header) => header,
        }
    }
}

/// Names and values below one another, the values in one column.
pub(super) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in pairs {
        text.push_str(format!("{name:<width$}  {}", plain(value)).trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A foreign text that cannot steer the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Exact US dollars: `$0.0032704`.
pub(super) fn usd(ncr: i64) -> String {
    match Ncr::new(ncr).to_string() {
        negative if negative.starts_with('-') => format!("-${}", &negative[1..]),
        amount => format!("${amount}"),
    }
}

/// `2026-11-23 01:32:03Z`, or `-` for never.
pub(super) fn time(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(at) if ms != 0 => at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        _ => "-".to_owned(),
    }
}

/// Parts per million as a percentage.
pub(super) fn percent(ppm: u32) -> String {
    format!("{}.{:02}%", ppm / 10_000, ppm % 10_000 / 100)
}

/// Thousandths as a number with one decimal.
pub(super) fn thousandths(value: u64) -> String {
    format!("{}.{}", value / 1_000, value % 1_000 / 100)
}

/// `120 ms` or `1.5 s`; `-` for none.
pub(super) fn millis(ms: u64) -> String {
    match ms {
        0 => "-".to_owned(),
        1..10_000 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}

/// Tokens in and out.
pub(super) fn tokens(meters: Option<&Meters>) -> (String, String) {
    let Some(m) = meters else { return ("0".to_owned(), "0".to_owned()) };
    let input = m.in_uncached + m.in_cache_read + m.in_cache_write_5m + m.in_cache_write_1h;
    (input.to_string(), (m.out_text + m.out_reasoning).to_string())
}

/// Nothing is shown as `-`.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// A limit, or none of its own.
pub(super) fn limit(value: Option<u32>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_well() {
        assert_eq!(usd(3_270_400), "$0.0032704");
        assert_eq!(usd(-500_000_000), "-$0.5");
        assert_eq!(time(0), "-");
        assert_eq!(time(1_795_397_523_000), "2026-11-23 01:32:03Z");
        assert_eq!(percent(12_345), "1.23%");
        assert_eq!(thousandths(2_550), "2.5");
        assert_eq!([millis(0), millis(120), millis(12_345)], ["-", "120 ms", "12.3 s"]);
    }

    #[test]
    fn tables_align_and_hold_no_escapes() {
        let table = Table::new(&[Left("NAME"), Right("USD")]);
        let rows = vec![
            vec!["a\u{1b}[2J".to_owned(), "$1".to_owned()],
            vec!["long-name".to_owned(), "$10.25".to_owned()],
        ];
        let widths = table.widths(&rows);
        let mut lines = vec![table.header(&widths)];
        lines.extend(rows.into_iter().map(|row| table.row(row, &widths)));
        assert_eq!(lines, ["NAME          USD", "a?[2J          $1", "long-name  $10.25"]);
    }
}

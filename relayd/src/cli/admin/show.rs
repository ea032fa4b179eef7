//! Prints answers: JSON for scripts, tables for people.

use relay_proto::admin::v1::Page;
use serde::Serialize;
use tonic::{Response, Status, Streaming};

use super::Problem;
use super::format::Table;
use super::link::Link;
use crate::cli::output;

/// Rows asked for at once: the protocol's largest page.
const PAGE_ROWS: u32 = 1_000;

/// Where answers go, and in which form.
pub(super) struct Show {
    json: bool,
    sink: Sink,
}

enum Sink {
    Stdout,
    #[cfg(test)]
    Memory(String),
}

/// One page of a list, and where the next begins.
pub(super) type Rows<T> = (Vec<T>, String);

impl Show {
    pub(super) const fn stdout(json: bool) -> Self {
        Self { json, sink: Sink::Stdout }
    }

    /// An object: bare in JSON, this text for people.
    pub(super) fn one<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<(), Problem> {
        let text = if self.json { pretty(value)? } else { text(value) };
        self.line(&text);
        Ok(())
    }

    /// One update of a watch: a line of JSON, or text.
    fn update<T: Serialize>(
        &mut self,
        value: &T,
        text: impl FnOnce(&T) -> Option<String>,
    ) -> Result<(), Problem> {
        if self.json {
            let line = serde_json::to_string(value).map_err(unprintable)?;
            self.line(&line);
        } else if let Some(text) = text(value) {
            self.line(&text);
        }
        Ok(())
    }

    /// Says what a stream tells until it ends.
    pub(super) async fn watch<T: Serialize>(
        &mut self,
        link: &Link,
        opened: Result<Response<Streaming<T>>, Status>,
        text: impl Fn(&T) -> Option<String>,
    ) -> Result<(), Problem> {
        let mut updates = opened.map_err(|status| link.problem(&status))?.into_inner();
        while let Some(update) = updates.message().await.map_err(|status| link.problem(&status))? {
            self.update(&update, &text)?;
        }
        Ok(())
    }

    /// A list, page by page, until its end or the limit: `{"noun":[...]}` or a table.
    pub(super) async fn list<T: Serialize>(
        &mut self,
        link: &Link,
        noun: &str,
        limit: Option<usize>,
        fetch: impl AsyncFn(Page) -> Result<Rows<T>, Status>,
        table: &Table,
        cells: impl Fn(&T) -> Vec<String>,
    ) -> Result<(), Problem> {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut printed = 0_usize;
        let mut widths = Vec::new();
        let mut begun = false;
        let mut page_token = String::new();
        loop {
            let page_size = u32::try_from(left).unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS);
            let page = Page { page_size, page_token };
            let (mut rows, next) = fetch(page).await.map_err(|status| link.problem(&status))?;
            rows.truncate(left);
            left -= rows.len();
            if self.json {
                if !std::mem::replace(&mut begun, true) {
                    self.line(&format!("{{\"{noun}\":["));
                }
                for (n, row) in rows.iter().enumerate() {
                    let comma = if printed + n == 0 { "" } else { "," };
                    let row = serde_json::to_string(row).map_err(unprintable)?;
                    self.line(&format!("{comma}{row}"));
                }
            } else {
                let rows: Vec<_> = rows.iter().map(&cells).collect();
                if widths.is_empty() {
                    widths = table.widths(&rows);
                    self.line(&table.header(&widths));
                }
                for row in rows {
                    self.line(&table.row(row, &widths));
                }
            }
            printed += rows.len();
            if next.is_empty() || left == 0 {
                break;
            }
            page_token = next;
        }
        if self.json {
            self.line("]}");
        }
        Ok(())
    }

    /// A text as it is.
    pub(super) fn line(&mut self, text: &str) {
        match &mut self.sink {
            Sink::Stdout => output::line(format_args!("{text}")),
            #[cfg(test)]
            Sink::Memory(all) => {
                all.push_str(text);
                all.push('\n');
            }
        }
    }

    #[cfg(test)]
    pub(super) const fn memory(json: bool) -> Self {
        Self { json, sink: Sink::Memory(String::new()) }
    }

    #[cfg(test)]
    pub(super) fn taken(self) -> String {
        match self.sink {
            Sink::Memory(text) => text,
            Sink::Stdout => String::new(),
        }
    }
}

fn pretty<T: Serialize>(value: &T) -> Result<String, Problem> {
    serde_json::to_string_pretty(value).map_err(unprintable)
}

fn unprintable(error: serde_json::Error) -> Problem {
    Problem::new(format!("the answer has no JSON form: {error}"))
}

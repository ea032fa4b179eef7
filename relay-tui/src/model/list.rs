//! A list, whatever its rows are. Moving, filtering, sorting and copying work on the list of the
//! focused panel; they know no more of it than this.

use super::filter::{Field, Row};
use super::rows;
use super::table::{Move, Sort, Table};

/// What every list can do. The rows of lists are of many types and one console has all of them, so
/// the list of a panel is known by this face alone.
pub(crate) trait List {
    fn go(&mut self, to: Move);
    /// Selects the row at a line of the page.
    fn click(&mut self, line: usize) -> bool;
    /// Tells how many rows the panel shows.
    fn set_page(&mut self, rows: usize);
    fn set_filter(&mut self, text: &str);
    fn filter_text(&self) -> &str;
    fn fields(&self) -> &'static [Field];
    fn sort(&self) -> Sort;
    /// Sorts by a field; by the same again turns it round. `false` for no such field.
    fn sort_by(&mut self, field: &str) -> bool;
    /// Sorts as it was left; nothing for no such field.
    fn sort_as(&mut self, field: &str, descending: bool);
    /// Selects a row by its id or its name.
    fn select_named(&mut self, word: &str) -> bool;
    /// What the rows are called, in order.
    fn names(&self) -> Vec<&str>;
    /// What of the selected row is copied.
    fn copied(&self) -> Option<&str>;
    /// The selected row as JSON.
    fn json(&self) -> Option<String>;
    /// Every row that the filter admits as JSON, one a line.
    fn export(&self) -> String;
}

impl<R: Row> List for Table<R> {
    fn go(&mut self, to: Move) {
        Self::go(self, to);
    }

    fn click(&mut self, line: usize) -> bool {
        Self::click(self, line)
    }

    fn set_page(&mut self, rows: usize) {
        Self::set_page(self, rows);
    }

    fn set_filter(&mut self, text: &str) {
        Self::set_filter(self, text);
    }

    fn filter_text(&self) -> &str {
        Self::filter_text(self)
    }

    fn fields(&self) -> &'static [Field] {
        R::FIELDS
    }

    fn sort(&self) -> Sort {
        self.sort
    }

    fn sort_by(&mut self, field: &str) -> bool {
        Self::sort_by(self, field)
    }

    fn sort_as(&mut self, field: &str, descending: bool) {
        if let Some(field) = R::FIELDS.iter().find(|known| known.name == field) {
            self.set_sort(Sort { field: field.name, descending });
        }
    }

    fn select_named(&mut self, word: &str) -> bool {
        let named = self.all().iter().find(|row| row.name() == word).map(|row| row.id().to_owned());
        self.select(word) || named.is_some_and(|id| self.select(&id))
    }

    fn names(&self) -> Vec<&str> {
        self.admitted().map(Row::name).collect()
    }

    fn copied(&self) -> Option<&str> {
        self.selected().map(Row::copied)
    }

    fn json(&self) -> Option<String> {
        self.selected().map(rows::json)
    }

    fn export(&self) -> String {
        self.admitted().map(|row| rows::json(row) + "\n").collect()
    }
}

//! A list of rows under a filter and a sort, with a selection that follows the row.
//!
//! Invariants: `order` holds indexes of `rows` that the filter admits, in the sort's order; the
//! selection is the id of a row in `order`, or none when `order` is empty; `offset` keeps the
//! selection on the page. Rows are held by id: a delta for one of 5,000 rows touches that row.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::data::Rows;
use super::filter::{Field, Filter, Row, Value};

/// Most rows of one list; what the daemon's own bound on a watch is.
pub(crate) const ROWS_MAX: usize = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sort {
    pub(crate) field: &'static str,
    pub(crate) descending: bool,
}

/// Where to move the selection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Up,
    Down,
    HalfUp,
    HalfDown,
    First,
    Last,
}

#[derive(Clone, Debug)]
pub(crate) struct Table<R> {
    rows: Vec<R>,
    index: HashMap<String, usize>,
    order: Vec<usize>,
    selected: Option<String>,
    /// First shown row of `order`.
    offset: usize,
    /// Rows that the page shows; told by the layout.
    page: usize,
    pub(crate) sort: Sort,
    filter_text: String,
    filter: Filter,
    /// A first answer has come: an empty list is empty, not unknown.
    pub(crate) loaded: bool,
}

impl<R: Row> Table<R> {
    pub(crate) fn new(sort: Sort) -> Self {
        Self {
            rows: Vec::new(),
            index: HashMap::new(),
            order: Vec::new(),
            selected: None,
            offset: 0,
            page: 1,
            sort,
            filter_text: String::new(),
            filter: Filter::default(),
            loaded: false,
        }
    }

    /// Takes a snapshot or a delta. Rows above [`ROWS_MAX`] are left out.
    pub(crate) fn apply(&mut self, update: Rows<R>) {
        let was_at = self.position();
        match update {
            Rows::Snapshot(mut rows) => {
                rows.truncate(ROWS_MAX);
                self.loaded = true;
                self.rows = rows;
                self.reindex();
            }
            Rows::Delta { changed, removed } => {
                if !removed.is_empty() {
                    let gone: std::collections::HashSet<_> = removed.into_iter().collect();
                    self.rows.retain(|row| !gone.contains(row.id()));
                    self.reindex();
                }
                for row in changed {
                    match self.index.get(row.id()) {
                        Some(&at) => self.rows[at] = row,
                        None if self.rows.len() < ROWS_MAX => {
                            self.index.insert(row.id().to_owned(), self.rows.len());
                            self.rows.push(row);
                        }
                        None => {}
                    }
                }
            }
        }
        self.arrange(was_at);
    }

    fn reindex(&mut self) {
        self.index =
            self.rows.iter().enumerate().map(|(at, row)| (row.id().to_owned(), at)).collect();
    }

    /// Filters and sorts again. A selected row that went hands the selection to what stands in its
    /// place.
    fn arrange(&mut self, was_at: Option<usize>) {
        let mut order: Vec<usize> =
            (0..self.rows.len()).filter(|&at| self.filter.admits(&self.rows[at])).collect();
        let Sort { field, descending } = self.sort;
        order.sort_by(|&a, &b| {
            let (a, b) = (&self.rows[a], &self.rows[b]);
            let by_field = compare(&a.rank(field), &b.rank(field));
            let by_field = if descending { by_field.reverse() } else { by_field };
            by_field.then_with(|| a.id().cmp(b.id()))
        });
        self.order = order;
        if self.position().is_none() {
            let at = was_at.unwrap_or(0).min(self.order.len().saturating_sub(1));
            self.selected = self.order.get(at).map(|&row| self.rows[row].id().to_owned());
        }
        self.scroll();
    }

    /// Where the selection stands in the order.
    pub(crate) fn position(&self) -> Option<usize> {
        let row = *self.index.get(self.selected.as_deref()?)?;
        self.order.iter().position(|&at| at == row)
    }

    fn scroll(&mut self) {
        let Some(at) = self.position() else {
            self.offset = 0;
            return;
        };
        let last_offset = self.order.len().saturating_sub(self.page);
        self.offset = self.offset.clamp((at + 1).saturating_sub(self.page), at).min(last_offset);
    }

    pub(crate) fn set_page(&mut self, rows: usize) {
        self.page = rows.max(1);
        self.scroll();
    }

    pub(crate) fn go(&mut self, to: Move) {
        let Some(last) = self.order.len().checked_sub(1) else { return };
        let at = self.position().unwrap_or(0);
        let half = (self.page / 2).max(1);
        let at = match to {
            Move::Up => at.saturating_sub(1),
            Move::Down => (at + 1).min(last),
            Move::HalfUp => at.saturating_sub(half),
            Move::HalfDown => (at + half).min(last),
            Move::First => 0,
            Move::Last => last,
        };
        self.selected = Some(self.rows[self.order[at]].id().to_owned());
        self.scroll();
    }

    /// Selects the row at a line of the page, if one is there.
    pub(crate) fn click(&mut self, line: usize) -> bool {
        // A line below the page is nobody's, though rows go on there.
        if line >= self.page {
            return false;
        }
        let Some(&row) = self.order.get(self.offset + line) else { return false };
        self.selected = Some(self.rows[row].id().to_owned());
        true
    }

    /// Selects a row by id; a filter that hides it is dropped.
    pub(crate) fn select(&mut self, id: &str) -> bool {
        if !self.index.contains_key(id) {
            return false;
        }
        self.selected = Some(id.to_owned());
        if self.position().is_none() {
            self.set_filter("");
            self.selected = Some(id.to_owned());
        }
        self.scroll();
        true
    }

    pub(crate) fn set_filter(&mut self, text: &str) {
        let was_at = self.position();
        text.clone_into(&mut self.filter_text);
        self.filter = Filter::parse::<R>(text);
        self.arrange(was_at);
    }

    pub(crate) fn filter_text(&self) -> &str {
        &self.filter_text
    }

    /// Sorts by a field; the same again turns it round. `false` for no such field.
    pub(crate) fn sort_by(&mut self, field: &str) -> bool {
        let Some(Field { name, descending, .. }) = R::FIELDS.iter().find(|f| f.name == field)
        else {
            return false;
        };
        let turned = self.sort == Sort { field: name, descending: *descending };
        self.set_sort(Sort { field: name, descending: *descending != turned });
        true
    }

    pub(crate) fn set_sort(&mut self, sort: Sort) {
        self.sort = sort;
        let was_at = self.position();
        self.arrange(was_at);
    }

    pub(crate) fn selected(&self) -> Option<&R> {
        self.get(self.selected.as_deref()?).filter(|_| !self.order.is_empty())
    }

    pub(crate) fn selected_id(&self) -> Option<&str> {
        self.selected().map(Row::id)
    }

    pub(crate) fn get(&self, id: &str) -> Option<&R> {
        self.index.get(id).map(|&at| &self.rows[at])
    }

    /// The rows of a page of this height, and whether each is the selected one.
    pub(crate) fn page(&self, height: usize) -> impl Iterator<Item = (&R, bool)> {
        let selected = self.selected.as_deref();
        self.order.iter().skip(self.offset).take(height).map(move |&at| {
            let row = &self.rows[at];
            (row, selected == Some(row.id()))
        })
    }

    /// Every row that the filter admits, in order.
    pub(crate) fn admitted(&self) -> impl Iterator<Item = &R> {
        self.order.iter().map(|&at| &self.rows[at])
    }

    /// Every row.
    pub(crate) fn all(&self) -> &[R] {
        &self.rows
    }

    /// Rows that the filter admits.
    pub(crate) fn shown_len(&self) -> usize {
        self.order.len()
    }

    #[cfg(test)]
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }
}

fn compare(a: &Value<'_>, b: &Value<'_>) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Word(a), Value::Word(b)) => a.cmp(b),
        // A field has one kind; the order of kinds never shows.
        (Value::Number(_), _) | (Value::Word(_), Value::Text(_)) => Ordering::Less,
        (_, Value::Number(_)) | (Value::Text(_), Value::Word(_)) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::filter::field;
    use super::*;

    #[derive(Clone, Debug)]
    struct Item(String, f64);

    impl Row for Item {
        const FIELDS: &'static [Field] = &[field("name", 'n', false), field("load", 'l', true)];

        fn id(&self) -> &str {
            &self.0
        }

        fn field(&self, name: &str) -> Value<'_> {
            if name == "load" { Value::Number(self.1) } else { Value::Text(self.0.as_str().into()) }
        }
    }

    fn item(name: &str, load: u32) -> Item {
        Item(name.to_owned(), load.into())
    }

    fn table() -> Table<Item> {
        let mut table = Table::new(Sort { field: "name", descending: false });
        table.apply(Rows::Snapshot(vec![item("c", 1), item("a", 3), item("b", 2)]));
        table.set_page(2);
        table
    }

    fn names(table: &Table<Item>) -> String {
        table.admitted().map(|item| item.0.as_str()).collect()
    }

    #[test]
    fn the_selection_follows_the_row_through_sorts_and_deltas() {
        let mut table = table();
        assert_eq!((names(&table).as_str(), table.selected_id()), ("abc", Some("a")));
        table.go(Move::Down);
        assert!(table.sort_by("load"));
        assert_eq!((names(&table).as_str(), table.selected_id()), ("abc", Some("b")));
        table.apply(Rows::Delta { changed: vec![item("b", 9)], removed: vec![] });
        assert_eq!((names(&table).as_str(), table.selected_id()), ("bac", Some("b")));
        assert!(table.sort_by("load"));
        assert_eq!((names(&table).as_str(), table.position()), ("cab", Some(2)));
        assert!(!table.sort_by("?"));
    }

    #[test]
    fn a_removed_row_hands_the_selection_to_its_neighbour() {
        let mut table = table();
        table.go(Move::Last);
        table.apply(Rows::Delta { changed: vec![], removed: vec!["c".into()] });
        assert_eq!(table.selected_id(), Some("b"));
        table.apply(Rows::Snapshot(vec![]));
        assert_eq!((table.selected_id(), table.position(), table.offset()), (None, None, 0));
        table.go(Move::Down);
    }

    #[test]
    fn a_filter_narrows_and_a_jump_clears_it() {
        let mut table = table();
        table.set_filter("load:>1");
        assert_eq!(names(&table), "ab");
        assert!(table.select("c"));
        assert_eq!((names(&table).as_str(), table.selected_id()), ("abc", Some("c")));
        assert!(!table.select("z"));
        table.set_filter("zzz");
        assert!(table.selected().is_none());
    }

    #[test]
    fn rows_are_bounded() {
        let mut table: Table<Item> = Table::new(Sort { field: "name", descending: false });
        table.apply(Rows::Snapshot((0..6_000).map(|n| item(&n.to_string(), n)).collect()));
        assert_eq!(table.all().len(), ROWS_MAX);
        table.apply(Rows::Delta { changed: vec![item("new", 1)], removed: vec![] });
        assert_eq!(table.all().len(), ROWS_MAX);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Go(u8),
        Put(u8, u32),
        Drop(u8),
        Filter(u8),
        Sort(bool),
        Page(usize),
        Click(usize),
    }

    proptest! {
        #[test]
        fn the_selection_is_always_valid(steps in proptest::collection::vec(prop_oneof![
            (0..6_u8).prop_map(Step::Go),
            (0..20_u8, 0..5_u32).prop_map(|(id, load)| Step::Put(id, load)),
            (0..20_u8).prop_map(Step::Drop),
            (0..6_u8).prop_map(Step::Filter),
            any::<bool>().prop_map(Step::Sort),
            (0..9_usize).prop_map(Step::Page),
            (0..9_usize).prop_map(Step::Click),
        ], 0..60)) {
            let mut table = table();
            for step in steps {
                match step {
                    Step::Go(n) => table.go([Move::Up, Move::Down, Move::HalfUp, Move::HalfDown, Move::First, Move::Last][usize::from(n)]),
                    Step::Put(id, load) => table.apply(Rows::Delta { changed: vec![item(&id.to_string(), load)], removed: vec![] }),
                    Step::Drop(id) => table.apply(Rows::Delta { changed: vec![], removed: vec![id.to_string()] }),
                    Step::Filter(n) => table.set_filter(["", "1", "load:>2", "!a", "zz", "load:"][usize::from(n)]),
                    Step::Sort(name) => { table.sort_by(if name { "name" } else { "load" }); }
                    Step::Page(rows) => table.set_page(rows),
                    Step::Click(line) => { table.click(line); }
                }
                prop_assert_eq!(table.position().is_some(), table.shown_len() > 0);
                if let Some(at) = table.position() {
                    prop_assert!(table.offset() <= at && at < table.offset() + table.page.max(1));
                }
            }
        }
    }
}

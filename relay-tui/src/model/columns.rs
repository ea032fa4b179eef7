//! Which columns a list has at which width. Pure: the view draws them, the update finds the one
//! that was clicked.

use super::layout::Panel;

/// From here on a list has all its columns in their roomy widths, if they fit.
const WIDE: u16 = 110;
/// The least that a column without a width of its own is worth.
const FREE_MIN: u16 = 10;

/// One column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// The heading, by which its cells are asked for too.
    pub(crate) head: &'static str,
    /// The field that a sort by this column uses; empty for none.
    pub(crate) field: &'static str,
    /// Columns of the terminal; 0 = a share of what the others leave.
    pub(crate) width: u16,
    /// How much of the rest a column without a width gets, beside others.
    share: u16,
    /// The same on a wide page.
    roomy: u16,
    pub(crate) right: bool,
    /// It names the row: always there, and the bar of a selected row reaches at least so far.
    pub(crate) names: bool,
    /// Only on a wide page, or when the other columns are asked for.
    extra: bool,
}

/// A column of text that sorts by the field of its name.
pub(crate) const fn column(head: &'static str, width: u16) -> Column {
    Column {
        head,
        field: head,
        width,
        share: 1,
        roomy: width,
        right: false,
        names: false,
        extra: false,
    }
}

/// A column of numbers.
pub(crate) const fn number(head: &'static str, width: u16) -> Column {
    Column { right: true, ..column(head, width) }
}

impl Column {
    const fn by(self, field: &'static str) -> Self {
        Self { field, ..self }
    }

    const fn roomy(self, roomy: u16) -> Self {
        Self { roomy, ..self }
    }

    const fn share(self, share: u16) -> Self {
        Self { share, ..self }
    }

    const fn naming(self) -> Self {
        Self { names: true, ..self }
    }

    const fn extra(self) -> Self {
        Self { extra: true, ..self }
    }
}

const BACKENDS: &[Column] = &[
    column("state", 8),
    column("name", 0).naming().share(2),
    column("model", 0).share(3),
    column("engine", 10).extra(),
    number("run", 6),
    number("queue", 5),
    number("ttft50", 6).by("").extra(),
    number("ttft95", 7).by("ttft"),
    number("err%", 6).by("err"),
    number("weight", 6),
    column("breaker", 7),
    number("requests", 9).by("").extra(),
    number("tokens out", 10).by("").extra(),
];

const GPUS: &[Column] = &[
    column("state", 9),
    column("host", 0).naming().share(5),
    number("gpu", 5),
    column("card", 0).share(7),
    column("util", 12).roomy(18),
    number("mem GiB", 9).by("mem"),
    number("temp", 5),
    number("watt", 5).roomy(8),
    number("mhz", 6).extra(),
    number("ecc", 5).extra(),
    column("provider", 0).share(5).extra(),
    column("uuid", 12).extra(),
    column("held by", 12).by("held").extra(),
];

const PROVIDERS: &[Column] = &[
    column("state", 9),
    column("name", 0).naming().share(2),
    column("gpus", 0).by("").share(2),
    column("link", 8),
    number("tok/s", 6).by("speed"),
    number("missing", 7),
    number("score", 5),
    column("sides", 5).by("standing"),
    column("models", 0).by("model").share(2).extra(),
    number("run", 6).extra(),
    number("ttft50", 6).by("").extra(),
    column("tests", 9).by("failed").extra(),
    number("alike", 5).extra(),
    number("earned", 9).extra(),
    column("agent", 8).by("version").extra(),
];

const MODELS: &[Column] = &[
    column("state", 11),
    column("model", 0).by("name").naming(),
    column("live", 5).by(""),
    column("next", 5).by(""),
    column("to next", 12).by("share"),
    number("up", 5),
    number("req/s", 6).by("rate"),
    number("ttft50", 6).by("").extra(),
    number("ttft95", 6).by("ttft"),
    number("tok/s", 6).by("").extra(),
    number("err%", 5).by("err"),
    number("shadow", 6).by("").extra(),
    column("why", 0).by("").share(2).extra(),
];

/// On the wide overview.
const FLEET: &[Column] = &[
    column("state", 8),
    column("name", 0).naming().share(2),
    column("model", 0).share(3),
    number("run", 7),
    number("queue", 6),
    number("ttft95", 7).by("ttft"),
    number("err%", 5).by("err"),
];

const KEYS: &[Column] = &[
    column("key", 0).by("name").naming(),
    column("prefix", 14).roomy(20),
    column("customer", 0).extra(),
    column("tier", 10).extra(),
    number("req/s", 6).by("rate"),
    number("tokens", 7),
    number("cost", 10),
    column("used", 5).by("left").roomy(17),
    number("ttft50", 6).by("").extra(),
    number("ttft95", 6).by("").extra(),
    number("err%", 5).by("err"),
    number("429s", 6).by("limited").extra(),
    column("state", 8),
];

const EVENTS: &[Column] = &[
    column("time", 8),
    column("kind", 14).roomy(18).naming(),
    column("subject", 12).roomy(18),
    column("what", 0).by("text"),
];

const AUDIT: &[Column] = &[
    column("time", 8).roomy(20),
    column("operator", 10).roomy(16),
    column("action", 24).roomy(34).naming(),
    column("object", 0),
    column("reason", 0),
];

const fn of(panel: Panel) -> &'static [Column] {
    match panel {
        Panel::Fleet => FLEET,
        Panel::GpuList => GPUS,
        Panel::BackendList => BACKENDS,
        Panel::ProviderList => PROVIDERS,
        Panel::ModelList => MODELS,
        Panel::KeyList => KEYS,
        Panel::Happenings | Panel::EventList => EVENTS,
        Panel::AuditList => AUDIT,
        _ => &[],
    }
}

/// A list of this width has all its columns.
fn is_wide(panel: Panel, width: u16) -> bool {
    let wanted = |column: &Column| if column.roomy == 0 { FREE_MIN } else { column.roomy } + 1;
    width >= WIDE && of(panel).iter().map(wanted).sum::<u16>() < width
}

/// There are columns that a list of this width leaves out.
pub(crate) fn has_more(panel: Panel, width: u16) -> bool {
    !is_wide(panel, width) && of(panel).iter().any(|column| column.extra)
}

/// The columns of a list of this width; with `others` those that are usually left out.
pub(crate) fn shown(panel: Panel, width: u16, others: bool) -> Vec<Column> {
    let wide = is_wide(panel, width);
    let others = others && has_more(panel, width);
    of(panel)
        .iter()
        .filter(|column| wide || column.names || column.extra == others)
        .map(|column| Column { width: if wide { column.roomy } else { column.width }, ..*column })
        .collect()
}

/// The widths, the free ones filled; one column of air before each and at the end.
pub(crate) fn widths(all: u16, columns: &[Column]) -> Vec<u16> {
    let count = u16::try_from(columns.len()).unwrap_or(u16::MAX);
    let fixed: u16 = columns.iter().map(|column| column.width).sum();
    let shares: u16 =
        columns.iter().filter(|column| column.width == 0).map(|column| column.share).sum();
    let rest = all.saturating_sub(fixed + count + 1);
    columns
        .iter()
        .map(|column| match column.width {
            0 => rest * column.share / shares.max(1),
            width => width,
        })
        .collect()
}

/// The column that stands `x` columns from the left of a list.
pub(crate) fn at(all: u16, columns: &[Column], x: u16) -> Option<Column> {
    let mut end = 0;
    columns.iter().zip(widths(all, columns)).find_map(|(column, wide)| {
        end += wide + 1;
        (x < end).then_some(*column)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: [Panel; 7] = [
        Panel::ModelList,
        Panel::GpuList,
        Panel::BackendList,
        Panel::KeyList,
        Panel::ProviderList,
        Panel::EventList,
        Panel::AuditList,
    ];

    #[test]
    fn columns_fit_from_80_columns_on_and_each_is_somewhere() {
        for panel in LISTS {
            for width in [78, 90, 109, 110, 118, 138, 198] {
                for others in [false, true] {
                    let columns = shown(panel, width, others);
                    let widths = widths(width, &columns);
                    let all: u16 = widths.iter().map(|wide| wide + 1).sum();
                    assert!(all <= width, "{panel:?} {width} {others}: {all}");
                    assert!(widths.iter().all(|wide| *wide >= 5), "{panel:?} {width}: {widths:?}");
                    assert!(columns.iter().any(|column| column.names));
                }
            }
            let seen = |column: &Column| {
                [false, true].into_iter().any(|others| {
                    shown(panel, 78, others).iter().any(|shown| shown.head == column.head)
                })
            };
            assert!(of(panel).iter().all(seen), "{panel:?}");
            assert_eq!(shown(panel, 138, false).len(), of(panel).len());
        }
    }

    #[test]
    fn a_click_finds_its_column() {
        let columns = shown(Panel::EventList, 78, false);
        let heads: Vec<_> = [0, 8, 9, 20, 76]
            .into_iter()
            .filter_map(|x| at(78, &columns, x))
            .map(|column| column.head)
            .collect();
        assert_eq!(heads, ["time", "time", "kind", "kind", "what"]);
    }
}

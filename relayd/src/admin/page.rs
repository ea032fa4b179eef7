//! Pages of lists, as the protocol has them.

use relay_proto::admin::v1 as proto;

use crate::domain::{Code, Fault};
use crate::store::{Page, StoreError};

/// Rows of a page when the caller asks for none in particular.
const DEFAULT_ROWS: u32 = 100;
/// Most rows of a page.
const MAX_ROWS: u32 = 1_000;
/// Longest page token: ours are ids, numbers and names of at most 160 bytes.
const TOKEN_MAX_BYTES: usize = 256;

/// A checked page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// 1 to 1000.
    pub(super) rows: u32,
    /// Where to go on; none at the beginning.
    pub(super) after: Option<String>,
}

impl Asked {
    /// The same page for a list that the store keeps.
    pub(super) fn stored(&self) -> Page {
        Page::new(self.after.as_deref(), self.rows)
    }
}

/// What is wrong when the store cannot give a page.
pub(super) fn fault(error: StoreError) -> Fault {
    match error {
        StoreError::NotFound("cursor") => token(),
        other => other.into(),
    }
}

/// Checks what a caller asked for.
pub(super) fn asked(page: Option<proto::Page>) -> Result<Asked, Fault> {
    let page = page.unwrap_or_default();
    if page.page_size > MAX_ROWS {
        return Err(wrong(format!("page_size is {}, at most {MAX_ROWS}", page.page_size)));
    }
    if page.page_token.len() > TOKEN_MAX_BYTES {
        return Err(token());
    }
    let rows = if page.page_size == 0 { DEFAULT_ROWS } else { page.page_size };
    Ok(Asked { rows, after: (!page.page_token.is_empty()).then_some(page.page_token) })
}

/// The fault of a page token that no answer gave out.
pub(super) fn token() -> Fault {
    wrong("page_token is not one that an answer gave out".to_owned())
}

/// A page out of a list that is in memory and sorted by name.
pub(super) fn cut<T>(
    rows: impl Iterator<Item = T>,
    asked: &Asked,
    name: impl Fn(&T) -> &str,
) -> (Vec<T>, String) {
    let limit = asked.rows as usize;
    let after = asked.after.as_deref();
    let mut page: Vec<T> =
        rows.filter(|row| after.is_none_or(|after| name(row) > after)).take(limit + 1).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|row| name(row).to_owned());
    (page, next.unwrap_or_default())
}

fn wrong(message: String) -> Fault {
    Fault::new(Code::ValidationError, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page_size: u32, page_token: &str) -> Option<proto::Page> {
        Some(proto::Page { page_size, page_token: page_token.into() })
    }

    #[test]
    fn sizes_have_a_default_and_a_bound() {
        assert_eq!(asked(None).unwrap(), Asked { rows: 100, after: None });
        assert_eq!(
            asked(page(1_000, "x")).unwrap(),
            Asked { rows: 1_000, after: Some("x".into()) }
        );
        assert!(asked(page(1_001, "")).is_err());
        assert!(asked(page(1, &"x".repeat(257))).is_err());
    }

    #[test]
    fn pages_join_to_the_whole() {
        let names = ["a", "b", "c", "d", "e"];
        for size in 1..=6 {
            let mut seen: Vec<&&str> = Vec::new();
            let mut token = String::new();
            loop {
                let asked = asked(page(size, &token)).unwrap();
                let (rows, next) = cut(names.iter(), &asked, |name| name);
                seen.extend(rows);
                token = next;
                if token.is_empty() {
                    break;
                }
            }
            assert_eq!(seen, names.iter().collect::<Vec<_>>(), "size {size}");
        }
    }
}

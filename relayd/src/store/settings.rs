//! Small facts that outlive the process: a secret's version, the last check, what was seeded.

use std::collections::BTreeMap;

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::row::Columns;
use super::write::{Counter, bump, expect_put};

/// Most settings that are read at once: one a model.
const SETTINGS_MAX: i64 = 10_000;

/// A setting and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: String,
    /// Counts the changes, from 1.
    pub version: u64,
}

impl Store {
    /// A setting by its key.
    ///
    /// # Errors
    /// As every read; a key that was never set is `None`.
    pub async fn setting(&self, key: &str) -> Result<Option<Setting>, StoreError> {
        let row = sqlx::query("select v, version from setting where k = $1")
            .bind(key)
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| Ok(Setting { value: row.text("v")?, version: row.count("version")? }))
            .transpose()
    }

    /// The settings whose keys begin so, by what follows; at most 10,000.
    ///
    /// # Errors
    /// As every read.
    pub async fn settings(&self, prefix: &str) -> Result<BTreeMap<String, Setting>, StoreError> {
        // Keys are ASCII; no character of them sorts after this one.
        let rows = sqlx::query(
            "select k, v, version from setting where k >= $1 and k < $1 || '~' order by k limit $2",
        )
        .bind(prefix)
        .bind(SETTINGS_MAX)
        .fetch_all(self.reader())
        .await?;
        let read = |row: &AnyRow| {
            let rest = row.text("k")?.strip_prefix(prefix).unwrap_or_default().to_owned();
            Ok((rest, Setting { value: row.text("v")?, version: row.count("version")? }))
        };
        rows.iter().map(read).collect()
    }
}

pub(super) async fn put(
    conn: &mut AnyConnection,
    key: &str,
    value: &str,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    bump(conn, Counter::Settings).await?;
    let row = sqlx::query(
        "insert into setting (k, v, version) values ($1, $2, 1)
         on conflict (k) do update set v = excluded.v, version = setting.version + 1
         returning version",
    )
    .bind(key)
    .bind(value)
    .fetch_one(conn)
    .await?;
    expect_put("setting", &row, expected)
}

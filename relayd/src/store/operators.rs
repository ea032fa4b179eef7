//! Operators of the admin plane. Tokens never come here, only their hashes.

use sqlx::AnyConnection;

use super::Store;
use super::error::StoreError;
use super::row::Columns;
use super::write::{Counter, bump, expect_version};
use crate::domain::Role;

/// Most operators: they are people, and all are listed at once.
pub const OPERATORS_MAX: i64 = 1_000;

/// Somebody who may call the admin plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name, which is also the id.
    pub name: String,
    /// What the operator may do.
    pub role: Role,
    /// When the operator was made, milliseconds since the epoch.
    pub created_ms: i64,
    /// When the operator's token was withdrawn.
    pub revoked_ms: Option<i64>,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// An operator to make.
#[derive(Clone, Debug)]
pub struct NewOperator {
    /// The name.
    pub name: String,
    /// What the operator may do.
    pub role: Role,
    /// The hash of the token.
    pub token_hash: [u8; 32],
    /// Now, milliseconds since the epoch.
    pub created_ms: i64,
}

/// One change of an operator.
#[derive(Clone, Debug)]
pub enum OperatorEdit {
    /// Another role.
    Role(Role),
    /// Another token.
    Token([u8; 32]),
    /// Withdraw the token.
    Revoke {
        /// Now, milliseconds since the epoch.
        at_ms: i64,
    },
}

impl Store {
    /// The operator whose token has this hash, unless it was withdrawn.
    ///
    /// # Errors
    /// As every read; no such token is `None`.
    pub async fn operator_by_token(&self, hash: &[u8; 32]) -> Result<Option<Operator>, StoreError> {
        let row = sqlx::query(
            "select name, role, created_ms, revoked_ms, version from operator
             where token_hash = $1 and revoked_ms is null",
        )
        .bind(hash.to_vec())
        .fetch_optional(self.reader())
        .await?;
        row.map(|row| read_operator(&row)).transpose()
    }

    /// Every operator by name, at most [`OPERATORS_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn operators(&self) -> Result<Vec<Operator>, StoreError> {
        let rows = sqlx::query(
            "select name, role, created_ms, revoked_ms, version from operator order by name limit $1",
        )
        .bind(OPERATORS_MAX)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read_operator).collect()
    }
}

fn read_operator(row: &impl Columns) -> Result<Operator, StoreError> {
    Ok(Operator {
        name: row.text("name")?,
        role: row.parse("role")?,
        created_ms: row.int("created_ms")?,
        revoked_ms: row.int_opt("revoked_ms")?,
        version: row.count("version")?,
    })
}

pub(super) async fn insert(conn: &mut AnyConnection, new: &NewOperator) -> Result<(), StoreError> {
    bump(conn, Counter::Operators).await?;
    sqlx::query(
        "insert into operator (name, role, token_hash, created_ms, version)
         values ($1, $2, $3, $4, 1)",
    )
    .bind(&new.name)
    .bind(new.role.as_str())
    .bind(new.token_hash.to_vec())
    .bind(new.created_ms)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn edit(
    conn: &mut AnyConnection,
    name: &str,
    expected: Option<u64>,
    edit: &OperatorEdit,
) -> Result<(), StoreError> {
    bump(conn, Counter::Operators).await?;
    let row =
        sqlx::query("update operator set version = version + 1 where name = $1 returning version")
            .bind(name)
            .fetch_optional(&mut *conn)
            .await?;
    expect_version("operator", row.as_ref(), expected)?;
    let update = match edit {
        OperatorEdit::Role(role) => sqlx::query("update operator set role = $2 where name = $1")
            .bind(name)
            .bind(role.as_str()),
        OperatorEdit::Token(hash) => {
            sqlx::query("update operator set token_hash = $2, revoked_ms = null where name = $1")
                .bind(name)
                .bind(hash.to_vec())
        }
        OperatorEdit::Revoke { at_ms } => {
            sqlx::query("update operator set revoked_ms = $2 where name = $1")
                .bind(name)
                .bind(at_ms)
        }
    };
    update.execute(conn).await?;
    Ok(())
}

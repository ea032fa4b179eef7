//! Customers.

use sqlx::AnyConnection;

use super::Store;
use super::error::StoreError;
use super::page::{Page, Paged};
use super::row::Columns;
use super::write::{Counter, bump, expect_version, json};
use crate::domain::{CustomerId, Ncr, Scope};

/// Whether a customer may use the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustomerStatus {
    /// It may.
    Active,
    /// Every paid call is refused.
    Suspended,
}

/// A customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// The id.
    pub id: CustomerId,
    /// The name, for people.
    pub name: String,
    /// The e-mail address; empty when unknown.
    pub email: String,
    /// The tier's name.
    pub tier: String,
    /// Whether it may use the service.
    pub status: CustomerStatus,
    /// Below this balance answers carry a warning; zero is never.
    pub warning_threshold: Ncr,
    /// Scopes its ordinary keys may use; none is everything that the tier allows.
    pub model_allowlist: Option<Vec<Scope>>,
    /// When it was made, milliseconds since the epoch.
    pub created_ms: i64,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// A customer to make.
#[derive(Clone, Debug)]
pub struct NewCustomer {
    /// The id.
    pub id: CustomerId,
    /// The name.
    pub name: String,
    /// The e-mail address; may be empty.
    pub email: String,
    /// The tier's name.
    pub tier: String,
    /// Now, milliseconds since the epoch.
    pub created_ms: i64,
}

/// One change of a customer.
#[derive(Clone, Debug)]
pub enum CustomerEdit {
    /// Another name.
    Name(String),
    /// Another e-mail address.
    Email(String),
    /// Another tier.
    Tier(String),
    /// Suspended or active.
    Status(CustomerStatus),
    /// Another threshold of the balance warning.
    WarningThreshold(Ncr),
    /// Another allowlist; none allows everything.
    ModelAllowlist(Option<Vec<Scope>>),
}

macro_rules! select_customer {
    ($rest:literal) => {
        concat!(
            "select id, name, email, tier, status, warning_threshold_ncr, model_allowlist, ",
            "created_ms, version from customer ",
            $rest
        )
    };
}

impl CustomerStatus {
    /// The word, as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

impl std::str::FromStr for CustomerStatus {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            _ => Err(format!("unknown status '{text}', expected active or suspended")),
        }
    }
}

impl Store {
    /// A customer by id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn customer(&self, id: &CustomerId) -> Result<Customer, StoreError> {
        let found = sqlx::query(select_customer!("where id = $1"))
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        read_customer(&found.ok_or(StoreError::NotFound("customer"))?)
    }

    /// Customers, newest first, whose id, name or e-mail contains `query`, whatever its case;
    /// an empty query matches all. Cursors are customer ids.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is no customer.
    pub async fn customers(&self, query: &str, page: &Page) -> Result<Paged<Customer>, StoreError> {
        self.check_cursor("select id from customer where id = $1", page).await?;
        let rows = sqlx::query(select_customer!(
            "where ($1 = '' or replace(lower(id || ' ' || name || ' ' || email), lower($1), '')
                    <> lower(id || ' ' || name || ' ' || email))
               and ($2 = '' or (created_ms, id) < (select created_ms, id from customer where id = $2))
             order by created_ms desc, id desc limit $3"
        ))
        .bind(query)
        .bind(page.after())
        .bind(page.fetch())
        .fetch_all(self.reader())
        .await?;
        page.cut(&rows, read_customer, |customer| customer.id.to_string())
    }

    /// Customers that changed after `since`, and the counter to ask with next time. A counter
    /// that did not move costs one read of one row.
    ///
    /// # Errors
    /// As every read.
    pub async fn customers_changed(&self, since: i64) -> Result<(Vec<Customer>, i64), StoreError> {
        let now = self.counter(Counter::Customers).await?;
        if now == since {
            return Ok((Vec::new(), now));
        }
        let rows =
            sqlx::query(select_customer!("where changed > $1 and changed <= $2 order by changed"))
                .bind(since)
                .bind(now)
                .fetch_all(self.reader())
                .await?;
        Ok((rows.iter().map(read_customer).collect::<Result<_, _>>()?, now))
    }
}

pub(super) fn read_customer(row: &impl Columns) -> Result<Customer, StoreError> {
    Ok(Customer {
        id: row.parse("id")?,
        name: row.text("name")?,
        email: row.text("email")?,
        tier: row.text("tier")?,
        status: row.parse("status")?,
        warning_threshold: row.ncr("warning_threshold_ncr")?,
        model_allowlist: row
            .text_opt("model_allowlist")?
            .map(|text| {
                serde_json::from_str(&text).map_err(|_| StoreError::corrupt("model_allowlist"))
            })
            .transpose()?,
        created_ms: row.int("created_ms")?,
        version: row.count("version")?,
    })
}

pub(super) async fn insert(conn: &mut AnyConnection, new: &NewCustomer) -> Result<(), StoreError> {
    let changed = bump(conn, Counter::Customers).await?;
    sqlx::query(
        "insert into customer (id, name, email, tier, status, warning_threshold_ncr, created_ms,
            version, changed)
         values ($1, $2, $3, $4, 'active', 0, $5, 1, $6)",
    )
    .bind(new.id.as_str())
    .bind(&new.name)
    .bind(&new.email)
    .bind(&new.tier)
    .bind(new.created_ms)
    .bind(changed)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn edit(
    conn: &mut AnyConnection,
    id: &CustomerId,
    expected: Option<u64>,
    edit: &CustomerEdit,
) -> Result<(), StoreError> {
    let changed = bump(conn, Counter::Customers).await?;
    let row = sqlx::query(
        "update customer set version = version + 1, changed = $2 where id = $1 returning version",
    )
    .bind(id.as_str())
    .bind(changed)
    .fetch_optional(&mut *conn)
    .await?;
    expect_version("customer", row.as_ref(), expected)?;
    let update = match edit {
        CustomerEdit::Name(name) => {
            sqlx::query("update customer set name = $2 where id = $1").bind(id.as_str()).bind(name)
        }
        CustomerEdit::Email(email) => sqlx::query("update customer set email = $2 where id = $1")
            .bind(id.as_str())
            .bind(email),
        CustomerEdit::Tier(tier) => {
            sqlx::query("update customer set tier = $2 where id = $1").bind(id.as_str()).bind(tier)
        }
        CustomerEdit::Status(status) => {
            sqlx::query("update customer set status = $2 where id = $1")
                .bind(id.as_str())
                .bind(status.as_str())
        }
        CustomerEdit::WarningThreshold(amount) => {
            sqlx::query("update customer set warning_threshold_ncr = $2 where id = $1")
                .bind(id.as_str())
                .bind(amount.get())
        }
        CustomerEdit::ModelAllowlist(scopes) => {
            sqlx::query("update customer set model_allowlist = $2 where id = $1")
                .bind(id.as_str())
                .bind(scopes.as_ref().map(json))
        }
    };
    update.execute(conn).await?;
    Ok(())
}

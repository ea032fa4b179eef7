//! API keys. Secrets never come here: a key is stored and found by a hash of its secret.

use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Store;
use super::customers::{Customer, CustomerStatus};
use super::error::StoreError;
use super::page::{Page, Paged};
use super::row::Columns;
use super::write::{Counter, bump, expect_version, json};
use crate::domain::{CustomerId, KeyId, Ncr, RateLimits, Scope};

/// What a key may not do, and how often it may do the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// Scopes that the key may not use.
    pub denied_scopes: Vec<Scope>,
    /// How often it may do the rest, where that is less than its tier allows.
    pub limits: RateLimits,
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public id.
    pub id: KeyId,
    /// Whose.
    pub customer: CustomerId,
    /// The customer's name.
    pub customer_name: String,
    /// The customer's tier.
    pub tier: String,
    /// The name.
    pub name: String,
    /// The first characters of the secret, for people.
    pub prefix: String,
    /// Whether it may also manage the account.
    pub superkey: bool,
    /// Whether it is relayd's own and cannot be changed.
    pub system: bool,
    /// What it may not do.
    pub restrictions: Restrictions,
    /// What it may still spend, parts held by running requests included; none is unlimited.
    pub budget: Option<Ncr>,
    /// When it was made, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was last used, to within the interval at which uses are written.
    pub last_used_ms: Option<i64>,
    /// When it was revoked.
    pub revoked_ms: Option<i64>,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// What the holder of a secret is: the key and its customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLogin {
    /// The key, which may be revoked.
    pub key: ApiKey,
    /// Its customer.
    pub customer: Customer,
}

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The public id.
    pub id: KeyId,
    /// Whose.
    pub customer: CustomerId,
    /// The name, unique among the customer's keys whatever its case.
    pub name: String,
    /// The keyed hash of the secret.
    pub hash: [u8; 32],
    /// Which pepper the hash was made with.
    pub pepper: i64,
    /// The first characters of the secret.
    pub prefix: String,
    /// Whether it may also manage the account. At most one active key of a customer may.
    pub superkey: bool,
    /// Whether it is relayd's own.
    pub system: bool,
    /// What it may not do.
    pub restrictions: Restrictions,
    /// Now, milliseconds since the epoch.
    pub created_ms: i64,
    /// Refuse when the customer already has this many active keys; system keys do not count.
    pub limit: Option<u32>,
}

/// One change of a key.
#[derive(Clone, Debug)]
pub enum KeyEdit {
    /// Another name.
    Rename(String),
    /// Other restrictions, as a whole.
    Restrict(Restrictions),
    /// Refuse it from now on.
    Revoke {
        /// Now, milliseconds since the epoch.
        at_ms: i64,
    },
    /// Take the revocation back.
    Unrevoke {
        /// Refuse when the customer already has this many active keys.
        limit: Option<u32>,
    },
    /// Delete a revoked key for good; the row stays for the books.
    Delete {
        /// Now, milliseconds since the epoch.
        at_ms: i64,
    },
    /// Make it the superkey.
    Promote,
}

/// Which keys to list. Deleted keys never are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only of this customer.
    pub customer: Option<CustomerId>,
    /// Only revoked ones, or only active ones.
    pub revoked: Option<bool>,
    /// Only superkeys, or only others.
    pub superkey: Option<bool>,
    /// Only with exactly this name, whatever its case.
    pub name: Option<String>,
    /// Only with a name that begins so, whatever its case.
    pub name_prefix: Option<String>,
    /// Only with this text in id, name, prefix or the customer's name, whatever its case.
    pub query: Option<String>,
    /// Whether relayd's own keys are listed.
    pub system: bool,
}

macro_rules! select_key {
    ($rest:literal) => {
        concat!(
            "select k.id, k.customer_id, c.name as customer_name, c.tier, k.name, k.prefix, k.superkey,
                k.system, k.denied_scopes, k.direct_rpm, k.opengpu_rpm, k.global_rpm, k.created_ms,
                k.last_used_ms, k.revoked_ms, k.version, b.balance as budget, c.email, c.status,
                c.warning_threshold_ncr, c.model_allowlist, c.created_ms as customer_created_ms,
                c.version as customer_version
             from api_key k join customer c on c.id = k.customer_id
             left join account b on b.id = 'budget:' || k.id and b.state = 'open' ",
            $rest
        )
    };
}

macro_rules! key_filter {
    () => {
        "k.deleted_ms is null
         and ($1 = '' or k.customer_id = $1)
         and ($2 = '' or (k.revoked_ms is null and $2 = 'active') or (k.revoked_ms is not null and $2 = 'revoked'))
         and ($3 = -1 or k.superkey = $3)
         and ($4 = '' or lower(k.name) = lower($4))
         and ($5 = '' or lower(substr(k.name, 1, length($5))) = lower($5))
         and ($6 = '' or replace(lower(k.id || ' ' || k.name || ' ' || k.prefix || ' ' || c.name), lower($6), '')
                <> lower(k.id || ' ' || k.name || ' ' || k.prefix || ' ' || c.name))
         and ($7 = 1 or k.system = 0)"
    };
}

impl Store {
    /// The key whose secret has this hash, revoked or not, with its customer. A deleted key is
    /// unknown.
    ///
    /// # Errors
    /// As every read; no such key is `None`, so that an unreachable store is never taken for a
    /// wrong secret.
    pub async fn key_by_hash(&self, hash: &[u8; 32]) -> Result<Option<KeyLogin>, StoreError> {
        let row = sqlx::query(select_key!("where k.hash = $1 and k.deleted_ms is null"))
            .bind(hash.to_vec())
            .fetch_optional(self.reader())
            .await?;
        row.map(|row| read_login(&row)).transpose()
    }

    /// A key by its public id. A deleted key is unknown.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none.
    pub async fn key(&self, id: &KeyId) -> Result<ApiKey, StoreError> {
        let row = sqlx::query(select_key!("where k.id = $1 and k.deleted_ms is null"))
            .bind(id.as_str())
            .fetch_optional(self.reader())
            .await?;
        read_key(&row.ok_or(StoreError::NotFound("key"))?)
    }

    /// Keys that match, newest first. Cursors are key ids.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the cursor is no key.
    pub async fn keys(&self, filter: &KeyFilter, page: &Page) -> Result<Paged<ApiKey>, StoreError> {
        self.check_cursor("select id from api_key where id = $1", page).await?;
        let query = sqlx::query(concat!(
            select_key!("where "),
            key_filter!(),
            " and ($8 = '' or (k.created_ms, k.id) <
                    (select created_ms, id from api_key where id = $8))
              order by k.created_ms desc, k.id desc limit $9"
        ));
        let rows = filter
            .bind(query)
            .bind(page.after())
            .bind(page.fetch())
            .fetch_all(self.reader())
            .await?;
        page.cut(&rows, read_key, |key| key.id.to_string())
    }

    /// How many keys match.
    ///
    /// # Errors
    /// As every read.
    pub async fn count_keys(&self, filter: &KeyFilter) -> Result<u64, StoreError> {
        let query = sqlx::query(concat!(
            "select count(*) as n from api_key k join customer c on c.id = k.customer_id where ",
            key_filter!()
        ));
        filter.bind(query).fetch_one(self.reader()).await?.count("n")
    }

    /// Hashes of keys that changed after `since`, and the counter to ask with next time: what a
    /// cache must forget. A counter that did not move costs one read of one row.
    ///
    /// # Errors
    /// As every read.
    pub async fn keys_changed(&self, since: i64) -> Result<(Vec<[u8; 32]>, i64), StoreError> {
        let now = self.counter(Counter::Keys).await?;
        if now == since {
            return Ok((Vec::new(), now));
        }
        let rows = sqlx::query(
            "select hash from api_key where changed > $1 and changed <= $2 order by changed",
        )
        .bind(since)
        .bind(now)
        .fetch_all(self.reader())
        .await?;
        let hashes = rows
            .iter()
            .map(|row| row.bytes("hash")?.try_into().map_err(|_| StoreError::corrupt("hash")))
            .collect::<Result<_, _>>()?;
        Ok((hashes, now))
    }

    /// Notes when keys were last used. Not part of any version, and not acknowledged durably.
    ///
    /// # Errors
    /// As every write.
    pub async fn touch_keys(&self, used: Vec<(KeyId, i64)>) -> Result<(), StoreError> {
        self.quiet_write(move |conn| {
            Box::pin(async move {
                for (key, at_ms) in used {
                    sqlx::query(
                        "update api_key set last_used_ms = $2
                         where id = $1 and (last_used_ms is null or last_used_ms < $2)",
                    )
                    .bind(key.as_str())
                    .bind(at_ms)
                    .execute(&mut *conn)
                    .await?;
                }
                Ok(())
            })
        })
        .await
    }
}

type AnyQuery<'q> = sqlx::query::Query<'q, sqlx::Any, sqlx::any::AnyArguments>;

impl KeyFilter {
    /// Binds `$1` to `$7`.
    fn bind<'q>(&self, query: AnyQuery<'q>) -> AnyQuery<'q> {
        let revoked = match self.revoked {
            None => "",
            Some(true) => "revoked",
            Some(false) => "active",
        };
        query
            .bind(self.customer.as_ref().map_or_else(String::new, ToString::to_string))
            .bind(revoked)
            .bind(self.superkey.map_or(-1, i64::from))
            .bind(self.name.clone().unwrap_or_default())
            .bind(self.name_prefix.clone().unwrap_or_default())
            .bind(self.query.clone().unwrap_or_default())
            .bind(i64::from(self.system))
    }
}

fn read_key(row: &AnyRow) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: row.parse("id")?,
        customer: row.parse("customer_id")?,
        customer_name: row.text("customer_name")?,
        tier: row.text("tier")?,
        name: row.text("name")?,
        prefix: row.text("prefix")?,
        superkey: row.flag("superkey")?,
        system: row.flag("system")?,
        restrictions: Restrictions {
            denied_scopes: row.json("denied_scopes")?,
            limits: super::catalogue::read_limits(row)?,
        },
        budget: row.int_opt("budget")?.map(Ncr::new),
        created_ms: row.int("created_ms")?,
        last_used_ms: row.int_opt("last_used_ms")?,
        revoked_ms: row.int_opt("revoked_ms")?,
        version: row.count("version")?,
    })
}

fn read_login(row: &AnyRow) -> Result<KeyLogin, StoreError> {
    let key = read_key(row)?;
    let customer = Customer {
        id: key.customer.clone(),
        name: key.customer_name.clone(),
        email: row.text("email")?,
        tier: key.tier.clone(),
        status: row.parse::<CustomerStatus>("status")?,
        warning_threshold: row.ncr("warning_threshold_ncr")?,
        model_allowlist: row
            .text_opt("model_allowlist")?
            .map(|text| {
                serde_json::from_str(&text).map_err(|_| StoreError::corrupt("model_allowlist"))
            })
            .transpose()?,
        created_ms: row.int("customer_created_ms")?,
        version: row.count("customer_version")?,
    };
    Ok(KeyLogin { key, customer })
}

/// Refuses when the customer has `limit` active keys. The caller holds the counter of keys, so
/// that no other writer adds one meanwhile.
async fn check_limit(
    conn: &mut AnyConnection,
    customer: &str,
    limit: Option<u32>,
) -> Result<(), StoreError> {
    let Some(limit) = limit else { return Ok(()) };
    let row = sqlx::query(
        "select count(*) as n from api_key
         where customer_id = $1 and system = 0 and revoked_ms is null and deleted_ms is null",
    )
    .bind(customer)
    .fetch_one(conn)
    .await?;
    if row.count("n")? >= u64::from(limit) { Err(StoreError::KeyLimit(limit)) } else { Ok(()) }
}

pub(super) async fn insert(conn: &mut AnyConnection, new: &NewKey) -> Result<(), StoreError> {
    let changed = bump(conn, Counter::Keys).await?;
    let owner = sqlx::query("select id from customer where id = $1")
        .bind(new.customer.as_str())
        .fetch_optional(&mut *conn)
        .await?;
    owner.ok_or(StoreError::NotFound("customer"))?;
    check_limit(conn, new.customer.as_str(), new.limit).await?;
    sqlx::query(
        "insert into api_key (id, customer_id, name, hash, pepper, prefix, superkey, system,
            denied_scopes, direct_rpm, opengpu_rpm, global_rpm, created_ms, version, changed)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1, $14)",
    )
    .bind(new.id.as_str())
    .bind(new.customer.as_str())
    .bind(&new.name)
    .bind(new.hash.to_vec())
    .bind(new.pepper)
    .bind(&new.prefix)
    .bind(i64::from(new.superkey))
    .bind(i64::from(new.system))
    .bind(json(&new.restrictions.denied_scopes))
    .bind(new.restrictions.limits.direct.map(i64::from))
    .bind(new.restrictions.limits.opengpu.map(i64::from))
    .bind(new.restrictions.limits.global.map(i64::from))
    .bind(new.created_ms)
    .bind(changed)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn edit(
    conn: &mut AnyConnection,
    id: &KeyId,
    expected: Option<u64>,
    edit: &KeyEdit,
) -> Result<(), StoreError> {
    let changed = bump(conn, Counter::Keys).await?;
    let row = sqlx::query(
        "update api_key set version = version + 1, changed = $2
         where id = $1 and deleted_ms is null
         returning version, customer_id, system, revoked_ms",
    )
    .bind(id.as_str())
    .bind(changed)
    .fetch_optional(&mut *conn)
    .await?;
    expect_version("key", row.as_ref(), expected)?;
    let Some(row) = row else { return Err(StoreError::NotFound("key")) };
    if row.flag("system")? {
        return Err(StoreError::Precondition("a system key cannot be changed"));
    }
    let update = match edit {
        KeyEdit::Rename(name) => {
            sqlx::query("update api_key set name = $2 where id = $1").bind(id.as_str()).bind(name)
        }
        KeyEdit::Restrict(to) => sqlx::query(
            "update api_key set denied_scopes = $2, direct_rpm = $3, opengpu_rpm = $4,
                global_rpm = $5 where id = $1",
        )
        .bind(id.as_str())
        .bind(json(&to.denied_scopes))
        .bind(to.limits.direct.map(i64::from))
        .bind(to.limits.opengpu.map(i64::from))
        .bind(to.limits.global.map(i64::from)),
        KeyEdit::Revoke { at_ms } => {
            sqlx::query("update api_key set revoked_ms = $2 where id = $1 and revoked_ms is null")
                .bind(id.as_str())
                .bind(at_ms)
        }
        KeyEdit::Unrevoke { limit } => {
            if row.int_opt("revoked_ms")?.is_some() {
                check_limit(conn, &row.text("customer_id")?, *limit).await?;
            }
            sqlx::query("update api_key set revoked_ms = null where id = $1").bind(id.as_str())
        }
        KeyEdit::Delete { at_ms } => {
            if row.int_opt("revoked_ms")?.is_none() {
                return Err(StoreError::Precondition("only a revoked key can be deleted"));
            }
            sqlx::query("update api_key set deleted_ms = $2 where id = $1")
                .bind(id.as_str())
                .bind(at_ms)
        }
        KeyEdit::Promote => {
            sqlx::query("update api_key set superkey = 1 where id = $1").bind(id.as_str())
        }
    };
    update.execute(conn).await?;
    Ok(())
}

//! Independent owners of GPUs as they joined, and the invitations that let them in. How their
//! hosts fare is not stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::Store;
use super::error::StoreError;
use super::row::Columns;
use super::write::{Counter, bump, expect_version, json};
use crate::domain::{DeclaredGpu, ModelName, Ncr, PayoutAddress, ProviderId, ProviderState};

/// Most providers that are read at once: a relay with more wants pages first.
pub const PROVIDERS_MAX: i64 = 10_000;

/// Most invitations that are listed at once, newest first.
pub const INVITATIONS_MAX: i64 = 1_000;

const COLUMNS: &str = "id, public_key, name, payout_address, state, reason, state_since_ms,
    agent_version, address, engines, gpus, evidence, max_concurrency, models, price_floor_ncr,
    standing, joined_ms, version";

/// A local engine of a provider, as its agent offered it. Words whose set another room owns
/// (kind, dialect) stay text here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRow {
    /// Its name on that host.
    pub name: String,
    /// Which server it is.
    pub kind: String,
    /// What it speaks.
    pub dialect: String,
    /// What it serves, by its own names.
    pub models: Vec<String>,
    /// Requests it runs at once.
    pub max_concurrency: u32,
}

/// What an agent says of itself each time it greets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presented {
    /// What people call the host.
    pub name: String,
    /// Where earnings go.
    pub payout: PayoutAddress,
    /// The agent's version and commit.
    pub agent_version: String,
    /// From which address it dialled.
    pub address: String,
    /// What it offers.
    pub engines: Vec<OfferRow>,
    /// The cards that it says it has.
    pub gpus: Vec<DeclaredGpu>,
}

/// What an operator lets a provider do, beyond what it offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderLimits {
    /// Requests that each of its engines may run at once; none is what it offers.
    pub max_concurrency: Option<u32>,
    /// The models that it may serve; none is every one that it offers.
    pub models: Option<Vec<ModelName>>,
    /// The lowest price of a million answer tokens at which it serves; none is any.
    pub price_floor: Option<Ncr>,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRow {
    /// Its id, which follows from its key.
    pub id: ProviderId,
    /// Its Ed25519 key.
    pub public_key: Vec<u8>,
    /// What it said of itself last.
    pub presented: Presented,
    /// How far it has come.
    pub state: ProviderState,
    /// Why, in the words of who or what brought it there.
    pub reason: String,
    /// Since when, milliseconds since the epoch.
    pub state_since_ms: i64,
    /// What was found out about it: JSON of the fleet's.
    pub evidence: String,
    /// An operator's bounds.
    pub limits: ProviderLimits,
    /// How it has done so far: JSON of the fleet's; empty for one that did nothing yet.
    pub standing: String,
    /// When it joined, milliseconds since the epoch.
    pub joined_ms: i64,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// A provider that joins.
#[derive(Clone, Debug)]
pub struct NewProvider {
    /// Its id.
    pub id: ProviderId,
    /// Its Ed25519 key.
    pub public_key: Vec<u8>,
    /// What it says of itself.
    pub presented: Presented,
    /// The hash of the invitation that it spends.
    pub invitation: [u8; 32],
    /// Now, milliseconds since the epoch.
    pub at_ms: i64,
}

/// One change of a provider.
#[derive(Clone, Debug)]
pub enum ProviderEdit {
    /// Another state. Applies only while it is in `from`, so that two decisions never cross.
    State {
        /// The state that the decision was made on.
        from: ProviderState,
        /// The new one.
        to: ProviderState,
        /// Why.
        reason: String,
        /// Now, milliseconds since the epoch.
        at_ms: i64,
    },
    /// It greeted again.
    Presented(Presented),
    /// Something was found out. Applies only while it is examined: evidence that a person decides
    /// by does not change under his hands.
    Evidence(String),
    /// An operator's bounds.
    Limits(ProviderLimits),
}

/// What lets a new provider in. The token is never here, only its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationRow {
    /// Its id.
    pub id: String,
    /// What it is for, in the operator's words.
    pub note: String,
    /// How many may still use it; none is any number.
    pub uses_left: Option<u32>,
    /// Until when, milliseconds since the epoch; none is for good.
    pub expires_ms: Option<i64>,
    /// Who made it.
    pub created_by: String,
    /// When, milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was withdrawn.
    pub revoked_ms: Option<i64>,
    /// Counts the changes, from 1.
    pub version: u64,
}

/// An invitation to make.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Its id.
    pub id: String,
    /// The hash of its token.
    pub token_hash: [u8; 32],
    /// What it is for.
    pub note: String,
    /// How many may use it.
    pub uses: Option<u32>,
    /// Until when.
    pub expires_ms: Option<i64>,
    /// Who makes it.
    pub created_by: String,
    /// Now, milliseconds since the epoch.
    pub created_ms: i64,
}

impl ProviderLimits {
    /// Whether a provider with these may serve a model where a million answer tokens cost that.
    #[must_use]
    pub fn allow(&self, model: &ModelName, price: Ncr) -> bool {
        self.models.as_ref().is_none_or(|models| models.contains(model))
            && self.price_floor.is_none_or(|floor| price >= floor)
    }
}

impl Store {
    /// Every provider by name and id, at most [`PROVIDERS_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn providers(&self) -> Result<Vec<ProviderRow>, StoreError> {
        let text = format!("select {COLUMNS} from provider order by name, id limit $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(PROVIDERS_MAX);
        query.fetch_all(self.reader()).await?.iter().map(read_provider).collect()
    }

    /// One provider.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and as every read.
    pub async fn provider(&self, id: &ProviderId) -> Result<ProviderRow, StoreError> {
        let text = format!("select {COLUMNS} from provider where id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).bind(id.as_str());
        let row = query.fetch_optional(self.reader()).await?;
        row.as_ref().map(read_provider).ok_or(StoreError::NotFound("provider"))?
    }

    /// What every provider earned by the ledger. One without a paid request is not in it.
    ///
    /// # Errors
    /// As every read.
    pub async fn earnings(&self) -> Result<BTreeMap<ProviderId, Ncr>, StoreError> {
        // Sums of the ledger's own rows, not of requests, of which there are millions. Owners are
        // indexed, and a provider's id sorts between these two.
        let rows = sqlx::query(
            "select owner as id, cast(sum(balance) as bigint) as earned from account
             where owner >= 'prov_' and owner < 'prov`' and class = 'earning' group by owner",
        )
        .fetch_all(self.reader())
        .await?;
        let read = |row: &AnyRow| Ok((row.parse("id")?, Ncr::new(row.int("earned")?)));
        rows.iter().map(read).collect()
    }

    /// What one provider earned by the ledger.
    ///
    /// # Errors
    /// As every read.
    pub async fn earned(&self, id: &ProviderId) -> Result<Ncr, StoreError> {
        let row = sqlx::query(
            "select cast(coalesce(sum(balance), 0) as bigint) as earned from account
             where owner = $1 and class = 'earning'",
        )
        .bind(id.as_str())
        .fetch_one(self.reader())
        .await?;
        Ok(Ncr::new(row.int("earned")?))
    }

    /// Invitations, newest first, at most [`INVITATIONS_MAX`].
    ///
    /// # Errors
    /// As every read.
    pub async fn invitations(&self) -> Result<Vec<InvitationRow>, StoreError> {
        let rows = sqlx::query(
            "select id, note, uses_left, expires_ms, created_by, created_ms, revoked_ms, version
             from invitation order by created_ms desc, id desc limit $1",
        )
        .bind(INVITATIONS_MAX)
        .fetch_all(self.reader())
        .await?;
        rows.iter().map(read_invitation).collect()
    }

    /// Whether an invitation's token is known, whatever became of it.
    ///
    /// # Errors
    /// As every read.
    pub async fn knows_invitation(&self, hash: &[u8; 32]) -> Result<bool, StoreError> {
        let row = sqlx::query("select 1 as one from invitation where token_hash = $1")
            .bind(hash.to_vec())
            .fetch_optional(self.reader())
            .await?;
        Ok(row.is_some())
    }
}

fn read_provider(row: &AnyRow) -> Result<ProviderRow, StoreError> {
    Ok(ProviderRow {
        id: row.parse("id")?,
        public_key: row.bytes("public_key")?,
        presented: Presented {
            name: row.text("name")?,
            payout: row.parse("payout_address")?,
            agent_version: row.text("agent_version")?,
            address: row.text("address")?,
            engines: row.json("engines")?,
            gpus: row.json("gpus")?,
        },
        state: row.parse("state")?,
        reason: row.text("reason")?,
        state_since_ms: row.int("state_since_ms")?,
        evidence: row.text("evidence")?,
        limits: ProviderLimits {
            max_concurrency: row.u32_opt("max_concurrency")?,
            models: match row.text_opt("models")? {
                None => None,
                Some(_) => Some(row.json("models")?),
            },
            price_floor: row.int_opt("price_floor_ncr")?.map(Ncr::new),
        },
        standing: row.text("standing")?,
        joined_ms: row.int("joined_ms")?,
        version: row.count("version")?,
    })
}

fn read_invitation(row: &AnyRow) -> Result<InvitationRow, StoreError> {
    Ok(InvitationRow {
        id: row.text("id")?,
        note: row.text("note")?,
        uses_left: row.u32_opt("uses_left")?,
        expires_ms: row.int_opt("expires_ms")?,
        created_by: row.text("created_by")?,
        created_ms: row.int("created_ms")?,
        revoked_ms: row.int_opt("revoked_ms")?,
        version: row.count("version")?,
    })
}

/// Lets a provider in and spends its invitation, together or not at all.
pub(super) async fn insert(conn: &mut AnyConnection, new: &NewProvider) -> Result<(), StoreError> {
    bump(conn, Counter::Providers).await?;
    let spent = sqlx::query(
        "update invitation set uses_left = uses_left - 1, version = version + 1
         where token_hash = $1 and revoked_ms is null
            and (expires_ms is null or expires_ms > $2) and (uses_left is null or uses_left > 0)
         returning version",
    )
    .bind(new.invitation.to_vec())
    .bind(new.at_ms)
    .fetch_optional(&mut *conn)
    .await?;
    if spent.is_none() {
        return Err(StoreError::Precondition("the invitation is unknown, spent or expired"));
    }
    let said = &new.presented;
    sqlx::query(
        "insert into provider (id, public_key, name, payout_address, state, reason, state_since_ms,
            agent_version, address, engines, gpus, evidence, joined_ms, version)
         values ($1, $2, $3, $4, $5, '', $6, $7, $8, $9, $10, '{}', $6, 1)",
    )
    .bind(new.id.as_str())
    .bind(new.public_key.clone())
    .bind(&said.name)
    .bind(said.payout.as_str())
    .bind(ProviderState::Joining.as_str())
    .bind(new.at_ms)
    .bind(&said.agent_version)
    .bind(&said.address)
    .bind(json(&said.engines))
    .bind(json(&said.gpus))
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn edit(
    conn: &mut AnyConnection,
    id: &ProviderId,
    expected: Option<u64>,
    edit: &ProviderEdit,
) -> Result<(), StoreError> {
    bump(conn, Counter::Providers).await?;
    let row =
        sqlx::query("update provider set version = version + 1 where id = $1 returning version")
            .bind(id.as_str())
            .fetch_optional(&mut *conn)
            .await?;
    expect_version("provider", row.as_ref(), expected)?;
    let update = match edit {
        ProviderEdit::State { from, to, reason, at_ms } => sqlx::query(
            "update provider set state = $2, reason = $3, state_since_ms = $4
             where id = $1 and state = $5",
        )
        .bind(id.as_str())
        .bind(to.as_str())
        .bind(reason)
        .bind(*at_ms)
        .bind(from.as_str()),
        ProviderEdit::Presented(said) => sqlx::query(
            "update provider set name = $2, payout_address = $3, agent_version = $4,
                address = $5, engines = $6, gpus = $7 where id = $1",
        )
        .bind(id.as_str())
        .bind(&said.name)
        .bind(said.payout.as_str())
        .bind(&said.agent_version)
        .bind(&said.address)
        .bind(json(&said.engines))
        .bind(json(&said.gpus)),
        ProviderEdit::Evidence(evidence) => {
            sqlx::query("update provider set evidence = $2 where id = $1 and state = $3")
                .bind(id.as_str())
                .bind(evidence)
                .bind(ProviderState::Probing.as_str())
        }
        ProviderEdit::Limits(limits) => sqlx::query(
            "update provider set max_concurrency = $2, models = $3, price_floor_ncr = $4
             where id = $1",
        )
        .bind(id.as_str())
        .bind(limits.max_concurrency.map(i64::from))
        .bind(limits.models.as_ref().map(json))
        .bind(limits.price_floor.map(Ncr::get)),
    };
    if update.execute(conn).await?.rows_affected() == 0 {
        return Err(StoreError::Precondition("the provider's state changed meanwhile"));
    }
    Ok(())
}

/// Refuses where a provider does not serve.
pub(super) async fn expect_serving(
    conn: &mut AnyConnection,
    provider: &ProviderId,
) -> Result<(), StoreError> {
    let row = sqlx::query("select state from provider where id = $1")
        .bind(provider.as_str())
        .fetch_optional(conn)
        .await?
        .ok_or(StoreError::NotFound("provider"))?;
    if row.parse::<ProviderState>("state")?.serves() {
        return Ok(());
    }
    Err(StoreError::Precondition("the provider does not serve any more"))
}

/// Writes how a provider has done over what was read of it.
pub(super) async fn note(
    conn: &mut AnyConnection,
    id: &ProviderId,
    (before, after): (Option<&str>, &str),
    steps: bool,
) -> Result<(), StoreError> {
    let written = sqlx::query(
        "update provider set standing = $2 where id = $1 and ($3 = 0 or standing = $4)",
    )
    .bind(id.as_str())
    .bind(after)
    .bind(i64::from(before.is_some()))
    .bind(before.unwrap_or_default())
    .execute(&mut *conn)
    .await?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Precondition("the provider's record changed meanwhile"));
    }
    if steps {
        bump(conn, Counter::Backends).await?;
    }
    Ok(())
}

pub(super) async fn invite(
    conn: &mut AnyConnection,
    new: &NewInvitation,
) -> Result<(), StoreError> {
    bump(conn, Counter::Invitations).await?;
    sqlx::query(
        "insert into invitation (id, token_hash, note, uses_left, expires_ms, created_by,
            created_ms, version)
         values ($1, $2, $3, $4, $5, $6, $7, 1)",
    )
    .bind(&new.id)
    .bind(new.token_hash.to_vec())
    .bind(&new.note)
    .bind(new.uses.map(i64::from))
    .bind(new.expires_ms)
    .bind(&new.created_by)
    .bind(new.created_ms)
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) async fn withdraw(
    conn: &mut AnyConnection,
    id: &str,
    expected: Option<u64>,
    at_ms: i64,
) -> Result<(), StoreError> {
    bump(conn, Counter::Invitations).await?;
    let row = sqlx::query(
        "update invitation set revoked_ms = $2, version = version + 1 where id = $1
         returning version",
    )
    .bind(id)
    .bind(at_ms)
    .fetch_optional(conn)
    .await?;
    expect_version("invitation", row.as_ref(), expected)
}

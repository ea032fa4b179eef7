//! Admin writes: values that describe changes, applied together or not at all, with their record.
//!
//! One connection writes, in a task that no caller can cancel: a transaction dropped midway would
//! stay open on its connection. A connection whose transaction erred is closed and made anew.

use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::{AnyConnection, ConnectOptions, Connection};
use tokio::sync::Mutex;

use super::backends::{BackendEdit, BackendRow};
use super::catalogue::Model;
use super::customers::{CustomerEdit, NewCustomer};
use super::deployments::{BeganAs, DeploymentRow};
use super::error::StoreError;
use super::keys::{KeyEdit, NewKey};
use super::operators::{NewOperator, OperatorEdit};
use super::options::Engine;
use super::providers::{NewInvitation, NewProvider, ProviderEdit};
use super::revisions::NewRevision;
use super::rollouts::{NewRollout, RolloutEdit};
use super::row::Columns;
use super::trail::Trail;
use super::{
    Store, backends, catalogue, customers, deployments, keys, operators, providers, revisions,
    rollouts, settings, trail,
};
use crate::domain::{BackendId, CustomerId, KeyId, ProviderId, RolloutId, Tier};
use crate::ledger::Price;

/// One change of what is administered. `expected` is the version the caller had read: none skips
/// the check, and for something that is put, zero says that it must not exist.
#[derive(Clone, Debug)]
pub enum Change {
    /// A new customer.
    NewCustomer(NewCustomer),
    /// A change of a customer.
    EditCustomer {
        /// Which.
        id: CustomerId,
        /// The version read.
        expected: Option<u64>,
        /// How.
        edit: CustomerEdit,
    },
    /// A new key.
    NewKey(NewKey),
    /// A change of a key.
    EditKey {
        /// Which.
        id: KeyId,
        /// The version read.
        expected: Option<u64>,
        /// How.
        edit: KeyEdit,
    },
    /// A new operator.
    NewOperator(NewOperator),
    /// A change of an operator.
    EditOperator {
        /// Which.
        name: String,
        /// The version read.
        expected: Option<u64>,
        /// How.
        edit: OperatorEdit,
    },
    /// A provider that joins by an invitation.
    NewProvider(NewProvider),
    /// A change of a provider.
    EditProvider {
        /// Which.
        id: ProviderId,
        /// The version read.
        expected: Option<u64>,
        /// How.
        edit: ProviderEdit,
    },
    /// How a provider has done. No change of its row's version: an operator who decides meanwhile
    /// decides on the same provider.
    NoteStanding {
        /// Which.
        id: ProviderId,
        /// What was read; none writes over whatever is there.
        before: Option<String>,
        /// The new text.
        after: String,
        /// Whether its backends are taken in anew by every replica, because of it.
        steps: bool,
    },
    /// Something that a provider's agent shall run; refused where the provider does not serve.
    NewDeployment(DeploymentRow),
    /// What the first instance of it is; refused where it began as something else.
    BeginDeployment {
        /// Which.
        id: String,
        /// As what.
        began: BeganAs,
    },
    /// More or fewer instances of it.
    ScaleDeployment {
        /// Which.
        id: String,
        /// The version read.
        expected: Option<u64>,
        /// How many.
        replicas: u32,
    },
    /// A deployment that goes.
    RemoveDeployment {
        /// Which.
        id: String,
        /// The version read.
        expected: Option<u64>,
    },
    /// Every deployment of a provider goes, even where a model is served by one. There need not be
    /// any.
    RemoveDeploymentsOf {
        /// Whose.
        provider: ProviderId,
    },
    /// A new invitation.
    NewInvitation(NewInvitation),
    /// An invitation that lets nobody in any more.
    WithdrawInvitation {
        /// Which.
        id: String,
        /// The version read.
        expected: Option<u64>,
        /// Now, milliseconds since the epoch.
        at_ms: i64,
    },
    /// A tier as it shall be.
    PutTier {
        /// The tier.
        tier: Tier,
        /// The version read.
        expected: Option<u64>,
    },
    /// A model as it shall be.
    PutModel {
        /// The model.
        model: Model,
        /// The version read.
        expected: Option<u64>,
    },
    /// A new price row. It supersedes older rows of its scope from its `valid_from_ms` on.
    NewPrice {
        /// The row.
        price: Price,
        /// Now, milliseconds since the epoch.
        at_ms: i64,
    },
    /// A backend as it shall be; the intake of a known one stays as it is.
    PutBackend {
        /// The backend.
        backend: BackendRow,
        /// The version read.
        expected: Option<u64>,
    },
    /// A change of a backend's intake or weight.
    EditBackend {
        /// Which.
        id: BackendId,
        /// The version read.
        expected: Option<u64>,
        /// How.
        edit: BackendEdit,
    },
    /// A backend of a provider. Of a known one intake, queue and weight stay, which are the
    /// operator's. Refused where the provider does not serve by then, and where a backend of that
    /// name is at another address.
    PutProvidedBackend {
        /// Whose.
        provider: ProviderId,
        /// The backend.
        backend: BackendRow,
    },
    /// A backend that goes.
    RemoveBackend {
        /// Which.
        id: BackendId,
        /// The version read; with none it may be gone already.
        expected: Option<u64>,
    },
    /// Every backend goes whose address begins so.
    RemoveBackendsUnder {
        /// How it begins.
        url: String,
    },
    /// A new revision of a model. The first one is live.
    NewRevision(NewRevision),
    /// A rollout that begins.
    NewRollout {
        /// The rollout.
        rollout: NewRollout,
        /// The version read of what is live.
        expected: Option<u64>,
    },
    /// A rollout that goes on, stops or ends.
    EditRollout {
        /// Which.
        id: RolloutId,
        /// The version read.
        expected: Option<u64>,
        /// How.
        edit: RolloutEdit,
    },
    /// A setting as it shall be.
    PutSetting {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// The version read.
        expected: Option<u64>,
    },
}

/// Counters that change with every write of their noun, so that a poll of one row tells whether
/// anything changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Starts of relayd on this database.
    Instances,
    /// Events.
    Events,
    /// Audit records.
    Audit,
    /// API keys.
    Keys,
    /// Customers.
    Customers,
    /// Operators.
    Operators,
    /// Tiers, models and prices.
    Catalogue,
    /// Backends.
    Backends,
    /// Settings.
    Settings,
    /// Providers.
    Providers,
    /// Invitations.
    Invitations,
    /// What providers' agents shall run.
    Deployments,
    /// Revisions of models and rollouts.
    Rollouts,
}

/// The one connection of admin writes.
#[derive(Clone)]
pub(super) struct AdminWriter {
    options: AnyConnectOptions,
    engine: Engine,
    connection: Arc<Mutex<Option<AnyConnection>>>,
    /// On SQLite shared with the ledger writer: waiting in line here is fair, waiting for the
    /// file's lock is not.
    gate: Arc<Mutex<()>>,
}

/// Work on a writing transaction.
pub(super) type Work<T> =
    dyn for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>> + Send;

impl Counter {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Instances => "instance",
            Self::Events => "event",
            Self::Audit => "audit",
            Self::Keys => "keys",
            Self::Customers => "customers",
            Self::Operators => "operators",
            Self::Catalogue => "catalogue",
            Self::Backends => "backends",
            Self::Settings => "settings",
            Self::Providers => "providers",
            Self::Invitations => "invitations",
            Self::Deployments => "deployments",
            Self::Rollouts => "rollouts",
        }
    }
}

impl AdminWriter {
    pub(super) fn new(options: AnyConnectOptions, engine: Engine, gate: Arc<Mutex<()>>) -> Self {
        Self { options, engine, connection: Arc::default(), gate }
    }

    /// Runs `work` in one transaction. Must not be dropped before its end: call it from a task.
    pub(super) async fn run<T>(&self, work: Box<Work<T>>) -> Result<T, StoreError> {
        let mut place = self.connection.lock().await;
        let _turn = match self.engine {
            Engine::Sqlite => Some(self.gate.lock().await),
            Engine::Postgres => None,
        };
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        match transact(&mut connection, self.engine, work).await {
            Ok(done) => {
                *place = Some(connection);
                Ok(done)
            }
            Err(error) => {
                // The transaction may still be open: the connection goes with it.
                if let Err(closing) = connection.close().await {
                    tracing::debug!(error = %closing, "could not close a failed connection");
                }
                Err(error)
            }
        }
    }

    #[cfg(test)]
    pub(super) const fn options(&self) -> &AnyConnectOptions {
        &self.options
    }

    pub(super) const fn engine(&self) -> Engine {
        self.engine
    }

    async fn connect(&self) -> Result<AnyConnection, StoreError> {
        let mut connection = self.options.connect().await?;
        if self.engine == Engine::Sqlite {
            sqlx::raw_sql("pragma synchronous = normal; pragma wal_autocheckpoint = 0")
                .execute(&mut connection)
                .await?;
        }
        Ok(connection)
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::debug!(%error, "could not close the connection of admin writes");
        }
    }
}

async fn transact<T>(
    connection: &mut AnyConnection,
    engine: Engine,
    work: Box<Work<T>>,
) -> Result<T, StoreError> {
    let mut transaction = connection.begin_with(engine.begin()).await?;
    let done = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(done)
}

impl Store {
    /// Applies changes in order, all or none, with their audit record, and returns when they
    /// survive a power cut.
    ///
    /// # Errors
    /// The first change that fails names its reason: [`StoreError::NotFound`],
    /// [`StoreError::Taken`], [`StoreError::Version`], [`StoreError::KeyLimit`],
    /// [`StoreError::Precondition`]. A record with a known request id is
    /// `Taken(`[`RequestId`](super::Unique::RequestId)`)`: the change was made before.
    pub async fn write(
        &self,
        changes: Vec<Change>,
        trail: Option<Trail>,
    ) -> Result<(), StoreError> {
        self.quiet_write(move |conn| {
            Box::pin(async move {
                if let Some(trail) = &trail {
                    trail::append(conn, trail).await?;
                }
                for change in &changes {
                    apply(conn, change).await?;
                }
                Ok(())
            })
        })
        .await?;
        self.synced().await
    }

    /// Runs a write in its own task and returns when it survives the death of the process.
    pub(super) async fn quiet_write<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, Result<T, StoreError>>
        + Send
        + 'static,
    ) -> Result<T, StoreError> {
        let writer = self.admin_writer().ok_or(StoreError::ReadOnly)?.clone();
        let task = self.writes().spawn(async move { writer.run(Box::new(work)).await });
        let done = task.await.map_err(|error| StoreError::Internal(error.to_string()))??;
        self.committed();
        Ok(done)
    }

    /// The counter of a noun's changes.
    ///
    /// # Errors
    /// As every read.
    pub async fn counter(&self, counter: Counter) -> Result<i64, StoreError> {
        sqlx::query("select n from counter where k = $1")
            .bind(counter.as_str())
            .fetch_one(self.reader())
            .await?
            .int("n")
    }
}

async fn apply(conn: &mut AnyConnection, change: &Change) -> Result<(), StoreError> {
    match change {
        Change::NewCustomer(new) => customers::insert(conn, new).await,
        Change::EditCustomer { id, expected, edit } => {
            customers::edit(conn, id, *expected, edit).await
        }
        Change::NewKey(new) => keys::insert(conn, new).await,
        Change::EditKey { id, expected, edit } => keys::edit(conn, id, *expected, edit).await,
        Change::NewOperator(new) => operators::insert(conn, new).await,
        Change::EditOperator { name, expected, edit } => {
            operators::edit(conn, name, *expected, edit).await
        }
        Change::NewProvider(new) => providers::insert(conn, new).await,
        Change::EditProvider { id, expected, edit } => {
            providers::edit(conn, id, *expected, edit).await
        }
        Change::NoteStanding { id, before, after, steps } => {
            providers::note(conn, id, (before.as_deref(), after), *steps).await
        }
        Change::NewDeployment(new) => deployments::insert(conn, new).await,
        Change::BeginDeployment { id, began } => deployments::begin(conn, id, began).await,
        Change::ScaleDeployment { id, expected, replicas } => {
            deployments::scale(conn, id, *expected, *replicas).await
        }
        Change::RemoveDeployment { id, expected } => deployments::remove(conn, id, *expected).await,
        Change::RemoveDeploymentsOf { provider } => deployments::remove_of(conn, provider).await,
        Change::NewInvitation(new) => providers::invite(conn, new).await,
        Change::WithdrawInvitation { id, expected, at_ms } => {
            providers::withdraw(conn, id, *expected, *at_ms).await
        }
        Change::PutTier { tier, expected } => catalogue::put_tier(conn, tier, *expected).await,
        Change::PutModel { model, expected } => catalogue::put_model(conn, model, *expected).await,
        Change::NewPrice { price, at_ms } => catalogue::insert_price(conn, price, *at_ms).await,
        Change::PutBackend { backend, expected } => backends::put(conn, backend, *expected).await,
        Change::EditBackend { id, expected, edit } => {
            backends::edit(conn, id, *expected, *edit).await
        }
        Change::PutProvidedBackend { provider, backend } => {
            backends::put_provided(conn, provider, backend).await
        }
        Change::RemoveBackend { id, expected } => backends::remove(conn, id, *expected).await,
        Change::RemoveBackendsUnder { url } => backends::remove_under(conn, url).await,
        Change::NewRevision(new) => revisions::insert(conn, new).await,
        Change::NewRollout { rollout, expected } => {
            rollouts::insert(conn, rollout, *expected).await
        }
        Change::EditRollout { id, expected, edit } => {
            rollouts::edit(conn, id, *expected, edit).await
        }
        Change::PutSetting { key, value, expected } => {
            settings::put(conn, key, value, *expected).await
        }
    }
}

/// Raises a counter and holds its row until the transaction ends.
pub(super) async fn bump(conn: &mut AnyConnection, counter: Counter) -> Result<i64, StoreError> {
    bump_by(conn, counter, 1).await
}

/// Raises a counter by `count` and tells its new value.
pub(super) async fn bump_by(
    conn: &mut AnyConnection,
    counter: Counter,
    count: i64,
) -> Result<i64, StoreError> {
    sqlx::query("update counter set n = n + $2 where k = $1 returning n")
        .bind(counter.as_str())
        .bind(count)
        .fetch_one(conn)
        .await?
        .int("n")
}

/// Checks the version that an update has just raised.
pub(super) fn expect_version(
    noun: &'static str,
    row: Option<&AnyRow>,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    let Some(row) = row else { return Err(StoreError::NotFound(noun)) };
    expect_put(noun, row, expected)
}

/// Checks the version that an insert or update has just set: it was one less before.
pub(super) fn expect_put(
    noun: &'static str,
    row: &AnyRow,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    let found = row.count("version")?.saturating_sub(1);
    match expected {
        Some(expected) if expected != found => Err(StoreError::Version { noun, expected, found }),
        _ => Ok(()),
    }
}

/// A value as JSON text. Everything stored so is made of texts and numbers, which cannot fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

//! The listeners, bound before anything else is built, so that a port in use costs nothing.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::{Addresses, AppError};
use crate::config::Listeners;

/// Bound listeners.
pub struct Bound {
    pub(super) public: Vec<TcpListener>,
    pub(super) admin: TcpListener,
    pub(super) fleet: TcpListener,
    pub(super) ops: TcpListener,
    addresses: Addresses,
}

impl Bound {
    /// Binds every listener.
    ///
    /// # Errors
    /// [`AppError::Bind`] names the first that cannot be had.
    pub(super) async fn bind(listeners: &Listeners) -> Result<Self, AppError> {
        let mut public = Vec::new();
        for listener in &listeners.public {
            public.push(bind("listener.public", listener.listen).await?);
        }
        let admin = bind("listener.admin", listeners.admin.listen).await?;
        let fleet = bind("listener.fleet", listeners.fleet.listen).await?;
        let ops = bind("listener.ops", listeners.ops.listen).await?;
        let address = |listener: &TcpListener| {
            listener.local_addr().map_err(|error| AppError::Setting(error.to_string()))
        };
        let addresses = Addresses {
            public: public.iter().map(address).collect::<Result<_, _>>()?,
            admin: address(&admin)?,
            fleet: address(&fleet)?,
            ops: address(&ops)?,
        };
        Ok(Self { public, admin, fleet, ops, addresses })
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }
}

async fn bind(key: &'static str, address: SocketAddr) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Bind { key, address, error })
}

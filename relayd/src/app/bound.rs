//! The listeners, bound before anything else is built, so that a port in use costs nothing.
//!
//! Whoever starts relayd may hand it sockets that listen already (the `LISTEN_FDS` protocol of
//! socket activation). They are told apart by their addresses, which must be those of the
//! configuration. Between two processes that are handed the same socket no caller is refused: what
//! the one no longer takes waits for the other.

use std::net::SocketAddr;

use listenfd::ListenFd;
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
        let mut handed = Handed::take()?;
        let mut public = Vec::new();
        for listener in &listeners.public {
            public.push(handed.or_bind("listener.public", listener.listen).await?);
        }
        let admin = handed.or_bind("listener.admin", listeners.admin.listen).await?;
        let fleet = handed.or_bind("listener.fleet", listeners.fleet.listen).await?;
        let ops = handed.or_bind("listener.ops", listeners.ops.listen).await?;
        handed.none_left()?;
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

/// Sockets that listen already, by their addresses.
struct Handed(Vec<(SocketAddr, std::net::TcpListener)>);

impl Handed {
    fn take() -> Result<Self, AppError> {
        let unusable = |error| AppError::Setting(format!("a socket of LISTEN_FDS: {error}"));
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(passed.len());
        for index in 0..passed.len() {
            if let Some(socket) = passed.take_tcp_listener(index).map_err(unusable)? {
                socket.set_nonblocking(true).map_err(unusable)?;
                sockets.push((socket.local_addr().map_err(unusable)?, socket));
            }
        }
        Ok(Self(sockets))
    }

    async fn or_bind(
        &mut self,
        key: &'static str,
        address: SocketAddr,
    ) -> Result<TcpListener, AppError> {
        let failed = |error| AppError::Bind { key, address, error };
        match self.0.iter().position(|(of, _)| *of == address) {
            Some(index) => TcpListener::from_std(self.0.swap_remove(index).1).map_err(failed),
            None => TcpListener::bind(address).await.map_err(failed),
        }
    }

    /// A socket that no listener is configured for would take callers that nobody serves.
    fn none_left(&self) -> Result<(), AppError> {
        match self.0.first() {
            None => Ok(()),
            Some((address, _)) => Err(AppError::Setting(format!(
                "LISTEN_FDS hands over a socket at {address}, where no listener is configured: the addresses must be those of the configuration"
            ))),
        }
    }
}

//! The ready file: what a script needs to talk to this Relay.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Written by rename and with mode 0600 once everything is up; holds secrets.
#[derive(Serialize)]
pub(super) struct Ready {
    /// `http://host:port` of the public API.
    pub(super) public_url: String,
    /// `host:port` of the admin plane.
    pub(super) admin_addr: SocketAddr,
    /// `host:port` where providers dial in.
    pub(super) fleet_addr: SocketAddr,
    /// `http://host:port` of health and metrics.
    pub(super) ops_url: String,
    /// A superkey.
    pub(super) api_key: String,
    /// A token for the admin plane, role admin.
    pub(super) operator_token: String,
    /// Canonical names of the models that chat on all four routes.
    pub(super) models: Vec<String>,
    /// The first engine.
    pub(super) engine_url: String,
    /// The authority of the fleet listener's certificate, PEM.
    pub(super) fleet_ca: String,
    /// What an agent shows when it dials in for the first time.
    pub(super) join_token: String,
    /// The data directory, absolute.
    pub(super) data_dir: PathBuf,
    /// The process.
    pub(super) pid: u32,
}

impl Ready {
    /// Writes the file.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn write(&self, file: &Path) -> io::Result<()> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        crate::cli::private::write(file, &json)
    }
}

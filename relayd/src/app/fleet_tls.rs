//! The certificate of the fleet listener, under an authority of this relay's own.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::Config;
use crate::pki::{Authority, LEAF_DAYS, PkiError, Purpose, Validity};

/// Where the authority lies in the data directory.
const FOLDER: &str = "fleet-pki";

/// The fleet listener's certificate, and the authority that agents trust; PEM.
pub struct FleetTls {
    /// The authority's certificate: what an agent is given.
    pub ca_pem: String,
    /// The chain.
    pub cert_pem: String,
    /// Its key; wiped when dropped.
    pub key_pem: zeroize::Zeroizing<String>,
}

impl FleetTls {
    /// A fresh certificate under the authority of the data directory, which is made when it is
    /// missing. It names loopback, the listener's address and the advertised one.
    ///
    /// # Errors
    /// When the authority is there and cannot be used, or the disk fails.
    pub fn open(config: &Config) -> Result<Self, PkiError> {
        let advertised = config.fleet.advertise_addr.as_deref();
        let folder = config.fleet.pki_dir.clone();
        let folder = folder.unwrap_or_else(|| config.in_data_dir(FOLDER));
        Self::under(&folder, config.listener.fleet.listen, advertised)
    }

    fn under(
        folder: &Path,
        listen: SocketAddr,
        advertised: Option<&str>,
    ) -> Result<Self, PkiError> {
        let authority = Authority::open(folder, "relay fleet")?;
        let mut names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        if !listen.ip().is_unspecified() {
            names.push(listen.ip().to_string());
        }
        if let Some((host, _)) = advertised.and_then(|address| address.rsplit_once(':')) {
            names.push(host.trim_start_matches('[').trim_end_matches(']').to_owned());
        }
        names.sort();
        names.dedup();
        let issued = authority.issue(&Purpose::Server(names), Validity::days(LEAF_DAYS)?)?;
        let ca_pem = authority.cert_pem().to_owned();
        Ok(Self { ca_pem, cert_pem: issued.cert_pem, key_pem: issued.key_pem })
    }
}

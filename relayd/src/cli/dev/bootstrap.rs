//! What a development Relay begins with: a customer with credit and a superkey, an operator, an
//! authority for the fleet listener. Made once, reused ever after.

use std::io;
use std::path::Path;

use super::secrets::{self, DevSecrets};
use crate::app::{FleetTls, Parts};
use crate::catalogue::DEV_TIER;
use crate::domain::{Code, Fault, Ncr, RateLimits, Role};
use crate::identity::{Asked, CreditRequest, CustomerRequest, KeyRequest};
use crate::ledger::AccountError;
use crate::pki::{AUTHORITY_DAYS, Authority, LEAF_DAYS, PkiError, Purpose, Validity};

/// Credit that the developer's customer begins with.
const CREDIT: Ncr = match Ncr::credits(1_000) {
    Some(credit) => credit,
    None => Ncr::ZERO,
};
/// The developer's operator.
const OPERATOR: &str = "dev";
/// Where the fleet's authority lies in the data directory.
const FLEET_PKI: &str = "fleet-pki";

/// Why it could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BootstrapError {
    /// A part refused.
    #[error("{0}")]
    Refused(#[from] Fault),
    /// A file.
    #[error("the secrets in the data directory cannot be used: {0}")]
    File(#[from] io::Error),
    /// A certificate.
    #[error("{0}")]
    Pki(#[from] PkiError),
    /// A constant that does not read.
    #[error("{0}")]
    Name(String),
}

/// The secrets, and whether they were made just now.
pub(super) async fn bootstrap(
    parts: &Parts,
    data_dir: &Path,
) -> Result<(DevSecrets, bool), BootstrapError> {
    if let Some(secrets) = DevSecrets::load(data_dir)? {
        return Ok((secrets, false));
    }
    let identity = &parts.identity;
    let customer = CustomerRequest {
        id: None,
        name: "dev".to_owned(),
        email: String::new(),
        tier: DEV_TIER.to_owned(),
    };
    let customer = identity.create_customer(customer, None).await?;
    let credit = CreditRequest {
        customer: customer.id.clone(),
        amount: CREDIT,
        via: "dev"
            .parse()
            .map_err(|error: AccountError| BootstrapError::Name(error.to_string()))?,
        reason: "the credit of a development relay".to_owned(),
    };
    let asked = Asked {
        idem: format!("dev:{}", customer.id),
        actor: "relayd dev".to_owned(),
        expected: None,
        trail: None,
    };
    identity.credit(credit, asked).await?;
    let key = KeyRequest {
        id: None,
        customer: customer.id,
        name: "dev superkey".to_owned(),
        denied_scopes: Vec::new(),
        limits: RateLimits::NONE,
        budget: None,
        actor: "relayd dev".to_owned(),
    };
    let key = identity.create_key(key, None).await?;
    let operator = match identity.create_operator(OPERATOR, Role::Admin, None).await {
        Ok(made) => made,
        // An earlier start died before it could keep the token.
        Err(fault) if fault.code != Code::ServiceUnavailable => {
            identity.renew_operator_token(OPERATOR, None, None).await?
        }
        Err(fault) => return Err(fault.into()),
    };
    let secrets = DevSecrets {
        api_key: key.secret.expose().to_owned(),
        operator_token: operator.token.expose().to_owned(),
        join_token: secrets::token("relay_join_")?,
    };
    secrets.save(data_dir)?;
    Ok((secrets, true))
}

/// The authority of the fleet listener, PEM, and a certificate under it for loopback.
pub(super) fn fleet_tls(data_dir: &Path) -> Result<(String, FleetTls), PkiError> {
    let folder = data_dir.join(FLEET_PKI);
    let authority = match Authority::load(&folder) {
        Ok(authority) => authority,
        Err(_) if !folder.exists() => {
            let authority = Authority::create("relayd dev fleet", Validity::days(AUTHORITY_DAYS)?)?;
            authority.save(&folder)?;
            authority
        }
        Err(error) => return Err(error),
    };
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let issued = authority.issue(&Purpose::Server(names), Validity::days(LEAF_DAYS)?)?;
    let tls = FleetTls { cert_pem: issued.cert_pem, key_pem: issued.key_pem };
    Ok((authority.cert_pem().to_owned(), tls))
}

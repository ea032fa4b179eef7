//! What a development Relay begins with: a customer with credit and a superkey, an operator, an
//! invitation for agents. Made once, reused ever after.

use std::io;
use std::path::Path;

use super::secrets::{self, DevSecrets};
use crate::app::Parts;
use crate::catalogue::DEV_TIER;
use crate::domain::{Code, Fault, Ncr, RateLimits, Role};
use crate::identity::{Asked, CreditRequest, CustomerRequest, InvitationRequest, KeyRequest};
use crate::ledger::AccountError;

/// Credit that the developer's customer begins with.
const CREDIT: Ncr = match Ncr::credits(1_000) {
    Some(credit) => credit,
    None => Ncr::ZERO,
};
/// The developer's operator.
const OPERATOR: &str = "dev";
/// What lets the developer's own agents in: any number of them.
const INVITATION: &str = "inv_0000000000000000";

/// Why it could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BootstrapError {
    /// A part refused.
    #[error("{0}")]
    Refused(#[from] Fault),
    /// A file.
    #[error("the secrets in the data directory cannot be used: {0}")]
    File(#[from] io::Error),
    /// A constant that does not read.
    #[error("{0}")]
    Name(String),
}

/// The secrets, and whether they were made just now.
pub(super) async fn bootstrap(
    parts: &Parts,
    data_dir: &Path,
) -> Result<(DevSecrets, bool), BootstrapError> {
    let identity = &parts.identity;
    if let Some(secrets) = DevSecrets::load(data_dir)? {
        identity.ensure_invitation(invitation(), &secrets.join_token).await?;
        return Ok((secrets, false));
    }
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
    identity.ensure_invitation(invitation(), &secrets.join_token).await?;
    secrets.save(data_dir)?;
    Ok((secrets, true))
}

fn invitation() -> InvitationRequest {
    InvitationRequest {
        id: INVITATION.to_owned(),
        note: "agents of a development relay".to_owned(),
        uses: None,
        life_ms: None,
        actor: "relayd dev".to_owned(),
    }
}

//! The connection, and what its failures mean.

use std::error::Error as _;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::Problem;
use super::context::Target;

/// A server that does not answer the TCP and TLS handshakes in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for the head of an answer; a probe of a slow engine takes seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// As the server's own bound, 4 MiB.
pub(super) const MESSAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A channel that carries the token.
pub(super) type Wire = InterceptedService<Channel, Bearer>;

/// The way to one relayd. Connects at the first call.
#[derive(Clone)]
pub(super) struct Link {
    wire: Wire,
    url: String,
    read_only: Option<String>,
}

/// Adds the operator's token to each call.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Link {
    pub(super) fn open(target: &Target) -> Result<Self, Problem> {
        let bad_address =
            |_| Problem::new(format!("'{}' is not an address: write host:port", target.url));
        let mut endpoint = Endpoint::from_shared(target.url.clone())
            .map_err(bad_address)?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .user_agent(concat!("relayd-admin/", env!("CARGO_PKG_VERSION")))
            .map_err(bad_address)?;
        if let Some(ca) = &target.ca {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            if let Some((cert, key)) = &target.identity {
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| {
                Problem::new(format!("the certificates cannot be used: {}", deepest(&error)))
            })?;
        }
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", target.token))
            .map_err(|_| Problem::new("the operator token holds characters that no token has"))?;
        bearer.set_sensitive(true);
        let wire = InterceptedService::new(endpoint.connect_lazy(), Bearer(bearer));
        Ok(Self { wire, url: target.url.clone(), read_only: target.read_only.clone() })
    }

    pub(super) fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Refuses a change in a context that only looks.
    pub(super) fn may_change(&self) -> Result<(), Problem> {
        match &self.read_only {
            None => Ok(()),
            Some(name) => Err(Problem::new(format!(
                "the context '{name}' is read-only: use another one for changes"
            ))),
        }
    }

    /// What a failed call means and what to do next, in one sentence.
    pub(super) fn problem(&self, status: &Status) -> Problem {
        let url = &self.url;
        let said = status.message().trim_end_matches('.');
        Problem::new(match status.code() {
            // A server that refuses a certificate ends the connection after the handshake.
            Code::Unavailable | Code::Cancelled | Code::Unknown if status.source().is_some() => {
                format!(
                    "cannot reach relayd at {url}: {}; check the address, the certificates, and that \
                 it runs",
                    status.source().map_or_else(String::new, deepest)
                )
            }
            Code::Unavailable => format!("relayd at {url} cannot serve now: {said}; try again"),
            Code::Unauthenticated => format!(
                "{said}; give a valid operator token in RELAY_OPERATOR_TOKEN or in the context"
            ),
            Code::PermissionDenied => format!("{said}; ask an operator who has that role"),
            Code::Aborted => {
                format!("{said}; read it again and decide, or leave --expected-version out")
            }
            Code::Unimplemented => format!("relayd at {url} is too old for this command"),
            Code::DeadlineExceeded | Code::Cancelled => format!(
                "relayd at {url} did not answer in {} s; try again with the same --request-id \
                 where something was to be changed",
                CALL_TIMEOUT.as_secs()
            ),
            Code::Internal | Code::Unknown => {
                format!("relayd at {url} failed: {said}; its log has the cause")
            }
            _ => said.to_owned(),
        })
    }
}

/// The innermost cause: "Connection refused (os error 111)" and not "transport error".
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

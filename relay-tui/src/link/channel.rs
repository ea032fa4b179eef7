//! The connection itself: address, certificates, token.

use std::time::Duration;

use relay_proto::admin::v1 as proto;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{Timings, convert, problem};
use crate::config::Target;
use crate::model::data::Session;

/// Largest message taken: a snapshot of 5,000 keys with room to spare.
const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A channel that carries the token.
pub(super) type Carrier = InterceptedService<Channel, Bearer>;

/// An open connection. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    carrier: Carrier,
    url: String,
    pub(super) call_timeout: Duration,
}

/// Adds the operator's token to each call. Never printed.
#[derive(Clone)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

macro_rules! clients {
    ($($name:ident => $module:ident :: $client:ident),* $(,)?) => {
        impl Wire {
            $(pub(super) fn $name(&self) -> proto::$module::$client<Carrier> {
                proto::$module::$client::new(self.carrier.clone())
                    .max_decoding_message_size(MESSAGE_MAX_BYTES)
            })*
        }
    };
}

clients! {
    session => session_service_client::SessionServiceClient,
    overview => overview_service_client::OverviewServiceClient,
    hosts => hosts_service_client::HostsServiceClient,
    providers => providers_service_client::ProvidersServiceClient,
    rollouts => rollouts_service_client::RolloutsServiceClient,
    backends => backends_service_client::BackendsServiceClient,
    keys => keys_service_client::KeysServiceClient,
    customers => customers_service_client::CustomersServiceClient,
    usage => usage_service_client::UsageServiceClient,
    events => events_service_client::EventsServiceClient,
    audit => audit_service_client::AuditServiceClient,
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// One sentence: what is wrong and where to look.
    pub(super) async fn open(target: &Target, timings: Timings) -> Result<Self, String> {
        let mut endpoint = Endpoint::from_shared(target.url.clone())
            .map_err(|_| format!("'{}' is not an address: write host:port", target.url))?
            .connect_timeout(timings.connect)
            .user_agent(concat!("relay-tui/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| error.to_string())?;
        if let Some(ca) = &target.ca {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
            if let Some((cert, key)) = &target.identity {
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            endpoint = endpoint
                .tls_config(tls)
                .map_err(|error| format!("the certificates cannot be used: {error}"))?;
        }
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", target.token.0))
            .map_err(|_| "the operator token holds characters that no token has".to_owned())?;
        bearer.set_sensitive(true);
        let channel =
            endpoint.connect().await.map_err(|error| problem::of_connect(&target.url, &error))?;
        let carrier = InterceptedService::new(channel, Bearer(bearer));
        Ok(Self { carrier, url: target.url.clone(), call_timeout: timings.call })
    }

    /// Asks who we are: the first call of every connection.
    pub(super) async fn who_am_i(&self) -> Result<Session, String> {
        self.session()
            .who_am_i(proto::WhoAmIRequest {})
            .await
            .map(|answer| convert::session(answer.into_inner()))
            .map_err(|status| problem::of_status(&self.url, &status))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

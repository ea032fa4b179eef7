//! Engines that are reached over a provider's own connection: the agent dialled in, and relayd is
//! the HTTP/2 client on what it opened.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;

use super::cause;
use super::error::EngineError;
use super::transport::{Outgoing, passed_on};
use crate::domain::{Code, ProviderId};

/// What a backend's URL begins with when a provider's agent stands before it.
const SCHEME: &str = "agent://";

/// Longest name of an engine on its host, in bytes: together with a provider's it still fits a
/// backend's name.
pub const ENGINE_NAME_MAX_BYTES: usize = 14;

/// Where an engine behind an agent is: `agent://prov_0123456789abcdef/engine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AgentAddress {
    /// Whose host.
    pub provider: ProviderId,
    /// Which engine there: 1 to 14 of `a-z 0-9 -`.
    pub engine: String,
}

/// Why a text is not the address of an engine behind an agent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not agent://provider/engine")]
pub struct AgentAddressError;

/// What is sent over a provider's connection: engines' requests and the fleet's own calls.
pub type UplinkBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A provider's connection, from the side that asks.
#[derive(Clone)]
pub struct Uplink {
    sender: SendRequest<UplinkBody>,
}

/// The place of one provider's connection: empty while it is away. All of its engines share it.
#[derive(Debug, Default)]
pub struct UplinkSlot {
    uplink: ArcSwapOption<Uplink>,
}

/// The way to one engine behind an agent.
#[derive(Debug)]
pub(crate) struct Reversed {
    slot: Arc<UplinkSlot>,
    /// `/engine/NAME`, before every path.
    prefix: String,
}

impl AgentAddress {
    /// Whether a backend's URL is meant to be such an address.
    #[must_use]
    pub fn is_meant(url: &str) -> bool {
        url.starts_with(SCHEME)
    }

    /// How the addresses of all engines of a provider begin.
    #[must_use]
    pub fn all_of(provider: &ProviderId) -> String {
        format!("{SCHEME}{provider}/")
    }
}

impl fmt::Display for AgentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.provider, self.engine)
    }
}

impl FromStr for AgentAddress {
    type Err = AgentAddressError;
    fn from_str(text: &str) -> Result<Self, AgentAddressError> {
        let rest = text.strip_prefix(SCHEME).ok_or(AgentAddressError)?;
        let (provider, engine) = rest.split_once('/').ok_or(AgentAddressError)?;
        if !is_engine_name(engine) {
            return Err(AgentAddressError);
        }
        let provider = provider.parse().map_err(|_| AgentAddressError)?;
        Ok(Self { provider, engine: engine.to_owned() })
    }
}

/// Whether a text can name an engine on its host.
#[must_use]
pub fn is_engine_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.len() <= ENGINE_NAME_MAX_BYTES && text.bytes().all(plain)
}

impl Uplink {
    /// A connection on which the roles have turned.
    #[must_use]
    pub const fn new(sender: SendRequest<UplinkBody>) -> Self {
        Self { sender }
    }
}

impl fmt::Debug for Uplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uplink").field("closed", &self.sender.is_closed()).finish()
    }
}

impl UplinkSlot {
    /// Puts a connection in, in place of the one before. Requests that run stay where they are.
    /// The receipt takes this very connection out again.
    pub fn fill(self: &Arc<Self>, uplink: Uplink) -> Filled {
        let uplink = Arc::new(uplink);
        self.uplink.store(Some(Arc::clone(&uplink)));
        Filled { slot: Arc::clone(self), uplink }
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.uplink.load().as_ref().is_some_and(|uplink| !uplink.sender.is_closed())
    }
}

/// Proof that a connection stands in its slot. Dropping it empties the slot, unless a newer
/// connection stands there meanwhile.
#[derive(Debug)]
pub struct Filled {
    slot: Arc<UplinkSlot>,
    uplink: Arc<Uplink>,
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.slot.uplink.rcu(|now| match now {
            Some(now) if Arc::ptr_eq(now, &self.uplink) => None,
            other => other.clone(),
        });
    }
}

impl Reversed {
    pub(crate) fn new(slot: Arc<UplinkSlot>, engine: &str) -> Self {
        Self { slot, prefix: format!("/engine/{engine}") }
    }

    pub(crate) async fn send(&self, out: Outgoing<'_>) -> Result<Response<Incoming>, EngineError> {
        let away = |cause| {
            EngineError::backend(Code::ProviderUnavailable, "the provider is not connected", cause)
        };
        let uplink = self.slot.uplink.load_full();
        let uplink = uplink.ok_or_else(|| away("the provider is not connected"))?;
        let mut sender = uplink.sender.clone();
        sender.ready().await.map_err(|error| away(cause::of_connection(&error)))?;
        let body = Full::new(out.body.clone().unwrap_or_default());
        let mut request = Request::new(body.map_err(|never| match never {}).boxed_unsync());
        *request.method_mut() = out.method.clone();
        // HTTP/2 wants an authority; the agent looks at the path alone.
        let uri = format!("http://agent{}{}", self.prefix, out.path);
        *request.uri_mut() = uri.parse().map_err(|_| EngineError::relay("its path is no URI"))?;
        let mut headers = HeaderMap::new();
        passed_on(&out, &mut headers);
        headers.insert(http::header::HOST, HeaderValue::from_static("agent"));
        *request.headers_mut() = headers;
        sender.send_request(request).await.map_err(|error| {
            let cause = cause::of_connection(&error);
            if error.is_canceled() || error.is_closed() {
                return away(cause);
            }
            let message = "the provider took the request and failed";
            EngineError::backend(Code::UpstreamError, message, cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_provider_and_an_engine() {
        let text = "agent://prov_0123456789abcdef/llama-1";
        let address: AgentAddress = text.parse().unwrap();
        assert_eq!((address.engine.as_str(), address.to_string().as_str()), ("llama-1", text));
        for bad in [
            "",
            "http://prov_0123456789abcdef/a",
            "agent://prov_0123456789abcdef",
            "agent://prov_0123456789abcdef/",
            "agent://prov_0123456789abcdef/a/b",
            "agent://prov_0123456789abcdef/A",
            "agent://prov_0123456789abcdef/../x",
            "agent://nobody/a",
        ] {
            assert!(bad.parse::<AgentAddress>().is_err(), "{bad}");
        }
    }
}

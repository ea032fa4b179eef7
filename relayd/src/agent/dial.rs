//! Dialling the relay, greeting it, and doing so again whenever the connection ends.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use relay_proto::fleet::v1 as proto;
use relay_proto::fleet::v1::RefusalCode;
use relay_proto::fleet::v1::hello_reply::Reply;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::config::{ConfigError, relay_address};
use super::relays::{Dialled, Standing};
use super::{AgentError, Told, serve, telemetry};
use crate::handshake::{
    self, ALPN, EXPORTER_BYTES, EXPORTER_LABEL, FrameError, GREETING_TIMEOUT, PROTOCOL,
};
use crate::launch::Backoff;

/// How long running requests may go on when the agent is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The relay's certificates are no PEM.
    #[error("the relay's authority is not PEM: {0}")]
    Authority(String),
    /// A file of the configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS cannot be set up, or its handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The address cannot be reached.
    #[error("cannot be reached: {0}")]
    Connect(std::io::Error),
    /// The relay speaks another protocol there.
    #[error("what listens there is no fleet listener of a relay")]
    Protocol,
    /// The greeting broke off.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It took too long.
    #[error("no answer within {} s", GREETING_TIMEOUT.as_secs())]
    Slow,
    /// The relay's words.
    #[error("refused: {message}")]
    Refused {
        /// Whether asking again with the same words is of no use.
        for_good: bool,
        /// Why.
        message: String,
    },
}

/// Dials one replica of the relay.
pub(super) struct Dialer {
    dialled: Arc<Dialled>,
    tls: TlsConnector,
    name: ServerName<'static>,
    /// As it was told, and taken apart.
    text: String,
    address: (String, u16),
}

impl Dialer {
    pub(super) fn new(dialled: Arc<Dialled>, text: &str) -> Result<Self, DialError> {
        let config = &dialled.config;
        let address = relay_address(text).map_err(DialError::Tls)?;
        let name = ServerName::try_from(address.0.clone())
            .map_err(|error: InvalidDnsNameError| DialError::Tls(error.to_string()))?;
        let pem = config.read(&config.relay_ca_file)?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate =
                certificate.map_err(|error| DialError::Authority(error.to_string()))?;
            roots.add(certificate).map_err(|error| DialError::Authority(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(DialError::Authority("it holds no certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| DialError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = TlsConnector::from(Arc::new(tls));
        Ok(Self { dialled, tls, name, text: text.to_owned(), address })
    }

    /// Keeps a session until `stop`.
    ///
    /// # Errors
    /// When it is refused for good.
    pub(super) async fn keep(
        self,
        stop: CancellationToken,
        standing: &Standing,
        tell: impl Fn(Told),
    ) -> Result<(), AgentError> {
        let mut backoff = Backoff::new(rand::random());
        loop {
            let began = Instant::now();
            let session = async {
                let (stream, welcome) = timeout(GREETING_TIMEOUT, self.greet())
                    .await
                    .unwrap_or(Err(DialError::Slow))?;
                standing.begins(&self.text);
                tell(Told::Connected {
                    relay: welcome.relay_name,
                    provider: welcome.provider_id,
                    state: welcome.state,
                });
                Ok::<_, DialError>(self.serve(stream, &stop).await)
            };
            let ended = if stop.is_cancelled() { None } else { stopped(session, &stop).await };
            standing.ends(&self.text);
            let why = match ended {
                None => return Ok(()),
                Some(_) if stop.is_cancelled() => return Ok(()),
                Some(Err(DialError::Refused { for_good: true, message })) => {
                    return Err(AgentError::Refused(message));
                }
                Some(Err(error)) => error.to_string(),
                Some(Ok(why)) => why,
            };
            let pause = backoff.pause(began.elapsed());
            tell(Told::Away { address: self.text.clone(), why });
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Serves a session; why it ended.
    async fn serve(&self, stream: TlsStream<TcpStream>, stop: &CancellationToken) -> String {
        match serve::serve(stream, self.dialled.asked.clone(), stop.clone()).await {
            Ok(()) => "the relay closed the connection".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    async fn greet(&self) -> Result<(TlsStream<TcpStream>, proto::Welcome), DialError> {
        let (host, port) = (self.address.0.as_str(), self.address.1);
        let socket = TcpStream::connect((host, port)).await.map_err(DialError::Connect)?;
        socket.set_nodelay(true).map_err(DialError::Connect)?;
        let mut stream = self
            .tls
            .connect(self.name.clone(), socket)
            .await
            .map_err(|error| DialError::Tls(error.to_string()))?;
        let connection = stream.get_ref().1;
        if connection.alpn_protocol() != Some(ALPN) {
            return Err(DialError::Protocol);
        }
        let exported = connection
            .export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None)
            .map_err(|error| DialError::Tls(error.to_string()))?;
        let hello = self.hello()?.encode_to_vec();
        let signature = self.dialled.key.sign(&exported, &hello);
        handshake::write(&mut stream, &proto::SignedHello { hello, signature }).await?;
        match handshake::read::<proto::HelloReply>(&mut stream).await?.reply {
            Some(Reply::Welcome(welcome)) => Ok((stream, welcome)),
            Some(Reply::Refusal(refusal)) => {
                let code = RefusalCode::try_from(refusal.code).unwrap_or_default();
                let for_good = !matches!(code, RefusalCode::Unavailable | RefusalCode::Unspecified);
                let message =
                    refusal.message.chars().filter(|c| !c.is_control()).take(400).collect();
                Err(DialError::Refused { for_good, message })
            }
            None => Err(DialError::Protocol),
        }
    }

    fn hello(&self) -> Result<proto::Hello, DialError> {
        let Dialled { config, key, version, asked } = &*self.dialled;
        let join_token = match &config.join_token_file {
            Some(file) => config.read(file)?.trim().to_owned(),
            None => String::new(),
        };
        // What relayd had started here is told in telemetry alone.
        let facts = asked.engines.facts();
        let offered =
            facts.iter().filter(|facts| facts.deployment.is_none()).map(telemetry::offered);
        Ok(proto::Hello {
            protocol: PROTOCOL,
            public_key: key.public().to_vec(),
            name: config.name.clone(),
            payout_address: config.payout_address.to_string(),
            agent_version: (*version).to_owned(),
            join_token,
            engines: offered.collect(),
            gpus: config.declared_gpu.iter().map(telemetry::declared).collect(),
        })
    }
}

/// The session's end; after a stop it has [`DRAIN`] to end by itself.
async fn stopped<T>(session: impl Future<Output = T>, stop: &CancellationToken) -> Option<T> {
    let mut session = std::pin::pin!(session);
    tokio::select! {
        ended = &mut session => return Some(ended),
        () = stop.cancelled() => {}
    }
    timeout(DRAIN, session).await.ok()
}

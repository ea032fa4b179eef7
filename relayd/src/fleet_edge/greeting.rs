//! The greeting: who the caller is, proved over this connection, and whether it is let in.

use std::io;
use std::net::SocketAddr;

use prost::Message as _;
use relay_proto::fleet::v1 as proto;
use relay_proto::fleet::v1::RefusalCode;
use relay_proto::fleet::v1::hello_reply::Reply;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Door;
use crate::domain::DeclaredGpu;
use crate::fleet::{Greeting, Refusal, RefusalKind};
use crate::handshake::{
    self, ALPN, EXPORTER_BYTES, EXPORTER_LABEL, FrameError, PROTOCOL, provider_id, verify,
};
use crate::store::{OfferRow, ProviderRow};

/// A provider that was let in, and its connection.
pub(super) struct Greeted {
    pub(super) row: ProviderRow,
    pub(super) stream: TlsStream<TcpStream>,
}

/// Why a caller was not let in.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetingError {
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it speaks another protocol")]
    Protocol,
    #[error("refused: {0}")]
    Refused(String),
}

pub(super) async fn greet(
    door: &Door,
    mut stream: TlsStream<TcpStream>,
    address: SocketAddr,
) -> Result<Greeted, GreetingError> {
    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(GreetingError::Protocol);
    }
    let exported = connection
        .export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None)
        .map_err(|_| GreetingError::Protocol)?;
    let signed: proto::SignedHello = handshake::read(&mut stream).await?;
    let let_in = match proved(&signed, &exported, address) {
        Ok(greeting) => door.providers.greet(greeting).await.map_err(|refusal| refused(&refusal)),
        Err(refusal) => Err(refusal),
    };
    let reply = match &let_in {
        Ok(row) => Reply::Welcome(proto::Welcome {
            provider_id: row.id.to_string(),
            state: row.state.to_string(),
            relay_name: door.welcomes.relay_name.clone(),
            replicas: door.welcomes.replicas.borrow().clone(),
        }),
        Err(refusal) => Reply::Refusal(refusal.clone()),
    };
    handshake::write(&mut stream, &proto::HelloReply { reply: Some(reply) }).await?;
    match let_in {
        Ok(row) => Ok(Greeted { row, stream }),
        Err(refusal) => {
            // Told in TLS too, so that the reply is not lost in a reset.
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut stream).await;
            Err(GreetingError::Refused(refusal.message))
        }
    }
}

/// What a hello says, once its signature held on the connection that exported this.
pub(super) fn proved(
    signed: &proto::SignedHello,
    exported: &[u8; EXPORTER_BYTES],
    address: SocketAddr,
) -> Result<Greeting, proto::Refusal> {
    let refuse = |code: RefusalCode, message: &str| proto::Refusal {
        code: code.into(),
        message: message.to_owned(),
    };
    let hello = proto::Hello::decode(signed.hello.as_slice())
        .map_err(|_| refuse(RefusalCode::Invalid, "the hello does not read"))?;
    if hello.protocol != PROTOCOL {
        let message = format!("this relay speaks version {PROTOCOL} of the fleet protocol");
        return Err(refuse(RefusalCode::Version, &message));
    }
    let unproved = || refuse(RefusalCode::Signature, "the signature does not prove the key");
    if !verify(&hello.public_key, exported, &signed.hello, &signed.signature) {
        return Err(unproved());
    }
    let engines = hello.engines.into_iter().map(|engine| OfferRow {
        name: engine.name,
        kind: engine.kind,
        dialect: engine.dialect,
        models: engine.models,
        max_concurrency: engine.max_concurrency,
    });
    let gpus = hello.gpus.into_iter().map(|gpu| DeclaredGpu {
        name: gpu.name,
        count: gpu.count,
        memory_mib: gpu.memory_mib,
    });
    Ok(Greeting {
        id: provider_id(&hello.public_key).map_err(|_| unproved())?,
        public_key: hello.public_key,
        name: hello.name,
        payout_address: hello.payout_address,
        agent_version: hello.agent_version,
        join_token: hello.join_token,
        engines: engines.collect(),
        gpus: gpus.collect(),
        address: address.ip().to_canonical().to_string(),
    })
}

/// A refusal in the protocol's words: the one place that maps them.
fn refused(refusal: &Refusal) -> proto::Refusal {
    let code = match refusal.kind {
        RefusalKind::Invalid => RefusalCode::Invalid,
        RefusalKind::Invitation => RefusalCode::Invitation,
        RefusalKind::Rejected => RefusalCode::Rejected,
        RefusalKind::Unavailable => RefusalCode::Unavailable,
    };
    proto::Refusal { code: code.into(), message: refusal.message.clone() }
}

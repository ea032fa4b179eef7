//! The door against strangers: nobody gets in by a hello that was not made for this connection.

use std::net::SocketAddr;
use std::sync::Arc;

use prost::Message as _;
use relay_proto::fleet::v1 as proto;
use relay_proto::fleet::v1::RefusalCode;
use relay_proto::fleet::v1::hello_reply::Reply;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{FleetEdge, Welcomes};
use crate::catalogue::Catalogue;
use crate::events::Events;
use crate::fleet::{Fleet, Providers};
use crate::handshake::{
    self, ALPN, EXPORTER_BYTES, EXPORTER_LABEL, FRAME_MAX_BYTES, PROTOCOL, ProviderKey,
};
use crate::identity::{Identity, InvitationRequest, Peppers};
use crate::pki::{Authority, Purpose, Validity};
use crate::store::{Store, StoreOptions};

struct Door {
    address: SocketAddr,
    ca_pem: String,
    token: String,
    store: Store,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Door {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::sqlite(folder.path().join("relay.db"));
        let store = Store::open(&options).await.unwrap();
        let (events, _) = Events::open(store.clone()).await.unwrap();
        let catalogue = Catalogue::load(store.clone()).await.unwrap();
        let peppers = Peppers::new(&[&[7; 32]]).unwrap();
        let identity = Identity::new(store.clone(), catalogue.clone(), peppers, 10);
        let request = InvitationRequest {
            id: "inv_0000000000000001".to_owned(),
            note: String::new(),
            uses: Some(1),
            life_ms: None,
            actor: "test".to_owned(),
        };
        let token = identity.invite(request, None).await.unwrap().token.expose().to_owned();
        let fleet = Fleet::new();
        let tokenizers = crate::tokenizer::Tokenizers::default();
        let providers = Providers::new(
            store.clone(),
            identity,
            catalogue,
            fleet,
            tokenizers,
            events,
            crate::fleet::Watching::default(),
        );
        let authority = Authority::create("test", Validity::days(1).unwrap()).unwrap();
        let names = Purpose::Server(vec!["127.0.0.1".to_owned()]);
        let issued = authority.issue(&names, Validity::days(1).unwrap()).unwrap();
        let welcomes = Welcomes {
            relay_name: "test".to_owned(),
            replicas: tokio::sync::watch::channel(Vec::new()).1,
        };
        let edge = FleetEdge::new(&issued.cert_pem, &issued.key_pem, providers, welcomes).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(edge.serve(listener, stop.clone()));
        let ca_pem = authority.cert_pem().to_owned();
        Self { address, ca_pem, token, store, stop, _folder: folder }
    }

    async fn connect(&self, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![alpn.to_vec()];
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(tls)).connect(name, socket).await
    }

    fn hello(&self, key: &ProviderKey) -> proto::Hello {
        proto::Hello {
            protocol: PROTOCOL,
            public_key: key.public().to_vec(),
            name: "gpu-1".to_owned(),
            payout_address: format!("0x{}", "0".repeat(40)),
            join_token: self.token.clone(),
            ..proto::Hello::default()
        }
    }

    /// How many are stored.
    async fn known(&self) -> usize {
        self.store.providers().await.unwrap().len()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn exported(stream: &TlsStream<TcpStream>) -> [u8; EXPORTER_BYTES] {
    let connection = stream.get_ref().1;
    connection.export_keying_material([0; EXPORTER_BYTES], EXPORTER_LABEL, None).unwrap()
}

fn signed(
    key: &ProviderKey,
    exported: &[u8; EXPORTER_BYTES],
    hello: &proto::Hello,
) -> proto::SignedHello {
    let hello = hello.encode_to_vec();
    proto::SignedHello { signature: key.sign(exported, &hello), hello }
}

async fn greet(stream: &mut TlsStream<TcpStream>, hello: &proto::SignedHello) -> Reply {
    handshake::write(stream, hello).await.unwrap();
    handshake::read::<proto::HelloReply>(stream).await.unwrap().reply.unwrap()
}

fn refused(reply: Reply) -> RefusalCode {
    match reply {
        Reply::Refusal(refusal) => RefusalCode::try_from(refusal.code).unwrap(),
        Reply::Welcome(welcome) => panic!("let in: {welcome:?}"),
    }
}

#[tokio::test]
async fn a_hello_counts_on_the_connection_it_was_made_for_and_nowhere_else() {
    let door = Door::open().await;
    let (key, thief) = (ProviderKey::generate().unwrap(), ProviderKey::generate().unwrap());
    let mut first = door.connect(ALPN).await.unwrap();
    let mut second = door.connect(ALPN).await.unwrap();
    let hello = door.hello(&key);
    let mine = signed(&key, &exported(&first), &hello);

    // Taken from one connection and sent on another.
    assert_eq!(refused(greet(&mut second, &mine).await), RefusalCode::Signature);
    // Somebody else's signature under this key, and a word changed after signing.
    let mut third = door.connect(ALPN).await.unwrap();
    let forged = signed(&thief, &exported(&third), &hello);
    assert_eq!(refused(greet(&mut third, &forged).await), RefusalCode::Signature);
    let mut fourth = door.connect(ALPN).await.unwrap();
    let mut changed = signed(&key, &exported(&fourth), &hello);
    let paid_elsewhere =
        proto::Hello { payout_address: format!("0x{}", "1".repeat(40)), ..hello.clone() };
    changed.hello = paid_elsewhere.encode_to_vec();
    assert_eq!(refused(greet(&mut fourth, &changed).await), RefusalCode::Signature);
    assert_eq!(door.known().await, 0);

    let Reply::Welcome(welcome) = greet(&mut first, &mine).await else { panic!("not let in") };
    assert_eq!((welcome.state.as_str(), door.known().await), ("joining", 1));
}

#[tokio::test]
async fn a_stranger_is_told_why_and_leaves_nothing_behind() {
    let door = Door::open().await;
    let key = ProviderKey::generate().unwrap();
    let good = door.hello(&key);
    let engine = proto::OfferedEngine {
        name: "a".to_owned(),
        kind: "vllm".to_owned(),
        dialect: "openai".to_owned(),
        models: Vec::new(),
        max_concurrency: 4,
    };
    let offering = |engine: proto::OfferedEngine| proto::Hello {
        engines: vec![engine.clone(), proto::OfferedEngine { name: "b".to_owned(), ..engine }],
        ..good.clone()
    };
    for (hello, code) in [
        (proto::Hello { protocol: 2, ..good.clone() }, RefusalCode::Version),
        (proto::Hello { join_token: String::new(), ..good.clone() }, RefusalCode::Invitation),
        (
            proto::Hello { join_token: format!("relay_join_{}", "0".repeat(48)), ..good.clone() },
            RefusalCode::Invitation,
        ),
        (proto::Hello { name: "Gpu 1".to_owned(), ..good.clone() }, RefusalCode::Invalid),
        (proto::Hello { name: "\u{1b}[2J".to_owned(), ..good.clone() }, RefusalCode::Invalid),
        (proto::Hello { payout_address: "0x0".to_owned(), ..good.clone() }, RefusalCode::Invalid),
        (
            offering(proto::OfferedEngine { kind: "shell".to_owned(), ..engine.clone() }),
            RefusalCode::Invalid,
        ),
        (
            offering(proto::OfferedEngine { dialect: "ftp".to_owned(), ..engine.clone() }),
            RefusalCode::Invalid,
        ),
        (
            offering(proto::OfferedEngine { max_concurrency: 0, ..engine.clone() }),
            RefusalCode::Invalid,
        ),
        (
            offering(proto::OfferedEngine { models: vec!["\n".to_owned()], ..engine.clone() }),
            RefusalCode::Invalid,
        ),
        (offering(proto::OfferedEngine { name: "b".to_owned(), ..engine }), RefusalCode::Invalid),
    ] {
        let mut stream = door.connect(ALPN).await.unwrap();
        let signed = signed(&key, &exported(&stream), &hello);
        assert_eq!(refused(greet(&mut stream, &signed).await), code, "{hello:?}");
    }
    assert_eq!(door.known().await, 0);

    // Another protocol is cut in the handshake, an endless frame before it is read.
    assert!(door.connect(b"h2").await.is_err());
    let mut stream = door.connect(ALPN).await.unwrap();
    let size = u32::try_from(FRAME_MAX_BYTES + 1).unwrap();
    stream.write_all(&size.to_be_bytes()).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "an answer to an endless frame");
}

#[tokio::test]
async fn an_invitation_for_one_lets_in_one_even_when_two_come_at_once() {
    let door = Door::open().await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let key = ProviderKey::generate().unwrap();
        let mut stream = door.connect(ALPN).await.unwrap();
        let hello = signed(&key, &exported(&stream), &door.hello(&key));
        callers.spawn(async move { matches!(greet(&mut stream, &hello).await, Reply::Welcome(_)) });
    }
    let let_in = callers.join_all().await.into_iter().filter(|let_in| *let_in).count();
    assert_eq!((let_in, door.known().await), (1, 1));
}

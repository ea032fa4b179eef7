//! Who reaches the plane: TLS, client certificates, reflection, health.

use std::path::Path;

use jiff::civil::date;
use proto::session_service_client::SessionServiceClient;
use tonic::transport::{Certificate, ClientTlsConfig, Identity as TlsIdentity};
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use super::*;
use crate::config::TlsFiles;
use crate::pki::{Authority, Issued, Purpose, Validity};

struct Certificates {
    folder: TempDir,
    authority: Authority,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open(folder.path(), "test").unwrap();
        let purpose = Purpose::Server(vec!["127.0.0.1".into(), "localhost".into()]);
        authority.issue(&purpose, year()).unwrap().save(folder.path(), "server").unwrap();
        Self { folder, authority }
    }

    fn listener(&self) -> AdminListener {
        let file = |name: &str| -> std::path::PathBuf { Path::new(self.folder.path()).join(name) };
        AdminListener {
            tls: Some(TlsFiles { cert_file: file("server.pem"), key_file: file("server-key.pem") }),
            client_ca_file: Some(file("ca.pem")),
            ..AdminListener::default()
        }
    }
}

fn year() -> Validity {
    Validity::days(365).unwrap()
}

async fn who_am_i(
    plane: &Plane,
    authority: &Authority,
    certificate: Option<&Issued>,
) -> Result<String, String> {
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.cert_pem()));
    if let Some(issued) = certificate {
        tls = tls.identity(TlsIdentity::from_pem(&issued.cert_pem, issued.key_pem.as_str()));
    }
    let endpoint = Endpoint::from_shared(format!("https://{}", plane.address)).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect_lazy();
    let bearer = Bearer(Some(format!("Bearer {}", plane.admin).parse().unwrap()));
    let mut client = SessionServiceClient::new(InterceptedService::new(channel, bearer));
    match client.who_am_i(proto::WhoAmIRequest {}).await {
        Ok(answer) => Ok(answer.into_inner().operator),
        Err(status) => Err(status.to_string()),
    }
}

#[tokio::test]
async fn only_a_good_client_certificate_is_let_in() {
    let ours = Certificates::new();
    let theirs = Authority::create("somebody else", year()).unwrap();
    let plane = Plane::guarded(&ours.listener()).await;
    let alice = Purpose::Client("alice".into());
    let good = ours.authority.issue(&alice, year()).unwrap();
    let wrong = theirs.issue(&alice, year()).unwrap();
    let past = Validity::between(date(2020, 1, 1), date(2020, 12, 31));
    let expired = ours.authority.issue(&alice, past).unwrap();
    let purpose = Purpose::Server(vec!["localhost".into()]);
    let not_a_client = ours.authority.issue(&purpose, year()).unwrap();

    let admitted = who_am_i(&plane, &ours.authority, Some(&good)).await;
    assert_eq!(admitted.as_deref(), Ok("admin"));
    for (case, certificate) in [
        ("none", None),
        ("of another authority", Some(&wrong)),
        ("expired", Some(&expired)),
        ("of a server", Some(&not_a_client)),
    ] {
        let refused = who_am_i(&plane, &ours.authority, certificate).await;
        assert!(refused.is_err(), "certificate {case}: {refused:?}");
    }
    assert!(who_am_i(&plane, &theirs, Some(&good)).await.is_err(), "a client checks the server");
    let plain = plane.as_admin();
    let plain = SessionServiceClient::new(plain).who_am_i(proto::WhoAmIRequest {}).await;
    assert!(plain.is_err(), "no plain text beside TLS");
    plane.end().await;
}

#[tokio::test]
async fn off_loopback_the_plane_is_not_built_without_client_certificates() {
    let plane = Plane::start().await;
    let socket = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = Admin::new(socket, &AdminListener::default(), plane.parts.clone()).unwrap_err();
    assert!(matches!(refused, AdminError::Unguarded(_)));
    assert!(refused.to_string().contains("relayd pki"), "{refused}");
    plane.end().await;
}

#[tokio::test]
async fn reflection_and_health_need_no_token() {
    let plane = Plane::start().await;
    let wire = || plane.wire(None);
    let mut health = HealthClient::new(wire());
    let check = tonic_health::pb::HealthCheckRequest::default();
    assert_eq!(health.check(check).await.unwrap().into_inner().status, 1);

    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(wire());
    let mut answers =
        client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(listed) = answer
    else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    for noun in [
        "Session",
        "Overview",
        "Operators",
        "Customers",
        "Keys",
        "Models",
        "Catalogue",
        "Backends",
        "Usage",
        "Events",
        "Audit",
    ] {
        let name = format!("relay.admin.v1.{noun}Service");
        assert!(names.contains(&name), "{name} in {names:?}");
    }

    let symbol = "relay.admin.v1.KeysService".to_owned();
    let find = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(symbol);
    let request =
        v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(find) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(wire());
    let mut answers =
        client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let found = matches!(
        answer,
        v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
    );
    assert!(found, "{answer:?}");
    plane.end().await;
}

//! The admin plane behind certificates that `relayd pki` made, and who gets in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use relay_proto::admin::v1::WhoAmIRequest;
use relay_proto::admin::v1::session_service_client::SessionServiceClient;
use relay_tests::{Caller, binary, eventually, keep_secret};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::start::{Serve, free_ports};

fn relayd(arguments: &[&str]) -> Output {
    Command::new(binary("relayd").unwrap())
        .args(arguments)
        .env_remove("RELAY_OPERATOR_TOKEN")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(both).unwrap()
}

/// A folder with an authority, and a client's certificate of it.
struct Pki(PathBuf);

impl Pki {
    fn new(dir: PathBuf, client: &str) -> Self {
        let at = dir.to_str().unwrap();
        for arguments in [
            ["pki", "ca", "--dir", at].as_slice(),
            &["pki", "client", "--dir", at, "--name", client],
        ] {
            let output = relayd(arguments);
            assert!(output.status.success(), "{}", said(&output));
        }
        Self(dir)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }
}

/// The configuration with this admin section, written to a file.
fn config(dir: &Path, admin: &str) -> PathBuf {
    let [public, fleet, ops, _] = free_ports();
    let here = dir.display();
    std::fs::write(dir.join("pepper"), "0123456789abcdef0123456789abcdef").unwrap();
    let text = format!(
        r#"data_dir = "{here}/data"
[identity]
pepper_files = ["{here}/pepper"]
[[listener.public]]
listen = "127.0.0.1:{public}"
[listener.fleet]
listen = "127.0.0.1:{fleet}"
[listener.ops]
listen = "127.0.0.1:{ops}"
[listener.admin]
{admin}
"#
    );
    let file = dir.join("relayd.toml");
    std::fs::write(&file, text).unwrap();
    file
}

/// Who a call without the programs' own checks is told to be.
async fn who_am_i(
    url: &str,
    tls: ClientTlsConfig,
    token: Option<&str>,
) -> Result<String, tonic::Status> {
    let channel = Channel::from_shared(url.to_owned()).unwrap().tls_config(tls).unwrap();
    let mut request = tonic::Request::new(WhoAmIRequest::default());
    if let Some(token) = token {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    let answer = SessionServiceClient::new(channel.connect_lazy()).who_am_i(request).await?;
    Ok(format!("{:?}", answer.into_inner()))
}

#[tokio::test]
async fn operators_get_in_with_a_certificate_and_a_token_and_not_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let own = Pki::new(dir.path().join("pki"), "alice");
    let output =
        relayd(&["pki", "server", "--dir", own.0.to_str().unwrap(), "--name", "localhost"]);
    assert!(output.status.success(), "{}", said(&output));
    let foreign = Pki::new(dir.path().join("elsewhere"), "mallory");
    for key in ["ca-key.pem", "server-key.pem", "alice-key.pem"] {
        let mode = std::fs::metadata(own.file(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{key} is its owner's alone");
    }
    let port = free_ports()[3];
    let file = config(
        dir.path(),
        &format!(
            "listen = \"127.0.0.1:{port}\"\nclient_ca_file = \"{}\"\ntls = {{ cert_file = \"{}\", key_file = \"{}\" }}",
            own.file("ca.pem"),
            own.file("server.pem"),
            own.file("server-key.pem"),
        ),
    );
    let log = dir.path().join("log");
    let _serve = Serve::start(&file, &log);
    let token_file = dir.path().join("data/operator-token");
    let token = eventually("the first operator's token", async || {
        Ok(std::fs::read_to_string(&token_file).ok().filter(|token| !token.is_empty()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error}: {}", std::fs::read_to_string(&log).unwrap()));
    let token = token.trim().to_owned();
    keep_secret(&token);
    let url = format!("https://localhost:{port}");

    let admin = |pki: &Pki, ca: &str, client: Option<&str>, token: &str| {
        let mut command = Command::new(binary("relayd").unwrap());
        command.args(["admin", "--addr", &url, "--ca", ca]);
        if let Some(client) = client {
            let (cert, key) = (format!("{client}.pem"), format!("{client}-key.pem"));
            command.args(["--client-cert", &pki.file(&cert), "--client-key", &pki.file(&key)]);
        }
        command.args(["whoami"]).env("RELAY_OPERATOR_TOKEN", token).output().unwrap()
    };
    let ca = own.file("ca.pem");
    eventually("the plane", async || {
        let output = admin(&own, &ca, Some("alice"), &token);
        Ok(output.status.success().then_some(()))
    })
    .await
    .unwrap_or_else(|error| panic!("{error}: {}", said(&admin(&own, &ca, Some("alice"), &token))));
    let console = |client: Option<(&Pki, &str)>| {
        let mut command = Command::new(binary("relay-tui").unwrap());
        command.args(["--addr", &url, "--ca", &ca]);
        if let Some((pki, name)) = client {
            let (cert, key) = (format!("{name}.pem"), format!("{name}-key.pem"));
            command.args(["--client-cert", &pki.file(&cert), "--client-key", &pki.file(&key)]);
        }
        command.args(["once", "overview"]).env("RELAY_OPERATOR_TOKEN", &token);
        command.env("HOME", dir.path()).output().unwrap()
    };
    let page = console(Some((&own, "alice")));
    assert!(page.status.success() && !page.stdout.is_empty(), "{}", said(&page));

    // No certificate, and one that another authority signed: the handshake ends there.
    for refused in [
        admin(&own, &ca, None, &token),
        admin(&foreign, &ca, Some("mallory"), &token),
        console(None),
        console(Some((&foreign, "mallory"))),
        // The client does not take a server of another authority for relayd either.
        admin(&own, &foreign.file("ca.pem"), Some("alice"), &token),
    ] {
        assert!(!refused.status.success(), "{}", said(&refused));
        assert!(refused.stdout.is_empty(), "{}", said(&refused));
        assert!(!said(&refused).contains("operator token"), "before any call: {}", said(&refused));
    }
    // The right certificate is not enough.
    let wrong = admin(&own, &ca, Some("alice"), "relay_op_wrong");
    assert!(!wrong.status.success() && said(&wrong).contains("operator token"), "{}", said(&wrong));
    let trusting =
        || ClientTlsConfig::new().ca_certificate(Certificate::from_pem(own.read("ca.pem")));
    let identity = |pki: &Pki, name: &str| {
        Identity::from_pem(pki.read(&format!("{name}.pem")), pki.read(&format!("{name}-key.pem")))
    };
    let alice = || trusting().identity(identity(&own, "alice"));
    let good = who_am_i(&url, alice(), Some(&token)).await.unwrap();
    assert!(good.contains("Admin") || good.contains("role"), "{good}");
    let nobody = who_am_i(&url, alice(), None).await.unwrap_err();
    assert_eq!(nobody.code(), tonic::Code::Unauthenticated, "{nobody}");
    for tls in [trusting(), trusting().identity(identity(&foreign, "mallory"))] {
        let refused = who_am_i(&url, tls, Some(&token)).await.unwrap_err();
        assert_ne!(refused.code(), tonic::Code::Unauthenticated, "before any call: {refused}");
    }
    let plain = Caller::at(&format!("http://localhost:{port}")).get("/").await;
    assert!(plain.is_err() || plain.unwrap().status != 200, "no plain HTTP");
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(!log.contains(&token), "the token is in no log line");
}

#[test]
fn off_loopback_without_mutual_tls_nothing_starts() {
    let dir = tempfile::tempdir().unwrap();
    let own = Pki::new(dir.path().join("pki"), "alice");
    let at = own.0.to_str().unwrap();
    let output = relayd(&["pki", "server", "--dir", at, "--name", "10.0.0.5"]);
    assert!(output.status.success(), "{}", said(&output));
    let listen = "listen = \"10.0.0.5:8701\"";
    let tls = format!(
        "tls = {{ cert_file = \"{}\", key_file = \"{}\" }}",
        own.file("server.pem"),
        own.file("server-key.pem")
    );
    let authority = format!("client_ca_file = \"{}\"", own.file("ca.pem"));
    for (admin, line) in [
        (listen.to_owned(), listen),
        (format!("{listen}\n{tls}"), listen),
        (format!("{listen}\n{authority}"), listen),
        (format!("{listen}\n{tls}\nclient_ca_file = \"/nonexistent/ca.pem\""), "client_ca_file"),
    ] {
        let file = config(dir.path(), &admin);
        let text = std::fs::read_to_string(&file).unwrap();
        let number = 1 + text.lines().position(|found| found.starts_with(line)).unwrap();
        let place = format!("{}:{number}", file.display());
        for verb in ["check-config", "serve"] {
            let output = relayd(&[verb, "--config", file.to_str().unwrap()]);
            assert!(!output.status.success(), "{verb} {admin}");
            assert!(said(&output).contains(&place), "{verb} {admin}: {place}: {}", said(&output));
            assert!(!dir.path().join("data").exists(), "nothing was begun");
        }
    }
    let file = config(dir.path(), &format!("{listen}\n{authority}\n{tls}"));
    let output = relayd(&["check-config", "--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
}

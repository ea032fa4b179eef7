//! The admin plane as a foreign client and as a script see it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use relay_tests::scripted::MODEL;
use relay_tests::{DEV_TIER, Relay, Route, binary, eventually, grpcurl};
use serde_json::{Value, json};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use uuid::Uuid;

use crate::start::{over_scripted, tokens};

/// Calls with grpcurl, which knows nothing but what reflection tells it.
fn call(relay: &Relay, token: &str, method: &str, body: &Value) -> anyhow::Result<Value> {
    let authorization = format!("authorization: Bearer {token}");
    let (body, method) = (body.to_string(), format!("relay.admin.v1.{method}"));
    let address = relay.ready.admin_addr.as_str();
    let said = grpcurl(&["-H", &authorization, "-d", &body, address, &method])?;
    Ok(serde_json::from_str(&said)?)
}

#[tokio::test]
async fn a_foreign_client_finds_its_way_by_reflection_alone() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let address = relay.ready.admin_addr.as_str();
    let services = grpcurl(&[address, "list"]).unwrap();
    for noun in ["Overview", "Customers", "Keys", "Models", "Backends", "Usage", "Events", "Audit"]
    {
        let service = format!("relay.admin.v1.{noun}Service");
        assert!(services.lines().any(|line| line == service), "{service}: {services}");
    }
    for service in ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"] {
        assert!(services.contains(service), "{service}: {services}");
    }
    let newer = services_by_reflection_v1(address).await;
    assert!(newer.iter().any(|name| name == "relay.admin.v1.KeysService"), "{newer:?}");
    assert!(newer.iter().any(|name| name == "grpc.reflection.v1.ServerReflection"), "{newer:?}");
    let methods = grpcurl(&[address, "list", "relay.admin.v1.KeysService"]).unwrap();
    assert!(methods.contains("relay.admin.v1.KeysService.ListKeys"), "{methods}");
    let message = grpcurl(&[address, "describe", "relay.admin.v1.CreateKeyRequest"]).unwrap();
    assert!(message.contains("budget_ncr"), "{message}");
    let health = grpcurl(&[address, "grpc.health.v1.Health/Check"]).unwrap();
    assert!(health.contains("SERVING"), "{health}");

    let token = relay.ready.operator_token.as_str();
    let account = relay.account(DEV_TIER, "1").unwrap();
    let id = Uuid::new_v4().to_string();
    let create = json!({
        "change": {"request_id": id, "reason": "a test"},
        "customer_id": account.customer, "name": "foreign", "budget_ncr": "250000000",
    });
    let made = call(&relay, token, "KeysService/CreateKey", &create).unwrap();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("relay_sk_"), "{made}");
    assert_eq!(made["key"]["budgetNcr"], "250000000", "{made}");
    let body = Route::Openai.body(MODEL, 4, false);
    let caller = relay.caller(&account).with_key(secret);
    assert_eq!(caller.chat(Route::Openai, &body).await.unwrap().status, 200);
    // The same request id again changes nothing, and the secret is told once.
    let again = call(&relay, token, "KeysService/CreateKey", &create);
    assert!(again.is_err() || again.unwrap()["secret"] != made["secret"]);
    let filter = json!({"customer_id": account.customer});
    let keys = call(&relay, token, "KeysService/ListKeys", &filter).unwrap();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2, "{keys}");
    assert!(!keys.to_string().contains(secret), "{keys}");

    let nobody = grpcurl(&["-d", "{}", address, "relay.admin.v1.KeysService/ListKeys"]);
    assert!(nobody.unwrap_err().to_string().contains("Unauthenticated"));
    let wrong = call(&relay, "relay_op_wrong", "KeysService/ListKeys", &json!({}));
    assert!(wrong.unwrap_err().to_string().contains("Unauthenticated"));
    let stale = json!({
        "change": {"request_id": Uuid::new_v4().to_string(), "expected_version": "99"},
        "key_id": account.key_id, "name": "stale",
    });
    let stale = call(&relay, token, "KeysService/UpdateKey", &stale).unwrap_err().to_string();
    assert!(stale.contains("Aborted"), "an expected version is held to: {stale}");
    let nameless = json!({"key_id": account.key_id, "name": "no request id"});
    let nameless = call(&relay, token, "KeysService/UpdateKey", &nameless).unwrap_err();
    assert!(nameless.to_string().contains("InvalidArgument"), "{nameless}");
    let huge = json!({"page": {"page_size": 1_000_000}});
    let huge = call(&relay, token, "KeysService/ListKeys", &huge);
    assert!(huge.is_err() || huge.unwrap()["keys"].is_array(), "pages are bounded");
}

/// What the newer reflection service lists; grpcurl asks the older one.
async fn services_by_reflection_v1(address: &str) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"));
    let channel = channel.unwrap().connect().await.unwrap();
    let mut client = ServerReflectionClient::new(channel);
    let requests = tokio_stream::once(request);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    match answers.message().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_role_bounds_what_a_token_may_do() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let token = |role: &str| {
        let made = relay.admin(&["operators", "create", role, "--role", role]).unwrap();
        made["token"].as_str().unwrap().to_owned()
    };
    let (viewer, operator) = (token("viewer"), token("operator"));
    let backend = relay.admin(&["backends", "list"]).unwrap()["backends"][0].clone();
    let name = backend["backend_id"].as_str().unwrap().to_owned();
    let change = || json!({"request_id": Uuid::new_v4().to_string(), "expected_version": backend["version"], "reason": "test"});
    let cordon = |token: &str| {
        call(
            &relay,
            token,
            "BackendsService/CordonBackend",
            &json!({"change": change(), "backend_id": name}),
        )
    };
    let create = |token: &str| {
        let body = json!({"change": {"request_id": Uuid::new_v4().to_string()}, "name": "x", "tier": "pro"});
        call(&relay, token, "CustomersService/CreateCustomer", &body)
    };
    call(&relay, &viewer, "KeysService/ListKeys", &json!({})).unwrap();
    for refused in [cordon(&viewer), create(&viewer), create(&operator)] {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("PermissionDenied"), "{said}");
    }
    cordon(&operator).unwrap();
    let shown = relay.admin(&["backends", "show", &name]).unwrap();
    assert_eq!(shown["state"], "cordoned", "{shown}");
    let who = call(&relay, &viewer, "SessionService/WhoAmI", &json!({})).unwrap();
    assert_eq!((&who["operator"], &who["role"]), (&json!("viewer"), &json!("ROLE_VIEWER")));
    relay.admin(&["operators", "revoke", "viewer", "--reason", "left"]).unwrap();
    eventually("the token to end", async || {
        let refused = call(&relay, &viewer, "KeysService/ListKeys", &json!({}));
        Ok(refused.is_err_and(|error| error.to_string().contains("Unauthenticated")).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn scripts_get_json_and_every_change_leaves_a_record() {
    let (_engine, relay) = over_scripted(tokens(2)).await;
    let account = relay.account("pro", "2.5").unwrap();
    let body = Route::Openai.body(MODEL, 4, false);
    relay.caller(&account).chat(Route::Openai, &body).await.unwrap();
    relay.settled(&account, 1).await.unwrap();

    let list = |arguments: &[&str], noun: &str| -> Vec<Value> {
        let json = relay.admin(arguments).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        json[noun].as_array().unwrap_or_else(|| panic!("no {noun}: {json}")).clone()
    };
    let keys = list(&["keys", "list"], "keys");
    let own = keys.iter().find(|key| key["key_id"] == account.key_id.as_str()).unwrap();
    assert_eq!((&own["status"], &own["tier"]), (&json!("active"), &json!("pro")), "{own}");
    assert_eq!(own["today"]["requests"], 1, "{own}");
    let customers = list(&["customers", "list"], "customers");
    assert!(customers.iter().any(|customer| customer["customer_id"] == account.customer.as_str()));
    assert_eq!(list(&["models", "list"], "models")[0]["name"], MODEL);
    assert_eq!(list(&["backends", "list"], "backends")[0]["state"], "up");
    assert_eq!(list(&["backends", "list"], "backends")[0]["breaker"], "closed");
    assert_eq!(list(&["requests", "list"], "requests")[0]["state"], "completed");
    assert!(list(&["tiers", "list"], "tiers").len() >= 5);
    assert_eq!(list(&["operators", "list"], "operators")[0]["role"], "admin");
    let usage = relay.admin(&["usage", "show", "--by", "model,source"]).unwrap();
    assert_eq!(usage["total"]["requests"], 1, "{usage}");
    assert_eq!(usage["rows"][0]["group"], json!([MODEL, "openai"]), "{usage}");
    let overview = relay.admin(&["overview"]).unwrap();
    for part in ["traffic", "money", "fleet", "attention"] {
        assert!(overview.get(part).is_some(), "{part}: {overview}");
    }
    assert_eq!(overview["fleet"]["up"], 1, "{overview}");
    // Options may stand before or after the noun.
    let address = relay.ready.admin_addr.as_str();
    let url = format!("http://{address}");
    let after = relay.command(&["admin", "whoami", "--addr", &url, "--json"]).unwrap();
    let before = relay.command(&["admin", "--json", "--addr", address, "whoami"]).unwrap();
    let role = |text: &str| serde_json::from_str::<Value>(text).unwrap()["role"].clone();
    assert_eq!((role(&after), role(&before)), (json!("admin"), json!("admin")));

    relay.admin(&["keys", "revoke", &account.key_id, "--reason", "leaked in a log"]).unwrap();
    relay
        .admin(&["customers", "credit", &account.customer, "--amount", "1.5", "--reason", "gift"])
        .unwrap();
    let entries = list(&["audit", "list"], "entries");
    let entry = entries
        .iter()
        .find(|entry| entry["object"] == account.key_id.as_str() && entry["reason"] != "")
        .unwrap_or_else(|| panic!("no record: {entries:?}"));
    assert_eq!((&entry["reason"], &entry["role"]), (&json!("leaked in a log"), &json!("admin")));
    assert!(Uuid::parse_str(entry["request_id"].as_str().unwrap()).is_ok(), "{entry}");
    assert!(entry["hash"].as_str().is_some_and(|hash| hash.len() >= 32), "{entry}");
    let verified = relay.admin(&["audit", "verify"]).unwrap();
    assert_eq!(verified["broken_at_seq"], 0, "{verified}");
    assert!(verified["entries"].as_u64().unwrap() >= 4, "{verified}");
    let text = serde_json::to_string(&entries).unwrap();
    assert!(!text.contains(&account.key), "no secret stands in the record");

    eventually("the events", async || {
        let events = list(&["events", "list"], "events");
        let has = |kind: &str| events.iter().any(|event| event["kind"] == kind);
        let all = [
            "relay.started",
            "customer.created",
            "key.created",
            "key.revoked",
            "customer.credited",
        ];
        Ok(all.iter().all(|kind| has(kind)).then_some(()))
    })
    .await
    .unwrap();
    let revoked = list(&["events", "list", "--kind", "key.revoked"], "events");
    assert_eq!(revoked.len(), 1, "{revoked:?}");
    assert_eq!(revoked[0]["subject"], account.key_id.as_str(), "{revoked:?}");
}

#[tokio::test]
async fn what_export_prints_apply_takes() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let address = relay.ready.admin_addr.as_str();
    let export = || relay.command(&["admin", "--addr", address, "export"]).unwrap();
    let first = export();
    let file = relay.dir().join("catalogue.toml");
    let path = file.to_str().unwrap();
    std::fs::write(&file, &first).unwrap();
    let same = relay.admin(&["apply", "-f", path, "--diff"]).unwrap();
    assert_eq!(same["differences"], json!([]), "{same}");

    std::fs::write(&file, first.replace("out_text = \"0.6\"", "out_text = \"0.7\"")).unwrap();
    let planned = relay.admin(&["apply", "-f", path, "--diff"]).unwrap();
    assert_eq!(planned["applied"], false, "{planned}");
    let differences = planned["differences"].as_array().unwrap();
    assert!(!differences.is_empty(), "{planned}");
    assert!(differences.iter().all(|difference| difference["kind"] == "change"), "{planned}");
    assert_eq!(export(), first, "a difference changes nothing");
    let done = relay.admin(&["apply", "-f", path, "--reason", "dearer"]).unwrap();
    assert_eq!((&done["applied"], &done["differences"]), (&json!(true), &planned["differences"]));
    let second = export();
    assert_ne!(second, first);
    assert_eq!(second, std::fs::read_to_string(&file).unwrap());
    let again = relay.admin(&["apply", "-f", path]).unwrap();
    assert_eq!(again["differences"], json!([]), "applying twice changes once: {again}");
    std::fs::write(&file, "[[model]]\nname = \"a b\"\n").unwrap();
    let refused = relay.admin(&["apply", "-f", path]).unwrap_err().to_string();
    assert!(refused.contains("catalogue.toml"), "{refused}");
}

/// The lines of a watch, until one holds the text.
fn watch_until(relay: &Relay, arguments: &[&str], act: impl FnOnce(), text: &str) -> Vec<Value> {
    let mut child = Command::new(binary("relayd").unwrap())
        .args(["admin", "--addr", &relay.ready.admin_addr, "--json"])
        .args(arguments)
        .env("RELAY_OPERATOR_TOKEN", &relay.ready.operator_token)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen: Vec<Value> = Vec::new();
    // A snapshot comes first; then somebody does something.
    seen.push(serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap());
    act();
    for line in lines {
        let line = line.unwrap();
        seen.push(serde_json::from_str(&line).unwrap());
        if line.contains(text) {
            break;
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_a_snapshot_and_then_numbered_changes() {
    let (_engine, relay) = over_scripted(tokens(1)).await;
    let name = relay.admin(&["backends", "list"]).unwrap()["backends"][0]["backend_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let cordon = || {
        relay.admin(&["backends", "cordon", &name, "--reason", "look"]).unwrap();
    };
    let seen = watch_until(&relay, &["backends", "watch", "--interval", "100"], cordon, "cordoned");
    assert!(seen[0]["update"]["snapshot"].is_object(), "{}", seen[0]);
    let numbers: Vec<_> = seen.iter().map(|update| update["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert!(seen.last().unwrap()["update"]["delta"].is_object(), "{seen:?}");
}

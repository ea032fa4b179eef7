//! Changes: made once, at the version that was seen, with a record and an event.

use proto::customers_service_client::CustomersServiceClient;
use proto::keys_service_client::KeysServiceClient;
use proto::operators_service_client::OperatorsServiceClient;
use tonic::Code;

use super::*;

async fn customer(plane: &Plane) -> proto::Customer {
    let mut client = CustomersServiceClient::new(plane.as_admin());
    let request = proto::CreateCustomerRequest {
        change: change(0, ""),
        name: "Acme".into(),
        email: "a@example.com".into(),
        tier: "basic".into(),
        credit_ncr: 5_000_000_000,
    };
    client.create_customer(request).await.unwrap().into_inner()
}

async fn key(plane: &Plane, name: &str) -> proto::Key {
    let owner = customer(plane).await;
    let mut client = KeysServiceClient::new(plane.as_admin());
    let request = proto::CreateKeyRequest {
        change: change(0, ""),
        customer_id: owner.customer_id,
        name: name.into(),
        budget_ncr: Some(1_000_000_000),
        denied_scopes: vec!["direct.openai.m".into()],
        ..Default::default()
    };
    client.create_key(request).await.unwrap().into_inner().key.unwrap()
}

async fn audit(plane: &Plane, object: &str) -> Vec<proto::AuditEntry> {
    let mut client = proto::audit_service_client::AuditServiceClient::new(plane.as_admin());
    let request = proto::ListAuditRequest { page: None, object: object.into() };
    client.list_audit(request).await.unwrap().into_inner().entries
}

#[tokio::test]
async fn a_creation_asked_twice_makes_one_key_and_shows_its_secret_once() {
    let plane = Plane::start().await;
    let owner = customer(&plane).await;
    assert_eq!((owner.balance_ncr, owner.version), (5_000_000_000, 1));
    let mut client = KeysServiceClient::new(plane.as_admin());
    let request = proto::CreateKeyRequest {
        change: change(0, ""),
        customer_id: owner.customer_id.clone(),
        name: "ci key".into(),
        budget_ncr: Some(7),
        ..Default::default()
    };
    let first = client.create_key(request.clone()).await.unwrap().into_inner();
    assert!(first.secret.starts_with("relay_sk_"));
    let again = client.create_key(request.clone()).await.unwrap().into_inner();
    assert_eq!(again.secret, "");
    let (first, again) = (first.key.unwrap(), again.key.unwrap());
    assert_eq!(first, again);
    assert_eq!(first.budget_ncr, Some(7));

    let other = proto::CreateKeyRequest { name: "other".into(), ..request };
    let refused = client.create_key(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let all = client.list_keys(proto::ListKeysRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.keys.len(), 1);
    let records = audit(&plane, &first.key_id).await;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].operator.as_str(), records[0].role.as_str()), ("admin", "admin"));
    assert_eq!(records[0].action, "KeysService/CreateKey");
    let text = format!("{records:?}");
    assert!(!text.contains("relay_sk_"), "no secret in the audit log");
    plane.end().await;
}

#[tokio::test]
async fn the_same_wish_from_eight_at_once_is_fulfilled_once() {
    let plane = Plane::start().await;
    let owner = customer(&plane).await;
    let request = proto::CreateKeyRequest {
        change: change(0, ""),
        customer_id: owner.customer_id,
        name: "race".into(),
        ..Default::default()
    };
    let calls = (0..8).map(|_| {
        let (wire, request) = (plane.as_admin(), request.clone());
        async move { KeysServiceClient::new(wire).create_key(request).await }
    });
    let answers = futures::future::join_all(calls).await;
    let mut secrets = 0;
    for answer in answers {
        match answer {
            Ok(made) => secrets += usize::from(!made.into_inner().secret.is_empty()),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    }
    assert_eq!(secrets, 1);
    let mut client = KeysServiceClient::new(plane.as_admin());
    let all = client.list_keys(proto::ListKeysRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.keys.len(), 1);
    plane.end().await;
}

#[tokio::test]
async fn credit_is_given_once_per_request_id() {
    let plane = Plane::start().await;
    let owner = customer(&plane).await;
    let mut client = CustomersServiceClient::new(plane.as_admin());
    let request = proto::CreditCustomerRequest {
        change: change(owner.version, "refund"),
        customer_id: owner.customer_id.clone(),
        amount_ncr: 250,
    };
    let first = client.credit_customer(request.clone()).await.unwrap().into_inner();
    let again = client.credit_customer(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_ne!(first.txn_id, "");
    let get = proto::GetCustomerRequest { customer_id: owner.customer_id.clone() };
    let now = client.get_customer(get).await.unwrap().into_inner();
    assert_eq!(now.balance_ncr, 5_000_000_250);

    let too_much = proto::CreditCustomerRequest {
        change: change(owner.version, "mistake"),
        customer_id: owner.customer_id,
        amount_ncr: -6_000_000_000,
    };
    let refused = client.credit_customer(too_much).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    plane.end().await;
}

#[tokio::test]
async fn a_change_at_an_old_version_is_aborted_and_names_both() {
    let plane = Plane::start().await;
    let key = key(&plane, "a key").await;
    let mut client = KeysServiceClient::new(plane.as_admin());
    let rename = |version, name: &str| proto::UpdateKeyRequest {
        change: change(version, ""),
        key_id: key.key_id.clone(),
        name: Some(name.into()),
        ..Default::default()
    };
    let renamed = client.update_key(rename(key.version, "b key")).await.unwrap().into_inner();
    assert_eq!((renamed.name.as_str(), renamed.version), ("b key", key.version + 1));
    let refused = client.update_key(rename(key.version, "c key")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert!(refused.message().contains("version 2, expected 1"), "{}", refused.message());
    plane.end().await;
}

#[tokio::test]
async fn the_life_of_a_key() {
    let plane = Plane::start().await;
    let mut events = plane.parts.events.subscribe(0);
    let key = key(&plane, "a key").await;
    let mut client = KeysServiceClient::new(plane.as_admin());
    let id = || key.key_id.clone();

    let nothing_said = proto::RevokeKeyRequest { change: change(1, " "), key_id: id() };
    let refused = client.revoke_key(nothing_said).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("reason"), "{}", refused.message());

    let live = proto::DeleteKeyRequest { change: change(1, ""), key_id: id() };
    assert_eq!(client.delete_key(live).await.unwrap_err().code(), Code::FailedPrecondition);

    let top_up = proto::TopUpKeyRequest { change: change(1, ""), key_id: id(), amount_ncr: 5 };
    let topped = client.top_up_key(top_up.clone()).await.unwrap().into_inner();
    assert_eq!(topped.budget_ncr, Some(1_000_000_005));
    let again = client.top_up_key(top_up).await.unwrap().into_inner();
    assert_eq!(again.budget_ncr, Some(1_000_000_005), "a request that is asked again adds nothing");

    let budget = proto::UpdateKeyRequest {
        change: change(topped.version, ""),
        key_id: id(),
        budget: Some(proto::Budget { amount_ncr: None }),
        denied_scopes: Some(proto::DeniedScopes { scopes: vec![] }),
        ..Default::default()
    };
    let uncapped = client.update_key(budget).await.unwrap().into_inner();
    assert_eq!((uncapped.budget_ncr, uncapped.denied_scopes.len()), (None, 0));

    let revoke =
        proto::RevokeKeyRequest { change: change(uncapped.version, "leaked"), key_id: id() };
    let revoked = client.revoke_key(revoke.clone()).await.unwrap().into_inner();
    assert_eq!(revoked.status(), proto::KeyStatus::Revoked);
    assert_eq!(client.revoke_key(revoke).await.unwrap().into_inner(), revoked);
    let unrevoke = proto::UnrevokeKeyRequest { change: change(revoked.version, ""), key_id: id() };
    let back = client.unrevoke_key(unrevoke).await.unwrap().into_inner();
    assert_eq!(back.status(), proto::KeyStatus::Active);
    let revoke = proto::RevokeKeyRequest { change: change(back.version, "again"), key_id: id() };
    let revoked = client.revoke_key(revoke).await.unwrap().into_inner();
    let delete = proto::DeleteKeyRequest { change: change(revoked.version, ""), key_id: id() };
    client.delete_key(delete.clone()).await.unwrap();
    client.delete_key(delete).await.unwrap();
    let get = proto::GetKeyRequest { key_id: id() };
    assert_eq!(client.get_key(get).await.unwrap_err().code(), Code::NotFound);

    let actions: Vec<_> = audit(&plane, &key.key_id).await.into_iter().map(|e| e.action).collect();
    let expected = [
        "DeleteKey",
        "RevokeKey",
        "UnrevokeKey",
        "RevokeKey",
        "UpdateKey",
        "TopUpKey",
        "CreateKey",
    ];
    assert_eq!(actions, expected.map(|call| format!("KeysService/{call}")));
    let mut client = proto::audit_service_client::AuditServiceClient::new(plane.as_admin());
    let report = client.verify_audit(proto::VerifyAuditRequest {}).await.unwrap().into_inner();
    assert_eq!((report.entries, report.broken_at_seq), (8, 0));

    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("key.deleted") {
        let crate::events::Update::Event(event) = events.next().await else { panic!("resync") };
        kinds.push(event.kind.clone());
    }
    let expected = [
        "customer.created",
        "key.created",
        "key.topped_up",
        "key.updated",
        "key.revoked",
        "key.unrevoked",
        "key.revoked",
        "key.deleted",
    ];
    assert_eq!(kinds, expected);
    plane.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_said_without_being_done() {
    let plane = Plane::start().await;
    let owner = customer(&plane).await;
    let mut customers = CustomersServiceClient::new(plane.as_admin());
    let update = |change| proto::UpdateCustomerRequest {
        change,
        customer_id: owner.customer_id.clone(),
        tier: Some("gold".into()),
        ..Default::default()
    };
    for (request, word) in [
        (update(None), "change is missing"),
        (update(Some(proto::Change { request_id: "7".into(), ..Default::default() })), "UUID"),
        (update(change(1, &"x".repeat(501))), "500"),
        (update(change(1, "")), "tier"),
    ] {
        let refused = customers.update_customer(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(word), "{}", refused.message());
    }
    let mut keys = KeysServiceClient::new(plane.as_admin());
    for (name, limit, code) in
        [("ab", None, Code::InvalidArgument), ("abc", Some(1_000), Code::InvalidArgument)]
    {
        let request = proto::CreateKeyRequest {
            change: change(0, ""),
            customer_id: owner.customer_id.clone(),
            name: name.into(),
            rate_limits: Some(proto::RateLimits { direct: limit, ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(keys.create_key(request).await.unwrap_err().code(), code);
    }
    assert_eq!(audit(&plane, "").await.len(), 1, "only the customer was made");
    plane.end().await;
}

#[tokio::test]
async fn operators_come_and_go_but_the_last_admin_stays() {
    let plane = Plane::start().await;
    let mut client = OperatorsServiceClient::new(plane.as_admin());
    let create = proto::CreateOperatorRequest {
        change: change(0, ""),
        name: "eve".into(),
        role: proto::Role::Admin.into(),
    };
    let made = client.create_operator(create.clone()).await.unwrap().into_inner();
    assert!(made.token.starts_with("relay_op_"));
    assert_eq!(client.create_operator(create).await.unwrap().into_inner().token, "");

    let mut eve = OperatorsServiceClient::new(plane.wire(Some(&made.token)));
    let revoke = proto::RevokeOperatorRequest { change: change(1, "left"), name: "admin".into() };
    assert!(eve.revoke_operator(revoke).await.unwrap().into_inner().revoked);
    let list = proto::ListOperatorsRequest::default();
    let gone = client.list_operators(list.clone()).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unauthenticated, "the next call of a revoked token is refused");
    let last = proto::RevokeOperatorRequest { change: change(1, "me too"), name: "eve".into() };
    assert_eq!(eve.revoke_operator(last).await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(eve.list_operators(list).await.unwrap().into_inner().operators.len(), 4);
    plane.end().await;
}

#[tokio::test]
async fn a_backend_is_cordoned_weighed_and_drained() {
    let plane = Plane::start().await;
    let row = crate::store::BackendRow {
        id: "a".parse().unwrap(),
        url: "http://127.0.0.1:9".into(),
        dialect: "openai".into(),
        engine: "llamacpp".into(),
        max_concurrency: 4,
        queue: 8,
        weight: 100,
        intake: IntakeRow::Open,
        credential_file: None,
        models: vec![],
        deployment: String::new(),
        drain_until_ms: None,
    };
    let put = crate::store::Change::PutBackend { backend: row, expected: Some(0) };
    plane.parts.store.write(vec![put], None).await.unwrap();
    plane.parts.catalogue.reload().await.unwrap();
    let fleet = plane.parts.fleet.clone();
    let known = |_: &u64| fleet.snapshot().backends().count() == 1;
    fleet.watch().wait_for(known).await.unwrap();

    let operator = || plane.wire(Some(&plane.operator));
    let mut client = proto::backends_service_client::BackendsServiceClient::new(operator());
    let backend_id = || "a".to_owned();
    let cordon = proto::CordonBackendRequest { change: change(1, ""), backend_id: backend_id() };
    let cordoned = client.cordon_backend(cordon.clone()).await.unwrap().into_inner();
    assert_eq!((cordoned.state(), cordoned.version), (proto::BackendState::Cordoned, 2));
    let again = client.cordon_backend(cordon).await.unwrap().into_inner();
    assert_eq!((again.state(), again.version), (proto::BackendState::Cordoned, 2));
    let stale = proto::UncordonBackendRequest { change: change(1, ""), backend_id: backend_id() };
    assert_eq!(client.uncordon_backend(stale).await.unwrap_err().code(), Code::Aborted);
    let uncordon =
        proto::UncordonBackendRequest { change: change(2, ""), backend_id: backend_id() };
    let open = client.uncordon_backend(uncordon).await.unwrap().into_inner();
    assert_eq!((open.state(), open.version), (proto::BackendState::Unknown, 3));
    let weigh = |weight| proto::SetBackendWeightRequest {
        change: change(3, ""),
        backend_id: backend_id(),
        weight,
    };
    let wrong = client.set_backend_weight(weigh(1_001)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert_eq!(client.set_backend_weight(weigh(7)).await.unwrap().into_inner().weight, 7);
    let drain = proto::DrainBackendRequest {
        change: change(4, "driver"),
        backend_id: backend_id(),
        wait_ms: 0,
    };
    let drained = client.drain_backend(drain).await.unwrap().into_inner();
    assert_eq!(drained.state(), proto::BackendState::Drained, "nothing runs there");
    let stored = plane.parts.store.backends().await.unwrap().remove(0);
    assert_eq!((stored.row.intake, stored.row.weight, stored.version), (IntakeRow::Draining, 7, 5));
    let probe = proto::ProbeBackendRequest { change: change(5, ""), backend_id: backend_id() };
    assert_eq!(client.probe_backend(probe).await.unwrap().into_inner().backend_id, "a");
    assert_eq!(audit(&plane, "a").await.len(), 5);
    plane.end().await;
}

#[tokio::test]
async fn lists_are_paged_to_their_end() {
    let plane = Plane::start().await;
    for _ in 0..5 {
        customer(&plane).await;
    }
    let mut client = CustomersServiceClient::new(plane.as_admin());
    let mut seen = std::collections::BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let page = Some(proto::Page { page_size: 2, page_token });
        let request = proto::ListCustomersRequest { page, query: "acme".into() };
        let answer = client.list_customers(request).await.unwrap().into_inner();
        assert!(answer.customers.len() <= 2);
        seen.extend(answer.customers.into_iter().map(|customer| customer.customer_id));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    let page = Some(proto::Page { page_size: 0, page_token: "nonsense".into() });
    let request = proto::ListCustomersRequest { page, query: String::new() };
    assert_eq!(client.list_customers(request).await.unwrap_err().code(), Code::InvalidArgument);
    plane.end().await;
}

#[tokio::test]
async fn what_is_exported_applies_without_a_difference() {
    let plane = Plane::start().await;
    let mut client = proto::catalogue_service_client::CatalogueServiceClient::new(plane.as_admin());
    let exported = client.export(proto::ExportRequest {}).await.unwrap().into_inner().toml;
    let mut apply = proto::ApplyRequest {
        change: change(0, ""),
        documents: vec![proto::Document { name: "export.toml".into(), toml: exported }],
        dry_run: true,
    };
    let same = client.apply(apply.clone()).await.unwrap().into_inner();
    assert_eq!(same.differences, vec![]);
    apply.dry_run = false;
    apply.documents[0].toml = CATALOGUE.replace("max_keys = 3", "max_keys = 4");
    let changed = client.apply(apply.clone()).await.unwrap().into_inner();
    assert!(changed.applied);
    assert_eq!(changed.differences[0].fields, ["max_keys: 3 -> 4"]);
    let again = client.apply(apply).await.unwrap().into_inner();
    assert_eq!(again, changed, "the same request id gives the first result");
    plane.end().await;
}

//! Every call of the protocol's descriptors, with every kind of caller.

use std::time::Duration;

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::*;
use crate::admin::roles::{Access, access};

/// The code that a call with an empty message is answered with; `None` for an answer.
async fn code(wire: Wire, path: &str) -> Option<Code> {
    let mut grpc = Grpc::new(wire);
    grpc.ready().await.unwrap();
    let path = path.parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    match grpc.server_streaming(Request::new(()), path, codec).await {
        Err(status) => Some(status.code()),
        Ok(answer) => {
            let mut stream = answer.into_inner();
            match tokio::time::timeout(Duration::from_secs(30), stream.message()).await.unwrap() {
                Ok(_) => None,
                Err(status) => Some(status.code()),
            }
        }
    }
}

fn paths() -> Vec<String> {
    let files = FileDescriptorSet::decode(relay_proto::DESCRIPTORS).unwrap().file;
    let mut paths = Vec::new();
    for file in &files {
        for service in &file.service {
            for method in &service.method {
                let name = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                paths.push(name);
            }
        }
    }
    paths
}

#[tokio::test]
async fn every_call_asks_for_its_role_and_nothing_is_forgotten() {
    let plane = Plane::start().await;
    let identity = &plane.parts.identity;
    let revoked = identity.create_operator("gone", Role::Admin, None).await.unwrap();
    identity.revoke_operator("gone", None, None).await.unwrap();
    let strangers = [
        None,
        Some("relay_op_nonsense".to_owned()),
        Some(format!("relay_op_{}", "0".repeat(48))),
        Some(revoked.token.expose().to_owned()),
    ];
    let paths = paths();
    assert!(paths.len() > 30);
    for path in &paths {
        for token in &strangers {
            let found = code(plane.wire(token.as_deref()), path).await;
            assert_eq!(found, Some(Code::Unauthenticated), "{path} with {token:?}");
        }
        let Some(Access::Least(least)) = access(path) else { panic!("{path} has no role") };
        for role in Role::ALL {
            let found = code(plane.wire(Some(plane.token(role))), path).await;
            if role < least {
                assert_eq!(found, Some(Code::PermissionDenied), "{path} as {role}");
            } else {
                let refused = [
                    Code::Unauthenticated,
                    Code::PermissionDenied,
                    Code::Unimplemented,
                    Code::Internal,
                ];
                assert!(
                    found.is_none_or(|code| !refused.contains(&code)),
                    "{path} as {role}: {found:?}"
                );
            }
        }
    }
    let stranger = "/relay.admin.v1.KeysService/StealKeys";
    assert_eq!(code(plane.as_admin(), stranger).await, Some(Code::Unimplemented));
    plane.end().await;
}

#[tokio::test]
async fn a_viewer_sees_a_difference_and_cannot_apply_it() {
    let plane = Plane::start().await;
    let request = |dry_run| proto::ApplyRequest {
        change: change(0, ""),
        documents: vec![proto::Document { name: "a.toml".into(), toml: CATALOGUE.into() }],
        dry_run,
    };
    let viewer = plane.wire(Some(&plane.viewer));
    let mut viewer = proto::catalogue_service_client::CatalogueServiceClient::new(viewer);
    assert!(!viewer.apply(request(true)).await.unwrap().into_inner().applied);
    let refused = viewer.apply(request(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("needs the role admin"), "{}", refused.message());
    plane.end().await;
}

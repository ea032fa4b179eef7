//! A relay with a thousand providers, looked at each second.

use std::time::Instant;

use proto::overview_service_client::OverviewServiceClient;

use super::*;
use crate::domain::{ProviderId, ProviderState};
use crate::store::{Change, NewInvitation, NewProvider, Presented, ProviderEdit};

/// Providers, of which none waits.
const MANY: usize = 1_000;

fn provider(no: usize) -> ProviderId {
    format!("prov_{no:016x}").parse().unwrap()
}

async fn join_all(store: &Store) {
    let invitation = [9; 32];
    let new = NewInvitation {
        id: "inv_0000000000000001".to_owned(),
        token_hash: invitation,
        note: String::new(),
        uses: None,
        expires_ms: None,
        created_by: "test".to_owned(),
        created_ms: 1,
    };
    store.write(vec![Change::NewInvitation(new)], None).await.unwrap();
    let presented = Presented {
        name: "gpu".to_owned(),
        payout: "0x52908400098527886e0f7030069857d2e4169ee7".parse().unwrap(),
        agent_version: "0.1.0".to_owned(),
        address: "203.0.113.7".to_owned(),
        engines: Vec::new(),
        gpus: Vec::new(),
    };
    let join = |no: usize| {
        Change::NewProvider(NewProvider {
            id: provider(no),
            public_key: no.to_be_bytes().repeat(4),
            presented: presented.clone(),
            invitation,
            at_ms: 1,
        })
    };
    for from in (0..MANY).step_by(100) {
        store.write((from..from + 100).map(join).collect(), None).await.unwrap();
    }
}

#[tokio::test]
async fn what_providers_need_is_read_again_when_one_of_them_changed() {
    let plane = Plane::start().await;
    let store = &plane.parts.store;
    join_all(store).await;
    let mut client = OverviewServiceClient::new(plane.wire(Some(&plane.viewer)));
    let mut looks = Vec::new();
    let mut look = async || {
        // Past the age of a page, so that each look is a new one.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let from = Instant::now();
        let page = client.get_overview(proto::GetOverviewRequest {}).await.unwrap().into_inner();
        looks.push(from.elapsed());
        let waiting = page.attention.iter().filter(|item| item.screen == "providers");
        waiting.map(|item| item.subject.clone()).collect::<Vec<_>>()
    };
    assert!(look().await.is_empty());
    assert!(look().await.is_empty());
    let edit = ProviderEdit::State {
        from: ProviderState::Joining,
        to: ProviderState::Pending,
        reason: String::new(),
        at_ms: 2,
    };
    let change = Change::EditProvider { id: provider(7), expected: None, edit };
    store.write(vec![change], None).await.unwrap();
    assert_eq!(look().await, [provider(7).to_string()]);
    assert_eq!(look().await, [provider(7).to_string()]);
    eprintln!("looks over {MANY} providers, read, kept, read, kept: {looks:?}");
}

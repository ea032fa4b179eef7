//! Hidden questions to providers that serve: who serves another model is caught, nobody is billed,
//! and nothing tells a question from a customer's request.

use std::collections::BTreeMap;

use relay_tests::scripted::{MODEL, Script, Scripted};
use relay_tests::{Agent, Caller, Llama, Relay, RelayOptions, Route, eventually};
use serde_json::Value;

use crate::start::tokens;

/// A provider that serves, questioned so often.
async fn serving(own: &str, theirs: &str, every: &str) -> (Relay, Agent) {
    let relay = RelayOptions::over(&[own]).set("TRUST__CANARY_INTERVAL", every).start().unwrap();
    let agent = Agent::start(&relay, "gpu-1", &[theirs]).unwrap();
    until(&relay, &agent, "a person to decide", |found| found["state"] == "pending").await;
    relay.admin(&["providers", "approve", &agent.provider]).unwrap();
    (relay, agent)
}

async fn until(relay: &Relay, agent: &Agent, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let shown = || relay.admin(&["providers", "show", &agent.provider]);
    let found = eventually(what, async || Ok(shown().ok().filter(|found| is(found))));
    found.await.unwrap_or_else(|error| panic!("{error:#}\n{:?}", shown()))
}

/// What was seen of its model lately, in thousandths: good and bad.
fn identity(found: &Value) -> (u64, u64) {
    let scores = found["reputation"]["scores"].as_array().unwrap();
    let score = scores.iter().find(|one| one["score"] == "identity").unwrap();
    (score["good_milli"].as_u64().unwrap(), score["bad_milli"].as_u64().unwrap())
}

/// Nobody asked, nobody pays, nobody earns, and no usage row was written.
fn is_nobodys(relay: &Relay, found: &Value) {
    assert_eq!(found["earned_ncr"], 0, "{found}");
    let usage = relay.admin(&["usage", "show", "--from", "24h"]).unwrap();
    assert_eq!(
        (&usage["total"]["requests"], &usage["total"]["charged_ncr"]),
        (&0.into(), &0.into())
    );
    relay.audit().unwrap();
}

#[tokio::test]
async fn an_honest_provider_keeps_its_full_score_and_no_question_is_anybodys() {
    let (own, theirs) = (Llama::start().unwrap(), Llama::start().unwrap());
    let (relay, agent) = serving(&own.url, &theirs.url, "500ms").await;
    let seen = |found: &Value| identity(found).0 > 4_500;
    let found = until(&relay, &agent, "five good answers", seen).await;
    assert_eq!(identity(&found).1, 0, "{found}");
    assert_eq!(
        (&found["state"], &found["reputation"]["mishaps"]),
        (&"approved".into(), &serde_json::json!([]))
    );
    assert_eq!(found["reputation"]["standing"], "good");
    is_nobodys(&relay, &found);
}

#[tokio::test]
async fn a_cheaper_model_in_place_of_the_approved_one_is_caught_after_two_questions() {
    let (own, mut theirs) = (Llama::start().unwrap(), Llama::start().unwrap());
    let (place, url) = (theirs.port(), theirs.url.clone());
    let (relay, agent) = serving(&own.url, &url, "1s").await;
    theirs.kill();
    let _other = Llama::other(place).unwrap();
    let found =
        until(&relay, &agent, "its suspension", |found| found["state"] == "suspended").await;
    let mishaps = found["reputation"]["mishaps"].as_array().unwrap();
    let of_identity: Vec<_> =
        mishaps.iter().filter(|mishap| mishap["score"] == "identity").collect();
    // Two where the first question finds the other model, and one more where it is answered before
    // the scores are looked at; each good answer before counts against.
    let good = identity(&found).0;
    let expected = if good == 0 { 3 } else { 6 };
    assert!((2..=expected).contains(&of_identity.len()), "{good} good: {found}");
    let text = of_identity[0]["text"].as_str().unwrap();
    assert!(text.starts_with("answered a hidden question unlike relay-tiny: "), "{text}");
    let reason = found["state_reason"].as_str().unwrap();
    assert!(reason.starts_with("by policy: identity has a lower bound"), "{reason}");
    relay.told(reason).await.unwrap();
    is_nobodys(&relay, &found);
}

#[tokio::test]
async fn nothing_tells_a_question_from_a_customers_request() {
    let own = Scripted::counting(tokens(9)).unwrap();
    let theirs = Scripted::counting(tokens(9)).unwrap();
    let (relay, agent) = serving(&own.url, &theirs.url, "1s").await;
    // The questions that came since the approval, streamed and whole.
    let mut asked = BTreeMap::new();
    let before = theirs.requests();
    eventually("questions of both kinds", async || {
        if theirs.requests() > before
            && let Some((headers, body)) = theirs.last()
        {
            asked.insert(body["stream"] == true, (headers, body));
        }
        Ok((asked.len() == 2).then_some(()))
    })
    .await
    .unwrap();
    let all = relay.admin(&["backends", "list"]).unwrap();
    for backend in all["backends"].as_array().unwrap() {
        if backend["provider_id"] == "" {
            relay.admin(&["backends", "cordon", backend["backend_id"].as_str().unwrap()]).unwrap();
        }
    }
    let caller = Caller::of(&relay);
    for (stream, (headers, body)) in asked {
        let mut same = body.clone();
        same["messages"][0]["content"] = format!("a customer's {stream}").into();
        same["model"] = MODEL.into();
        let members = same.as_object_mut().unwrap();
        members.remove("stream_options");
        let customer = eventually("the customer's request", async || {
            assert_eq!(caller.chat(Route::Openai, &same).await?.status, 200);
            // A question may have come right after it.
            let content = format!("a customer's {stream}");
            Ok(theirs.last().filter(|(_, body)| body["messages"][0]["content"] == content))
        });
        let (theirs_headers, theirs_body) = customer.await.unwrap();
        let named = |headers: &http::HeaderMap| {
            let own = ["x-request-id", "content-length"];
            let all = headers.iter().map(|(name, value)| {
                let value = if own.contains(&name.as_str()) { "" } else { value.to_str().unwrap() };
                (name.to_string(), value.to_owned())
            });
            all.collect::<BTreeMap<_, _>>()
        };
        assert_eq!(named(&headers), named(&theirs_headers));
        let keys = |body: &Value| body.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&body), keys(&theirs_body), "in the same order too");
        let length = |headers: &http::HeaderMap| headers["x-request-id"].len();
        assert_eq!(length(&headers), length(&theirs_headers));
    }
    let found = relay.admin(&["providers", "show", &agent.provider]).unwrap();
    assert_eq!(identity(&found).1, 0, "{found}");
}

#[tokio::test]
async fn who_calls_our_questions_wrong_fails_them() {
    let own = Scripted::counting(tokens(9)).unwrap();
    let theirs = Scripted::counting(tokens(9)).unwrap();
    let (relay, agent) = serving(&own.url, &theirs.url, "1s").await;
    theirs.then(Script::Refuse(400, r#"{"error":{"message":"temperature is not supported"}}"#));
    let found =
        until(&relay, &agent, "its suspension", |found| found["state"] == "suspended").await;
    let reason = found["state_reason"].as_str().unwrap();
    assert!(reason.starts_with("by policy: availability has a lower bound"), "{reason}");
    let mishaps = found["reputation"]["mishaps"].as_array().unwrap();
    assert!(mishaps.iter().all(|mishap| mishap["score"] == "availability"), "{found}");
    is_nobodys(&relay, &found);
}

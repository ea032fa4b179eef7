//! Deployments: a model is started on a provider's host by its agent, serves, grows and goes.

use std::io::Write as _;

use relay_tests::{Agent, Caller, Llama, Relay, RelayOptions, Route, eventually};
use serde_json::Value;

/// The backends of the provider's instances.
fn instances(relay: &Relay, agent: &Agent) -> Vec<Value> {
    let all = relay.admin(&["backends", "list"]).unwrap();
    let all = all["backends"].as_array().unwrap().clone();
    let ours = |backend: &Value| {
        backend["provider_id"] == agent.provider.as_str()
            && backend["backend_id"].as_str().unwrap().contains(".llama-")
    };
    all.into_iter().filter(ours).collect()
}

async fn serving(relay: &Relay, agent: &Agent, count: usize) -> Vec<Value> {
    let what = format!("{count} instances to serve");
    let found = eventually(&what, async || {
        let found = instances(relay, agent);
        let up = found.iter().filter(|backend| backend["state"] == "up").count();
        Ok((found.len() == count && up == count).then_some(found))
    });
    found.await.unwrap_or_else(|error| {
        panic!("{error:#}\n{:?}\n{}", relay.admin(&["providers", "deployments"]), agent.said())
    })
}

#[tokio::test]
async fn a_model_is_deployed_onto_an_agent_serves_grows_to_two_and_goes() {
    let (own, theirs) = (Llama::start().unwrap(), Llama::start().unwrap());
    let relay = RelayOptions::over(&[&own.url]).start().unwrap();
    let ready = relay.dir().join("ready.json");
    let mut agent = Agent::join(&ready, "gpu-1", &[&theirs.url], &[]).unwrap();
    let file = agent.folder().join("agent.toml");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    file.write_all(Llama::template().unwrap().as_bytes()).unwrap();
    agent.run().unwrap();
    let who = agent.provider.clone();
    eventually("its examination", async || {
        let Ok(found) = relay.admin(&["providers", "show", &who]) else { return Ok(None) };
        Ok((found["state"] == "pending").then_some(()))
    })
    .await
    .unwrap();
    let deploy = |rest: &[&str]| {
        let mut words = vec!["providers", "deploy", &who, "--template", "llama"];
        words.extend(rest);
        relay.admin(&words)
    };
    let early = deploy(&["--model", "relay-tiny"]).unwrap_err().to_string();
    assert!(early.contains("not approved"), "{early}");
    relay.admin(&["providers", "approve", &who]).unwrap();

    // More than any template may allow is refused at once, by the field's name.
    let many = deploy(&["--model", "relay-tiny", "--replicas", "33"]).unwrap_err().to_string();
    assert!(many.contains("replicas") && many.contains("1 to 32"), "{many}");

    // What the owner's template does not allow, the agent refuses, and says why.
    for (rest, why) in [
        (vec!["--model", "../relay-tiny"], "no such model"),
        (vec!["--model", "relay-tiny", "--set", "slots=9"], "from 1 to 8"),
        (vec!["--model", "relay-tiny", "--replicas", "3"], "at most 2 instances"),
    ] {
        let made = deploy(&rest).unwrap();
        let id = made["deployment_id"].as_str().unwrap().to_owned();
        eventually(why, async || {
            let all = relay.admin(&["providers", "deployments", &who])?;
            let found = all["deployments"][0].clone();
            let said = found["state_reason"].as_str().unwrap_or_default().contains(why);
            Ok((found["state"] == "refused" && said).then_some(()))
        })
        .await
        .unwrap();
        relay.admin(&["providers", "undeploy", &id]).unwrap();
    }
    assert!(instances(&relay, &agent).is_empty());

    let made = deploy(&["--model", "relay-tiny", "--set", "slots=2"]).unwrap();
    let id = made["deployment_id"].as_str().unwrap().to_owned();
    serving(&relay, &agent, 1).await;
    let shown = relay.admin(&["providers", "show", &who]).unwrap();
    let engines = shown["engines"].as_array().unwrap();
    let instance = engines.iter().find(|engine| engine["deployment_id"] == id.as_str()).unwrap();
    assert_eq!((&instance["engine_running"], &instance["engine_waiting"]), (&0.into(), &0.into()));
    assert_eq!(instance["kv_cache_milli"], Value::Null, "llama.cpp does not tell");

    relay.admin(&["providers", "scale", &id, "2"]).unwrap();
    let two = serving(&relay, &agent, 2).await;
    // Whoever else serves the model is out of the way.
    let all = relay.admin(&["backends", "list"]).unwrap();
    for backend in all["backends"].as_array().unwrap() {
        if !two.iter().any(|instance| instance["backend_id"] == backend["backend_id"]) {
            relay.admin(&["backends", "cordon", backend["backend_id"].as_str().unwrap()]).unwrap();
        }
    }
    let caller = Caller::of(&relay);
    let model = relay.ready.models[0].clone();
    eventually("both to have answered", async || {
        // At once: alone, a request goes to whoever has shown that it is fast.
        let body = Route::Openai.body(&model, 4, false);
        let asking = (0..8).map(|_| caller.chat(Route::Openai, &body));
        for answer in futures::future::join_all(asking).await {
            let answer = answer?;
            anyhow::ensure!(answer.status == 200, "{}", answer.text);
        }
        let asked = |backend: &Value| backend["requests"].as_u64().unwrap_or(0) > 0;
        Ok(instances(&relay, &agent).iter().all(asked).then_some(()))
    })
    .await
    .unwrap();

    relay.admin(&["providers", "scale", &id, "1"]).unwrap();
    serving(&relay, &agent, 1).await;

    // A revision of the model runs on the deployment, on as many instances as it has; the first one
    // that is made keeps how the model was served before.
    let missing = relay.admin(&["rollouts", "revise", &model, "--deployment", "dep_0000"]);
    assert!(missing.unwrap_err().to_string().contains("deployment"));
    let made = relay.admin(&["rollouts", "revise", &model, "--deployment", &id]).unwrap();
    assert_eq!((&made["number"], &made["deployment_id"]), (&2.into(), &id.as_str().into()));
    // By hand, step by step.
    let take = |revision: &str| {
        relay.admin(&["rollouts", "start", &model, revision, "--reason", "its own machine"])?;
        for _ in 0..5 {
            relay.admin(&["rollouts", "advance", &model])?;
        }
        anyhow::Ok(())
    };
    take("2").unwrap();
    let shown = relay.admin(&["rollouts", "show", &model]).unwrap();
    let served = (&shown["live_revision"], &shown["targets"], &shown["targets_up"]);
    assert_eq!(served, (&2.into(), &1.into(), &1.into()), "{shown}");
    for backend in all["backends"].as_array().unwrap() {
        let name = backend["backend_id"].as_str().unwrap();
        let _ = relay.admin(&["backends", "uncordon", name]);
    }
    let others = || {
        let all = relay.admin(&["backends", "list"]).unwrap();
        let asked = all["backends"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|backend| backend["deployment_id"] != id.as_str());
        asked.map(|backend| backend["requests"].as_u64().unwrap()).sum::<u64>()
    };
    let before = others();
    relay.admin(&["providers", "scale", &id, "2"]).unwrap();
    serving(&relay, &agent, 2).await;
    for _ in 0..6 {
        let answer = caller.chat(Route::Openai, &Route::Openai.body(&model, 4, false)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    assert_eq!(others(), before, "whoever else lists the model gets nothing");
    eventually("an instance more to be one of the revision", async || {
        let shown = relay.admin(&["rollouts", "show", &model])?;
        Ok((shown["targets_up"] == 2).then_some(()))
    })
    .await
    .unwrap();
    relay.admin(&["providers", "scale", &id, "1"]).unwrap();
    serving(&relay, &agent, 1).await;

    // Other weights come under a name that nobody sells; the revision says what they are sold as.
    let made = deploy(&["--model", "relay-tiny-v2"]).unwrap();
    let newer = made["deployment_id"].as_str().unwrap().to_owned();
    eventually("the newer weights to be loaded", async || {
        let all = relay.admin(&["providers", "deployments", &who])?;
        let mut all = all["deployments"].as_array().unwrap().iter();
        Ok(all
            .any(|one| one["deployment_id"] == newer.as_str() && one["state"] == "up")
            .then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(instances(&relay, &agent).len(), 1, "it serves nothing yet");
    let start = || relay.admin(&["rollouts", "start", &model, "3", "--reason", "newer weights"]);
    relay.admin(&["rollouts", "revise", &model, "--deployment", &newer]).unwrap();
    let early = start();
    assert!(early.is_ok() || early.unwrap_err().to_string().contains("revision 3"));
    eventually("a backend of the revision", async || {
        let shown = relay.admin(&["rollouts", "show", &model])?;
        let open = shown["next_revision"] == 3;
        Ok((open || start().is_ok()).then_some(()))
    })
    .await
    .unwrap();
    for _ in 0..5 {
        relay.admin(&["rollouts", "advance", &model]).unwrap();
    }
    for _ in 0..3 {
        let answer = caller.chat(Route::Openai, &Route::Openai.body(&model, 4, false)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let all = instances(&relay, &agent);
    let serves = all.iter().find(|one| one["deployment_id"] == newer.as_str()).unwrap();
    assert_eq!(
        (&serves["models"][0]["model"], &serves["models"][0]["upstream"], &serves["requests"]),
        (&model.as_str().into(), &"relay-tiny-v2".into(), &3.into())
    );
    // What a model is served by cannot be taken from under it.
    let refused = relay.admin(&["providers", "undeploy", &newer]).unwrap_err().to_string();
    assert!(refused.contains("another revision first"), "{refused}");
    take("2").unwrap();
    relay.admin(&["providers", "undeploy", &newer]).unwrap();
    let one = serving(&relay, &agent, 1).await[0]["backend_id"].as_str().unwrap().to_owned();

    // The agent dies and its children with it; what is wanted runs again once it is back, as an
    // operator had set it.
    relay.admin(&["backends", "weight", &one, "7"]).unwrap();
    agent.kill();
    eventually("the instance to be gone", async || {
        let found = instances(&relay, &agent);
        Ok(found.iter().all(|backend| backend["state"] != "up").then_some(()))
    })
    .await
    .unwrap();
    agent.run().unwrap();
    assert_eq!(serving(&relay, &agent, 1).await[0]["weight"], 7);
    take("1").unwrap();
    relay.admin(&["providers", "undeploy", &id]).unwrap();
    serving(&relay, &agent, 0).await;
    let left = relay.admin(&["providers", "deployments", &who]).unwrap();
    assert_eq!(left["deployments"], serde_json::json!([]));
    let audit = relay.admin(&["audit", "list", "--object", &id]).unwrap();
    assert_eq!(audit["entries"][0]["action"], "DeploymentsService/RemoveDeployment", "{audit}");
    relay.audit().unwrap();
}

//! Engines that speak another format than their callers: Ollama's API with real tokens, a
//! commercial upstream in Anthropic's format. Every surface over each, and what it costs.

use std::os::unix::fs::PermissionsExt as _;

use relay_tests::anthropic::{Anthropic, INPUT_TOKENS, KEY, MODEL as UPSTREAM, Reply};
use relay_tests::scripted::Scripted;
use relay_tests::{
    Account, Answer, Caller, DEV_TIER, Llama, OllamaAdapter, Relay, RelayOptions, Route,
    eventually, keep_secret,
};
use serde_json::{Value, json};

use crate::sdk::every_sdk_converses;
use crate::start::tokens;

/// The Relay name of what the upstream serves.
const MODEL: &str = "acme/claude";
const CREDIT_NCR: i64 = 5_000_000_000;

#[tokio::test]
async fn conversations_over_ollama_cost_what_they_used() {
    let llama = Llama::start().unwrap();
    let ollama = OllamaAdapter::start(&llama.url, &llama.model).unwrap();
    let relay = RelayOptions::over(&[&ollama.url]).start().unwrap();
    every_sdk_converses(&relay).await;
}

/// A daemon with a commercial upstream behind a model of its own, each meter at its own price.
struct Commercial {
    relay: Relay,
    upstream: Anthropic,
    _engine: Scripted,
}

impl Commercial {
    async fn start(reply: Reply) -> Self {
        keep_secret(KEY);
        let engine = Scripted::start(tokens(1)).unwrap();
        let upstream = Anthropic::start(reply).unwrap();
        let relay = RelayOptions::over(&[&engine.url]).start().unwrap();
        let credential = relay.dir().join("upstream.key");
        std::fs::write(&credential, KEY).unwrap();
        std::fs::set_permissions(&credential, std::fs::Permissions::from_mode(0o600)).unwrap();
        let offers: String = Route::ALL
            .iter()
            .map(|route| {
                format!(
                    "[[model.offer]]\nsource = \"{}\"\nprice = {{ in_uncached = \"3\", \
                     in_cache_read = \"0.3\", in_cache_write_5m = \"3.75\", \
                     in_cache_write_1h = \"6.1\", out_text = \"15\", out_reasoning = \"16\" }}\n",
                    route.source()
                )
            })
            .collect();
        let document = format!(
            "[[model]]\nname = \"{MODEL}\"\ncontext_tokens = 8192\nmax_output_default = 64\n\
             capabilities = [\"tools\", \"reasoning\"]\n{offers}\n[[backend]]\n\
             name = \"commercial\"\nurl = \"{}\"\ndialect = \"anthropic\"\nengine = \"commercial\"\n\
             credential_file = \"{}\"\nmodels = {{ \"{MODEL}\" = \"{UPSTREAM}\" }}\n",
            upstream.url,
            credential.display()
        );
        let file = relay.dir().join("commercial.toml");
        std::fs::write(&file, document).unwrap();
        relay.admin(&["apply", "-f", file.to_str().unwrap()]).unwrap();
        let guest = Caller::at(&relay.ready.public_url);
        eventually("the commercial model", async || {
            let model = guest.get(&format!("/v2/models/{MODEL}")).await?;
            Ok((model.json()["available"] == true).then_some(()))
        })
        .await
        .unwrap();
        Self { relay, upstream, _engine: engine }
    }

    fn rich(&self) -> (Account, Caller) {
        let account = self.relay.account(DEV_TIER, "5").unwrap();
        let caller = self.relay.caller(&account);
        (account, caller)
    }

    /// One request: what came back, and its row once it is settled and paid exactly.
    async fn ask(&self, route: Route, body: &Value) -> (Answer, relay_tests::Settled) {
        let (account, caller) = self.rich();
        let answer = caller.chat(route, body).await.unwrap();
        let mut rows = self.relay.settled(&account, 1).await.unwrap();
        assert_eq!(rows.len(), 1, "{route:?}");
        self.relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
        (answer, rows.remove(0))
    }
}

/// What a surface shows of an answer, streamed or not, in one form.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    text: String,
    finish: String,
    /// Name and arguments of called tools.
    tools: Vec<(String, Value)>,
    /// Input, of it read from the cache, output.
    usage: (u64, u64, u64),
}

impl Shown {
    fn of(route: Route, answer: &Answer) -> Self {
        let mut shown = Self::default();
        let mut arguments = String::new();
        for part in parts(&answer.text) {
            match route {
                Route::Openai | Route::Vllm => shown.take_openai(&part, &mut arguments),
                Route::Anthropic => shown.take_anthropic(&part, &mut arguments),
                Route::Ollama => shown.take_ollama(&part),
            }
        }
        if let (Some(tool), false) = (shown.tools.last_mut(), arguments.is_empty()) {
            tool.1 = serde_json::from_str(&arguments).unwrap();
        }
        shown
    }

    fn take_openai(&mut self, part: &Value, arguments: &mut String) {
        let choice = &part["choices"][0];
        for message in [&choice["message"], &choice["delta"]] {
            self.text.push_str(message["content"].as_str().unwrap_or_default());
            for call in message["tool_calls"].as_array().into_iter().flatten() {
                if let Some(name) = call["function"]["name"].as_str() {
                    self.tools.push((name.to_owned(), Value::Null));
                }
                arguments.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
            }
        }
        self.finish.push_str(choice["finish_reason"].as_str().unwrap_or_default());
        let usage = &part["usage"];
        if usage.is_object() {
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
            self.usage =
                (number(usage, "prompt_tokens"), cached, number(usage, "completion_tokens"));
        }
    }

    fn take_anthropic(&mut self, part: &Value, arguments: &mut String) {
        let whole = part["content"].as_array().cloned().unwrap_or_default();
        for block in whole.iter().chain([&part["content_block"]]) {
            self.text.push_str(block["text"].as_str().unwrap_or_default());
            if block["type"] == "tool_use" {
                let name = block["name"].as_str().unwrap_or_default().to_owned();
                self.tools.push((name, block["input"].clone()));
            }
        }
        let delta = &part["delta"];
        self.text.push_str(delta["text"].as_str().unwrap_or_default());
        arguments.push_str(delta["partial_json"].as_str().unwrap_or_default());
        for reason in [&part["stop_reason"], &delta["stop_reason"]] {
            self.finish.push_str(reason.as_str().unwrap_or_default());
        }
        for usage in [&part["usage"], &part["message"]["usage"]] {
            if !usage.is_object() {
                continue;
            }
            let cached = number(usage, "cache_read_input_tokens");
            let input = number(usage, "input_tokens")
                + cached
                + number(usage, "cache_creation_input_tokens");
            // The final report may name only the output.
            self.usage.0 = self.usage.0.max(input);
            self.usage.1 = self.usage.1.max(cached);
            self.usage.2 = self.usage.2.max(number(usage, "output_tokens"));
        }
    }

    fn take_ollama(&mut self, part: &Value) {
        let message = &part["message"];
        self.text.push_str(message["content"].as_str().unwrap_or_default());
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let name = call["function"]["name"].as_str().unwrap_or_default().to_owned();
            self.tools.push((name, call["function"]["arguments"].clone()));
        }
        if part["done"] == true {
            self.finish.push_str(part["done_reason"].as_str().unwrap_or_default());
            self.usage = (number(part, "prompt_eval_count"), 0, number(part, "eval_count"));
        }
    }
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or(0)
}

/// The JSON objects of an answer: one, or those of a stream's lines.
fn parts(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| line.strip_prefix("data: ").unwrap_or(line))
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(Value::is_object)
        .collect()
}

/// How a surface says that the answer ended by itself, or with a tool's call.
const fn finishes(route: Route) -> (&'static str, &'static str) {
    match route {
        Route::Openai | Route::Vllm => ("stop", "tool_calls"),
        Route::Anthropic => ("end_turn", "tool_use"),
        Route::Ollama => ("stop", "stop"),
    }
}

#[tokio::test]
async fn text_thoughts_and_cached_prompts_of_a_commercial_upstream_reach_every_surface() {
    let commercial = Commercial::start(Reply::Text(3)).await;
    for route in Route::ALL {
        for stream in [false, true] {
            let mut body = route.body(MODEL, 64, stream);
            if let (Route::Openai | Route::Vllm, true) = (route, stream) {
                body["stream_options"] = json!({"include_usage": true});
            }
            for (reply, text, meters) in [
                (Reply::Text(3), "word word word ", [0, 0, 0, 3]),
                (
                    Reply::Cached { read: 100, write_5m: 30, write_1h: 7 },
                    "word word ",
                    [100, 30, 7, 2],
                ),
                (Reply::Thinking, "word word ", [0, 0, 0, 7]),
            ] {
                commercial.upstream.then(reply.clone());
                let (answer, row) = commercial.ask(route, &body).await;
                let who = format!("{route:?} {stream} {reply:?}: {} {}", answer.text, row.row);
                assert_eq!(answer.status, 200, "{who}");
                let shown = Shown::of(route, &answer);
                assert_eq!(shown.text, text, "{who}");
                assert_eq!(shown.finish, finishes(route).0, "{who}");
                let [read, write_5m, write_1h, output] = meters;
                let input = INPUT_TOKENS + read + write_5m + write_1h;
                let told = if route == Route::Ollama { 0 } else { read };
                assert_eq!(shown.usage, (input, told, output), "{who}");
                let billed = [
                    "in_uncached",
                    "in_cache_read",
                    "in_cache_write_5m",
                    "in_cache_write_1h",
                    "out_text",
                ]
                .map(|meter| row.meter(meter));
                assert_eq!(billed, [INPUT_TOKENS, read, write_5m, write_1h, output], "{who}");
                assert_eq!(row.scope(), format!("direct.{}.{MODEL}", route.source()), "{who}");
                assert_eq!(row.row["estimated"], false, "{who}");
                for part in parts(&answer.text) {
                    for named in [&part["model"], &part["message"]["model"]] {
                        assert!(named.is_null() || named == MODEL, "{named} in {who}");
                    }
                }
            }
        }
    }
    for asked in commercial.upstream.asked() {
        assert_eq!(asked["model"], UPSTREAM, "{asked}");
        assert_eq!(asked["max_tokens"], 64, "{asked}");
        assert_eq!(asked["messages"][0]["role"], "user", "{asked}");
    }
    commercial.relay.audit().unwrap();
}

#[tokio::test]
async fn a_tool_called_by_a_commercial_upstream_is_called_on_every_surface() {
    let commercial = Commercial::start(Reply::ToolUse).await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}},
        "required": ["city"]});
    for route in Route::ALL {
        for stream in [false, true] {
            let mut body = route.body(MODEL, 64, stream);
            body["tools"] = match route {
                Route::Anthropic => json!([{"name": "weather", "description": "Today's weather",
                    "input_schema": schema}]),
                _ => json!([{"type": "function", "function": {"name": "weather",
                    "description": "Today's weather", "parameters": schema}}]),
            };
            let (answer, row) = commercial.ask(route, &body).await;
            let who = format!("{route:?} {stream}: {}", answer.text);
            assert_eq!(answer.status, 200, "{who}");
            let shown = Shown::of(route, &answer);
            let called = [("weather".to_owned(), json!({"city": "Paris"}))];
            assert_eq!(shown.tools, called, "{who}");
            assert_eq!(shown.finish, finishes(route).1, "{who}");
            assert_eq!(row.tokens().output, 11, "{who}");
            let asked = commercial.upstream.asked().pop().unwrap();
            assert_eq!(asked["tools"][0]["name"], "weather", "{asked}");
            assert_eq!(asked["tools"][0]["input_schema"], schema, "{asked}");
        }
    }
}

#[tokio::test]
async fn what_a_commercial_upstream_refuses_is_told_in_every_surfaces_words() {
    let commercial = Commercial::start(Reply::Text(1)).await;
    for (reply, outcome) in [
        (Reply::Refuse(400, "invalid_request_error"), "400 UPSTREAM_INVALID_REQUEST"),
        (Reply::Refuse(500, "api_error"), "502 UPSTREAM_ERROR"),
        (Reply::Refuse(401, "authentication_error"), "502 PROVIDER_UNAVAILABLE"),
        // Last: it leaves the upstream alone for a while.
        (Reply::Refuse(529, "overloaded_error"), "503 CAPACITY_EXHAUSTED"),
    ] {
        for route in Route::ALL {
            commercial.upstream.then(reply.clone());
            let (account, caller) = commercial.rich();
            let answer = caller.chat(route, &route.body(MODEL, 8, false)).await.unwrap();
            let who = format!("{route:?} {reply:?}: {}", answer.text);
            assert_eq!(answer.outcome(), outcome, "{who}");
            assert_eq!(answer.text.contains("the stand-in refuses"), answer.status == 400, "{who}");
            let rows = commercial.relay.settled(&account, 1).await.unwrap();
            assert_eq!(rows[0].charged(), 0, "{who}");
            // A breaker that opened would answer in the upstream's place.
            commercial.upstream.then(Reply::Text(1));
            eventually("the upstream to be asked again", async || {
                let answer = caller.chat(route, &route.body(MODEL, 8, false)).await?;
                Ok((answer.status == 200).then_some(()))
            })
            .await
            .unwrap();
        }
    }
    commercial.relay.audit().unwrap();
}

#[tokio::test]
async fn a_commercial_upstream_that_breaks_off_is_billed_for_what_came() {
    let commercial = Commercial::start(Reply::Text(1)).await;
    for reply in [Reply::Overloaded, Reply::Cut] {
        for route in Route::ALL {
            let (_, caller) = commercial.rich();
            commercial.upstream.then(Reply::Text(1));
            eventually("the upstream to be asked again", async || {
                let answer = caller.chat(route, &route.body(MODEL, 8, false)).await?;
                Ok((answer.status == 200).then_some(()))
            })
            .await
            .unwrap();
            commercial.upstream.then(reply.clone());
            let (account, caller) = commercial.rich();
            let mut stream = caller.stream(route, &route.body(MODEL, 8, true)).await.unwrap();
            // Whether the connection ends well after the error is not the point.
            while stream.more().await.unwrap_or(false) {}
            let who = format!("{route:?} {reply:?}: {}", stream.text);
            assert_eq!(stream.text.matches("word ").count(), 2, "{who}");
            assert!(!stream.text.contains(route.end_marker()), "{who}");
            assert!(stream.text.contains("\"error\""), "{who}");
            let rows = commercial.relay.settled(&account, 1).await.unwrap();
            let who = format!("{who} {}", rows[0].row);
            assert!(rows[0].outcome().starts_with("failed "), "{who}");
            assert_eq!(rows[0].meter("in_uncached"), INPUT_TOKENS, "{who}");
            assert!((1..=8).contains(&rows[0].tokens().output), "{who}");
            commercial.relay.check_charges(&account, CREDIT_NCR, &rows).unwrap();
        }
    }
    commercial.relay.audit().unwrap();
}

//! Streams whose format is not the client's.

use super::*;

fn through(surface: Surface, name: &str) -> (Vec<Value>, Vec<Value>) {
    let fixture = fixtures().find(|fixture| fixture.name == name).unwrap();
    let run = run(surface, fixture.dialect, fixture.stream);
    assert_eq!(run.end, Ok(()), "{name}");
    (frames(&run.body), frames(&run.tail))
}

fn kinds(all: &[Value]) -> Vec<&str> {
    all.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

#[test]
fn openai_to_anthropic_opens_and_closes_blocks_in_order() {
    let (body, tail) = through(Surface::Anthropic, "reasoning_content before content");
    assert_eq!(
        kinds(&body),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
        ]
    );
    assert_eq!(body[0]["message"]["model"], "vendor/model");
    assert_eq!(body[0]["message"]["id"], "msg_0b1c2d3e-0000-4000-8000-000000000001");
    assert_eq!(body[0]["message"]["usage"]["input_tokens"], 0);
    assert_eq!(body[0]["message"]["task_address"], Value::Null);
    assert_eq!(body[1]["content_block"]["type"], "thinking");
    assert_eq!(body[5]["content_block"]["type"], "text");
    assert_eq!(body[5]["index"], 1);
    assert_eq!(kinds(&tail), ["message_delta", "message_stop"]);
    assert_eq!(tail[0]["delta"]["stop_reason"], "end_turn");
    // What the opening could not know is put right at the end.
    assert_eq!(tail[0]["usage"]["input_tokens"], 3);
    assert_eq!(tail[0]["usage"]["cache_read_input_tokens"], 1);
    assert_eq!(tail[0]["usage"]["output_tokens"], 9);
}

#[test]
fn openai_tool_calls_become_anthropic_blocks() {
    let (body, tail) = through(Surface::Anthropic, "a tool call in pieces");
    let starts: Vec<&Value> =
        body.iter().filter(|frame| frame["type"] == "content_block_start").collect();
    assert_eq!(starts.len(), 2);
    assert_eq!(starts[0]["content_block"]["id"], "call_a");
    assert_eq!(starts[0]["content_block"]["name"], "weather");
    assert_eq!(starts[1]["index"], 1);
    let json: String = body
        .iter()
        .filter(|frame| frame["index"] == 0)
        .filter_map(|frame| frame["delta"]["partial_json"].as_str())
        .collect();
    assert_eq!(json, "{\"city\": \"Genève\"}");
    assert_eq!(tail[0]["delta"]["stop_reason"], "tool_use");
}

#[test]
fn openai_tool_calls_become_whole_ollama_calls() {
    let (body, tail) = through(Surface::Ollama, "a tool call in pieces");
    let calls = &body.last().unwrap()["message"]["tool_calls"];
    assert_eq!(
        *calls,
        serde_json::json!([
            {"function": {"name": "weather", "arguments": {"city": "Genève"}}},
            {"function": {"name": "time", "arguments": {}}},
        ])
    );
    assert_eq!(tail[0]["done"], true);
    assert_eq!(tail[0]["done_reason"], "stop");
    assert_eq!(tail[0]["prompt_eval_count"], 50);
    assert_eq!(tail[0]["eval_count"], 20);
}

#[test]
fn ollama_lines_carry_time_and_durations() {
    let fixture = fixtures().find(|fixture| fixture.name == "llama.cpp").unwrap();
    let mut translator = translator(Surface::Ollama, Dialect::Openai, false);
    let mut out = Vec::new();
    translator.push(&Bytes::from_static(fixture.stream.as_bytes()), &mut out).unwrap();
    let body = String::from_utf8(out.concat()).unwrap();
    for line in frames(&body) {
        assert_eq!(line["created_at"], "2026-09-21T14:13:20Z");
        assert_eq!(line["model"], "vendor/model");
        assert_eq!(line["done"], false);
    }
    out.clear();
    let timing = Timing { total_ns: 40, load_ns: 1, prompt_ns: 10, eval_ns: 29 };
    translator.tail(TailReason::Finished, &meters([9, 24, 0, 0, 8, 0]), &timing, &mut out);
    let tail = String::from_utf8(out.concat()).unwrap();
    let last: Value = serde_json::from_str(&tail).unwrap();
    assert_eq!(
        last,
        serde_json::json!({
            "model": "vendor/model", "created_at": "2026-09-21T14:13:20Z",
            "message": {"role": "assistant", "content": ""}, "done_reason": "stop", "done": true,
            "total_duration": 40, "load_duration": 1, "prompt_eval_count": 33,
            "prompt_eval_duration": 10, "eval_count": 8, "eval_duration": 29,
            "task_id": "direct:0b1c2d3e-0000-4000-8000-000000000001", "mode": "direct",
        })
    );
}

#[test]
fn anthropic_to_openai_numbers_tool_calls_from_zero() {
    let (body, tail) = through(Surface::Openai, "thinking, then a tool call");
    assert_eq!(body[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(body[0]["mode"], "direct");
    assert_eq!(body[1]["choices"][0]["delta"]["reasoning_content"], "Let me see");
    let call = &body[2]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(call["index"], 0);
    assert_eq!(call["id"], "toolu_1");
    assert_eq!(call["function"]["name"], "weather");
    let piece = &body[3]["choices"][0]["delta"]["tool_calls"][0];
    assert_eq!(piece["function"]["arguments"], "{\"city\":\"Bern\"}");
    assert_eq!(body[4]["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(tail[0]["usage"]["total_tokens"], 45);
    for frame in &body {
        assert_eq!(frame["id"], "chatcmpl-0b1c2d3e-0000-4000-8000-000000000001");
        assert_eq!(frame["object"], "chat.completion.chunk");
        assert_eq!(frame["created"], 1_790_000_000);
    }
}

#[test]
fn ollama_calls_become_openai_arguments() {
    let (body, _) = through(Surface::Vllm, "thinking and a tool call");
    let pieces: Vec<&Value> = body
        .iter()
        .filter_map(|frame| frame["choices"][0]["delta"].get("tool_calls"))
        .map(|calls| &calls[0])
        .collect();
    assert_eq!(pieces[0]["id"], "call_0b1c2d3e-0000-4000-8000-000000000001_0");
    assert_eq!(pieces[0]["function"]["name"], "weather");
    let arguments = pieces[1]["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(arguments, serde_json::json!({"city": "Zürich", "days": 3}));
    assert_eq!(body.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn a_stop_sequence_survives() {
    let name = "a stop sequence, usage in a delta of its own";
    let (_, tail) = through(Surface::Anthropic, name);
    assert_eq!(tail[0]["delta"]["stop_sequence"], "END");
    let (body, _) = through(Surface::Openai, name);
    assert_eq!(body.last().unwrap()["choices"][0]["finish_reason"], "stop");
}

#[test]
fn tool_arguments_that_are_no_object_fail_where_the_format_needs_one() {
    let stream = "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":\"}}]}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n";
    assert!(matches!(
        run(Surface::Ollama, Dialect::Openai, stream).end,
        Err(WireError::Garbage(_))
    ));
    assert_eq!(run(Surface::Anthropic, Dialect::Openai, stream).end, Ok(()));
}

//! Streams whose format is the client's, byte by byte.

use super::*;

fn push(translator: &mut Translator, text: &str) -> Vec<Bytes> {
    let mut out = Vec::new();
    translator.push(&Bytes::copy_from_slice(text.as_bytes()), &mut out).unwrap();
    out
}

fn text(parts: &[Bytes]) -> String {
    String::from_utf8(parts.concat()).unwrap()
}

const ROLE: &str = "data: {\"id\":\"c1\",\"model\":\"tiny\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n";
const HI: &str = "data: {\"id\":\"c1\", \"model\":\"tiny\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}],\"timings\":{\"prompt_n\":3,\"predicted_n\":1}}\n\n";
const STOP: &str =
    "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
const USAGE: &str = "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1,\"extra\":{\"x\":1}}}\n\n";

#[test]
fn nothing_comes_out_before_the_first_content() {
    let mut translator = translator(Surface::Openai, Dialect::Openai, false);
    assert!(push(&mut translator, ROLE).is_empty());
    assert!(!translator.seen().first_content);
    let out = push(&mut translator, HI);
    assert!(translator.seen().first_content);
    assert_eq!(
        text(&out),
        "data: {\"id\":\"c1\",\"model\":\"vendor/model\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}],\"task_id\":\"direct:0b1c2d3e-0000-4000-8000-000000000001\",\"task_address\":null,\"mode\":\"direct\"}\n\ndata: {\"id\":\"c1\",\"model\":\"vendor/model\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"}}]}\n\n"
    );
    assert_eq!(translator.seen().running, Some(meters([3, 0, 0, 0, 1, 0])));
    assert_eq!(translator.seen().usage, None);
    assert_eq!((translator.seen().deltas, translator.seen().out_bytes), (1, 2));
}

#[test]
fn frames_that_need_no_change_are_slices_of_the_chunk() {
    let mut translator = translator(Surface::Openai, Dialect::Openai, false);
    push(&mut translator, HI);
    let delta = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let chunk = Bytes::from(delta.repeat(3));
    let mut out = Vec::new();
    translator.push(&chunk, &mut out).unwrap();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0], chunk);
    assert_eq!(out[0].as_ptr(), chunk.as_ptr());

    let mixed = Bytes::from(format!("{delta}{HI}{delta}{delta}"));
    out.clear();
    translator.push(&mixed, &mut out).unwrap();
    assert_eq!(out.len(), 3);
    assert_eq!(out[0].as_ptr(), mixed.as_ptr());
    assert_eq!(out[2], delta.repeat(2));
}

#[test]
fn usage_and_end_marker_wait_for_the_tail() {
    for include_usage in [false, true] {
        let mut translator = translator(Surface::Openai, Dialect::Openai, include_usage);
        let mut out = push(&mut translator, &format!("{HI}{STOP}"));
        assert!(push(&mut translator, &format!("{USAGE}data: [DONE]\n\n")).is_empty());
        translator.end_of_input().unwrap();
        out.clear();
        let billed = translator.seen().usage.unwrap();
        translator.tail(TailReason::Finished, &billed, &Timing::default(), &mut out);
        let tail = text(&out);
        assert!(tail.ends_with("data: [DONE]\n\n"), "{tail}");
        assert_eq!(tail.contains("usage"), include_usage, "{tail}");
        if include_usage {
            // What was billed is what the engine said: shown with all its details.
            assert_eq!(frames(&tail)[0]["usage"]["extra"]["x"], 1, "{tail}");
            assert_eq!(frames(&tail)[0]["id"], "c1");
        }
        // One end only.
        out.clear();
        translator.tail(TailReason::Finished, &billed, &Timing::default(), &mut out);
        assert!(out.is_empty());
    }
}

#[test]
fn a_finish_reason_is_not_yet_the_end() {
    let mut translator = translator(Surface::Openai, Dialect::Openai, false);
    push(&mut translator, &format!("{HI}{STOP}"));
    // A reader that left here would miss the usage.
    assert!(!translator.seen().finished);
    push(&mut translator, USAGE);
    assert!(!translator.seen().finished);
    push(&mut translator, "data: [DONE]\n\n");
    assert!(translator.seen().finished);
}

#[test]
fn an_opening_report_does_not_count_the_answer() {
    let fixture =
        fixtures().find(|f| f.dialect == Dialect::Anthropic && f.name == "a text").unwrap();
    let (before, after) = fixture.stream.split_once("event: message_delta").unwrap();
    let mut translator = translator(Surface::Anthropic, Dialect::Anthropic, false);
    push(&mut translator, before);
    let seen = translator.seen();
    // It says one token, whatever was sent: nothing to bill by.
    assert_eq!((seen.usage, seen.running), (None, None));
    assert_eq!(seen.prompt, Some(meters([9, 24, 0, 0, 0, 0])));
    push(&mut translator, &format!("event: message_delta{after}"));
    assert_eq!(translator.seen().usage, Some(meters([9, 24, 0, 0, 15, 0])));
}

#[test]
fn the_tail_shows_what_was_billed() {
    let mut translator = translator(Surface::Openai, Dialect::Openai, true);
    push(&mut translator, &format!("{HI}{STOP}{USAGE}"));
    let mut out = Vec::new();
    let billed = meters([2, 1, 0, 0, 1, 4]);
    translator.tail(TailReason::Finished, &billed, &Timing::default(), &mut out);
    assert_eq!(
        frames(&text(&out))[0]["usage"],
        serde_json::json!({
            "prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 1},
            "completion_tokens_details": {"reasoning_tokens": 4},
        })
    );
}

#[test]
fn an_answer_that_the_wallet_cuts_ends_in_order() {
    let billed = meters([3, 0, 0, 0, 1, 0]);
    let anthropic = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\"}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n";
    let ollama =
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\n";
    let cut = TailReason::InsufficientCredits;
    for (surface, dialect, stream) in [
        (Surface::Openai, Dialect::Openai, HI),
        (Surface::Openai, Dialect::Ollama, ollama),
        (Surface::Anthropic, Dialect::Anthropic, anthropic),
        (Surface::Anthropic, Dialect::Openai, HI),
        (Surface::Ollama, Dialect::Ollama, ollama),
        (Surface::Ollama, Dialect::Anthropic, anthropic),
    ] {
        let mut translator = translator(surface, dialect, true);
        push(&mut translator, stream);
        let mut out = Vec::new();
        translator.tail(cut, &billed, &Timing::default(), &mut out);
        let tail = text(&out);
        let all = frames(&tail);
        let name = format!("{surface:?} from {dialect:?}: {tail}");
        match surface.dialect() {
            Dialect::Openai => {
                assert_eq!(all[0]["choices"][0]["finish_reason"], "length", "{name}");
                assert_eq!(all[0]["end_reason"], "insufficient_credits", "{name}");
                assert_eq!(all[1]["usage"]["completion_tokens"], 1, "{name}");
                assert!(tail.ends_with("data: [DONE]\n\n"), "{name}");
            }
            Dialect::Anthropic => {
                let kinds: Vec<&str> = all.iter().map(|f| f["type"].as_str().unwrap()).collect();
                assert_eq!(
                    kinds,
                    ["content_block_stop", "message_delta", "message_stop"],
                    "{name}"
                );
                let index = if dialect == Dialect::Anthropic { 2 } else { 0 };
                assert_eq!(all[0]["index"], index, "{name}");
                assert_eq!(all[1]["delta"]["stop_reason"], "max_tokens", "{name}");
                assert_eq!(all[1]["usage"]["output_tokens"], 1, "{name}");
            }
            Dialect::Ollama => {
                assert_eq!(all.len(), 1, "{name}");
                assert_eq!(all[0]["done_reason"], "length", "{name}");
                assert_eq!(all[0]["done"], true, "{name}");
                assert_eq!(all[0]["eval_count"], 1, "{name}");
            }
        }
    }
}

#[test]
fn anthropic_events_keep_their_order_and_their_bytes() {
    let fixture = fixtures().find(|f| f.name == "thinking, then a tool call").unwrap();
    let run = run(Surface::Anthropic, Dialect::Anthropic, fixture.stream);
    let whole = format!("{}{}", run.body, run.tail);
    // All but the opening, which names the model, is what the engine sent.
    let (opening, rest) = whole.split_once("event: content_block_start").unwrap();
    let (_, sent) = fixture.stream.split_once("event: content_block_start").unwrap();
    assert_eq!(rest, sent);
    let opening = &frames(opening)[0]["message"];
    assert_eq!(opening["model"], "vendor/model");
    assert_eq!(opening["id"], "m");
    assert_eq!(opening["mode"], "direct");
    assert_eq!(opening["usage"]["input_tokens"], 5);
    assert!(run.tail.starts_with("event: message_delta"));
}

#[test]
fn billed_usage_replaces_the_engines_in_the_closing_events() {
    let fixture = fixtures().find(|f| f.name == "thinking, then a tool call").unwrap();
    let mut translator = translator(Surface::Anthropic, Dialect::Anthropic, false);
    push(&mut translator, fixture.stream);
    let mut out = Vec::new();
    let billed = meters([5, 0, 0, 0, 33, 0]);
    translator.tail(TailReason::Finished, &billed, &Timing::default(), &mut out);
    let closing = &frames(&text(&out))[0];
    assert_eq!(closing["usage"]["output_tokens"], 33);
    assert_eq!(closing["delta"]["stop_reason"], "tool_use");
}

#[test]
fn ollamas_last_line_carries_task_and_mode() {
    let fixture = fixtures().find(|f| f.dialect == Dialect::Ollama && f.name == "a text").unwrap();
    let run = run(Surface::Ollama, Dialect::Ollama, fixture.stream);
    assert_eq!(frames(&run.body).len(), 2);
    assert!(frames(&run.body)[0].get("task_id").is_none());
    let last = &frames(&run.tail)[0];
    assert_eq!(last["model"], "vendor/model");
    assert_eq!(last["total_duration"], 4_883_583_458_u64);
    assert_eq!(last["eval_count"], 282);
    assert_eq!(last["task_id"], "direct:0b1c2d3e-0000-4000-8000-000000000001");
    assert_eq!(last["mode"], "direct");
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let chunk = Bytes::from(vec![b'x'; 100_000]);
    for (dialect, start) in [(Dialect::Openai, "data: "), (Dialect::Ollama, "{\"a\":\"")] {
        let mut translator = translator(Surface::Openai, dialect, false);
        push(&mut translator, start);
        let errors: Vec<usize> =
            (0..20).filter(|_| translator.push(&chunk, &mut Vec::new()).is_err()).collect();
        // A mebibyte is the bound; once failed it stays failed.
        assert_eq!(errors, (10..20).collect::<Vec<_>>(), "{dialect:?}");
    }
}

#[test]
fn a_prelude_without_end_is_garbage() {
    let mut translator = translator(Surface::Openai, Dialect::Openai, false);
    let chunk = Bytes::from(ROLE.repeat(1000));
    let pushes = (0..10).take_while(|_| translator.push(&chunk, &mut Vec::new()).is_ok()).count();
    assert!((1..5).contains(&pushes), "{pushes}");
}

#[test]
fn failures_look_as_each_surface_has_them() {
    for (surface, frame, body) in [
        (
            Surface::Openai,
            "data: {\"error\":{\"message\":\"no \\\"luck\\\"\",\"type\":\"server_error\",\"code\":502}}\n\n",
            "{\"error\":{\"message\":\"no \\\"luck\\\"\",\"type\":\"server_error\",\"code\":502}}",
        ),
        (
            Surface::Anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"server_error\",\"message\":\"no \\\"luck\\\"\"},\"request_id\":\"req-1\"}\n\n",
            "{\"type\":\"error\",\"error\":{\"message\":\"no \\\"luck\\\"\",\"type\":\"server_error\",\"code\":502}}",
        ),
        (Surface::Ollama, "{\"error\":\"no \\\"luck\\\"\"}\n", "{\"error\":\"no \\\"luck\\\"\"}"),
    ] {
        let (kind, message) = (stream_error_kind(502), "no \"luck\"");
        assert_eq!(stream_error_frame(surface, 502, kind, message, "req-1"), frame);
        assert_eq!(stream_error_body(surface, 502, kind, message), body);
    }
}

//! Streams as engines send them.
use super::*;
use relay_domain::Mode;

pub(super) fn stamp() -> Stamp {
    Stamp {
        model: "vendor/model".into(),
        task_id: "direct:0b1c2d3e-0000-4000-8000-000000000001".into(),
        mode: Mode::Direct,
        request_id: "req".into(),
        created: 1_790_000_000,
    }
}

#[test]
fn smoke() {
    let mut t = Translator::new(Surface::Openai, Dialect::Openai, stamp(), true);
    let mut out = Vec::new();
    t.push(&Bytes::from_static(b"data: {\"id\":\"x\",\"model\":\"tiny\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null},\"finish_reason\":null}]}\n\n"), &mut out).unwrap();
    assert!(out.is_empty());
    t.push(&Bytes::from_static(b"data: {\"id\":\"x\",\"model\":\"tiny\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hi\"},\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n"), &mut out).unwrap();
    t.end_of_input().unwrap();
    let usage = t.seen().usage.unwrap();
    t.tail(TailReason::Finished, &usage, &Timing::default(), &mut out);
    let text: Vec<u8> = out.concat();
    println!("{}", String::from_utf8(text).unwrap());
    println!("{:?}", t.seen());
}

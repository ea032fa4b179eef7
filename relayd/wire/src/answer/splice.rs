//! An answer whose format is already the caller's: its own slices under the Relay name.

use bytes::BytesMut;
use relay_domain::Meters;

use crate::dialect::Dialect;
use crate::json::{Object, Raw};
use crate::stamp::Stamp;
use crate::usage;

pub(super) fn body(
    dialect: Dialect,
    answer: Raw<'_>,
    stamp: &Stamp,
    billed: Option<&Meters>,
    out: &mut BytesMut,
) {
    let mut object = Object::new(out);
    let mut has_model = false;
    for member in answer.members() {
        match member.key().as_ref() {
            "model" => {
                if !std::mem::replace(&mut has_model, true) {
                    object.text("model", &stamp.model);
                }
            }
            // An upstream that is a relay itself has its own.
            "task_id" | "task_address" | "mode" => {}
            // llama.cpp's own measurements and settings of its host.
            "timings" | "__verbose" if dialect == Dialect::Openai => {}
            // Somebody else counted: theirs are written below.
            "usage" | "prompt_eval_count" | "eval_count" if billed.is_some() => {}
            key => {
                object.json(key, member.value.text());
            }
        }
    }
    if !has_model {
        object.text("model", &stamp.model);
    }
    match (billed, dialect) {
        (None, _) => {}
        (Some(billed), Dialect::Openai | Dialect::Anthropic) => {
            object.object("usage", |usage| usage::put(dialect, billed, usage));
        }
        (Some(billed), Dialect::Ollama) => {
            object.count("prompt_eval_count", billed.input());
            object.count("eval_count", billed.output());
        }
    }
    match dialect {
        Dialect::Openai | Dialect::Anthropic => stamp.put(&mut object),
        Dialect::Ollama => {
            object.text("task_id", &stamp.task_id).text("mode", stamp.mode.as_str());
        }
    }
    object.end();
}

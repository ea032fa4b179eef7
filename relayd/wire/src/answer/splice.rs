//! An answer whose format is already the caller's: its own slices under the Relay name.

use bytes::BytesMut;

use crate::dialect::Dialect;
use crate::json::{Object, Raw};
use crate::stamp::Stamp;

pub(super) fn body(dialect: Dialect, answer: Raw<'_>, stamp: &Stamp, out: &mut BytesMut) {
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
            key => {
                object.json(key, member.value.text());
            }
        }
    }
    if !has_model {
        object.text("model", &stamp.model);
    }
    match dialect {
        Dialect::Openai | Dialect::Anthropic => stamp.put(&mut object),
        Dialect::Ollama => {
            object.text("task_id", &stamp.task_id).text("mode", stamp.mode.as_str());
        }
    }
    object.end();
}

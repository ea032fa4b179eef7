//! The engine's body where the formats match: slices of the caller's, and what Relay decides.

use bytes::{Bytes, BytesMut};

use crate::dialect::{Dialect, EngineKind};
use crate::json::Object;

use super::table::HOST_OPTIONS;
use super::{Carry, ChatRequest, Upstream, literal};

/// Room for what Relay writes itself, in bytes; more grows the buffer once.
const OURS_BYTES: usize = 256;

impl ChatRequest {
    pub(super) fn passed(&self, target: &Upstream<'_>) -> Bytes {
        let mut out = BytesMut::with_capacity(self.body.len() + target.model.len() + OURS_BYTES);
        let mut object = Object::new(&mut out);
        object.text("model", target.model);
        self.kept(&mut object, target.engine);
        match self.surface.dialect() {
            Dialect::Openai => {
                let key = self.cap_key(target.engine);
                object.count(key, target.output_cap);
                target.defaults.write(&mut object);
                stream_options(&mut object, self.stream, target.engine);
            }
            Dialect::Anthropic => {
                object.count("max_tokens", target.output_cap).flag("stream", self.stream);
                target.defaults.write(&mut object);
            }
            Dialect::Ollama => {
                object.flag("stream", self.stream).object("options", |options| {
                    for member in self.get("options").iter().flat_map(|o| o.members()) {
                        let key = member.key();
                        if key != "num_predict" && !HOST_OPTIONS.contains(&key.as_ref()) {
                            options.raw(&key, Some(member.value));
                        }
                    }
                    options.count("num_predict", target.output_cap);
                    target.defaults.write(options);
                });
            }
        }
        object.end();
        out.freeze()
    }

    /// Copies the members that go to the engine.
    fn kept(&self, object: &mut Object<'_>, engine: EngineKind) {
        let text = self.read().text;
        for entry in &self.members {
            if entry.field.is_some_and(|field| field.carry == Carry::Ours) {
                continue;
            }
            let Some(member) = literal(text, entry.span) else { continue };
            match engine {
                // llama.cpp has its own word for it and would ignore the other silently.
                EngineKind::Llamacpp if member.is("repetition_penalty") => {
                    object.raw("repeat_penalty", Some(member.value));
                }
                // Asked for by Relay in its own words, or meant for another engine.
                _ if self.surface.is_open() && member.is("timings_per_token") => {}
                _ => {
                    let span = entry.span.key..entry.span.end;
                    object.spliced(self.body.get(span).unwrap_or_default());
                }
            }
        }
    }

    /// The field that carries the output cap in the OpenAI format. Engines of our own take the
    /// old name; vendors refuse one of the two by model, so the caller's choice decides there.
    pub(super) fn cap_key(&self, engine: EngineKind) -> &'static str {
        let says_old = self.get("max_tokens").is_some();
        let says_new = self.get("max_completion_tokens").is_some();
        match engine {
            EngineKind::Commercial if says_new || !says_old => "max_completion_tokens",
            _ => "max_tokens",
        }
    }
}

/// `stream` and how usage is reported, in the OpenAI format: usage at the end always, and running
/// counts from the engines that have them.
pub(crate) fn stream_options(object: &mut Object<'_>, stream: bool, engine: EngineKind) {
    object.flag("stream", stream);
    if !stream {
        return;
    }
    object.object("stream_options", |options| {
        options.flag("include_usage", true);
        if engine == EngineKind::Vllm {
            options.flag("continuous_usage_stats", true);
        }
    });
    if engine == EngineKind::Llamacpp {
        object.flag("timings_per_token", true);
    }
}

//! The words of a prompt, for whoever counts them.

use crate::json::{Kind, Raw};

use super::ChatRequest;

/// Members of the body whose texts reach the prompt as they are.
const SPOKEN: [&str; 4] = ["messages", "system", "prompt", "suffix"];

/// Members whose JSON reaches the prompt: templates print it.
const PRINTED: [&str; 5] = ["tools", "functions", "response_format", "format", "guided_json"];

/// Members of a message that are no words: what they say is said by the template.
const UNSPOKEN: [&str; 7] =
    ["role", "type", "id", "tool_call_id", "cache_control", "images", "source"];

impl ChatRequest {
    /// The texts of the prompt, without what the model's template adds: what messages and system
    /// prompt say, and tools and schemas as JSON. Pictures and attachments are not among them.
    #[must_use]
    pub fn prompt_texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for key in SPOKEN {
            if let Some(value) = self.get(key) {
                speak(value, &mut texts);
            }
        }
        let printed = PRINTED.iter().filter_map(|key| self.get(key));
        texts.extend(printed.filter(|raw| raw.kind() != Kind::String).map(|raw| raw.text().into()));
        texts
    }
}

fn speak(value: Raw<'_>, texts: &mut Vec<String>) {
    if let Some(text) = value.string() {
        if !text.is_empty() {
            texts.push(text.into_owned());
        }
        return;
    }
    for member in value.members() {
        match member.key().as_ref() {
            key if UNSPOKEN.contains(&key) => {}
            "image_url" | "input_audio" | "video_url" | "audio_url" | "file" => {}
            // A tool's arguments as Anthropic and Ollama write them.
            "input" | "arguments" if member.value.kind() == Kind::Object => {
                texts.push(member.value.text().to_owned());
            }
            _ => speak(member.value, texts),
        }
    }
    for element in value.elements() {
        speak(element, texts);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::{ChatRequest, Surface};

    #[test]
    fn words_are_found_wherever_a_format_puts_them() {
        let body = br#"{"model":"m","system":"be brief","tools":[{"name":"t","input_schema":{}}],"messages":[
            {"role":"user","content":[{"type":"text","text":"hello\n"},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"x","name":"t","input":{"a":1}}]},
            {"role":"user","content":"bye"}],"max_tokens":4}"#;
        let request = ChatRequest::scan(Surface::Anthropic, Bytes::from_static(body)).unwrap();
        let texts = request.prompt_texts();
        let tools = r#"[{"name":"t","input_schema":{}}]"#;
        assert_eq!(texts, ["hello\n", "t", "{\"a\":1}", "bye", "be brief", tools]);
    }
}

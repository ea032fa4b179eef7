//! Tokens and their likelihoods, as llama.cpp and vLLM tell them in an answer of
//! `/v1/chat/completions` to `logprobs: true`.

use serde_json::Value;

/// Most tokens that are read of an answer: more than any question asks for.
const TOKENS_MAX: usize = 256;

/// Most likely other tokens that are read at one place.
const RIVALS_MAX: usize = 32;

/// A token of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Token {
    /// Its bytes: a character may be cut between two tokens.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its likelihood.
    pub logprob: f64,
    /// What could have stood there, with likelihoods: bytes and logarithm, itself included.
    pub rivals: Vec<(Vec<u8>, f64)>,
}

/// The tokens of the first choice; none where an engine does not tell, or not whole.
pub(super) fn read(body: &[u8]) -> Vec<Token> {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return Vec::new() };
    let told = body["choices"][0]["logprobs"]["content"].as_array();
    let told = told.map_or(&[][..], Vec::as_slice);
    let all: Option<Vec<_>> = told.iter().take(TOKENS_MAX).map(token).collect();
    all.unwrap_or_default()
}

fn token(told: &Value) -> Option<Token> {
    let (bytes, logprob) = likely(told)?;
    let rivals = told["top_logprobs"].as_array().map_or(&[][..], Vec::as_slice);
    let rivals = rivals.iter().take(RIVALS_MAX).filter_map(likely).collect();
    Some(Token { bytes, logprob, rivals })
}

/// The bytes where they are told; in the text a cut character is lost.
fn likely(told: &Value) -> Option<(Vec<u8>, f64)> {
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let bytes = match told["bytes"].as_array() {
        Some(bytes) => bytes.iter().map(byte).collect::<Option<Vec<_>>>()?,
        None => told["token"].as_str()?.as_bytes().to_vec(),
    };
    // What cannot be is told as a very small number, or as null.
    let logprob = told["logprob"].as_f64().filter(|logprob| logprob.is_finite())?;
    Some((bytes, logprob))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llamacpp_tells_ids_and_bytes() {
        let body = br#"{"choices":[{"finish_reason":"length","index":0,
            "message":{"role":"assistant","content":" at\ufffd"},
            "logprobs":{"content":[
              {"id":444,"token":" at","bytes":[32,97,116],"logprob":-4.867318153381348,"top_logprobs":[
                {"id":444,"token":" at","bytes":[32,97,116],"logprob":-4.867318153381348},
                {"id":1055,"token":" tak","bytes":[32,116,97,107],"logprob":-5.843078136444092}]},
              {"id":235,"token":"\ufffd","bytes":[138],"logprob":-6.25,"top_logprobs":[]}]}}],
            "model":"relay-tiny","system_fingerprint":"b0-unknown","object":"chat.completion",
            "timings":{"predicted_n":2}}"#;
        let told = read(body);
        assert_eq!(told.len(), 2);
        assert_eq!(told[0].bytes, b" at");
        assert_eq!(told[0].rivals[1], (b" tak".to_vec(), -5.843_078_136_444_092));
        assert_eq!((&told[1].bytes[..], told[1].logprob), (&[138_u8][..], -6.25));
    }

    #[test]
    fn vllm_tells_no_ids_and_its_stop_reason() {
        let body = br#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m",
            "choices":[{"index":0,"message":{"role":"assistant","reasoning_content":null,
              "content":"Hi","tool_calls":[]},
            "logprobs":{"content":[{"token":"Hi","logprob":-0.125,"bytes":[72,105],
              "top_logprobs":[{"token":"Hi","logprob":-0.125,"bytes":[72,105]},
                {"token":"Hello","logprob":-2.5,"bytes":[72,101,108,108,111]}]},
              {"token":"<|im_end|>","logprob":-0.5,"bytes":null,"top_logprobs":[]}]},
            "finish_reason":"stop","stop_reason":null}],
            "usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2},"prompt_logprobs":null}"#;
        let told = read(body);
        assert_eq!((told.len(), told[0].logprob, told[0].rivals.len()), (2, -0.125, 2));
        assert_eq!(told[1].bytes, b"<|im_end|>", "its text, where no bytes are told");
    }

    #[test]
    fn what_is_not_told_or_broken_is_nothing() {
        for body in [
            r#"{"choices":[{"message":{"content":"a"},"logprobs":null}]}"#,
            r#"{"choices":[{"message":{"content":"a"}}]}"#,
            r#"{"choices":[{"logprobs":{"content":[{"token":"a","logprob":null}]}}]}"#,
            r#"{"choices":[{"logprobs":{"content":[{"token":"a","bytes":[999],"logprob":-1}]}}]}"#,
            "garbage",
        ] {
            assert_eq!(read(body.as_bytes()), [], "{body}");
        }
    }
}

//! Streams in the shapes that engines and vendors send, and what is to be read out of them.

use crate::Dialect;

/// How a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Finished,
    Truncated,
    /// The upstream's own error, with the status it names.
    Upstream(Option<u16>),
    Garbage,
}

/// One stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fixture {
    pub(super) name: &'static str,
    pub(super) dialect: Dialect,
    pub(super) stream: &'static str,
    /// Text and reasoning that the client is to see, joined.
    pub(super) text: &'static str,
    pub(super) usage: Option<[u64; 6]>,
    pub(super) end: End,
}

const fn openai(
    name: &'static str,
    stream: &'static str,
    text: &'static str,
    usage: Option<[u64; 6]>,
    end: End,
) -> Fixture {
    Fixture { name, dialect: Dialect::Openai, stream, text, usage, end }
}

const fn anthropic(
    name: &'static str,
    stream: &'static str,
    text: &'static str,
    usage: Option<[u64; 6]>,
    end: End,
) -> Fixture {
    Fixture { name, dialect: Dialect::Anthropic, stream, text, usage, end }
}

const fn ollama(
    name: &'static str,
    stream: &'static str,
    text: &'static str,
    usage: Option<[u64; 6]>,
    end: End,
) -> Fixture {
    Fixture { name, dialect: Dialect::Ollama, stream, text, usage, end }
}

pub(super) const ALL: &[&[Fixture]] = &[OPENAI, VENDORS, OPENAI_FAILURES, ANTHROPIC, OLLAMA];

const OPENAI: &[Fixture] = &[
    openai(
        "llama.cpp",
        r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1790000000,"id":"chatcmpl-aa","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"The sky"}}],"created":1790000000,"id":"chatcmpl-aa","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk","timings":{"cache_n":24,"prompt_n":9,"prompt_ms":3.2,"predicted_n":2,"predicted_ms":1.1}}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" \"is\" \u00fcber\n😀"}}],"created":1790000000,"id":"chatcmpl-aa","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk","timings":{"cache_n":24,"prompt_n":9,"prompt_ms":3.2,"predicted_n":7,"predicted_ms":4.1}}

data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"created":1790000000,"id":"chatcmpl-aa","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk"}

data: {"choices":[],"created":1790000000,"id":"chatcmpl-aa","model":"tiny","system_fingerprint":"b0-unknown","object":"chat.completion.chunk","usage":{"completion_tokens":8,"prompt_tokens":33,"total_tokens":41,"prompt_tokens_details":{"cached_tokens":24}},"timings":{"cache_n":24,"prompt_n":9,"predicted_n":8}}

data: [DONE]

"#,
        "The sky \"is\" über\n😀",
        Some([9, 24, 0, 0, 8, 0]),
        End::Finished,
    ),
    openai(
        "vllm, running usage",
        r#"data: {"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"relay-tiny","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"usage":{"prompt_tokens":12,"total_tokens":12,"completion_tokens":0}}

data: {"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"relay-tiny","choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":12,"total_tokens":13,"completion_tokens":1}}

data: {"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"relay-tiny","choices":[{"index":0,"delta":{"content":"b"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}],"usage":{"prompt_tokens":12,"total_tokens":14,"completion_tokens":2}}

data: {"id":"chatcmpl-v","object":"chat.completion.chunk","created":1,"model":"relay-tiny","choices":[],"usage":{"prompt_tokens":12,"total_tokens":14,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}

data: [DONE]

"#,
        "ab",
        Some([8, 4, 0, 0, 2, 0]),
        End::Finished,
    ),
    openai(
        "usage null until the end",
        r#"data: {"id":"c","object":"chat.completion.chunk","model":"gpt","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"finish_reason":null}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","model":"gpt","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null,"obfuscation":"x7"}

data: {"id":"c","object":"chat.completion.chunk","model":"gpt","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}

data: {"id":"c","object":"chat.completion.chunk","model":"gpt","choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":6,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}

data: [DONE]

"#,
        "Hi",
        Some([19, 0, 0, 0, 4, 6]),
        End::Finished,
    ),
    openai(
        "azure's filter results first",
        r#"data: {"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]}

data: {"choices":[{"content_filter_results":{},"delta":{"content":"","refusal":null,"role":"assistant"},"finish_reason":null,"index":0,"logprobs":null}],"created":1,"id":"az","model":"gpt-4o-2024","object":"chat.completion.chunk","system_fingerprint":"fp"}

data: {"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":"Hello"},"finish_reason":null,"index":0,"logprobs":null}],"created":1,"id":"az","model":"gpt-4o-2024","object":"chat.completion.chunk"}

data: {"choices":[{"content_filter_results":{},"delta":{},"finish_reason":"stop","index":0,"logprobs":null}],"created":1,"id":"az","model":"gpt-4o-2024","object":"chat.completion.chunk"}

data: {"choices":[],"created":1,"id":"az","model":"gpt-4o-2024","object":"chat.completion.chunk","usage":{"completion_tokens":1,"prompt_tokens":8,"total_tokens":9}}

data: [DONE]

"#,
        "Hello",
        Some([8, 0, 0, 0, 1, 0]),
        End::Finished,
    ),
    openai(
        "usage beside the last choice",
        "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\ndata: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1,\"total_tokens\":6}}\n\ndata: [DONE]\n\n",
        "x",
        Some([5, 0, 0, 0, 1, 0]),
        End::Finished,
    ),
    openai(
        "cumulative usage in every chunk",
        "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1}}\n\ndata: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\"}}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"z\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
        "xyz",
        Some([5, 0, 0, 0, 3, 0]),
        End::Finished,
    ),
    openai(
        "usage that is zero",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":0,\"completion_tokens\":0,\"total_tokens\":0}}\n\ndata: [DONE]\n\n",
        "x",
        Some([0; 6]),
        End::Finished,
    ),
    openai(
        "no usage at all",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "usage after the end marker",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":1}}\n\n",
        "x",
        Some([2, 0, 0, 0, 1, 0]),
        End::Finished,
    ),
    openai(
        "closed after the finish reason",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "last event without its blank line",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"y\"},\"finish_reason\":\"stop\"}]}",
        "xy",
        None,
        End::Finished,
    ),
    openai(
        "carriage returns",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\r\n\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\r\rdata: [DONE]\r\n\r\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "comments, ids and data over several lines",
        ": keep-alive\n\nid: 7\nretry: 100\ndata:{\"choices\":\ndata: [{\"index\":0,\ndata: \"delta\":{\"content\":\"x\"}}]}\n\n: keep-alive\n\nevent: message\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "a byte order mark",
        "\u{feff}data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "two choices",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"y\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":2,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n",
        "xy",
        Some([2, 0, 0, 0, 2, 0]),
        End::Finished,
    ),
    openai(
        "two choices that report one by one, as llama.cpp's do",
        r#"data: {"choices":[{"finish_reason":null,"index":1,"delta":{"role":"assistant","content":null}}],"model":"relay-tiny"}

data: {"choices":[{"finish_reason":null,"index":1,"delta":{"content":"utor"}}],"model":"relay-tiny"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"model":"relay-tiny"}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"utor"}}],"model":"relay-tiny"}

data: {"choices":[{"finish_reason":null,"index":1,"delta":{"content":" sh"}}],"model":"relay-tiny"}

data: {"choices":[{"finish_reason":"length","index":1,"delta":{}}],"model":"relay-tiny"}

data: {"choices":[],"model":"relay-tiny","usage":{"completion_tokens":2,"prompt_tokens":20,"total_tokens":22,"prompt_tokens_details":{"cached_tokens":19}},"timings":{"cache_n":19,"prompt_n":1,"predicted_n":2}}

data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" x"}}],"model":"relay-tiny"}

data: {"choices":[{"finish_reason":"length","index":0,"delta":{}}],"model":"relay-tiny"}

data: {"choices":[],"model":"relay-tiny","usage":{"completion_tokens":3,"prompt_tokens":20,"total_tokens":23,"prompt_tokens_details":{"cached_tokens":19}},"timings":{"cache_n":19,"prompt_n":1,"predicted_n":3}}

data: [DONE]

"#,
        "utorutor sh x",
        Some([1, 19, 0, 0, 5, 0]),
        End::Finished,
    ),
    openai(
        "a tool call in pieces",
        r#"data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]},"finish_reason":null}]}

data: {"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]},"finish_reason":null}]}

data: {"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":" \"Gen\u00e8ve\"}"}}]},"finish_reason":null}]}

data: {"model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"time","arguments":"{}"}}]},"finish_reason":null}]}

data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}

data: {"model":"m","choices":[],"usage":{"prompt_tokens":50,"completion_tokens":20,"total_tokens":70}}

data: [DONE]

"#,
        "",
        Some([50, 0, 0, 0, 20, 0]),
        End::Finished,
    ),
    openai(
        "reasoning_content before content",
        r#"data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"Hm, "}}]}

data: {"model":"m","choices":[{"index":0,"delta":{"content":null,"reasoning_content":"yes."}}]}

data: {"model":"m","choices":[{"index":0,"delta":{"content":"Yes","reasoning_content":null},"finish_reason":null}]}

data: {"model":"m","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":9,"total_tokens":13,"prompt_cache_hit_tokens":1,"prompt_cache_miss_tokens":3,"completion_tokens_details":{"reasoning_tokens":6}}}

data: [DONE]

"#,
        "Hm, yes.Yes",
        Some([3, 1, 0, 0, 3, 6]),
        End::Finished,
    ),
    openai(
        "both spellings of reasoning at once",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning\":\"Hm\",\"reasoning_content\":\"Hm\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "Hmx",
        None,
        End::Finished,
    ),
];

const VENDORS: &[Fixture] = &[
    openai(
        "usage inside a choice",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":8,\"completion_tokens\":2,\"total_tokens\":10,\"cached_tokens\":3}}]}\n\ndata: [DONE]\n\n",
        "x",
        Some([5, 3, 0, 0, 2, 0]),
        End::Finished,
    ),
    openai(
        "usage in x_groq",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":null}],\"x_groq\":{\"id\":\"req\"}}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"x_groq\":{\"id\":\"req\",\"usage\":{\"queue_time\":0.01,\"prompt_tokens\":18,\"completion_tokens\":3,\"total_tokens\":21}}}\n\ndata: [DONE]\n\n",
        "x",
        Some([18, 0, 0, 0, 3, 0]),
        End::Finished,
    ),
    openai(
        "reasoning counted beside the completion",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":1,\"total_tokens\":111,\"completion_tokens_details\":{\"reasoning_tokens\":100}}}\n\ndata: [DONE]\n\n",
        "x",
        Some([10, 0, 0, 0, 1, 100]),
        End::Finished,
    ),
    openai(
        "content as a list of parts",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"text\",\"text\":\"y\"}]}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "xy",
        None,
        End::Finished,
    ),
    openai(
        "a sign of life without choices",
        "data: {\"type\":\"ping\"}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "counts that cannot be",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":1e30}}\n\ndata: [DONE]\n\n",
        "x",
        None,
        End::Finished,
    ),
    openai(
        "a refusal",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":null,\"refusal\":\"I can't\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\ndata: [DONE]\n\n",
        "I can't",
        None,
        End::Finished,
    ),
];

const OPENAI_FAILURES: &[Fixture] = &[
    openai(
        "an error as the first event",
        "data: {\"error\":{\"message\":\"context too long\",\"type\":\"invalid_request_error\",\"code\":400}}\n\n",
        "",
        None,
        End::Upstream(Some(400)),
    ),
    openai(
        "vllm's error object, then the end marker",
        "data: {\"object\":\"error\",\"message\":\"engine died\",\"type\":\"InternalServerError\",\"param\":null,\"code\":500}\n\ndata: [DONE]\n\n",
        "",
        None,
        End::Upstream(Some(500)),
    ),
    openai(
        "a code in words",
        "data: {\"error\":{\"message\":\"slow down\",\"type\":\"\",\"code\":\"rate_limit_exceeded\"}}\n\n",
        "",
        None,
        End::Upstream(Some(429)),
    ),
    openai(
        "an error as text",
        "data: {\"error\":\"model not loaded\"}\n\n",
        "",
        None,
        End::Upstream(None),
    ),
    openai(
        "an event named error",
        "event: error\ndata: {\"message\":\"overloaded\",\"code\":\"503\"}\n\n",
        "",
        None,
        End::Upstream(Some(503)),
    ),
    openai(
        "an error field as old llama.cpp servers send it",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\nerror: {\"code\":500,\"message\":\"out of memory\",\"type\":\"server_error\"}\n\n",
        "x",
        None,
        End::Upstream(Some(500)),
    ),
    openai(
        "a body instead of a stream",
        "{\"error\":{\"message\":\"Loading model\",\"type\":\"unavailable_error\",\"code\":503}}",
        "",
        None,
        End::Upstream(Some(503)),
    ),
    openai(
        "an error in the middle, with a null beside it",
        "data: {\"error\":null,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":{\"message\":\"died\",\"code\":502},\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"},\"finish_reason\":\"error\"}]}\n\n",
        "x",
        None,
        End::Upstream(Some(502)),
    ),
    openai(
        "cut in the middle",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"del",
        "x",
        None,
        End::Truncated,
    ),
    openai("nothing", "", "", None, End::Truncated),
    openai("nothing but an end", "data: [DONE]\n\n", "", None, End::Truncated),
    openai(
        "only roles",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "",
        None,
        End::Truncated,
    ),
    openai(
        "one of two choices finished",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}},{\"index\":1,\"delta\":{\"content\":\"y\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "xy",
        None,
        End::Truncated,
    ),
    openai(
        "a page",
        "<!DOCTYPE html><html><body>Sign in to the network</body></html>",
        "",
        None,
        End::Garbage,
    ),
    openai("a sentence", "Bad gateway\n\n", "", None, End::Garbage),
    openai("broken JSON", "data: {\"choices\":[{]}\n\n", "", None, End::Garbage),
    openai("no object", "data: 42\n\n", "", None, End::Garbage),
];

const ANTHROPIC: &[Fixture] = &[
    anthropic(
        "a text",
        r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant","model":"claude-x","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":24,"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard"}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: ping
data: {"type": "ping"}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" w\u00f6rld"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#,
        "Hello wörld",
        Some([9, 24, 0, 0, 15, 0]),
        End::Finished,
    ),
    anthropic(
        "cache writes of both lives",
        r#"event: message_start
data: {"type":"message_start","message":{"id":"m","model":"claude-x","content":[],"usage":{"input_tokens":3,"cache_creation_input_tokens":300,"cache_read_input_tokens":0,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":2}}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"input_tokens":3,"cache_creation_input_tokens":300,"cache_read_input_tokens":0,"output_tokens":7}}

event: message_stop
data: {"type":"message_stop"}

"#,
        "x",
        Some([3, 0, 100, 200, 7, 0]),
        End::Finished,
    ),
    anthropic(
        "thinking, then a tool call",
        r#"event: message_start
data: {"type":"message_start","message":{"id":"m","model":"claude-x","content":[],"usage":{"input_tokens":5,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Let me see"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"city\":\"Bern\"}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":40}}

event: message_stop
data: {"type":"message_stop"}

"#,
        "Let me see",
        Some([5, 0, 0, 0, 40, 0]),
        End::Finished,
    ),
    anthropic(
        "a stop sequence, usage in a delta of its own",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"content\":[]}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":null},\"usage\":{\"output_tokens\":3}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"},\"usage\":{\"input_tokens\":6,\"output_tokens\":4}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        "x",
        Some([6, 0, 0, 0, 4, 0]),
        End::Finished,
    ),
    anthropic(
        "names left out, lines of another kind",
        ": hi\ndata:{\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"content\":[],\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\r\n\r\ndata:{\"type\":\"content_block_delta\",\"index\":0,\ndata:\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\r\n\r\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\ndata: {\"type\":\"message_stop\"}\n\n",
        "x",
        Some([1, 0, 0, 0, 2, 0]),
        End::Finished,
    ),
    anthropic(
        "overloaded before anything",
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
        "",
        None,
        End::Upstream(Some(503)),
    ),
    anthropic(
        "an error after some text",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Internal\"}}\n\n",
        "x",
        None,
        End::Upstream(Some(500)),
    ),
    anthropic(
        "cut before the stop",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "x",
        None,
        End::Truncated,
    ),
    anthropic(
        "a body instead of a stream",
        "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"invalid x-api-key\"}}",
        "",
        None,
        End::Upstream(Some(401)),
    ),
];

const OLLAMA: &[Fixture] = &[
    ollama(
        "a text",
        r#"{"model":"gpt-oss:20b","created_at":"2026-11-22T10:00:00.1Z","message":{"role":"assistant","content":"The"},"done":false}
{"model":"gpt-oss:20b","created_at":"2026-11-22T10:00:00.2Z","message":{"role":"assistant","content":" sky \u00fc"},"done":false}
{"model":"gpt-oss:20b","created_at":"2026-11-22T10:00:00.3Z","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"total_duration":4883583458,"load_duration":1334875,"prompt_eval_count":26,"prompt_eval_duration":342546000,"eval_count":282,"eval_duration":4535599000}
"#,
        "The sky ü",
        Some([26, 0, 0, 0, 282, 0]),
        End::Finished,
    ),
    ollama(
        "thinking and a tool call",
        r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"","thinking":"Hm"},"done":false}
{"model":"m","created_at":"t","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"weather","arguments":{"city":"Z\u00fcrich","days":3}}}]},"done":false}
{"model":"m","created_at":"t","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","eval_count":12}
"#,
        "Hm",
        Some([0, 0, 0, 0, 12, 0]),
        End::Finished,
    ),
    ollama(
        "no line end at the end, blank lines between",
        "\n{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\r\n\n{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"length\",\"prompt_eval_count\":0,\"eval_count\":0}",
        "x",
        Some([0; 6]),
        End::Finished,
    ),
    ollama(
        "an error in the middle",
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\n{\"error\":\"an error was encountered while running the model\"}\n",
        "x",
        None,
        End::Upstream(None),
    ),
    ollama(
        "cut before the last line",
        "{\"model\":\"m\",\"message\":{\"role\":\"assistant\",\"content\":\"x\"},\"done\":false}\n",
        "x",
        None,
        End::Truncated,
    ),
    ollama("a page", "<html>\n<body>\n", "", None, End::Garbage),
];

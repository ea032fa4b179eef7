//! Reports of every vendor as disjoint meters.

use super::*;

fn tally(dialect: Dialect, reports: &[&str]) -> Tally {
    let mut tally = Tally::default();
    for report in reports {
        tally.usage(dialect, Raw::trusted(report));
    }
    tally
}

fn meters(read: [u64; 6]) -> Meters {
    let [in_uncached, in_cache_read, in_cache_write_5m, in_cache_write_1h, out_text, out_reasoning] =
        read;
    Meters {
        in_uncached,
        in_cache_read,
        in_cache_write_5m,
        in_cache_write_1h,
        out_text,
        out_reasoning,
    }
}

#[test]
fn vendors_shapes_become_disjoint_meters() {
    use Dialect::{Anthropic, Ollama, Openai};
    let cases: &[(Dialect, &[&str], [u64; 6])] = &[
        (
            Openai,
            &[r#"{"prompt_tokens":33,"completion_tokens":24,"total_tokens":57}"#],
            [33, 0, 0, 0, 24, 0],
        ),
        (
            Openai,
            &[
                r#"{"prompt_tokens":33,"completion_tokens":24,"prompt_tokens_details":{"cached_tokens":24}}"#,
            ],
            [9, 24, 0, 0, 24, 0],
        ),
        (
            Openai,
            &[
                r#"{"prompt_tokens":10,"completion_tokens":30,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":20}}"#,
            ],
            [10, 0, 0, 0, 10, 20],
        ),
        // Reasoning beside the completion: only the total shows it.
        (
            Openai,
            &[
                r#"{"prompt_tokens":10,"completion_tokens":30,"total_tokens":60,"completion_tokens_details":{"reasoning_tokens":20}}"#,
            ],
            [10, 0, 0, 0, 30, 20],
        ),
        (
            Openai,
            &[
                r#"{"prompt_tokens":10,"completion_tokens":3,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6}"#,
            ],
            [6, 4, 0, 0, 3, 0],
        ),
        (
            Openai,
            &[r#"{"prompt_tokens":10,"completion_tokens":3,"cached_tokens":8}"#],
            [2, 8, 0, 0, 3, 0],
        ),
        (
            Openai,
            &[
                r#"{"prompt_tokens":10,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":5}}"#,
            ],
            [3, 2, 5, 0, 3, 0],
        ),
        // Running reports without details, a last one with them.
        (
            Openai,
            &[
                r#"{"prompt_tokens":100,"completion_tokens":1}"#,
                r#"{"prompt_tokens":100,"completion_tokens":2}"#,
                r#"{"prompt_tokens":100,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":60},"completion_tokens_details":{"reasoning_tokens":2}}"#,
            ],
            [40, 60, 0, 0, 1, 2],
        ),
        (Openai, &[r#"{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#], [0; 6]),
        (Openai, &[r#"{"prompt_tokens":7,"completion_tokens":null}"#], [7, 0, 0, 0, 0, 0]),
        (
            Anthropic,
            &[
                r#"{"input_tokens":9,"cache_read_input_tokens":24,"output_tokens":1}"#,
                r#"{"output_tokens":65}"#,
            ],
            [9, 24, 0, 0, 65, 0],
        ),
        (
            Anthropic,
            &[
                r#"{"input_tokens":3,"cache_creation_input_tokens":300,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":4}"#,
            ],
            [3, 0, 100, 200, 4, 0],
        ),
        (
            Anthropic,
            &[r#"{"input_tokens":3,"cache_creation_input_tokens":300,"output_tokens":4}"#],
            [3, 0, 300, 0, 4, 0],
        ),
        (Ollama, &[r#"{"prompt_eval_count":26,"eval_count":298}"#], [26, 0, 0, 0, 298, 0]),
        (Ollama, &[r#"{"eval_count":298}"#], [0, 0, 0, 0, 298, 0]),
    ];
    for (dialect, reports, expected) in cases {
        let tally = tally(*dialect, reports);
        assert_eq!(tally.meters(), Some(meters(*expected)), "{reports:?}");
        assert!(!tally.is_suspect(), "{reports:?}");
    }
}

#[test]
fn what_cannot_be_believed_is_not_counted() {
    for count in ["-1", "1.5", "1e3", "\"12\"", "1099511627776", "99999999999999999999", "true"] {
        let report = format!("{{\"prompt_tokens\":{count},\"completion_tokens\":2}}");
        let tally = tally(Dialect::Openai, &[&report]);
        assert_eq!(tally.meters(), Some(meters([0, 0, 0, 0, 2, 0])), "{count}");
        assert!(tally.is_suspect(), "{count}");
    }
    let odd = r#"{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9},"completion_tokens_details":{"reasoning_tokens":7}}"#;
    let tally = tally(Dialect::Openai, &[odd]);
    assert_eq!(tally.meters(), Some(meters([0, 5, 0, 0, 0, 2])));
    assert!(tally.is_suspect());
}

#[test]
fn nothing_reported_is_not_zero() {
    for report in ["{}", "null", "[]", r#"{"total_tokens":null}"#] {
        assert_eq!(tally(Dialect::Openai, &[report]).meters(), None, "{report}");
    }
}

#[test]
fn running_timings_count_the_cached_prompt_once() {
    let mut tally = Tally::default();
    tally.timings(Raw::trusted(r#"{"cache_n":20,"prompt_n":4,"predicted_n":1}"#));
    tally.timings(Raw::trusted(r#"{"cache_n":20,"prompt_n":4,"predicted_n":7}"#));
    tally.usage(
        Dialect::Openai,
        Raw::trusted(
            r#"{"prompt_tokens":24,"completion_tokens":8,"prompt_tokens_details":{"cached_tokens":20}}"#,
        ),
    );
    assert_eq!(tally.meters(), Some(meters([4, 20, 0, 0, 8, 0])));
}

#[test]
fn what_is_written_reads_back() {
    let full = meters([1, 2, 3, 4, 5, 6]);
    for (dialect, expected) in [
        // The OpenAI format knows neither cache writes nor their split.
        (Dialect::Openai, meters([8, 2, 0, 0, 5, 6])),
        (Dialect::Anthropic, meters([1, 2, 3, 4, 11, 0])),
    ] {
        let mut out = bytes::BytesMut::new();
        let mut object = Object::new(&mut out);
        put(dialect, &full, &mut object);
        object.end();
        let text = std::str::from_utf8(&out).unwrap();
        assert_eq!(tally(dialect, &[text]).meters(), Some(expected), "{text}");
    }
}

//! The scanner against a full parser, over generated and broken documents.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What the scanner says about a document.
fn members(text: &[u8]) -> Option<Vec<(String, Value)>> {
    let mut spans = Vec::new();
    let (whole, is_object) = document(text, &mut spans).ok()?;
    assert!(is_object || spans.is_empty());
    let member = |span: &Span| {
        let key = unescape(&whole[span.key..span.key_end]).into_owned();
        (key, serde_json::from_str(&whole[span.value..span.end]).unwrap())
    };
    Some(spans.iter().map(member).collect())
}

/// The same from a full parse. Later members replace earlier ones of the same key.
fn parsed(text: &[u8]) -> Option<Vec<(String, Value)>> {
    Some(match serde_json::from_slice::<Value>(text).ok()? {
        Value::Object(map) => map.into_iter().collect(),
        _ => Vec::new(),
    })
}

/// Both verdicts agree, and so do the members.
fn check(text: &[u8]) -> Result<(), TestCaseError> {
    let (ours, theirs) = (members(text), parsed(text));
    let shown = String::from_utf8_lossy(text);
    prop_assert_eq!(ours.is_some(), theirs.is_some(), "verdict on {}", shown);
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let mut kept: Vec<(String, Value)> = Vec::new();
        for (key, value) in ours {
            match kept.iter_mut().find(|(known, _)| *known == key) {
                Some((_, old)) => *old = value,
                None => kept.push((key, value)),
            }
        }
        prop_assert_eq!(kept, theirs, "members of {}", shown);
    }
    Ok(())
}

/// Text of a JSON document with odd blanks, escapes and numbers; mostly valid.
fn document_text() -> impl Strategy<Value = String> {
    let blank = prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just("\r ")];
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
        "-?[0-9.eE+-]{1,6}",
    ];
    let piece = prop_oneof![
        "[a-zäß漢😀 /]{0,6}",
        "\\\\[\"\\\\/bfnrtu]",
        "\\\\u[0-9a-fA-F]{4}",
        Just("\\ud83d\\ude00".to_owned()),
        "\\\\ud[89a-f][0-9a-f]{2}",
    ];
    let string =
        prop::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let leaf = prop_oneof![
        2 => number,
        4 => string.clone(),
        1 => prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let space = blank.clone();
        let member = (string.clone(), space.clone(), inner.clone())
            .prop_map(|(key, space, value)| format!("{key}{space}:{space}{value}"));
        prop_oneof![
            (prop::collection::vec(inner, 0..5), space.clone())
                .prop_map(|(list, space)| format!("[{space}{}]", list.join(&format!("{space},")))),
            (prop::collection::vec(member, 0..5), space).prop_map(|(list, space)| format!(
                "{space}{{{}{space}}}",
                list.join(&format!(",{space}"))
            )),
        ]
    })
}

/// Damage done to a document: a byte replaced, put in or taken out, or the end cut off.
fn broken(text: &[u8], at: usize, byte: u8, what: u8) -> Vec<u8> {
    let mut bytes = text.to_vec();
    let at = at % bytes.len().max(1);
    match what % 4 {
        _ if bytes.is_empty() => bytes.push(byte),
        0 => bytes[at] = byte,
        1 => bytes.insert(at, b"{}[]\",:\\ue0-. \n"[usize::from(byte) % 15]),
        2 => drop(bytes.remove(at)),
        _ => bytes.truncate(at),
    }
    bytes
}

proptest! {
    // 4,000 documents with 9 damaged copies each: 40,000 verdicts.
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn documents_are_judged_as_by_a_full_parser(
        text in document_text(),
        damage in prop::collection::vec(any::<(u16, u8, u8)>(), 9),
    ) {
        check(text.as_bytes())?;
        for (at, byte, what) in damage {
            check(&broken(text.as_bytes(), usize::from(at), byte, what))?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn texts_keep_their_length_and_survive_writing(text in any::<String>()) {
        let mut out = bytes::BytesMut::new();
        put_string(&mut out, &text);
        let literal = std::str::from_utf8(&out).unwrap();
        prop_assert_eq!(&serde_json::from_str::<String>(literal).unwrap(), &text);
        prop_assert_eq!(literal_len(literal), text.len() as u64);
        prop_assert_eq!(unescape(literal), text.as_str());
    }

    #[test]
    fn escaped_texts_have_the_length_of_what_they_mean(text in any::<String>()) {
        let units: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let literal = format!("\"{units}\"");
        prop_assert_eq!(literal_len(&literal), text.len() as u64);
        prop_assert_eq!(unescape(&literal), text.as_str());
    }

    #[test]
    fn reading_agrees_with_a_full_parser(text in document_text()) {
        let mut spans = Vec::new();
        if let Ok((whole, _)) = document(text.as_bytes(), &mut spans) {
            let value: Value = serde_json::from_str(whole).unwrap();
            same(Raw::trusted(whole.trim()), &value)?;
        }
    }
}

fn same(raw: Raw<'_>, value: &Value) -> Result<(), TestCaseError> {
    match value {
        Value::Null => prop_assert!(raw.is_null()),
        Value::Bool(flag) => prop_assert_eq!(raw.bool(), Some(*flag)),
        Value::Number(number) => prop_assert_eq!(
            raw.integer(),
            number
                .as_i64()
                .filter(|_| { !raw.text().contains(['.', 'e', 'E']) })
                .or_else(|| raw.integer())
        ),
        Value::String(text) => prop_assert_eq!(raw.string().unwrap(), text.as_str()),
        Value::Array(list) => {
            let elements: Vec<Raw<'_>> = raw.elements().collect();
            prop_assert_eq!(elements.len(), list.len());
            for (element, value) in elements.into_iter().zip(list) {
                same(element, value)?;
            }
        }
        Value::Object(map) => {
            for member in raw.members() {
                prop_assert!(map.contains_key(member.key().as_ref()));
                prop_assert!(member.is(&member.key()));
            }
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                same(raw.get(key).unwrap(), value)?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_depth_limit_is_the_parsers() {
    for depth in [126, 127, 128, 129, 10_000] {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            check(text.as_bytes()).unwrap();
            assert_eq!(members(text.as_bytes()).is_some(), depth <= 127, "{depth}");
        }
    }
}

#[test]
fn flaws_name_the_place() {
    for (text, at) in [
        ("", 0),
        ("{\"a\":01}", 6),
        ("{\"a\":1}x", 7),
        ("{\"a\" 1}", 5),
        ("[1,]", 3),
        ("{\"a\":1,}", 7),
        ("\"\u{1}\"", 1),
        ("{\"a\":\"\\ud800\"}", 6),
        ("[1e999]", 1),
    ] {
        assert_eq!(document(text.as_bytes(), &mut Vec::new()).unwrap_err().at, at, "{text:?}");
        assert!(parsed(text.as_bytes()).is_none());
    }
    assert_eq!(document(b"{\"a\":\"\xff\"}", &mut Vec::new()).unwrap_err().at, 6);
}

#[test]
fn numbers_at_the_edge_of_floats_are_judged_as_by_a_full_parser() {
    let long = "9".repeat(308);
    let longer = "9".repeat(310);
    for text in [
        "1e308",
        "1e309",
        "-1e309",
        "0e999",
        "0.1e309",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e-999",
        "1e99999999999999999999",
        "0e99999999999999999999",
        long.as_str(),
        longer.as_str(),
        "1E400",
        "-0",
        "-",
        "1.",
        ".5",
        "+1",
        "0x1",
        "1e",
        "1e+",
        "Infinity",
        "NaN",
    ] {
        check(text.as_bytes()).unwrap();
    }
}

//! Our own count of tokens beside llama.cpp's.

use std::io::Write as _;
use std::process::{Command, Stdio};

use relay_tests::{Llama, binary, client, engines_dir, repository};
use serde_json::{Value, json};

/// What a tokenizer cuts in its own way: spaces, digits, scripts, marks, code, broken words.
const HARD: [&str; 16] = [
    "",
    " ",
    "Hello, world!",
    "  two  spaces   three",
    "tabs\tand\nlines\n\n\nand\r\nreturns",
    "don't we'll I'm they've it'd you're",
    "DON'T WE'LL",
    "12345 3.14159 1,000,000 0x1f",
    "naïve café Ångström straße",
    "日本語のテキスト 中文 한국어",
    "Привет мир שלום مرحبا",
    "🙂🙂 👨‍👩‍👧‍👦 e\u{301}",
    "fn main() { println!(\"{:?}\", vec![1, 2, 3]); }",
    "{\"a\": [1, 2.5e-3, null], \"b\": \"\\\\n\"}",
    "<|im_start|>user\nhi<|im_end|>\n",
    "trailing space ",
];

fn ours(model: &str, text: &str) -> u64 {
    let source = format!("gguf:{}", engines_dir().unwrap().join(model).display());
    let mut child = Command::new(binary("relayd").unwrap())
        .args(["tokens", &source])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

async fn theirs(llama: &Llama, text: &str) -> u64 {
    let body = json!({"content": text, "add_special": false, "parse_special": true}).to_string();
    let request = client().unwrap().post(format!("{}/tokenize", llama.url));
    let request = request.header("content-type", "application/json").body(body);
    let answer = request.send().await.unwrap().text().await.unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["tokens"].as_array().unwrap().len() as u64
}

#[tokio::test]
async fn our_counts_are_llama_cpps() {
    let llama = Llama::start().unwrap();
    let mut corpus: Vec<String> = HARD.iter().map(|text| (*text).to_owned()).collect();
    for file in ["README.md", "LICENSE", "relayd/src/tokenizer/local.rs", "Cargo.lock"] {
        corpus.push(std::fs::read_to_string(repository().join(file)).unwrap());
    }
    for text in &corpus {
        let shown: String = text.chars().take(60).collect();
        assert_eq!(ours("models/relay-tiny.gguf", text), theirs(&llama, text).await, "{shown:?}");
    }
}

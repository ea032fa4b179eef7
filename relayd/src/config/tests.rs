//! The shipped file is the default, and every mistake is told with its place.

use std::collections::BTreeMap;

use super::{Config, load_text};

const SHIPPED: &str = include_str!("../../../config/relayd.toml");

fn refusal(text: &str) -> String {
    load_text("relayd.toml", text, &BTreeMap::new()).unwrap_err().to_string()
}

#[test]
fn the_shipped_file_says_the_defaults() {
    let shipped = load_text("relayd.toml", SHIPPED, &BTreeMap::new()).unwrap();
    assert_eq!(format!("{shipped:?}"), format!("{:?}", Config::default()));
}

#[test]
fn the_commented_keys_of_the_shipped_file_exist() {
    let mut text = String::new();
    for line in SHIPPED.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_key = bare.starts_with('[')
            || bare.split_once(" = ").is_some_and(|(key, value)| {
                key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') && !value.ends_with(',')
            });
        text += if is_key { bare } else { line };
        text.push('\n');
    }
    // Everything deserialises; only the files that the example names are missing.
    let error = refusal(&text);
    assert!(error.contains("cannot read /etc/relay/public.crt"), "{error}");
}

#[test]
fn mistakes_name_the_line() {
    let cases = [
        ("name = \"a\"\nnmae = 3\n", "relayd.toml:2: unknown field `nmae`"),
        ("[http]\n\nmax_body_mib = \"x\"\n", "relayd.toml:3: invalid type"),
        ("[http]\nmax_body_mib = 0\n", "relayd.toml:2: http.max_body_mib: expected 1 to 256"),
        ("[chat]\nidle_timeout = \"soon\"\n", "relayd.toml:2: 'soon' is not a duration"),
        (
            "[listener.admin]\nlisten = \"0.0.0.0:8701\"\n",
            "relayd.toml:2: listener.admin.listen: off loopback",
        ),
        (
            "[listener.admin]\nlisten = \"127.0.0.1:8700\"\n",
            "relayd.toml:2: listener.admin.listen: 127.0.0.1:8700 is taken by listener.public.0.listen",
        ),
        (
            "[[listener.public]]\nlisten = \"127.0.0.1:1\"\n[[listener.public]]\nlisten = \"127.0.0.1:1\"\n",
            "relayd.toml:4: listener.public.1.listen: 127.0.0.1:1 is taken",
        ),
        (
            "[store]\nkind = \"postgres\"\n",
            "relayd.toml:1: store.url_file: kind = \"postgres\" needs",
        ),
        (
            "[identity]\npepper_files = [\"/dev/null\"]\n",
            "relayd.toml:2: identity.pepper_files: cannot use the secret in /dev/null: the file is empty",
        ),
        (
            "[http]\ntrusted_proxies = [\"10.0.0.0/33\"]\n",
            "relayd.toml:2: http.trusted_proxies: '10.0.0.0/33'",
        ),
        ("[http]\ncors_headers = [\"x tenant\"]\n", "relayd.toml:2: http.cors_headers: 'x tenant'"),
        (
            "[http]\nhosts = [\"relay.example.com:443\"]\n",
            "relayd.toml:2: http.hosts: 'relay.example.com:443'",
        ),
        (
            "[http]\ncors_origins = [\"https://a/b\"]\n",
            "relayd.toml:2: http.cors_origins: 'https://a/b'",
        ),
        (
            "[gpu]\nnvml_library = \"/nowhere/libnvidia-ml.so.1\"\n",
            "relayd.toml:2: gpu.nvml_library: cannot read /nowhere/libnvidia-ml.so.1",
        ),
        ("[gpu]\nnvml_library = \"\"\n", "relayd.toml:2: gpu.nvml_library: expected a path or"),
        ("[gpu]\nenabled = \"auto\"\n", "relayd.toml:2: invalid type"),
        ("[gpu]\nnvml = \"x\"\n", "relayd.toml:2: unknown field `nvml`"),
        ("= 3", "relayd.toml:1: "),
    ];
    for (text, expected) in cases {
        let error = refusal(text);
        assert!(error.starts_with(expected), "{text:?}\n  says {error}\n  not  {expected}");
    }
}

#[test]
fn the_environment_overrides_and_is_named_when_wrong() {
    let set = |pairs: &[(&str, &str)]| {
        let environment =
            pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        load_text("relayd.toml", "[http]\nmax_body_mib = 3\n", &environment)
    };
    let config = set(&[
        ("RELAY__HTTP__MAX_BODY_MIB", "7"),
        ("RELAY__LISTENER__OPS__LISTEN", "127.0.0.1:9"),
        ("RELAY_OPERATOR_TOKEN", "not a key of the configuration"),
    ])
    .unwrap();
    assert_eq!(config.http.max_body_mib, 7);
    assert_eq!(config.listener.ops.listen.port(), 9);
    let error = set(&[("RELAY__HTTP__MAX_BODY", "7")]).unwrap_err().to_string();
    assert!(error.starts_with("RELAY__HTTP__MAX_BODY: unknown field"), "{error}");
}

//! What no log and no answer may hold: every key and token of the suite's daemons, and a canary
//! that every prompt carries. The harness looks for them in all it reads.

use std::sync::{Mutex, PoisonError};

use anyhow::ensure;

/// A word of every prompt that the harness writes.
pub const CANARY: &str = "canary-5b1e7d0c";

/// Those of this process.
static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Looks for this one too from now on.
pub fn keep_secret(secret: &str) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if !secret.is_empty() && !kept.iter().any(|known| known == secret) {
        kept.push(secret.to_owned());
    }
}

/// Refuses a text that holds one.
///
/// # Errors
/// Which secret, and the line that holds it.
pub(crate) fn check(what: &str, text: &str) -> anyhow::Result<()> {
    let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    for secret in kept.iter().map(String::as_str).chain([CANARY]) {
        let line = text.lines().find(|line| line.contains(secret));
        ensure!(line.is_none(), "{what} holds the secret {secret}: {}", line.unwrap_or_default());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_secret_and_the_canary_are_found() {
        assert!(check("a text", "relay_sk_0001").is_ok());
        keep_secret("relay_sk_0001");
        let error = check("a text", "one\nkey=relay_sk_0001;\n").unwrap_err().to_string();
        assert_eq!(error, "a text holds the secret relay_sk_0001: key=relay_sk_0001;");
        assert!(check("a text", &format!("said {CANARY}")).is_err());
        assert!(check("a text", "relay_sk_0002").is_ok());
    }
}

//! Revisions of a model: which backends serve it, under which of their names, with which defaults.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{BackendId, FieldError};

/// Most targets of one revision: as many replicas of one model as one relay is asked to drive.
pub const TARGETS_MAX: usize = 256;

/// Longest name that an engine has for a model, in bytes.
pub const UPSTREAM_MAX_BYTES: usize = 256;

/// Longest note on a revision, in characters: one line of a screen.
pub const REVISION_NOTE_MAX_CHARS: usize = 200;

/// Largest default of the output cap that a revision may set, in tokens.
const MAX_TOKENS_MAX: u32 = 1_000_000;

/// Largest temperature, in thousandths.
const TEMPERATURE_MAX_MILLI: u32 = 2_000;

/// Where a revision runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionTarget {
    /// The backend.
    pub backend: BackendId,
    /// What its engine calls the model of this revision.
    pub upstream: String,
}

/// What relayd says to the engine where the client said nothing: a closed set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionParameters {
    /// Temperature in thousandths, 0 to 2000.
    pub temperature_milli: Option<u32>,
    /// Nucleus in thousandths, 1 to 1000.
    pub top_p_milli: Option<u32>,
    /// Tokens an answer may have, 1 to 1,000,000; never above what the model allows.
    pub max_tokens: Option<u32>,
}

impl RevisionParameters {
    /// Whether it says anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is out of bounds.
    #[must_use]
    pub fn check(&self) -> Vec<FieldError> {
        let bounds = [
            ("temperature_milli", self.temperature_milli, 0, TEMPERATURE_MAX_MILLI),
            ("top_p_milli", self.top_p_milli, 1, 1_000),
            ("max_tokens", self.max_tokens, 1, MAX_TOKENS_MAX),
        ];
        let mut wrong = Vec::new();
        for (field, value, least, most) in bounds {
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                wrong.push(FieldError::body(field, "out_of_range", format!("{least} to {most}")));
            }
        }
        wrong
    }
}

/// What is wrong with the targets and the note of a new revision. One that runs on a deployment
/// has no targets by name.
#[must_use]
pub fn check_revision(targets: &[RevisionTarget], deployed: bool, note: &str) -> Vec<FieldError> {
    let mut wrong = Vec::new();
    if deployed != targets.is_empty() || targets.len() > TARGETS_MAX {
        let text = format!("1 to {TARGETS_MAX} targets, or a deployment");
        wrong.push(FieldError::body("targets", "out_of_range", text));
    }
    let mut seen = BTreeSet::new();
    for target in targets {
        if !seen.insert(&target.backend) {
            let text = format!("'{}' is given twice", target.backend);
            wrong.push(FieldError::body("targets", "duplicate", text));
        }
        let name = target.upstream.as_str();
        if name.is_empty() || name.len() > UPSTREAM_MAX_BYTES || name.chars().any(char::is_control)
        {
            let text = format!("'{}': a name of 1 to {UPSTREAM_MAX_BYTES} bytes", target.backend);
            wrong.push(FieldError::body("targets", "upstream", text));
        }
    }
    if note.chars().count() > REVISION_NOTE_MAX_CHARS || note.chars().any(char::is_control) {
        let text = format!("one line of at most {REVISION_NOTE_MAX_CHARS} characters");
        wrong.push(FieldError::body("note", "string_too_long", text));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(backend: &str, upstream: &str) -> RevisionTarget {
        RevisionTarget { backend: backend.parse().unwrap(), upstream: upstream.into() }
    }

    #[test]
    fn a_revision_runs_somewhere_and_nowhere_twice() {
        assert!(check_revision(&[target("a", "m"), target("b", "m")], false, "first").is_empty());
        assert_eq!(check_revision(&[], false, "").len(), 1);
        assert_eq!(check_revision(&[target("a", "m"), target("a", "n")], false, "").len(), 1);
        assert_eq!(check_revision(&[target("a", "")], false, "two\nlines").len(), 2);
        assert!(check_revision(&[], true, "").is_empty(), "whatever instances there are");
        assert_eq!(check_revision(&[target("a", "m")], true, "").len(), 1, "not both");
    }

    #[test]
    fn parameters_have_bounds() {
        let parameters = |temperature, top_p, max_tokens| RevisionParameters {
            temperature_milli: Some(temperature),
            top_p_milli: Some(top_p),
            max_tokens: Some(max_tokens),
        };
        assert!(parameters(0, 1_000, 1).check().is_empty());
        assert_eq!(parameters(2_001, 0, 0).check().len(), 3);
        assert!(RevisionParameters::default().is_empty() && !parameters(0, 1, 1).is_empty());
    }
}

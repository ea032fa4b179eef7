//! Which revision a request gets. Pure: the same key and split give the same answer everywhere.
//!
//! The place of a key on the scale from 0 to 999 is a hash of the rollout's id and the key, and the
//! new revision has the places below its share. So a key that it serves at 5 % it serves at 25 % as
//! well, a rollout after a failed one begins with other keys, and replicas agree without a word.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::domain::{ALL_PERMILLE, BackendId, ModelName, RevisionParameters, RolloutId};
use crate::fleet::Members;
use crate::store::{RevisionRow, Side};

/// How a model is served by one revision.
#[derive(Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub number: u32,
    /// The backends that it runs on.
    pub backends: Arc<Members>,
    upstreams: HashMap<BackendId, String>,
    /// What is said to the engine where the client said nothing.
    pub parameters: RevisionParameters,
}

/// A rollout as far as requests are concerned.
#[derive(Debug, PartialEq, Eq)]
pub struct Split {
    /// The rollout.
    pub rollout: RolloutId,
    /// What samples are kept under.
    pub round: u32,
    /// The new revision.
    pub next: Arc<Revision>,
    /// Its share, in thousandths.
    pub share_permille: u16,
    /// The share of the others' requests that it gets a copy of, in thousandths.
    pub shadow_permille: u16,
}

/// Who serves a model now.
#[derive(Debug, PartialEq, Eq)]
pub struct Serving {
    /// The model.
    pub model: ModelName,
    /// The revision that serves what no rollout takes.
    pub live: Arc<Revision>,
    /// The open rollout.
    pub split: Option<Arc<Split>>,
}

/// The revision that one request got. Kept by the request from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Assignment(Option<Assigned>);

#[derive(Clone, Debug)]
struct Assigned {
    serving: Arc<Serving>,
    side: Side,
    /// A mark of the session that it is a request of; none of a request by itself.
    session: Option<u64>,
}

impl Revision {
    /// A revision from its targets.
    #[must_use]
    pub fn new(row: &RevisionRow) -> Self {
        let mut backends: Vec<_> = row.targets.iter().map(|on| on.backend.clone()).collect();
        backends.sort();
        let deployment = (!row.deployment.is_empty()).then(|| row.deployment.clone());
        let upstreams = row.targets.iter().map(|on| (on.backend.clone(), on.upstream.clone()));
        Self {
            number: row.number,
            backends: Arc::new(Members { backends, deployment }),
            upstreams: upstreams.collect(),
            parameters: row.parameters,
        }
    }
}

impl Serving {
    /// The revision for a request with this key.
    #[must_use]
    pub fn assign(self: &Arc<Self>, key: &[u8]) -> Assignment {
        let taken = self.split.as_ref().is_some_and(|split| {
            split.share_permille >= ALL_PERMILLE
                || place(&split.rollout, "", key) < split.share_permille
        });
        let side = if taken { Side::Next } else { Side::Live };
        Assignment(Some(Assigned { serving: Arc::clone(self), side, session: None }))
    }
}

impl Assignment {
    /// That of a model without revisions: whoever lists it serves it.
    #[must_use]
    pub const fn anybody() -> Self {
        Self(None)
    }

    /// The backends that may serve the request; none is no bound.
    #[must_use]
    pub fn backends(&self) -> Option<&Arc<Members>> {
        self.revision().map(|revision| &revision.backends)
    }

    /// What the engine of a backend calls the model, where the revision says it.
    #[must_use]
    pub fn upstream(&self, backend: &BackendId) -> Option<&str> {
        self.revision()?.upstreams.get(backend).map(String::as_str)
    }

    /// What is said to the engine where the client said nothing.
    #[must_use]
    pub fn parameters(&self) -> RevisionParameters {
        self.revision().map(|revision| revision.parameters).unwrap_or_default()
    }

    /// The revision's number; 0 is none.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.revision().map_or(0, |revision| revision.number)
    }

    /// The running revision, where this is the new one: it takes over what the new one fails.
    #[must_use]
    pub fn fallback(&self) -> Option<Self> {
        let assigned = self.0.as_ref().filter(|assigned| assigned.side == Side::Next)?;
        Some(Self(Some(Assigned { side: Side::Live, ..assigned.clone() })))
    }

    /// The new revision for a copy of a request that the running one got, where this key's
    /// requests are copied.
    #[must_use]
    pub fn shadow(&self, key: &[u8]) -> Option<Self> {
        let assigned = self.0.as_ref().filter(|assigned| assigned.side == Side::Live)?;
        let split = assigned.serving.split.as_ref()?;
        // Not the same hash as for the share: who is copied is independent of who is next to move.
        if place(&split.rollout, "shadow", key) >= split.shadow_permille {
            return None;
        }
        Some(Self(Some(Assigned { side: Side::Shadow, ..assigned.clone() })))
    }

    /// The same for a request that is one of many with its key: they are on one side together, so
    /// that few of them count where sides are compared.
    #[must_use]
    pub fn of_session(mut self, key: &[u8]) -> Self {
        if let Some(assigned) = &mut self.0 {
            assigned.session = Some(head(&Sha256::digest(key)));
        }
        self
    }

    pub(super) fn session(&self) -> Option<u64> {
        self.0.as_ref().and_then(|assigned| assigned.session)
    }

    pub(super) fn told(&self) -> Option<(&Arc<Serving>, Side)> {
        self.0.as_ref().map(|assigned| (&assigned.serving, assigned.side))
    }

    /// One side of a rollout, whatever the key.
    pub(super) fn of(serving: &Arc<Serving>, side: Side) -> Self {
        Self(Some(Assigned { serving: Arc::clone(serving), side, session: None }))
    }

    fn revision(&self) -> Option<&Arc<Revision>> {
        let assigned = self.0.as_ref()?;
        match (assigned.side, &assigned.serving.split) {
            (Side::Next | Side::Shadow, Some(split)) => Some(&split.next),
            _ => Some(&assigned.serving.live),
        }
    }
}

/// The place of a key, 0 to 999.
fn place(rollout: &RolloutId, what: &str, key: &[u8]) -> u16 {
    let mut hash = Sha256::new();
    hash.update(rollout.as_str());
    hash.update([0]);
    hash.update(what);
    hash.update([0]);
    hash.update(key);
    // Of 2^64 values the uneven rest is nothing.
    u16::try_from(head(&hash.finalize()) % u64::from(ALL_PERMILLE)).unwrap_or_default()
}

/// The first eight bytes of a digest.
fn head(digest: &[u8]) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RevisionTarget;

    fn serving(rollout: &str, share: u16, shadow: u16) -> Arc<Serving> {
        let target = |backend: &str, upstream: &str| RevisionTarget {
            backend: backend.parse().unwrap(),
            upstream: upstream.into(),
        };
        let revision = |number, targets: &[RevisionTarget]| {
            Arc::new(Revision::new(&RevisionRow {
                model: "m".parse().unwrap(),
                number,
                note: String::new(),
                targets: targets.to_vec(),
                deployment: String::new(),
                parameters: RevisionParameters::default(),
                created_by: String::new(),
                created_ms: 0,
            }))
        };
        let split = Split {
            rollout: rollout.parse().unwrap(),
            round: 1,
            next: revision(2, &[target("new", "m-2"), target("both", "m-2")]),
            share_permille: share,
            shadow_permille: shadow,
        };
        Arc::new(Serving {
            model: "m".parse().unwrap(),
            live: revision(1, &[target("old", "m"), target("both", "m")]),
            split: Some(Arc::new(split)),
        })
    }

    const ONE: &str = "ro_0000000000000001";

    fn on_next(share: u16, rollout: &str, key: u32) -> bool {
        serving(rollout, share, 0).assign(&key.to_be_bytes()).number() == 2
    }

    #[test]
    fn a_split_is_even_and_only_ever_grows() {
        const KEYS: u32 = 40_000;
        let mut before: Vec<u32> = Vec::new();
        for share in [0, 10, 50, 250, 500, 1_000] {
            let split = serving(ONE, share, 0);
            let taken: Vec<u32> =
                (0..KEYS).filter(|key| split.assign(&key.to_be_bytes()).number() == 2).collect();
            let expected = f64::from(KEYS) * f64::from(share) / 1_000.0;
            #[expect(clippy::cast_precision_loss, reason = "a count of a test")]
            let off = (taken.len() as f64 - expected).abs();
            // Four standard deviations.
            let wide = 4.0 * (expected * (1.0 - f64::from(share) / 1_000.0)).sqrt();
            assert!(off <= wide, "{share}: {} of {KEYS}", taken.len());
            assert!(before.iter().all(|key| taken.binary_search(key).is_ok()), "at {share}");
            before = taken;
        }
    }

    #[test]
    fn a_key_stays_and_another_rollout_begins_with_others() {
        let same = (0..1_000).filter(|key| on_next(100, ONE, *key) && on_next(100, ONE, *key));
        assert!(same.count() > 50);
        let both = (0..10_000)
            .filter(|key| on_next(100, ONE, *key) && on_next(100, "ro_0000000000000002", *key));
        assert!((50..200).contains(&both.count()), "a tenth of a tenth");
    }

    #[test]
    fn what_a_revision_says_goes_with_the_assignment() {
        let all = serving(ONE, 1_000, 0).assign(b"k");
        assert_eq!(all.backends().unwrap().backends.len(), 2);
        assert_eq!(all.upstream(&"both".parse().unwrap()), Some("m-2"));
        assert_eq!(all.upstream(&"old".parse().unwrap()), None);
        let back = all.fallback().unwrap();
        assert_eq!((back.number(), back.upstream(&"both".parse().unwrap())), (1, Some("m")));
        assert!(back.fallback().is_none() && Assignment::anybody().backends().is_none());
    }

    #[test]
    fn only_requests_of_the_running_revision_are_copied() {
        let split = serving(ONE, 500, 300);
        let (mut copied, mut live) = (0, 0);
        for key in 0..4_000_u32 {
            let key = key.to_be_bytes();
            let assignment = split.assign(&key);
            match assignment.shadow(&key) {
                Some(shadow) => {
                    assert_eq!((assignment.number(), shadow.number()), (1, 2));
                    copied += 1;
                }
                None => live += i32::from(assignment.number() == 1),
            }
        }
        assert!((500..700).contains(&copied), "{copied} copied, {live} not");
        assert!(serving(ONE, 0, 0).assign(b"k").shadow(b"k").is_none());
    }
}

use super::*;

const DAY_MS: i64 = 24 * 3_600 * 1_000;

/// What a provider with so much behind it looks like after `count` more of one kind.
fn after(seen: &mut Reputation, dimension: Dimension, count: usize, good: bool, now_ms: i64) {
    let weights = if good { (1.0, 0.0) } else { (0.0, 1.0) };
    for _ in 0..count {
        seen.note(dimension, weights, now_ms, Policy::default().half_life_ms);
    }
}

/// How many bad ones it takes, after so many good ones, until the policy says that.
fn caught_after(dimension: Dimension, good: usize, to: Standing) -> Option<usize> {
    let (policy, mut seen) = (Policy::default(), Reputation::default());
    after(&mut seen, dimension, good, true, 0);
    let mut standing = Standing::Good;
    (1..=500).find(|_| {
        after(&mut seen, dimension, 1, false, 0);
        if let Some(step) = policy.decide(standing, &seen, 0) {
            standing = step.to;
        }
        standing == to
    })
}

#[test]
fn newness_is_not_trust() {
    let mut proven = Reputation::default();
    let new = proven.honesty.bound();
    after(&mut proven, Dimension::Honesty, 5, true, 0);
    let some = proven.honesty.bound();
    after(&mut proven, Dimension::Honesty, 95, true, 0);
    let many = proven.honesty.bound();
    assert!(new < 200 && new < some && some < many && many > 850, "{new} {some} {many}");
    after(&mut proven, Dimension::Honesty, 10, false, 0);
    assert!(proven.honesty.bound() < many);
}

#[test]
fn what_was_seen_fades_with_time() {
    let half_life = Policy::default().half_life_ms;
    let seen = Score { good: 8.0, bad: 4.0, at_ms: 0 };
    let week = seen.faded(half_life, half_life);
    assert!((week.good - 4.0).abs() < 1e-9 && (week.bad - 2.0).abs() < 1e-9);
    // A clock that was set back loses nothing and brings nothing.
    let later = Score { at_ms: half_life, ..seen };
    assert_eq!(later.faded(0, half_life), later);
}

#[test]
fn a_new_provider_is_left_alone_until_something_goes_wrong() {
    let (policy, mut fresh) = (Policy::default(), Reputation::default());
    assert_eq!(policy.decide(Standing::Good, &fresh, 0), None);
    for dimension in Dimension::ALL {
        after(&mut fresh, dimension, 1, false, 0);
    }
    assert_eq!(policy.decide(Standing::Good, &fresh, 0), None, "one mishap is none");
}

#[test]
fn whoever_lies_from_the_start_is_suspended_after_so_many() {
    for (dimension, count) in [
        (Dimension::Identity, 2),
        (Dimension::Honesty, 2),
        (Dimension::Quality, 3),
        (Dimension::Availability, 4),
    ] {
        let caught = caught_after(dimension, 0, Standing::Suspended);
        assert_eq!(caught, Some(count), "{dimension}");
    }
    assert_eq!(caught_after(Dimension::Latency, 0, Standing::Probation), Some(5));
    assert_eq!(caught_after(Dimension::Latency, 0, Standing::Suspended), None, "slow is no fraud");
}

#[test]
fn a_long_good_past_does_not_cover_a_change() {
    for past in [100, 10_000] {
        let model = caught_after(Dimension::Identity, past, Standing::Suspended);
        assert_eq!(model, Some(10), "canaries");
        let noticed = caught_after(Dimension::Identity, past, Standing::Probation);
        assert_eq!(noticed, Some(6), "canaries");
        let counts = caught_after(Dimension::Honesty, past, Standing::Suspended);
        assert!(counts.is_some_and(|count| count <= 80), "{counts:?} requests");
    }
}

#[test]
fn a_liar_never_comes_back_by_itself() {
    let (policy, mut found) = (Policy::default(), Reputation::default());
    after(&mut found, Dimension::Honesty, 6, false, 0);
    let step = policy.decide(Standing::Good, &found, 0).unwrap();
    assert_eq!((step.to, step.dimension), (Standing::Suspended, Dimension::Honesty));
    assert!(step.reason.contains("below 200 for suspended"), "{}", step.reason);
    after(&mut found, Dimension::Honesty, 500, true, 0);
    assert_eq!(policy.decide(Standing::Suspended, &found, 0), None, "a person decides");
    let scored = Policy { automatic: false, ..policy };
    after(&mut found, Dimension::Honesty, 100, false, 0);
    assert_eq!(scored.decide(Standing::Good, &found, 0), None, "scored, and nothing more");
}

#[test]
fn probation_ends_when_every_score_is_well_above_what_led_there() {
    let (policy, mut found) = (Policy::default(), Reputation::default());
    after(&mut found, Dimension::Latency, 6, false, 0);
    assert_eq!(policy.decide(Standing::Good, &found, 0).unwrap().to, Standing::Probation);
    assert_eq!(policy.decide(Standing::Probation, &found, 0), None, "not yet");
    let mut soon = found;
    after(&mut soon, Dimension::Latency, 40, true, 0);
    assert_eq!(policy.decide(Standing::Probation, &soon, 0).unwrap().to, Standing::Good);
    // Time heals too: what faded away no longer counts.
    assert_eq!(policy.decide(Standing::Probation, &found, 21 * DAY_MS).unwrap().to, Standing::Good);
}

#[test]
fn a_provider_is_ranked_by_its_worst_side() {
    let mut found = Reputation::default();
    let new = found.rank();
    for dimension in [Dimension::Quality, Dimension::Availability] {
        after(&mut found, dimension, 50, true, 0);
    }
    assert!(found.rank() > new, "what nobody saw does not count");
    let good = found.rank();
    after(&mut found, Dimension::Quality, 20, false, 0);
    assert!(found.rank() < good && found.rank() == found.quality.bound());
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Reputation>(&text).unwrap(), found);
}

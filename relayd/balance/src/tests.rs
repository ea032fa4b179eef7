//! Gauges and policies together.

use super::*;

const S: u64 = 1_000_000;

const SHORT: Demand = Demand { input_tokens: 100, output_tokens: 10 };

fn member(name: &str, gauge: &Gauge, now: u64) -> Member {
    Member {
        key: Hasher::new().part(name.as_bytes()).end(),
        weight: 1,
        running: gauge.running(),
        slots: 8,
        load: gauge.load(now),
        warm: false,
        distance_us: 0,
        on_trial: false,
    }
}

/// A gauge that has measured `ttft` for a short prompt on an idle backend.
fn measured(ttft: u64) -> Gauge {
    let mut gauge = Gauge::new();
    let mut taken = gauge.enter(&SHORT, None, 0);
    gauge.begun(&mut taken, ttft, ttft);
    gauge.leave(taken, Some(SHORT), ttft);
    gauge
}

fn counts(policy: Policy, members: &[Member], question: &Question, rounds: usize) -> Vec<usize> {
    let (mut turn, mut dice) = (0, Dice::new(1));
    let mut counts = vec![0; members.len()];
    for _ in 0..rounds {
        counts[policy.choose(members, question, &mut turn, &mut dice).unwrap()] += 1;
    }
    counts
}

#[test]
fn every_policy_takes_somebody_and_its_name_reads_back() {
    let gauge = Gauge::new();
    let members = [member("a", &gauge, 0), member("b", &gauge, 0)];
    for policy in Policy::ALL {
        assert_eq!(policy.as_str().parse(), Ok(policy));
        assert_eq!(policy.choose(&[], &Question::default(), &mut 0, &mut Dice::new(1)), None);
        let one = policy.choose(&members[..1], &Question::default(), &mut 0, &mut Dice::new(1));
        assert_eq!(one, Some(0));
    }
    assert_eq!("best".parse::<Policy>(), Err(UnknownPolicy));
    assert_eq!(counts(Policy::RoundRobin, &members, &Question::default(), 100), [50, 50]);
}

#[test]
fn the_faster_one_is_preferred_and_an_even_pool_is_shared_by_weight() {
    let (fast, slow) = (measured(S / 10), measured(S));
    let now = S;
    let members = [member("a", &slow, now), member("b", &fast, now)];
    assert_eq!(counts(Policy::LeastLoad, &members, &Question::default(), 100), [0, 100]);
    let heavy = Member { weight: 3, ..member("a", &fast, now) };
    let shared =
        counts(Policy::Predictive, &[heavy, member("b", &fast, now)], &Question::default(), 4000);
    assert!((2900..3100).contains(&shared[0]), "{shared:?}");
}

#[test]
fn a_longer_way_counts_and_chance_on_ones_own_network_does_not() {
    let gauge = measured(3_000);
    let at = |distance_us| Member { distance_us, ..member("a", &gauge, S) };
    let shares = |far| counts(Policy::LeastLoad, &[at(300), at(far)], &Question::default(), 1000);
    assert!(shares(4_500)[1] > 400, "{:?}", shares(4_500));
    assert_eq!(shares(30_000), [1000, 0]);
}

#[test]
fn prompts_that_are_still_read_count_more_than_requests() {
    let mut long = measured(S / 10);
    let mut many = measured(S / 10);
    let prompt = Demand { input_tokens: 20_000, output_tokens: 1 };
    long.enter(&prompt, None, S);
    for _ in 0..3 {
        let mut taken = many.enter(&SHORT, None, S);
        many.begun(&mut taken, S / 10, S);
    }
    let members = [member("long", &long, S), member("many", &many, S)];
    assert_eq!(counts(Policy::LeastLoad, &members, &Question::default(), 10), [0, 10]);
    let by_count = counts(Policy::TwoChoices, &members, &Question::default(), 10);
    assert_eq!(by_count, [10, 0]);
}

#[test]
fn a_prefix_stays_at_home_until_home_is_too_busy() {
    let mut gauges = [measured(S / 10), measured(S / 10), measured(S / 10)];
    let now = S;
    let prompt = Demand { input_tokens: 2000, output_tokens: 10 };
    let question = Question { demand: prompt, prefix: Some(42), session: None };
    let seen = |gauges: &[Gauge; 3]| {
        let mut members = Vec::new();
        for (gauge, name) in gauges.iter().zip(["a", "b", "c"]) {
            members.push(Member { warm: gauge.is_warm(42), ..member(name, gauge, now) });
        }
        members
    };
    let first = counts(Policy::Predictive, &seen(&gauges), &question, 20);
    let home = first.iter().position(|count| *count == 20).expect("all at one");
    gauges[home].enter(&prompt, Some(42), now);
    gauges[home].enter(&prompt, Some(42), now);
    gauges[home].enter(&prompt, Some(42), now);
    let busy = counts(Policy::Predictive, &seen(&gauges), &question, 20);
    assert_eq!(busy[home], 0, "reading it anew elsewhere is faster than waiting");
    // Where one goes, the keys of the others stay.
    let without = |members: &[Member], gone: usize| {
        let mut rest = members.to_vec();
        rest.remove(gone);
        rest
    };
    let idle = seen(&[measured(S / 10), measured(S / 10), measured(S / 10)]);
    for key in 0..200 {
        let question = Question { prefix: Some(key), ..question };
        let at = |members: &[Member]| {
            let chosen = Policy::Predictive.choose(members, &question, &mut 0, &mut Dice::new(1));
            members[chosen.unwrap()].key
        };
        let (whole, rest) = (at(&idle), at(&without(&idle, 0)));
        assert!(whole == idle[0].key || whole == rest);
    }
}

#[test]
fn a_session_stays_longer_than_a_prefix() {
    let (mut busy, idle) = (measured(S / 10), measured(S / 10));
    let question = |session| Question { demand: SHORT, prefix: Some(7), session };
    let members = |busy: &Gauge| [member("a", busy, S), member("b", &idle, S)];
    let home = |session| {
        let mut dice = Dice::new(1);
        Policy::Predictive.choose(
            &members(&measured(S / 10)),
            &question(session),
            &mut 0,
            &mut dice,
        )
    };
    let session = (0..).map(Some).find(|session| home(*session) == Some(0)).unwrap();
    busy.enter(&SHORT, None, S);
    assert_eq!(counts(Policy::Predictive, &members(&busy), &question(session), 10), [10, 0]);
    assert_eq!(counts(Policy::Predictive, &members(&busy), &question(None), 10), [0, 10]);
}

#[test]
fn one_that_came_back_starts_slowly_and_one_on_trial_gets_its_turn() {
    let (old, mut fresh) = (measured(S / 10), measured(S / 10));
    fresh.came(S);
    let at = |now| [member("a", &old, now), member("b", &fresh, now)];
    assert_eq!(at(S)[1].load.ramp_milli, 100);
    assert_eq!(at(S + SLOW_START_US / 2)[1].load.ramp_milli, 550);
    assert_eq!(at(S + SLOW_START_US)[1].load.ramp_milli, 1000);
    let random = counts(Policy::Random, &at(S), &Question::default(), 1100);
    assert!((60..150).contains(&random[1]), "{random:?}");
    // On an idle pool too, where the other always looks faster; and never more than its share.
    for policy in [Policy::Predictive, Policy::LeastLoad] {
        for prefix in [None, Some(7)] {
            let question = Question { demand: SHORT, prefix, session: None };
            let begun = counts(policy, &at(S), &question, 1100)[1];
            assert!((60..150).contains(&begun), "{policy}: {begun}");
        }
        // A session stays, and nobody is sent to wait long for the sake of it.
        let session = Question { demand: SHORT, prefix: None, session: Some(3) };
        assert!(
            matches!(counts(policy, &at(S), &session, 100)[1], 0 | 100)
                || policy == Policy::LeastLoad
        );
        let mut members = at(S);
        members[1].load.backlog = 1_000_000;
        assert_eq!(counts(policy, &members, &Question::default(), 1000), [1000, 0]);
    }
    // Where both came at once, a prompt still has one home.
    let mut other = measured(S / 10);
    other.came(S + 1_000);
    let both = [member("a", &fresh, 2 * S), member("b", &other, 2 * S)];
    let prompt = Question { demand: SHORT, prefix: Some(7), session: None };
    assert!(counts(Policy::Predictive, &both, &prompt, 100).contains(&100));
    let mut members = at(S + SLOW_START_US);
    members[1].on_trial = true;
    members[1].load.cost_ns = Some(1_000_000_000);
    for policy in Policy::ALL {
        let tried = counts(policy, &members, &Question::default(), 1000)[1];
        assert!((400..600).contains(&tried), "{policy}: {tried}");
    }
}

#[test]
fn a_stall_shows_before_any_answer_and_a_peak_fades() {
    let mut gauge = measured(S / 10);
    let usual = gauge.load(S / 10).cost_ns.unwrap();
    gauge.enter(&SHORT, None, S);
    assert!(gauge.load(S).cost_ns.unwrap() <= usual);
    assert!(gauge.load(11 * S).cost_ns.unwrap() > 10 * usual, "nothing came for ten seconds");
    let mut slow = measured(S / 10);
    let mut taken = slow.enter(&SHORT, None, S);
    slow.begun(&mut taken, 5 * S, 6 * S);
    let peak = slow.load(6 * S).cost_ns.unwrap();
    assert!(peak > 10 * usual);
    assert!(slow.load(106 * S).cost_ns.unwrap() < peak / 10);
}

#[test]
fn one_that_was_given_up_waiting_for_is_known_to_be_slow() {
    let (usual, mut silent) = (measured(S / 10), measured(S / 10));
    let taken = silent.enter(&SHORT, None, S);
    silent.leave(taken, None, 6 * S);
    let now = 6 * S;
    let members = [member("a", &usual, now), member("b", &silent, now)];
    assert_eq!(counts(Policy::LeastLoad, &members, &Question::default(), 100), [100, 0]);
    // One that was given up at once says nothing.
    let mut hasty = measured(S / 10);
    let taken = hasty.enter(&SHORT, None, S);
    let before = hasty.load(S).cost_ns;
    hasty.leave(taken, None, S + 1);
    assert_eq!(hasty.load(S).cost_ns, before);
}

#[test]
fn a_full_cache_is_avoided_while_what_the_engine_says_is_fresh() {
    let (mut full, other) = (measured(S / 10), measured(S / 10));
    full.engine_load(EngineLoad { running: 0, waiting: 0, kv_milli: 990, at: S });
    let fresh = [member("a", &full, S), member("b", &other, S)];
    assert_eq!(counts(Policy::LeastLoad, &fresh, &Question::default(), 10), [0, 10]);
    let later = S + ENGINE_LOAD_US;
    let stale = [member("a", &full, later), member("b", &other, later)];
    assert!(counts(Policy::LeastLoad, &stale, &Question::default(), 100)[0] > 20);
}

#[test]
fn what_enters_leaves() {
    let mut dice = Dice::new(9);
    let mut gauge = Gauge::new();
    let mut inside = Vec::new();
    for step in 0..20_000 {
        let now = step * 1000;
        match dice.below(3) {
            0 => {
                let demand =
                    Demand { input_tokens: dice.below(5000), output_tokens: dice.below(500) };
                inside.push(gauge.enter(&demand, Some(dice.below(600)), now));
            }
            1 if !inside.is_empty() => {
                let place = dice.below(inside.len() as u64) as usize;
                gauge.begun(&mut inside[place], dice.below(S), now);
            }
            _ if !inside.is_empty() => {
                let place = dice.below(inside.len() as u64) as usize;
                let used = (dice.below(2) == 0).then_some(SHORT);
                gauge.leave(inside.swap_remove(place), used, now);
            }
            _ => {}
        }
        assert_eq!(gauge.running() as usize, inside.len());
    }
    for taken in inside.drain(..) {
        gauge.leave(taken, None, 20 * S);
    }
    let load = gauge.load(20 * S);
    assert_eq!((gauge.running(), load.backlog, load.work), (0, 0, 0));
}

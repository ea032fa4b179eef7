//! Who goes first when there is not enough for all, and who is told to come again.

use super::*;
use crate::balance::{Class, Customer, Demand};
use crate::fleet::Members;

/// A request of a customer, as heavy as it is said to be.
fn ask(router: &Router, customer: u64, class: Class, output_tokens: u64) -> Admission {
    ask_until(router, customer, class, output_tokens, later())
}

fn ask_until(
    router: &Router,
    customer: u64,
    class: Class,
    output_tokens: u64,
    deadline: Instant,
) -> Admission {
    let (router, scope) = (router.clone(), scope("direct.openai.m"));
    let demand = Demand { input_tokens: 10, output_tokens };
    Box::pin(async move {
        let ask =
            Ask { customer: customer.into(), class, demand, ..Ask::new(&scope, &[], deadline) };
        router.admit(&ask).await
    })
}

fn one_at_a_time(queue_limit: u32) -> Router {
    let spec = BackendSpec { max_concurrency: 1, queue_limit, ..spec("a") };
    Router::new(fleet(vec![spec]), 1)
}

/// Serves one after another; who, in order.
async fn served<T: Copy>(running: Permit, waiting: &mut Vec<(T, Admission)>) -> Vec<T> {
    let mut order = Vec::new();
    let mut running = Some(running);
    while let Some(permit) = running.take() {
        permit.report(ok());
        drop(permit);
        // A task may hear of a hundred and some answers before it has to give way.
        tokio::task::yield_now().await;
        waiting.retain_mut(|(who, admission)| match poll(admission) {
            Some(granted) => {
                order.push(*who);
                running = Some(granted.unwrap());
                false
            }
            None => true,
        });
    }
    order
}

#[tokio::test(start_paused = true)]
async fn one_heavy_customer_does_not_keep_a_hundred_light_ones_waiting() {
    const HEAVY: u64 = 0;
    let router = one_at_a_time(2_000);
    let running = poll(&mut ask(&router, HEAVY, Class::Standard, 100)).unwrap().unwrap();
    let mut waiting: Vec<(u64, Admission)> = Vec::new();
    let mut join = |customer: u64, tokens: u64| {
        let mut admission = ask(&router, customer, Class::Standard, tokens);
        assert!(poll(&mut admission).is_none());
        waiting.push((customer, admission));
    };
    // A thousand long ones, and then a short one of each of the others.
    (0..1_000).for_each(|_| join(HEAVY, 100));
    (1..=100).for_each(|customer| join(customer, 10));
    let order = served(running, &mut waiting).await;
    assert_eq!(order.len(), 1_100);
    let last = order.iter().rposition(|customer| *customer != HEAVY).unwrap();
    println!("the last of a hundred light ones was served after {last} others");
    assert!(last <= 101, "the last of the light ones was served after {last} others");
}

#[tokio::test(start_paused = true)]
async fn who_weighs_more_gets_more_done_and_nobody_nothing() {
    let router = one_at_a_time(2_000);
    let running = poll(&mut ask(&router, 0, Class::Standard, 100)).unwrap().unwrap();
    let mut waiting: Vec<(u64, Admission)> = Vec::new();
    for _ in 0..100 {
        for (id, weight) in [(1, 1), (2, 4)] {
            let (router, scope) = (router.clone(), scope("direct.openai.m"));
            let demand = Demand { input_tokens: 10, output_tokens: 100 };
            let mut admission: Admission = Box::pin(async move {
                let customer = Customer { id, weight };
                let ask = Ask { customer, demand, ..Ask::new(&scope, &[], later()) };
                router.admit(&ask).await
            });
            assert!(poll(&mut admission).is_none());
            waiting.push((id, admission));
        }
    }
    let order = served(running, &mut waiting).await;
    let first = order[..100].iter().filter(|customer| **customer == 1).count();
    assert!((19..=21).contains(&first), "{first} of the first hundred are of weight 1");
}

#[tokio::test(start_paused = true)]
async fn what_one_sends_to_an_idle_backend_does_not_put_others_behind_it_at_a_busy_one() {
    const HEAVY: u64 = 0;
    let busy = BackendSpec { max_concurrency: 1, queue_limit: 2_000, ..spec("a") };
    let mut idle = spec("b");
    idle.models = vec![crate::fleet::tests::served("n")];
    let router = Router::new(fleet(vec![busy, idle]), 1);
    let running = poll(&mut ask(&router, HEAVY, Class::Standard, 100)).unwrap().unwrap();
    let mut waiting: Vec<(u64, Admission)> = Vec::new();
    let (elsewhere, demand) =
        (scope("direct.openai.n"), Demand { input_tokens: 10, output_tokens: 100 });
    for _ in 0..500 {
        let mut admission = ask(&router, HEAVY, Class::Standard, 100);
        assert!(poll(&mut admission).is_none());
        waiting.push((HEAVY, admission));
        let passing = Ask { customer: HEAVY.into(), demand, ..Ask::new(&elsewhere, &[], later()) };
        router.admit(&passing).await.unwrap().report(ok());
    }
    let mut light = ask(&router, 1, Class::Standard, 10);
    assert!(poll(&mut light).is_none());
    waiting.push((1, light));
    let order = served(running, &mut waiting).await;
    let place = order.iter().position(|customer| *customer != HEAVY).unwrap();
    assert!(place <= 1, "the light one was served after {place} others");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_one_customer_filled_still_lets_others_in() {
    const HEAVY: u64 = 0;
    let router = one_at_a_time(50);
    let running = poll(&mut ask(&router, HEAVY, Class::Standard, 100)).unwrap().unwrap();
    let mut waiting: Vec<(u64, Admission)> = Vec::new();
    for _ in 0..50 {
        let mut admission = ask(&router, HEAVY, Class::Standard, 100);
        assert!(poll(&mut admission).is_none());
        waiting.push((HEAVY, admission));
    }
    let more = poll(&mut ask(&router, HEAVY, Class::Standard, 100)).unwrap().unwrap_err();
    assert!(matches!(more, Refusal::QueueFull { .. }), "it filled the line: {more}");
    for customer in 1..=40 {
        let mut admission = ask(&router, customer, Class::Standard, 10);
        assert!(poll(&mut admission).is_none(), "{customer} is let in");
        waiting.push((customer, admission));
    }
    // The last of the heavy one's made room, and were told so.
    tokio::task::yield_now().await;
    let mut told = 0;
    waiting.retain_mut(|(_, admission)| match poll(admission) {
        Some(refused) => {
            assert!(matches!(refused.unwrap_err(), Refusal::QueueFull { .. }));
            told += 1;
            false
        }
        None => true,
    });
    assert_eq!(told, 40);
    let order = served(running, &mut waiting).await;
    assert_eq!(order.iter().filter(|customer| **customer == HEAVY).count(), 10);
    assert_eq!(order.len(), 50);
}

#[tokio::test(start_paused = true)]
async fn classes_go_in_order_and_the_lowest_give_way_first() {
    use Class::{Batch, Free, Priority, Standard};
    let router = one_at_a_time(4);
    let running = poll(&mut ask(&router, 9, Standard, 1)).unwrap().unwrap();
    let join = |customer: u64, class| {
        let mut admission = ask(&router, customer, class, 1);
        let refused = poll(&mut admission).map(|refused| refused.unwrap_err());
        (refused, admission)
    };
    let full = |refused: &Option<Refusal>| matches!(refused, Some(Refusal::QueueFull { .. }));
    // Batch fills a quarter of a queue and free callers half of it.
    let (refused, mut batch) = join(1, Batch);
    assert!(refused.is_none() && full(&join(1, Batch).0));
    let (_, mut free_1) = join(2, Free);
    let (_, mut free_2) = join(3, Free);
    assert!(full(&join(2, Free).0), "full for its class and for all");
    let gone = |admission: &mut Admission| full(&poll(admission).map(|gone| gone.unwrap_err()));
    let (refused, standard_1) = join(4, Standard);
    assert!(refused.is_none() && !gone(&mut batch), "there is room");
    let (refused, standard_2) = join(5, Standard);
    assert!(refused.is_none() && gone(&mut batch) && !gone(&mut free_2));
    let (refused, priority) = join(6, Priority);
    assert!(refused.is_none() && gone(&mut free_2) && !gone(&mut free_1));
    let (refused, more) = join(7, Priority);
    assert!(refused.is_none() && gone(&mut free_1));
    let (refused, standard_3) = join(8, Standard);
    assert!(full(&refused), "nobody below it is left");
    drop(standard_3);
    let mut waiting = vec![("s1", standard_1), ("s2", standard_2), ("p1", priority), ("p2", more)];
    assert_eq!(served(running, &mut waiting).await, ["p1", "p2", "s1", "s2"]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_in_vain_is_refused_at_once_with_the_time_it_would_take() {
    let router = one_at_a_time(1_000);
    // It shows how fast it works: ten seconds for each of these.
    let permit = poll(&mut ask(&router, 1, Class::Standard, 100)).unwrap().unwrap();
    tokio::time::advance(10 * S).await;
    permit.report(ok());
    drop(permit);
    let running = poll(&mut ask(&router, 1, Class::Standard, 100)).unwrap().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut admission = ask(&router, 1, Class::Standard, 100);
        assert!(poll(&mut admission).is_none());
        waiting.push(admission);
    }
    // Thirty seconds of work are before it, and it has five.
    let mut hurried = ask_until(&router, 1, Class::Standard, 100, Instant::now() + 5 * S);
    let refused = poll(&mut hurried).unwrap().unwrap_err();
    assert_eq!(refused, Refusal::Hopeless { retry_after_s: 30 });
    assert_eq!(refused.fault().retry_after_s, Some(30));
    // Another customer is before most of that, and a patient one may wait.
    let mut other = ask_until(&router, 2, Class::Standard, 100, Instant::now() + 15 * S);
    assert!(poll(&mut other).is_none());
    let mut patient = ask(&router, 1, Class::Standard, 100);
    assert!(poll(&mut patient).is_none());
    drop(running);
}

#[tokio::test(start_paused = true)]
async fn a_session_and_a_prompts_head_stay_where_they_were() {
    let specs = ["a", "b", "c", "d"].map(spec);
    let router = Router::new(fleet(specs.to_vec()), 1);
    let m = scope("direct.openai.m");
    let at = async |prefix, session| {
        let demand = Demand { input_tokens: 2_000, output_tokens: 10 };
        let ask = Ask { demand, prefix, session, ..Ask::new(&m, &[], later()) };
        let permit = router.admit(&ask).await.unwrap();
        permit.report(ok());
        permit.backend().id().to_string()
    };
    let mut homes = std::collections::BTreeSet::new();
    for key in 0..40 {
        let (by_prefix, by_session) = (at(Some(key), None).await, at(None, Some(key)).await);
        for _ in 0..3 {
            assert_eq!(at(Some(key), None).await, by_prefix);
            assert_eq!(at(Some(key + 1_000), Some(key)).await, by_session, "whatever the prompt");
        }
        homes.insert(by_prefix);
    }
    assert_eq!(homes.len(), 4, "all of them are home to some: {homes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_changed_while_requests_run() {
    let weigh = |name, weight| BackendSpec { weight, ..spec(name) };
    let router = Router::new(fleet(vec![weigh("a", 300), weigh("b", 100)]), 3);
    let m = scope("direct.openai.m");
    let on_a = async || {
        let mut count = 0;
        for _ in 0..1_000 {
            let permit = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
            count += usize::from(permit.backend().id() == &id("a"));
            permit.report(ok());
        }
        count
    };
    assert!((700..=800).contains(&on_a().await), "by weight");
    router.set_policies(HashMap::from([("m".parse().unwrap(), Policy::RoundRobin)]));
    assert_eq!(on_a().await, 500);
    router.set_policies(HashMap::from([("other".parse().unwrap(), Policy::RoundRobin)]));
    assert!((700..=800).contains(&on_a().await));
}

#[tokio::test(start_paused = true)]
async fn who_can_be_relied_on_less_is_drawn_less() {
    let fleet = fleet(vec![spec("a"), spec("b")]);
    let router = Router::new(fleet.clone(), 7);
    let m = scope("direct.openai.m");
    let on_b = async || {
        let mut count = 0;
        for _ in 0..1_000 {
            let permit = router.admit(&Ask::new(&m, &[], later())).await.unwrap();
            count += usize::from(permit.backend().id() == &id("b"));
            permit.report(ok());
        }
        count
    };
    assert!((450..=550).contains(&on_b().await));
    backend(&fleet, "b").runtime.set_rank(250);
    assert!((160..=240).contains(&on_b().await), "a fifth");
    backend(&fleet, "b").runtime.set_rank(0);
    let least = on_b().await;
    assert!((1..=40).contains(&least), "{least}: it can still show what it does");
    fleet.set_weight(&id("b"), 0).unwrap();
    assert_eq!(backend(&fleet, "b").effective_weight(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_failed_and_what_ran_twice_counts_once_at_most() {
    let specs = ["a", "b"].map(|id| BackendSpec { max_concurrency: 1, ..spec(id) });
    let router = Router::new(fleet(specs.to_vec()), 1);
    let scope = scope("direct.openai.m");
    let demand = Demand { input_tokens: 10, output_tokens: 100 };
    let asked =
        |customer: u64| Ask { customer: customer.into(), demand, ..Ask::new(&scope, &[], later()) };
    // Of one many failed, one's ran twice each, and the third one's were answered.
    for _ in 0..20 {
        let long = Demand { output_tokens: 1_000, ..demand };
        let failing = Ask { demand: long, ..asked(1) };
        router.admit(&failing).await.unwrap().report(Outcome::ClientFault);
        let copies =
            [router.admit(&asked(2)).await.unwrap(), router.admit(&asked(2)).await.unwrap()];
        drop(copies);
        router.used(&asked(2), &Demand { input_tokens: 10, output_tokens: 100 });
        router.admit(&asked(3)).await.unwrap().report(ok());
        router.used(&asked(3), &Demand { input_tokens: 10, output_tokens: 120 });
    }
    let running = [router.admit(&asked(4)).await.unwrap(), router.admit(&asked(4)).await.unwrap()];
    let mut waiting: Vec<(u64, Admission)> = Vec::new();
    for customer in [3, 2, 1] {
        let mut admission = ask(&router, customer, Class::Standard, 100);
        assert!(poll(&mut admission).is_none());
        waiting.push((customer, admission));
    }
    let [first, second] = running;
    let order = served(first, &mut waiting).await;
    drop(second);
    assert_eq!(order, [2, 1, 3], "two as they came, and behind them who got the most");
}

#[tokio::test(start_paused = true)]
async fn what_was_used_counts_and_not_what_was_expected() {
    let router = one_at_a_time(100);
    let scope = scope("direct.openai.m");
    let demand = Demand { input_tokens: 10, output_tokens: 100 };
    let asked =
        |customer: u64| Ask { customer: customer.into(), demand, ..Ask::new(&scope, &[], later()) };
    // One's answer was a hundred times as long as expected, the other's as long as expected.
    for (customer, output_tokens) in [(1, 10_000), (2, 100)] {
        router.admit(&asked(customer)).await.unwrap().report(ok());
        router.used(&asked(customer), &Demand { input_tokens: 10, output_tokens });
    }
    let running = router.admit(&asked(3)).await.unwrap();
    let mut waiting: Vec<(u64, Admission)> = Vec::new();
    for customer in [1, 2, 2, 2] {
        let mut admission = ask(&router, customer, Class::Standard, 100);
        assert!(poll(&mut admission).is_none());
        waiting.push((customer, admission));
    }
    assert_eq!(served(running, &mut waiting).await, [2, 2, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn only_who_waits_for_the_same_backends_is_in_the_way() {
    let one = BackendSpec { max_concurrency: 1, queue_limit: 50, ..spec("a") };
    let other = BackendSpec { max_concurrency: 1, queue_limit: 50, ..spec("b") };
    let fleet = fleet(vec![one, other]);
    let router = Router::new(fleet, 1);
    let scope = scope("direct.openai.m");
    let on = |name: &str| Arc::new(Members { backends: vec![id(name)], deployment: None });
    let (a, b) = (on("a"), on("b"));
    let demand = Demand { input_tokens: 10, output_tokens: 100 };
    let asked = |only: &Arc<Members>, seconds: u32| {
        let (router, scope, only) = (router.clone(), scope.clone(), Arc::clone(only));
        let deadline = Instant::now() + seconds * S;
        let admission: Admission = Box::pin(async move {
            let ask = Ask { only: Some(&only), demand, ..Ask::new(&scope, &[], deadline) };
            router.admit(&ask).await
        });
        admission
    };
    // Both have shown that a request takes them a second.
    for only in [&a, &b] {
        let permit = asked(only, 30).await.unwrap();
        tokio::time::advance(S).await;
        permit.report(ok());
    }
    let _running = [asked(&a, 30).await.unwrap(), asked(&b, 30).await.unwrap()];
    let mut waiting: Vec<Admission> = (0..20).map(|_| asked(&a, 60)).collect();
    assert!(waiting.iter_mut().all(|admission| poll(admission).is_none()));
    let refused = poll(&mut asked(&a, 5)).unwrap().unwrap_err();
    assert!(matches!(refused, Refusal::Hopeless { .. }), "{refused}");
    assert!(poll(&mut asked(&b, 5)).is_none(), "nobody waits there");
}

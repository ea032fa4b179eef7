//! Processes on PostgreSQL that are not seen any more, and the living ones that take their holds.

use std::io::BufRead as _;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use sqlx::Row as _;

use super::fixture::{
    Fixture, ask, assert_sound, credit, customer, ncr, number, open_hold, settle, usage,
};
use crate::domain::{BootId, Meters, RequestId};
use crate::ledger::{Checkpoint, Command, HoldRef, HoldState, OpenHold, Outcome, Phase, Settle};
use crate::store::{Place, Store, StoreOptions, Upkeep};

/// Names the database to the process that will be killed.
const VICTIM: &str = "RELAY_TEST_DEAD_DATABASE";

/// The room's times, forty times faster.
const FAST: Upkeep = Upkeep {
    beat: Duration::from_millis(125),
    dead_after: Duration::from_secs(3),
    period: Duration::from_millis(750),
};

/// What the checkpoint of the stream says: nano-credits for half as many tokens.
const NOTED: i64 = 40;

fn reserved(boot: BootId, who: u64) -> OpenHold {
    OpenHold { phase: Phase::Reserved, ..open_hold(boot, who, None, 100) }
}

fn streaming(boot: BootId, who: u64) -> OpenHold {
    OpenHold { stream: true, ..open_hold(boot, who, None, 200) }
}

/// Opens a hold of each kind: one reserved, one that streams and has noted how far it is.
async fn open_both(store: &Store, who: u64) -> [HoldRef; 2] {
    let (one, two) = (reserved(store.boot(), who), streaming(store.boot(), who));
    let references = [one.to_ref(), two.to_ref()];
    for open in [one, two] {
        let held = ask(store, Command::Hold(open)).await;
        assert!(matches!(held, Outcome::Held { .. }), "{held:?}");
    }
    let checkpoint = Checkpoint {
        hold: references[1].clone(),
        meters: Meters { out_text: 20, ..Meters::default() },
        cost: ncr(NOTED),
        seq: 1,
    };
    assert_eq!(ask(store, Command::Checkpoint(checkpoint)).await, Outcome::Checkpointed);
    references
}

/// Not a test by itself: the process that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying() {
    let Ok(url) = std::env::var(VICTIM) else { return };
    let place = Place::Postgres { url, connections: 2, shards: 2 };
    let options = StoreOptions { place, upkeep: FAST, ..StoreOptions::sqlite("unused") };
    let store = Store::open(&options).await.unwrap();
    let [one, two] = open_both(&store, 1).await;
    println!("open {} {} {}", store.boot(), one.id, two.id);
    std::future::pending::<()>().await;
}

/// The references of the holds that a killed process left.
fn left_by_a_dead_process(url: &str) -> [HoldRef; 2] {
    let mut victim = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::dead::dying", "--nocapture"])
        .env(VICTIM, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(victim.stdout.take().unwrap()).lines();
    let said = loop {
        let line = lines.next().expect("the victim died by itself").unwrap();
        if let Some(said) = line.strip_prefix("open ") {
            break said.to_owned();
        }
    };
    victim.kill().unwrap();
    victim.wait().unwrap();
    let mut words = said.split(' ');
    let boot: BootId = words.next().unwrap().parse().unwrap();
    [(); 2].map(|()| {
        let id: RequestId = words.next().unwrap().parse().unwrap();
        HoldRef { id, customer: customer(1), key: None, boot, fence: 1 }
    })
}

/// State, fence and charge of a hold.
async fn look(store: &Store, hold: &HoldRef) -> (HoldState, i64, i64) {
    let row = sqlx::query("select state, fence, charge_ncr from hold where id = $1")
        .bind(hold.id.to_string())
        .fetch_one(store.reader())
        .await
        .unwrap();
    (row.get::<String, _>("state").parse().unwrap(), row.get("fence"), row.get("charge_ncr"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_of_the_unseen_are_taken_over_and_their_late_writes_refused() {
    let mut fixture = Fixture::postgres().await;
    fixture.options.upkeep = FAST;
    let Place::Postgres { url, .. } = fixture.options.place.clone() else { unreachable!() };
    // Two that live and look after one another's holds, and one that lives without a sign of it.
    let (taker, other) = (fixture.open().await, fixture.open().await);
    let mute = Upkeep {
        beat: Duration::from_secs(3_600),
        dead_after: Duration::from_secs(3_600),
        period: Duration::from_secs(3_600),
    };
    let mute = StoreOptions { upkeep: mute, ..fixture.options.clone() };
    let silent = Store::open(&mute).await.unwrap();
    for who in 1..=3 {
        ask(&taker, credit(&format!("c{who}"), who, 1_000)).await;
    }
    let dead = tokio::task::spawn_blocking(move || left_by_a_dead_process(&url)).await.unwrap();
    let unseen = open_both(&silent, 2).await;
    let living = open_both(&other, 3).await;
    let mut sums = taker.recovered();
    let mut others = other.recovered();

    for hold in dead.iter().chain(&unseen) {
        while look(&taker, hold).await.0 == HoldState::Open {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    for [first, second] in [&dead, &unseen] {
        assert_eq!(look(&taker, first).await, (HoldState::Voided, 2, 0), "released, fence raised");
        assert_eq!(look(&taker, second).await, (HoldState::Posted, 2, NOTED), "by its checkpoint");
    }
    for hold in &living {
        assert_eq!(look(&taker, hold).await, (HoldState::Open, 1, 0), "whoever is seen keeps it");
    }
    let (one, two) = (*sums.borrow_and_update(), *others.borrow_and_update());
    assert_eq!((one.posted + two.posted, one.released + two.released), (2, 2), "each once");

    // The one that was thought dead comes back and writes, and so does an answer on its way.
    let late = |hold: &HoldRef| {
        let hold = hold.clone();
        Command::Settle(Settle { hold, charge: ncr(100), usage: usage(50), share: None })
    };
    for (store, [first, second]) in [(&silent, &unseen), (&other, &dead)] {
        let released = ask(store, late(first)).await;
        assert_eq!(released, Outcome::Late { write_off: ncr(100) }, "the platform bears it");
        let posted = ask(store, late(second)).await;
        assert!(
            matches!(posted, Outcome::AlreadySettled(first) if first.charge == ncr(NOTED)),
            "{posted:?}"
        );
        let noted = Checkpoint {
            hold: second.clone(),
            meters: Meters { out_text: 90, ..Meters::default() },
            cost: ncr(180),
            seq: 2,
        };
        let noted = ask(store, Command::Checkpoint(noted)).await;
        assert_eq!(noted, posted, "nothing is noted any more");
        assert_eq!(look(store, second).await, (HoldState::Posted, 2, NOTED));
    }
    for who in [1, 2] {
        let balance = number_of(&taker, who).await;
        assert_eq!(balance, 1_000 - NOTED, "customer {who} paid the checkpoint, once");
    }
    // A living owner still settles with the fence it has.
    for hold in &living {
        let settled = ask(&other, settle(hold, 10)).await;
        assert!(matches!(settled, Outcome::Settled { .. }), "{settled:?}");
    }
    assert_eq!(number(&taker, "select count(*) from hold where state = 'open'").await, 0);
    assert_sound(&taker).await;
    for store in [silent, other, taker] {
        store.close().await;
    }
}

async fn number_of(store: &Store, who: u64) -> i64 {
    sqlx::query_scalar("select cast(sum(balance) as bigint) from account where owner = $1")
        .bind(customer(who).to_string())
        .fetch_one(store.reader())
        .await
        .unwrap()
}

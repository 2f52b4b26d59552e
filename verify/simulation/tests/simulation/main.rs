//! The fear: a death, a pause, a leap of the clock or a full ring, in an unforeseen order, loses a
//! message, delivers one that is settled, or stops everything.
//!
//! The whole protocol on memory of the test's own, in one thread: a producer, durable, plain and
//! evictable consumers, an observer, four workers of two groups, and a dead-letter ring, which is a
//! ring like the first, with a consumer that redrives. A seed decides
//! the order of turns. Any party may be killed before any access to shared memory, stopped for a
//! while between two operations, or interrupted in the middle of one by operations of other
//! parties. The clock leaps, and is set back. Rings have two to sixteen blocks. After 400 turns
//! calm begins: some parties are dead for good, and all other parties must finish within 20,000
//! turns. An oracle that knows nothing of the protocol but the layout sees every write as it
//! happens, and now and then all of it becomes a file for `Ring::check` and `Ring::repair`.
//!
//! `SLIPRING_SEEDS` says how many seeds (default 6,000), `SLIPRING_FIRST_SEED` from where on; a
//! seed that fails says so, and `SLIPRING_SEED` plays it again and tells each turn and each write:
//!
//! ```sh
//! SLIPRING_SEEDS=1000000 cargo test --release -p simulation
//! SLIPRING_SEED=4711 cargo test -p simulation whatever -- --nocapture
//! ```

mod audit;
mod consumers;
mod dead_letters;
mod deliveries;
mod memory;
mod oracle;
mod producer;
mod workers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::World;

const SEEDS: u64 = 6_000;
/// One seed in so many is looked at as a file, by `Ring::check` and `Ring::repair`.
const AUDIT: u64 = 100;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect(variable))
}

/// Counts over all seeds.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    turns: u64,
    messages: u64,
    leases: u64,
    kills: u64,
    history: u64,
}

fn play(seed: u64, talkative: bool) -> Done {
    let world: Rc<World> = World::new(seed, talkative);
    world.play(seed % AUDIT == 0);
    let oracle = world.shared.oracle.borrow();
    Done {
        turns: world.turns.get().into(),
        messages: oracle.end() - world.shared.geometry.first_position(),
        leases: oracle.groups.iter().map(|group| group.leases).sum(),
        kills: world.kills.get(),
        history: world.shared.machine.history.get(),
    }
}

#[test]
fn whatever_happens_every_message_meets_its_fate() {
    loom_tests::sites::change_as_told();
    if let Some(seed) = number("SLIPRING_SEED") {
        println!("seed {seed}: {:?}", play(seed, true));
        return;
    }
    let first = number("SLIPRING_FIRST_SEED").unwrap_or(0);
    let seeds = number("SLIPRING_SEEDS").unwrap_or(SEEDS);
    let mut sum = Done::default();
    for seed in first..first + seeds {
        let Ok(done) = catch_unwind(AssertUnwindSafe(|| play(seed, false))) else {
            panic!(
                "seed {seed} failed; to see it again:\n\
                 SLIPRING_SEED={seed} cargo test -p simulation whatever -- --nocapture"
            );
        };
        sum.turns += done.turns;
        sum.messages += done.messages;
        sum.leases += done.leases;
        sum.kills += done.kills;
    }
    let Done { turns, messages, leases, kills, .. } = sum;
    println!("{seeds} seeds: {turns} turns, {messages} messages, {leases} leases, {kills} kills");
    // A simulation in which nothing happens proves nothing.
    assert!(kills > 5 * seeds && messages > 15 * seeds && leases > 15 * seeds, "{sum:?}");
}

#[test]
fn a_seed_plays_the_same_again() {
    let histories = |seed| (play(seed, false), play(seed, false));
    for seed in 0..100 {
        let (once, again) = histories(seed);
        assert_eq!(once, again, "seed {seed}");
        assert_ne!(once.history, play(seed + 1, false).history, "seeds {seed} and the next");
    }
}

//! The fear: a death, a pause, a leap of the clock or a full ring, in an order that nobody thought of, loses a
//! message, delivers one that is settled, or stops everything.
//!
//! The whole protocol on memory of the test's own, in one thread: a producer, durable, plain and evictable
//! consumers, an observer, four workers of two groups, a dead-letter ring. A seed decides whose turn it is.
//! Anybody may be killed before any access to shared memory, stopped for a while between two operations, or
//! interrupted in the middle of one by the operations of others. The clock leaps. Rings have two to sixteen
//! blocks. An oracle that knows nothing of the protocol but the layout sees every write as it happens.
//!
//! `SLIPRING_SEEDS` says how many seeds (default 10,000); a seed that fails says so, and `SLIPRING_SEED` plays it
//! again and tells each turn:
//!
//! ```sh
//! SLIPRING_SEEDS=1000000 cargo test --release --test simulation
//! SLIPRING_SEED=4711 cargo test --test simulation -- --nocapture
//! ```

mod consumers;
mod deliveries;
mod dice;
mod grave;
mod memory;
mod oracle;
mod producer;
mod workers;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use world::World;

const SEEDS: u64 = 10_000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect(variable))
}

/// What one seed did: kills, messages, leases.
fn play(seed: u64, talkative: bool) -> [u64; 3] {
    let world: Rc<World> = World::new(seed, talkative);
    world.play();
    let oracle = world.shared.oracle.borrow();
    let published = oracle.end() - world.shared.geometry.first_position();
    [world.kills.get(), published, oracle.groups.iter().map(|group| group.leases).sum()]
}

#[test]
fn whatever_happens_every_message_meets_its_fate() {
    if let Some(seed) = number("SLIPRING_SEED") {
        println!("seed {seed}: {:?}", play(seed, true));
        return;
    }
    let seeds = number("SLIPRING_SEEDS").unwrap_or(SEEDS);
    let mut sums = [0; 3];
    for seed in 0..seeds {
        match catch_unwind(AssertUnwindSafe(|| play(seed, false))) {
            Ok(done) => sums.iter_mut().zip(done).for_each(|(sum, done)| *sum += done),
            Err(_) => panic!("seed {seed} failed; SLIPRING_SEED={seed} plays it again"),
        }
    }
    let [kills, published, leases] = sums;
    println!("{seeds} seeds: {published} messages, {leases} leases, {kills} kills");
    // A simulation in which nothing happens proves nothing.
    assert!(kills > 5 * seeds && published > 15 * seeds && leases > 15 * seeds, "{sums:?}");
}

//! The fear: the rescue of a damaged ring finds damage in a sound one.

use kit::{TempDir, until};
use slipring::{Producer, Ring, RingOptions};
use std::sync::atomic::{AtomicBool, Ordering};

/// A copy takes its time: the head is copied before the slots, and the producer goes on.
#[test]
fn a_ring_that_is_copied_while_it_is_in_use_is_sound() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 1024).create(&path).unwrap();
    let done = AtomicBool::new(false);
    let salvages: Vec<_> = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut producer = Producer::<[u8]>::open(&ring).unwrap();
            while !done.load(Ordering::Relaxed) {
                producer.send(b"sound").unwrap();
            }
        });
        until("the producer is in the second lap", || ring.head() > 1024);
        let salvages = (0..50).map(|_| Ring::salvage(&path)).collect();
        done.store(true, Ordering::Relaxed);
        salvages
    });
    for salvage in salvages {
        let salvage = salvage.unwrap();
        assert_eq!((salvage.faults, salvage.damaged), (vec![], vec![]));
    }
}

//! Followers: what they may read, what they see of their upstreams' deeds, and how they are told of
//! an end.
//!
//! An upstream also writes a word outside of the ring before it releases a message. A follower that
//! gets the message asserts that it sees the word: record, then act.

use super::{
    check_known, consumer, copied_words, geometry, kind_of, leases, publish, take, take_over, words,
};
use crate::explore::{explore, killed_at_each};
use crate::memory::{LoomMemory, LoomRights, mortal};
use loom::sync::atomic::AtomicU64;
use loom::thread;
use slipring_core::format::{Geometry, Meta};
use slipring_core::memory::Memory;
use slipring_core::protocol;
use slipring_core::protocol::Damage;
use slipring_core::protocol::follow::{Followed, Party, Upstream};
use slipring_core::protocol::membership;
use slipring_core::protocol::read::{Copied, Ready};
use slipring_core::protocol::table::{self, Eviction, Start};
use slipring_core::protocol::tenure;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

const NO_LIMIT: Duration = Duration::MAX;

/// What an upstream did about messages, outside of the ring: it is done with all below this.
type Done = Arc<AtomicU64>;

fn nothing_done() -> Done {
    Arc::new(AtomicU64::new(0))
}

type Consumer = protocol::Consumer<LoomMemory>;

/// A consumer in this entry, after the present owners of those entries.
fn follower(memory: &LoomMemory, geometry: &Geometry, entry: u32, after: &[Party]) -> Consumer {
    let after: Vec<Followed> =
        after.iter().map(|party| Followed::present(memory, geometry, *party)).collect();
    consumer(memory, geometry, entry, Start::Earliest).following(geometry, &after)
}

/// An upstream: reads one message, acts, releases it.
fn act(reader: &mut Consumer, done: &Done) -> bool {
    let taken = super::read(reader);
    if taken {
        done.store(reader.tail() + 1, Relaxed);
        reader.release(1);
        reader.wake_behind();
    }
    taken
}

/// Result of a look of a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Read,
    Nothing,
    Lost,
}

/// Reads in place and releases all that may be read; asserts that it is right, and that every
/// upstream is done with it.
fn follow(reader: &mut Consumer, done: &[Done]) -> Look {
    match reader.poll().expect("a sound ring") {
        Ready::Empty if reader.behind().is_some_and(Upstream::is_gone) => Look::Lost,
        Ready::Empty => Look::Nothing,
        Ready::Messages(n) => {
            assert_eq!(n, reader.known());
            check_known(reader, kind_of);
            for done in done {
                assert!(done.load(Relaxed) >= reader.tail() + n, "read what its upstream is not done with");
            }
            reader.release(n);
            reader.wake_behind();
            Look::Read
        }
    }
}

/// Sleeps until the upstream moves that is furthest behind, as a consumer that waits.
fn sleep_behind(reader: &mut Consumer) {
    let side = reader.behind().expect("it follows").side();
    let look = |reader: &mut Consumer| {
        let is_behind = reader.poll()? == Ready::Empty
            && reader.behind().is_some_and(|upstream| !upstream.is_gone() && upstream.side() == side);
        Ok::<_, Damage>(is_behind.then_some(NO_LIMIT))
    };
    side.sleep_unless(reader, protocol::Consumer::memory, look).expect("a sound ring");
}

/// What was published is read by all, in the end.
fn finish(producer: &protocol::Producer<LoomMemory>, first: &mut [(Consumer, Done)], last: &mut Consumer) {
    let dones: Vec<Done> = first.iter().map(|(_, done)| done.clone()).collect();
    for (reader, done) in first {
        while act(reader, done) {}
    }
    while follow(last, &dones) == Look::Read {}
    assert_eq!(last.tail(), producer.head(), "published and followed");
}

/// So many upstreams, each in a thread of its own, and one follower of all of them.
fn chain(bound: usize, upstreams: u32) -> usize {
    explore(bound, move || {
        let geometry = geometry(2, u64::from(upstreams) + 1);
        let memory = LoomMemory::new(&geometry);
        let mut producer = take_over(&memory, &geometry);
        let first: Vec<(Consumer, Done)> = (0..upstreams)
            .map(|entry| (consumer(&memory, &geometry, entry, Start::Earliest), nothing_done()))
            .collect();
        let dones: Vec<Done> = first.iter().map(|(_, done)| done.clone()).collect();
        let after: Vec<Party> = (0..upstreams).map(Party::Consumer).collect();
        let mut last = follower(&memory, &geometry, upstreams, &after);
        assert!(publish(&mut producer));
        let producing = thread::spawn(move || {
            publish(&mut producer);
            producer
        });
        let acting: Vec<_> = first
            .into_iter()
            .map(|(mut reader, done)| {
                thread::spawn(move || {
                    for _ in 0..2 {
                        act(&mut reader, &done);
                    }
                    (reader, done)
                })
            })
            .collect();
        for _ in 0..2 {
            follow(&mut last, &dones);
        }
        let producer = producing.join().expect("the producer ends");
        let mut first: Vec<_> = acting.into_iter().map(|it| it.join().expect("it ends")).collect();
        finish(&producer, &mut first, &mut last);
    })
}

pub(super) fn follow_chain(bound: usize) -> usize {
    chain(bound, 1)
}

/// With one preemption less: four threads.
pub(super) fn follow_diamond(bound: usize) -> usize {
    chain(bound.saturating_sub(1), 2)
}

/// The producer reuses the slot that only a follower still reads.
pub(super) fn follow_reuse(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(1, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let mut first = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        assert!(act(&mut first, &done));
        let producing = thread::spawn(move || {
            publish(&mut producer);
            producer
        });
        let acting = done.clone();
        let upstream = thread::spawn(move || {
            act(&mut first, &acting);
            first
        });
        for _ in 0..2 {
            follow(&mut last, std::slice::from_ref(&done));
        }
        let producer = producing.join().expect("the producer ends");
        let first = upstream.join().expect("it ends");
        finish(&producer, &mut [(first, done)], &mut last);
    })
}

/// A batch whose last message is headerless, known through the upstream's tail alone.
pub(super) fn follow_headerless(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let mut first = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        let producing = thread::spawn(move || {
            producer.rescan(0);
            let batch = super::batches::fill(&mut producer, 3);
            producer.publish_batch(&batch);
            producer
        });
        let acting = done.clone();
        let upstream = thread::spawn(move || {
            for _ in 0..2 {
                if super::read_many(&mut first) {
                    let n = first.known();
                    acting.store(first.tail() + n, Relaxed);
                    first.release(n);
                }
            }
            first
        });
        for _ in 0..2 {
            follow(&mut last, std::slice::from_ref(&done));
        }
        let producer = producing.join().expect("the producer ends");
        let first = upstream.join().expect("it ends");
        finish(&producer, &mut [(first, done)], &mut last);
    })
}

/// Two batches. The head tells the follower of the second one long before it may read it: what it
/// learns then must be whole.
pub(super) fn follow_ahead(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(8, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let mut first = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        producer.rescan(0);
        let batch = super::batches::fill(&mut producer, 3);
        producer.publish_batch(&batch);
        assert!(act(&mut first, &done));
        let producing = thread::spawn(move || {
            let batch = super::batches::fill(&mut producer, 3);
            producer.publish_batch(&batch);
            producer
        });
        follow(&mut last, std::slice::from_ref(&done));
        let producer = producing.join().expect("the producer ends");
        finish(&producer, &mut [(first, done)], &mut last);
    })
}

/// A tail that was written by a party that read nothing: the follower believes the producer.
pub(super) fn follow_liar(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 2);
        let memory = LoomMemory::new(&geometry);
        drop(consumer(&memory, &geometry, 0, Start::Earliest));
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        memory.store(geometry.tail(0), 3, Relaxed);
        let producing = thread::spawn(move || {
            for _ in 0..2 {
                publish(&mut producer);
            }
            producer
        });
        for _ in 0..2 {
            follow(&mut last, &[]);
        }
        let producer = producing.join().expect("the producer ends");
        while follow(&mut last, &[]) == Look::Read {}
        assert_eq!(last.tail(), producer.head(), "no more than was published, and no less");
    })
}

/// The upstream goes, and another party takes its entry, and reads further.
pub(super) fn follow_leaves(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let entry = geometry.consumer_entry(0);
        tenure::succeed(&memory, entry);
        let mut first = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let (owners, acting) = (memory.clone(), done.clone());
        let owning = thread::spawn(move || {
            assert!(act(&mut first, &acting));
            membership::free(&owners, &geometry, 0);
            tenure::succeed(&owners, entry);
            let mut second = consumer(&owners, &geometry, 0, Start::Earliest);
            while take(&mut second) {}
            membership::free(&owners, &geometry, 0);
        });
        for _ in 0..3 {
            follow(&mut last, std::slice::from_ref(&done));
        }
        owning.join().expect("they end");
        while follow(&mut last, std::slice::from_ref(&done)) == Look::Read {}
        assert_eq!(follow(&mut last, std::slice::from_ref(&done)), Look::Lost);
        assert!(last.tail() <= 1, "only what the first owner released");
    })
}

/// The same without a successor, and the follower sleeps: it reads all that was released, and is
/// told.
pub(super) fn follow_end(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(4, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let mut first = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..3 {
            assert!(publish(&mut producer));
        }
        let (owner, acting) = (memory.clone(), done.clone());
        let leaving = thread::spawn(move || {
            for _ in 0..2 {
                assert!(act(&mut first, &acting));
            }
            membership::free(&owner, &geometry, 0);
        });
        loop {
            match follow(&mut last, std::slice::from_ref(&done)) {
                Look::Read => {}
                Look::Lost => break,
                Look::Nothing => sleep_behind(&mut last),
            }
        }
        assert_eq!(last.tail(), 2, "all that was released");
        leaving.join().expect("it ends");
    })
}

/// A follower of two sleeps on the one that is behind, which is now one and now the other.
pub(super) fn park_follower(bound: usize) -> usize {
    explore(bound.saturating_sub(1), || {
        let geometry = geometry(2, 3);
        let memory = LoomMemory::new(&geometry);
        let first = [0, 1].map(|entry| consumer(&memory, &geometry, entry, Start::Earliest));
        let dones = [0, 1].map(|_| nothing_done());
        let mut last = follower(&memory, &geometry, 2, &[Party::Consumer(0), Party::Consumer(1)]);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let [one, other] = first;
        let acting =
            [(one, 2, dones[0].clone()), (other, 2, dones[1].clone())].map(|(mut reader, n, done)| {
                thread::spawn(move || {
                    for _ in 0..n {
                        assert!(act(&mut reader, &done));
                    }
                })
            });
        while last.tail() < 2 {
            if follow(&mut last, &dones) == Look::Nothing {
                sleep_behind(&mut last);
            }
        }
        for thread in acting {
            thread.join().expect("it ends");
        }
    })
}

/// A follower of one sleeps twice: the clearing of its first announcement must not erase its
/// second.
pub(super) fn park_behind(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let mut first = consumer(&memory, &geometry, 0, Start::Earliest);
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let acting = done.clone();
        let upstream = thread::spawn(move || {
            for _ in 0..2 {
                assert!(act(&mut first, &acting));
            }
        });
        while last.tail() < 2 {
            if follow(&mut last, std::slice::from_ref(&done)) == Look::Nothing {
                sleep_behind(&mut last);
            }
        }
        upstream.join().expect("it ends");
    })
}

/// The upstream is killed before any of its accesses, at work or while it leaves, and cleared away:
/// its follower reads all that it released, and is told.
pub(super) fn upstream_killed(bound: usize) -> usize {
    killed_at_each(bound, move |accesses| {
        let geometry = geometry(4, 2);
        let memory = LoomMemory::new(&geometry);
        let done = nothing_done();
        let tail = table::join(&memory, &geometry, 0, Start::Earliest, Eviction::Refused, || true)
            .expect("an empty ring");
        let mut last = follower(&memory, &geometry, 1, &[Party::Consumer(0)]);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..3 {
            assert!(publish(&mut producer));
        }
        let (fatal, acting) = (memory.fatal_after(accesses), done.clone());
        let lived = mortal(|| {
            let mut first = protocol::Consumer::new(fatal.clone(), geometry, 0, tail);
            for _ in 0..2 {
                act(&mut first, &acting);
            }
            membership::free(&fatal, &geometry, 0);
        });
        let upstream = &last.upstreams()[0];
        assert!(upstream.reap_if_dead(&memory, &LoomRights::new()), "nobody holds its right");
        while follow(&mut last, std::slice::from_ref(&done)) == Look::Read {}
        assert_eq!(follow(&mut last, std::slice::from_ref(&done)), Look::Lost);
        let (reached, acted) = (last.tail(), done.load(Relaxed));
        assert!(reached == acted || reached + 1 == acted, "{reached} of {acted}");
        assert!(lived.is_none() || reached == 2, "all that was released");
        lived.is_some()
    })
}

/// Both copy: the upstream may be evicted, and its follower, too.
pub(super) fn follow_copied(bound: usize) -> usize {
    explore(bound, || {
        let geometry = geometry(2, 2);
        let memory = LoomMemory::new(&geometry).copying_in_place();
        let done = nothing_done();
        let join = |entry| {
            let tail = table::join(&memory, &geometry, entry, Start::Earliest, Eviction::Agreed, || true)
                .expect("an empty ring");
            protocol::EvictableConsumer::new(memory.clone(), geometry, entry, tail)
        };
        let mut first = join(0);
        let mut last = join(1).following(&[Followed::present(&memory, &geometry, Party::Consumer(0))]);
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let acting = done.clone();
        let upstream = thread::spawn(move || {
            let mut buffer = [0; 16];
            for position in 0..2 {
                acting.store(position + 1, Relaxed);
                assert!(matches!(first.take(&mut buffer), Copied::Message { .. }));
            }
        });
        let mut look = || {
            let mut buffer = [0; 16];
            match last.take(&mut buffer) {
                Copied::Message { position, meta } => {
                    assert_eq!(meta, Meta::new(16, kind_of(position)), "length and kind");
                    assert_eq!(copied_words(&buffer), words(position));
                    assert!(done.load(Relaxed) > position, "read what its upstream is not done with");
                    true
                }
                _ => false,
            }
        };
        for _ in 0..2 {
            look();
        }
        upstream.join().expect("it ends");
        while look() {}
        assert_eq!(last.tail(), 2, "published and followed");
    })
}

/// A follower of a group, which sleeps: two workers settle in any order, and none moves the floor.
pub(super) fn follow_group(bound: usize) -> usize {
    explore(bound.saturating_sub(1), || {
        let (geometry, memory) = leases::ring(2);
        let mut last = follower(&memory, &geometry, 0, &[Party::Group(0)]);
        let dones = [0, 1].map(|_| nothing_done());
        let mut producer = take_over(&memory, &geometry);
        for _ in 0..2 {
            assert!(publish(&mut producer));
        }
        let workers = [0, 1].map(|entry| leases::worker(&memory, &geometry, entry));
        let [one, other] = workers.map(|worker| {
            let held = leases::lease(&worker, leases::NOW).expect("two are there");
            (worker, held)
        });
        let working = [(one, dones[0].clone()), (other, dones[1].clone())].map(|((worker, held), done)| {
            thread::spawn(move || {
                done.store(1, Relaxed);
                assert!(leases::settle(&worker, held));
                worker.wake_behind();
            })
        });
        while last.tail() < 2 {
            match last.poll().expect("a sound ring") {
                Ready::Empty => sleep_behind(&mut last),
                Ready::Messages(n) => {
                    check_known(&last, kind_of);
                    for position in last.tail()..last.tail() + n {
                        let done = &dones[usize::try_from(position).expect("two")];
                        assert_eq!(done.load(Relaxed), 1, "read what the group is not done with");
                    }
                    last.release(n);
                }
            }
        }
        for thread in working {
            thread.join().expect("the worker ends");
        }
    })
}

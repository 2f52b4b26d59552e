//! The life of entries: parties that enter, are killed on the way, and have successors in the
//! same entry, while the producer makes room.
//!
//! A victim is a thread of its own, and is dead before its successor and the producer meet: what it
//! did while it lived is the question of other models, and a thread would lend its fences to the
//! successor.

use super::leases::{self, BIRTH, NOW, check, finish, lease};
use super::{copied_words, geometry, publish, read, take, take_over, words};
use crate::explore::{self, explore};
use crate::memory::{LoomMemory, LoomRights, mortal};
use loom::thread;
use slipring_core::format::{Geometry, Millis};
use slipring_core::memory::{Clock, Liveness, Right};
use slipring_core::protocol;
use slipring_core::protocol::group::table::{self, Wanted};
use slipring_core::protocol::group::{Group, Kinds, members};
use slipring_core::protocol::make_room::{Policy, RoomMaker};
use slipring_core::protocol::membership::{self, ConsumerKind, EnterError, Entered, Identity};
use slipring_core::protocol::read::Copied;
use slipring_core::protocol::table::Start;
use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// When durable consumers went, in milliseconds since 1970.
const LONG_AGO: u64 = 1;
/// For how long they may be away.
const AWAY_MAX: u64 = 100;

/// The producer's clock.
struct Ticking {
    ms: Cell<u32>,
    /// It goes on so far with every look.
    per_look: u32,
}

impl Clock for Ticking {
    fn now(&self) -> Millis {
        self.ms.set(self.ms.get() + self.per_look);
        Millis(self.ms.get())
    }

    fn unix_ms(&self) -> u64 {
        LONG_AGO + 10 * AWAY_MAX
    }
}

/// A producer that makes room as the shipped one does.
struct Maker {
    producer: protocol::Producer<LoomMemory>,
    room: RoomMaker,
    rights: LoomRights,
    clock: Ticking,
}

/// No proof of life is believed for so long.
const LONG_MS: u32 = 1000;

impl Maker {
    fn new(memory: &LoomMemory, geometry: &Geometry, rights: &LoomRights, durable_inactive_ms: u64) -> Maker {
        let policy = Policy { required_readers: 0, durable_inactive_ms };
        Maker {
            producer: take_over(memory, geometry),
            room: RoomMaker::new(policy),
            rights: rights.party(9),
            clock: Ticking { ms: Cell::new(0), per_look: LONG_MS },
        }
    }

    /// Publishes the next message if there is room for it, or can be made.
    fn publish(&mut self) -> bool {
        let Maker { producer, room, rights, clock } = self;
        if producer.room() == 0 && !room.make_room(producer, rights, clock, |_| {}) {
            return false;
        }
        publish(producer)
    }

    /// Tries to publish the next message at this time.
    fn publish_at(&mut self, ms: u32) -> bool {
        self.clock = Ticking { ms: Cell::new(ms), per_look: 0 };
        self.publish()
    }

    /// Tries so often, in a thread of its own.
    fn publishing(mut self, attempts: usize) -> thread::JoinHandle<Maker> {
        thread::spawn(move || {
            for _ in 0..attempts {
                self.publish();
            }
            self
        })
    }
}

/// As [`explore::killed_at_each`], with two preemptions less in each of its many explorations.
fn killed_at_each(bound: usize, scenario: fn(usize) -> bool) -> usize {
    explore::killed_at_each(bound.saturating_sub(2).max(1), scenario)
}

/// Runs a party that may be killed, in a thread of its own; true if it survived. The kernel takes
/// its rights away.
fn dying(rights: LoomRights, life: impl FnOnce(&LoomRights) + 'static) -> thread::JoinHandle<bool> {
    thread::spawn(move || {
        let survived = mortal(|| life(&rights)).is_some();
        rights.drop_all();
        survived
    })
}

fn who(name: &str) -> Identity<'_> {
    Identity { name, pid: 7, unix_ms: LONG_AGO, after: &[] }
}

/// Enters the table as the shipped consumers do.
pub(super) fn enter(
    memory: &LoomMemory,
    geometry: &Geometry,
    rights: &LoomRights,
    kind: ConsumerKind,
) -> Result<Entered, EnterError<Infallible>> {
    assert!(rights.seize(Right::Table), "nobody alive has it");
    let name = if kind == ConsumerKind::Durable { "d" } else { "" };
    let entered = membership::enter(memory, geometry, rights, kind, Start::Earliest, &who(name));
    rights.release(Right::Table);
    entered
}

/// True if the entry was held: by a producer that looks whether its consumer lives.
fn is_held(error: &EnterError<Infallible>) -> bool {
    matches!(error, EnterError::NameInUse { .. } | EnterError::TableFull)
}

/// Reads all that is published.
fn read_all(reader: &mut protocol::Consumer<LoomMemory>, producer: &protocol::Producer<LoomMemory>) {
    while take(reader) {}
    assert_eq!(reader.tail(), producer.head(), "published and read");
}

/// Enters, reads a message and leaves.
fn visit(memory: &LoomMemory, geometry: &Geometry, rights: &LoomRights, kind: ConsumerKind) {
    let Ok(Entered { entry, tail, .. }) = enter(memory, geometry, rights, kind) else { return };
    take(&mut protocol::Consumer::new(memory.clone(), *geometry, entry, tail));
    membership::leave(memory, geometry, rights, entry, kind, LONG_AGO);
}

/// A consumer is killed before each of its accesses, and another enters, while the producer makes
/// room.
pub(super) fn consumer_killed(bound: usize) -> usize {
    killed_at_each(bound, |accesses| {
        let (geometry, rights) = (geometry(1, 1), LoomRights::new());
        let memory = LoomMemory::new(&geometry);
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        assert!(maker.publish());
        let fatal = memory.fatal_after(accesses);
        let victim = dying(rights.party(1), move |rights| {
            visit(&fatal, &geometry, rights, ConsumerKind::Ephemeral);
        });
        let survived = victim.join().expect("the victim ends");
        let publishing = maker.publishing(1);
        let hand = rights.party(2);
        let entered = enter(&memory, &geometry, &hand, ConsumerKind::Ephemeral);
        let mut reader = entered.map(|entered| {
            let mut reader = protocol::Consumer::new(memory.clone(), geometry, entered.entry, entered.tail);
            // In place, and not released: the producer must keep off.
            read(&mut reader);
            reader
        });
        let mut maker = publishing.join().expect("the producer ends");
        match &mut reader {
            Ok(reader) => {
                read_all(reader, &maker.producer);
                assert!(maker.publish(), "all is read");
                membership::leave(&memory, &geometry, &hand, reader.entry(), ConsumerKind::Ephemeral, 2);
            }
            Err(error) => assert!(is_held(error), "{error:?}"),
        }
        for _ in 0..2 {
            assert!(maker.publish(), "nobody is there who gates");
        }
        survived
    })
}

/// A durable consumer is killed before each of its accesses, from its entering to its second
/// leaving, and comes back while the producer makes room. Where it had once gated, nothing is lost.
pub(super) fn durable_killed(bound: usize) -> usize {
    killed_at_each(bound, |accesses| {
        let (geometry, rights) = (geometry(1, 1), LoomRights::new());
        let memory = LoomMemory::new(&geometry);
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        // The first is gone: a tail that was never agreed upon is no position to come back to.
        for _ in 0..2 {
            assert!(maker.publish());
        }
        let fatal = memory.fatal_after(accesses);
        // One more than the position that it is certain to have released; 0 until it is in the
        // table.
        let released = Arc::new(AtomicU64::new(0));
        let released_there = Arc::clone(&released);
        let victim = dying(rights.party(1), move |rights| {
            for _ in 0..2 {
                let entered = enter(&fatal, &geometry, rights, ConsumerKind::Durable);
                let Ok(Entered { entry, tail, .. }) = entered else { return };
                released_there.store(tail + 1, Relaxed);
                let mut reader = protocol::Consumer::new(fatal.clone(), geometry, entry, tail);
                take(&mut reader);
                released_there.store(reader.tail() + 1, Relaxed);
                membership::leave(&fatal, &geometry, rights, entry, ConsumerKind::Durable, LONG_AGO);
            }
        });
        let survived = victim.join().expect("the victim ends");
        let publishing = maker.publishing(1);
        let entered = enter(&memory, &geometry, &rights.party(2), ConsumerKind::Durable);
        let agreed = released.load(Relaxed).checked_sub(1);
        let mut reader = match entered {
            Ok(Entered { entry, tail, resumed, .. }) => {
                assert!(resumed || agreed.is_none(), "a durable consumer is forgotten");
                let went_on = agreed.is_none_or(|position| (position..=position + 1).contains(&tail));
                assert!(went_on, "it comes back at {tail}, and had released up to {agreed:?}");
                protocol::Consumer::new(memory.clone(), geometry, entry, tail)
            }
            Err(error) => {
                assert!(is_held(&error), "{error:?}");
                publishing.join().expect("the producer ends");
                return survived;
            }
        };
        read(&mut reader);
        let mut maker = publishing.join().expect("the producer ends");
        read_all(&mut reader, &maker.producer);
        assert!(maker.publish(), "all is read");
        assert!(!maker.publish(), "a durable consumer gates");
        survived
    })
}

/// The producer has asked whether a consumer lives, and believes the answer for a while. Meanwhile
/// that consumer leaves, and another one enters in its place, at the same tail, and dies.
pub(super) fn proof(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, rights) = (geometry(1, 2), LoomRights::new());
        let memory = LoomMemory::new(&geometry);
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        let hands = [1, 2].map(|party| rights.party(party));
        let [first, second] = [0, 1].map(|nth: usize| {
            let entered = enter(&memory, &geometry, &hands[nth], ConsumerKind::Ephemeral);
            entered.expect("two entries are free")
        });
        assert!(maker.publish_at(0) && !maker.publish_at(0), "both live, and gate");
        let mut reader = protocol::Consumer::new(memory.clone(), geometry, first.entry, first.tail);
        assert!(take(&mut reader));
        assert_eq!((first.entry, second.entry), (0, 1), "the proof is the first one's");
        let [hand, dead] = hands;
        dead.drop_all();
        assert!(maker.publish_at(1), "the proof is not of the dead one");
        assert!(!maker.publish_at(1), "the first lives, and gates");
        let there = memory.clone();
        let owners = thread::spawn(move || {
            membership::leave(&there, &geometry, &hand, first.entry, ConsumerKind::Ephemeral, 2);
            let entered = enter(&there, &geometry, &hand, ConsumerKind::Ephemeral);
            if let Ok(Entered { entry, tail, .. }) = entered {
                // In place, and not released: the producer must keep off while it lives.
                read(&mut protocol::Consumer::new(there, geometry, entry, tail));
            }
            hand.drop_all();
        });
        maker.publish_at(2);
        maker.publish_at(LONG_MS);
        owners.join().expect("the consumers end");
        for turn in 2..4 {
            assert!(maker.publish_at(turn * LONG_MS), "the dead gate for no longer than a proof is believed");
        }
    })
}

/// A durable consumer comes back at the moment at which the producer gives it up.
pub(super) fn expire_resume(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, rights) = (geometry(1, 1), LoomRights::new());
        let memory = LoomMemory::new(&geometry);
        let mut maker = Maker::new(&memory, &geometry, &rights, AWAY_MAX);
        let hand = rights.party(1);
        let away = enter(&memory, &geometry, &hand, ConsumerKind::Durable).expect("an empty ring").entry;
        membership::leave(&memory, &geometry, &hand, away, ConsumerKind::Durable, LONG_AGO);
        assert!(maker.publish());
        let publishing = maker.publishing(2);
        let entered = enter(&memory, &geometry, &rights.party(2), ConsumerKind::Durable);
        let mut reader = entered.map(|Entered { entry, tail, resumed, .. }| {
            assert!(!resumed || tail == 0, "resumed at {tail}");
            let mut reader = protocol::Consumer::new(memory.clone(), geometry, entry, tail);
            assert!(read(&mut reader) || !resumed, "what it came back for is gone");
            reader
        });
        let mut maker = publishing.join().expect("the producer ends");
        match &mut reader {
            Ok(reader) => {
                read_all(reader, &maker.producer);
                assert!(maker.publish(), "all is read");
                assert!(!maker.publish(), "it is there again, and gates");
            }
            Err(error) => assert!(is_held(error), "{error:?}"),
        }
    })
}

/// An evictable consumer leaves, and another enters in its place, at the same tail, while the
/// producer takes away the tail that it had found before. (Found by the thread that takes it away,
/// the exchange on the first one's tail would be one that the checker can order after the second
/// one's store, which no machine can.)
pub(super) fn evict_entered(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, rights) = (geometry(1, 1), LoomRights::new());
        let memory = LoomMemory::new(&geometry);
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        let hand = rights.party(1);
        let first = enter(&memory, &geometry, &hand, ConsumerKind::Evictable).expect("an empty ring").entry;
        assert!(maker.publish());
        let gate = maker.producer.rescan(0).lowest.expect("the first one gates");
        let there = memory.clone();
        let leaving = thread::spawn(move || {
            membership::leave(&there, &geometry, &hand, first, ConsumerKind::Evictable, 2);
        });
        leaving.join().expect("the first one ends");
        let publishing = thread::spawn(move || {
            maker.producer.evict(gate);
            maker.publish();
            maker
        });
        let entered = enter(&memory, &geometry, &rights.party(2), ConsumerKind::Evictable);
        let Ok(Entered { entry, tail, .. }) = entered else { panic!("{entered:?}") };
        let mut reader = protocol::EvictableConsumer::new(memory.clone(), geometry, entry, tail);
        let mut accounted = tail;
        let mut look = |reader: &mut protocol::EvictableConsumer<LoomMemory>| {
            let mut buffer = [0; 16];
            match reader.take(&mut buffer) {
                Copied::Empty => return false,
                Copied::Message { position, .. } => {
                    assert_eq!(position, accounted, "in order");
                    assert_eq!(copied_words(&buffer), words(position), "the copy of position {position}");
                    accounted += 1;
                }
                Copied::Evicted => {
                    accounted += membership::rejoin(reader, || true).expect("the earliest can always be had");
                    assert_eq!(reader.tail(), accounted, "a reader never goes back");
                }
            }
            true
        };
        look(&mut reader);
        let maker = publishing.join().expect("the producer ends");
        while look(&mut reader) {}
        assert_eq!(accounted, maker.producer.head(), "every message is read or counted as missed");
    })
}

/// An empty ring of one group and one worker entry.
pub(super) fn crew(capacity: u64) -> (Geometry, LoomMemory, LoomRights) {
    let plan = Geometry::plan(crate::memory::BLOCK_SIZE, capacity, 1);
    let geometry = plan.and_then(|geometry| geometry.with_groups(1, 1)).expect("a valid geometry");
    let memory = LoomMemory::new(&geometry);
    assert_eq!(leases::create(&leases::group(&memory, &geometry)), Ok(0));
    (geometry, memory, LoomRights::new())
}

/// Joins the group as the shipped workers do. None if the producer has the table, or the only
/// entry, for a moment.
pub(super) fn join(
    memory: &LoomMemory,
    geometry: &Geometry,
    rights: &LoomRights,
) -> Option<protocol::Worker<LoomMemory>> {
    join_group("g", memory, geometry, rights)
}

fn join_group(
    name: &str,
    memory: &LoomMemory,
    geometry: &Geometry,
    rights: &LoomRights,
) -> Option<protocol::Worker<LoomMemory>> {
    if !rights.seize(Right::Table) {
        return None;
    }
    let wanted = Wanted { name, settings: Some(leases::settings()), start: Start::Earliest };
    let group = table::join(memory, geometry, rights, &wanted, BIRTH).expect("can always be had").group;
    let entry = members::enlist(&group, rights, &who("w")).ok();
    rights.release(Right::Table);
    Some(protocol::Worker::new(group, entry?, leases::current(), 0))
}

/// Leases and acknowledges all that can be had before any lease has run out; how many.
fn drain_now(worker: &protocol::Worker<LoomMemory>) -> u64 {
    let mut acked = 0;
    while let Some(found) = worker.search(Kinds::Any, NOW, true).lease {
        check(worker, found);
        assert!(finish(worker, found), "nobody else is about");
        acked += 1;
    }
    acked
}

/// A worker is killed before each of its accesses, and another enlists in its entry, while the
/// producer makes room. No message is lost or doubled, and no lease of the dead is the next one's.
pub(super) fn enlisted_killed(bound: usize) -> usize {
    killed_at_each(bound, |accesses| {
        let (geometry, memory, rights) = crew(2);
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        for _ in 0..2 {
            assert!(maker.publish());
        }
        let fatal = memory.fatal_after(accesses);
        let acked = Arc::new(AtomicBool::new(false));
        let acked_there = Arc::clone(&acked);
        let victim = dying(rights.party(1), move |rights| {
            let Some(worker) = join(&fatal, &geometry, rights) else { return };
            let done = lease(&worker, NOW).expect("two are there");
            // Killed over this, it may or may not be done.
            acked_there.store(true, Relaxed);
            finish(&worker, done);
            let _ = lease(&worker, NOW).expect("one is left");
            members::leave(&fatal, &geometry, rights, worker.entry());
        });
        let survived = victim.join().expect("the victim ends");
        let publishing = maker.publishing(1);
        let hand = rights.party(2);
        let worker = join(&memory, &geometry, &hand);
        let held = worker.as_ref().and_then(|worker| lease(worker, NOW));
        let mut maker = publishing.join().expect("the producer ends");
        let worker = worker.or_else(|| join(&memory, &geometry, &hand)).expect("the only one alive");
        let mut settled = 0;
        if let Some(held) = held {
            check(&worker, held);
            assert!(finish(&worker, held), "a lease was taken for the dead one's");
            settled += 1;
        }
        settled += drain_now(&worker);
        let floor = worker.group().help_floor();
        assert_eq!(floor, Some(maker.producer.head()), "lost, or held for ever");
        let least = maker.producer.head() - u64::from(acked.load(Relaxed));
        assert!((least..=maker.producer.head()).contains(&settled), "lost, or doubled");
        members::leave(&memory, &geometry, &hand, worker.entry());
        assert!(maker.publish(), "nobody is there who gates");
        survived
    })
}

/// A worker died. A colleague sweeps while a new worker enlists, perhaps in the dead one's entry,
/// and leases what the dead one had.
pub(super) fn enlist_sweep(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory) = leases::ring(1);
        let rights = LoomRights::new();
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let dead = rights.party(1);
        let worker = join(&memory, &geometry, &dead).expect("two entries are free");
        let _ = lease(&worker, NOW).expect("it is there");
        drop(worker);
        let hand = rights.party(2);
        let colleague = join(&memory, &geometry, &hand).expect("one entry is free");
        dead.drop_all();
        let sweeping = thread::spawn(move || {
            let mut died = 0;
            members::reap_all(colleague.group(), &hand, colleague.entry(), true, |_| died += 1);
            let found = colleague.search(Kinds::Any, NOW, true).lease;
            if let Some(found) = found {
                check(&colleague, found);
            }
            (colleague, found, died)
        });
        let new = join(&memory, &geometry, &rights.party(3));
        let ours = new.as_ref().and_then(|new| new.search(Kinds::Any, NOW, true).lease);
        let (colleague, theirs, died) = sweeping.join().expect("the colleague ends");
        assert!(ours.is_none() || theirs.is_none(), "two workers have leased one message");
        assert!(new.is_some() || died == 1, "the entry was free");
        if let (Some(new), Some(ours)) = (&new, ours) {
            check(new, ours);
            assert_eq!(ours.word.attempt(), 2, "the attempt that killed its worker counts");
            assert!(finish(new, ours), "the new worker's lease was taken for the dead one's");
        } else if let Some(theirs) = theirs {
            assert!(finish(&colleague, theirs), "nobody took it over");
        }
        drain_now(&colleague);
        assert_eq!(colleague.group().help_floor(), Some(1), "what the dead had was returned");
    })
}

/// The workers of two groups use the only entry in turn, and die. A colleague clears up after the
/// first while the second takes the entry, leases and dies: each lease returns to its own group.
pub(super) fn two_groups(bound: usize) -> usize {
    explore(bound, || {
        let plan = Geometry::plan(crate::memory::BLOCK_SIZE, 1, 1);
        let geometry = plan.and_then(|geometry| geometry.with_groups(2, 1)).expect("a valid geometry");
        let (memory, rights) = (LoomMemory::new(&geometry), LoomRights::new());
        let mut producer = take_over(&memory, &geometry);
        assert!(publish(&mut producer));
        let hand = rights.party(1);
        for group in ["h", "g"] {
            let worker = join_group(group, &memory, &geometry, &hand).expect("the entry is free");
            let _ = lease(&worker, NOW).expect("it is there");
            hand.drop_all();
        }
        let (there, its_hand) = (memory.clone(), rights.party(2));
        let clearing = thread::spawn(move || members::reap(&there, &geometry, &its_hand, 0));
        let hand = rights.party(3);
        if let Some(worker) = join_group("h", &memory, &geometry, &hand) {
            let _ = lease(&worker, NOW).expect("its group's worker is dead");
        }
        hand.drop_all();
        clearing.join().expect("the colleague ends");
        for group in ["g", "h"] {
            let hand = rights.party(4);
            let worker = join_group(group, &memory, &geometry, &hand).expect("the entry is a dead worker's");
            assert_eq!(drain_now(&worker), 1, "what the dead had was returned to {group}");
            hand.drop_all();
        }
    })
}

/// The creator of a group is killed before each of its accesses. A worker joins the group while the
/// producer makes room.
pub(super) fn creator_followed(bound: usize) -> usize {
    killed_at_each(bound, |accesses| {
        let plan = Geometry::plan(crate::memory::BLOCK_SIZE, 1, 1);
        let geometry = plan.and_then(|geometry| geometry.with_groups(1, 1)).expect("a valid geometry");
        let (memory, rights) = (LoomMemory::new(&geometry), LoomRights::new());
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        assert!(maker.publish());
        let fatal = memory.fatal_after(accesses);
        let victim = dying(rights.party(1), move |rights| drop(join(&fatal, &geometry, rights)));
        let survived = victim.join().expect("the victim ends");
        let publishing = maker.publishing(1);
        let hand = rights.party(2);
        let worker = join(&memory, &geometry, &hand);
        let held = worker.as_ref().and_then(|worker| lease(worker, NOW));
        let mut maker = publishing.join().expect("the producer ends");
        let worker = worker.or_else(|| join(&memory, &geometry, &hand)).expect("the only one alive");
        if let Some(held) = held {
            check(&worker, held);
            assert!(finish(&worker, held), "nobody else is about");
        }
        drain_now(&worker);
        assert_eq!(worker.group().help_floor(), Some(maker.producer.head()), "lost, or held for ever");
        assert!(maker.publish(), "all is settled");
        survived
    })
}

/// A group whose worker died is removed, while the producer makes room and another worker joins: as
/// long as the group gates, it has a name.
pub(super) fn removal(bound: usize) -> usize {
    explore(bound, || {
        let (geometry, memory, rights) = crew(1);
        let mut maker = Maker::new(&memory, &geometry, &rights, 0);
        assert!(maker.publish());
        let dead = rights.party(1);
        let worker = join(&memory, &geometry, &dead).expect("an entry is free");
        let held = lease(&worker, NOW).expect("it is there");
        drop(worker);
        dead.drop_all();
        let hand = rights.party(2);
        let there = memory.clone();
        let removing = thread::spawn(move || {
            if !hand.seize(Right::Table) {
                return false;
            }
            let removed = table::remove(&there, &geometry, &hand, "g").is_ok();
            hand.release(Right::Table);
            removed
        });
        assert!(!maker.publish() || maker.producer.head() == 2);
        let removed = removing.join().expect("the remover ends");
        let is_there = Group::named(&memory, &geometry, "g").is_some();
        assert_ne!(removed, is_there);
        if removed {
            assert!(maker.producer.head() == 2 || maker.publish(), "nobody gates any more");
        } else {
            let worker = join(&memory, &geometry, &rights.party(3)).expect("the entry is a dead worker's");
            let again = lease(&worker, NOW).expect("what the dead had was returned");
            assert_eq!(again.position, held.position);
        }
    })
}

//! The operations: what there is before, what the victim does, and what may be there afterwards.

use crate::raw::{Delivery, Raw, dead_path};
use crate::trace::{Marks, Stop, Victim};
use crate::world::{
    BLOCK, CAPACITY, Ending, Mode, PATIENCE, SETUP, SURVIVOR, Shape, VICTIM, World, join, message,
};
use slipring::{
    Consumer, DeadLetters, Error, GroupSettings, Observer, Producer, RecvError, Ring, RingOptions, SendError,
    Start, Worker, WorkerOptions,
};
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

/// One operation of the matrix.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) name: &'static str,
    /// What there is before it.
    pub(crate) prepare: fn(&Path, Mode) -> World,
    /// What the victim does, and what came of it: `ok …` or `err …`.
    pub(crate) act: fn(&Path, &Marks) -> String,
    /// Looks at what the victim left, before anybody goes on.
    pub(crate) judge: fn(&mut World, &Ending),
    /// How its reports may begin when nothing happened to it.
    pub(crate) says: &'static [&'static str],
    /// And how besides when it was stopped meanwhile.
    pub(crate) says_late: &'static [&'static str],
    /// Others change the file meanwhile, so that states cannot be told by the file: every instruction is tried.
    pub(crate) beside_others: bool,
}

const OK: &[&str] = &["ok"];
const LOST: &[&str] = &["err LeaseLost", "err Empty"];

fn say<T: Debug, E: Debug>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("ok {value:?}"),
        Err(error) => format!("err {error:?}"),
    }
}

fn reading() -> Shape {
    Shape { witness: true, ..Shape::default() }
}

fn working() -> Shape {
    Shape { group: true, worker: true, witness: true, deliver: 5, ..Shape::default() }
}

/// A ring of some age, without a producer.
fn orphaned(directory: &Path, mode: Mode, shape: Shape) -> World {
    let mut world = aged(directory, mode, shape);
    world.producer = None;
    world
}

/// More than a lap, so that slots hold what is older, then two messages that nobody has read.
fn aged(directory: &Path, mode: Mode, shape: Shape) -> World {
    let mut world = World::new(directory, mode, shape);
    world.publish_and_settle(CAPACITY + 2);
    world.publish(2);
    world
}

/// As `aged`; the witness has read everything, the group has not.
fn pending(directory: &Path, mode: Mode, shape: Shape) -> World {
    aged(directory, mode, shape)
}

fn nothing(_: &mut World, _: &Ending) {}

fn next_message(producer: &Producer) -> Vec<u8> {
    message(producer.head(), VICTIM)
}

/// A process in this role, killed where it stands when `until` is so.
fn corpse(role: &str, directory: &Path, mode: Mode, until: impl Fn(&Raw) -> bool) {
    let mut victim = Victim::start(role, directory, mode_name(mode)).unwrap();
    let raw = Raw::open(&directory.join("ring")).unwrap();
    while !until(&raw) {
        assert_eq!(victim.step(), Stop::Stepped, "{role} never got there");
    }
    victim.kill();
}

pub(crate) fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Kill => "kill",
        Mode::Freeze => "freeze",
    }
}

/// Joins the group as `child` does everything.
fn child(path: &Path) -> Worker {
    let options = WorkerOptions::new("g").name("child").tick(Duration::from_millis(1000));
    options.join(path).unwrap()
}

/// What the victim may have settled: up to so many of the two unsettled messages, oldest first. It reports the
/// positions.
fn may_settle(world: &mut World, end: &Ending, most: u64) {
    let oldest = world.base - 2;
    match &end.report {
        Some(report) if end.succeeded() => {
            let positions = report.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok());
            for position in positions {
                assert!(world.settled.insert(position), "position {position} was settled twice");
            }
        }
        // It failed: nothing was changed.
        Some(_) => {}
        None => world.maybe.extend(oldest..oldest + most),
    }
}

fn may_settle_oldest(world: &mut World, end: &Ending) {
    may_settle(world, end, 1);
}

fn may_settle_both(world: &mut World, end: &Ending) {
    may_settle(world, end, 2);
}

/// What may have become of the oldest unsettled message, if nobody else had it meanwhile.
fn oldest_is(world: &World, allowed: impl Fn(Delivery) -> bool) {
    if world.mode == Mode::Kill {
        let oldest = world.base - 2;
        let delivery = world.raw().delivery(0, oldest);
        assert!(allowed(delivery), "position {oldest} is {delivery:?}");
    }
}

fn may_give_up_oldest(world: &mut World, end: &Ending) {
    let oldest = world.base - 2;
    if !dead_path(&world.path).exists() {
        return oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Doomed));
    }
    let dead = world.ring().dead_letters().unwrap();
    let copied = dead.iter().any(|letter| letter.id.position == oldest);
    if world.mode == Mode::Freeze {
        // Either it was given up, or somebody else took it over and settled it.
        let settled = world.settled.contains(&oldest);
        assert!(!settled || !copied && !end.succeeded(), "settled, and given up");
        world.given_up.insert(oldest);
        world.maybe.insert(oldest);
        return;
    }
    match world.raw().delivery(0, oldest) {
        Delivery::Dead => {
            assert!(copied, "given up without a copy");
            world.maybe.insert(oldest);
        }
        Delivery::Doomed => {}
        delivery => assert!(!copied, "a dead letter of a message that is {delivery:?}"),
    }
}

/// A ring with one dead letter, whose message was `CAPACITY`-th.
fn with_letter(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, working());
    world.publish_and_settle(CAPACITY + 2);
    world.publish(1);
    let rejected = world.head() - 1;
    {
        let worker = world.worker.as_ref().unwrap();
        worker.recv().unwrap().reject("no").unwrap();
    }
    world.settled.insert(rejected);
    world.letters_may_go = true;
    world.given_up.insert(rejected);
    assert_eq!(world.ring().dead_letters().unwrap().len(), 1);
    world
}

fn letters(world: &World) -> usize {
    world.ring().dead_letters().unwrap().len()
}

fn letter_is_there_or_gone(world: &mut World, end: &Ending) {
    assert!(letters(world) <= usize::from(!end.succeeded()));
    let dead = DeadLetters::open(&world.path).unwrap();
    drop(dead);
}

/// Whatever the second group is, somebody works for it.
fn staff_second(world: &mut World, _: &Ending) {
    if world.raw().group_flags(1) == 1 {
        world.second = Some(join(&world.path, "h"));
    }
}

/// `audit` was there, read some, and is away.
fn durable_world(directory: &Path, mode: Mode) -> World {
    let mut world = World::new(directory, mode, Shape { durable: true, ..reading() });
    world.publish(CAPACITY - 3);
    world.drain();
    let mut audit = Consumer::options().name("audit").durable(true).attach(&world.path).unwrap();
    for _ in 0..CAPACITY - 3 {
        drop(audit.try_recv().unwrap());
    }
    drop(audit);
    world.publish(3);
    world
}

fn durable_tail(world: &World) -> u64 {
    world.raw().tail(0).unwrap()
}

fn settle_frozen(world: &mut World, end: &Ending) {
    let oldest = world.base - 2;
    let mut frozen = world.frozen.take().unwrap();
    let still_its = world.raw().delivery(0, oldest) == Delivery::Leased(1);
    let said = frozen.thaw(PATIENCE).unwrap();
    assert!(said.starts_with(if still_its { "ok" } else { "err LeaseLost" }), "the first one says {said}");
    if still_its {
        world.settled.insert(oldest);
    }
    may_settle_oldest(world, end);
}

/// True if these are the bytes of a message of this position.
fn is_whole(position: u64, bytes: &[u8]) -> bool {
    [SETUP, VICTIM, SURVIVOR].iter().any(|&life| message(position, life) == bytes)
}

/// Takes the next message, reads it in place and acknowledges it.
fn take_and_ack(worker: &Worker, marks: &Marks) -> String {
    let acked = marks.around(|| {
        let delivery = worker.try_recv()?;
        Ok::<_, RecvError>((delivery.position(), delivery.to_vec(), delivery.ack()))
    });
    match acked {
        Ok((position, bytes, _)) if !is_whole(position, &bytes) => format!("torn {bytes:?}"),
        Ok((position, _, Ok(()))) => format!("ok {position}"),
        Ok((_, _, Err(lost))) => format!("err {lost:?}"),
        Err(error) => format!("err {error:?}"),
    }
}

/// The dead-letter ring, or the ring: not there, or whole.
fn whole_or_absent(world: &World, groups: bool) {
    let path = &world.path;
    match Ring::open(path) {
        Ok(ring) => assert_eq!((ring.capacity(), ring.block_size()), (CAPACITY, BLOCK)),
        Err(Error::NotFound { .. }) => assert!(!path.exists()),
        Err(error) => panic!("half a ring: {error}"),
    }
    match Ring::open(dead_path(path)) {
        Ok(_) => assert!(groups),
        Err(Error::NotFound { .. }) => {}
        Err(error) => panic!("half a dead-letter ring: {error}"),
    }
}

/// Creates again, and then the ring is as any other.
fn create_again(world: &mut World, end: &Ending, groups: bool) {
    whole_or_absent(world, groups);
    let there = world.path.exists();
    assert!(there || !end.succeeded());
    let shape = if groups { working() } else { reading() };
    let again = creation(groups, world.mode).create(&world.path);
    match again {
        Ok(_) => assert!(!there),
        Err(Error::AlreadyExists { .. }) => assert!(there),
        Err(error) => panic!("creating again: {error}"),
    }
    let directory = world.path.parent().unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    let all = ["ring", "ring.dead"];
    assert_eq!(names, all[..1 + usize::from(groups)], "left behind");
    *world = World::found(directory, world.mode, shape);
    world.publish_and_settle(CAPACITY);
    assert_eq!(world.ring().dead_letters().unwrap(), []);
}

fn creation(groups: bool, mode: Mode) -> RingOptions {
    World::options(if groups { working() } else { reading() }, mode)
}

macro_rules! op {
    ($name:literal, $prepare:expr, $act:expr, $judge:expr) => {
        op!($name, $prepare, $act, $judge, OK, &[])
    };
    ($name:literal, $prepare:expr, $act:expr, $judge:expr, $says:expr, $late:expr) => {
        Op {
            name: $name,
            prepare: $prepare,
            act: $act,
            judge: $judge,
            says: $says,
            says_late: $late,
            beside_others: false,
        }
    };
}

/// Roles of those who are dead or stopped before the operation.
pub(crate) const HELPERS: &[Op] = &[
    op!(
        "nothing",
        World::bare,
        |_, marks| {
            marks.around(|| ());
            "ok".to_owned()
        },
        nothing
    ),
    op!(
        "holds-a-lease",
        World::bare,
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            say(marks.around(|| delivery.ack()))
        },
        nothing
    ),
    op!(
        "holds-the-second-group",
        World::bare,
        |path, marks| {
            let worker = WorkerOptions::new("h").name("child").join(path).unwrap();
            let delivery = worker.try_recv().unwrap();
            say(marks.around(|| delivery.ack()))
        },
        nothing
    ),
    op!(
        "reads",
        World::bare,
        |path, marks| {
            let mut consumer = Consumer::options().name("child").start(Start::Earliest).attach(path).unwrap();
            marks.around(|| consumer.try_recv().is_ok()).to_string()
        },
        nothing
    ),
];

/// The matrix.
pub(crate) const OPS: &[Op] = &[
    op!(
        "send",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let bytes = next_message(&producer);
            say(marks.around(|| producer.send(&bytes)))
        },
        |world, end| world.victim_published(end, 1)
    ),
    op!(
        "send-to-groups",
        |d, m| orphaned(d, m, working()),
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let bytes = next_message(&producer);
            say(marks.around(|| producer.send(&bytes)))
        },
        |world, end| world.victim_published(end, 1)
    ),
    op!(
        "claim-publish",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let bytes = next_message(&producer);
            say(marks.around(|| {
                let mut claim = producer.claim()?;
                claim.fill(0xEE);
                claim[..bytes.len()].copy_from_slice(&bytes);
                claim.publish(bytes.len())
            }))
        },
        |world, end| world.victim_published(end, 1)
    ),
    op!(
        "claim-abort",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            say(marks.around(|| {
                let mut claim = producer.claim()?;
                claim.fill(0xEE);
                claim.abort();
                Ok::<_, SendError>(())
            }))
        },
        |world, end| {
            world.victim_published(&Ending { at: end.at, report: None }, 0);
        }
    ),
    op!(
        "send-batch",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let batch: Vec<Vec<u8>> = (0..3).map(|n| message(producer.head() + n, VICTIM)).collect();
            say(marks.around(|| producer.send_batch(&batch)))
        },
        |world, end| world.victim_published(end, 3)
    ),
    op!(
        "send-when-full",
        |d, m| {
            let mut world = World::new(d, m, reading());
            world.publish(CAPACITY);
            world.producer = None;
            world
        },
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let bytes = next_message(&producer);
            say(marks.around(|| producer.send_timeout(0, &bytes, Duration::from_micros(1))))
        },
        |world, end| {
            let full = !end.succeeded();
            assert!(full || world.mode == Mode::Freeze, "sent into a full ring");
            world.victim_published(end, 1);
        },
        &["err Full"],
        OK
    ),
    op!(
        "send-past-a-dead-reader",
        |d, m| {
            let mut world = World::new(d, m, reading());
            corpse("reads", d, m, |_| true);
            for _ in 0..CAPACITY {
                world.publish(1);
                world.drain();
            }
            world.producer = None;
            world
        },
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let bytes = next_message(&producer);
            say(marks.around(|| producer.try_send(0, &bytes)))
        },
        |world, end| world.victim_published(end, 1)
    ),
    op!(
        "send-past-an-evictable",
        |d, m| {
            let mut world = World::new(d, m, reading());
            let evictable =
                Consumer::options().name("child").start(Start::Earliest).attach_evictable(&world.path);
            let evictable = evictable.unwrap();
            for _ in 0..CAPACITY {
                world.publish(1);
                world.drain();
            }
            world.producer = None;
            world.evictable = Some(evictable);
            world
        },
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let bytes = next_message(&producer);
            say(marks.around(|| producer.try_send(0, &bytes)))
        },
        |world, end| {
            world.victim_published(end, 1);
            world.drain();
            // Its entry is for the newcomer.
            world.evictable = None;
        }
    ),
    Op {
        beside_others: true,
        ..op!(
            "send-to-a-sleeper",
            |d, m| {
                let mut world = World::new(d, m, reading());
                world.producer = None;
                world.put_to_sleep();
                world
            },
            |path, marks| {
                let mut producer = Producer::open(path).unwrap();
                let bytes = next_message(&producer);
                say(marks.around(|| producer.send(&bytes)))
            },
            |world, end| world.victim_published(end, 1)
        )
    },
    op!(
        "close",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let producer = Producer::open(path).unwrap();
            marks.around(|| producer.close());
            "ok".to_owned()
        },
        |world, end| {
            world.victim_published(&Ending { at: end.at, report: None }, 0);
            let closed = world.raw().is_closed();
            // Stopped after it gave the lock up, another may have become the producer and opened the stream again.
            assert!(closed || end.report.is_none() || world.producer.is_some());
            if world.producer.is_none() {
                let mut reader = Consumer::attach(&world.path, Start::Latest).unwrap();
                let found = reader.try_recv().map(drop);
                assert_eq!(found, Err(if closed { RecvError::Closed } else { RecvError::Empty }));
            }
        }
    ),
    op!(
        "producer-open",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let opened = marks.around(|| Producer::open(path));
            say(opened.map(|producer| producer.head()))
        },
        nothing,
        OK,
        &["err ProducerExists"]
    ),
    op!(
        "take-over",
        |d, m| {
            let mut world = orphaned(d, m, reading());
            let head = world.head();
            // Two of three are out, and none is counted.
            corpse("send-batch", d, m, |raw| raw.sequence(head + 1) == head + 2);
            world.published.extend([(head, VICTIM), (head + 1, VICTIM)]);
            world
        },
        |path, marks| {
            let opened = marks.around(|| Producer::open(path));
            say(opened.map(|producer| producer.head()))
        },
        |world, _| {
            assert!(world.raw().head() >= world.head());
        },
        OK,
        &["err ProducerExists"]
    ),
    op!(
        "producer-drop",
        |d, m| orphaned(d, m, reading()),
        |path, marks| {
            let producer = Producer::open(path).unwrap();
            marks.around(|| drop(producer));
            "ok".to_owned()
        },
        nothing
    ),
    op!(
        "take",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let mut consumer = Consumer::options().name("child").start(Start::Earliest).attach(path).unwrap();
            let taken =
                marks.around(|| consumer.try_recv().map(|message| (message.position(), message.to_vec())));
            match taken {
                Ok((position, bytes)) if !is_whole(position, &bytes) => format!("torn {bytes:?}"),
                taken => say(taken),
            }
        },
        nothing
    ),
    op!(
        "take-batch",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let mut consumer = Consumer::options().name("child").start(Start::Earliest).attach(path).unwrap();
            say(marks.around(|| consumer.try_recv_batch(2).map(|batch| batch.iter().count())))
        },
        nothing
    ),
    op!(
        "take-evictable",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let options = Consumer::options().name("child").start(Start::Earliest);
            let mut consumer = options.attach_evictable(path).unwrap();
            say(marks.around(|| consumer.try_recv().map(|message| message.to_vec())))
        },
        |world, end| {
            if let Some(said) = end.report.as_ref().and_then(|said| said.strip_prefix("ok ")) {
                let seen = world.published.iter().any(|&(p, life)| format!("{:?}", message(p, life)) == said);
                assert!(seen, "a copy of nothing that was published: {said}");
            }
        },
        OK,
        &["err Evicted"]
    ),
    op!(
        "observe",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let mut observer = Observer::attach(path, Start::Earliest).unwrap();
            say(marks.around(|| observer.try_recv().map(|message| message.to_vec())))
        },
        |world, end| {
            if let Some(said) = end.report.as_ref().and_then(|said| said.strip_prefix("ok ")) {
                let seen = world.published.iter().any(|&(p, life)| format!("{:?}", message(p, life)) == said);
                assert!(seen, "a copy of nothing that was published: {said}");
            }
        }
    ),
    op!(
        "join-earliest",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let options = Consumer::options().name("child").start(Start::Earliest);
            say(marks.around(|| options.attach(path)).map(|consumer| consumer.position()))
        },
        nothing
    ),
    op!(
        "join-latest",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let options = Consumer::options().name("child").start(Start::Latest);
            say(marks.around(|| options.attach(path)).map(|consumer| consumer.position()))
        },
        nothing
    ),
    op!(
        "join-at",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let options = Consumer::options().name("child").start(Start::At(CAPACITY + 3));
            say(marks.around(|| options.attach(path)).map(|consumer| consumer.position()))
        },
        nothing,
        OK,
        &["err Start"]
    ),
    op!(
        "join-over-a-dead-one",
        |d, m| {
            let mut world = World::new(d, m, reading());
            world.publish(1);
            corpse("reads", d, m, |_| true);
            world
        },
        |path, marks| {
            let options = Consumer::options().name("child").start(Start::Latest);
            say(marks.around(|| options.attach(path)).map(|consumer| consumer.position()))
        },
        nothing
    ),
    op!(
        "leave",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let consumer = Consumer::options().name("child").start(Start::Earliest).attach(path).unwrap();
            marks.around(|| drop(consumer));
            "ok".to_owned()
        },
        nothing
    ),
    op!(
        "durable-join",
        |d, m| aged(d, m, reading()),
        |path, marks| {
            let options = Consumer::options().name("child").durable(true).start(Start::Earliest);
            say(marks.around(|| options.attach(path)).map(|consumer| consumer.position()))
        },
        |world, _| {
            // It is there for good, or it never was.
            let durable = world.raw().flags(1) & 2 != 0;
            if durable {
                let tail = world.raw().tail(1);
                assert!(tail.is_some_and(|tail| tail <= world.head()), "a durable tail of {tail:?}");
                world.ring().remove_consumer("child").unwrap();
            }
        }
    ),
    op!(
        "durable-resume",
        durable_world,
        |path, marks| {
            let options = Consumer::options().name("audit").durable(true);
            say(marks.around(|| options.attach(path)).map(|consumer| consumer.position()))
        },
        |world, _| assert_eq!(durable_tail(world), world.base - 3)
    ),
    op!(
        "durable-take",
        durable_world,
        |path, marks| {
            let mut consumer = Consumer::options().name("audit").durable(true).attach(path).unwrap();
            say(marks.around(|| consumer.try_recv().map(|message| message.position())))
        },
        |world, end| {
            let released = durable_tail(world) + 3 - world.base;
            assert!((u64::from(end.succeeded())..=1).contains(&released));
        }
    ),
    op!(
        "durable-leave",
        durable_world,
        |path, marks| {
            let consumer = Consumer::options().name("audit").durable(true).attach(path).unwrap();
            marks.around(|| drop(consumer));
            "ok".to_owned()
        },
        |world, _| assert_eq!(durable_tail(world), world.base - 3)
    ),
    op!(
        "remove-consumer",
        |d, m| {
            let world = aged(d, m, reading());
            let options = Consumer::options().name("gone").durable(true).start(Start::Earliest);
            drop(options.attach(&world.path).unwrap());
            world
        },
        |path, marks| {
            let ring = Ring::open(path).unwrap();
            say(marks.around(|| ring.remove_consumer("gone")))
        },
        |world, end| {
            let again = world.ring().remove_consumer("gone");
            let gone = matches!(again, Err(Error::NoSuchConsumer { .. }));
            assert!(gone || again.is_ok() && !end.succeeded(), "{again:?}");
        }
    ),
    op!(
        "worker-join",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let options = WorkerOptions::new("g").name("child");
            say(marks.around(|| options.join(path)).map(|worker| worker.group().to_owned()))
        },
        nothing
    ),
    op!(
        "worker-join-new-group",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let options = WorkerOptions::new("h").name("child").settings(GroupSettings::new());
            say(marks.around(|| options.join(path)).map(|worker| worker.group().to_owned()))
        },
        staff_second
    ),
    op!(
        "worker-join-over-a-dead-one",
        |d, m| {
            let world = pending(d, m, working());
            corpse("holds-a-lease", d, m, |_| true);
            world
        },
        |path, marks| {
            let options = WorkerOptions::new("g").name("child");
            say(marks.around(|| options.join(path)).map(|worker| worker.group().to_owned()))
        },
        nothing
    ),
    op!(
        "worker-leave",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            std::mem::forget(worker.try_recv().unwrap());
            marks.around(|| drop(worker));
            "ok".to_owned()
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Open(1)))
    ),
    op!(
        "claim-ack",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            take_and_ack(&worker, marks)
        },
        may_settle_oldest,
        OK,
        LOST
    ),
    op!(
        "claim-all-ack-all",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            marks.around(|| match worker.try_recv_batch(2) {
                Ok(batch) => {
                    let positions: Vec<u64> = batch.iter().map(|delivery| delivery.position()).collect();
                    match worker.ack_all(batch) {
                        Ok(()) => format!("ok {positions:?}"),
                        Err(lost) => {
                            let lost: Vec<u64> = lost.iter().map(|lost| lost.position).collect();
                            let acked: Vec<u64> =
                                positions.into_iter().filter(|position| !lost.contains(position)).collect();
                            if acked.is_empty() {
                                "err LeaseLost".to_owned()
                            } else {
                                format!("ok {acked:?}")
                            }
                        }
                    }
                }
                Err(error) => format!("err {error:?}"),
            })
        },
        may_settle_both,
        OK,
        LOST
    ),
    op!(
        "ack-with-floor",
        |d, m| {
            // The newer one is settled first: acknowledging the older one moves the floor over both.
            let mut world = aged(d, m, working());
            let worker = world.worker.take().unwrap();
            let first = worker.recv().unwrap();
            worker.recv().unwrap().ack().unwrap();
            first.release().unwrap();
            world.worker = Some(worker);
            let newest = world.head() - 1;
            world.settled.insert(newest);
            world
        },
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            let position = delivery.position();
            say(marks.around(|| delivery.ack()).map(|()| position))
        },
        may_settle_oldest,
        OK,
        LOST
    ),
    op!(
        "nack",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            say(marks.around(|| delivery.nack(Duration::from_millis(2))))
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Open(1))),
        OK,
        LOST
    ),
    op!(
        "drop-delivery",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            marks.around(|| drop(delivery));
            "ok".to_owned()
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Open(1)))
    ),
    op!(
        "release",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            say(marks.around(|| delivery.release()))
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Open(0))),
        OK,
        LOST
    ),
    op!(
        "extend",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            let mut delivery = worker.try_recv().unwrap();
            let extended = marks.around(|| delivery.extend());
            std::mem::forget(delivery);
            say(extended)
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Open(1))),
        OK,
        LOST
    ),
    op!(
        "reject",
        |d, m| pending(d, m, working()),
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            say(marks.around(|| delivery.reject("never")))
        },
        may_give_up_oldest,
        OK,
        LOST
    ),
    op!(
        "reject-without-a-grave",
        |d, m| {
            let world = pending(d, m, working());
            std::fs::remove_file(dead_path(&world.path)).unwrap();
            world
        },
        |path, marks| {
            let worker = child(path);
            let delivery = worker.try_recv().unwrap();
            say(marks.around(|| delivery.reject("never")))
        },
        may_give_up_oldest,
        OK,
        LOST
    ),
    op!(
        "give-up-the-dead-ones",
        |d, m| {
            let world = pending(d, m, Shape { deliver: 1, ..working() });
            corpse("holds-a-lease", d, m, |_| true);
            world
        },
        |path, marks| {
            let worker =
                WorkerOptions::new("g").name("child").tick(Duration::from_millis(1)).join(path).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            let got = marks.around(|| worker.try_recv());
            let said = say(got.as_ref().map(|delivery| delivery.position()));
            // Dropped, it would be given up: it was the only attempt.
            got.map_or(Ok(()), |delivery| delivery.release()).map_or("err LeaseLost".to_owned(), |()| said)
        },
        |world, end| {
            may_give_up_oldest(world, end);
            if world.mode == Mode::Freeze {
                world.given_up.insert(world.base - 1);
                world.maybe.insert(world.base - 1);
            }
        },
        OK,
        LOST
    ),
    op!(
        "take-over-an-expired-lease",
        |d, m| {
            let mut world = pending(d, m, Shape { short: true, ..working() });
            let role = "holds-a-lease";
            let mut frozen = Victim::start(role, d, mode_name(m)).unwrap();
            frozen.freeze();
            world.frozen = Some(frozen);
            std::thread::sleep(Duration::from_millis(60));
            world
        },
        |path, marks| {
            let worker =
                WorkerOptions::new("g").name("child").tick(Duration::from_millis(1)).join(path).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            take_and_ack(&worker, marks)
        },
        settle_frozen,
        OK,
        LOST
    ),
    op!(
        "reap-a-dead-worker",
        |d, m| {
            let world = pending(d, m, working());
            corpse("holds-a-lease", d, m, |_| true);
            world
        },
        |path, marks| {
            let worker =
                WorkerOptions::new("g").name("child").tick(Duration::from_millis(1)).join(path).unwrap();
            std::thread::sleep(Duration::from_millis(3));
            let got = marks.around(|| worker.try_recv());
            let said = say(got.as_ref().map(|delivery| (delivery.position(), delivery.attempt())));
            // It goes back with its worker.
            got.into_iter().for_each(std::mem::forget);
            said
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1 | 2) | Delivery::Open(1 | 2))),
        OK,
        LOST
    ),
    op!(
        "remove-group",
        |d, m| {
            let mut world = World::new(d, m, working());
            world.publish_and_settle(1);
            world.worker = None;
            drop(join(&world.path, "h"));
            world.publish(2);
            corpse("holds-the-second-group", d, m, |_| true);
            world.worker = Some(join(&world.path, "g"));
            world
        },
        |path, marks| {
            let ring = Ring::open(path).unwrap();
            say(marks.around(|| ring.remove_group("h")))
        },
        |world, end| {
            let there = world.raw().group_flags(1) == 1;
            assert!(!there || !end.succeeded());
            if end.at % 3 == 0 {
                let again = world.ring().remove_group("h");
                assert!(matches!((there, &again), (true, Ok(())) | (false, Err(Error::NoSuchGroup { .. }))));
            }
            staff_second(world, end);
        },
        OK,
        &["err GroupInUse"]
    ),
    op!(
        "redrive",
        |d, m| {
            let mut world = with_letter(d, m);
            world.producer = None;
            world.redriven = Some(world.head() - 1);
            world
        },
        |path, marks| {
            let mut producer = Producer::open(path).unwrap();
            let mut dead = DeadLetters::open(path).unwrap();
            say(marks.around(|| dead.redrive(&mut producer, 1)))
        },
        |world, end| {
            let again = world.raw().head() - world.base;
            world.victim_published(end, 1);
            assert!(again == 1 || letters(world) == 1, "neither published again nor a dead letter");
            assert!(!end.succeeded() || (again, letters(world)) == (1, 0));
            drop(DeadLetters::open(&world.path).unwrap());
        }
    ),
    op!(
        "purge",
        with_letter,
        |path, marks| {
            let mut dead = DeadLetters::open(path).unwrap();
            say(marks.around(|| dead.purge(1)))
        },
        letter_is_there_or_gone
    ),
    op!(
        "dead-letters-open",
        with_letter,
        |path, marks| say(marks.around(|| DeadLetters::open(path)).map(drop)),
        |world, _| {
            assert_eq!(letters(world), 1);
            assert!(DeadLetters::open(&world.path).unwrap().peek().unwrap().is_some());
        }
    ),
    op!(
        "repair",
        |d, m| {
            let world = pending(d, m, working());
            corpse("holds-a-lease", d, m, |_| true);
            corpse("reads", d, m, |_| true);
            world
        },
        |path, marks| {
            let ring = Ring::open(path).unwrap();
            say(marks.around(|| ring.repair()))
        },
        |world, _| oldest_is(world, |d| matches!(d, Delivery::Leased(1) | Delivery::Open(1)))
    ),
    op!(
        "create",
        |d, m| World::unborn(d, m, reading()),
        |path, marks| say(marks.around(|| creation(false, Mode::Kill).create(path)).map(drop)),
        |world, end| create_again(world, end, false),
        OK,
        &["err AlreadyExists"]
    ),
    op!(
        "create-with-groups",
        |d, m| World::unborn(d, m, working()),
        |path, marks| say(marks.around(|| creation(true, Mode::Kill).create(path)).map(drop)),
        |world, end| create_again(world, end, true),
        OK,
        &["err AlreadyExists"]
    ),
];

//! The fear: a process is stopped for a while, by a debugger or a suspended container, and the
//! other processes hang, lose a message, or take one that is not theirs; or it goes on afterwards
//! as if nothing had happened.
//!
//! One role at a time is stopped with SIGSTOP wherever it happens to be, again and again, and let
//! go. `crash-tests` stops each role at *every* instruction of every operation.

use kit::{Child, LONG, TempDir, message, tell};
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, DeadLetters, GroupSettings, HolderRole, Observer,
    Producer, RecvError, Rejected, Ring, RingOptions, SendError, Start, Worker,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CAPACITY: u64 = 8;
const TURNS: u64 = 20;

fn create(path: &Path) -> Ring {
    let settings = GroupSettings::new().ack_wait(Duration::from_millis(20)).max_deliver(100);
    let options = RingOptions::new(48, 8).consumers(4).workers(4).groups(1).dead_letter_capacity(8);
    let options = if path.ends_with("worked") { options.group("group", settings) } else { options };
    options.create(path).unwrap()
}

/// A ring, and a process that is at work in this role.
fn beside(role: &str, name: &str) -> (TempDir, PathBuf, Child) {
    let dir = TempDir::new();
    let path = dir.file(name);
    create(&path);
    let mut child = Child::start(&format!("stopped/{role}"), &[path.to_str().unwrap()]);
    assert_eq!(child.hear(), "ready");
    (dir, path, child)
}

/// Runs the others while this child is stopped.
fn stopped<T>(child: &Child, others: impl FnOnce() -> T) -> T {
    let pid = libc::pid_t::try_from(child.process.id()).unwrap();
    // SAFETY: no memory is passed; the process is a child that was not waited for.
    let signal = |number| assert_eq!(unsafe { libc::kill(pid, number) }, 0);
    signal(libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: the status lives across the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, libc::WUNTRACED) }, pid);
    assert!(libc::WIFSTOPPED(status), "it ended: {status:#x}");
    let result = others();
    signal(libc::SIGCONT);
    result
}

/// Publishes what there is room for, up to so many.
fn send_some(producer: &mut Producer, most: u64) -> Result<(), SendError> {
    (0..most).try_for_each(|_| producer.try_send(&message(producer.head())).map(drop))
}

fn send_one(producer: &mut Producer) {
    producer.send_timeout(&message(producer.head()), LONG).unwrap();
}

fn producer(path: &Path) {
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    tell("ready");
    (0..TURNS * 50).for_each(|_| send_one(&mut producer));
    producer.close().unwrap();
}

#[test]
fn a_stopped_producer_is_still_the_producer() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    let mut child = Child::start("stopped/producer", &[path.to_str().unwrap()]);
    assert_eq!(child.hear(), "ready");
    let mut next = 0;
    let mut read = |timeout| {
        let received = consumer.recv_timeout(timeout).map(|received| received.to_vec());
        received.map(|bytes| {
            assert_eq!(bytes, message(next));
            next += 1;
        })
    };
    for _ in 0..TURNS {
        (0..40).for_each(|_| read(LONG).unwrap());
        stopped(&child, || {
            while read(Duration::from_millis(1)).is_ok() {}
            assert!(matches!(read(Duration::from_millis(1)), Err(RecvError::TimedOut(_))));
            assert!(matches!(
                Producer::<[u8]>::open(&path),
                Err(AtPath { error: AttachError::ProducerExists { .. }, .. })
            ));
        });
    }
    while read(LONG).is_ok() {}
    assert_eq!((read(LONG), next), (Err(RecvError::Closed), TURNS * 50));
    child.finish();
}

fn consumer(path: &Path) {
    let mut consumer =
        ConsumerOptions::new().name("child").start(Start::Earliest).attach::<[u8]>(path).unwrap();
    tell("ready");
    for position in 0.. {
        match consumer.recv_timeout(LONG) {
            Ok(received) => assert_eq!(*received, message(position)),
            Err(error) => return assert_eq!(error, RecvError::Closed),
        }
    }
}

#[test]
fn a_stopped_consumer_holds_the_ring_and_is_named() {
    let (_dir, path, mut child) = beside("consumer", "ring");
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    for _ in 0..TURNS {
        stopped(&child, || match send_some(&mut producer, CAPACITY + 1) {
            Err(SendError::Full { holder, .. }) => {
                assert_eq!((holder.name.as_str(), holder.pid), ("child", u64::from(child.process.id())));
                assert!(holder.alive && holder.role == HolderRole::Consumer);
            }
            other => panic!("past a stopped reader: {other:?}"),
        });
        (0..2 * CAPACITY).for_each(|_| send_one(&mut producer));
    }
    producer.close().unwrap();
    child.finish();
}

/// Reads all, or learns how many it missed.
fn follow(mut next_message: impl FnMut() -> Result<(u64, Vec<u8>), RecvError>) {
    tell("ready");
    let mut next = 0;
    loop {
        match next_message() {
            Ok((position, bytes)) => {
                assert_eq!((position, &bytes[..]), (next, &message(position)[..]));
                next = position + 1;
            }
            Err(RecvError::Lagged { missed }) => next += missed,
            Err(error) => {
                assert_eq!((error, next), (RecvError::Closed, TURNS * 6 * CAPACITY));
                return;
            }
        }
    }
}

fn evictable(path: &Path) {
    let mut reader = ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(path).unwrap();
    follow(|| reader.recv_timeout(LONG).map(|received| (received.position(), received.to_vec())));
}

fn observer(path: &Path) {
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    follow(|| observer.recv_timeout(LONG).map(|received| (received.position(), received.to_vec())));
}

fn holds_no_other_up(role: &str) {
    let (_dir, path, mut child) = beside(role, "ring");
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    for _ in 0..TURNS {
        stopped(&child, || send_some(&mut producer, 3 * CAPACITY).unwrap());
        send_some(&mut producer, 3 * CAPACITY).unwrap();
    }
    producer.close().unwrap();
    child.finish();
}

#[test]
fn a_stopped_evictable_reader_is_evicted_and_told_how_much_it_missed() {
    holds_no_other_up("evictable");
}

#[test]
fn a_stopped_observer_is_lapped_and_told_how_much_it_missed() {
    holds_no_other_up("observer");
}

/// Works until the stream is closed; the positions that it acknowledged.
fn work(worker: &Worker, mut next: impl FnMut() -> bool) -> Vec<u64> {
    let mut acked = Vec::new();
    while next() {
        match worker.recv_timeout(Duration::from_millis(30)) {
            Ok(delivery) => {
                let position = delivery.position();
                assert_eq!(*delivery, message(position));
                acked.extend(delivery.ack().is_ok().then_some(position));
            }
            Err(RecvError::TimedOut(_)) => {}
            Err(RecvError::Closed) => return acked,
            Err(error) => panic!("{error}"),
        }
    }
    acked
}

fn worker(path: &Path) {
    let worker = Worker::<[u8]>::join(path, "group").unwrap();
    tell("ready");
    tell(format!("{:?}", work(&worker, || true)));
}

#[test]
fn what_a_stopped_worker_had_is_done_by_others_once() {
    let (_dir, path, mut child) = beside("worker", "worked");
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let mine = Worker::<[u8]>::join(&path, "group").unwrap();
    let mut acked = Vec::new();
    for _ in 0..TURNS {
        stopped(&child, || {
            // If it was stopped over a message, that one's bytes are kept, and the ring becomes
            // full.
            if let Err(error) = send_some(&mut producer, CAPACITY) {
                assert!(matches!(error, SendError::Full { .. }), "{error}");
            }
            let head = producer.head();
            let is_open = || Ring::open(&path).unwrap().group("group").unwrap().ack_floor < head;
            acked.extend(work(&mine, is_open));
        });
        let mut left = CAPACITY;
        let send = || {
            left -= u64::from(send_some(&mut producer, 1).is_ok());
            left > 0
        };
        acked.extend(work(&mine, send));
    }
    let head = producer.head();
    producer.close().unwrap();
    acked.extend(work(&mine, || true));
    let theirs = child.hear();
    child.finish();
    acked.extend(theirs.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse::<u64>().ok()));
    acked.sort_unstable();
    assert_eq!(acked, (0..head).collect::<Vec<u64>>(), "each was acknowledged once");
}

const LETTERS: u64 = 6 * CAPACITY;

/// Purges until so many letters are gone.
fn redriver(path: &Path) {
    let mut dead = DeadLetters::open(path).unwrap();
    tell("ready");
    let mut purged = 0;
    while purged < LETTERS {
        purged += dead.purge(u64::MAX).unwrap();
        std::thread::yield_now();
    }
}

#[test]
fn a_stopped_redriver_keeps_the_dead_letters() {
    let (_dir, path, mut child) = beside("redriver", "worked");
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let worker = Worker::<[u8]>::join(&path, "group").unwrap();
    let reject_next = |producer: &mut Producer| {
        let sent = send_some(producer, 1);
        sent.map(|()| worker.recv_timeout(LONG).unwrap().reject("no").unwrap())
    };
    while producer.head() < LETTERS {
        stopped(&child, || {
            assert!(matches!(
                DeadLetters::open(&path),
                Err(AtPath { error: AttachError::NameInUse { .. }, .. })
            ));
            // Until the dead-letter ring is full: from then on they wait.
            while producer.head() < LETTERS && reject_next(&mut producer) == Ok(Rejected::Settled) {}
        });
        // A waiting message becomes a dead letter once there is room.
        let head = producer.head();
        while Ring::open(&path).unwrap().group("group").unwrap().ack_floor < head {
            assert!(worker.recv_timeout(Duration::from_millis(20)).is_err());
        }
    }
    child.finish();
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let path = PathBuf::from(&given[0]);
    match role {
        "producer" => producer(&path),
        "consumer" => consumer(&path),
        "evictable" => evictable(&path),
        "observer" => observer(&path),
        "worker" => worker(&path),
        "redriver" => redriver(&path),
        _ => panic!("no such role: {role}"),
    }
}

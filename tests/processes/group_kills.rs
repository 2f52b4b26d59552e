//! The fear: workers die, stop and come back, the producer dies and comes back, and somewhere in
//! between a message is done twice, or never, or is lost.
//!
//! One producer and four workers of one group, all of them processes, are killed with SIGKILL and
//! stopped with SIGSTOP at random, and started again. Each message names its position. Each
//! acknowledgement that the library confirmed sets the message's bit in a map that all of them
//! share; a bit that was set before is the thing that must never happen.
//!
//! `SLIPRING_KILL_SECONDS` says for how long (default 20).
//!
//! ```sh
//! SLIPRING_KILL_SECONDS=3600 cargo test --release -p slipring-tests --test processes \
//!     group_kills -- --nocapture
//! ```

use kit::{Child, Dice, LONG, TempDir, tell};
use memmap2::MmapRaw;
use slipring::{Delivery, GroupInfo, GroupSettings, Producer, RecvError, Ring, RingOptions, Worker};
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst, fence};
use std::time::{Duration, Instant};

const ACK_WAIT: Duration = Duration::from_millis(100);
const CAPACITY: usize = 65536;
const BLOCK: usize = 48;
const WORKERS: usize = 4;
/// Messages per second, at most: what the map has room for.
const RATE: u64 = 1_000_000;

/// The message at a position: 16 to 48 bytes, of which the first eight are the position, and the
/// others follow from it.
fn fill(block: &mut [u8], position: u64) -> usize {
    let len = 16 + usize::try_from(position * 7 % 33).unwrap();
    block[..8].copy_from_slice(&position.to_le_bytes());
    Dice::new(position).fill(&mut block[8..len]);
    len
}

fn kind_of(position: u64) -> u32 {
    (position % 5).try_into().unwrap()
}

/// The message must be whole, and where it belongs.
fn verify(delivery: &Delivery<'_>) {
    let mut expected = [0; BLOCK];
    let len = fill(&mut expected, delivery.position());
    assert_eq!(&**delivery, &expected[..len], "at position {}", delivery.position());
    assert_eq!(delivery.kind(), kind_of(delivery.position()));
}

/// Memory that all processes share besides the ring: some numbers, and a bit per position. It
/// outlives the process that stores there.
struct Shared(MmapRaw);

#[derive(Clone, Copy)]
enum Number {
    /// The producer goes so far at most.
    Quota,
    /// The producer closes the stream.
    Stop,
    /// Acknowledgements that were confirmed for a message that had been acknowledged.
    Doubles,
    /// The last of those messages.
    Doubled,
    /// Deliveries that were not the first of their message.
    Redelivered,
    /// Acknowledgements that came too late.
    Lost,
    Count,
}

impl Shared {
    fn open(path: impl AsRef<Path>, messages: u64) -> Shared {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let words = Number::Count as u64 + messages.div_ceil(64);
        file.set_len(words * 8).unwrap();
        Shared(MmapRaw::map_raw(&file).unwrap())
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        let at = usize::try_from(at).unwrap();
        assert!(at < self.0.len() / 8);
        let words = self.0.as_mut_ptr().cast::<u64>();
        // SAFETY: the word lies in the mapping, as was just looked at.
        let word = unsafe { words.add(at) };
        // SAFETY: a mapping begins at a page, so words are aligned. It lives as long as `self`, and
        // all processes use it by atomics only.
        unsafe { AtomicU64::from_ptr(word) }
    }

    fn number(&self, number: Number) -> &AtomicU64 {
        self.word(number as u64)
    }

    /// The bits of 64 positions.
    fn bits(&self, nth: u64) -> &AtomicU64 {
        self.word(Number::Count as u64 + nth)
    }

    fn is_counted(&self, position: u64) -> bool {
        self.bits(position / 64).load(SeqCst) >> (position % 64) & 1 == 1
    }

    /// Counts a confirmed acknowledgement.
    fn acknowledged(&self, position: u64) {
        let bit = 1 << (position % 64);
        if self.bits(position / 64).fetch_or(bit, SeqCst) & bit != 0 {
            self.number(Number::Doubled).store(position, SeqCst);
            self.number(Number::Doubles).fetch_add(1, SeqCst);
        }
        // Before the next acknowledgement: see the witness.
        fence(SeqCst);
    }
}

/// Publishes from the ring's head on, whichever producer brought it there: the message says its
/// position.
fn produce(path: &str, shared: &Shared) {
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    tell("open");
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut block = [0; BLOCK];
    while shared.number(Number::Stop).load(SeqCst) == 0 {
        let head = producer.head();
        let left = shared.number(Number::Quota).load(SeqCst).saturating_sub(head);
        if left == 0 {
            std::thread::yield_now();
            continue;
        }
        match dice.roll(4) {
            0 => {
                let len = fill(&mut block, head);
                assert_eq!(producer.send((kind_of(head), &block[..len])), Ok(head));
            }
            1 => {
                let mut claim = producer.claim().unwrap();
                claim.fill(0xEE);
                let len = fill(&mut claim, head);
                claim.publish((kind_of(head), len)).unwrap();
            }
            2 => {
                let most = usize::try_from(left.min(1 + dice.roll(64))).unwrap();
                let mut batch = producer.claim_batch(most).unwrap();
                while batch.remaining() > 0 {
                    let next = head + batch.len() as u64;
                    batch.push_with(|block| (kind_of(next), fill(block, next))).unwrap();
                }
                batch.publish().unwrap();
            }
            // Claimed, partly written and given up.
            _ => producer.claim().unwrap().fill(0xDD),
        }
    }
    producer.close().unwrap();
}

/// Acknowledges, and then counts it: never another acknowledgement in between.
fn finish(delivery: Delivery<'_>, shared: &Shared) {
    verify(&delivery);
    let position = delivery.position();
    match delivery.ack() {
        Ok(()) => shared.acknowledged(position),
        Err(_) => drop(shared.number(Number::Lost).fetch_add(1, SeqCst)),
    }
}

/// Works in every way there is until the stream is closed and the group is through with it.
fn work(path: &str, shared: &Shared) {
    let worker = Worker::<[u8]>::join(path, "work").unwrap();
    tell("joined");
    let mut dice = Dice::new(u64::from(std::process::id()));
    loop {
        let max = if dice.roll(8) == 0 { dice.size(16) } else { 1 };
        let batch = match worker.recv_batch(max) {
            Ok(batch) => batch,
            Err(RecvError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        };
        for mut delivery in batch {
            if delivery.attempt() > 1 {
                shared.number(Number::Redelivered).fetch_add(1, SeqCst);
            }
            match dice.roll(400_000) {
                0..100 => drop(delivery),
                100..200 => drop(delivery.hand_back()),
                200..300 => drop(delivery.nack(Duration::from_millis(dice.roll(20)))),
                300..400 => match delivery.extend() {
                    Ok(()) => finish(delivery, shared),
                    // Once lost, always lost.
                    Err(_) => assert!(delivery.ack().is_err()),
                },
                400 => {
                    // Longer than it may.
                    std::thread::sleep(ACK_WAIT * 2);
                    finish(delivery, shared);
                }
                _ => finish(delivery, shared),
            }
        }
    }
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let [path, map, messages] = given else { panic!("{given:?}") };
    let shared = Shared::open(map, messages.parse().unwrap());
    match role {
        "produce" => produce(path, &shared),
        "work" => work(path, &shared),
        other => panic!("no role {other:?}"),
    }
}

/// A child that is started again when it was killed.
struct Player {
    role: &'static str,
    given: Vec<String>,
    child: Child,
    /// True once the child has said that it is there.
    there: bool,
    /// Stopped, until then.
    stopped: Option<Instant>,
}

impl Player {
    fn start(role: &'static str, given: &[String]) -> Player {
        let words: Vec<&str> = given.iter().map(String::as_str).collect();
        let child = Child::start(&format!("group_kills/{role}"), &words);
        Player { role, given: given.to_vec(), child, there: false, stopped: None }
    }

    fn greet(&mut self) {
        if !self.there {
            let greeting = self.child.hear();
            assert!(["open", "joined"].contains(&greeting.as_str()), "{greeting}");
            self.there = true;
        }
    }

    /// SIGKILL, the proof that it is dead, and the next of its kind.
    fn replace(&mut self) {
        self.child.process.kill().unwrap();
        let status = self.child.process.wait().unwrap();
        assert_eq!(status.code(), None, "it had ended before it was killed: {status}");
        *self = Player::start(self.role, &self.given);
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = self.child.process.id().try_into().unwrap();
        // SAFETY: no memory is passed. The process was not waited for, so that the number is its
        // own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// SIGSTOP. Not while the child joins: it could have the table's lock then, and no other could
    /// join.
    fn stop(&mut self, until: Instant) {
        self.greet();
        self.signal(libc::SIGSTOP);
        self.stopped = Some(until);
    }

    fn go_on(&mut self) {
        if self.stopped.take().is_some() {
            self.signal(libc::SIGCONT);
        }
    }

    fn go_on_if_due(&mut self, now: Instant) {
        if self.stopped.is_some_and(|until| until <= now) {
            self.go_on();
        }
    }
}

/// Looks on, and does not believe what it sees.
struct Witness<'t> {
    ring: &'t Ring,
    shared: &'t Shared,
    /// Workers killed so far.
    kills: usize,
    floor: u64,
    /// Positions below the floor of which no worker has counted the acknowledgement yet.
    missing: Vec<u64>,
}

impl Witness<'_> {
    /// Every position below the floor was acknowledged by some worker, since nothing is rejected
    /// here and nothing given up. That worker counts it before it acknowledges another one. So each
    /// worker that lives has at most one left to count, and each that was killed took at most one
    /// with it. Both numbers are known at this moment, because the killing is done by this thread;
    /// and the floor is read before the map, with a fence on either side, so that what was counted
    /// before a later acknowledgement is seen.
    fn look(&mut self) -> GroupInfo {
        let info = self.ring.groups().remove(0);
        fence(SeqCst);
        assert!((self.floor..=self.ring.head()).contains(&info.ack_floor), "{info:?}");
        self.missing.extend(self.floor..info.ack_floor);
        self.missing.retain(|&position| !self.shared.is_counted(position));
        self.floor = info.ack_floor;
        let doubles = self.shared.number(Number::Doubles).load(SeqCst);
        let doubled = self.shared.number(Number::Doubled).load(SeqCst);
        assert_eq!(doubles, 0, "acknowledged by two: {doubled}, and perhaps others");
        assert!(
            self.missing.len() <= self.kills + WORKERS,
            "{} kills of workers, and below the floor nobody acknowledged {:?}",
            self.kills,
            self.missing
        );
        info
    }
}

fn seconds() -> u64 {
    std::env::var("SLIPRING_KILL_SECONDS").map_or(20, |seconds| seconds.parse().unwrap())
}

#[test]
fn whichever_process_dies_every_message_is_acknowledged_exactly_once() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let messages = seconds() * RATE;
    let settings = GroupSettings::new().ack_wait(ACK_WAIT).max_deliver(None);
    let ring = RingOptions::new(BLOCK, CAPACITY).group("work", settings).create(&path).unwrap();
    let shared = Shared::open(dir.file("map"), messages);
    let given = [path.display().to_string(), dir.file("map").display().to_string(), messages.to_string()];
    let mut producer = Player::start("produce", &given);
    let mut workers = [(); WORKERS].map(|()| Player::start("work", &given));
    let mut witness = Witness { ring: &ring, shared: &shared, kills: 0, floor: 0, missing: Vec::new() };
    let (mut producer_kills, mut stops, mut looks) = (0, 0, 0);
    let mut dice = Dice::new(2027);

    let start = Instant::now();
    let mut next_blow = start;
    loop {
        let now = Instant::now();
        let played = now - start;
        if played >= Duration::from_secs(seconds()) {
            break;
        }
        let allowed = u64::try_from(played.as_millis()).unwrap() * RATE / 1000;
        shared.number(Number::Quota).store(allowed.min(messages), SeqCst);
        workers.iter_mut().for_each(|worker| worker.go_on_if_due(now));
        witness.look();
        looks += 1;
        if now >= next_blow {
            let worker = &mut workers[dice.index(WORKERS)];
            match dice.roll(10) {
                // Some while they join, most while they work.
                0..5 => {
                    if dice.roll(5) > 0 {
                        worker.greet();
                    }
                    worker.replace();
                    witness.kills += 1;
                }
                5..8 if worker.stopped.is_none() => {
                    let times = dice.roll32(4);
                    worker.stop(now + ACK_WAIT * times);
                    stops += 1;
                }
                _ => {
                    if dice.roll(5) > 0 {
                        producer.greet();
                    }
                    producer.replace();
                    producer_kills += 1;
                }
            }
            next_blow = Instant::now() + Duration::from_millis(dice.roll(100));
        }
        // The processes need the cores more than this one does.
        std::thread::sleep(Duration::from_millis(2));
    }

    for player in workers.iter_mut().chain([&mut producer]) {
        player.go_on();
        player.greet();
    }
    shared.number(Number::Stop).store(1, SeqCst);
    producer.child.finish();
    let head = ring.head();
    let drain = Instant::now();
    while witness.look().ack_floor < head {
        assert!(drain.elapsed() < LONG, "stuck at the end, at {head}: {:?}", witness.look());
        std::thread::sleep(Duration::from_millis(2));
    }
    workers.iter_mut().for_each(|worker| worker.child.finish());

    let info = witness.look();
    assert_eq!((info.num_pending, info.num_ack_pending, info.num_dead_pending), (0, 0, 0), "{info:?}");
    assert_eq!((info.ack_floor, info.dead_lettered, info.dropped), (head, 0, 0), "{info:?}");
    assert!(
        witness.missing.len() <= witness.kills,
        "everybody is through, {} were killed: {:?}",
        witness.kills,
        witness.missing
    );
    assert_eq!((head..messages).find(|&position| shared.is_counted(position)), None, "nobody published it");
    // The entry of a worker that died idle may still be there: the next party that needs it clears
    // it.
    let wrong: Vec<_> = ring.check().into_iter().filter(|found| !found.to_be_cleared).collect();
    assert_eq!(wrong, []);
    assert!(head > 2 * CAPACITY as u64 && witness.kills > 0 && producer_kills > 0, "nothing was tried");
    let number = |number| shared.number(number).load(SeqCst);
    println!(
        "{head} messages in {:?}; {} kills of workers, {producer_kills} of producers, {stops} stops; \
         {} redeliveries ({} leases ran out, {} of a dead worker, {} failed, {} handed back); {} acknowledgements came \
         too late; {} were never counted; {looks} looks",
        start.elapsed(),
        witness.kills,
        number(Number::Redelivered),
        info.expired,
        info.worker_died,
        info.failed,
        info.handed_back,
        number(Number::Lost),
        witness.missing.len(),
    );
}

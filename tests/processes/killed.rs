//! The fear: a process dies, at any instruction, and takes a message, a place or a wake-up with it.
//!
//! Real processes over a real file. They are killed while they publish, read, wait and sleep; the
//! other processes go on, and every message that they see names its number.

use kit::format::{readers, word};
use kit::{Child, Dice, LONG, TempDir, tell, until};
use slipring::{
    AtPath, Consumer, ConsumerOptions, DeadLetters, EventKind, GroupSettings, HandleError, Observer,
    ObserverOptions, Producer, RecvError, RingOptions, Selector, SendError, Start, Wait, Worker,
    WorkerOptions,
};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BLOCK: usize = 64;
const READERS_ASLEEP: u64 = readers::SEGMENT_OF_SMALL + readers::READERS_ASLEEP;
const PRODUCER_ASLEEP: u64 = readers::SEGMENT_OF_SMALL + readers::PRODUCER_ASLEEP;

/// The `n`th message of life `life`: both numbers, then bytes that follow from them, of varying
/// length.
fn fill(block: &mut [u8], life: u64, n: u64) -> usize {
    let len = 16 + usize::try_from((n * 7 + life) % (BLOCK as u64 - 15)).unwrap();
    block[..8].copy_from_slice(&life.to_le_bytes());
    block[8..16].copy_from_slice(&n.to_le_bytes());
    Dice::new(life << 32 | n).fill(&mut block[16..len]);
    len
}

/// The producer's life and the position that a message names. The message must be whole.
fn read(message: &[u8]) -> (u64, u64) {
    let number = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
    let (life, n) = (number(0), number(8));
    let mut expected = [0; BLOCK];
    let len = fill(&mut expected, life, n);
    assert_eq!(message, &expected[..len], "life {life}, message {n}");
    (life, n)
}

/// A number that survives the process which stores it.
struct Ledger(std::fs::File);

impl Ledger {
    fn at(path: impl AsRef<Path>) -> Ledger {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        Ledger(options.open(path).unwrap())
    }
    fn store(&self, value: u64) {
        self.0.write_all_at(&value.to_le_bytes(), 0).unwrap();
    }
    fn load(&self) -> u64 {
        let mut value = [0; 8];
        self.0.read_exact_at(&mut value, 0).map_or(0, |()| u64::from_le_bytes(value))
    }
}

/// True if the ring at `path` was removed or replaced, and the error says so.
fn is_replaced(error: &AtPath<HandleError>, path: &Path) -> bool {
    error.path == path && error.error == HandleError::Replaced
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn every_process_sees_every_message_in_order() {
    const COUNT: u64 = 200_000;
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(BLOCK, 256).create(&path).unwrap();
    let mut readers: Vec<Child> = ["one", "two", "three", "observer"]
        .into_iter()
        .map(|name| {
            Child::start(
                if name == "observer" { "killed/observe" } else { "killed/consume" },
                &[text(&path), name],
            )
        })
        .collect();
    for reader in &mut readers {
        assert_eq!(reader.hear(), "attached");
    }
    let mut producer = Child::start(
        "killed/produce",
        &[text(&path), &dir.file("ledger").display().to_string(), "0", &COUNT.to_string()],
    );
    assert_eq!(producer.hear(), "open");
    producer.finish();
    for mut reader in readers {
        // Life 0 had so many messages. An observer counts those it missed among them.
        assert_eq!(reader.hear(), format!("saw {COUNT}"));
        reader.finish();
    }
}

/// Publishes message after message in every way there is, and notes how many are out.
fn produce(path: &str, ledger: &str, life: u64, count: u64) {
    let ledger = Ledger::at(ledger);
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    tell("open");
    let mut dice = Dice::new(life + 1);
    let mut n = 0;
    let mut block = [0; BLOCK];
    while n < count {
        match dice.roll(4) {
            0 => {
                let len = fill(&mut block, life, n);
                producer.send(&block[..len]).unwrap();
                n += 1;
            }
            1 => {
                let mut claim = producer.claim().unwrap();
                claim.fill(0xEE);
                let len = fill(&mut claim, life, n);
                claim.publish(len).unwrap();
                n += 1;
            }
            2 => {
                let most = dice.size(32);
                let mut batch = producer.claim_batch(most.min(usize::try_from(count - n).unwrap())).unwrap();
                while batch.remaining() > 0 {
                    let next = n + batch.len() as u64;
                    batch.push_with(|block| fill(block, life, next)).unwrap();
                }
                n += batch.publish().unwrap().count() as u64;
            }
            // Claimed, partly written and given up.
            _ => producer.claim().unwrap().fill(0xDD),
        }
        ledger.store(n);
    }
    producer.close().unwrap();
}

/// Reads until the stream is closed; every life's messages begin at 0 and have no gap. Tells how
/// many each life had.
fn consume(path: &str, name: &str) {
    let mut consumer = ConsumerOptions::new().name(name).start(Start::Earliest).attach::<[u8]>(path).unwrap();
    tell("attached");
    let mut lives: Vec<u64> = Vec::new();
    let mut expected = consumer.position();
    loop {
        let batch = match consumer.recv_batch(16) {
            Ok(batch) => batch,
            Err(RecvError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        };
        for item in &batch {
            assert_eq!(item.position(), expected);
            expected += 1;
            follow(&mut lives, read(&item));
        }
    }
    let counts: Vec<String> = lives.iter().map(u64::to_string).collect();
    tell(format!("saw {}", counts.join(" ")));
}

fn follow(lives: &mut Vec<u64>, (life, n): (u64, u64)) {
    let life = usize::try_from(life).unwrap();
    assert!(life + 1 >= lives.len(), "a message of life {life} came late");
    lives.resize(life + 1, 0);
    assert_eq!(n, lives[life], "life {life}: lost or doubled");
    lives[life] += 1;
}

/// Reads by copy until the stream is closed. The messages that it saw and those that it missed make
/// the whole.
fn observe(path: &str) {
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    tell("attached");
    let mut next = observer.position();
    loop {
        match observer.recv() {
            Ok(message) => {
                assert_eq!(message.position(), next);
                next = message.position() + 1;
                // One life only: its messages have the numbers of their positions.
                assert_eq!(read(&message), (0, message.position()));
            }
            Err(RecvError::Lagged { missed }) => next += missed,
            Err(RecvError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    // The end of the stream may have been missed, too.
    tell(format!("saw {}", observer.position()));
}

#[test]
fn a_producer_killed_anywhere_loses_nothing_published_and_doubles_nothing() {
    const LIVES: u64 = 40;
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 64).create(&path).unwrap();
    let mut readers: Vec<Child> =
        ["one", "two"].into_iter().map(|name| Child::start("killed/consume", &[text(&path), name])).collect();
    for reader in &mut readers {
        assert_eq!(reader.hear(), "attached");
    }
    let mut dice = Dice::new(2026);
    let ledger = |life: u64| dir.file(&format!("ledger-{life}"));
    for life in 0..LIVES {
        let last = life == LIVES - 1;
        let count = if last { "1000" } else { "1000000000" };
        let given = [text(&path), &ledger(life).display().to_string(), &life.to_string(), count];
        let mut producer = Child::start("killed/produce", &given);
        assert_eq!(producer.hear(), "open");
        if last {
            producer.finish();
            break;
        }
        let mark = ring.head() + dice.roll(2000);
        until("the producer gets that far", || ring.head() >= mark);
        for _ in 0..dice.roll(500) {
            std::hint::spin_loop();
        }
        producer.kill();
        let info = ring.producer_info().unwrap();
        assert!(!info.alive && !info.closed && info.epoch == life + 1);
    }
    let accounts: Vec<Vec<u64>> = readers
        .iter_mut()
        .map(|reader| {
            let told = reader.hear();
            reader.finish();
            told.strip_prefix("saw ").unwrap().split(' ').map(|count| count.parse().unwrap()).collect()
        })
        .collect();
    assert_eq!(accounts[0], accounts[1], "two readers saw two histories");
    assert_eq!(accounts[0].len() as u64, LIVES);
    assert_eq!(accounts[0].iter().sum::<u64>(), ring.head());
    for (life, &seen) in (0..).zip(&accounts[0]) {
        // At most the last call, up to 32 messages, was out and not yet noted.
        let noted = Ledger::at(ledger(life)).load();
        assert!((noted..=noted + 32).contains(&seen), "life {life}: {noted} were sent, {seen} seen");
    }
}

#[test]
fn a_durable_consumer_killed_anywhere_resumes_at_the_first_unreleased_message() {
    let dir = TempDir::new();
    let (path, ledger_path) = (dir.file("ring"), dir.file("ledger"));
    let ring = RingOptions::new(BLOCK, 64).durable("audit").create(&path).unwrap();
    let producer_ledger = dir.file("produced").display().to_string();
    let ledger = Ledger::at(&ledger_path);
    let mut producer = Child::start("killed/produce", &[text(&path), &producer_ledger, "0", "1000000000"]);
    assert_eq!(producer.hear(), "open");
    let mut dice = Dice::new(7);
    let tail = || ring.consumers()[0].tail.unwrap();
    for _ in 0..12 {
        let before = tail();
        let mut consumer = Child::start("killed/audit", &[text(&path), text(&ledger_path)]);
        assert_eq!(consumer.hear(), format!("resumed at {before}"));
        let mark = before + dice.roll(1500);
        until("the consumer gets that far", || tail() >= mark);
        consumer.kill();
        let (released, noted) = (tail(), ledger.load());
        // The consumer notes each message when it has released it.
        assert!((noted..=noted + 1).contains(&released), "noted {noted}, released {released}");
        let info = &ring.consumers()[0];
        assert!(!info.alive && info.durable && info.name == "audit");
    }
    producer.kill();
    Producer::<[u8]>::open(&path).unwrap().close().unwrap();
    let before = tail();
    let mut consumer = Child::start("killed/audit", &[text(&path), text(&ledger_path)]);
    assert_eq!(consumer.hear(), format!("resumed at {before}"));
    consumer.finish();
    assert_eq!((ledger.load(), tail()), (ring.head(), ring.head()));
}

/// Reads one message at a time and notes each when it is released, until the stream is closed.
fn audit(path: &str, ledger: &str) {
    let ledger = Ledger::at(ledger);
    let mut consumer = ConsumerOptions::new().name("audit").durable(true).attach::<[u8]>(path).unwrap();
    let mut next = consumer.position();
    tell(format!("resumed at {next}"));
    loop {
        match consumer.recv() {
            Ok(message) => {
                assert_eq!((message.position(), read(&message)), (next, (0, next)));
                drop(message);
                next += 1;
                ledger.store(next);
            }
            Err(RecvError::Closed) => return,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[test]
fn a_dead_consumer_does_not_stop_the_producer() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 8).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    for round in 0..3 {
        let mut consumer = Child::start("killed/hold", &[text(&path)]);
        assert_eq!(consumer.hear(), "holding");
        while producer.try_send(b"more").is_ok() {}
        let Err(SendError::Full { holder, .. }) = producer.try_send(b"x") else { panic!("not full") };
        assert_eq!((holder.name.as_str(), holder.pid), ("holder", consumer.pid()));
        if round == 0 {
            // Alive, it holds the producer for as long as it likes.
            assert!(producer.send_timeout(b"x", Duration::from_millis(50)).is_err());
            consumer.kill();
            producer.send_timeout(b"x", LONG).unwrap();
        } else {
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| producer.send(b"x"));
                until("the producer sleeps", || is_announced(&path, PRODUCER_ASLEEP));
                consumer.kill();
                waiting.join().unwrap().unwrap();
            });
        }
        let died = ring.events().into_iter().rev().find(|event| event.kind == EventKind::Died).unwrap();
        assert_eq!((died.name.as_str(), died.pid), ("holder", consumer.pid()));
        assert_eq!(ring.consumers(), []);
    }
}

/// Attaches and never reads.
fn hold(path: &str) {
    let _consumer = ConsumerOptions::new().name("holder").attach::<[u8]>(path).unwrap();
    tell("holding");
    loop {
        std::thread::park();
    }
}

/// True if the role's thread of the process sleeps in the kernel.
fn sleeps(pid: u64) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    tasks.filter_map(Result::ok).all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S"))
    })
}

/// True if this word says that a party sleeps, or slept and was not woken.
fn is_announced(path: &Path, word_at: u64) -> bool {
    word(path, word_at) != 0
}

#[test]
fn a_sleeper_killed_in_its_sleep_costs_one_wake_and_loses_none_for_others() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 256).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let mut block = [0; BLOCK];
    let mut sleeper = Child::start("killed/consume", &[text(&path), "sleeper"]);
    assert_eq!(sleeper.hear(), "attached");
    until("it sleeps", || is_announced(&path, READERS_ASLEEP) && sleeps(sleeper.pid()));
    sleeper.kill();
    let wakes = || ring.producer_info().unwrap().wake_count;
    let before = wakes();
    for n in 0..200 {
        let len = fill(&mut block, 0, n);
        producer.send(&block[..len]).unwrap();
    }
    assert!(wakes() <= before + 1, "every publish pays for a dead sleeper");

    // Two sleepers; one is killed while both sleep.
    let mut victim = Child::start("killed/consume", &[text(&path), "victim"]);
    let mut survivor = Child::start("killed/consume", &[text(&path), "survivor"]);
    assert_eq!((victim.hear(), survivor.hear()), ("attached".to_owned(), "attached".to_owned()));
    let tail = |name: &str| ring.consumers().iter().find(|it| it.name == name).and_then(|it| it.tail);
    until("they have read it all", || [tail("victim"), tail("survivor")] == [Some(200); 2]);
    until("both sleep", || {
        is_announced(&path, READERS_ASLEEP) && sleeps(victim.pid()) && sleeps(survivor.pid())
    });
    victim.kill();
    for n in 200..1200 {
        let len = fill(&mut block, 0, n);
        producer.send(&block[..len]).unwrap();
        until("the survivor got it", || tail("survivor") == Some(n + 1));
    }
    producer.close().unwrap();
    // The survivor joined where the producer, without gates, had left the last lap.
    assert!(survivor.hear().starts_with("saw "));
    survivor.finish();
}

#[test]
fn a_forked_child_does_not_keep_its_parents_rights() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 8).create(&path).unwrap();
    let mut parent = Child::start("killed/fork", &[text(&path)]);
    let grandchild: libc::pid_t = parent.hear().parse().unwrap();
    assert!(matches!(
        Producer::<[u8]>::open(&path),
        Err(AtPath { error: slipring::AttachError::ProducerExists { .. }, .. })
    ));
    parent.kill();
    assert!(Path::new(&format!("/proc/{grandchild}")).exists(), "the grandchild is needed alive");
    // The grandchild gives up what it inherited when it first runs, which may be only now.
    let mut successor = None;
    until("the producer's right is free", || {
        successor = Producer::<[u8]>::open(&path).ok();
        successor.is_some()
    });
    let mut producer = successor.unwrap();
    assert!(ring.consumers().iter().all(|info| !info.alive));
    for _ in 0..20 {
        // The dead consumer's entry is not held by the grandchild either.
        producer.send_timeout(b"x", LONG).unwrap();
    }
    let again = ConsumerOptions::new().name("forker").start(Start::Latest);
    assert_eq!(again.attach::<[u8]>(&path).unwrap().position(), 20);
    // SAFETY: no memory is passed; the process is the one that was started for this.
    assert_eq!(unsafe { libc::kill(grandchild, libc::SIGKILL) }, 0);
}

/// Has a producer and a consumer, and forks without exec.
fn fork(path: &str) {
    let _producer = Producer::<[u8]>::open(path).unwrap();
    let _consumer = ConsumerOptions::new().name("forker").attach::<[u8]>(path).unwrap();
    // SAFETY: the child only makes calls that are safe after a fork of many threads.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // Should everything else fail, it ends by itself.
        // SAFETY: takes a number.
        unsafe { libc::alarm(120) };
        loop {
            // SAFETY: takes nothing.
            unsafe { libc::pause() };
        }
    }
    assert!(pid > 0);
    tell(pid);
    loop {
        std::thread::park();
    }
}

#[test]
fn a_right_given_up_is_free_at_once_though_the_process_starts_others() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(BLOCK, 8).consumers(1).create(&path).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let starting = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // Between its fork and its exec a child has every descriptor of this process.
                let child =
                    std::process::Command::new("/proc/self/exe").arg("--list").stdout(Stdio::null()).spawn();
                child.unwrap().wait().unwrap();
            }
        });
        let refused = (0..3000).find_map(|_| {
            let producer = Producer::<[u8]>::open(&path).map(drop);
            let consumer = ConsumerOptions::new().name("named").attach::<[u8]>(&path).map(drop);
            producer.and(consumer).err()
        });
        done.store(true, Ordering::Relaxed);
        starting.join().unwrap();
        assert!(refused.is_none(), "{refused:?}");
    });
}

#[test]
fn a_ring_that_is_removed_or_replaced_is_noticed_by_every_waiting_handle() {
    for replaced in [false, true] {
        let dir = TempDir::new();
        let path = dir.file("ring");
        RingOptions::new(BLOCK, 4).create(&path).unwrap();
        let mut producer = Producer::<[u8]>::open(&path).unwrap();
        let _holder = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
        let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
        let mut evictable = ConsumerOptions::new().attach_evictable::<[u8]>(&path).unwrap();
        let mut observer = Observer::<[u8]>::attach(&path, Start::Earliest).unwrap();
        for n in 0..4_u8 {
            producer.send(&[n]).unwrap();
        }
        std::fs::remove_file(&path).unwrap();
        if replaced {
            RingOptions::new(BLOCK, 4).create(&path).unwrap();
        }
        let error = producer.send(b"x").unwrap_err();
        assert!(matches!(&error, SendError::Handle(error) if is_replaced(error, &path)), "{error}");
        assert!(error.to_string().contains(text(&path)));
        let replaced = |error: &RecvError| {
            assert!(matches!(error, RecvError::Handle(error) if is_replaced(error, &path)), "{error}");
        };
        // The readers still receive the messages that are there; only then the waiting ends.
        for n in 0..4_u8 {
            assert_eq!(&*consumer.recv().unwrap(), [n]);
            assert_eq!(&*observer.recv().unwrap(), [n]);
            assert_eq!(&*evictable.recv().unwrap(), [n]);
        }
        replaced(&consumer.recv().unwrap_err());
        replaced(&consumer.recv_batch(3).unwrap_err());
        replaced(&observer.recv().unwrap_err());
        replaced(&evictable.recv().unwrap_err());
        let mut selector = Selector::new(Wait::Park);
        selector.add(consumer);
        assert_eq!(selector.recv().unwrap_err(), RecvError::Closed);
        replaced(selector.ended(0).unwrap());
    }
}

/// Calls again and again what finds nothing, until it returns another error.
fn poll(mut call: impl FnMut() -> RecvError) -> RecvError {
    let start = Instant::now();
    loop {
        match call() {
            RecvError::Empty | RecvError::TimedOut(_) => {
                assert!(start.elapsed() < LONG, "it never learns that its ring is gone");
                std::thread::yield_now();
            }
            error => return error,
        }
    }
}

#[test]
fn a_ring_that_is_removed_or_replaced_is_noticed_by_every_polling_handle() {
    // So short that no single call comes to its own look at the path.
    let moment = Duration::from_millis(1);
    for replaced in [false, true] {
        let dir = TempDir::new();
        let path = dir.file("ring");
        let options = RingOptions::new(BLOCK, 4).group("g", GroupSettings::new());
        let ring = options.create(&path).unwrap();
        let mut producer = Producer::<[u8]>::open(&path).unwrap();
        let consumers = [(); 3].map(|()| Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap());
        let [mut trying, mut waiting, selected] = consumers;
        let mut evictable = ConsumerOptions::new().attach_evictable::<[u8]>(&path).unwrap();
        let observers = [(); 3].map(|()| Observer::<[u8]>::attach(&path, Start::Earliest).unwrap());
        let [mut observer, mut observing, mut latest] = observers;
        let workers = [(); 2].map(|()| Worker::<[u8]>::join(&path, "g").unwrap());
        let mut selector = Selector::new(Wait::Park);
        selector.add(selected);
        producer.send(b"x").unwrap();
        let lease = workers[0].recv().unwrap();
        lease.reject("to be read").unwrap();
        let mut letters = DeadLetters::open(&ring).unwrap();
        assert_eq!(letters.take().unwrap().unwrap().bytes, b"x");
        std::fs::remove_file(dir.file("ring.dead")).unwrap();
        std::fs::remove_file(&path).unwrap();
        if replaced {
            options.create(&path).unwrap();
        }
        let replaced = |error: RecvError| {
            assert!(matches!(&error, RecvError::Handle(error) if is_replaced(error, &path)), "{error}");
        };
        // What is there is still received.
        assert_eq!(&*trying.try_recv().unwrap(), b"x");
        assert_eq!(&*waiting.recv_timeout(moment).unwrap(), b"x");
        assert_eq!(&*observer.try_recv().unwrap(), b"x");
        assert_eq!(&*observing.recv_timeout(moment).unwrap(), b"x");
        assert_eq!(&*evictable.try_recv().unwrap(), b"x");
        assert_eq!(&*selector.try_recv().unwrap().1, b"x");
        replaced(poll(|| trying.try_recv().unwrap_err()));
        replaced(poll(|| trying.try_recv_batch(3).unwrap_err()));
        replaced(poll(|| trying.read_ahead().try_recv().unwrap_err()));
        replaced(poll(|| waiting.read_ahead().recv_timeout(moment).unwrap_err()));
        replaced(poll(|| latest.latest().err().unwrap_or(RecvError::Empty)));
        replaced(poll(|| waiting.recv_timeout(moment).unwrap_err()));
        replaced(poll(|| waiting.recv_batch_timeout(3, moment).unwrap_err()));
        replaced(poll(|| observer.try_recv().unwrap_err()));
        replaced(poll(|| observing.recv_timeout(moment).unwrap_err()));
        replaced(poll(|| evictable.try_recv().unwrap_err()));
        replaced(poll(|| workers[0].try_recv().unwrap_err()));
        replaced(poll(|| workers[1].recv_timeout(moment).unwrap_err()));
        assert_eq!(poll(|| selector.try_recv().unwrap_err()), RecvError::Closed);
        replaced(selector.ended(0).unwrap().clone());
        let start = Instant::now();
        let error = loop {
            match letters.peek() {
                Ok(letter) => assert!(letter.is_none() && start.elapsed() < LONG, "{letter:?}"),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&error, RecvError::Handle(error) if error.error == HandleError::Replaced),
            "{error}"
        );
    }
}

#[test]
fn a_dead_producer_is_noticed_by_a_reader_that_asked_and_awaited_by_one_that_did_not() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 1024).create(&path).unwrap();
    let asked = ConsumerOptions::new().notice_producer_away(true).start(Start::Earliest);
    let mut consumer = asked.attach::<[u8]>(&path).unwrap();
    let mut evictable = asked.attach_evictable::<[u8]>(&path).unwrap();
    let mut observer = ObserverOptions::new()
        .notice_producer_away(true)
        .start(Start::Earliest)
        .attach::<[u8]>(&path)
        .unwrap();
    let mut patient = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    // A ring that never had a producer waits for one.
    let short = Duration::from_millis(250);
    assert!(matches!(consumer.recv_timeout(short), Err(RecvError::TimedOut(_))));

    let ledger = dir.file("ledger").display().to_string();
    let mut producer = Child::start("killed/produce", &[text(&path), &ledger, "0", "1000000000"]);
    assert_eq!(producer.hear(), "open");
    until("something is published", || ring.head() > 0);
    producer.kill();
    let is_dead = |error: RecvError| {
        assert!(matches!(error, RecvError::ProducerAway { pid, .. } if pid == producer.pid()), "{error}");
        assert!(error.to_string().contains(&format!("process {}", producer.pid())), "{error}");
    };
    let mut drained = 0;
    let error = loop {
        match consumer.recv() {
            Ok(message) => drained += u64::from(read(&message) == (0, message.position())),
            Err(error) => break error,
        }
    };
    is_dead(error);
    assert_eq!(consumer.position(), drained);
    assert!(drained >= ring.head(), "the news came before the messages");
    let error = loop {
        match observer.recv() {
            Ok(message) => assert_eq!(read(&message), (0, message.position())),
            Err(error) => break error,
        }
    };
    is_dead(error);
    assert_eq!(observer.position(), drained);
    let error = loop {
        match evictable.recv() {
            Ok(_) | Err(RecvError::Lagged { .. }) => {}
            Err(error) => break error,
        }
    };
    is_dead(error);
    assert_eq!(evictable.position(), drained);
    while patient.try_recv().is_ok() {}
    assert!(matches!(patient.recv_timeout(short), Err(RecvError::TimedOut(_))));

    let mut successor = Producer::<[u8]>::open(&path).unwrap();
    assert_eq!(successor.send(b"on").unwrap(), drained);
    assert_eq!(&*consumer.recv().unwrap(), b"on");
    assert_eq!(&*patient.recv().unwrap(), b"on");
}

#[test]
fn a_worker_notices_a_dead_producer_if_it_asked_and_a_ring_that_is_gone_in_any_case() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 1024).group("work", GroupSettings::new()).create(&path).unwrap();
    let worker = WorkerOptions::new("work").notice_producer_away(true).join::<[u8]>(&path).unwrap();
    let patient = Worker::<[u8]>::join(&path, "work").unwrap();
    let short = Duration::from_millis(250);
    // A ring that never had a producer waits for one.
    assert!(matches!(worker.recv_timeout(short), Err(RecvError::TimedOut(_))));

    let ledger = dir.file("ledger").display().to_string();
    let mut producer = Child::start("killed/produce", &[text(&path), &ledger, "0", "1000000000"]);
    assert_eq!(producer.hear(), "open");
    until("something is published", || ring.head() > 0);
    producer.kill();
    let error = loop {
        match worker.recv_timeout(LONG) {
            Ok(delivery) => delivery.ack().unwrap(),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RecvError::ProducerAway { pid, .. } if pid == producer.pid()), "{error}");
    assert_eq!(ring.groups()[0].ack_floor, ring.head(), "the news came before the messages");
    assert!(matches!(patient.recv_timeout(short), Err(RecvError::TimedOut(_))));
    std::fs::remove_file(&path).unwrap();
    for left in [worker, patient] {
        let error = left.recv_timeout(LONG).unwrap_err();
        assert!(matches!(&error, RecvError::Handle(error) if is_replaced(error, &path)), "{error}");
    }
}

#[test]
fn what_a_killed_worker_held_is_delivered_again_long_before_its_lease_is_over() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let patient = GroupSettings::new().ack_wait(LONG * 60);
    let ring = RingOptions::new(BLOCK, 8).group("other", patient).group("work", patient);
    let ring = ring.create(&path).unwrap();
    Producer::<[u8]>::open(&path).unwrap().send(b"x").unwrap();
    let mut victim = Child::start("killed/lease", &[text(&path), "work"]);
    assert_eq!(victim.hear(), "leased 0");
    let colleague = Worker::<[u8]>::join(&path, "work").unwrap();
    assert_eq!(colleague.try_recv().unwrap_err(), RecvError::Empty);
    victim.kill();
    let again = colleague.recv_timeout(LONG).unwrap();
    assert_eq!((again.position(), again.attempt()), (0, 2));
    let info = ring.group("work").unwrap();
    assert_eq!((info.worker_died, info.expired, info.workers.len()), (1, 0, 1));
    let died = ring.events().into_iter().rev().find(|event| event.kind == EventKind::WorkerDied).unwrap();
    assert_eq!((died.name.as_str(), died.pid), ("work", victim.pid()));
}

/// Only the producer looks after the dead: the colleague does so once an hour.
#[test]
fn what_a_killed_worker_may_be_reading_holds_the_producer_until_it_needs_the_room() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let hasty = GroupSettings::new().ack_wait(Duration::from_millis(1));
    RingOptions::new(BLOCK, 8).group("work", hasty).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    producer.send(b"x").unwrap();
    let mut victim = Child::start("killed/lease", &[text(&path), "work"]);
    assert_eq!(victim.hear(), "leased 0");
    let colleague = WorkerOptions::new("work").tick(Duration::from_secs(3600)).join::<[u8]>(&path).unwrap();
    let again = colleague.recv_timeout(LONG).unwrap();
    assert_eq!((again.position(), again.attempt()), (0, 2));
    again.ack().unwrap();
    for position in 1..8 {
        assert_eq!(producer.try_send(b"x").unwrap(), position);
        colleague.try_recv().unwrap().ack().unwrap();
    }
    let full = producer.try_send(b"x").unwrap_err();
    assert!(full.to_string().contains("worker"), "{full}");
    victim.kill();
    assert_eq!(producer.send_timeout(b"x", LONG).unwrap(), 8);
}

/// Leases a message and does nothing about it.
fn lease(path: &str, group: &str) {
    let worker = Worker::<[u8]>::join(path, group).unwrap();
    let delivery = worker.recv().unwrap();
    tell(format_args!("leased {}", delivery.position()));
    loop {
        std::thread::park();
    }
}

#[test]
fn whatever_a_group_does_to_make_room_wakes_the_producer() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(BLOCK, 8).groups(1).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let fall_asleep = || file.write_all_at(&1_u64.to_le_bytes(), PRODUCER_ASLEEP).unwrap();
    let is_woken_by = |what| assert!(!is_announced(&path, PRODUCER_ASLEEP), "{what} wakes nobody");
    fall_asleep();
    let worker = Worker::<[u8]>::join(&path, "work").unwrap();
    is_woken_by("a group that begins");
    for _ in 0..2 {
        producer.send(b"x").unwrap();
    }
    let [first, second] = [(); 2].map(|()| worker.recv().unwrap());
    fall_asleep();
    first.ack().unwrap();
    is_woken_by("an acknowledgement");
    fall_asleep();
    drop(second);
    is_woken_by("a delivery that is dropped");
    fall_asleep();
    drop(worker);
    is_woken_by("a worker that leaves");
    fall_asleep();
    ring.remove_group("work").unwrap();
    is_woken_by("a group that is removed");
}

#[test]
fn a_wait_in_the_kernel_uses_no_processor() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(BLOCK, 8).groups(1).create(&path).unwrap();
    Child::start("killed/idle", &[text(&path)]).finish();
}

fn idle(path: &str) {
    let used = || {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to an `rusage` that the call fills.
        assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) }, 0);
        // SAFETY: the call succeeded, so it filled the structure.
        let usage = unsafe { usage.assume_init() };
        let seconds = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec;
        Duration::from_secs(u64::try_from(seconds).unwrap())
            + Duration::from_micros(u64::try_from(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec).unwrap())
    };
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let worker = Worker::<[u8]>::join(path, "work").unwrap();
    let wall = Duration::from_millis(700);
    let start = used();
    assert!(matches!(consumer.recv_timeout(wall), Err(RecvError::TimedOut(_))));
    let receiving = used() - start;
    let start = used();
    assert!(matches!(worker.recv_timeout(wall), Err(RecvError::TimedOut(_))));
    let working = used() - start;
    while producer.try_send(b"more").is_ok() {}
    let start = used();
    assert!(matches!(producer.send_timeout(b"x", wall), Err(SendError::Full { .. })));
    let sending = used() - start;
    // Time in the kernel and out of it, not by the clock: a busy machine makes it less, not more.
    assert!(receiving < wall / 5, "{receiving:?} of {wall:?}");
    assert!(working < wall / 5, "{working:?} of {wall:?}");
    assert!(sending < wall / 5, "{sending:?} of {wall:?}");
}

#[test]
fn closing_wakes_every_sleeper() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(BLOCK, 8).create(&path).unwrap();
    let producer = Producer::<[u8]>::open(&path).unwrap();
    let mut sleepers: Vec<Child> = ["one", "two", "three", "observer"]
        .into_iter()
        .map(|name| {
            Child::start(
                if name == "observer" { "killed/observe" } else { "killed/consume" },
                &[text(&path), name],
            )
        })
        .collect();
    for sleeper in &mut sleepers {
        assert_eq!(sleeper.hear(), "attached");
    }
    until("all sleep", || {
        is_announced(&path, READERS_ASLEEP) && sleepers.iter().all(|sleeper| sleeps(sleeper.pid()))
    });
    producer.close().unwrap();
    for mut sleeper in sleepers {
        assert!(sleeper.hear().starts_with("saw"));
        sleeper.finish();
    }
}

#[test]
fn a_selector_serves_all_rings_in_turn_and_loses_nothing() {
    const RINGS: usize = 4;
    const CAPACITY: u64 = 64;
    const COUNT: u64 = 5000;
    let dir = TempDir::new();
    let paths: Vec<_> = (0..RINGS).map(|ring| dir.file(&format!("ring-{ring}"))).collect();
    let mut selector = Selector::new(Wait::Park);
    let mut producers = Vec::new();
    for (life, path) in (0..).zip(&paths) {
        let life: u64 = life;
        let ring = RingOptions::new(BLOCK, usize::try_from(CAPACITY).unwrap()).create(path).unwrap();
        assert_eq!(selector.add(Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap()) as u64, life);
        let ledger = dir.file(&format!("ledger-{life}")).display().to_string();
        let given = [text(path), &ledger, &life.to_string(), &COUNT.to_string()];
        let mut producer = Child::start("killed/produce", &given);
        assert_eq!(producer.hear(), "open");
        until("the ring is full", || ring.head() == CAPACITY);
        producers.push(producer);
    }
    let mut counts = [0; RINGS];
    for turn in 1..=RINGS as u64 * CAPACITY {
        let (which, message) = selector.try_recv().unwrap();
        assert_eq!(read(&message), (which as u64, counts[which]));
        drop(message);
        counts[which] += 1;
        // All had messages all the time, so no ring is served twice before every ring was served
        // once.
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 1, "unfair in turn {turn}: {counts:?}");
    }
    loop {
        match selector.recv() {
            Ok((which, message)) => {
                assert_eq!(read(&message), (which as u64, counts[which]));
                counts[which] += 1;
            }
            Err(RecvError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(counts, [COUNT; RINGS]);
    assert!((0..producers.len()).all(|ring| selector.ended(ring) == Some(&RecvError::Closed)));
    producers.iter_mut().for_each(Child::finish);
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    match (role, given.as_slice()) {
        ("produce", &[path, ledger, life, count]) => {
            produce(path, ledger, life.parse().unwrap(), count.parse().unwrap());
        }
        ("consume", &[path, name]) => consume(path, name),
        ("observe", &[path, _]) => observe(path),
        ("audit", &[path, ledger]) => audit(path, ledger),
        ("hold", &[path]) => hold(path),
        ("lease", &[path, group]) => lease(path, group),
        ("fork", &[path]) => fork(path),
        ("idle", &[path]) => idle(path),
        other => panic!("no such role: {other:?}"),
    }
}

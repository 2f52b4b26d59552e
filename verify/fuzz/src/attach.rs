//! Any bytes as a file: every way in, and every use of what opens.
//!
//! An input is either the file itself, or a sound ring with some words changed, its header's
//! checksum made right again, and then what is to be done with it.

use crate::input::Input;
use kit::format::{self, checksum, header, producer, size, slot};
use slipring::{ConsumerOptions, 
    Backoff, Consumer, DeadLetterPolicy, DeadLetters, EvictableConsumer, GroupSettings, Kinds, Observer,
    Producer, Ring, RingOptions, Start, Worker,
};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

/// More than any honest loop over these rings takes.
const ENOUGH: u64 = 200;

/// How many operations of one execution may open the file: system calls are about half of its time.
const OPENINGS: u32 = 4;

/// No image is longer.
const SANE: u64 = 1 << 20;

struct Bench {
    path: PathBuf,
    file: File,
    dead: File,
    bases: Vec<(Vec<u8>, Vec<u8>)>,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(Bench::new)
}

impl Bench {
    fn new() -> Bench {
        // A header that asks for a vast dead-letter ring gets an error, not all of the memory.
        let limit = libc::rlimit { rlim_cur: 1 << 22, rlim_max: 1 << 22 };
        // SAFETY: the disposition is one of the constants.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        // SAFETY: the pointer is to an `rlimit` that lives across the call.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
        let dir = PathBuf::from(format!("/dev/shm/slipring-fuzz-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("ring");
        let dead_path = dir.join("ring.dead");
        let bases = options()
            .iter()
            .map(|options| {
                let ring = options.create(&path).unwrap();
                live(&ring);
                let dead = std::fs::read(&dead_path).unwrap_or_default();
                let image = std::fs::read(&path).unwrap();
                let _ = (std::fs::remove_file(&path), std::fs::remove_file(&dead_path));
                (image, dead)
            })
            .collect();
        let create =
            |path| OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path).unwrap();
        Bench { file: create(&path), dead: create(&dead_path), path, bases }
    }

    fn put(&self, bytes: &[u8], dead: &[u8]) {
        for (file, bytes) in [(&self.file, bytes), (&self.dead, dead)] {
            if file.metadata().unwrap().len() != bytes.len() as u64 {
                file.set_len(bytes.len() as u64).unwrap();
            }
            file.write_all_at(bytes, 0).unwrap();
        }
    }
}

fn options() -> Vec<RingOptions> {
    let settings =
        GroupSettings::new().ack_wait(Duration::from_secs(60)).max_deliver(2).backoff(Backoff::None);
    let small =
        |block, capacity| RingOptions::new(block, capacity).consumers(3).workers(2).dead_letter_capacity(4);
    vec![
        small(48, 4).durable("d").group("g", settings),
        small(48, 4).durable("d"),
        small(1, 1).group("g", settings).first_position((1 << 63) - (1 << 40)),
        small(200, 8)
            .durable("d")
            .group("g", settings)
            .groups(2)
            .dead_letter_policy(DeadLetterPolicy::DropAndCount),
    ]
}

/// A past.
fn live(ring: &Ring) {
    let mut producer = Producer::<[u8]>::open(ring).unwrap();
    let mut durable =
        ConsumerOptions::new().name("d").durable(true).start(Start::Earliest).attach::<[u8]>(ring).unwrap();
    let worker = Worker::<[u8]>::join(ring, "g").ok();
    for nth in 0..7_u8 {
        let _ = producer.try_send((nth.into(), &[nth]));
        if nth < 5 {
            drop(durable.try_recv());
        }
        let delivery = worker.as_ref().and_then(|worker| worker.try_recv().ok());
        match (nth, delivery) {
            (0..4, Some(delivery)) => delivery.ack().unwrap(),
            (4, Some(delivery)) => drop(delivery.reject("no")),
            (_, delivery) => drop(delivery),
        }
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let bench = bench();
    let mut input = Input(bytes);
    match input.byte() % 8 {
        0 => bench.put(input.0, &[]),
        mode => {
            let (image, dead) = &bench.bases[usize::from(mode) % bench.bases.len()];
            let (mut image, mut dead) = (image.clone(), dead.clone());
            patch(&mut image, &mut input);
            if input.byte() % 8 == 0 && !dead.is_empty() {
                patch(&mut dead, &mut input);
            }
            bench.put(&image, &dead);
        }
    }
    use_it(bench, &mut input);
}

/// Changes some words, and makes the checksum right.
fn patch(image: &mut Vec<u8>, input: &mut Input<'_>) {
    let readers = word_of(image, header::READERS).min(image.len() as u64 - 8);
    for _ in 0..input.byte() % 8 {
        let offset = match input.byte() % 8 {
            0 => 8 * input.below(45),
            1 => producer::PAGE + 128 * input.below(6) + 8 * input.below(3),
            2 => slot::FIRST + 64 * input.below(8) + 8 * input.below(3),
            3 => readers + 128 * input.below(4),
            4 => readers + format::readers::CONSUMERS + 128 * input.below(6) + 8 * input.below(2),
            5 => {
                readers.wrapping_add(word_of(image, header::GROUP_TABLE)) % SANE
                    + 128 * input.below(24)
                    + 8 * input.below(16)
            }
            6 => readers.wrapping_add(word_of(image, header::DELIVERIES)) % SANE + 8 * input.below(16),
            _ => readers + 8 * input.below((image.len() as u64 - readers) / 8),
        };
        let Ok(at) = usize::try_from(offset % (image.len() as u64 - 7) / 8 * 8) else { continue };
        let old = word_of(image, at as u64);
        image[at..at + 8].copy_from_slice(&input.value(old).to_le_bytes());
    }
    let sum = checksum(image);
    image[size(header::CHECKSUM)..][..8].copy_from_slice(&sum.to_le_bytes());
    match input.byte() {
        0 => image.truncate(image.len().saturating_sub(usize::from(input.byte()) * 512)),
        1 => image.resize(image.len() + usize::from(input.byte()), 1),
        _ => {}
    }
    if image.len() < 4096 {
        image.resize(4096, 0);
    }
}

fn word_of(image: &[u8], at: u64) -> u64 {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(image.len() - 8);
    u64::from_le_bytes(image[at..at + 8].try_into().unwrap())
}

#[derive(Default)]
struct Party {
    producer: Option<Producer>,
    consumer: Option<Consumer>,
    durable: Option<Consumer>,
    evictable: Option<EvictableConsumer>,
    observer: Option<Observer>,
    worker: Option<Worker>,
}

fn use_it(bench: &Bench, input: &mut Input<'_>) {
    let path = &bench.path;
    let Ok(ring) = Ring::open(path) else {
        let refused = match input.byte() % 4 {
            0 => Producer::<[u8]>::open(path).is_err(),
            1 => Consumer::<[u8]>::attach(path, Start::Latest).is_err(),
            2 => Observer::<[u8]>::attach(path, Start::Latest).is_err(),
            _ => Worker::<[u8]>::join(path, "g").is_err(),
        };
        assert!(refused, "a role attached to what is no ring");
        return;
    };
    let mut party = Party::default();
    let mut openings = OPENINGS;
    for _ in 0..40 {
        if input.is_empty() {
            break;
        }
        act(&ring, &mut party, &mut openings, input);
    }
    drain(&mut party);
    drop(party);
    ring.repair().unwrap();
    let left = ring.check();
    assert!(left.iter().all(|violation| !violation.repairable), "not repaired: {left:?}");
}

fn act(ring: &Ring, party: &mut Party, openings: &mut u32, input: &mut Input<'_>) {
    let path = ring.path();
    let operation = input.byte() % 24;
    if matches!(operation, 0..6 | 18..23) {
        let Some(left) = openings.checked_sub(1) else { return };
        *openings = left;
    }
    match operation {
        0 => party.producer = Producer::<[u8]>::open(path).ok(),
        1 => party.consumer = Consumer::<[u8]>::attach(path, start(ring, input)).ok(),
        2 => {
            party.durable =
                ConsumerOptions::new().name("d").durable(true).start(start(ring, input)).attach::<[u8]>(path).ok()
        }
        3 => party.evictable = ConsumerOptions::new().start(start(ring, input)).attach_evictable::<[u8]>(path).ok(),
        4 => party.observer = Observer::<[u8]>::attach(path, start(ring, input)).ok(),
        5 => party.worker = Worker::<[u8]>::join(path, if input.byte() % 4 == 0 { "h" } else { "g" }).ok(),
        6..10 => {
            if let Some(producer) = &mut party.producer {
                let _ = producer.try_send((input.byte().into(), &[7; 48][..usize::from(input.byte()) % 49]));
            }
        }
        10 => {
            if let Some(producer) = &mut party.producer {
                if let Ok(mut batch) = producer.try_claim_batch(3) {
                    let _ = (batch.push((1, b"1")), batch.push_with(|block| (2, block.len())));
                    batch.publish().unwrap();
                }
            }
        }
        11 => {
            if let Some(consumer) = &mut party.consumer {
                let _ = consumer.try_recv().map(|message| message.iter().fold(0_u8, |sum, byte| sum ^ byte));
            }
        }
        12 => {
            for consumer in [&mut party.consumer, &mut party.durable].into_iter().flatten() {
                let _ = consumer
                    .try_recv_batch(5)
                    .map(|batch| batch.iter().map(|item| item.last().copied().unwrap_or(0)).max());
            }
        }
        13 => {
            if let Some(evictable) = &mut party.evictable {
                let _ = evictable.try_recv().map(|message| message.len());
            }
        }
        14 => {
            if let Some(observer) = &mut party.observer {
                let _ = observer.try_recv().map(|message| message.len());
            }
        }
        15..18 => {
            if let Some(worker) = &party.worker {
                work(worker, input);
            }
        }
        18 => drop(ring.check()),
        19 => match input.byte() % 5 {
            0 => drop(ring.groups()),
            1 => drop(ring.consumers()),
            2 => drop(ring.events()),
            3 => drop(ring.producer_info()),
            _ => drop(ring.dead_letters()),
        },
        20 => drop(ring.repair().unwrap()),
        21 => {
            if let Ok(mut dead) = DeadLetters::open(path) {
                let _ = dead.purge(2);
            }
        }
        22 if input.byte() % 2 == 0 => drop(ring.remove_group("g")),
        22 => drop(ring.remove_consumer("d")),
        _ => {
            if let Some(producer) = party.producer.take() {
                drop(producer.close());
            }
        }
    }
}

fn start(ring: &Ring, input: &mut Input<'_>) -> Start {
    match input.byte() % 4 {
        0 => Start::Latest,
        1 => Start::At(input.value(ring.head())),
        _ => Start::Earliest,
    }
}

fn work(worker: &Worker, input: &mut Input<'_>) {
    let kinds = match input.byte() % 4 {
        0 => Kinds::AtMost(3),
        1 => Kinds::Except(1),
        _ => Kinds::Any,
    };
    let Ok(mut delivery) = worker.try_recv_kind(kinds) else { return };
    assert!(delivery.len() <= 200 && delivery.iter().count() == delivery.len());
    let _ = match input.byte() % 6 {
        0 => delivery.nack(Duration::from_millis(input.byte().into())),
        1 => delivery.hand_back(),
        2 => delivery.extend().and_then(|()| delivery.ack()),
        3 => delivery.reject("no").map(drop),
        4 => return drop(delivery),
        _ => delivery.ack(),
    };
}

/// Everything comes to an end.
fn drain(party: &mut Party) {
    let ends = |mut next: Box<dyn FnMut() -> bool + '_>| {
        assert!((0..ENOUGH).any(|_| !next()), "a reader goes on for ever");
    };
    if let Some(consumer) = &mut party.consumer {
        ends(Box::new(|| consumer.try_recv().is_ok()));
    }
    if let Some(observer) = &mut party.observer {
        ends(Box::new(|| observer.try_recv().is_ok()));
    }
    if let Some(evictable) = &mut party.evictable {
        ends(Box::new(|| evictable.try_recv().is_ok()));
    }
    if let Some(worker) = &party.worker {
        ends(Box::new(|| worker.try_recv().is_ok_and(|delivery| delivery.ack().is_ok())));
    }
}

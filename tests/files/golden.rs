//! The fear: a change of the code changes the bytes, and rings that exist become unreadable or,
//! worse, are read wrongly.
//!
//! `golden/v1.ring` was written once, by the calls in [`write_ring`]. Today's code must read it,
//! and must write the same bytes, but for what differs from run to run. If it does not, the format
//! has changed: raise its version, keep the old file, and write a new one with
//!
//! ```text
//! SLIPRING_WRITE_GOLDEN=$PWD/tests/files/golden/v2.ring \
//!     cargo test -p slipring-tests --test files golden
//! ```

use kit::TempDir;
use kit::format::{consumer, readers, record, size, slot};
use slipring::{
    At, ConsumerOptions, EventKind, FORMAT_VERSION, Observer, Producer, ProducerOptions, RecvError, Ring,
    RingOptions, Start, message,
};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/files/golden/v1.ring");

// Where things lie in this very file, as `docs/format.md` gives it, written out.
const SLOTS: usize = size(slot::FIRST);
const SLOT: usize = 64;
const PACKED: usize = 12288;
const READERS: usize = size(readers::SEGMENT_OF_SMALL);
const TABLE: usize = READERS + size(readers::CONSUMERS);
const ENTRY: usize = size(consumer::LEN);
const RECORDER: usize = TABLE + 2 * ENTRY;
const EVENT: usize = size(record::LEN);
const FILE_LEN: usize = 65536 + 4096 + 2 * 256 + 256 * 128 + 3584;

message! {
    /// 48 bytes, so that a value and its header share a cache line.
    struct Tick {
        instrument: u64,
        prices: [i64; 4],
        flags: u64,
    }
}

const SENT: [(u32, &[u8]); 7] = [
    (0, b"the first message of the golden ring is 48 long!"),
    (1, b"a kind"),
    (u32::MAX, b""),
    (0xCAFE_F00D, b"\x00\xFF\x01\xFE"),
    (0, b"fifth"),
    (2, b"sixth"),
    (0, b"the seventh message fills its block, and is bare"),
];

/// A ring of eight blocks of 48 bytes that begins at position 1000, has lapped, was full once, has
/// a durable consumer that is away, and was left by a producer that did not close it.
fn write_ring(path: &Path) {
    RingOptions::of::<Tick>(8).consumers(2).durable("audit").first_position(1000).create(path).unwrap();
    let mut producer = Producer::<[u8]>::open(At::path(path).any_type()).unwrap();
    let audit = ConsumerOptions::new().name("audit").durable(true);
    let mut audit = audit.attach::<[u8]>(At::path(path).any_type()).unwrap();
    for n in 0..8_u8 {
        producer.try_send(&[n; 48]).unwrap();
    }
    assert!(producer.try_send(b"").is_err());
    while audit.try_recv().is_ok() {}
    let (singly, together) = SENT.split_at(5);
    for (kind, message) in singly {
        producer.try_send((*kind, *message)).unwrap();
    }
    let mut batch = producer.try_claim_batch(together.len()).unwrap();
    for (kind, message) in together {
        assert!(batch.push((*kind, *message)).unwrap());
    }
    batch.publish().unwrap();
    // Announced, filled and given up: its header outlives its producer.
    let mut given_up = producer.try_claim_batch(1).unwrap();
    assert!(given_up.push((4, b"given up")).unwrap());
    given_up.abort();
    drop(audit.try_recv().unwrap());
    drop(audit);
    drop(ConsumerOptions::new().name("ephemeral").attach::<[u8]>(At::path(path).any_type()).unwrap());
    drop(producer);
}

fn copy(dir: &TempDir) -> std::path::PathBuf {
    let path = dir.file("golden");
    std::fs::copy(GOLDEN, &path).unwrap();
    // A checkout lets everyone read, and this ring has no lock file.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[test]
fn a_ring_of_the_past_is_read_as_it_was_written() {
    let dir = TempDir::new();
    let path = copy(&dir);
    let ring = Ring::open(&path).unwrap();
    assert_eq!((ring.block_size(), ring.capacity(), ring.consumer_entries()), (48, 8, 2));
    assert_eq!((ring.first_position(), ring.head(), ring.file_len()), (1000, 1015, FILE_LEN as u64));
    assert_eq!(ring.schema(), Some("Tick{instrument:u64,prices:[i64;4],flags:u64}"));
    let info = ring.producer_info().unwrap();
    assert_eq!((info.epoch, info.alive, info.closed, info.full_count), (1, false, false, 1));
    let consumers: Vec<_> =
        ring.consumers().into_iter().map(|it| (it.name, it.tail, it.lag, it.durable, it.alive)).collect();
    assert_eq!(consumers, [("audit".to_owned(), Some(1009), 6, true, false)]);
    use EventKind::*;
    let kinds: Vec<EventKind> = ring.events().into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [Created, ProducerOpened, Resumed, Full, Detached, Attached, Detached, Detached]);

    let mut observer = Observer::<[u8]>::attach(At::path(&path).any_type(), Start::Earliest).unwrap();
    let audit = ConsumerOptions::new().name("audit").durable(true);
    let mut audit = audit.attach::<[u8]>(At::path(&path).any_type()).unwrap();
    assert_eq!((observer.position(), audit.position()), (1008, 1009));
    for (position, (kind, sent)) in (1008..).zip(SENT) {
        let message = observer.recv().unwrap();
        assert_eq!((message.position(), message.kind(), &*message), (position, kind, sent));
        if position >= 1009 {
            let message = audit.recv().unwrap();
            assert_eq!((message.position(), message.kind(), &*message), (position, kind, sent));
        }
    }
    assert_eq!(audit.try_recv().unwrap_err(), RecvError::Empty);

    // And it goes on.
    let mut producer = ProducerOptions::new().open::<Tick>(&path).unwrap();
    let tick = Tick { instrument: 7, prices: [1, -2, 3, -4], flags: u64::MAX };
    assert_eq!(producer.send(&tick).unwrap(), 1015);
    drop(audit);
    let audit = ConsumerOptions::new().name("audit").durable(true);
    assert_eq!(*audit.attach::<Tick>(&path).unwrap().recv().unwrap(), tick);
}

/// Puts zeros where one run differs from the next: process numbers, times, ids.
fn mask(bytes: &mut [u8]) {
    let mut zero = |start: usize, len: usize| bytes[start..start + len].fill(0);
    zero(240, 16); // ring id
    zero(256, 16); // boot id
    zero(272, 8); // created
    zero(4088, 8); // checksum
    zero(4096 + 4 * 128 + 16, 16); // the producer's pid and time
    for entry in 0..2 {
        zero(TABLE + entry * ENTRY + 136, 24); // pid, joined, detached
    }
    for event in 0..256 {
        zero(RECORDER + event * EVENT + 24, 16); // pid, time
    }
}

#[test]
fn todays_code_writes_the_bytes_of_the_past() {
    let dir = TempDir::new();
    let path = dir.file("new");
    write_ring(&path);
    if let Ok(target) = std::env::var("SLIPRING_WRITE_GOLDEN") {
        std::fs::copy(&path, target).unwrap();
        return;
    }
    let (mut new, mut golden) = (std::fs::read(&path).unwrap(), std::fs::read(GOLDEN).unwrap());
    assert_eq!((new.len(), golden.len()), (FILE_LEN, FILE_LEN));
    mask(&mut new);
    mask(&mut golden);
    let differs = (0..FILE_LEN).step_by(8).find(|&at| new[at..at + 8] != golden[at..at + 8]);
    assert_eq!(differs.map(|at| (at, &new[at..at + 8], &golden[at..at + 8])), None);
}

/// The golden file says at these offsets what the format's description says, without a line of the
/// library.
#[test]
fn the_golden_file_is_what_the_format_describes() {
    let bytes = std::fs::read(GOLDEN).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(&bytes[..8], b"SLIPRING");
    assert_eq!(bytes[8..12], FORMAT_VERSION.to_le_bytes());
    assert_eq!(bytes[12..16], [0x0D, 0x0C, 0x0B, 0x0A]);
    assert_eq!([word(32), word(40), word(48)], [FILE_LEN as u64, 65536, (FILE_LEN - READERS) as u64]);
    assert_eq!([word(56), word(64), word(72), word(120)], [48, 8, 64, 2]);
    assert_eq!(
        [word(80), word(88), word(352), word(360)],
        [SLOTS as u64 + 16, SLOTS as u64, PACKED as u64, 48]
    );
    // One past the last message that has a header.
    assert_eq!(word(4096 + 128 + 8), 1014);
    assert_eq!(word(232), 1000);
    // Claimed, head, limit; epoch.
    assert_eq!([word(4096), word(4096 + 128), word(4096 + 256)], [1016, 1015, 1016]);
    assert_eq!(word(4096 + 4 * 128 + 8), 1);
    for (position, (kind, message)) in (1008_u64..).zip(SENT) {
        let index = usize::try_from(position % 8).unwrap();
        let (slot, packed) = (SLOTS + index * SLOT, PACKED + index * 48);
        let block = match position {
            ..1013 => slot + 16,
            _ => packed,
        };
        // The last two are a batch. The first of them has a header; of the second its slot says
        // what it said a lap before.
        let sequence = match position {
            1013 => 1014 | 1 << 63,
            1014 => 1007,
            _ => position + 1,
        };
        assert_eq!(word(slot), sequence);
        if position != 1014 {
            assert_eq!(word(slot + 8), u64::from(kind) << 32 | message.len() as u64);
        }
        let block = &bytes[block..block + 48];
        assert_eq!(&block[..message.len()], message);
        assert!(block[message.len()..].iter().all(|&byte| byte == 0), "a stale byte at {position}");
    }
    // The aborted batch lies there, and the head does not reach it.
    let slot = SLOTS + 7 * SLOT;
    assert_eq!(
        (word(slot), word(slot + 8), &bytes[PACKED + 7 * 48..PACKED + 7 * 48 + 8]),
        (1016 | 1 << 63, 4 << 32 | 8, &b"given up"[..])
    );
    // The durable consumer's entry, and the free one.
    assert_eq!((word(TABLE), word(TABLE + 128)), (1009, 0b11));
    assert_eq!(&bytes[TABLE + 192..TABLE + 198], b"audit\0");
    assert_eq!((word(TABLE + ENTRY), word(TABLE + ENTRY + 128)), (u64::MAX, 0));
    // Each entry was taken once: the first at the creation, and its owner has not left for good;
    // the other by one that has.
    assert_eq!([word(TABLE + 8), word(TABLE + 16)], [1, u64::MAX]);
    assert_eq!([word(TABLE + ENTRY + 8), word(TABLE + ENTRY + 16)], [1, 1008]);
    // So many entries of each table were used.
    assert_eq!([word(READERS + 512), word(READERS + 520), word(READERS + 528)], [2, 0, 0]);
    // Words for later versions.
    for (at, len) in [(208, 24), (368, 656), (READERS + 536, 3560), (TABLE + 24, 104), (TABLE + 168, 8)] {
        assert!(bytes[at..at + len].iter().all(|&byte| byte == 0), "reserved, at {at}");
    }
    // The first and the last event.
    assert_eq!([word(RECORDER), word(RECORDER + 8), word(RECORDER + 16)], [1, 1, 1000]);
    assert_eq!([word(RECORDER + 7 * EVENT), word(RECORDER + 7 * EVENT + 8)], [8, 7]);
}

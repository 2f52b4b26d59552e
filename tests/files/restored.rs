//! The fear: a ring that takes the place of a lost one is seen half filled, forgets which reader
//! has to read what, or is taken for the lost one by a reader that has seen messages which the ring
//! has not.

use kit::TempDir;
use kit::format::{checksum, header, write};
use slipring::{
    Ancestor, At, AtPath, AttachError, Consumer, ConsumerOptions, CreateError, EventKind, EvictableConsumer,
    GroupSettings, JoinError, MessageId, Observer, OpenError, Producer, RecvError, Restoration, Ring, RingId,
    RingOptions, Start, StartError, Value, Worker, WorkerOptions, message,
};
use std::path::Path;

const LOST: RingId = RingId::from_bytes([7; 16]);
const BEFORE: RingId = RingId::from_bytes([6; 16]);
const FIRST: u64 = 1000;
const WATERMARK: u64 = 1005;

fn message(position: u64) -> (u32, Vec<u8>) {
    let len = if position % 3 == 0 { 48 } else { usize::try_from(position % 40).unwrap() };
    (u32::try_from(position % 4).unwrap(), position.to_le_bytes().into_iter().cycle().take(len).collect())
}

fn options() -> RingOptions {
    let lost = Ancestor { ring: LOST, watermark: WATERMARK };
    RingOptions::new(48, 8).first_position(FIRST).continues([lost])
}

fn fill(restoration: &mut Restoration, up_to: u64) {
    while restoration.position() < up_to {
        let (kind, bytes) = message(restoration.position());
        restoration.push((kind, &bytes)).unwrap();
    }
}

fn restore(options: &RingOptions, path: &Path) -> Ring {
    let mut restoration = options.restore(path).unwrap();
    assert_eq!(restoration.position(), FIRST);
    fill(&mut restoration, WATERMARK);
    assert!(!path.exists(), "it is seen before it is finished");
    restoration.finish().unwrap()
}

#[test]
fn a_restored_ring_has_the_messages_and_the_members_and_goes_on() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let settings = GroupSettings::new().max_deliver(3);
    let options = options()
        .durable_at("audit", 1003)
        .durable_at("caught up", WATERMARK)
        .durable("new")
        .group_at("sms", settings, 1004)
        .group("all", GroupSettings::new());
    let ring = restore(&options, &path);
    assert_eq!((ring.first_position(), ring.head()), (FIRST, WATERMARK));
    assert_eq!(ring.ancestors(), [Ancestor { ring: LOST, watermark: WATERMARK }]);
    assert_ne!(ring.id(), LOST);
    assert_eq!(ring.producer_info(), None);
    assert_eq!(ring.check(), []);
    assert_eq!(ring.dead_letters().unwrap(), []);
    let events: Vec<_> = ring.events().into_iter().map(|event| (event.kind, event.position)).collect();
    assert_eq!(events, [(EventKind::Created, WATERMARK)]);
    let consumers: Vec<_> = ring.consumers().into_iter().map(|it| (it.name, it.tail, it.durable)).collect();
    let [audit, caught_up, new] = [("audit", 1003), ("caught up", WATERMARK), ("new", FIRST)];
    assert_eq!(consumers, [audit, caught_up, new].map(|(name, tail)| (name.to_owned(), Some(tail), true)));
    let group = ring.group("sms").unwrap();
    assert_eq!((group.settings, group.ack_floor, group.num_pending), (settings, 1004, 1));

    let mut observer = Observer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    for position in FIRST..WATERMARK {
        let copied = observer.recv().unwrap();
        assert_eq!((copied.position(), (copied.kind(), copied.to_vec())), (position, message(position)));
    }
    let durable = |name: &str| ConsumerOptions::new().name(name).durable(true).attach::<[u8]>(&path).unwrap();
    let mut audit = durable("audit");
    assert_eq!(audit.recv().unwrap().position(), 1003);
    // The one that has read least gates.
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    for position in WATERMARK..FIRST + 8 {
        assert_eq!(producer.try_send(b"on"), Ok(position));
    }
    assert!(producer.try_send(b"on").is_err());
    let mut new = durable("new");
    for position in FIRST..FIRST + 8 {
        assert_eq!(new.recv().unwrap().position(), position);
    }
    let all: Worker = WorkerOptions::new("all").join(&path).unwrap();
    for position in FIRST..FIRST + 8 {
        let delivery = all.recv().unwrap();
        assert_eq!((delivery.position(), delivery.attempt()), (position, 1));
        delivery.ack().unwrap();
    }
    let sms: Worker = WorkerOptions::new("sms").join(&path).unwrap();
    for position in 1004..FIRST + 8 {
        let delivery = sms.recv().unwrap();
        // What was kept has the identity that it had.
        let of = if position < WATERMARK { LOST } else { ring.id() };
        assert_eq!(delivery.id(), MessageId { ring: of, position });
        assert_eq!((delivery.position(), delivery.attempt()), (position, 1));
        delivery.ack().unwrap();
    }
    assert_eq!(ring.check(), []);
}

#[test]
fn a_whole_ring_of_values_can_be_restored_and_one_without_messages() {
    let dir = TempDir::new();
    let lost = Ancestor { ring: LOST, watermark: 20 };
    let options = RingOptions::of::<u64>(8).continues([lost]);
    let path = dir.file("full");
    let mut full = options.clone().first_position(12).restore(&path).unwrap();
    (12..20_u64).for_each(|n| full.push(&n.to_le_bytes()).unwrap());
    full.finish().unwrap();
    let mut consumer = Consumer::<u64>::attach(&path, Start::Earliest).unwrap();
    for n in 12..20 {
        assert_eq!(*consumer.recv().unwrap(), n);
    }
    assert_eq!(consumer.try_recv().unwrap_err(), RecvError::Empty);
    let empty = options.first_position(20).restore(dir.file("empty")).unwrap().finish().unwrap();
    assert_eq!((empty.head(), empty.ancestors()), (20, vec![lost]));
}

message! {
    struct Level { price: i64, size: u64 }
    /// With a field that is named like a type.
    struct Book { u128: u64, flags: [u16; 4], bids: [Level; 3] }
}

#[test]
fn a_type_is_restored_by_its_description() {
    fn same<T: Value>() {
        let ring = RingOptions::new(size_of::<T>(), 8).described_as(T::SCHEMA).create_in_memory().unwrap();
        assert_eq!(ring.schema(), Some(T::SCHEMA));
        drop(Producer::<T>::open(&ring).unwrap());
        assert!(Producer::<[u8]>::open(&ring).is_err());
    }
    same::<u8>();
    same::<[i128; 2]>();
    same::<Level>();
    same::<Book>();
    let error =
        RingOptions::new(16, 8).described_as("Level{price:i64}").create_in_memory().unwrap_err().error;
    assert!(matches!(error, CreateError::Schema { block_size: 16, .. }), "{error:?}");
}

fn refused<T: std::fmt::Debug>(result: Result<T, AtPath<CreateError>>) -> CreateError {
    result.unwrap_err().error
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    // A first position so far below the watermark that no ring can span it; and the wrong way
    // round.
    for first in [WATERMARK - 9, WATERMARK + 1] {
        let error = refused(options().first_position(first).restore(&path));
        assert!(
            matches!(error, CreateError::Restored { position, watermark: WATERMARK, .. } if position == first)
        );
    }
    // Too few, too many.
    let mut short = options().restore(&path).unwrap();
    fill(&mut short, WATERMARK - 1);
    assert!(matches!(refused(short.finish()), CreateError::Restored { position: 1004, .. }));
    let mut long = options().restore(&path).unwrap();
    fill(&mut long, WATERMARK);
    assert!(matches!(refused(long.push(b"more")), CreateError::Restored { position: WATERMARK, .. }));
    // A message that the ring could not have had.
    let error = refused(long.push(&[0; 49]));
    assert!(
        matches!(error, CreateError::Message { position: WATERMARK, len: 49, block_size: 48, .. }),
        "{error:?}"
    );
    drop(long);
    let lost = Ancestor { ring: LOST, watermark: 1 };
    let mut typed = RingOptions::of::<u64>(8).continues([lost]).restore(&path).unwrap();
    assert!(matches!(refused(typed.push(b"short")), CreateError::Message { len: 5, block_size: 8, .. }));
    drop(typed);
    // Members beside the messages.
    let settings = GroupSettings::new();
    for position in [FIRST - 1, WATERMARK + 1] {
        for (name, options) in [
            ("audit", options().durable_at("audit", position)),
            ("sms", options().group_at("sms", settings, position)),
        ] {
            let mut restoration = options.restore(&path).unwrap();
            fill(&mut restoration, WATERMARK);
            let error = refused(restoration.finish());
            let CreateError::Member { name: told, position: at, first: FIRST, head: WATERMARK, .. } = error
            else {
                panic!("{error:?}")
            };
            assert_eq!((told.as_str(), at), (name, position));
        }
    }
    // A ring without messages has no later positions.
    let error = refused(RingOptions::new(48, 8).durable_at("audit", 3).create(&path));
    assert!(matches!(error, CreateError::Member { position: 3, .. }));
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 0, "left behind");
    // Nothing is put in the place of a ring that is there.
    let mut late = options().restore(&path).unwrap();
    fill(&mut late, WATERMARK);
    let there = RingOptions::new(48, 8).create(&path).unwrap().id();
    assert!(matches!(refused(late.finish()), CreateError::AlreadyExists));
    assert!(matches!(refused(options().restore(&path)), CreateError::AlreadyExists));
    assert_eq!(Ring::open(&path).unwrap().id(), there);
}

type Attach = fn(&At, Start) -> Result<u64, Option<StartError>>;

fn start_error(error: AttachError) -> Option<StartError> {
    if let AttachError::Start(error) = error { Some(error) } else { None }
}

/// Every role that begins somewhere.
const ROLES: [(&str, Attach); 5] = [
    ("consumer", |at, start| {
        let attached = Consumer::<[u8]>::attach(at, start).map(|it| it.position());
        attached.map_err(|error| start_error(error.error))
    }),
    ("durable", |at, start| {
        let options = ConsumerOptions::new().name("d").durable(true).start(start);
        let attached = options.attach::<[u8]>(at).map(|it| it.position());
        if attached.is_ok() {
            Ring::open(at).unwrap().remove_consumer("d").unwrap();
        }
        attached.map_err(|error| start_error(error.error))
    }),
    ("evictable", |at, start| {
        let attached = EvictableConsumer::<[u8]>::attach(at, start).map(|it| it.position());
        attached.map_err(|error| start_error(error.error))
    }),
    ("observer", |at, start| {
        let attached = Observer::<[u8]>::attach(at, start).map(|it| it.position());
        attached.map_err(|error| start_error(error.error))
    }),
    ("worker", |at, start| {
        let joined = WorkerOptions::new("w").start(start).join::<[u8]>(at);
        let floor = joined.map(drop).map(|()| {
            let ring = Ring::open(at).unwrap();
            let floor = ring.group("w").unwrap().ack_floor;
            ring.remove_group("w").unwrap();
            floor
        });
        floor.map_err(|error| if let JoinError::Start(error) = error.error { Some(error) } else { None })
    }),
];

#[test]
fn a_saved_position_goes_on_as_far_as_its_messages_were_kept() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    // The ring before was lost, too: it had kept more than its successor.
    let line = [(LOST, WATERMARK), (BEFORE, WATERMARK + 100)];
    let line = line.map(|(ring, watermark)| Ancestor { ring, watermark });
    let ring = restore(&options().groups(2).continues(line), &path);
    assert_eq!(ring.ancestors(), line);
    // Messages of its own, beyond the watermark.
    Producer::<[u8]>::open(&path).unwrap().send(b"new").unwrap();
    for (who, attach) in ROLES {
        for saved in [LOST, BEFORE] {
            let at = At::path(&path).continuing(saved);
            for position in [FIRST, WATERMARK] {
                assert_eq!(attach(&at, Start::At(position)), Ok(position), "{who}");
            }
            let rewound = StartError::Rewound { requested: WATERMARK + 1, watermark: WATERMARK };
            assert_eq!(attach(&at, Start::At(WATERMARK + 1)), Err(Some(rewound)), "{who}");
            assert_eq!(attach(&at, Start::Earliest), Ok(FIRST), "{who}: it has saved no position");
        }
        let own = At::path(&path).continuing(ring.id());
        assert_eq!(attach(&own, Start::At(ring.head())), Ok(ring.head()), "{who}: its own position");
        let stranger = RingId::from_bytes([9; 16]);
        assert_eq!(attach(&At::path(&path).continuing(stranger), Start::At(FIRST)), Err(None), "{who}");
    }
    let error = Ring::open(At::path(&path).continuing(RingId::from_bytes([9; 16]))).unwrap_err();
    assert!(matches!(error.error, OpenError::WrongRing { found, .. } if found == ring.id()));
    assert!(Ring::open(At::path(&path).only_ring(LOST)).is_err(), "it is another ring");
    // A new ring continues nothing: nobody makes one by opening the place of an old one.
    let gone = At::path(dir.file("gone")).continuing(LOST);
    assert!(RingOptions::new(48, 8).open_or_create(gone).is_err());
}

#[test]
fn the_line_of_ancestors_is_remembered_up_to_the_twenty_sixth() {
    let dir = TempDir::new();
    let line: Vec<_> = (1..=30)
        .map(|n| Ancestor { ring: RingId::from_bytes([n; 16]), watermark: WATERMARK.max(u64::from(n)) })
        .collect();
    let ring = restore(&options().continues(line.clone()), &dir.file("ring"));
    assert_eq!(ring.ancestors(), line[..26]);
    assert_eq!(Ring::open(dir.file("ring")).unwrap().ancestors(), line[..26]);
}

#[test]
fn the_header_says_what_the_ring_continues() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let before = Ancestor { ring: BEFORE, watermark: 3 };
    drop(restore(&options().continues([Ancestor { ring: LOST, watermark: WATERMARK }, before]), &path));
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!((&bytes[368..384], word(384)), (&[7; 16][..], WATERMARK));
    assert_eq!((&bytes[408..424], word(424)), (&[6; 16][..], 3));
    assert!(bytes[432..1024].iter().all(|&byte| byte == 0));
    // Claimed, head and limit lie at the watermark; no producer was there, nor is the ring closed.
    assert_eq!([word(4096), word(4224), word(4352)], [WATERMARK; 3]);
    assert_eq!([word(4608), word(4616)], [0; 2]);
    // A watermark that the ring cannot have is damage, whatever the checksum says.
    let good = bytes.clone();
    for (at, wrong) in [(384, FIRST - 1), (384, FIRST + 9), (424, 1 << 63)] {
        std::fs::write(&path, &good).unwrap();
        write(&path, at, &wrong.to_le_bytes());
        let sum = checksum(&std::fs::read(&path).unwrap());
        write(&path, header::CHECKSUM, &sum.to_le_bytes());
        let error = Ring::open(&path).unwrap_err();
        assert!(matches!(error.error, OpenError::Damaged(_)), "{error:?}");
        assert!(error.to_string().contains("watermark of an ancestor"), "{error}");
    }
    // A program that knows no ancestors leaves these words at zero: there are none.
    std::fs::write(&path, &good).unwrap();
    write(&path, 368, &[0; 16]);
    let sum = checksum(&std::fs::read(&path).unwrap());
    write(&path, header::CHECKSUM, &sum.to_le_bytes());
    assert_eq!(Ring::open(&path).unwrap().ancestors(), []);
}

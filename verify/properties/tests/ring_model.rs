//! The fear: some order of ordinary calls loses a message, shows one twice, or reports a wrong
//! number.
//!
//! Random operations on one ring are followed by an oracle that knows only the contract: messages
//! by position, one tail per consumer, and "full" when the lowest tail is a whole ring behind. It
//! does not know how the library finds that out. Tiny capacities make every corner frequent, and
//! the start positions lie where 32-bit and signed 64-bit arithmetic would break.

use kit::TempDir;
use proptest::prelude::*;
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, CreateError, EntryError, EvictableConsumer, HolderRole,
    Observer, Producer, RecvError, Ring, RingOptions, SendError, Start, StartError,
};
use std::collections::BTreeMap;

const ENTRIES: usize = 4;
/// Up to 112 a message that is sent by itself has a place of its own beside its header; longer ones
/// have one place.
const BLOCK_SIZES: [usize; 14] = [1, 7, 48, 49, 64, 112, 113, 120, 128, 160, 176, 200, 256, 257];
const NAMES: [&str; 2] = ["audit", "replica"];

#[derive(Clone, Copy, Debug)]
enum Role {
    Gating,
    Durable(usize),
    Evictable,
    Observer,
}

#[derive(Clone, Copy, Debug)]
enum From {
    Earliest,
    Latest,
    /// So far before (or, if negative, after) the head.
    Before(i8),
    /// So many messages.
    Last(u8),
}

#[derive(Clone, Debug)]
enum Op {
    Send {
        kind: u32,
        len: usize,
    },
    /// Fills a claimed block; publishes so much of it, or drops it.
    Claim {
        kind: u32,
        publish: Option<usize>,
    },
    /// Claims up to `max`, pushes messages of these lengths, publishes or drops them.
    Batch {
        max: usize,
        lens: Vec<usize>,
        publish: bool,
    },
    Attach(Role, From),
    Detach(usize),
    Recv {
        who: usize,
        keep: bool,
    },
    RecvBatch {
        who: usize,
        max: usize,
        take: usize,
    },
    Remove(usize),
    Open,
    Close,
    Drop,
}

fn op() -> impl Strategy<Value = Op> {
    let role = prop_oneof![
        3 => Just(Role::Gating),
        2 => (0..NAMES.len()).prop_map(Role::Durable),
        3 => Just(Role::Evictable),
        2 => Just(Role::Observer),
    ];
    let from = prop_oneof![
        Just(From::Earliest),
        Just(From::Latest),
        (-2..11_i8).prop_map(From::Before),
        (0..11_u8).prop_map(From::Last),
    ];
    let kind = prop_oneof![Just(0), Just(1), Just(u32::MAX)];
    let len = prop_oneof![2 => 0..70_usize, 1 => prop::sample::select(&BLOCK_SIZES), 1 => 0..270_usize];
    prop_oneof![
        12 => (kind.clone(), len.clone()).prop_map(|(kind, len)| Op::Send { kind, len }),
        4 => (kind, proptest::option::of(len.clone())).prop_map(|(kind, publish)| Op::Claim { kind, publish }),
        6 => (0..12_usize, prop::collection::vec(len, 0..10), prop::bool::weighted(0.8))
            .prop_map(|(max, lens, publish)| Op::Batch { max, lens, publish }),
        6 => (role, from).prop_map(|(role, from)| Op::Attach(role, from)),
        2 => any::<usize>().prop_map(Op::Detach),
        14 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(who, keep)| Op::Recv { who, keep }),
        6 => (any::<usize>(), 0..10_usize, 0..10_usize)
            .prop_map(|(who, max, take)| Op::RecvBatch { who, max, take }),
        1 => (0..NAMES.len()).prop_map(Op::Remove),
        3 => Just(Op::Open),
        1 => Just(Op::Close),
        1 => Just(Op::Drop),
    ]
}

/// The bytes of a message: every one depends on the position and on its place.
fn content(position: u64, kind: u32, len: usize) -> Vec<u8> {
    let seed = position.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(kind);
    (0..len as u64).map(|at| (seed.wrapping_add(at * at) >> (at % 8)).to_le_bytes()[0]).collect()
}

/// An entry of the table, as the oracle has it.
#[derive(Debug)]
struct Entry {
    name: Option<usize>,
    evictable: bool,
    evicted: bool,
    attached: bool,
    tail: u64,
}

/// The kinds of readers.
#[derive(Debug)]
enum Handle {
    Gating(Consumer, usize),
    Evictable(EvictableConsumer, usize),
    Observer { observer: Observer, next: u64, missed: u64 },
}

struct Harness {
    ring: Ring,
    producer: Option<Producer>,
    handles: Vec<Handle>,
    // The oracle.
    block_size: usize,
    capacity: u64,
    first: u64,
    head: u64,
    /// One past the highest position that was ever claimed: what it displaced is gone.
    claimed: u64,
    closed: bool,
    messages: BTreeMap<u64, (u32, usize)>,
    entries: [Option<Entry>; ENTRIES],
}

/// The result that the oracle expects of an attempt to claim.
enum Room {
    /// At most so many.
    Some(u64),
    /// The entry at fault.
    Full(usize),
}

impl Harness {
    fn new(ring: Ring, block_size: usize, first: u64) -> Harness {
        Harness {
            capacity: ring.capacity(),
            ring,
            producer: None,
            handles: Vec::new(),
            block_size,
            first,
            head: first,
            claimed: first,
            closed: false,
            messages: BTreeMap::new(),
            entries: [const { None }; ENTRIES],
        }
    }

    /// The gating entry with the lowest tail; the first of several.
    fn lowest(&self) -> Option<(usize, u64)> {
        let gating = self.entries.iter().enumerate().filter_map(|(n, entry)| {
            entry.as_ref().filter(|entry| !entry.evicted).map(|entry| (n, entry.tail))
        });
        gating.min_by_key(|&(_, tail)| tail)
    }

    /// The oldest position that nothing can have overwritten.
    fn oldest(&self) -> u64 {
        self.claimed.saturating_sub(self.capacity).max(self.first)
    }

    fn make_room(&mut self) -> Room {
        while let Some((n, tail)) = self.lowest() {
            let room = self.capacity - (self.head - tail);
            if room > 0 {
                return Room::Some(room);
            }
            let entry = self.entries[n].as_mut().unwrap();
            if !entry.evictable {
                return Room::Full(n);
            }
            entry.evicted = true;
        }
        Room::Some(self.capacity)
    }

    fn check_full(&self, error: SendError, n: usize) {
        let SendError::Full { capacity, holder, .. } = error else { panic!("{error:?}") };
        let entry = self.entries[n].as_ref().unwrap();
        let name = entry.name.map_or("", |name| NAMES[name]);
        assert_eq!(capacity, self.capacity);
        assert_eq!(
            (holder.name.as_str(), holder.lag, holder.role == HolderRole::DurableConsumer),
            (name, self.capacity, entry.name.is_some())
        );
    }

    fn published(&mut self, kind: u32, len: usize) {
        self.messages.insert(self.head, (kind, len));
        self.head += 1;
        self.claimed = self.claimed.max(self.head);
    }

    fn check_message(&self, expected: u64, position: u64, kind: u32, bytes: &[u8]) {
        let &(sent_kind, len) = self.messages.get(&expected).expect("nobody sent it");
        assert_eq!((position, kind), (expected, sent_kind));
        assert_eq!(bytes, content(expected, sent_kind, len), "position {expected}");
    }

    fn check_nothing(&self, error: &RecvError) {
        assert_eq!(*error, if self.closed { RecvError::Closed } else { RecvError::Empty });
    }

    fn send(&mut self, kind: u32, len: usize) {
        let Some(mut producer) = self.producer.take() else { return };
        let result = producer.try_send((kind, &content(self.head, kind, len)));
        if len > self.block_size {
            assert_eq!(result, Err(SendError::TooLarge { len, block_size: self.block_size }));
        } else {
            match self.make_room() {
                Room::Some(_) => {
                    assert_eq!(result, Ok(self.head));
                    self.published(kind, len);
                }
                Room::Full(n) => self.check_full(result.unwrap_err(), n),
            }
        }
        self.producer = Some(producer);
    }

    fn claim(&mut self, kind: u32, publish: Option<usize>) {
        let Some(mut producer) = self.producer.take() else { return };
        let room = self.make_room();
        match (producer.try_claim(), room) {
            (Ok(mut claim), Room::Some(_)) => {
                assert_eq!((claim.position(), claim.len()), (self.head, self.block_size));
                self.claimed = self.claimed.max(self.head + 1);
                let block_size = self.block_size;
                claim.copy_from_slice(&content(self.head, kind, block_size));
                match publish {
                    Some(len) if len > block_size => {
                        assert_eq!(claim.publish((kind, len)), Err(SendError::TooLarge { len, block_size }));
                    }
                    Some(len) => {
                        assert_eq!(claim.publish((kind, len)), Ok(self.head));
                        self.published(kind, len);
                    }
                    // Dropped.
                    None => {}
                }
            }
            (Err(error), Room::Full(n)) => self.check_full(error, n),
            (result, _) => panic!("{result:?}"),
        }
        self.producer = Some(producer);
    }

    fn batch(&mut self, max: usize, lens: &[usize], publish: bool) {
        let Some(mut producer) = self.producer.take() else { return };
        let gated = self.lowest().is_some();
        let room = self.make_room();
        match (producer.try_claim_batch(max), room) {
            (Ok(mut batch), Room::Some(room)) => {
                let got = batch.remaining();
                let most = max.min(usize::try_from(room).unwrap());
                if gated && self.lowest().is_some() {
                    assert_eq!(got, most);
                } else {
                    // Without any gate, the library grants itself any room.
                    assert!(got <= most && got >= most.min(1), "{got} of {most}");
                }
                let start = self.head;
                self.claimed = self.claimed.max(start + got.min(1) as u64);
                let mut pushed = Vec::new();
                for (n, &len) in lens.iter().enumerate() {
                    let position = start + pushed.len() as u64;
                    let kind = u32::try_from(n).unwrap();
                    let bytes = content(position, kind, len);
                    let result = if n % 2 == 0 {
                        batch.push((kind, &bytes))
                    } else {
                        batch.push_with(|block| {
                            let copied = len.min(block.len());
                            block[..copied].copy_from_slice(&bytes[..copied]);
                            (kind, len)
                        })
                    };
                    let room_left = pushed.len() < got;
                    if room_left && (n % 2 == 1 || len <= self.block_size) {
                        self.claimed = self.claimed.max(position + 1);
                    }
                    match result {
                        Ok(added) => {
                            assert_eq!(added, room_left);
                            if added {
                                pushed.push((kind, len));
                            }
                        }
                        Err(error) => {
                            assert_eq!(error, SendError::TooLarge { len, block_size: self.block_size });
                            assert!(len > self.block_size);
                        }
                    }
                    assert_eq!((batch.len(), batch.remaining()), (pushed.len(), got - pushed.len()));
                }
                if publish {
                    assert_eq!(batch.publish().unwrap(), start..start + pushed.len() as u64);
                    for (kind, len) in pushed {
                        self.published(kind, len);
                    }
                }
            }
            (Err(error), Room::Full(n)) => self.check_full(error, n),
            (result, _) => panic!("{result:?}"),
        }
        self.producer = Some(producer);
    }

    fn attach(&mut self, role: Role, from: From) {
        let start = match from {
            From::Earliest => Start::Earliest,
            From::Latest => Start::Latest,
            From::Before(n) => Start::At(self.head.saturating_add_signed(-i64::from(n))),
            From::Last(n) => Start::Last(n.into()),
        };
        if let Role::Observer = role {
            self.observe(start);
            return;
        }
        let name = if let Role::Durable(name) = role { Some(name) } else { None };
        let namesake = self
            .entries
            .iter()
            .position(|entry| name.is_some() && entry.as_ref().is_some_and(|entry| entry.name == name));
        let place = namesake.or_else(|| self.entries.iter().position(Option::is_none));
        let mut options = ConsumerOptions::new().start(start);
        if let Some(name) = name {
            options = options.name(NAMES[name]).durable(true);
        }
        let attached = match role {
            Role::Evictable => {
                options.attach_evictable::<[u8]>(&self.ring).map(|it| Handle::Evictable(it, 0))
            }
            _ => options.attach::<[u8]>(&self.ring).map(|it| Handle::Gating(it, 0)),
        };
        let handle = match (attached, place) {
            (Err(AtPath { error: AttachError::TableFull { .. }, .. }), None) => return,
            (Err(AtPath { error: AttachError::NameInUse { .. }, .. }), Some(n)) => {
                assert!(namesake.is_some() && self.entries[n].as_ref().unwrap().attached);
                return;
            }
            (Err(AtPath { error: AttachError::Start(source), .. }), Some(_)) => {
                assert!(namesake.is_none(), "a durable consumer resumes");
                self.check_refusal(start, source);
                return;
            }
            (Ok(handle), Some(_)) => handle,
            (result, _) => panic!("{result:?}"),
        };
        let n = place.unwrap();
        let (handle, position) = match handle {
            Handle::Gating(it, _) => {
                let position = it.position();
                (Handle::Gating(it, n), position)
            }
            Handle::Evictable(it, _) => {
                let position = it.position();
                (Handle::Evictable(it, n), position)
            }
            Handle::Observer { .. } => unreachable!(),
        };
        if let Some(entry) = self.entries[n].as_mut() {
            assert!(!entry.attached, "a name was given twice");
            assert_eq!(position, entry.tail, "a durable consumer resumes where it was");
            entry.attached = true;
        } else {
            self.check_start(start, position);
            if self.producer.is_none() && matches!(start, Start::Earliest) {
                assert_eq!(position, self.oldest(), "all that is retained");
            }
            let evictable = matches!(role, Role::Evictable);
            self.entries[n] = Some(Entry { name, evictable, evicted: false, attached: true, tail: position });
        }
        self.handles.push(handle);
    }

    /// A position that a consumer was given is one that nothing has overwritten or can overwrite.
    fn check_start(&self, start: Start, position: u64) {
        match start {
            Start::Earliest => {}
            Start::Latest => assert_eq!(position, self.head),
            Start::At(requested) => assert_eq!(position, requested),
            Start::Last(n) => {
                assert!(
                    position >= self.head.saturating_sub(n),
                    "{position} is more than {n} before the head"
                );
                assert!(n > 0 || position == self.head);
            }
        }
        assert!((self.oldest()..=self.head).contains(&position), "{position} of {start:?}");
        if let (Start::Earliest, Some((_, tail))) = (start, self.lowest()) {
            assert!(position <= tail, "what others have not released is there, but {tail} < {position}");
        }
    }

    fn check_refusal(&self, start: Start, error: StartError) {
        match (start, error) {
            (Start::At(at), StartError::BeforeEarliest { requested, earliest }) => {
                assert_eq!(at, requested);
                assert!(requested < earliest);
                self.check_start(Start::Earliest, earliest);
            }
            (Start::At(at), StartError::Ahead { requested, head }) => {
                assert_eq!((requested, head), (at, self.head));
                assert!(requested > head);
            }
            other => panic!("{other:?}"),
        }
    }

    fn observe(&mut self, start: Start) {
        let next = match start {
            Start::Earliest => self.oldest(),
            Start::Latest => self.head,
            Start::At(position) => position,
            Start::Last(n) => self.head.saturating_sub(n).max(self.oldest()),
        };
        match Observer::<[u8]>::attach(&self.ring, start) {
            Ok(observer) => {
                assert_eq!(observer.position(), next);
                assert!((self.oldest()..=self.head).contains(&next));
                self.handles.push(Handle::Observer { observer, next, missed: 0 });
            }
            Err(AtPath {
                error: AttachError::Start(StartError::BeforeEarliest { requested, earliest }),
                ..
            }) => {
                assert_eq!((requested, earliest), (next, self.oldest()));
                assert!(next < earliest);
            }
            Err(AtPath { error: AttachError::Start(StartError::Ahead { requested, head }), .. }) => {
                assert_eq!((requested, head), (next, self.head));
                assert!(next > head);
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn detach(&mut self, who: usize) {
        if self.handles.is_empty() {
            return;
        }
        let handle = self.handles.swap_remove(who % self.handles.len());
        if let Handle::Gating(_, n) | Handle::Evictable(_, n) = &handle {
            let entry = self.entries[*n].as_mut().unwrap();
            entry.attached = false;
            if entry.name.is_none() {
                self.entries[*n] = None;
            }
        }
    }

    fn recv(&mut self, who: usize, keep: bool) {
        if self.handles.is_empty() {
            return;
        }
        // Removed in order, so that taking the first each time serves them in turn.
        let mut handle = self.handles.remove(who % self.handles.len());
        match &mut handle {
            Handle::Gating(consumer, n) => {
                let tail = self.entries[*n].as_ref().unwrap().tail;
                assert_eq!(consumer.position(), tail);
                match consumer.try_recv() {
                    Ok(message) => {
                        assert!(tail < self.head);
                        self.check_message(tail, message.position(), message.kind(), &message);
                        if keep {
                            message.keep();
                        } else {
                            drop(message);
                            self.entries[*n].as_mut().unwrap().tail += 1;
                        }
                    }
                    Err(error) => {
                        assert_eq!(tail, self.head, "{error:?}");
                        self.check_nothing(&error);
                    }
                }
            }
            Handle::Evictable(consumer, n) => self.recv_evictable(consumer, *n),
            Handle::Observer { observer, next, missed } => {
                let oldest = self.claimed.saturating_sub(self.capacity);
                if *next < oldest {
                    // It steps over what is gone and an eighth of the ring, so as not to be lapped
                    // again.
                    let resume = (oldest + self.capacity / 8).min(self.head).max(oldest);
                    *missed += resume - *next;
                    *next = resume;
                }
                match observer.try_recv() {
                    Ok(message) => {
                        assert!(*next < self.head);
                        self.check_message(*next, message.position(), message.kind(), &message);
                        assert_eq!(*missed, 0);
                        *next += 1;
                    }
                    Err(RecvError::Lagged { missed: told }) => {
                        assert_eq!((told, told > 0), (*missed, true));
                        *missed = 0;
                    }
                    Err(error) => {
                        assert_eq!(*next, self.head, "{error:?}");
                        self.check_nothing(&error);
                    }
                }
                match observer.latest().unwrap() {
                    Some(message) => {
                        assert_eq!(message.position() + 1, self.head, "the newest");
                        self.check_message(self.head - 1, message.position(), message.kind(), &message);
                    }
                    None => assert!(self.oldest() == self.head || self.capacity < 4, "one of them is whole"),
                }
                assert_eq!(observer.position(), *next);
            }
        }
        self.handles.push(handle);
    }

    fn recv_evictable(&mut self, consumer: &mut EvictableConsumer, n: usize) {
        let Entry { tail, evicted, .. } = *self.entries[n].as_ref().unwrap();
        assert_eq!(consumer.position(), tail);
        match consumer.try_recv() {
            Ok(message) => {
                assert!(tail < self.head);
                if evicted {
                    // It came back before its place was used: nothing is lost, and nothing is said.
                    self.check_start(Start::Earliest, tail);
                }
                self.check_message(tail, message.position(), message.kind(), &message);
                let entry = self.entries[n].as_mut().unwrap();
                entry.tail += 1;
                entry.evicted = false;
            }
            Err(RecvError::Lagged { missed }) => {
                assert!(evicted, "evicted without need");
                assert!(missed > 0);
                self.check_start(Start::Earliest, tail + missed);
                let entry = self.entries[n].as_mut().unwrap();
                entry.tail += missed;
                entry.evicted = false;
                assert_eq!(consumer.position(), tail + missed);
            }
            Err(error) => {
                assert!(!evicted && tail == self.head, "{error:?}");
                self.check_nothing(&error);
            }
        }
    }

    fn recv_batch(&mut self, who: usize, max: usize, take: usize) {
        let gating: Vec<usize> =
            (0..self.handles.len()).filter(|&at| matches!(self.handles[at], Handle::Gating(..))).collect();
        if gating.is_empty() {
            return;
        }
        let mut handle = self.handles.swap_remove(gating[who % gating.len()]);
        if let Handle::Gating(consumer, n) = &mut handle {
            let tail = self.entries[*n].as_ref().unwrap().tail;
            match consumer.try_recv_batch(max) {
                Ok(batch) => {
                    let there = usize::try_from(self.head - tail).unwrap();
                    assert!(batch.len() <= max.min(there) && batch.len() >= max.min(1));
                    assert_eq!(batch.iter().len(), batch.len());
                    let mut taken = 0;
                    for item in batch.iter().take(take) {
                        self.check_message(tail + taken, item.position(), item.kind(), &item);
                        taken += 1;
                    }
                    // A second iterator over the same batch hands the same messages out again.
                    if let Some(again) = batch.iter().take(take).next() {
                        assert_eq!(again.position(), tail);
                    }
                    drop(batch);
                    self.entries[*n].as_mut().unwrap().tail += taken;
                }
                Err(error) => {
                    assert_eq!(tail, self.head, "{error:?}");
                    self.check_nothing(&error);
                }
            }
        }
        self.handles.push(handle);
    }

    fn remove(&mut self, name: usize) {
        let at = self.entries.iter().position(|it| it.as_ref().is_some_and(|it| it.name == Some(name)));
        match (self.ring.remove_consumer(NAMES[name]), at) {
            (Ok(()), Some(n)) => {
                assert!(!self.entries[n].as_ref().unwrap().attached);
                self.entries[n] = None;
            }
            (Err(AtPath { error: EntryError::ConsumerInUse { .. }, .. }), Some(n)) => {
                assert!(self.entries[n].as_ref().unwrap().attached);
            }
            (Err(AtPath { error: EntryError::NoSuchConsumer { .. }, .. }), None) => {}
            (result, _) => panic!("{result:?}"),
        }
    }

    fn open(&mut self) {
        match Producer::<[u8]>::open(&self.ring) {
            Ok(producer) => {
                assert!(self.producer.is_none());
                assert_eq!(producer.head(), self.head);
                self.producer = Some(producer);
                self.closed = false;
            }
            Err(AtPath { error: AttachError::ProducerExists { .. }, .. }) => assert!(self.producer.is_some()),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Send { kind, len } => self.send(*kind, *len),
            Op::Claim { kind, publish } => self.claim(*kind, *publish),
            Op::Batch { max, lens, publish } => self.batch(*max, lens, *publish),
            Op::Attach(role, from) => self.attach(*role, *from),
            Op::Detach(who) => self.detach(*who),
            Op::Recv { who, keep } => self.recv(*who, *keep),
            Op::RecvBatch { who, max, take } => self.recv_batch(*who, *max, *take),
            Op::Remove(name) => self.remove(*name),
            Op::Open => self.open(),
            Op::Close => {
                if let Some(producer) = self.producer.take() {
                    producer.close().unwrap();
                    self.closed = true;
                }
            }
            Op::Drop => self.producer = None,
        }
        self.check_view();
    }

    /// The ring's description of itself.
    fn check_view(&self) {
        assert_eq!(self.ring.head(), self.head);
        let view: Vec<_> = self
            .ring
            .consumers()
            .into_iter()
            .map(|info| (info.name, info.tail, info.lag, info.durable, info.evictable, info.alive))
            .collect();
        let expected: Vec<_> = self
            .entries
            .iter()
            .flatten()
            .map(|entry| {
                let tail = (!entry.evicted).then_some(entry.tail);
                let name = entry.name.map_or("", |name| NAMES[name]).to_owned();
                let lag = tail.map_or(0, |tail| self.head - tail);
                (name, tail, lag, entry.name.is_some(), entry.evictable, entry.attached)
            })
            .collect();
        assert_eq!(view, expected);
        if let Some(info) = self.ring.producer_info() {
            assert_eq!((info.alive, info.closed), (self.producer.is_some(), self.closed));
        }
    }

    /// In the end every reader gets all remaining messages.
    fn drain(&mut self) {
        let turns = self.handles.len() * (usize::try_from(self.capacity).unwrap() + 2);
        for _ in 0..turns {
            self.recv(0, false);
        }
        for handle in &self.handles {
            let position = match handle {
                Handle::Gating(it, _) => it.position(),
                Handle::Evictable(it, _) => it.position(),
                Handle::Observer { observer, .. } => observer.position(),
            };
            assert_eq!(position, self.head);
        }
    }
}

#[derive(Clone, Debug)]
struct Shape {
    block_size: usize,
    capacity: usize,
    first: u64,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        prop::sample::select(&BLOCK_SIZES),
        prop::sample::select(vec![1_usize, 2, 4, 8]),
        prop::sample::select(vec![0_u64, (1 << 32) - 3, (1 << 63) - (1 << 40) - 3, (1 << 63) - (1 << 40)]),
    )
        .prop_map(|(block_size, capacity, first)| Shape { block_size, capacity, first })
}

fn run(shape: &Shape, ops: &[Op], create: impl FnOnce(&RingOptions) -> Result<Ring, AtPath<CreateError>>) {
    let options = RingOptions::new(shape.block_size, shape.capacity)
        .consumers(u32::try_from(ENTRIES).unwrap())
        .first_position(shape.first);
    let mut harness = Harness::new(create(&options).unwrap(), shape.block_size, shape.first);
    harness.apply(&Op::Open);
    for op in ops {
        harness.apply(op);
    }
    harness.drain();
}

fn config(cases: u32) -> ProptestConfig {
    // A failing case is printed; nothing is written into the source tree.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(2000))]
    #[test]
    fn any_order_of_calls_agrees_with_the_oracle(
        shape in shape(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        run(&shape, &ops, RingOptions::create_in_memory);
    }
}

proptest! {
    #![proptest_config(config(100))]
    #[test]
    fn any_order_of_calls_agrees_with_the_oracle_in_a_file(
        shape in shape(),
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let dir = TempDir::new();
        run(&shape, &ops, |options| options.create(dir.file("ring")));
    }
}

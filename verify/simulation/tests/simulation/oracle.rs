//! The expected state, kept beside the protocol and not by it. The oracle sees every write as it
//! happens.

use crate::deliveries::GroupBook;
use crate::memory::{Life, Shared};
use slipring_core::format::{EntryFlags, Geometry, Meta, Sequence, Tail, group, group_flags, producer_page};
use slipring_core::memory::{Right, Word};
use std::collections::{BTreeMap, HashMap};

pub(crate) const GROUPS: usize = 2;
/// The party that creates the ring.
pub(crate) const CREATOR: u32 = 0;

/// A message as it was published: its position, and then a stamp as often as its length says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) words: [u64; 2],
    pub(crate) meta: u64,
}

impl Message {
    /// The bytes that a block shows, or a part of it no shorter than the message, with zeros behind
    /// the message.
    pub(crate) fn shown(block: &[u64], meta: Meta) -> Message {
        let (message, behind) = block.split_at(meta.len() / 8);
        let words = [message[0], message.get(1).copied().unwrap_or(0)];
        assert!(message[1..].iter().all(|&word| word == words[1]), "a torn message: {message:x?}");
        assert!(behind.iter().all(|&word| word == 0), "behind {message:x?} is {behind:x?}");
        Message { words, meta: meta.0 }
    }

    /// The same of bytes.
    pub(crate) fn shown_in(bytes: &[u8], meta: Meta) -> Message {
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
        Message::shown(&words, meta)
    }
}

/// A party's next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Nothing,
    Ack(u64),
    Nack(u64),
    Release(u64),
    Extend(u64),
    Reject(u64),
}

/// A consumer, as far as it was promised anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    /// From here on nothing is overwritten.
    pub(crate) next: u64,
    pub(crate) evictable: bool,
    /// It is in the table as a durable one: nothing is forgotten any more.
    pub(crate) durable: bool,
}

/// Which words are watched.
#[derive(Clone, Copy, Debug)]
enum Place {
    Head,
    Sequence,
    Tail(u32),
    ConsumerFlags(u32),
    Delivery(usize, u64),
    Floor(usize),
    Flags(usize),
}

pub(crate) struct Oracle {
    geometry: Geometry,
    places: HashMap<Word, Place>,
    messages: Vec<Message>,
    /// The message that the producer is about to publish.
    meant: HashMap<u64, Message>,
    /// The lowest position that was never overwritten.
    kept_from: std::cell::Cell<u64>,
    pub(crate) readers: Vec<Option<Reader>>,
    pub(crate) groups: [GroupBook; GROUPS],
    /// Positions that are being read in place, with how many do.
    held: BTreeMap<u64, u32>,
    stamp: u64,
}

impl Oracle {
    pub(crate) fn new(geometry: Geometry, groups: [GroupBook; GROUPS]) -> Oracle {
        let mut places = HashMap::from([(producer_page::HEAD, Place::Head)]);
        for index in 0..geometry.capacity() {
            places.insert(geometry.slot(index).sequence(), Place::Sequence);
            for number in 0..GROUPS {
                let word = geometry.delivery(u32::try_from(number).unwrap(), index);
                places.insert(word, Place::Delivery(number, index));
            }
        }
        for entry in 0..u32::try_from(geometry.consumers()).unwrap() {
            places.insert(geometry.tail(entry), Place::Tail(entry));
            places.insert(geometry.flags(entry), Place::ConsumerFlags(entry));
        }
        for (n, number) in (0..).zip(0..GROUPS) {
            places.insert(geometry.group_word(n, group::FLOOR), Place::Floor(number));
            places.insert(geometry.group_word(n, group::FLAGS), Place::Flags(number));
        }
        Oracle {
            geometry,
            places,
            messages: Vec::new(),
            meant: HashMap::new(),
            kept_from: geometry.first_position().into(),
            readers: vec![None; usize::try_from(geometry.consumers()).unwrap()],
            groups,
            held: BTreeMap::new(),
            stamp: 0,
        }
    }

    /// One past the last published position.
    pub(crate) fn end(&self) -> u64 {
        self.geometry.first_position() + self.messages.len() as u64
    }

    pub(crate) fn kept_from(&self) -> u64 {
        self.kept_from.get()
    }

    /// Never the same twice: what was not published must not look like what was.
    pub(crate) fn stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    pub(crate) fn means(&mut self, position: u64, message: Message) {
        self.meant.insert(position, message);
    }

    /// A reader must read the published bytes.
    pub(crate) fn read(&self, position: u64, found: Message) {
        let first = self.geometry.first_position();
        let published =
            position.checked_sub(first).and_then(|nth| self.messages.get(usize::try_from(nth).ok()?));
        assert_eq!(Some(&found), published, "what was read at {position}, and what was published there");
    }

    /// A reader reads in place until [`unhold`](Self::unhold).
    pub(crate) fn hold(&mut self, position: u64) {
        *self.held.entry(position).or_default() += 1;
    }

    pub(crate) fn unhold(&mut self, position: u64) {
        let count = self.held.get_mut(&position).expect("it was held");
        *count -= 1;
        if *count == 0 {
            self.held.remove(&position);
        }
    }

    /// A reader begins here: nothing may be gone from here on.
    pub(crate) fn begins(&mut self, entry: u32, next: u64, evictable: bool) {
        assert!(
            (self.kept_from()..=self.end()).contains(&next),
            "a reader begins at {next}: {}",
            self.bounds()
        );
        self.readers[entry as usize] = Some(Reader { next, evictable, durable: false });
    }

    /// A reader is gone, unless it is durable.
    pub(crate) fn ends(&mut self, entry: u32) {
        let reader = &mut self.readers[entry as usize];
        *reader = reader.filter(|reader| reader.durable);
    }

    fn bounds(&self) -> String {
        format!("kept from {}, published up to {}", self.kept_from(), self.end())
    }

    /// The producer writes into a slot: every gating reader must have released its old message.
    pub(crate) fn overwrites(&self, index: u64) {
        let (end, capacity) = (self.end(), self.geometry.capacity());
        let position = end + (index.wrapping_sub(end) & (capacity - 1));
        let Some(old) = position.checked_sub(capacity).filter(|&old| old >= self.geometry.first_position())
        else {
            return;
        };
        self.kept_from.set(self.kept_from().max(old + 1));
        assert!(!self.held.contains_key(&old), "{old} is overwritten while it is read in place");
        for (entry, reader) in self.readers.iter().enumerate() {
            let waits = reader.is_some_and(|reader| reader.next <= old);
            assert!(!waits, "{old} is overwritten, and consumer {entry} has not read it: {reader:?}");
        }
        for group in &self.groups {
            assert!(!group.is_open(old), "{old} is overwritten, and a group has not settled it");
        }
    }

    pub(crate) fn wrote(&mut self, shared: &Shared, life: &Life, word: Word, old: u64, new: u64) {
        match self.places.get(&word).copied() {
            None => {}
            Some(Place::Head) => self.wrote_head(shared, life, new),
            Some(Place::Sequence) => self.wrote_sequence(shared, life, old, new),
            Some(Place::Tail(entry)) => self.wrote_tail(shared, life, entry, Tail(new)),
            Some(Place::ConsumerFlags(entry)) => self.wrote_flags(shared, life, entry, EntryFlags(new)),
            Some(Place::Delivery(number, index)) => {
                let end = self.end();
                // The last one that was published in this slot.
                let position = (end + (index.wrapping_sub(end) & (self.geometry.capacity() - 1)))
                    .checked_sub(self.geometry.capacity());
                self.groups[number].wrote(shared, life, position, old, new);
            }
            Some(Place::Floor(number)) => self.groups[number].wrote_floor(Tail(old), Tail(new), self.end()),
            Some(Place::Flags(number)) => {
                let end = self.end();
                let floor = self.geometry.group_word(u32::try_from(number).unwrap(), group::FLOOR);
                let begins = (new == group_flags::TAKEN).then(|| shared.word(floor).get());
                if let Some(begins) = begins {
                    let sound = (self.kept_from()..=self.end()).contains(&begins);
                    assert!(sound, "a group begins at {begins}: {}", self.bounds());
                }
                self.groups[number].begins(begins, end);
            }
        }
    }

    fn wrote_sequence(&mut self, shared: &Shared, life: &Life, old: u64, new: u64) {
        assert_eq!(shared.holder(Right::Producer), Some(life.party), "only the producer publishes");
        let end = self.end();
        if new == 0 {
            assert!(old > end, "the published message at {} is erased", old - 1);
            return;
        }
        let sequence = Sequence(new);
        if sequence.is_batched() {
            assert!(sequence.number() > end, "the published message at {} is batched", sequence.number() - 1);
            return;
        }
        assert_eq!(sequence.number(), end + 1, "positions are published in order");
        self.publishes(shared);
    }

    /// Everything below the head is published, headerless where no header was written.
    fn wrote_head(&mut self, shared: &Shared, life: &Life, head: u64) {
        assert_eq!(shared.holder(Right::Producer), Some(life.party), "only the producer publishes");
        while self.end() < head {
            self.publishes(shared);
        }
        assert_eq!(head, self.end(), "the head falls behind what is published");
    }

    /// The file's words, by the description of the format.
    fn in_file(&self, shared: &Shared, position: u64) -> Message {
        let slots = self.geometry.slots();
        let slot = slots.at(position);
        let (sequence, meta) = (shared.word(slot.sequence()).get(), shared.word(slot.meta()).get());
        let (block, meta) = match sequence {
            _ if sequence == position + 1 => (slots.single(slot), meta),
            _ if sequence == (position + 1) | 1 << 63 => (slots.packed(slot), meta),
            _ => (slots.packed(slot), slots.full().0),
        };
        Message::shown(&shared.block(block), Meta(meta))
    }

    fn publishes(&mut self, shared: &Shared) {
        let end = self.end();
        let found = self.in_file(shared, end);
        assert_eq!(Some(&found), self.meant.get(&end), "what is published at {end}, and what was meant");
        self.messages.push(found);
        self.groups.iter_mut().for_each(|group| group.published(end));
    }

    /// From the moment at which an entry says so, its consumer is durable, until it does so no
    /// more.
    fn wrote_flags(&mut self, shared: &Shared, life: &Life, entry: u32, new: EntryFlags) {
        let is_holder = shared.holder(Right::Consumer(entry)) == Some(life.party);
        assert!(is_holder || life.party == CREATOR, "the entry of another");
        if new.is_kept() {
            let tail = Tail(shared.word(self.geometry.tail(entry)).get());
            self.begins(entry, tail.position().expect("a durable consumer gates"), false);
        }
        if let Some(reader) = &mut self.readers[entry as usize] {
            let was_durable = std::mem::replace(&mut reader.durable, new.is_kept());
            if was_durable && !new.is_kept() {
                self.readers[entry as usize] = None;
            }
        }
    }

    fn wrote_tail(&mut self, shared: &Shared, life: &Life, entry: u32, new: Tail) {
        let Some(reader) = &mut self.readers[entry as usize] else { return };
        if new == Tail::EVICTED {
            assert!(reader.evictable, "consumer {entry} did not agree to be evicted");
            assert_eq!(shared.holder(Right::Producer), Some(life.party), "only the producer evicts");
            self.readers[entry as usize] = None;
            return;
        }
        assert_eq!(shared.holder(Right::Consumer(entry)), Some(life.party), "the tail of another");
        // It says what it releases before it does; an evictable one by this very word.
        reader.next += u64::from(reader.evictable);
        assert_eq!(new, Tail::at(reader.next, reader.evictable), "the tail of consumer {entry}");
    }

    /// After each turn: whatever is read in place is as it was.
    pub(crate) fn check(&self, shared: &Shared) {
        for &position in self.held.keys() {
            self.read(position, self.in_file(shared, position));
        }
    }
}

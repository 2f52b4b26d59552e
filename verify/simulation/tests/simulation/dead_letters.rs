//! The dead-letter ring: a ring of its own, with the workers as its producers, one at a time, and a
//! durable consumer that takes the letters out.

use crate::deliveries::GroupBook;
use crate::memory::{Machine, Shared, SimMemory};
use crate::oracle::{CREATOR, GROUPS, Message, Oracle};
use crate::world::BIRTH;
use slipring_core::format::{Geometry, Meta};
use slipring_core::memory::{Liveness, Right};
use slipring_core::protocol;
use slipring_core::protocol::furnish::{Declared, Durable, furnish};
use slipring_core::protocol::make_room::{Policy, RoomMaker};
use std::rc::Rc;

/// Name of the consumer that takes the letters out.
pub(crate) const REDRIVER: &str = "redrive";

/// A new dead-letter ring of so many blocks, each as long as the ring's.
pub(crate) fn create(block_size: u64, capacity: u64, machine: &Rc<Machine>) -> Rc<Shared> {
    // Its groups are never created: the oracle has a book for each.
    let geometry = Geometry::plan(block_size, capacity, 1)
        .and_then(|geometry| geometry.with_groups(GROUPS as u64, 1))
        .unwrap();
    let books = [0, 1].map(|number| GroupBook::new(number, geometry, 0));
    let shared = Rc::new(Shared::new(geometry, Oracle::new(geometry, books), machine));
    let creator = SimMemory::of(&shared, CREATOR);
    assert!(creator.seize(Right::Producer));
    let redriver = Durable { name: REDRIVER.to_owned(), begins_at: None, after: Vec::new() };
    let declared = Declared { durables: &[redriver], groups: &[] };
    furnish(&creator, &geometry, declared, 0, BIRTH).expect("a sound ring");
    shared.drop_rights(CREATOR);
    shared
}

/// A worker that writes the dead-letter ring, until it is closed.
pub(crate) struct Writer {
    memory: SimMemory,
    producer: protocol::Producer<SimMemory>,
    room: RoomMaker,
}

impl Writer {
    /// None if another worker writes there.
    pub(crate) fn open(worker: &SimMemory, shared: &Rc<Shared>) -> Option<Writer> {
        let memory = worker.on(shared);
        if !memory.seize(Right::Producer) {
            return None;
        }
        let producer = protocol::Producer::take_over(memory.clone(), shared.geometry).expect("a sound ring");
        assert_eq!(producer.head(), shared.oracle.borrow().end(), "where the next writer begins");
        Some(Writer { memory, producer, room: RoomMaker::new(Policy::default()) })
    }

    /// Publishes the copy of a message. False if the dead-letter ring is full.
    pub(crate) fn publish(&mut self, bytes: &[u8], meta: Meta) -> bool {
        let Writer { memory, producer, room } = self;
        if producer.room() == 0 && !room.make_room(producer, memory, memory, |_| {}) {
            return false;
        }
        let claimed = producer.claim_next();
        memory.shared.oracle.borrow_mut().means(claimed.position(), Message::shown_in(bytes, meta));
        producer.send(claimed, meta.kind(), bytes);
        producer.wake_readers();
        true
    }

    pub(crate) fn close(self) {
        self.memory.release(Right::Producer);
    }
}

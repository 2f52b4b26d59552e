//! The fear: the choice by kind, "as `msgrcv` has it", is not what `msgrcv` has.
//!
//! The kernel's own System V queue is the oracle. The same random operations run on a real queue
//! and on a ring with one group, and whatever one of the two answers, the other must answer too:
//! the same message, or that there is none. The ring is small and runs over many laps, whichever of
//! two workers asks, and sometimes a message is handed back first and asked for again.

use proptest::prelude::*;
use slipring::{
    Delivery, GroupSettings, HolderRole, Kinds, Producer, RecvError, RingOptions, SendError, Worker,
    WorkerOptions,
};
use std::collections::VecDeque;
use std::io;

const CAPACITY: usize = 16;
const BLOCK: usize = 48;

/// The kernel's `msgbuf`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Letter {
    kind: libc::c_long,
    bytes: [u8; BLOCK],
}

/// A System V queue of this test alone. Removed when dropped, also while panicking: queues outlive
/// their processes.
#[derive(Debug)]
struct Queue(libc::c_int);

impl Queue {
    fn new() -> Queue {
        // SAFETY: no memory is passed.
        let id = unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) };
        let error = io::Error::last_os_error();
        assert!(
            id >= 0,
            "System V message queues cannot be had here ({error}), so nothing can be compared with them; \
             run this test where `ipcmk -Q` works"
        );
        Queue(id)
    }

    fn send(&self, kind: u32, payload: &[u8]) {
        let mut letter = Letter { kind: kind.into(), bytes: [0; BLOCK] };
        letter.bytes[..payload.len()].copy_from_slice(payload);
        // SAFETY: the letter is as long as its kind and so many bytes, and more.
        let sent =
            unsafe { libc::msgsnd(self.0, (&raw const letter).cast(), payload.len(), libc::IPC_NOWAIT) };
        assert_eq!(sent, 0, "msgsnd: {}", io::Error::last_os_error());
    }

    fn receive(&self, kinds: Kinds) -> Option<(u32, Vec<u8>)> {
        let (kind, flags) = match kinds {
            Kinds::Any => (0, 0),
            Kinds::Equal(kind) => (i64::from(kind), 0),
            Kinds::AtMost(kind) => (-i64::from(kind), 0),
            Kinds::Except(kind) => (i64::from(kind), libc::MSG_EXCEPT),
        };
        let mut letter = Letter { kind: 0, bytes: [0; BLOCK] };
        let buffer = (&raw mut letter).cast();
        // SAFETY: the letter has room for its kind and so many bytes.
        let len = unsafe { libc::msgrcv(self.0, buffer, BLOCK, kind, flags | libc::IPC_NOWAIT) };
        let error = io::Error::last_os_error();
        let Ok(len) = usize::try_from(len) else {
            assert_eq!(error.raw_os_error(), Some(libc::ENOMSG), "msgrcv: {error}");
            return None;
        };
        Some((u32::try_from(letter.kind).unwrap(), letter.bytes[..len].to_vec()))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the queue is this test's, and no call uses it after this. `IPC_RMID` reads no
        // memory.
        unsafe { libc::msgctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

#[derive(Clone, Debug)]
enum Op {
    Send { kind: u32, payload: Vec<u8> },
    Receive { by: usize, kinds: Kinds, handed_back_to: Option<usize> },
}

fn op() -> impl Strategy<Value = Op> {
    let kinds = prop_oneof![
        Just(Kinds::Any),
        // One more kind than there are: no message has it.
        (1..=7_u32).prop_map(Kinds::Equal),
        (1..=7_u32).prop_map(Kinds::AtMost),
        (1..=7_u32).prop_map(Kinds::Except),
    ];
    prop_oneof![
        (1..=6_u32, prop::collection::vec(any::<u8>(), 0..=BLOCK))
            .prop_map(|(kind, payload)| Op::Send { kind, payload }),
        (0..2_usize, kinds, prop::option::weighted(0.2, 0..2_usize))
            .prop_map(|(by, kinds, handed_back_to)| Op::Receive { by, kinds, handed_back_to }),
    ]
}

/// Where 32 bits end, and where the 12 bits of a lap do.
fn first_position() -> impl Strategy<Value = u64> {
    let lap_wrap = 4096 * CAPACITY as u64;
    prop_oneof![Just(0), Just(lap_wrap - 20), Just((1 << 32) - 20), Just((1 << 40) * lap_wrap - 20)]
}

fn answer(received: &Result<Delivery<'_>, RecvError>) -> Option<(u32, Vec<u8>)> {
    match received {
        Ok(delivery) => Some((delivery.kind(), delivery.to_vec())),
        Err(RecvError::Empty) => None,
        Err(error) => panic!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_worker_that_chooses_gets_what_msgrcv_gets(
        ops in prop::collection::vec(op(), 1..=120),
        first in first_position(),
    ) {
        let queue = Queue::new();
        let ring = RingOptions::new(BLOCK, CAPACITY)
            .group("all", GroupSettings::new())
            .first_position(first)
            .create_in_memory()
            .unwrap();
        let mut producer = Producer::<[u8]>::open(&ring).unwrap();
        let join = || WorkerOptions::new("all").join::<[u8]>(&ring).unwrap();
        let workers: [Worker; 2] = [join(), join()];
        // The messages that no reader received: the model needs no more to know when the ring is
        // full.
        let mut unsettled: VecDeque<u64> = VecDeque::new();
        let mut head = first;
        for op in ops {
            match op {
                Op::Send { kind, payload } => {
                    let floor = unsettled.front().copied().unwrap_or(head);
                    let sent = producer.try_send((kind, &payload));
                    if head - floor == CAPACITY as u64 {
                        // The queue has no such limit: skipped on both sides.
                        let Err(SendError::Full { holder, .. }) = sent else { panic!("{sent:?}") };
                        prop_assert_eq!((holder.role, holder.lag), (HolderRole::Group, CAPACITY as u64));
                        continue;
                    }
                    prop_assert_eq!(sent, Ok(head));
                    queue.send(kind, &payload);
                    unsettled.push_back(head);
                    head += 1;
                }
                Op::Receive { by, kinds, handed_back_to } => {
                    let expected = queue.receive(kinds);
                    let mut received = workers[by].try_recv_kind(kinds);
                    prop_assert_eq!(answer(&received), expected.clone(), "{:?}", kinds);
                    let Ok(mut delivery) = received else { continue };
                    prop_assert_eq!(delivery.attempt(), 1);
                    if let Some(other) = handed_back_to {
                        let position = delivery.position();
                        delivery.hand_back().unwrap();
                        received = workers[other].try_recv_kind(kinds);
                        prop_assert_eq!(answer(&received), expected, "{:?}, after a release", kinds);
                        delivery = received.unwrap();
                        prop_assert_eq!((delivery.position(), delivery.attempt()), (position, 1));
                    }
                    let position = delivery.position();
                    delivery.ack().unwrap();
                    unsettled.retain(|&left| left != position);
                }
            }
        }
        let group = ring.groups().remove(0);
        prop_assert_eq!(group.ack_floor, unsettled.front().copied().unwrap_or(head));
        prop_assert_eq!((group.num_ack_pending, group.num_dead_pending), (0, 0));
    }
}

//! The published message: a paid order; a redriven one also has the id of its first message.

use crate::common::Failure;
use slipring::MessageId;
use zerocopy::FromBytes;

slipring::message! {
    /// A paid order: 32 bytes, a slot is one cache line.
    pub(crate) struct Order {
        /// 1, 2, 3, ...
        pub(crate) number: u64,
        /// Where the SMS goes.
        pub(crate) phone: u64,
        /// 0; in a message that is redriven 1 + the position of the first message about this order.
        /// The new message has an id of its own, and all readers of the ring get it: this tells
        /// them that they may have seen the order before.
        pub(crate) origin: u64,
        pub(crate) customer: u32,
        pub(crate) cents: u32,
    }
}

/// Telephone numbers begin here, and have nine digits.
const PHONES: u64 = 600_000_000;
/// A mistyped number.
const IMPOSSIBLE: u64 = 12;
/// The prefix of customers whose network never confirms an SMS.
const SILENT: u64 = 699_000_000;
/// Orders of each troublesome kind in a run.
pub(crate) const IMPOSSIBLE_ORDERS: u64 = 5;
pub(crate) const SILENT_ORDERS: u64 = 3;

impl Order {
    /// The order of this number, of `total`.
    pub(crate) fn new(number: u64, total: u64, seed: u64) -> Order {
        let chance = mix(seed ^ mix(number));
        let customer = u32::try_from(chance % 5000).unwrap_or(0);
        let cents = u32::try_from(100 + mix(chance) % 20_000).unwrap_or(100);
        // Spread over the run, at places of their own.
        let nth_of = |many: u64| number % (total / many) == total / many / 2;
        let phone = if nth_of(IMPOSSIBLE_ORDERS) {
            IMPOSSIBLE
        } else if nth_of(SILENT_ORDERS) {
            SILENT + u64::from(customer)
        } else {
            phone_of(customer)
        };
        Order { number, phone, origin: 0, customer, cents }
    }

    /// The order in a dead letter, which has bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Order, Failure> {
        Order::read_from_bytes(bytes).map_err(|_| format!("{} bytes are not an order", bytes.len()).into())
    }

    /// The position of the first message about this order; `position` is this one's.
    pub(crate) fn first_position(&self, position: u64) -> u64 {
        self.origin.checked_sub(1).unwrap_or(position)
    }

    /// The key of all effects: the same however often this order is delivered or redriven.
    pub(crate) fn key(&self, delivered: MessageId) -> MessageId {
        MessageId { position: self.first_position(delivered.position), ..delivered }
    }

    /// A point per euro.
    pub(crate) fn points(&self) -> u32 {
        self.cents / 100
    }
}

/// The number in the customer's file.
pub(crate) fn phone_of(customer: u32) -> u64 {
    PHONES + u64::from(customer) * 7
}

pub(crate) fn is_possible(phone: u64) -> bool {
    phone >= PHONES
}

pub(crate) fn is_silent(phone: u64) -> bool {
    phone >= SILENT
}

/// The finaliser of SplitMix64: chance that can be repeated.
pub(crate) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

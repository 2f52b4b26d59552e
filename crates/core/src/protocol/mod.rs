//! The ring's algorithms, and the only place besides [`park`] where memory orderings are chosen.
//!
//! # Pairs
//!
//! Every ordered atomic line ends with the tag of its pair. The last column names the model (in
//! `loom-tests`) that fails when either side is weakened.
//!
//! | tag | release side | acquire side | carries | model |
//! |---|---|---|---|---|
//! | PUB | [`single`]: sequence word, release | [`read`], [`ahead`], [`observe`], [`group`]: sequence word, relaxed; acquire fence | the block, its length and kind, and that there are such | `publish_read`, `claim`, `follow_liar` |
//! | HEAD | [`publish`]: head, release | [`read`], [`ahead`], [`observe`], [`group`]: head, relaxed; acquire fence | every slot below it, and which of them have headers | `batch`, `batched*`, `headerless*`, `ahead`, `read_ahead*`, `follow_ahead` |
//! | CLAIM | [`publish`]: `claimed`, relaxed; release fence; then the block | [`observe`]: the copy; acquire fence; `claimed` | that a copy which saw any byte of the new block sees the claim (`lease`, copying a dead-pending message: or the settling before it) | `observer`, `dead_letter_copy` |
//! | FREE | [`read`]: tail, release | [`publish`] scan: tails; `SeqCst` fence | that the reader is done with the slots below | `reuse`, `read_ahead` |
//! | FOLLOW | [`read`]: tail, store or compare-exchange, release. [`group`]: delivery word, compare-exchange, release | [`follow`]: tail, floor, delivery words, relaxed; acquire fence | what an upstream did before it released, and the messages that it has read | `follow_*` |
//! | LEAVE | [`tenure`]: tail or floor := none, release | the same; [`tenure`]: tail, relaxed; acquire fence; left at | the same, when it goes; and where it left | `leave`, `group_leave`, `succeed` |
//! | EVICT | [`read`]: tail, compare-exchange, release | [`publish`] scan: tails; `SeqCst` fence | that the reader was done copying what it accepted | `copy_release`, `eviction` |
//! | JOIN | [`table`]: count of used entries, tail; `SeqCst` fence; limit, head; without a producer, `claimed` | [`publish`] scan: limit; `SeqCst` fence; count, tails | either the scan sees the counted tail or the joiner sees the limit | `join_*` |
//! | USED | [`tenure`]: count of used entries; release fence; tail or pin | [`tenure`]: tail, relaxed; acquire fence; count | that an entry which gates is counted and taken | `used` |
//! | SUCCEED | [`tenure`]: generation; no owner left, release | [`tenure`]: left at, relaxed; acquire fence; generation | that where an owner left is not taken for another's | `succeed` |
//! | CLOSE | [`publish`]: closed, release | [`read`], [`observe`]: closed, relaxed; acquire fence; sequence word and head once more | everything published before | `close` |
//! | SLEEP | [`park`]: announce; heavy fence; look again | [`publish`], [`read`]: publish or free; light fence; announcement | either the sleeper sees the news or the waker sees the sleeper | `park_*` |
//! | TICKET | [`park`]: clear announcement; wake word, release | [`park`]: wake word, acquire; announce | that a clearing never erases a later announcement | `park_*` |
//! | LOG | [`recorder`]: number := 0; release fence; fields | [`recorder`]: fields; acquire fence; number | that a torn record is seen as torn | `recorder` |
//! | LOGGED | [`recorder`]: fields; number, release | [`recorder`]: number, acquire; fields | the fields of a whole record | `recorder` |
//! | PIN | [`lease`]: count of used entries; pin; delivery word, compare-exchange, release (later ones carry it on) | [`publish`] scan: floors, delivery words; `SeqCst` fence; count, pins. [`group`]: SETTLED | that a party which finds a message settled finds the pin of its last readers | `pin_*`, `unpin_dead`, `used_worker` |
//! | SETTLED | the same exchange | [`group`], moving the floor: delivery words; acquire fence | the pins of what the floor passes | `pin_floor` |
//! | RUN | [`group`]: delivery words; acquire fence; end of a run, release | [`publish`] scan: ends of runs; `SeqCst` fence; pins. [`group`]: SETTLED | the same, of what a run covers | `pin_run` |
//! | FLOOR | [`group`]: floor, compare-exchange, release | [`publish`] scan: floors; `SeqCst` fence; pins | the same, to the producer | `pin_floor`, `unpin_dead` |
//! | UNPIN | [`lease`], [`group::members`]: pin, taken away or moved, release | [`publish`] scan: pins; acquire fence | that the reading under the earlier pin is over | `pin_moves`, `worker_leaves`, `floor_gate` |
//! | SET | [`group::current`]: settings; version, release. [`lease`]: delivery word, compare-exchange, release | [`group::current`]: version, relaxed; acquire fence; settings. [`lease`]: delivery word; the acquire fence of LAP or PUB; version | whole settings; and to a colleague, the settings by which a lease is so long | `settings`, `longer_leases` |
//! | REPLACE | [`group::current`]: release fence; settings | [`group::current`]: settings; acquire fence; version | that settings which were replaced meanwhile are read again | `settings` |
//! | LAP | [`lease`]: delivery word, compare-exchange, release | [`group`]: delivery word; acquire fence; sequence word, head | that the slot is of a later lap, if the word is | `lap_reuse`, `redriven_lap` |
//!
//! Death is not in the table: a party that takes a dead party's right from the kernel sees
//! everything that the dead party had written (`takeover`, `reap`).
//!
//! The limit is a shared word, since no joiner could see a limit that the producer kept for itself.
//! The joiner would start at a position that the producer is overwriting.

pub mod after;
pub mod ahead;
pub mod batch;
pub mod clear;
pub mod dead_letter;
pub mod eligibility;
pub mod entry;
pub mod follow;
pub mod furnish;
pub mod group;
pub mod lease;
pub mod make_room;
pub mod membership;
mod message;
pub mod observe;
pub mod park;
pub mod publish;
pub mod read;
pub mod recorder;
pub mod redrive;
pub mod salvage;
pub mod settings;
pub mod sightings;
pub mod single;
pub mod statistic;
pub mod table;
pub mod tenure;

pub use ahead::Ahead;
pub use lease::Worker;
pub use observe::Observer;
pub use publish::Producer;
pub use read::{Consumer, EvictableConsumer};

/// A word of shared memory has a value that this protocol never writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, but only {low}..={high} can be true")]
#[non_exhaustive]
pub struct Damage {
    /// Name of the word.
    pub what: &'static str,
    /// The word's value.
    pub found: u64,
    /// The smallest possible value.
    pub low: u64,
    /// The largest possible value.
    pub high: u64,
}

impl Damage {
    /// The word `what` is `found`, which is outside `low..=high`.
    pub const fn new(what: &'static str, found: u64, low: u64, high: u64) -> Damage {
        Damage { what, found, low, high }
    }

    /// Passes `found` through if it is inside `low..=high`.
    pub fn bound(what: &'static str, found: u64, low: u64, high: u64) -> Result<u64, Damage> {
        if (low..=high).contains(&found) { Ok(found) } else { Err(Damage { what, found, low, high }) }
    }
}

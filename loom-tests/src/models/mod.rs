//! The models, one small one per question. Names are those of the table of pairs in
//! `slipring_core::protocol`.
//!
//! Every message carries its position twice, so that a stale, torn or misplaced one is told from
//! the right one. Loops are bounded: two spinning threads would exhaust the checker; what is left
//! undone when the attempts run out is done after the joins.

mod batches;
mod blocks;
mod broadcast;
mod ending;
mod entries;
mod follow;
mod groups;
mod leases;
mod membership;
mod parking;
mod pins;
mod redrives;
mod settings;

use crate::explore::{Model, explore};
use crate::memory::{BLOCK_SIZE, LoomMemory};
use slipring_core::format::{Geometry, Message, Meta};
use slipring_core::memory::{BlockWriter, Memory};
use slipring_core::protocol;
use slipring_core::protocol::Damage;
use slipring_core::protocol::read::Ready;
use slipring_core::protocol::single::ClaimedSlot;
use slipring_core::protocol::table::{self, Eviction, Start};

/// Every model, cheap ones first within their family.
pub const MODELS: &[Model] = &[
    Model {
        name: "publish_read",
        question: "does a consumer read what was published, and only that?",
        executions: 220,
        run: broadcast::publish_read,
    },
    Model {
        name: "batch",
        question: "does the head carry every slot below it?",
        executions: 1_109,
        run: broadcast::batch,
    },
    Model {
        name: "batched",
        question: "is a batch seen in pieces, or anything of one that was given up?",
        executions: 108_812,
        run: batches::batched,
    },
    Model {
        name: "batched_join",
        question: "the same by a reader that joins in between",
        executions: 261_858,
        run: batches::batched_join,
    },
    Model {
        name: "batched_observed",
        question: "the same by an observer",
        executions: 59_570,
        run: batches::batched_observed,
    },
    Model {
        name: "batched_lapped",
        question: "the same by an observer of what the batch is written over",
        executions: 98_013,
        run: batches::batched_lapped,
    },
    Model {
        name: "batched_copied",
        question: "the same by a reader that copies",
        executions: 31_280,
        run: batches::batched_copied,
    },
    Model {
        name: "batched_claimed",
        question: "the same by workers",
        executions: 1_854,
        run: batches::batched_claimed,
    },
    Model {
        name: "headerless",
        question: "is the header of an aborted batch taken for that of a headerless message in its place?",
        executions: 3_844,
        run: batches::headerless,
    },
    Model {
        name: "headerless_join",
        question: "does a reader that joins between headerless messages find them all?",
        executions: 13_778,
        run: batches::headerless_join,
    },
    Model {
        name: "headerless_between",
        question: "does a reader look for a message that was sent by itself among the headerless ones?",
        executions: 3_166,
        run: batches::headerless_between,
    },
    Model {
        name: "ahead",
        question: "is everything there that the head counts beyond the message at the tail?",
        executions: 24_444,
        run: batches::ahead,
    },
    Model {
        name: "headerless_observed",
        question: "does an observer take an old look at a slot for a headerless message?",
        executions: 101_511,
        run: batches::headerless_observed,
    },
    Model {
        name: "reuse",
        question: "does the producer wait until an in-place reader is done with a slot?",
        executions: 126,
        run: broadcast::reuse,
    },
    Model {
        name: "read_ahead",
        question: "is a message overwritten or lost that was read ahead and not released?",
        executions: 896,
        run: broadcast::read_ahead,
    },
    Model {
        name: "read_ahead_batched",
        question: "does a consumer find the rest of a batch of which it released a part?",
        executions: 334,
        run: broadcast::read_ahead_batched,
    },
    Model {
        name: "read_ahead_uncounted",
        question: "does a cursor find a message that its producer did not live to count?",
        executions: 2,
        run: broadcast::read_ahead_uncounted,
    },
    Model {
        name: "stale",
        question: "does a block show bytes of an older message, or of a claim that was given up?",
        executions: 112,
        run: blocks::stale,
    },
    Model {
        name: "stale_killed",
        question: "the same when the producer was killed before any of its accesses, and another goes on",
        executions: 326,
        run: blocks::stale_killed,
    },
    Model {
        name: "observer",
        question: "does an observer ever believe a torn or stale copy, or miscount what it missed?",
        executions: 9_076,
        run: broadcast::observer,
    },
    Model {
        name: "latest",
        question: "is the newest message torn or stale, or one that its producer did not live to count forgotten?",
        executions: 86_156,
        run: broadcast::latest,
    },
    Model {
        name: "latest_of_four",
        question: "is there a moment at which none of four messages is the newest?",
        executions: 47_488,
        run: broadcast::latest_of_four,
    },
    Model {
        name: "impossible_head",
        question: "does a head that cannot be publish anything to readers that copy?",
        executions: 1,
        run: broadcast::impossible_head,
    },
    Model {
        name: "abandoned_claim",
        question: "is a dirty block of an aborted claim ever believed by an observer?",
        executions: 446,
        run: broadcast::abandoned_claim,
    },
    Model {
        name: "takeover_watched",
        question: "does an observer notice a successor that writes where its predecessor had claimed?",
        executions: 13_866,
        run: broadcast::takeover_watched,
    },
    Model {
        name: "claimed_ahead",
        question: "does an observer notice a message that is written where more was claimed than one?",
        executions: 16_586,
        run: broadcast::claimed_ahead,
    },
    Model {
        name: "lapped_by_claim",
        question: "does an observer that was lapped by a claim go on beyond the head?",
        executions: 1,
        run: broadcast::lapped_by_claim,
    },
    Model {
        name: "join_earliest",
        question: "is anything overwritten from the earliest position on, once a reader has joined?",
        executions: 13_246,
        run: membership::join_earliest,
    },
    Model {
        name: "join_latest",
        question: "the same from the latest",
        executions: 16_570,
        run: membership::join_latest,
    },
    Model {
        name: "join_at",
        question: "the same from a position",
        executions: 4_497,
        run: membership::join_at,
    },
    Model {
        name: "join_left",
        question: "the same while a producer goes and another one comes?",
        executions: 107_137,
        run: membership::join_left,
    },
    Model {
        name: "join_beside",
        question: "the same while another reader makes room, and scans grant less than they hoped for?",
        executions: 37_493,
        run: membership::join_beside,
    },
    Model {
        name: "join_ungated",
        question: "does a scan take back what it granted while nothing gated?",
        executions: 2_447,
        run: membership::join_ungated,
    },
    Model {
        name: "join_falling",
        question: "is anything overwritten from a joiner's start on, if the limit falls while it joins?",
        executions: 27_716,
        run: membership::join_falling,
    },
    Model {
        name: "join_takeover",
        question: "the same while a producer takes over that finds more claimed than it may have",
        executions: 8_740,
        run: membership::join_takeover,
    },
    Model {
        name: "used",
        question: "does the producer ever look past a tail because the entry is not counted yet?",
        executions: 662,
        run: membership::used,
    },
    Model {
        name: "used_by_two",
        question: "are two readers counted that take entries at once?",
        executions: 36,
        run: membership::used_by_two,
    },
    Model {
        name: "used_worker",
        question: "the same of a worker's pin",
        executions: 737,
        run: membership::used_worker,
    },
    Model {
        name: "succeed",
        question: "is the tail or the leaving of an entry's next owner ever taken for the last one's?",
        executions: 2_301,
        run: membership::succeed,
    },
    Model {
        name: "owner_killed",
        question: "killed before any access: does an entry ever say of its owner what was another's?",
        executions: 25,
        run: membership::owner_killed,
    },
    Model {
        name: "join_evicted",
        question: "does a reader that is evicted while it joins believe a copy that was overwritten?",
        executions: 68_942,
        run: membership::join_evicted,
    },
    Model {
        name: "evict_reuse",
        question: "does a producer that is slow to evict hit the party that took the entry?",
        executions: 5_351,
        run: membership::evict_reuse,
    },
    Model {
        name: "leave",
        question: "is a slot reused while a reader that is leaving still reads it?",
        executions: 37,
        run: membership::leave,
    },
    Model {
        name: "leaver_killed",
        question: "killed before any access of a removal: does an entry without a consumer gate?",
        executions: 6,
        run: membership::leaver_killed,
    },
    Model {
        name: "eviction",
        question: "is a copy believed that the producer overwrote, or a loss not told?",
        executions: 22_301,
        run: membership::eviction,
    },
    Model {
        name: "copy_release",
        question: "is a slot reused while a reader still copies out of it?",
        executions: 14,
        run: membership::copy_release,
    },
    Model {
        name: "resume",
        question: "does a durable reader that comes back ever mistake the ring for damaged?",
        executions: 1_410,
        run: membership::resume,
    },
    Model {
        name: "reap",
        question: "does clearing up after a dead reader ever hit the reader that took its entry?",
        executions: 48_786,
        run: membership::reap,
    },
    Model {
        name: "consumer_killed",
        question: "killed before any access of entering, reading and leaving: does what a consumer leaves gate for ever, or harm the next in its entry?",
        executions: 6_435,
        run: entries::consumer_killed,
    },
    Model {
        name: "durable_killed",
        question: "the same of a durable consumer that comes back: is anything lost from where it had gated?",
        executions: 3_697,
        run: entries::durable_killed,
    },
    Model {
        name: "proof",
        question: "does a dead consumer gate for longer than a proof of life is believed, or by the proof of another?",
        executions: 46_829,
        run: entries::proof,
    },
    Model {
        name: "expire_resume",
        question: "does a durable consumer that comes back lose what it is given up for at that moment?",
        executions: 19_314,
        run: entries::expire_resume,
    },
    Model {
        name: "evict_entered",
        question: "is the tail of a consumer taken away for that of its predecessor in the entry, unnoticed?",
        executions: 93_027,
        run: entries::evict_entered,
    },
    Model {
        name: "park_readers",
        question: "does a reader ever sleep through a message?",
        executions: 15_556,
        run: parking::park_readers,
    },
    Model {
        name: "park_two_readers",
        question: "do two readers that sleep and wake disturb each other?",
        executions: 118_955,
        run: parking::park_two_readers,
    },
    Model {
        name: "park_taken",
        question: "does a reader sleep through a message after a wake that was in vain?",
        executions: 3_028,
        run: parking::park_taken,
    },
    Model {
        name: "park_closed",
        question: "does a reader ever sleep through the end of the stream?",
        executions: 643,
        run: parking::park_closed,
    },
    Model {
        name: "park_any",
        question: "does a reader of two rings ever sleep through a message of either?",
        executions: 91_671,
        run: parking::park_any,
    },
    Model {
        name: "park_producer",
        question: "does a producer ever sleep through the room that two readers make?",
        executions: 209_612,
        run: parking::park_producer,
    },
    Model {
        name: "park_slow_waker",
        question: "does a producer sleep through the room of a third reader if the first is slow to wake?",
        executions: 123_493,
        run: parking::park_slow_waker,
    },
    Model {
        name: "follow_chain",
        question: "does a follower read what its upstream has not released, or miss what it did before?",
        executions: 6_795,
        run: follow::follow_chain,
    },
    Model {
        name: "follow_diamond",
        question: "the same of two upstreams",
        executions: 26_137,
        run: follow::follow_diamond,
    },
    Model {
        name: "follow_reuse",
        question: "is a slot reused while only a follower still reads it?",
        executions: 1_202,
        run: follow::follow_reuse,
    },
    Model {
        name: "follow_headerless",
        question: "does a follower know the headerless messages of a batch?",
        executions: 5_993,
        run: follow::follow_headerless,
    },
    Model {
        name: "follow_ahead",
        question: "does a follower know them that saw the head long before it may read?",
        executions: 62,
        run: follow::follow_ahead,
    },
    Model {
        name: "follow_liar",
        question: "does a follower read what was not published, if the tail of its upstream says so?",
        executions: 10_792,
        run: follow::follow_liar,
    },
    Model {
        name: "follow_leaves",
        question: "is the party followed that takes the entry of an upstream that left?",
        executions: 132_496,
        run: follow::follow_leaves,
    },
    Model {
        name: "follow_end",
        question: "is all read that an upstream released before it left, and is its follower told?",
        executions: 38_846,
        run: follow::follow_end,
    },
    Model {
        name: "follow_copied",
        question: "the same of readers that copy",
        executions: 284,
        run: follow::follow_copied,
    },
    Model {
        name: "follow_group",
        question: "does a follower of a group read what no worker settled, miss what they did, or sleep through it?",
        executions: 26_672,
        run: follow::follow_group,
    },
    Model {
        name: "park_behind",
        question: "does a follower ever sleep through the progress of its upstream?",
        executions: 9_632,
        run: follow::park_behind,
    },
    Model {
        name: "park_follower",
        question: "the same of two upstreams, of which now one is behind and now the other",
        executions: 32_136,
        run: follow::park_follower,
    },
    Model {
        name: "upstream_killed",
        question: "killed before any access: is all read that an upstream released, and is its follower told?",
        executions: 29,
        run: follow::upstream_killed,
    },
    Model {
        name: "close",
        question: "does a reader ever take a stream for drained that is not?",
        executions: 325,
        run: ending::close,
    },
    Model {
        name: "reopened",
        question: "does a reader take a stream for drained that a successor opened again?",
        executions: 1,
        run: ending::reopened,
    },
    Model {
        name: "takeover",
        question: "killed before any of its accesses: is what a producer published lost, or more seen?",
        executions: 58_834,
        run: ending::takeover,
    },
    Model {
        name: "takeover_killed",
        question: "killed before any access of a takeover: does the next one reach the same state?",
        executions: 1_182,
        run: ending::takeover_killed,
    },
    Model {
        name: "recorder",
        question: "is a torn record of the flight recorder ever taken for a whole one?",
        executions: 63_238,
        run: ending::recorder,
    },
    Model {
        name: "claim",
        question: "do two workers ever lease one message, or a message that is not there yet?",
        executions: 27_569,
        run: leases::claim,
    },
    Model {
        name: "ack_expiry",
        question: "does an acknowledgement and a take-over of a lease that ran out ever both succeed?",
        executions: 8_087,
        run: leases::ack_expiry,
    },
    Model {
        name: "extend_expiry",
        question: "the same for an extension",
        executions: 33_155,
        run: leases::extend_expiry,
    },
    Model {
        name: "redriven",
        question: "does a group get a redriven message that is for another, or miss its own?",
        executions: 137,
        run: redrives::redriven,
    },
    Model {
        name: "redriven_killed",
        question: "the same when the party that redrives was killed before any of its accesses",
        executions: 36,
        run: redrives::redriven_killed,
    },
    Model {
        name: "redriven_lap",
        question: "does a worker that settles a message of another group settle one of the next lap, or hide one?",
        executions: 100_164,
        run: redrives::redriven_lap,
    },
    Model {
        name: "settings",
        question: "does a reader find some of the old settings and some of the new?",
        executions: 1_952,
        run: settings::settings,
    },
    Model {
        name: "settings_killed",
        question: "the same when the party that changes them was killed before any of its accesses",
        executions: 12,
        run: settings::settings_killed,
    },
    Model {
        name: "longer_leases",
        question: "is a lease taken from its owner by a worker that does not know yet that leases are longer?",
        executions: 342,
        run: settings::longer_leases,
    },
    Model {
        name: "old_token",
        question: "does a token of an earlier lease of the same worker ever change anything?",
        executions: 770,
        run: leases::old_token,
    },
    Model {
        name: "late_clock",
        question: "does a worker that stopped after it had read its clock ever take over a lease that is good?",
        executions: 774,
        run: leases::late_clock,
    },
    Model {
        name: "release_claim",
        question: "is a message that is handed back ever lost to a worker that looks at that moment?",
        executions: 244,
        run: leases::release_claim,
    },
    Model {
        name: "backfill",
        question: "does a worker that chooses forget what others lease below it, and exceed the limit?",
        executions: 1_514,
        run: groups::backfill,
    },
    Model {
        name: "reached",
        question: "is a message overlooked that was given up behind messages that no worker has leased?",
        executions: 3_710,
        run: leases::reached,
    },
    Model {
        name: "entry_reuse",
        question: "does clearing up after a dead worker ever end the lease of the worker that took its entry?",
        executions: 305,
        run: leases::entry_reuse,
    },
    Model {
        name: "enlisted_killed",
        question: "killed before any access of enlisting, working and leaving: is a lease lost, or the next worker's?",
        executions: 8_495,
        run: entries::enlisted_killed,
    },
    Model {
        name: "enlist_sweep",
        question: "does a sweep after a dead worker ever end the lease of the worker that enlists in its entry?",
        executions: 288_350,
        run: entries::enlist_sweep,
    },
    Model {
        name: "two_groups",
        question: "does a lease return to its own group when workers of two groups use an entry in turn?",
        executions: 381,
        run: entries::two_groups,
    },
    Model {
        name: "creator_followed",
        question: "killed before any access of joining a new group: does the next worker find a whole group?",
        executions: 9_322,
        run: entries::creator_followed,
    },
    Model {
        name: "removal",
        question: "does a group that is removed gate on, or take its messages along while it is there?",
        executions: 159,
        run: entries::removal,
    },
    Model {
        name: "pin",
        question: "is a slot reused while a worker reads it whose lease was lost?",
        executions: 140_022,
        run: pins::pin,
    },
    Model {
        name: "pin_floor",
        question: "the same when another worker has moved the floor over it",
        executions: 256_651,
        run: pins::pin_floor,
    },
    Model {
        name: "pin_run",
        question: "the same when another worker has stored how far all is settled",
        executions: 34_253,
        run: pins::pin_run,
    },
    Model {
        name: "floor",
        question: "do two workers that move the floor ever leave it wrong?",
        executions: 151_301,
        run: groups::floor,
    },
    Model {
        name: "floor_gate",
        question: "does the producer ever overwrite a message that is not settled?",
        executions: 43_442,
        run: groups::floor_gate,
    },
    Model {
        name: "lap_headerless",
        question: "is a message leased whose slot still speaks of it when a headerless one has taken its place?",
        executions: 37_036,
        run: pins::lap_headerless,
    },
    Model {
        name: "lap_reuse",
        question: "is a word or a slot of one lap ever taken for that of another?",
        executions: 36_574,
        run: pins::lap_reuse,
    },
    Model {
        name: "floor_lag",
        question: "does a floor that lies a lap behind ever stay there?",
        executions: 77_749,
        run: groups::floor_lag,
    },
    Model {
        name: "floor_unmoved",
        question: "does the producer stand still if no worker moves the floor?",
        executions: 2_443,
        run: groups::floor_unmoved,
    },
    Model {
        name: "floor_uncounted",
        question: "is the floor exact while a message of the next lap is published and not counted?",
        executions: 33,
        run: groups::floor_uncounted,
    },
    Model {
        name: "limit",
        question: "does a worker lease more messages than may be in flight?",
        executions: 1,
        run: groups::limit,
    },
    Model {
        name: "pin_moves",
        question: "is a slot reused while a worker still reads it that pins another next?",
        executions: 548,
        run: pins::pin_moves,
    },
    Model {
        name: "worker_leaves",
        question: "the same when a worker goes that still holds the bytes of a message",
        executions: 33,
        run: pins::worker_leaves,
    },
    Model {
        name: "group_leave",
        question: "is a slot reused while a worker still reads it whose group is being removed?",
        executions: 612,
        run: groups::group_leave,
    },
    Model {
        name: "group_join",
        question: "is anything overwritten from a group's floor on, once it was created?",
        executions: 21_294,
        run: groups::group_join,
    },
    Model {
        name: "dead_letter_copy",
        question: "is a torn copy of a message that was given up ever published?",
        executions: 28_339,
        run: groups::dead_letter_copy,
    },
    Model {
        name: "park_group",
        question: "does the producer ever sleep through the room that a worker makes?",
        executions: 38_099,
        run: groups::park_group,
    },
    Model {
        name: "park_claims",
        question: "does the producer ever sleep over the pin of a claim that failed?",
        executions: 79_048,
        run: groups::park_claims,
    },
    Model {
        name: "unpin_dead",
        question: "does the producer ever take away the pin of the worker that took a dead one's entry?",
        executions: 15_643,
        run: pins::unpin_dead,
    },
    Model {
        name: "worker_killed",
        question: "killed before any of its accesses: is a message of a worker lost, or doubled, or held for ever?",
        executions: 94,
        run: leases::worker_killed,
    },
    Model {
        name: "killed_beside",
        question: "the same beside a colleague that takes over leases that have run out",
        executions: 156_405,
        run: leases::killed_beside,
    },
    Model {
        name: "reaper_killed",
        question: "killed before any access of clearing up: is a lease left that no worker returns?",
        executions: 21,
        run: leases::reaper_killed,
    },
    Model {
        name: "creator_killed",
        question: "killed before any access of creating a group: does what is left gate for ever?",
        executions: 22,
        run: groups::creator_killed,
    },
    Model {
        name: "remover_killed",
        question: "killed before any access of removing a group: does what is left gate for ever?",
        executions: 6,
        run: groups::remover_killed,
    },
    Model {
        name: "dead_letter_killed",
        question: "killed before any access to two rings: is a message settled of which the dead-letter ring has no copy?",
        executions: 66,
        run: groups::dead_letter_killed,
    },
];

fn geometry(capacity: u64, consumers: u64) -> Geometry {
    Geometry::plan(BLOCK_SIZE, capacity, consumers).expect("a valid geometry")
}

/// Plans a ring of so many blocks and consumers.
type Plan = fn(u64, u64) -> Geometry;

/// Both layouts. In a ring of short blocks, a message that is sent by itself lies in its slot; in a
/// ring of long blocks, every message lies in the packed row.
const LAYOUTS: [Plan; 2] = [geometry, |capacity, consumers| geometry(capacity, consumers).with_one_place()];

/// Explores one scenario in both layouts.
fn explore_layouts(bound: usize, scenario: impl Fn(Plan) + Clone + Sync + Send + 'static) -> usize {
    let explore_in = |layout: Plan| {
        let scenario = scenario.clone();
        explore(bound, move || scenario(layout))
    };
    LAYOUTS.into_iter().map(explore_in).sum()
}

fn words(position: u64) -> [u64; 2] {
    [position + 100, position + 100]
}

fn take_over(memory: &LoomMemory, geometry: &Geometry) -> protocol::Producer<LoomMemory> {
    protocol::Producer::take_over(memory.clone(), *geometry).expect("a sound ring")
}

fn consumer(
    memory: &LoomMemory,
    geometry: &Geometry,
    entry: u32,
    start: Start,
) -> protocol::Consumer<LoomMemory> {
    let tail = table::join(memory, geometry, entry, start, Eviction::Refused, || true)
        .expect("a start that can be had");
    protocol::Consumer::new(memory.clone(), *geometry, entry, tail)
}

/// Claims `n` positions and fills them with what belongs there.
fn fill(producer: &mut protocol::Producer<LoomMemory>, n: u64) {
    producer.claim(n);
    for claimed in (0..n).map(|ahead| producer.claimed_slot(ahead)).collect::<Vec<_>>() {
        let position = claimed.position();
        let block = producer.dirty_block(claimed);
        // SAFETY: the block is that of a claimed position.
        unsafe { producer.memory().blocks().write(block, &bytes(position)) };
    }
}

/// The bytes of the words that belong there.
fn bytes(position: u64) -> [u8; 16] {
    let [low, high] = words(position).map(u64::to_le_bytes);
    core::array::from_fn(|at| if at < 8 { low[at] } else { high[at - 8] })
}

/// Every third message is of kind 0: headerless, if it is sent in a batch and is not the first.
fn kind_of(position: u64) -> u32 {
    u32::try_from((position + 1) % 3).expect("less than three")
}

/// A redriven message as one that was sent.
fn plain(message: Message) -> Message {
    let meta = message.meta;
    let len = u32::try_from(meta.len()).expect("a small block");
    Message { meta: Meta::new(len, meta.kind()), ..message }
}

/// Claims the next position if there is room for a message.
fn claim(producer: &mut protocol::Producer<LoomMemory>) -> Option<ClaimedSlot> {
    if producer.room() == 0 {
        producer.rescan(0);
    }
    (producer.room() > 0).then(|| producer.claim_next())
}

/// Publishes the next message if there is room for it.
fn publish(producer: &mut protocol::Producer<LoomMemory>) -> bool {
    let Some(claimed) = claim(producer) else { return false };
    let position = claimed.position();
    producer.send(claimed, kind_of(position), &bytes(position));
    true
}

/// Reads the message at the tail in place, if it is there, and asserts that it is the right one.
/// The message is not released.
fn read(reader: &mut protocol::Consumer<LoomMemory>) -> bool {
    let ready = reader.poll();
    read_ready(reader, ready)
}

/// The same of all that the head vouches for.
fn read_many(reader: &mut protocol::Consumer<LoomMemory>) -> bool {
    let ready = reader.poll_many();
    read_ready(reader, ready)
}

fn read_ready(reader: &protocol::Consumer<LoomMemory>, ready: Result<Ready, Damage>) -> bool {
    match ready.expect("a sound ring") {
        Ready::Empty => false,
        Ready::Messages(n) => {
            assert_eq!(n, reader.known());
            check_known(reader, kind_of);
            true
        }
    }
}

/// Asserts that all that is known to be published is what belongs there, and that messages that are
/// said to be headerless are.
fn check_known(reader: &protocol::Consumer<LoomMemory>, kind: impl Fn(u64) -> u32) {
    for ahead in 0..reader.known() {
        let position = reader.tail() + ahead;
        let message = reader.message(ahead);
        assert_eq!(message.meta, Meta::new(16, kind(position)), "length and kind");
        if ahead >= reader.headers_ahead() {
            assert_eq!(reader.headerless_message(ahead), message, "without a look at the slot");
        }
        // SAFETY: the block is the ring's; the position is gated.
        let block = unsafe { reader.memory().read_block(message.block) };
        assert_eq!(block.words(), words(position), "the block of position {position}");
    }
}

/// Reads and releases the next message, if it is there.
fn take(reader: &mut protocol::Consumer<LoomMemory>) -> bool {
    let taken = read(reader);
    if taken {
        reader.release(1);
    }
    taken
}

fn copied_words(buffer: &[u8; 16]) -> [u64; 2] {
    let word = |at: usize| u64::from_le_bytes(buffer[at..at + 8].try_into().expect("eight bytes"));
    [word(0), word(8)]
}

//! Bugs that are planted, and what must notice each: bugs that the models, a reviewer or a trial
//! found once, and steps (a second look, a clamp, a maximum, an order of two stores) without which
//! the protocol is wrong.

/// The check that must notice a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// A model.
    Model(&'static str),
    /// Some seed of the simulation.
    Simulation,
    /// A test of a package: the package, the test program, and a part of the test's name.
    Test(&'static str, &'static str, &'static str),
    /// Nothing, for this reason.
    Nothing(&'static str),
}
use Check::{Model, Nothing, Simulation, Test};

/// A bug that can be planted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plant {
    /// Name of the bug.
    pub(crate) name: &'static str,
    /// The missing or wrong step.
    pub(crate) what: &'static str,
    /// How the path of the file ends in which its text stands; nothing, if it stands nowhere else.
    pub(crate) file: &'static str,
    /// The text to be replaced: an expression, or whole statements. It must occur once.
    pub(crate) from: &'static str,
    /// The planted text.
    pub(crate) to: &'static str,
    /// The check that must notice the bug.
    pub(crate) seen_by: Check,
}

const fn plant(
    name: &'static str,
    what: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    seen_by: Check,
) -> Plant {
    Plant { name, what, file, from, to, seen_by }
}

/// Every bug that is planted.
pub(crate) const PLANTS: &[Plant] = &[
    plant(
        "takeover_unscanned",
        "a successor uses what its predecessor had claimed without a look at the tails",
        "",
        "(claimed, claimed, head)",
        "(claimed, claimed, claimed)",
        Model("takeover_watched"),
    ),
    plant(
        "announce_below_claimed",
        "a scan announces less than a predecessor had claimed",
        "",
        "candidate.max(self.claimed)",
        "candidate",
        Model("join_takeover"),
    ),
    plant(
        "lower_below_claimed",
        "a scan lowers the limit below what a predecessor had claimed",
        "",
        "limit.max(self.claimed)",
        "limit",
        Model("join_takeover"),
    ),
    plant(
        "claimed_falls",
        "a smaller claim after one that was given up lowers `claimed`",
        "",
        "end > self.claimed",
        "end != self.claimed",
        Model("batched_lapped"),
    ),
    plant(
        "claim_unbounded",
        "a claim that goes further than it must goes beyond the limit",
        "",
        "end.max(first + self.claim_ahead).min(self.cached_limit)",
        "end.max(first + self.claim_ahead)",
        Simulation,
    ),
    plant(
        "batch_claims_all",
        "a batch claims all that it has room for, and observers lose it",
        "",
        "producer.claim_in_batch(self.next, n)",
        "producer.claim_in_batch(self.next, self.end - self.next)",
        Test("slipring-tests", "contract", "past::a_batch"),
    ),
    plant(
        "takeover_counts_nothing",
        "a successor does not count what was published and not counted",
        "publish.rs",
        "head += 1;",
        "break;",
        Model("takeover_killed"),
    ),
    plant(
        "takeover_without_headers_until",
        "nor says that none of those is headerless",
        "",
        "head > stored",
        "false",
        Model("takeover"),
    ),
    plant(
        "joiner_asks_early",
        "a joiner asks whether a producer lives before a later producer can see its tail",
        "",
        "join_at(memory, geometry, geometry.consumer_entry(entry), start, eviction, producer_lives)",
        "{ let lives = producer_lives(); join_at(memory, geometry, geometry.consumer_entry(entry), start, eviction, || lives) }",
        Model("join_left"),
    ),
    plant(
        "limit_unasked",
        "a joiner does not ask for the limit of a living producer",
        "",
        "if producer_lives() { LIMIT } else { CLAIMED }",
        "CLAIMED",
        Model("join_left"),
    ),
    plant(
        "no_second_look",
        "a scan grants what its first look allowed",
        "",
        "let (scan, granted) = self.look_at_tails(required);",
        "let (scan, granted) = (scan, candidate);",
        Model("join_evicted"),
    ),
    plant(
        "grant_above_candidate",
        "it grants what its second look allowed, more than it had announced",
        "",
        "granted.clamp(self.cached_limit, candidate)",
        "granted.max(self.cached_limit)",
        Simulation,
    ),
    plant(
        "grant_falls",
        "it takes back what was granted before",
        "",
        "granted.clamp(self.cached_limit, candidate)",
        "granted.min(candidate)",
        Model("join_ungated"),
    ),
    plant(
        "unpin_unordered",
        "nothing orders the reading under a pin before the second look that sees it gone",
        "publish.rs",
        "self.memory.fence(Acquire);",
        "",
        Model("unpin_dead"),
    ),
    plant(
        "required_ignored",
        "room is granted although too few readers gate",
        "publish.rs",
        "scan.gates < required",
        "false",
        Test("slipring-tests", "files", "published_without_readers"),
    ),
    plant(
        "evict_gating",
        "a consumer that did not agree to it is evicted",
        "",
        r"if !found.is_evictable() {
            return false;
        }",
        "{}",
        Model("evict_reuse"),
    ),
    plant(
        "evict_by_flag",
        "that a tail may be taken away is looked for elsewhere than in the tail that is taken",
        "",
        "let won = self.memory.compare_exchange(tail, found.0, Tail::EVICTED.0, Relaxed, Relaxed).is_ok();",
        "let won = { let now = self.memory.load(tail, Relaxed); self.memory.compare_exchange(tail, now, Tail::EVICTED.0, Relaxed, Relaxed).is_ok() };",
        Model("evict_reuse"),
    ),
    plant(
        "single_without_headers_until",
        "a single message behind headerless ones is not told from them",
        "",
        r"if !self.all_have_headers {
            self.store_all_have_headers();
        }",
        "{}",
        Simulation,
    ),
    plant(
        "leftovers_forgotten",
        "what an abandoned claim has left is taken for clean",
        "",
        "position < dirty_until",
        "false",
        Test("slipring-tests", "files", "nothing_stale"),
    ),
    plant(
        "length_of_another_lap",
        "the length of a message of another lap is taken for that of the one that lay here",
        "",
        "lay_here && sequence.number() + capacity == position + 1",
        "lay_here",
        Test("slipring-tests", "files", "nothing_stale"),
    ),
    plant(
        "length_of_another_place",
        "the length of a message that lay in the other place is taken for that of the one that lay here",
        "",
        "slots.has_one_place() || sequence.is_batched() == in_batch",
        "true",
        Test("slipring-tests", "files", "nothing_stale"),
    ),
    plant(
        "long_blocks_unclean",
        "older bytes are not cleared behind a message in a block above 112 bytes",
        "",
        "return meta.len().min(whole);",
        "return if slots.has_one_place() { 0 } else { meta.len().min(whole) };",
        Test("slipring-tests", "files", "nothing_stale"),
    ),
    plant(
        "stale_headers_forgotten",
        "a headerless message gets no header where an older header describes its position",
        "",
        "end.min(self.stale_headers_until.max(self.first + 1))",
        "end.min(self.first + 1)",
        Model("headerless"),
    ),
    plant(
        "first_headerless",
        "the first of a batch gets no header",
        "",
        "end.min(self.stale_headers_until.max(self.first + 1))",
        "end.min(self.stale_headers_until)",
        Model("ahead"),
    ),
    plant(
        "headerless_of_any_lap",
        "the head stands for a headerless message of another lap",
        "",
        "!is_single && !is_within_a_lap(memory.load(HEAD, Relaxed), position, slots.capacity())",
        "!is_single && memory.load(HEAD, Relaxed) <= position",
        Model("impossible_head"),
    ),
    plant(
        "aborted_header_believed",
        "a header of an aborted batch is taken for a published message",
        "",
        "if sequence.is_batched() { capacity } else { 0 }",
        "0",
        Simulation,
    ),
    plant(
        "late_head_unknown",
        "of a slot that was reused by headerless messages the head is not asked",
        "",
        "by_slot.max(by_head)",
        "by_slot",
        Model("batched_claimed"),
    ),
    plant(
        "copy_unchecked",
        "an observer believes its copy without a look at `claimed`",
        "",
        "claimed.saturating_sub(self.geometry.capacity()) > position",
        "false",
        Model("observer"),
    ),
    plant(
        "ahead_released_by_cursor",
        "a consumer that reads ahead releases what it has read",
        "",
        "consumer.release(position - consumer.tail);",
        "consumer.release(self.cursor - consumer.tail);",
        Model("read_ahead"),
    ),
    plant(
        "ahead_forgotten",
        "a consumer forgets with its cursor how far the cursor knew the head",
        "",
        "consumer.cached_head < self.cached_head",
        "consumer.cached_head < position && { consumer.cached_head = position; false }",
        Model("read_ahead_batched"),
    ),
    plant(
        "latest_counted",
        "the newest message is the last that the head counts",
        "",
        "head + u64::from(sequence == Sequence::published(head))",
        "head",
        Model("latest"),
    ),
    plant(
        "latest_of_any_head",
        "the newest message is looked for below a head that cannot be",
        "",
        r#"Damage::bound("head", end, first, claimed.min(POSITION_MAX))?;"#,
        "",
        Model("impossible_head"),
    ),
    plant(
        "observer_beyond_head",
        "an observer that was lapped goes on beyond the head",
        "",
        "(oldest + capacity / 8).min(head)",
        "(oldest + capacity / 8)",
        Model("lapped_by_claim"),
    ),
    plant(
        "drained_by_old_look",
        "a reader looks whether the stream is closed after it looked for a message",
        "",
        r"if !is_closed(&self.memory) {
            return Ok(false);
        }
        let is_end = self.upstreams.is_none() || self.is_at_end();
        Ok(self.poll_many()? == Ready::Empty && is_end)",
        r"let nothing = self.poll_many()? == Ready::Empty;
        let is_end = self.upstreams.is_none() || self.is_at_end();
        Ok(is_closed(&self.memory) && nothing && is_end)",
        Model("close"),
    ),
    plant(
        "eviction_untold",
        "an evictable reader that finds nothing does not ask whether it was evicted",
        "",
        "let evicted = Tail(self.memory.load(tail, Relaxed)) == Tail::EVICTED;",
        "let evicted = false;",
        Model("eviction"),
    ),
    plant(
        "join_stores_twice",
        "joining stores the tail twice, and brings an evicted one back",
        "",
        "memory.compare_exchange(tail, lowest.0, to, Relaxed, Relaxed)",
        "{ memory.store(tail, to, Relaxed); Ok::<u64, u64>(to) }",
        Model("join_evicted"),
    ),
    plant(
        "join_guesses",
        "the first tail of a joiner is a guess at the lowest safe position",
        "",
        "let lowest = Tail::at(geometry.first_position(), evictable);",
        "let lowest = Tail::at(geometry.earliest(memory.load(LIMIT, Relaxed)), evictable);",
        Model("join_falling"),
    ),
    plant(
        "start_unchecked",
        "a position below what may be overwritten is granted",
        "table.rs",
        "requested < earliest",
        "false",
        Model("join_at"),
    ),
    plant(
        "start_beyond_head",
        "a position beyond the head is granted",
        "",
        "!is_reached(memory, geometry, requested, head)",
        "false",
        Model("headerless_join"),
    ),
    plant(
        "resume_by_head",
        "a durable reader that comes back goes by the head alone, which may lag",
        "",
        "position <= POSITION_MAX && is_published(memory, geometry.slots(), position - 1)",
        "false",
        Model("resume"),
    ),
    plant(
        "reap_the_living",
        "a consumer's entry is cleared without its right",
        "protocol/entry.rs",
        r"if !rights.seize(right) {
        return false;
    }",
        "{}",
        Model("reap"),
    ),
    plant(
        "reap_the_durable",
        "the entry of a durable consumer is cleared",
        "protocol/entry.rs",
        "let reaped = !flags(memory, geometry, entry).is_kept();",
        "let reaped = true;",
        Model("leaver_killed"),
    ),
    plant(
        "left_after_gating",
        "an entry stops gating before it says where its owner left",
        "tenure.rs",
        r"if let Some(position) = Tail(memory.load(entry.tail(), Relaxed)).position() {
            memory.store(entry.left_at(), position, Relaxed);
        }
        memory.store(entry.tail(), Tail::NONE.0, Release);",
        r"let position = Tail(memory.load(entry.tail(), Relaxed)).position();
        memory.store(entry.tail(), Tail::NONE.0, Release);
        if let Some(position) = position {
            memory.store(entry.left_at(), position, Relaxed);
        }",
        Model("owner_killed"),
    ),
    plant(
        "not_left_too_early",
        "the mark that no owner left comes before the generation that it is of",
        "tenure.rs",
        r"memory.store(entry.generation(), generation, Relaxed);
        memory.store(entry.left_at(), gating::NOT_LEFT, Release);",
        r"memory.store(entry.left_at(), gating::NOT_LEFT, Release);
        memory.store(entry.generation(), generation, Relaxed);",
        Model("owner_killed"),
    ),
    plant(
        "counted_late",
        "an entry gates before it is counted",
        "table.rs",
        r"count_entry(memory, entry.used(), entry.number());
        memory.store(tail, lowest.0, Relaxed);",
        r"memory.store(tail, lowest.0, Relaxed);
        count_entry(memory, entry.used(), entry.number());",
        Model("used"),
    ),
    plant(
        "gate_by_word",
        "nor for the producer",
        "",
        "stored.max(geometry.earliest(head)).min(head)",
        "stored.min(head)",
        Model("floor_unmoved"),
    ),
    plant(
        "gate_beyond_head",
        "a floor beyond the head grants room that is not there",
        "",
        "stored.max(geometry.earliest(head)).min(head)",
        "stored.max(geometry.earliest(head))",
        Nothing("only a damaged floor lies beyond the head; what a damaged file does is fuzzed"),
    ),
    plant(
        "floor_by_word",
        "what was overwritten is not settled unless its word says so",
        "",
        "position >= end || !self.is_reused(position)",
        "true",
        Model("floor_uncounted"),
    ),
    plant(
        "walk_from_floor",
        "the walk up the settled words begins where they were overwritten",
        "",
        "self.stored_floor()?.max(head(&self.memory).saturating_sub(capacity))",
        "self.stored_floor()?",
        Model("floor_unmoved"),
    ),
    plant(
        "gate_sees_no_settled",
        "the producer stops at the stored floor",
        "",
        "Some(runs::settled_end(memory, geometry, number, from, head))",
        "Some(from)",
        Model("floor_unmoved"),
    ),
    plant(
        "returned_unowned",
        "a dead worker's leases are returned, even those that another worker has taken over",
        "",
        "snapshot.word.state() == State::Leased && snapshot.word.owner() == owner",
        "snapshot.word.state() == State::Leased",
        Simulation,
    ),
    plant(
        "pin_of_the_living",
        "a living worker's pin is taken away",
        "",
        r"if !rights.seize(Right::Worker(entry)) {
        return false;
    }",
        "{}",
        Model("unpin_dead"),
    ),
    plant(
        "worker_of_the_living",
        "a worker's entry is cleared without its right",
        "",
        "!is_taken(memory, geometry, entry) || !rights.seize(Right::Worker(entry))",
        "!is_taken(memory, geometry, entry)",
        Model("entry_reuse"),
    ),
    plant(
        "leases_of_the_first_group",
        "a dead worker's leases are returned in the first group, whichever it worked for",
        "members.rs",
        "let of = memory.load(word(worker::GROUP), Relaxed);",
        "let of = 1;",
        Model("two_groups"),
    ),
    plant(
        "proof_for_ever",
        "a consumer that was once proved alive is never asked for again",
        "",
        "now.0.wrapping_sub(at.0) < PROOF_MS",
        "true",
        Model("proof"),
    ),
    plant(
        "proof_of_another",
        "that one party lives is believed of another",
        "",
        "proved == who",
        "true",
        Model("proof"),
    ),
    plant(
        "floor_of_nobody",
        "the floor of a free group entry is left",
        "",
        "group.stored_floor().is_some()",
        "false",
        Test("slipring-tests", "files", "a_floor_of_a_free_entry"),
    ),
    plant(
        "hint_below_first",
        "a hint below the first position is believed",
        "",
        "position.max(self.geometry.first_position()).min(POSITION_MAX)",
        "position.min(POSITION_MAX)",
        Test("slipring-tests", "files", "below_the_first_position"),
    ),
    plant(
        "hint_only_raises",
        "a message that is handed back does not lower the hint",
        "",
        "seen > position",
        "false",
        Model("entry_reuse"),
    ),
    plant(
        "no_pin",
        "a claim stores no pin",
        "",
        "self.pin(snapshot.position);",
        "{}",
        Model("worker_leaves"),
    ),
    plant(
        "pin_unordered",
        "a pin that follows another has no order of its own",
        "",
        "self.memory().store(self.pin_word(), position, Release);",
        "self.memory().store(self.pin_word(), position, Relaxed);",
        Model("pin_moves"),
    ),
    plant(
        "pin_stays",
        "the pin of a claim that failed stays",
        "",
        r"self.unpin(snapshot.position);
            self.has_withdrawn.set(true);",
        "self.has_withdrawn.set(true);",
        Model("park_claims"),
    ),
    plant(
        "withdrawal_untold",
        "the pin of a claim that failed is taken away, and the producer is not woken",
        "",
        r"self.unpin(snapshot.position);
            self.has_withdrawn.set(true);",
        "self.unpin(snapshot.position);",
        Model("park_claims"),
    ),
    plant(
        "lease_of_another_lap",
        "a fresh word is leased, whichever lap's message its slot holds",
        "",
        "self.group.sequence_of_fresh(frontier) != frontier + 1",
        "self.group.sequence_of_fresh(frontier) <= frontier",
        Model("lap_headerless"),
    ),
    plant(
        "clock_not_doubted",
        "a deadline that cannot be is over at once, by a clock that was read too early",
        "",
        "eligibility.is_early(snapshot.word, now) && self.defer_suspect(snapshot, &mut look.suspect)",
        "false",
        Model("late_clock"),
    ),
    plant(
        "copy_of_a_dead_letter",
        "a copy of a dead-pending message is believed without a second look",
        "",
        "self.group.snapshot(position) == snapshot",
        "true",
        Model("dead_letter_copy"),
    ),
    plant(
        "settled_before_the_copy",
        "a dead-pending message is settled before the dead-letter ring has its copy",
        "",
        "let dead_pending = self.copy_dead_pending(position, now, buffer)?;",
        "let dead_pending = { let copied = self.copy_dead_pending(position, now, buffer)?; self.settle_dead_pending(copied, Count::DeadLettered); copied };",
        Model("dead_letter_killed"),
    ),
    plant(
        "limit_ignored",
        "more is in flight than is allowed",
        "",
        "look.found.limited || self.reaches_limit(position, look.now)",
        "false",
        Model("limit"),
    ),
    plant(
        "limit_ignored_next",
        "nor by the quick way",
        "",
        "self.reaches_limit(frontier, now)",
        "false",
        Model("limit"),
    ),
    plant(
        "backfill_uncounted",
        "what others lease below does not count for a worker that had seen it unleased",
        "",
        "self.add(group::BACKFILLED, 1);",
        "{}",
        Test("slipring-core", "steps", "what_others_lease_below_counts_for_a_worker_that_chooses"),
    ),
    plant(
        "backfill_forgotten",
        "a worker forgets that it left messages unleased below",
        "",
        "list.left_fresh = true;",
        "{}",
        Test("slipring-core", "steps", "what_others_lease_below_counts_for_a_worker_that_chooses"),
    ),
    plant(
        "sweep_from_the_floor",
        "a sweep that ends early does not go on where it ended",
        "",
        "let next_sweep = if is_cut { window.position() } else { 0 };",
        "let next_sweep = 0;",
        Test("slipring-core", "steps", "a_message_that_falls_due_is_found_within_a_pass"),
    ),
    plant(
        "passed_by_a_higher_frontier",
        "a worker believes what it had passed although the frontier was lowered",
        "",
        "frontier < self.passed.get().from",
        "false",
        Nothing("a sweep finds the message"),
    ),
    plant(
        "returned_passed",
        "a message that was handed back is skipped",
        "",
        "self.group.load(group::RETURNED) <= frontier",
        "false",
        Nothing("a hint: the search that follows looks from the lowest that was handed back"),
    ),
    plant(
        "frontier_not_lowered",
        "where new messages begin is not lowered by a worker that skips one",
        "",
        "left < frontier",
        "false",
        Nothing("a hint: a sweep begins at the floor and finds what lies below it"),
    ),
    plant(
        "ticket_after_announcement",
        "a sleeper takes its ticket after it has announced itself",
        "",
        r"let ticket = self.observe(memory);
        memory.store(self.asleep(), 1, Relaxed);
        ticket",
        "memory.store(self.asleep(), 1, Relaxed);
        self.observe(memory)",
        Model("park_taken"),
    ),
    plant(
        "room_counted_once",
        "a waker that lost the race for the wake word goes away",
        "",
        r"while let Err(now) = exchange(seen, seen.wrapping_add(1)) {
                    seen = now;
                }",
        "let _ = (exchange(seen, seen.wrapping_add(1)), &mut seen);",
        Model("park_slow_waker"),
    ),
];

//! Reading ahead of the release: a cursor before the tail of a gating consumer.
//!
//! The tail alone gates. The cursor is the reader's own: no other party sees it, and a reader that
//! dies begins again at its tail. So the release is that of a plain consumer (`FREE`), and the only
//! difference is that it comes later, for messages that were read before.
//!
//! ```text
//!   released        read, and still gated       published        free
//! ───────────────┬────────────────────────────┬───────────────┬─────────
//!               tail                       cursor            head      tail + capacity
//! ```

use super::Damage;
use super::follow::Upstream;
use super::message::{is_published, message, words};
use super::read::{Consumer, is_closed};
use crate::format::producer_page::{HEAD, HEADERS_UNTIL};
use crate::format::{Message, Run, Sequence, Slots};
use crate::memory::{Futex, Memory};
use core::ops::Range;
use core::sync::atomic::Ordering::{Acquire, Relaxed};

/// A consumer's cursor before its tail.
///
/// # Invariants
///
/// tail ≤ cursor ≤ `cached_head` ≤ tail + capacity. Positions from the tail up to `cached_head` are
/// published, were acquired, and stay untouched until the tail passes them; those in
/// `cached_headers_until..cached_head` are headerless.
#[derive(Debug)]
pub struct Ahead<'c, M> {
    consumer: &'c mut Consumer<M>,
    cursor: u64,
    cached_head: u64,
    cached_headers_until: u64,
}

impl<M: Memory> Consumer<M> {
    /// A cursor that begins at the tail.
    pub fn ahead(&mut self) -> Ahead<'_, M> {
        let (cursor, cached_head, cached_headers_until) =
            (self.tail, self.cached_head, self.cached_headers_until);
        Ahead { consumer: self, cursor, cached_head, cached_headers_until }
    }
}

impl<M: Memory> Ahead<'_, M> {
    /// The memory that is read.
    pub fn memory(&self) -> &M {
        &self.consumer.memory
    }
    /// The next position to read.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }
    /// The consumer's tail: the messages below it are released.
    pub fn tail(&self) -> u64 {
        self.consumer.tail
    }

    /// One past the last message that is known to be published.
    pub fn head(&self) -> u64 {
        self.cached_head
    }

    /// True if every block of the ring holds a message that was read and is not released: until one
    /// is, no other comes.
    pub fn is_full(&self) -> bool {
        self.cursor == self.end()
    }

    /// No honest head lies beyond: the tail gates.
    fn end(&self) -> u64 {
        self.consumer.tail + self.consumer.capacity
    }

    /// Number of messages from the cursor on that are known to be published.
    fn known(&self) -> u64 {
        self.cached_head - self.cursor
    }

    /// How many messages may be read from the cursor on, by the head alone. A single message that a
    /// dead producer did not live to count is found by [`poll_many`](Self::poll_many).
    #[inline]
    pub fn poll_head(&mut self) -> Result<u64, Damage> {
        if self.known() == 0 {
            self.look_at_head()?;
        }
        Ok(self.known())
    }

    fn look_at_head(&mut self) -> Result<(), Damage> {
        if self.consumer.is_follower() {
            if let Some(readable) = self.consumer.readable_from(self.cached_head)? {
                (self.cached_head, self.cached_headers_until) = (readable.end, readable.headers_until);
            }
            return Ok(());
        }
        let memory = &self.consumer.memory;
        let head = Damage::bound("head", memory.load(HEAD, Relaxed), 0, self.end())?;
        if head > self.cached_head {
            memory.fence(Acquire); // HEAD
            self.cached_headers_until = memory.load(HEADERS_UNTIL, Relaxed);
            self.cached_head = head;
        }
        Ok(())
    }

    /// As [`poll_head`](Self::poll_head), and then by the slot: finds every published message.
    pub fn poll_many(&mut self) -> Result<u64, Damage> {
        if self.poll_head()? > 0 || self.is_full() || self.consumer.is_follower() {
            return Ok(self.known());
        }
        let (memory, cursor) = (&self.consumer.memory, self.cursor);
        let slot = self.consumer.slots.at(cursor);
        let sequence = Sequence(memory.load(slot.sequence(), Relaxed));
        Damage::bound("sequence word", sequence.number(), 0, cursor + 1)?;
        if sequence == Sequence::published(cursor) {
            memory.fence(Acquire); // PUB
            self.cached_head = cursor + 1;
            self.cached_headers_until = cursor + 1;
        }
        Ok(self.known())
    }

    /// True if there is a message, or none will come, as [`Consumer::has_news`].
    #[cold]
    pub fn has_news(&mut self) -> Result<bool, Damage> {
        Ok(self.poll_many()? > 0 || self.is_drained()?)
    }

    /// True if the stream is closed and no message is left to read, as [`Consumer::is_drained`].
    #[cold]
    pub fn is_drained(&mut self) -> Result<bool, Damage> {
        if !is_closed(&self.consumer.memory) {
            return Ok(false);
        }
        // A follower's stream ends where the producer's does, not where its upstreams are.
        let is_end = !self.consumer.is_follower() || self.is_at_end();
        Ok(self.poll_many()? == 0 && is_end)
    }

    /// True if all that is published was read, also of what upstreams hold back.
    pub fn is_at_end(&self) -> bool {
        !is_published(&self.consumer.memory, self.consumer.slots, self.cursor)
    }

    /// As [`Consumer::behind`], as of the last look for a message.
    pub fn behind(&self) -> Option<&Upstream<M>> {
        self.consumer.behind()
    }

    /// As [`Consumer::lost`], of what the cursor has read.
    pub fn lost(&self) -> Option<&Upstream<M>> {
        self.behind().filter(|upstream| upstream.is_gone() && upstream.passed() <= self.cursor)
    }

    /// As [`Consumer::upstreams`].
    pub fn upstreams(&self) -> &[Upstream<M>] {
        self.consumer.upstreams()
    }

    /// The next `n` messages, at most as many as the last poll announced. The cursor stays.
    pub fn window(&self, n: u64) -> Window {
        let count = n.min(self.known());
        let headers = self.cached_headers_until.saturating_sub(self.cursor).min(count);
        Window { slots: self.consumer.slots, first: self.cursor, count, headers }
    }

    /// Moves the cursor behind a window that [`window`](Self::window) has just returned, or a part
    /// of it.
    pub fn pass(&mut self, window: &Window) {
        debug_assert!(window.first == self.cursor && window.count <= self.known());
        self.cursor = window.first + window.count;
    }

    /// Moves the cursor back or forth. None if a message is not published yet that it would pass,
    /// or if the position is below the tail: the cursor stays.
    pub fn seek(&mut self, position: u64) -> Result<bool, Damage> {
        if position > self.cached_head {
            self.look_at_head()?;
        }
        let reachable = (self.consumer.tail..=self.cached_head).contains(&position);
        if reachable {
            self.cursor = position;
        }
        Ok(reachable)
    }

    /// Gives the messages below `position`, which is at most the cursor, back to the producer.
    ///
    /// Example, tail 4, cursor 9, head 12: after the release up to 6, the tail is 6, and the
    /// producer may write position 6 + capacity - 1, but not over 6, 7 and 8.
    pub fn release_to(&mut self, position: u64) {
        debug_assert!(position <= self.cursor);
        let consumer = &mut *self.consumer;
        if position <= consumer.tail {
            return;
        }
        // The consumer knows what its cursor found. Behind `position` alone it might stand inside a
        // batch, where no slot announces a message.
        if consumer.cached_head < self.cached_head {
            consumer.cached_head = self.cached_head;
            consumer.cached_headers_until = self.cached_headers_until;
        }
        consumer.release(position - consumer.tail);
    }

    /// As [`Consumer::wake_behind`].
    pub fn wake_behind(&self)
    where
        M: Futex,
    {
        self.consumer.wake_behind();
    }
}

/// Messages one after another that a cursor has found. They stay untouched until the tail passes
/// them.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    slots: Slots,
    first: u64,
    count: u64,
    /// The messages from this index on are headerless: their slots need not be read.
    headers: u64,
}

impl Window {
    /// The positions of the messages.
    pub fn positions(&self) -> Range<u64> {
        self.first..self.first + self.count
    }
    /// Number of messages.
    #[inline(always)]
    pub fn count(&self) -> u64 {
        self.count
    }
    /// Messages whose slots must be looked at. Those behind are headerless.
    #[inline(always)]
    pub fn headers(&self) -> u64 {
        self.headers
    }
    /// The first `count` messages of these.
    #[must_use]
    pub fn cut(self, count: u64) -> Window {
        let count = count.min(self.count);
        Window { count, headers: self.headers.min(count), ..self }
    }

    /// The message with this index.
    #[inline(always)]
    pub fn message<M: Memory>(&self, memory: &M, index: u64) -> Message {
        let position = self.first + index;
        let slot = self.slots.at(position);
        if index < self.headers {
            message(self.slots, slot, position, words(memory, slot))
        } else {
            Message { meta: self.slots.full(), block: self.slots.packed(slot) }
        }
    }

    /// The blocks of the headerless messages from this index on that adjoin each other.
    #[inline(always)]
    pub fn headerless_run(&self, index: u64) -> Run {
        self.slots.packed_run(self.first + index, self.count - index)
    }
}

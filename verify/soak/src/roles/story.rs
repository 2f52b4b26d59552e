//! Checks the broadcast stream of a reader: each position once, in order, whole, and by the right
//! publisher.

use crate::board::{Entry, Term};
use crate::cast::{Cast, Wrong};
use crate::message::{Stream, verify};
use std::sync::atomic::Ordering::SeqCst;

pub(crate) struct Story<'c> {
    cast: &'c Cast,
    next: u64,
    /// The publisher of the message before, if the reader read it.
    publisher: Option<u64>,
    /// Read and not yet counted.
    uncounted: u64,
}

impl<'c> Story<'c> {
    pub(crate) fn from(cast: &'c Cast, next: u64) -> Story<'c> {
        Story { cast, next, publisher: None, uncounted: 0 }
    }

    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The reader was told that it missed so many.
    pub(crate) fn missed(&mut self, missed: u64) {
        self.next += missed;
        self.publisher = None;
        self.cast.count(Entry::Missed, missed);
    }

    #[inline]
    pub(crate) fn read(&mut self, position: u64, kind: u32, bytes: &[u8]) {
        if position != self.next {
            let wrong = if position > self.next { Wrong::Lost } else { Wrong::Doubled };
            self.cast.fail(wrong, format_args!("got position {position} instead of {}", self.next));
        }
        let Some(publisher) = verify(bytes, kind, Stream::Broadcast, position) else {
            self.cast.fail(Wrong::Corrupt, format_args!("at position {position}, kind {kind}: {bytes:x?}"));
        };
        if self.publisher != Some(publisher) {
            self.turn_to(publisher);
        }
        self.next += 1;
        self.uncounted += 1;
    }

    /// A publisher begins where its predecessor ended. Messages that the predecessor wrote and did
    /// not publish would show here.
    #[cold]
    fn turn_to(&mut self, publisher: u64) {
        let board = &self.cast.board;
        let first = |publisher| board.first_of(Stream::Broadcast, publisher);
        let position = self.next;
        let sound = match self.publisher {
            Some(before) => {
                before < publisher && (before + 1..=publisher).all(|turn| first(turn) == Some(position))
            }
            None => {
                first(publisher).is_some_and(|first| first <= position)
                    && (first(publisher + 1).is_none_or(|next| position < next))
            }
        };
        if !sound {
            let before = self.publisher.map_or(String::from("nobody knows"), |before| before.to_string());
            let ends = |term| board.term(Stream::Broadcast, publisher, term).load(SeqCst);
            self.cast.fail(
                Wrong::Corrupt,
                format_args!(
                    "position {position} is by publisher {publisher}, after {before}; it began at {:?}, published up to {}, the next began at {:?}",
                    first(publisher),
                    ends(Term::Published),
                    first(publisher + 1),
                ),
            );
        }
        self.publisher = Some(publisher);
    }

    /// Counts what was read.
    pub(crate) fn count(&mut self) {
        self.cast.count(Entry::Messages, std::mem::take(&mut self.uncounted));
    }

    /// The stream is closed and drained.
    pub(crate) fn ended(&mut self) {
        self.count();
        self.cast.note(Entry::Drained, self.next);
    }
}

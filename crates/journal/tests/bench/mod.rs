//! A writer in a directory of its own.

use crate::messages::message;
use kit::TempDir;
use slipring::RingId;
use slipring_journal::scan::Place;
use slipring_journal::{Home, Method, Sizes, Writer};

pub(crate) struct Bench {
    pub(crate) home: Home,
    pub(crate) writer: Writer,
    offset: u64,
    sizes: Sizes,
    _place: TempDir,
}

impl Bench {
    pub(crate) fn new(first: u64, segment: u64) -> Bench {
        Bench::at(TempDir::new(), first, segment)
    }

    pub(crate) fn at(place: TempDir, first: u64, segment: u64) -> Bench {
        let home = Home::new(place.as_ref(), RingId::from_bytes([7; 16]));
        std::fs::create_dir(home.path()).unwrap();
        let sizes = Sizes::new(97, segment);
        let writer = Writer::new(&home, sizes, Method::Synchronous, first, 0, false).unwrap();
        Bench { home, writer, offset: 4096, sizes, _place: place }
    }

    /// Commits so many messages, and returns the place behind them, if they were not the first of a
    /// segment.
    pub(crate) fn commit(&mut self, messages: u64) -> Place {
        let from = self.writer.next();
        let mut bytes = 64;
        for position in from..from + messages {
            let message = message(position);
            bytes += 8 + message.len() as u64;
            self.writer.push(u32::try_from(position % 5).unwrap(), &message);
        }
        let next = self.writer.commit(1, false).unwrap();
        self.offset += bytes.next_multiple_of(4096);
        Place { offset: self.offset, next }
    }

    /// The bytes of the segment.
    pub(crate) fn bytes(&self, first: u64) -> Vec<u8> {
        std::fs::read(self.home.segment(first)).unwrap()
    }

    /// The segment becomes the spare one, and the next commit begins in it.
    pub(crate) fn recycle(&mut self, first: u64) {
        std::fs::rename(self.home.segment(first), self.home.path().join("spare")).unwrap();
        let next = self.writer.next();
        self.writer = Writer::new(&self.home, self.sizes, Method::Synchronous, next, 0, false).unwrap();
    }
}

//! Everyday life beside the victim: publishing, reading, settling.

use super::{PATIENCE, Reading, World};
use crate::message::{SURVIVOR, message};
use slipring::{Holder, Producer, RecvError, SendError};
use std::time::{Duration, Instant};

impl World {
    /// Every party reads and settles. True if there was any message.
    pub(crate) fn drain(&mut self) -> bool {
        let mut any = false;
        let mut readings = std::mem::take(&mut self.readings);
        for Reading { consumer, next, who } in &mut readings {
            while let Some(message) = received(consumer.try_recv(), who) {
                assert_eq!(message.position(), *next, "{who}: lost or doubled");
                assert_eq!(&*message, self.expected(*next), "{who}: position {next}");
                drop(message);
                *next += 1;
                any = true;
            }
        }
        self.readings = readings;
        if let Some(mut sleeper) = self.sleeper.take() {
            while let Ok((position, bytes)) = sleeper.received.try_recv() {
                assert_eq!(position, sleeper.next, "sleeper: lost or doubled");
                assert_eq!(bytes, self.expected(position), "sleeper: position {position}");
                sleeper.next += 1;
                any = true;
            }
            self.sleeper = Some(sleeper);
        }
        if let Some(mut evictable) = self.evictable.take() {
            loop {
                match evictable.try_recv() {
                    Ok(message) => assert_eq!(&*message, self.expected(message.position()), "evictable"),
                    Err(RecvError::Lagged { missed }) => assert!(missed > 0, "evicted, and missed nothing"),
                    Err(RecvError::Empty | RecvError::Closed) => break,
                    Err(error) => panic!("evictable: {error}"),
                }
                any = true;
            }
            self.evictable = Some(evictable);
        }
        if let Some(worker) = self.worker.take() {
            while let Some(delivery) = received(worker.try_recv(), "worker") {
                let (position, attempt) = (delivery.position(), delivery.attempt());
                assert_eq!(&*delivery, self.expected(position), "worker: position {position}");
                assert!(!self.settled.contains(&position), "position {position} was settled, and came again");
                let awaited = self.awaited.remove(&position);
                if self.strict {
                    assert_eq!(
                        Some(attempt),
                        awaited,
                        "the attempt at position {position}, and the expected one"
                    );
                }
                delivery.ack().unwrap_or_else(|error| panic!("worker: {error}"));
                self.settled.insert(position);
                any = true;
            }
            self.worker = Some(worker);
        }
        if let Some(second) = self.second.take() {
            while let Some(delivery) = received(second.try_recv(), "second group") {
                assert_eq!(&*delivery, self.expected(delivery.position()), "second group");
                delivery.ack().unwrap_or_else(|error| panic!("second group: {error}"));
                any = true;
            }
            self.second = Some(second);
        }
        any
    }

    /// The producer publishes one message, while the readers make room.
    pub(super) fn send(&mut self, producer: &mut Producer) -> Result<(), Box<Holder>> {
        let position = producer.head();
        let start = Instant::now();
        let bytes = message(position, SURVIVOR);
        let patience = if self.strict { PATIENCE } else { Duration::from_millis(200) };
        loop {
            match producer.try_send(&bytes) {
                Ok(at) => {
                    assert_eq!((at, position), (self.head(), self.head()), "the producer skipped a position");
                    self.published.push((position, SURVIVOR));
                    if self.shape.group {
                        self.awaited.insert(position, 1);
                    }
                    return Ok(());
                }
                Err(SendError::Full { holder, .. }) => {
                    if !self.drain() && start.elapsed() > patience {
                        return Err(holder);
                    }
                }
                Err(error) => panic!("producer: {error}"),
            }
        }
    }
}

/// The received message, if there was one.
fn received<T>(result: Result<T, RecvError>, who: &str) -> Option<T> {
    match result {
        Ok(received) => Some(received),
        Err(RecvError::Empty | RecvError::Closed) => None,
        Err(error) => panic!("{who}: {error}"),
    }
}

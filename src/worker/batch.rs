//! Several deliveries that a worker received at once.

use crate::worker::delivery::Delivery;
use std::collections::VecDeque;

/// Deliveries of one [`Worker::recv_batch`](crate::Worker::recv_batch), oldest first; an iterator
/// that hands them out.
///
/// Dropping it gives the deliveries back that it has not handed out, as
/// [`Delivery::hand_back`] does: the worker has not tried them, so the attempt does not count. A
/// delivery that was handed out counts as failed when it is dropped, as any other.
///
/// ```
/// use slipring::{GroupSettings, Producer, RingOptions, Worker};
///
/// let ring = RingOptions::of::<u64>(64).group("g", GroupSettings::new()).create_in_memory()?;
/// Producer::<u64>::open(&ring)?.send_batch(&[1, 2, 3])?;
/// let worker = Worker::<u64>::join(&ring, "g")?;
/// for delivery in worker.recv_batch(32)? {
///     delivery.ack()?;
///     break; // 2 and 3 were not tried
/// }
/// let attempts: Vec<u32> = worker.recv_batch(32)?.map(|delivery| delivery.attempt()).collect();
/// assert_eq!(attempts, [1, 1]);
/// # Ok::<(), slipring::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping a batch gives its deliveries back"]
pub struct DeliveryBatch<'w, T: ?Sized = [u8]>(VecDeque<Delivery<'w, T>>);

impl<T: ?Sized> Default for DeliveryBatch<'_, T> {
    fn default() -> Self {
        DeliveryBatch(VecDeque::new())
    }
}

impl<'w, T: ?Sized> DeliveryBatch<'w, T> {
    /// Looks at the deliveries that it has not handed out.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery<'w, T>> {
        self.0.iter()
    }

    pub(super) fn push(&mut self, delivery: Delivery<'w, T>) {
        self.0.push_back(delivery);
    }
}

impl<'w, T: ?Sized> Iterator for DeliveryBatch<'w, T> {
    type Item = Delivery<'w, T>;

    fn next(&mut self) -> Option<Delivery<'w, T>> {
        self.0.pop_front()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl<T: ?Sized> ExactSizeIterator for DeliveryBatch<'_, T> {}

impl<T: ?Sized> Drop for DeliveryBatch<'_, T> {
    fn drop(&mut self) {
        for delivery in self.0.drain(..) {
            // A lease that was lost needs no giving back.
            let _ = delivery.hand_back();
        }
    }
}

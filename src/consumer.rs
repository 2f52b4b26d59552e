//! The gating consumer's handle: reads in place, in order, and holds the producer until it releases.

use crate::attach::{Attachment, Demands, Place, io_error};
use crate::error::{Error, RecvError};
use crate::evictable::EvictableConsumer;
use crate::id::RingId;
use crate::layout::{Block, EntryFlags, Geometry, Message, Run, Tail, entry, producer_page};
use crate::mapping::{Access, Region};
use crate::memory::{Liveness, Memory, Right};
use crate::os;
use crate::pages::Pages;
use crate::protocol::park::{Side, Ticket};
use crate::protocol::read::{Reader, Ready};
use crate::protocol::recorder::{self, EventKind};
use crate::protocol::table::{self, JoinError, Start};
use crate::ring::check_name;
use crate::typed::{self, TypedConsumer};
use crate::wait::{APART_MAX, CHECK_UP, LOOKS_OF_A_FLOW, NAP, RUN, Wait, Waiting, stand_back, wait_for};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How long somebody who only clears up may have an entry's lock.
const ENTRY_PATIENCE: Duration = Duration::from_millis(20);

/// How a consumer attaches.
#[derive(Clone, Debug, Default)]
pub struct ConsumerOptions {
    name: String,
    durable: bool,
    start: Start,
    wait: Wait,
    notice_dead_producer: bool,
    demands: Demands,
}

impl ConsumerOptions {
    /// The defaults: anonymous, ephemeral, from [`Start::Latest`], [`Wait::Park`].
    pub fn new() -> ConsumerOptions {
        ConsumerOptions::default()
    }

    /// A name of 1 to 64 bytes, which only one living consumer of a ring may have. Shown to whoever asks
    /// who holds the ring.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> ConsumerOptions {
        self.name = name.into();
        self
    }

    /// A durable consumer survives its process: under its name it resumes at the first message it had not
    /// released, and while it is away it keeps gating the producer. Needs a name. Default false.
    #[must_use]
    pub fn durable(mut self, durable: bool) -> ConsumerOptions {
        self.durable = durable;
        self
    }

    /// Where to begin; default [`Start::Latest`]. A durable consumer that resumes ignores it.
    #[must_use]
    pub fn start(mut self, start: Start) -> ConsumerOptions {
        self.start = start;
        self
    }

    /// How the waiting calls wait. Default [`Wait::Park`].
    #[must_use]
    pub fn wait(mut self, wait: Wait) -> ConsumerOptions {
        self.wait = wait;
        self
    }

    /// Waiting calls return [`RecvError::ProducerDead`] when nothing is left and the producer has died
    /// without closing. Default false: a successor is waited for. Noticed within 100 ms.
    #[must_use]
    pub fn notice_dead_producer(mut self, notice: bool) -> ConsumerOptions {
        self.notice_dead_producer = notice;
        self
    }

    /// Accepts a file that belongs to this user. By default only the process's own user and root are:
    /// whoever owns the file can change messages while they are read in place.
    #[must_use]
    pub fn trust_owner(mut self, user: u32) -> ConsumerOptions {
        self.demands.trusted_owner = Some(user);
        self
    }

    /// How this handle gets the pages that it maps. By default they come as they are touched.
    #[must_use]
    pub fn pages(mut self, pages: Pages) -> ConsumerOptions {
        self.demands.pages = pages;
        self
    }

    /// Insists on this ring, not one made later at the same path: positions saved elsewhere mean nothing
    /// in another ring.
    #[must_use]
    pub fn expect_ring(mut self, id: RingId) -> ConsumerOptions {
        self.demands.ring_id = Some(id);
        self
    }

    /// Insists on the dead-letter ring of this ring. Any other is refused, and not touched.
    pub(crate) fn dead_letters_of(mut self, ring: RingId) -> ConsumerOptions {
        self.demands.dead_of = Some(ring);
        self
    }

    /// Attaches. The producer goes on at full speed meanwhile; from the returned position on, nothing is
    /// lost to this consumer.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] if it cannot begin where it shall; [`Error::TableFull`]; [`Error::NameInUse`];
    /// [`Error::NameIsDurable`]; [`Error::BadName`]; [`Error::TableBusy`]; those of any attach
    /// ([`Ring::open`](crate::Ring::open)).
    pub fn attach(&self, place: impl Place) -> Result<Consumer, Error> {
        let seat = Seat::take(place, self, false)?;
        let geometry = *seat.attachment.geometry();
        let reader = Reader::new(seat.attachment.region.clone(), geometry, seat.entry, seat.tail);
        let apart = (geometry.capacity() / 16).clamp(2, APART_MAX);
        Ok(Consumer { reader, seat, flows: false, run: 0, apart })
    }

    /// Attaches for values of `T`.
    ///
    /// # Errors
    ///
    /// [`Error::TypeMismatch`] if the ring carries another type; those of [`attach`](Self::attach).
    pub fn attach_typed<T: typed::Message>(&self, place: impl Place) -> Result<TypedConsumer<T>, Error> {
        let options = ConsumerOptions { demands: self.demands.carrying::<T>(), ..self.clone() };
        options.attach(place).map(TypedConsumer::new)
    }

    /// Attaches as a consumer that may be evicted: when it is the one that holds the ring full, the
    /// producer goes on without it, and it is told what it missed. It reads by copy.
    ///
    /// # Errors
    ///
    /// [`Error::EvictableDurable`] with [`durable`](Self::durable); those of [`attach`](Self::attach).
    pub fn attach_evictable(&self, place: impl Place) -> Result<EvictableConsumer, Error> {
        if self.durable {
            return Err(Error::EvictableDurable { name: self.name.clone() });
        }
        Ok(EvictableConsumer::new(Seat::take(place, self, true)?))
    }
}

/// An entry of the consumer table, held by its lock. Leaves the table when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) attachment: Attachment,
    pub(crate) entry: u32,
    /// The tail it was taken with.
    pub(crate) tail: u64,
    pub(crate) wait: Wait,
    durable: bool,
    name: String,
    notice_dead_producer: bool,
}

impl Seat {
    fn take(place: impl Place, options: &ConsumerOptions, evictable: bool) -> Result<Seat, Error> {
        if options.durable || !options.name.is_empty() {
            check_name(&options.name)?;
        }
        let attachment = Attachment::open(place.source(), Access::Readers, options.demands)?;
        let (entry, tail) = attachment.with_table(|| {
            let (entry, resumes) = find_entry(&attachment, &options.name, options.durable)?;
            let path = || attachment.path().to_path_buf();
            let tail = if resumes {
                table::resume(&attachment.region, attachment.geometry(), entry)
                    .map_err(|source| Error::Damaged { path: path(), source })?
            } else {
                settle(&attachment, entry, options, evictable).map_err(|source| {
                    attachment.locks.release(Right::Consumer(entry));
                    match source {
                        JoinError::Damaged(source) => Error::Damaged { path: path(), source },
                        source => Error::Start { path: path(), source },
                    }
                })?
            };
            let (region, geometry) = (&attachment.region, attachment.geometry());
            let pid = u64::from(std::process::id());
            region.store(geometry.entry_word(entry, entry::PID), pid, Relaxed);
            region.store(geometry.entry_word(entry, entry::DETACHED_MS), 0, Relaxed);
            let kind = if resumes { EventKind::Resumed } else { EventKind::Attached };
            attachment.record(kind, tail, &options.name, pid);
            Ok((entry, tail))
        })?;
        Ok(Seat {
            attachment,
            entry,
            tail,
            wait: options.wait,
            durable: options.durable,
            name: options.name.clone(),
            notice_dead_producer: options.notice_dead_producer,
        })
    }

    /// An error if the ring went, or, if that was asked for, the producer.
    pub(crate) fn check_up(&self) -> Result<(), RecvError> {
        let attachment = &self.attachment;
        attachment.still_readable()?;
        // A ring that never had a producer waits for one.
        let load = |word| attachment.region.load(word, Relaxed);
        if self.notice_dead_producer
            && load(producer_page::EPOCH) != 0
            && !attachment.locks.is_held(Right::Producer)
        {
            return Err(RecvError::ProducerDead { pid: load(producer_page::PID) });
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.attachment.is_foreign() {
            return;
        }
        let (region, geometry) = (&self.attachment.region, *self.attachment.geometry());
        let tail = region.load(geometry.tail(self.entry), Relaxed);
        region.store(geometry.entry_word(self.entry, entry::DETACHED_MS), os::unix_now_ms(), Relaxed);
        table::leave(region, &geometry, self.entry, self.durable);
        self.attachment.locks.release(Right::Consumer(self.entry));
        if Side::Producer.is_asleep(region) {
            Side::Producer.wake(region);
        }
        let pid = u64::from(std::process::id());
        self.attachment.try_record(EventKind::Detached, tail, &self.name, pid);
    }
}

/// Takes the entry of this name, or a free one; true if it is a durable one's that comes back.
fn find_entry(attachment: &Attachment, name: &str, durable: bool) -> Result<(u32, bool), Error> {
    let (region, geometry, locks) = (&attachment.region, attachment.geometry(), &attachment.locks);
    let entries = u32::try_from(geometry.consumers()).unwrap_or(u32::MAX);
    let flags = |n| EntryFlags(region.load(geometry.flags(n), Relaxed));
    let name_of = |n| recorder::load_name(region, |at| geometry.entry_word(n, entry::NAME + at));
    let path = || attachment.path().to_path_buf();
    let seize = |n| {
        locks
            .try_seize(Right::Consumer(n))
            .map_err(|source| io_error(attachment.path(), "lock a consumer entry", source))
    };
    let namesake = (0..entries).find(|&n| !name.is_empty() && flags(n).is_taken() && name_of(n) == name);
    if let Some(n) = namesake {
        // A producer that looks whether the owner lives has the entry for a moment.
        let start = Instant::now();
        let mut seized = seize(n)?;
        while !seized && start.elapsed() < ENTRY_PATIENCE {
            std::thread::yield_now();
            seized = seize(n)?;
        }
        if !seized {
            let pid = region.load(geometry.entry_word(n, entry::PID), Relaxed);
            return Err(Error::NameInUse { path: path(), name: name.to_owned(), pid });
        }
        // Without a tail there is nothing to resume, whatever the flags say.
        let tail = Tail(region.load(geometry.tail(n), Relaxed));
        if !flags(n).is_durable() || tail.position().is_none() {
            return Ok((n, false));
        }
        if !durable {
            locks.release(Right::Consumer(n));
            return Err(Error::NameIsDurable { path: path(), name: name.to_owned() });
        }
        return Ok((n, true));
    }
    // Free entries first; then those whose owners died without a trace.
    for dead in [false, true] {
        for n in 0..entries {
            let flags = flags(n);
            if flags.is_taken() == dead && !flags.is_kept() && seize(n)? {
                return Ok((n, false));
            }
        }
    }
    let names: Vec<String> = (0..entries).map(name_of).map(|name| format!("{name:?}")).collect();
    Err(Error::TableFull { path: path(), entries: geometry.consumers(), names: names.join(", ") })
}

/// Fills a seized entry and joins.
///
/// Until the join is done the entry says "ephemeral": if this process dies in between, it is cleared
/// away, and no durable consumer is left with a tail that was never agreed upon.
fn settle(
    attachment: &Attachment,
    n: u32,
    options: &ConsumerOptions,
    evictable: bool,
) -> Result<u64, JoinError> {
    let (region, geometry): (&Region, &Geometry) = (&attachment.region, attachment.geometry());
    let word = |at| geometry.entry_word(n, at);
    table::leave(region, geometry, n, false);
    recorder::store_name(region, |at| word(entry::NAME + at), &options.name);
    region.store(word(entry::JOINED_MS), os::unix_now_ms(), Relaxed);
    region.store(word(entry::MISSED), 0, Relaxed);
    region.store(word(entry::DETACHED_MS), 0, Relaxed);
    region.store(word(entry::FLAGS), EntryFlags::taken(false, evictable).0, Relaxed);
    let joined = table::join(region, geometry, n, options.start, evictable);
    let flags = match joined {
        Ok(_) => EntryFlags::taken(options.durable, evictable),
        Err(_) => EntryFlags::FREE,
    };
    region.store(word(entry::FLAGS), flags.0, Relaxed);
    // The producer may have gone to sleep over the first, lowest tail.
    if Side::Producer.is_asleep(region) {
        Side::Producer.wake(region);
    }
    joined
}

/// A gating broadcast reader: sees every message from its start on, in order, in place.
///
/// The producer never overwrites what a consumer has not released: a consumer that stops reading stops
/// the producer when the ring is full, until it goes on, leaves, or dies. Dropping the handle leaves; a
/// durable consumer's position stays and goes on gating.
///
/// A consumer does not survive `fork`: touching it in the child is an access violation, by design.
#[derive(Debug)]
pub struct Consumer {
    reader: Reader<Region>,
    seat: Seat,
    /// Messages come faster than this consumer looks for them: it has caught up with a producer in full flow.
    flows: bool,
    /// Messages that came one after another, each found by its slot.
    run: u32,
    /// How many messages to be away from the producer, in a run.
    apart: u64,
}

impl Consumer {
    /// Attaches anonymously to the ring at `place`.
    pub fn attach(place: impl Place, start: Start) -> Result<Consumer, Error> {
        ConsumerOptions::new().start(start).attach(place)
    }

    /// How to attach otherwise.
    pub fn options() -> ConsumerOptions {
        ConsumerOptions::new()
    }

    /// The next position to read.
    pub fn position(&self) -> u64 {
        self.reader.tail()
    }

    /// The ring's identity, to be kept beside positions saved elsewhere.
    pub fn ring_id(&self) -> RingId {
        self.seat.attachment.header.ring_id
    }

    // These are inlined always: a message that is moved through memory on its way to the caller costs three times as much.

    /// The next message, if it is there.
    ///
    /// # Errors
    ///
    /// [`RecvError::Empty`]; [`RecvError::Closed`] once the stream is closed and drained.
    #[inline(always)]
    pub fn try_recv(&mut self) -> Result<Received<'_>, RecvError> {
        match self.reader.poll()? {
            Ready::Messages(_) => Ok(self.take()),
            Ready::Empty => Err(self.nothing()?),
        }
    }

    /// The next message; waits as long as it takes.
    ///
    /// # Errors
    ///
    /// [`RecvError::Closed`] once the stream is closed and drained; [`RecvError::Replaced`] when the file
    /// at the path is no longer this ring's; [`RecvError::ProducerDead`] if asked for. The last two are
    /// noticed within 100 ms.
    #[inline(always)]
    pub fn recv(&mut self) -> Result<Received<'_>, RecvError> {
        self.await_message(None)?;
        Ok(self.take())
    }

    /// As [`recv`](Self::recv), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    #[inline(always)]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Received<'_>, RecvError> {
        self.await_message(Some(timeout))?;
        Ok(self.take())
    }

    /// Up to `max` messages that are there, at least one. Errors as [`try_recv`](Self::try_recv).
    #[inline(always)]
    pub fn try_recv_batch(&mut self, max: usize) -> Result<Batch<'_>, RecvError> {
        match self.reader.poll_many()? {
            Ready::Messages(n) => Ok(self.take_batch(n, max)),
            Ready::Empty => Err(self.nothing()?),
        }
    }

    /// Up to `max` messages; waits for the first. Errors as [`recv`](Self::recv).
    #[inline(always)]
    pub fn recv_batch(&mut self, max: usize) -> Result<Batch<'_>, RecvError> {
        self.await_messages(None)?;
        self.try_recv_batch(max)
    }

    /// As [`recv_batch`](Self::recv_batch), waiting at most `timeout` for the first.
    ///
    /// # Errors
    ///
    /// Besides those of `recv`, [`RecvError::TimedOut`].
    #[inline(always)]
    pub fn recv_batch_timeout(&mut self, max: usize, timeout: Duration) -> Result<Batch<'_>, RecvError> {
        self.await_messages(Some(timeout))?;
        self.try_recv_batch(max)
    }

    #[inline(always)]
    fn take(&mut self) -> Received<'_> {
        Received {
            position: self.reader.tail(),
            message: self.reader.next_message(),
            unwinding: std::thread::panicking(),
            reader: &mut self.reader,
        }
    }

    #[inline(always)]
    fn take_batch(&mut self, available: u64, max: usize) -> Batch<'_> {
        Batch {
            count: available.min(max as u64),
            described: self.reader.described(),
            whole_blocks: false,
            handed_out: Cell::new(0),
            finished: Cell::new(0),
            unwinding: std::thread::panicking(),
            reader: &mut self.reader,
        }
    }

    #[cold]
    fn nothing(&mut self) -> Result<RecvError, RecvError> {
        self.seat.attachment.not_lost()?;
        // What it finds, the next call returns.
        self.reader.look_within_batch()?;
        Ok(if self.reader.is_drained()? { RecvError::Closed } else { RecvError::Empty })
    }

    #[inline(always)]
    fn await_message(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        if self.reader.known() > 0 {
            return Ok(());
        }
        if self.reader.poll()? == Ready::Empty {
            self.run = 0;
            return self.wait(timeout);
        }
        self.run += 1;
        if self.run >= RUN {
            self.keep_apart()?;
        }
        Ok(())
    }

    /// In a stream that flows: learns how many messages there are, so that they are read without a look at each. If they are
    /// few, this consumer reads right behind the producer, and stands back until there are more.
    #[cold]
    fn keep_apart(&mut self) -> Result<(), RecvError> {
        self.reader.look_at_head()?;
        if self.reader.known() < self.apart {
            stand_back();
            self.reader.look_at_head()?;
        }
        if self.reader.known() < self.apart {
            self.run = 0;
        }
        Ok(())
    }

    #[inline(always)]
    fn await_messages(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        if self.reader.poll_head()? == Ready::Empty {
            let how = self.seat.wait;
            wait_for(&mut Several(self), how, timeout)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<(), RecvError> {
        if self.flows && self.came_meanwhile()? {
            return Ok(());
        }
        let how = self.seat.wait;
        let looks = wait_for(self, how, timeout)?;
        self.flows = looks <= LOOKS_OF_A_FLOW;
        Ok(())
    }

    /// Stands back, as who has caught up with a stream that flows does, then looks.
    #[cold]
    fn came_meanwhile(&mut self) -> Result<bool, RecvError> {
        stand_back();
        self.flows = match self.reader.poll()? {
            Ready::Empty => false,
            Ready::Messages(n) => n > 1 || self.reader.is_filled_ahead(1),
        };
        self.look()
    }

    /// One past the last position that the producer had counted a moment ago.
    pub(crate) fn published(&self) -> u64 {
        self.seat.attachment.region.load(producer_page::HEAD, Relaxed)
    }

    /// For a selector: announces a sleeper on this ring.
    pub(crate) fn announce(&self) -> (Ticket, *const u32) {
        let region = &self.seat.attachment.region;
        let ticket = Side::Readers.announce(region);
        (ticket, region.futex_address(Side::Readers.word()))
    }
}

impl Waiting for Consumer {
    type Error = RecvError;

    #[inline(always)]
    fn look(&mut self) -> Result<bool, RecvError> {
        Ok(self.reader.poll()? != Ready::Empty)
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        // What it finds, the next look finds, too.
        let is_empty = self.reader.poll_many()? == Ready::Empty;
        if is_empty && self.reader.is_drained()? { Err(RecvError::Closed) } else { Ok(()) }
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        self.seat.check_up().or_else(|error| if self.look()? { Ok(()) } else { Err(error) })
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        let ticket = Side::Readers.announce(&self.seat.attachment.region);
        if self.reader.poll_many()? == Ready::Empty && !self.reader.is_drained()? {
            let bound = if os::membarrier_works() { CHECK_UP } else { NAP };
            Side::Readers.sleep(&self.seat.attachment.region, ticket, at_most.min(bound));
        }
        Ok(())
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        RecvError::TimedOut(waited)
    }
}

/// A consumer that waits for as many messages as there will be: it looks at the head, and now and then at the slot.
///
/// Whoever looked at both each time would take two lines away from the producer for every batch.
struct Several<'a>(&'a mut Consumer);

impl Waiting for Several<'_> {
    type Error = RecvError;

    #[inline(always)]
    fn look(&mut self) -> Result<bool, RecvError> {
        Ok(self.0.reader.poll_head()? != Ready::Empty)
    }

    fn glance(&mut self) -> Result<(), RecvError> {
        self.0.glance()
    }

    fn check_up(&mut self) -> Result<(), RecvError> {
        self.0.check_up()
    }

    fn sleep(&mut self, at_most: Duration) -> Result<(), RecvError> {
        self.0.sleep(at_most)
    }

    fn timed_out(&mut self, waited: Duration) -> RecvError {
        self.0.timed_out(waited)
    }
}

/// A message, in place. Dereferences to its bytes.
///
/// Dropping it releases the message to the producer, unless the thread is panicking: a panic is not an
/// acknowledgement, and the message is received again. Forgetting it only means that it will be received
/// again, too.
#[derive(Debug)]
pub struct Received<'a> {
    reader: &'a mut Reader<Region>,
    position: u64,
    message: Message,
    /// The thread was unwinding before: dropping this guard says nothing of the message then.
    unwinding: bool,
}

impl Received<'_> {
    /// The message's position.
    #[inline]
    pub fn position(&self) -> u64 {
        self.position
    }
    /// What the producer said it is; 0 by default.
    #[inline]
    pub fn kind(&self) -> u32 {
        self.message.meta.kind()
    }
    /// Gives the message up without releasing it: the next receive returns it again.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl std::ops::Deref for Received<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        bytes_of(self.reader, self.message.block, self.message.meta.len())
    }
}

/// A message that the reader was told it may read, and has not released.
#[inline(always)]
fn bytes_of(reader: &Reader<Region>, block: Block, len: usize) -> &[u8] {
    // SAFETY: the message's position was acquired and is not released while the guard that calls this lives: the
    // tail gates the producer. The block is the reader's.
    let block = unsafe { reader.memory().read_block(block) };
    // SAFETY: as above. The length is cut to the block.
    unsafe { block.bytes(len) }
}

impl Drop for Received<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.unwinding || !std::thread::panicking() {
            release(self.reader, 1);
        }
    }
}

#[inline(always)]
fn release(reader: &mut Reader<Region>, n: u64) {
    reader.release(n);
    if reader.producer_asleep() {
        reader.wake_producer();
    }
}

/// Several messages, in place. Iterate over it by reference.
///
/// Dropping it releases every message that an iterator has handed out; those that were not looked at stay
/// and are received again. If the thread is panicking, the last one handed out stays too: a batch releases
/// what was finished.
#[derive(Debug)]
pub struct Batch<'a> {
    reader: &'a mut Reader<Region>,
    count: u64,
    /// Slots of the messages behind so many need not be looked at.
    described: u64,
    /// Lengths do not count, all messages are a block long.
    whole_blocks: bool,
    handed_out: Cell<u64>,
    /// The same without what was handed out last, which nobody is known to have finished.
    finished: Cell<u64>,
    /// The thread was unwinding before the batch was taken.
    unwinding: bool,
}

/// One message of a [`Batch`].
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    bytes: &'a [u8],
    position: u64,
    kind: u32,
}

impl Item<'_> {
    /// The message's position.
    pub fn position(&self) -> u64 {
        self.position
    }
    /// What the producer said it is; 0 by default.
    pub fn kind(&self) -> u32 {
        self.kind
    }
}

impl std::ops::Deref for Item<'_> {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl Batch<'_> {
    /// How many messages there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(usize::MAX)
    }
    /// Never true: a batch has at least one message, unless `max` was 0.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
    /// Gives the batch up without releasing any of it: the next receive returns it again. For leaving a
    /// loop with an error: dropping the batch there would release the message that failed.
    pub fn keep(self) {
        std::mem::forget(self);
    }
    /// The messages, oldest first. `for_each` and whatever else folds is faster than a loop.
    pub fn iter(&self) -> BatchIter<'_> {
        BatchIter { batch: self, next: 0, last: 1 }
    }

    /// The bytes of the bare messages from `ahead` positions after the tail on, as far as they lie behind each other.
    /// There is at least one.
    #[inline(always)]
    fn bare_run(&self, ahead: u64) -> (&[u8], Run) {
        let run = self.reader.bare_run(ahead, self.count - ahead);
        // SAFETY: as in `bytes_of`, for each message of the run.
        (unsafe { self.reader.memory().read_run(run) }, run)
    }

    /// Ends the batch before the first message that does not fill its block. Its length, if it is the first of all.
    ///
    /// From then on every message is handed out as a whole block, whatever becomes of the length that was read here.
    #[inline(always)]
    pub(crate) fn cut_to_whole_blocks(&mut self) -> Result<(), usize> {
        self.whole_blocks = true;
        for ahead in 0..self.described.min(self.count) {
            let found = self.reader.message(ahead).meta.len();
            if found != self.reader.memory().block_len() {
                self.count = ahead;
                return if ahead == 0 { Err(found) } else { Ok(()) };
            }
        }
        Ok(())
    }
}

impl<'b> IntoIterator for &'b Batch<'_> {
    type Item = Item<'b>;
    type IntoIter = BatchIter<'b>;
    fn into_iter(self) -> BatchIter<'b> {
        self.iter()
    }
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        let panicked = !self.unwinding && std::thread::panicking();
        let finished = if panicked { self.finished.get() } else { self.handed_out.get() };
        if finished > 0 {
            release(self.reader, finished);
        }
    }
}

/// Iterates over a [`Batch`].
#[derive(Debug)]
pub struct BatchIter<'b> {
    batch: &'b Batch<'b>,
    next: u64,
    /// How many messages were handed out together at last.
    last: u64,
}

impl<'b> BatchIter<'b> {
    #[inline(always)]
    fn hand_out(&mut self, message: Message) -> Item<'b> {
        let reader = &*self.batch.reader;
        let position = reader.tail() + self.next;
        self.next += 1;
        self.last = 1;
        let len = if self.batch.whole_blocks { reader.memory().block_len() } else { message.meta.len() };
        Item { bytes: bytes_of(reader, message.block, len), position, kind: message.meta.kind() }
    }

    /// The bytes of the next message, or of the next ones together, if they are bare and lie behind each other.
    #[inline]
    pub(crate) fn next_run(&mut self) -> Option<&'b [u8]> {
        let (batch, ahead) = (self.batch, self.next);
        if ahead < batch.described || ahead == batch.count {
            return self.next().map(|item| item.bytes);
        }
        let (bytes, run) = batch.bare_run(ahead);
        self.last = run.blocks();
        self.next += self.last;
        Some(bytes)
    }
}

impl<'b> Iterator for BatchIter<'b> {
    type Item = Item<'b>;
    #[inline]
    fn next(&mut self) -> Option<Item<'b>> {
        let (batch, ahead) = (self.batch, self.next);
        if ahead == batch.count {
            return None;
        }
        let message = if ahead < batch.described {
            batch.reader.message(ahead)
        } else {
            batch.reader.bare_message(ahead)
        };
        Some(self.hand_out(message))
    }

    /// Faster than one by one: of bare messages nothing is looked up.
    #[inline]
    fn fold<A, F: FnMut(A, Item<'b>) -> A>(mut self, init: A, mut f: F) -> A {
        let (batch, mut folded) = (self.batch, init);
        while self.next < batch.described.min(batch.count) {
            let message = batch.reader.message(self.next);
            folded = f(folded, self.hand_out(message));
        }
        while self.next < batch.count {
            let (mut rest, run) = batch.bare_run(self.next);
            for _ in 0..run.blocks() {
                let (bytes, later) = rest.split_at(batch.reader.memory().block_len());
                rest = later;
                let position = batch.reader.tail() + self.next;
                self.next += 1;
                folded = f(folded, Item { bytes, position, kind: 0 });
            }
        }
        folded
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.batch.count - self.next).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for BatchIter<'_> {}

impl Drop for BatchIter<'_> {
    #[inline]
    fn drop(&mut self) {
        let Batch { handed_out, finished, .. } = self.batch;
        handed_out.set(handed_out.get().max(self.next));
        finished.set(finished.get().max(self.next.saturating_sub(self.last)));
    }
}

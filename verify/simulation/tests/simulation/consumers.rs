//! Broadcast readers: what `Consumer`, `EvictableConsumer` and `Observer` do with the protocol.

use crate::memory::SimMemory;
use crate::oracle::{Message, Oracle};
use crate::world::{Actor, Turn};
use slipring_core::format::Tail;
use slipring_core::memory::{Clock, Liveness, Memory, Right};
use slipring_core::protocol;
use slipring_core::protocol::membership::{
    self, ConsumerKind, EnterError, Entered, Identity, Start, StartError,
};
use slipring_core::protocol::observe::Seen;
use slipring_core::protocol::read::{Copied, Ready};

fn any_start(turn: &mut Turn<'_>) -> Start {
    let (first, end) = (turn.geometry().first_position(), turn.oracle().end());
    match turn.dice.roll(4) {
        0 => Start::Earliest,
        1 => Start::Latest,
        2 => Start::Last(turn.dice.roll(end - first + 2)),
        _ => Start::At(first + turn.dice.roll(end - first + 2)),
    }
}

/// Enters the table, unless another party has it just now.
fn enter(turn: &mut Turn<'_>, kind: ConsumerKind, name: &str) -> Option<Entered> {
    let (memory, geometry, start) = (turn.memory, turn.geometry(), any_start(turn));
    if !memory.seize(Right::Table) {
        return None;
    }
    let who = Identity { name, pid: memory.life.party.into(), unix_ms: memory.unix_ms(), after: &[] };
    let entered = membership::enter(memory, &geometry, memory, kind, start, &who);
    // Killed over this, it has an entry that its actor does not know of: the oracle must not,
    // either.
    memory.release(Right::Table);
    let refused = matches!(entered, Err(EnterError::NameIsDurable | EnterError::Unknown(_)));
    let damaged = matches!(entered, Err(EnterError::Start(StartError::Damaged(_))));
    assert!(!refused && !damaged, "{entered:?}");
    if let Ok(Entered { entry, tail, resumed: false, .. }) = entered {
        if kind != ConsumerKind::Durable {
            begins(turn, entry, tail, kind == ConsumerKind::Evictable);
        }
        if let Start::At(asked) = start {
            assert_eq!(tail, asked);
        }
    }
    entered.ok()
}

/// From here on nothing is overwritten, unless the reader was evicted already.
fn begins(turn: &Turn<'_>, entry: u32, tail: u64, evictable: bool) {
    let stored = turn.memory.shared.word(turn.geometry().tail(entry)).get();
    if stored != Tail::EVICTED.0 {
        turn.oracle().begins(entry, tail, evictable);
    }
}

/// A reader in place, ephemeral or durable.
pub(crate) struct InPlace {
    /// The name of a durable one.
    durable: Option<&'static str>,
    entry: Option<u32>,
    reader: Option<protocol::Consumer<SimMemory>>,
    /// Positions that it holds, from its tail on.
    held: Vec<u64>,
    /// Where a durable one stood before the release during which it may have died.
    before_release: Option<u64>,
}

impl InPlace {
    pub(crate) fn plain() -> InPlace {
        InPlace { durable: None, entry: None, reader: None, held: Vec::new(), before_release: None }
    }

    pub(crate) fn durable(name: &'static str) -> InPlace {
        InPlace { durable: Some(name), ..InPlace::plain() }
    }

    fn kind(&self) -> ConsumerKind {
        if self.durable.is_some() { ConsumerKind::Durable } else { ConsumerKind::Ephemeral }
    }

    fn join(&mut self, turn: &mut Turn<'_>) {
        let Some(entered) = enter(turn, self.kind(), self.durable.unwrap_or("")) else { return };
        let Entered { entry, tail, resumed, .. } = entered;
        if self.durable.is_some() {
            self.check_resumed(turn, entered);
        }
        assert!(self.durable.is_some() || !resumed);
        self.entry = Some(entry);
        self.reader = Some(protocol::Consumer::new(turn.memory.clone(), turn.geometry(), entry, tail));
    }

    /// It begins where it stopped, or before what it was just releasing.
    fn check_resumed(&self, turn: &Turn<'_>, Entered { entry, tail, resumed, .. }: Entered) {
        let mut oracle = turn.oracle();
        let reader = oracle.readers[entry as usize].as_mut().expect("a durable one is never forgotten");
        let is_before = resumed && Some(tail) == self.before_release;
        assert!(tail == reader.next || is_before, "resumed at {tail}: {reader:?}");
        reader.next = tail;
    }

    fn read(&mut self, turn: &mut Turn<'_>) {
        let Some(reader) = &mut self.reader else { return };
        let ready = if turn.dice.hits(2) { reader.poll() } else { reader.poll_many() };
        let Ready::Messages(mut n) = ready.expect("a sound ring") else { return };
        if turn.dice.hits(2) {
            reader.look_at_head().expect("a sound ring");
            n = reader.known();
        }
        for ahead in self.held.len() as u64..1 + turn.dice.roll(n) {
            let position = reader.tail() + ahead;
            let message = match ahead {
                0 if turn.dice.hits(2) => match reader.next_single() {
                    Some(message) => message,
                    None => reader.next_of_batch().expect("a sound ring"),
                },
                _ if ahead >= reader.headers_ahead() => reader.headerless_message(ahead),
                _ => reader.message(ahead),
            };
            // SAFETY: the block is of this geometry; the tail gates.
            let words = unsafe { reader.memory().read_block(message.block) }.words();
            turn.oracle().read(position, Message::shown(&words, message.meta));
            turn.oracle().hold(position);
            self.held.push(position);
        }
    }

    fn release(&mut self, turn: &mut Turn<'_>) {
        let Some(reader) = self.reader.as_mut().filter(|_| !self.held.is_empty()) else { return };
        let n = 1 + turn.dice.roll(self.held.len() as u64);
        self.before_release = Some(reader.tail());
        for position in self.held.drain(..usize::try_from(n).unwrap()) {
            turn.oracle().unhold(position);
        }
        let entry = reader.entry() as usize;
        turn.oracle().readers[entry].as_mut().expect("it joined").next += n;
        if turn.dice.hits(3) {
            let mut ahead = reader.ahead();
            let position = ahead.tail() + n;
            assert_eq!(ahead.seek(position), Ok(true), "what was read is there");
            ahead.release_to(position);
        } else {
            reader.release(n);
        }
        self.before_release = None;
        reader.wake_behind();
    }

    fn leave(&mut self, turn: &mut Turn<'_>) {
        let Some(reader) = self.reader.take() else { return };
        self.entry = None;
        let entry = reader.entry();
        self.held.drain(..).for_each(|position| turn.oracle().unhold(position));
        turn.oracle().ends(entry);
        let (memory, now) = (turn.memory, turn.memory.unix_ms());
        membership::leave(memory, &turn.geometry(), memory, entry, self.kind(), now);
    }
}

impl Actor for InPlace {
    fn act(&mut self, turn: &mut Turn<'_>) {
        match turn.dice.roll(12) {
            _ if self.reader.is_none() => self.join(turn),
            0 if !turn.calm() => self.leave(turn),
            0..6 => self.read(turn),
            _ => self.release(turn),
        }
    }

    fn died(&mut self, oracle: &mut Oracle) {
        self.held.drain(..).for_each(|position| oracle.unhold(position));
        self.reader = None;
        if let Some(entry) = self.entry.take() {
            oracle.ends(entry);
        }
    }

    fn may_be_missed(&self) -> bool {
        self.durable.is_none()
    }

    fn is_done(&self, oracle: &Oracle) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.tail() == oracle.end())
    }

    fn name(&self) -> &'static str {
        self.durable.unwrap_or("consumer")
    }
}

#[derive(Default)]
pub(crate) struct EvictableReader {
    entry: Option<u32>,
    reader: Option<protocol::EvictableConsumer<SimMemory>>,
}

impl EvictableReader {
    /// Goes on where it was, or at the earliest that is left.
    fn rejoin(turn: &Turn<'_>, reader: &mut protocol::EvictableConsumer<SimMemory>) {
        let old = reader.tail();
        let missed = membership::rejoin(reader, || turn.memory.is_held(Right::Producer))
            .expect("an earliest one can always be had");
        assert_eq!(reader.tail(), old + missed, "a reader never goes back");
        begins(turn, reader.entry(), reader.tail(), true);
    }
}

impl Actor for EvictableReader {
    fn act(&mut self, turn: &mut Turn<'_>) {
        let (memory, geometry) = (turn.memory.clone(), turn.geometry());
        let Some(reader) = &mut self.reader else {
            if let Some(Entered { entry, tail, .. }) = enter(turn, ConsumerKind::Evictable, "tape") {
                self.entry = Some(entry);
                self.reader = Some(protocol::EvictableConsumer::new(memory, geometry, entry, tail));
            }
            return;
        };
        let mut buffer = turn.buffer();
        match reader.take(&mut buffer) {
            Copied::Message { position, meta } => {
                turn.oracle().read(position, Message::shown_in(&buffer[..meta.len()], meta));
            }
            Copied::Empty => {}
            Copied::Evicted => EvictableReader::rejoin(turn, reader),
        }
    }

    fn died(&mut self, oracle: &mut Oracle) {
        self.reader = None;
        if let Some(entry) = self.entry.take() {
            oracle.ends(entry);
        }
    }

    fn may_be_missed(&self) -> bool {
        true
    }

    fn is_done(&self, oracle: &Oracle) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.tail() == oracle.end())
    }

    fn name(&self) -> &'static str {
        "evictable consumer"
    }
}

#[derive(Default)]
pub(crate) struct Onlooker {
    observer: Option<protocol::Observer<SimMemory>>,
}

impl Actor for Onlooker {
    fn act(&mut self, turn: &mut Turn<'_>) {
        let (memory, geometry) = (turn.memory.clone(), turn.geometry());
        let Some(observer) = &mut self.observer else {
            let (earliest, head) = protocol::Observer::window(&memory, &geometry);
            let position = if turn.dice.hits(2) { earliest } else { head };
            self.observer = Some(protocol::Observer::new(memory, geometry, position));
            return;
        };
        let mut buffer = turn.buffer();
        let before = observer.position();
        match observer.look(&mut buffer) {
            Seen::Message { position, meta } => {
                assert_eq!(position, before);
                turn.oracle().read(position, Message::shown_in(&buffer[..meta.len()], meta));
            }
            Seen::Empty => assert_eq!(observer.position(), before),
            Seen::Missed(n) => assert!(n > 0 && before + n == observer.position()),
        }
        assert!(observer.position() <= turn.oracle().end(), "an observer stands where nothing is yet");
    }

    fn died(&mut self, _oracle: &mut Oracle) {
        self.observer = None;
    }

    fn may_be_missed(&self) -> bool {
        true
    }

    fn is_done(&self, oracle: &Oracle) -> bool {
        self.observer.as_ref().is_some_and(|observer| observer.position() == oracle.end())
    }

    fn name(&self) -> &'static str {
        "observer"
    }
}

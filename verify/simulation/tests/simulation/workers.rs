//! Workers of a group: what `Worker` and `Delivery` do with the protocol.

use crate::dead_letters::Writer;
use crate::memory::SimMemory;
use crate::oracle::{Intent, Message, Oracle};
use crate::world::{ACK_WAIT, Actor, BIRTH, CREWS, GRAIN, Turn};
use slipring_core::memory::{Clock, Liveness, Memory, Right};
use slipring_core::protocol;
use slipring_core::protocol::dead_letter::Overflow;
use slipring_core::protocol::group::table::{self, Wanted};
use slipring_core::protocol::group::{Kinds, members};
use slipring_core::protocol::lease::Lease;
use slipring_core::protocol::membership::{Identity, Start};

/// A message that the dead-letter ring did not take is tried again after so long.
const RETRY_MS: u32 = 100;
const HELD_MAX: usize = 3;

pub(crate) struct Working {
    number: u32,
    /// The group has another one.
    spare: bool,
    worker: Option<protocol::Worker<SimMemory>>,
    held: Vec<Lease>,
}

impl Working {
    pub(crate) fn of(number: u32, spare: bool) -> Working {
        Working { number, spare, worker: None, held: Vec::new() }
    }

    /// Finds the group or creates it, and enlists.
    fn join(&mut self, turn: &mut Turn<'_>) {
        let (memory, geometry) = (turn.memory, turn.geometry());
        let settings = turn.world.settings[self.number as usize];
        let start = if turn.dice.hits(2) { Start::Earliest } else { Start::Latest };
        if !memory.seize(Right::Table) {
            return;
        }
        let name = CREWS[self.number as usize];
        let wanted = Wanted { name, settings: Some(settings), start };
        let group = table::join(memory, &geometry, memory, &wanted, BIRTH).expect("can always be had").group;
        assert_eq!(group.number, self.number);
        let current = group.settings();
        let who = Identity { name, pid: memory.life.party.into(), unix_ms: memory.unix_ms(), after: &[] };
        if let Ok(entry) = members::enlist(&group, memory, &who) {
            turn.oracle().groups.iter().for_each(|group| group.returned(entry));
            let worker = protocol::Worker::new(group, entry, current, GRAIN);
            // In a ring this small, the usual numbers of steps bound nothing.
            let (look, sweep) = (1 + turn.dice.roll(4), 1 + turn.dice.roll(6));
            self.worker = Some(if turn.dice.hits(2) { worker.with_steps(look, sweep) } else { worker });
        }
        memory.release(Right::Table);
    }

    fn take(&mut self, turn: &mut Turn<'_>) {
        if self.held.len() >= HELD_MAX {
            return;
        }
        // Read once: the steps that follow may take any time.
        let now = turn.now();
        let sweeps = turn.dice.hits(3);
        let Some(worker) = &self.worker else { return };
        if sweeps {
            members::reap_all(worker.group(), turn.memory, worker.entry(), true, |_| {});
        }
        let kinds = match turn.dice.roll(8) {
            0 if !turn.calm() => Kinds::Equal(turn.dice.roll32(3)),
            1 if !turn.calm() => Kinds::AtMost(turn.dice.roll32(3)),
            2 if !turn.calm() => Kinds::Except(turn.dice.roll32(3)),
            _ => Kinds::Any,
        };
        let quick = (kinds == Kinds::Any && !sweeps).then(|| worker.next(now)).flatten();
        let (lease, dead_pending) = match quick {
            Some(lease) => (Some(lease), None),
            None => {
                let found = worker.search(kinds, now, sweeps);
                (found.lease, found.dead_pending)
            }
        };
        if worker.has_withdrawn() {
            worker.wake_behind();
        }
        if let Some(lease) = lease {
            assert!(kinds.admits(lease.message.meta.kind()));
            // SAFETY: the block is of this geometry; the position is pinned.
            let words = unsafe { turn.memory.read_block(lease.message.block) }.words();
            turn.oracle().read(lease.position, Message::shown(&words, lease.message.meta));
            turn.oracle().hold(lease.position);
            self.held.push(lease);
        }
        if let Some(first) = dead_pending {
            self.move_dead_letters_from(turn, first);
        }
    }

    fn move_dead_letters_from(&self, turn: &Turn<'_>, first: u64) {
        let Some(worker) = &self.worker else { return };
        let dead_pending: Vec<u64> = worker.dead_pending(first, turn.now()).take(4).collect();
        let Some(mut writer) = Writer::open(turn.memory, &turn.world.dead_letters) else { return };
        for position in dead_pending {
            let publish = |dead_pending: &Lease, bytes: &[u8]| {
                turn.oracle().read(position, Message::shown_in(bytes, dead_pending.message.meta));
                let published = writer.publish(bytes, dead_pending.message.meta);
                if published {
                    turn.oracle().groups[self.number as usize].letters.insert(position);
                }
                if published { Ok(()) } else { Err(Overflow::Retry(RETRY_MS)) }
            };
            worker.move_to_dead_letters(position, turn.now(), &mut turn.buffer(), publish);
        }
        writer.close();
    }

    /// Ends one of the leases it has, in one of the ways there are.
    fn end_one(&mut self, turn: &mut Turn<'_>) {
        let Some(worker) = self.worker.as_ref().filter(|_| !self.held.is_empty()) else { return };
        let nth = usize::try_from(turn.dice.roll(self.held.len() as u64)).unwrap();
        let lease = self.held[nth];
        let (position, now) = (lease.position, turn.now());
        let how = if turn.calm() { 9 } else { turn.dice.roll(10) };
        let delay = turn.dice.hits(2).then(|| turn.dice.roll32(2 * ACK_WAIT));
        let ended = match how {
            0 => turn.memory.meaning(Intent::Nack(position), || worker.nack(lease, delay, now)),
            1 => turn.memory.meaning(Intent::Release(position), || worker.hand_back(lease)),
            2 => {
                let extended = turn.memory.meaning(Intent::Extend(position), || worker.extend(lease, now));
                if let Ok(longer) = extended {
                    self.held[nth] = longer;
                    return;
                }
                extended.map(drop)
            }
            3 if self.number == 1 => {
                turn.memory.meaning(Intent::Reject(position), || worker.reject(lease, now))
            }
            _ => turn.memory.meaning(Intent::Ack(position), || worker.ack(lease)),
        };
        turn.oracle().groups[self.number as usize].ended(lease);
        self.held.remove(nth);
        turn.oracle().unhold(position);
        worker.unpin(position);
        worker.settled(position);
        worker.wake_behind();
        if how == 3 && ended.is_ok() && self.number == 1 {
            self.move_dead_letters_from(turn, position);
        }
    }

    fn leave(&mut self, turn: &mut Turn<'_>) {
        let Some(worker) = self.worker.take() else { return };
        self.held.drain(..).for_each(|lease| turn.oracle().unhold(lease.position));
        members::leave(turn.memory, &turn.geometry(), turn.memory, worker.entry());
    }
}

impl Actor for Working {
    fn act(&mut self, turn: &mut Turn<'_>) {
        match turn.dice.roll(20) {
            _ if self.worker.is_none() => self.join(turn),
            0 if !turn.calm() => self.leave(turn),
            0..10 => self.take(turn),
            _ => self.end_one(turn),
        }
    }

    fn died(&mut self, oracle: &mut Oracle) {
        self.held.drain(..).for_each(|lease| oracle.unhold(lease.position));
        self.worker = None;
    }

    fn may_be_missed(&self) -> bool {
        self.spare
    }

    fn is_done(&self, _oracle: &Oracle) -> bool {
        self.held.is_empty()
    }

    fn name(&self) -> &'static str {
        if self.number == 0 { "worker" } else { "frail worker" }
    }
}

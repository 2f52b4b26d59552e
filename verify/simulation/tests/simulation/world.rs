//! All parties in one thread: the order of turns, the deaths, the interruptions, the time.

use crate::audit::audit;
use crate::consumers::{EvictableReader, InPlace, Onlooker};
use crate::dead_letters::{self, REDRIVER};
use crate::deliveries::GroupBook;
use crate::memory::{Machine, Shared, SimMemory, survives};
use crate::oracle::{CREATOR, GROUPS, Oracle};
use crate::producer::Publishing;
use crate::workers::Working;
use kit::Dice;
use slipring::Backoff;
use slipring_core::format as layout;
use slipring_core::format::{Geometry, Millis};
use slipring_core::memory::{Liveness, Right};
use slipring_core::protocol::furnish::{Declared, Durable, Staff, furnish};
use slipring_core::protocol::group::Group;
use slipring_core::protocol::group::table::Birth;
use slipring_core::protocol::settings::GroupSettings;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// Turns with kills, pauses and steps of the clock; then turns without, until all is done.
const WILD_TURNS: u32 = 400;
const CALM_TURNS: u32 = 20_000;
pub(crate) const ACK_WAIT: u32 = 50;
pub(crate) const GRAIN: u32 = 10;
/// Names of the durable consumers; the first is declared at creation.
const DURABLES: [&str; 2] = ["audit", "ledger"];
/// Names of the groups; the first is declared at creation.
pub(crate) const CREWS: [&str; GROUPS] = ["steady", "frail"];
pub(crate) const BIRTH: Birth = Birth { boot: 1, unix_ms: 1, now: Millis(1) };
/// A clock that is set back by more makes a lease look longer than any is, and it is taken over.
const STEP_BACK_MAX: u32 = 50;

/// An actor's view of the world, during its turn.
pub(crate) struct Turn<'w> {
    pub(crate) world: &'w World,
    pub(crate) memory: &'w SimMemory,
    pub(crate) dice: Dice,
}

impl Turn<'_> {
    pub(crate) fn oracle(&self) -> std::cell::RefMut<'_, Oracle> {
        self.memory.shared.oracle.borrow_mut()
    }
    pub(crate) fn geometry(&self) -> Geometry {
        self.memory.shared.geometry
    }
    /// As long as a block.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.geometry().block_size()).unwrap()]
    }
    pub(crate) fn now(&self) -> Millis {
        self.memory.shared.machine.now.get()
    }
    /// No party is killed any more, and every party finishes.
    pub(crate) fn calm(&self) -> bool {
        self.world.calm.get()
    }
}

/// A role.
pub(crate) trait Actor {
    /// One operation.
    fn act(&mut self, turn: &mut Turn<'_>);
    /// Its process is dead: what the oracle has to forget. The next turn is a successor's.
    fn died(&mut self, oracle: &mut Oracle);
    /// It has nothing left to do.
    fn is_done(&self, oracle: &Oracle) -> bool;
    fn name(&self) -> &'static str;
    /// All promises can be kept without it.
    fn may_be_missed(&self) -> bool;
}

struct Member {
    memory: SimMemory,
    actor: Box<dyn Actor>,
    paused_until: u32,
    /// Killed, without a successor.
    is_gone: bool,
}

impl Member {
    fn is_done(&self) -> bool {
        self.is_gone || self.actor.is_done(&self.memory.shared.oracle.borrow())
    }
}

pub(crate) struct World {
    pub(crate) shared: Rc<Shared>,
    pub(crate) settings: [GroupSettings; GROUPS],
    pub(crate) dead_letters: Rc<Shared>,
    pub(crate) goal: u64,
    members: Vec<RefCell<Member>>,
    /// The members that may get a turn before calm begins, some of them several times.
    order: Vec<usize>,
    dice: RefCell<Dice>,
    calm: Cell<bool>,
    parties: Cell<u32>,
    pub(crate) turns: Cell<u32>,
    depth: Cell<u32>,
    pub(crate) kills: Cell<u64>,
    /// The clock is set back now and then.
    goes_back: bool,
    talkative: bool,
}

impl World {
    pub(crate) fn new(seed: u64, talkative: bool) -> Rc<World> {
        let mut dice = Dice::new(seed);
        let capacity = dice.pick(&[2, 4, 8, 16]);
        let first = dice.pick(&[0, (1 << 32) - 20, 4096 * capacity - 10, layout::FIRST_POSITION_MAX, 1000]);
        // Beside the slots, and apart.
        let block_size = dice.pick(&[16, 24, 120]);
        let geometry = Geometry::plan(block_size, capacity, 5)
            .and_then(|geometry| geometry.with_groups(GROUPS as u64, 5))
            .and_then(|geometry| geometry.starting_at(first))
            .unwrap();
        let limits = [0, dice.pick(&[1, 2, 3])];
        let books = [0, 1].map(|number| GroupBook::new(number, geometry, limits[number]));
        let now = Millis(dice.pick(&[0, 1000, u32::MAX - 200]));
        let machine = Rc::new(Machine::new(now, talkative));
        let shared = Rc::new(Shared::new(geometry, Oracle::new(geometry, books), &machine));
        let base = GroupSettings::new().ack_wait(Duration::from_millis(ACK_WAIT.into()));
        let pending = dice.pick(&[1, 3, 1000]);
        let rest = [Duration::from_millis(20), Duration::from_millis(200)];
        let settings = [
            base.max_deliver(None).max_ack_pending(pending),
            base.max_deliver(limits[1]).backoff(dice.pick(&[Backoff::None, Backoff::steps(&rest)])),
        ];
        create(&shared, settings[0]);
        let mut actors: Vec<Box<dyn Actor>> = vec![
            Box::new(Publishing::patient_for(dice.pick(&[0, 0, 300]))),
            Box::new(InPlace::durable(DURABLES[0])),
            Box::new(InPlace::durable(DURABLES[1])),
            Box::new(InPlace::plain()),
            Box::new(EvictableReader::default()),
            Box::new(Onlooker::default()),
        ];
        let crew = [(0, false), (0, true), (1, false), (1, true)];
        actors.extend(crew.map(|(number, spare)| Box::new(Working::of(number, spare)) as Box<dyn Actor>));
        actors.push(Box::new(InPlace::durable(REDRIVER)));
        // Some parties are left out, and some get more turns.
        actors.retain(|actor| !actor.may_be_missed() || !dice.hits(3));
        let order = (0..actors.len()).flat_map(|member| vec![member; dice.pick(&[1, 1, 4])]).collect();
        let parties = Cell::new(100);
        Rc::new_cyclic(|weak: &std::rc::Weak<World>| {
            let weak = weak.clone();
            *machine.others.borrow_mut() = Some(Rc::new(move || {
                if let Some(world) = weak.upgrade() {
                    world.interlude();
                }
            }));
            let dead_letters = dead_letters::create(block_size, dice.pick(&[1, 4, 64]), &machine);
            let member = |(party, actor): (u32, Box<dyn Actor>)| {
                let ring = if actor.name() == REDRIVER { &dead_letters } else { &shared };
                RefCell::new(Member {
                    memory: SimMemory::of(ring, party),
                    actor,
                    paused_until: 0,
                    is_gone: false,
                })
            };
            World {
                order,
                settings,
                goal: first + dice.pick(&[20, 60, 150]),
                members: (1..).zip(actors).map(member).collect(),
                dead_letters: Rc::clone(&dead_letters),
                shared: Rc::clone(&shared),
                goes_back: dice.hits(2),
                dice: RefCell::new(dice),
                calm: Cell::new(false),
                parties,
                turns: Cell::new(0),
                depth: Cell::new(0),
                kills: Cell::new(0),
                talkative,
            }
        })
    }

    fn roll(&self, below: u64) -> u64 {
        self.dice.borrow_mut().roll(below)
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.talkative {
            println!("{:5} {}{}", self.turns.get(), "  ".repeat(self.depth.get() as usize), what());
        }
    }

    /// Other parties have a few turns while one party is in the middle of an operation.
    fn interlude(&self) {
        self.depth.set(self.depth.get() + 1);
        // Now and then it is stopped there for long: past leases, and for a lap.
        let turns = if self.roll(16) == 0 { 150 } else { 6 };
        for _ in 0..=self.roll(turns) {
            self.tick();
            self.turn();
        }
        self.depth.set(self.depth.get() - 1);
        let again = self.roll(2) == 0;
        self.shared.machine.interrupt.set(again.then(|| self.dice.borrow_mut().roll32(20)));
    }

    /// Time goes by; now and then a lot of it.
    fn tick(&self) {
        let step = match self.roll(200) {
            0 if !self.calm.get() => ACK_WAIT * 100,
            1..4 if !self.calm.get() => ACK_WAIT * 2,
            4..60 => self.dice.borrow_mut().roll32(8),
            _ => 0,
        };
        let mut now = self.shared.machine.now.get().after(step);
        if self.goes_back && !self.calm.get() && self.roll(100) == 0 {
            now = Millis(
                self.shared.machine.latest.get().0.wrapping_sub(self.dice.borrow_mut().roll32(STEP_BACK_MAX)),
            );
        }
        self.shared.machine.set_clock(now);
    }

    /// A party's operation, or its death.
    fn turn(&self) {
        // In calm all are equally quick: if one had a turn in 34, the limit would take what is slow
        // for stuck.
        let chosen = match self.calm.get() {
            true => usize::try_from(self.roll(self.members.len() as u64)).unwrap(),
            false => self.dice.borrow_mut().pick(&self.order),
        };
        // A party in the middle of an operation cannot begin another one.
        let Ok(mut member) = self.members[chosen].try_borrow_mut() else { return };
        let Member { memory, actor, paused_until, is_gone } = &mut *member;
        let wild = !self.calm.get();
        if *is_gone {
            return;
        }
        if wild && *paused_until > self.turns.get() {
            return;
        }
        let life = Rc::clone(&memory.life);
        let mut dice = Dice::new(self.dice.borrow_mut().any());
        if wild && dice.hits(30) {
            *paused_until = self.turns.get() + dice.roll32(80);
            self.say(|| format!("{} {} is stopped", actor.name(), life.party));
            return;
        }
        life.fuse.set((wild && dice.hits(10)).then(|| dice.roll32(50)));
        let interrupted = wild && self.depth.get() < 2 && dice.hits(3);
        let longest = dice.pick(&[8, 20, 40]);
        self.shared.machine.interrupt.set(interrupted.then(|| dice.roll32(longest)));
        self.say(|| format!("{} {}", actor.name(), life.party));
        let killed = wild && dice.hits(60)
            || !survives(|| actor.act(&mut Turn { world: self, memory: &*memory, dice }));
        self.shared.machine.interrupt.set(None);
        life.fuse.set(None);
        if killed {
            self.kill(&mut member);
        }
    }

    /// The kernel gives up what it had; a successor has its next turn.
    fn kill(&self, member: &mut Member) {
        let Member { memory, actor, .. } = member;
        let party = memory.life.party;
        self.say(|| format!("{} {party} is killed", actor.name()));
        self.kills.set(self.kills.get() + 1);
        memory.life.dead.set(true);
        self.shared.drop_rights(party);
        self.dead_letters.drop_rights(party);
        actor.died(&mut memory.shared.oracle.borrow_mut());
        self.parties.set(self.parties.get() + 1);
        *memory = SimMemory::of(&memory.shared, self.parties.get());
    }

    /// Calm begins: from now on no party dies. Some parties are killed first and have no successor:
    /// the rest must finish without them.
    fn calm_down(&self) {
        self.calm.set(true);
        for member in &self.members {
            let mut member = member.borrow_mut();
            if member.actor.may_be_missed() && self.roll(3) == 0 {
                self.kill(&mut member);
                member.is_gone = true;
            }
        }
    }

    /// A whole life of the ring.
    pub(crate) fn play(&self, audited: bool) {
        for turn in 0..WILD_TURNS + CALM_TURNS {
            self.turns.set(turn);
            if turn == WILD_TURNS {
                self.audit(audited);
                self.calm_down();
            }
            self.tick();
            self.turn();
            self.check();
            if self.calm.get() && self.is_done() {
                self.audit(audited);
                return;
            }
        }
        let oracle = self.shared.oracle.borrow();
        let left = self.members.iter().map(|member| member.borrow());
        let left: Vec<&str> =
            left.filter(|member| !member.is_done()).map(|member| member.actor.name()).collect();
        panic!("stuck: published up to {} of {}, and not done: {left:?}", oracle.end(), self.goal);
    }

    /// Both rings as files.
    fn audit(&self, audited: bool) {
        if audited {
            [&self.shared, &self.dead_letters].into_iter().for_each(|ring| audit(ring));
        }
    }

    fn is_done(&self) -> bool {
        let oracle = self.shared.oracle.borrow();
        oracle.end() >= self.goal
            && self.members.iter().all(|member| member.borrow().is_done())
            && oracle.groups.iter().all(|group| group.open().1 == 0)
    }

    /// Invariants between any two turns.
    fn check(&self) {
        let oracle = self.shared.oracle.borrow();
        oracle.check(&self.shared);
        self.dead_letters.oracle.borrow().check(&self.dead_letters);
        let spectator = SimMemory::of(&self.shared, CREATOR);
        for (number, book) in (0..).zip(&oracle.groups).filter(|(_, book)| book.exists()) {
            let group = Group::new(spectator.clone(), self.shared.geometry, number);
            let ((open, count), floor) = (book.open(), group.floor());
            assert!(open.is_none_or(|open| floor <= Some(open)), "floor {floor:?} above {open:?}");
            if self.turns.get() % 8 == 0 {
                let counts = group.window_counts(self.shared.machine.now.get()).expect("the group is there");
                let counted = counts.pending + counts.ack_pending + counts.dead_pending;
                assert_eq!(counted, count, "unsettled messages of group {number}, {counts:?}");
            }
        }
    }
}

/// A new ring with one durable consumer and one group.
fn create(shared: &Rc<Shared>, settings: GroupSettings) {
    let creator = SimMemory::of(shared, CREATOR);
    assert!(creator.seize(Right::Producer));
    let durable = Durable { name: DURABLES[0].to_owned(), begins_at: None, after: Vec::new() };
    let crew = Staff { name: CREWS[0].to_owned(), settings, begins_at: None };
    let declared = Declared { durables: &[durable], groups: &[crew] };
    furnish(&creator, &shared.geometry, declared, 0, BIRTH).expect("a sound ring");
    shared.drop_rights(CREATOR);
}

//! A role, and what a process that plays it is given.

use crate::board::{Board, Entry, Plan, Team};
use crate::message::Stream;
use crate::options::Plant;
use clap::ValueEnum;
use kit::Dice;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

const VARIABLE: &str = "SLIPRING_SOAK_CAST";
/// No wait takes longer, unless a process is stopped.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Publisher,
    /// A durable reader that is never killed and reads everything.
    Audit,
    /// A durable reader that is.
    Durable,
    Plain,
    Evictable,
    Observer,
    GroupPublisher,
    Worker,
    FrailWorker,
    /// Takes dead letters, and moves their ring away.
    Redriver,
    /// Changes the groups' settings.
    Changer,
    /// A process of another user, with the right to read alone.
    Stranger,
    FleetingPublisher,
    FleetingReader,
    FleetingObserver,
    FleetingWorker,
}

pub(crate) const ROLES: [Role; 16] = [
    Role::Publisher,
    Role::Audit,
    Role::Durable,
    Role::Plain,
    Role::Evictable,
    Role::Observer,
    Role::GroupPublisher,
    Role::Worker,
    Role::FrailWorker,
    Role::Redriver,
    Role::Changer,
    Role::Stranger,
    Role::FleetingPublisher,
    Role::FleetingReader,
    Role::FleetingObserver,
    Role::FleetingWorker,
];

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Publisher => "publisher",
            Role::Audit => "audit (durable)",
            Role::Durable => "durable reader",
            Role::Plain => "plain reader",
            Role::Evictable => "evictable reader",
            Role::Observer => "observer",
            Role::GroupPublisher => "publisher to groups",
            Role::Worker => "worker",
            Role::FrailWorker => "worker, 3 attempts",
            Role::Redriver => "keeper of dead letters",
            Role::Changer => "changer of settings",
            Role::Stranger => "another user",
            Role::FleetingPublisher => "publisher, files go",
            Role::FleetingReader => "reader, files go",
            Role::FleetingObserver => "observer, files go",
            Role::FleetingWorker => "worker, files go",
        }
    }

    /// True for the users of the ring with fleeting files.
    pub(crate) fn is_fleeting(self) -> bool {
        matches!(
            self,
            Role::FleetingPublisher | Role::FleetingReader | Role::FleetingObserver | Role::FleetingWorker
        )
    }

    /// Plays until everything else is done.
    pub(crate) fn plays_to_the_end(self) -> bool {
        matches!(self, Role::Redriver | Role::Stranger)
    }

    pub(crate) fn reads_the_broadcast(self) -> bool {
        matches!(self, Role::Audit | Role::Durable | Role::Plain | Role::Evictable | Role::Observer)
    }

    pub(crate) fn team(self) -> Option<Team> {
        match self {
            Role::Worker => Some(Team::Steady),
            Role::FrailWorker => Some(Team::Frail),
            _ => None,
        }
    }
}

impl Team {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Team::Steady => "steady",
            Team::Frail => "frail",
        }
    }
}

/// The failure, for the exit code of the process that found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Lost,
    Corrupt,
    Doubled,
    Stuck,
    /// Something that should not fail failed.
    Failed,
}

impl Wrong {
    pub(crate) fn code(self) -> i32 {
        40 + self as i32
    }

    pub(crate) fn of_code(code: Option<i32>) -> Wrong {
        let all = [Wrong::Lost, Wrong::Corrupt, Wrong::Doubled, Wrong::Stuck];
        all.into_iter().find(|wrong| Some(wrong.code()) == code).unwrap_or(Wrong::Failed)
    }
}

/// The arguments of one process.
#[derive(Debug)]
pub(crate) struct Cast {
    pub(crate) role: Role,
    pub(crate) seat: u64,
    /// Which one in this seat, from 1.
    pub(crate) incarnation: u64,
    pub(crate) seed: u64,
    pub(crate) dir: PathBuf,
    pub(crate) plant: Option<Plant>,
    pub(crate) board: Board,
}

impl Cast {
    /// A variable for a child, and its value.
    pub(crate) fn to_env(
        role: Role,
        [seat, incarnation, seed]: [u64; 3],
        dir: &std::path::Path,
        plan: Plan,
        plant: Option<Plant>,
    ) -> (&'static str, String) {
        let plant = plant.and_then(|plant| plant.to_possible_value());
        let plant = plant.map_or(String::new(), |value| value.get_name().to_owned());
        let Plan { publishers, messages, files } = plan;
        let role = role as u64;
        let value = format!(
            "{role},{seat},{incarnation},{seed},{publishers},{messages},{files},{plant},{}",
            dir.display()
        );
        (VARIABLE, value)
    }

    /// The arguments of this process, if it is a child.
    pub(crate) fn from_env() -> Option<Cast> {
        let given = std::env::var(VARIABLE).ok()?;
        let mut fields = given.splitn(9, ',');
        let mut next = || fields.next().unwrap_or_default();
        let mut number = || next().parse::<u64>().expect("the parent gives numbers");
        let [role, seat, incarnation, seed] = [(); 4].map(|()| number());
        let plan = Plan { publishers: number(), messages: number(), files: number() };
        let plant = Plant::from_str(next(), false).ok();
        let dir = PathBuf::from(next());
        let role = ROLES[usize::try_from(role).unwrap_or(usize::MAX)];
        let board = Board::open(&board_path(&dir), plan).expect("the parent made it");
        Some(Cast { role, seat, incarnation, seed, dir, plant, board })
    }

    pub(crate) fn ring(&self, stream: Stream) -> PathBuf {
        ring_path(&self.dir, stream)
    }

    pub(crate) fn dice(&self) -> Dice {
        Dice::new(self.seed ^ self.seat << 32 ^ self.incarnation)
    }

    /// Says that it is at work.
    pub(crate) fn arrived(&self) {
        self.count(Entry::Joins, 1);
        self.board.seat(self.seat, Entry::Arrived).store(self.incarnation, SeqCst);
    }

    pub(crate) fn count(&self, entry: Entry, times: u64) {
        self.board.seat(self.seat, entry).fetch_add(times, SeqCst);
    }

    pub(crate) fn note(&self, entry: Entry, value: u64) {
        self.board.seat(self.seat, entry).store(value, SeqCst);
    }

    pub(crate) fn noted(&self, entry: Entry) -> u64 {
        self.board.seat(self.seat, entry).load(SeqCst)
    }

    /// True if this process shall make the mistake, now that it is warm.
    pub(crate) fn plants(&self, plant: Plant, done: u64) -> bool {
        self.plant == Some(plant) && done > 1000
    }

    /// Ends this process: what it found must not be.
    pub(crate) fn fail(&self, wrong: Wrong, what: impl fmt::Display) -> ! {
        eprintln!("\n{} in seat {}: {wrong:?}: {what}", self.role.name(), self.seat);
        std::process::exit(wrong.code());
    }

    /// Tries until it succeeds: another process may be stopped while it holds the table's lock.
    pub(crate) fn insist<T, E: fmt::Display>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, E>,
    ) -> T {
        let start = Instant::now();
        loop {
            match attempt() {
                Ok(done) => return done,
                Err(error) if start.elapsed() > PATIENCE => {
                    self.fail(Wrong::Stuck, format_args!("{what}: {error}"))
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

pub(crate) fn ring_path(dir: &std::path::Path, stream: Stream) -> PathBuf {
    dir.join(match stream {
        Stream::Broadcast => "broadcast",
        Stream::Groups => "groups",
        Stream::Fleeting => "fleeting",
    })
}

pub(crate) fn board_path(dir: &std::path::Path) -> PathBuf {
    dir.join("board")
}

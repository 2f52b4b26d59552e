//! Where in the protocol's source each access is made, and the one that is changed in this process.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The operation of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Atomic load.
    Load,
    /// Atomic store.
    Store,
    /// Compare-exchange, its ordering on success.
    Exchange,
    /// A fence.
    Fence,
    /// The cheap half of an asymmetric fence.
    LightFence,
    /// The dear half.
    HeavyFence,
}

const OPERATIONS: [(Operation, &str); 6] = [
    (Operation::Load, "load"),
    (Operation::Store, "store"),
    (Operation::Exchange, "exchange"),
    (Operation::Fence, "fence"),
    (Operation::LightFence, "light-fence"),
    (Operation::HeavyFence, "heavy-fence"),
];
const ORDERINGS: [(Ordering, &str); 5] = [
    (Relaxed, "relaxed"),
    (Acquire, "acquire"),
    (Release, "release"),
    (AcqRel, "acqrel"),
    (SeqCst, "seqcst"),
];

fn name_in<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> &'static str {
    table.iter().find(|(entry, _)| entry == value).map_or("?", |(_, name)| name)
}

fn value_in<T: Copy>(table: &[(T, &'static str)], name: &str) -> Option<T> {
    table.iter().find(|(_, entry)| *entry == name).map(|(value, _)| *value)
}

/// One access in the source. Displays as `file:line:column operation ordering`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// File, from the workspace on.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
    /// The operation.
    pub operation: Operation,
    /// With which ordering.
    pub ordering: Ordering,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, ordering) =
            (name_in(&OPERATIONS, &self.operation), name_in(&ORDERINGS, &self.ordering));
        write!(f, "{}:{}:{} {operation} {ordering}", self.file, self.line, self.column)
    }
}

impl FromStr for Site {
    type Err = ();
    fn from_str(text: &str) -> Result<Site, ()> {
        let mut parts = text.split(' ');
        let mut place = parts.next().ok_or(())?.rsplitn(3, ':');
        let mut number = || place.next().and_then(|n| n.parse().ok());
        let (column, line) = (number().ok_or(())?, number().ok_or(())?);
        Ok(Site {
            file: place.next().ok_or(())?.to_owned(),
            line,
            column,
            operation: parts.next().and_then(|name| value_in(&OPERATIONS, name)).ok_or(())?,
            ordering: parts.next().and_then(|name| value_in(&ORDERINGS, name)).ok_or(())?,
        })
    }
}

/// The change of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets this ordering.
    Weakened(Ordering),
    /// It has no effect; an exchange says that it had.
    Skipped,
    /// An exchange stores, whatever the word holds.
    Blind,
    /// A load returns the value that this thread last saw, if there is one: no second look.
    Remembered,
}

const CHANGES: [(Change, &str); 3] =
    [(Change::Skipped, "skipped"), (Change::Blind, "blind"), (Change::Remembered, "remembered")];

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Change::Weakened(to) => name_in(&ORDERINGS, to),
            _ => name_in(&CHANGES, self),
        })
    }
}

impl FromStr for Change {
    type Err = ();
    fn from_str(name: &str) -> Result<Change, ()> {
        value_in(&CHANGES, name).or_else(|| value_in(&ORDERINGS, name).map(Change::Weakened)).ok_or(())
    }
}

impl Site {
    /// The weakenings of the site; none if it orders nothing. A dropped fence is a relaxed one.
    pub fn weakenings(&self) -> Vec<Change> {
        let to = match (self.operation, self.ordering) {
            (_, Relaxed) => Vec::new(),
            (Operation::Fence, SeqCst) => vec![AcqRel, Relaxed],
            (_, AcqRel) => vec![Acquire, Release],
            _ => vec![Relaxed],
        };
        to.into_iter().map(Change::Weakened).collect()
    }

    /// How the step that is made here can be left out. Fences are weakened instead.
    pub fn omissions(&self) -> Vec<Change> {
        match self.operation {
            Operation::Load => vec![Change::Remembered],
            Operation::Store => vec![Change::Skipped],
            Operation::Exchange => vec![Change::Skipped, Change::Blind],
            Operation::Fence | Operation::LightFence | Operation::HeavyFence => Vec::new(),
        }
    }
}

static CHANGED: OnceLock<(Site, Change)> = OnceLock::new();
static DIFFERENCE: AtomicBool = AtomicBool::new(false);
static RECORDED: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();

/// Names a site and what is done to it, for a process that is told by its environment.
pub const CHANGE_VARIABLE: &str = "SLIPRING_CHANGE";

/// Changes one site for the rest of this process. Only the first call counts.
pub fn change(site: Site, change: Change) {
    let _ = CHANGED.set((site, change));
}

/// Changes what the environment says.
///
/// # Panics
///
/// If it says what cannot be done.
pub fn change_as_told() {
    let Ok(told) = std::env::var(CHANGE_VARIABLE) else { return };
    let parts = told.rsplit_once(' ').and_then(|(site, to)| Some((site.parse().ok()?, to.parse().ok()?)));
    let (site, to) = parts.unwrap_or_else(|| panic!("{CHANGE_VARIABLE}={told}"));
    change(site, to);
}

/// The change of this process made a difference.
pub fn note_difference() {
    DIFFERENCE.store(true, SeqCst);
}

/// True if a changed load gave anything else than what was there.
pub fn made_a_difference() -> bool {
    DIFFERENCE.load(SeqCst)
}

/// Notes every site that is reached from now on.
pub fn record() {
    let _ = RECORDED.set(Mutex::default());
}

/// The sites that were reached, in order.
pub fn recorded() -> Vec<String> {
    let Some(recorded) = RECORDED.get() else { return Vec::new() };
    recorded.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// True if some load of this process gives what was known before.
pub fn remembers() -> bool {
    CHANGED.get().is_some_and(|(_, change)| *change == Change::Remembered)
}

/// The change of the access at `location` in this process; none if it runs as written.
pub fn changed(location: &Location<'_>, operation: Operation, ordering: Ordering) -> Option<Change> {
    if let Some(recorded) = RECORDED.get() {
        note(recorded, location, operation, ordering);
    }
    let (site, change) = CHANGED.get()?;
    let is_it = site.line == location.line()
        && site.column == location.column()
        && site.operation == operation
        && site.ordering == ordering
        && location.file().ends_with(&site.file);
    is_it.then_some(*change)
}

fn note(
    recorded: &Mutex<BTreeSet<String>>,
    location: &Location<'_>,
    operation: Operation,
    ordering: Ordering,
) {
    let file = location.file();
    let site = Site {
        file: file.find("crates/").map_or(file, |at| &file[at..]).to_owned(),
        line: location.line(),
        column: location.column(),
        operation,
        ordering,
    };
    recorded.lock().unwrap_or_else(PoisonError::into_inner).insert(site.to_string());
}

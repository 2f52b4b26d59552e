//! Where in the protocol's source each access is made, and the one that is weakened in this process.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::str::FromStr;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError};

/// What an access does.
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

/// One ordered access in the source. Displays as `file:line:column operation ordering`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// File, from the `src` folder on.
    pub file: String,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
    /// What it does.
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

impl Site {
    /// What the site can be weakened to; none where there is nothing to weaken. A dropped fence is a
    /// relaxed one.
    pub fn weakenings(&self) -> Vec<Ordering> {
        match (self.operation, self.ordering) {
            (_, Relaxed) => Vec::new(),
            (Operation::Fence, SeqCst) => vec![AcqRel, Relaxed],
            (_, AcqRel) => vec![Acquire, Release],
            _ => vec![Relaxed],
        }
    }
}

/// The name of an ordering as the command line has it.
pub fn ordering_name(ordering: Ordering) -> &'static str {
    name_in(&ORDERINGS, &ordering)
}

/// The ordering of a name.
pub fn ordering_of(name: &str) -> Option<Ordering> {
    value_in(&ORDERINGS, name)
}

/// One site and the ordering that it gets instead of its own.
#[derive(Clone, Debug)]
pub struct Weakening {
    /// Where.
    pub site: Site,
    /// To what.
    pub to: Ordering,
}

static WEAKENING: OnceLock<Weakening> = OnceLock::new();
static RECORDED: OnceLock<Mutex<BTreeSet<String>>> = OnceLock::new();

/// Weakens one site for the rest of this process. Only the first call counts.
pub fn weaken(weakening: Weakening) {
    let _ = WEAKENING.set(weakening);
}

/// Notes every ordered site that is reached from now on.
pub fn record() {
    let _ = RECORDED.set(Mutex::default());
}

/// The sites that were reached, in order.
pub fn recorded() -> Vec<String> {
    let Some(recorded) = RECORDED.get() else { return Vec::new() };
    recorded.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
}

/// The ordering that an access at `location` gets in this process.
pub(crate) fn effective(location: &Location<'_>, operation: Operation, ordering: Ordering) -> Ordering {
    if ordering == Relaxed {
        return Relaxed;
    }
    if let Some(recorded) = RECORDED.get() {
        let file = location.file();
        let site = Site {
            file: file.find("src/").map_or(file, |at| &file[at..]).to_owned(),
            line: location.line(),
            column: location.column(),
            operation,
            ordering,
        };
        recorded.lock().unwrap_or_else(PoisonError::into_inner).insert(site.to_string());
    }
    match WEAKENING.get() {
        Some(Weakening { site, to })
            if site.line == location.line()
                && site.column == location.column()
                && site.operation == operation
                && site.ordering == ordering
                && location.file().ends_with(&site.file) =>
        {
            *to
        }
        _ => ordering,
    }
}

//! Every system that can be measured. To add one: a file here that implements `System` and
//! `AcrossProcesses` or `AcrossThreads`, and its line below.

#[cfg(feature = "aeron")]
mod aeron;
#[cfg(feature = "peers")]
mod crossbeam;
#[cfg(feature = "peers")]
mod disruptor;
mod floor;
mod futex;
#[cfg(feature = "peers")]
mod iceoryx2;
mod pipe;
mod posix_mq;
#[cfg(feature = "peers")]
mod ringfire;
#[cfg(feature = "peers")]
mod rtrb;
#[cfg(feature = "shaq")]
mod shaq;
mod shared;
mod slipring;
mod sysv;
mod unix;

use crate::channel::{AcrossProcesses, AcrossThreads, Failure, System};
use crate::group;
use crate::place::Place;
use crate::run::{Measure, Outcome};

/// The description of a system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) measures: &'static [Measure],
    pub(crate) largest: fn() -> usize,
    pub(crate) remove: fn(&Place),
    /// Its ends are threads of one process.
    pub(crate) is_threads: bool,
}

/// Something that is done with a system, whichever it is.
pub(crate) trait Visitor {
    fn processes<const N: usize, S: AcrossProcesses<N>>(self) -> Result<Outcome, Failure>;
    fn threads<const N: usize, S: AcrossThreads<N>>(self) -> Result<Outcome, Failure>;
}

macro_rules! by_size {
    (small, $size:expr, $visitor:ident, $visit:ident, $system:ty) => {
        match $size {
            8 => $visitor.$visit::<8, $system>(),
            48 => $visitor.$visit::<48, $system>(),
            64 => $visitor.$visit::<64, $system>(),
            1024 => $visitor.$visit::<1024, $system>(),
            other => Err(format!("not compiled for messages of {other} bytes").into()),
        }
    };
    (any, $size:expr, $visitor:ident, $visit:ident, $system:ty) => {
        match $size {
            8 => $visitor.$visit::<8, $system>(),
            48 => $visitor.$visit::<48, $system>(),
            64 => $visitor.$visit::<64, $system>(),
            1024 => $visitor.$visit::<1024, $system>(),
            65536 => $visitor.$visit::<65536, $system>(),
            other => Err(format!("not compiled for messages of {other} bytes").into()),
        }
    };
}

macro_rules! systems {
    ($($(#[$when:meta])? $visit:ident $sizes:ident $system:ty;)*) => {
        /// All of them, in the order in which they are measured and shown.
        pub(crate) fn all() -> Vec<Entry> {
            let mut all = vec![$($(#[$when])? entry::<$system>(stringify!($visit) == "threads")),*];
            all.extend(group::entries());
            all
        }

        /// Does something with the system of this name that can be measured so.
        pub(crate) fn visit(
            name: &str,
            measure: Measure,
            size: usize,
            visitor: impl Visitor,
        ) -> Result<Outcome, Failure> {
            $($(#[$when])?
            if name == <$system>::NAME && <$system>::MEASURES.contains(&measure) {
                return by_size!($sizes, size, visitor, $visit, $system);
            })*
            Err(format!("{name} has no measure {}", measure.name()).into())
        }
    };
}

// `small`: not for messages of 64 KiB.
systems! {
    processes any floor::Line;
    processes small floor::OneWord;
    processes any floor::Slots;
    processes any floor::Cursor<0>;
    processes any floor::Cursor<16>;
    processes any floor::Cursor<8>;
    processes any futex::Futex;
    processes any slipring::Spinning;
    processes any slipring::Parking;
    processes any slipring::AmongMany;
    #[cfg(feature = "peers")] processes small ringfire::Ringfire;
    #[cfg(feature = "peers")] processes any iceoryx2::Iceoryx2;
    #[cfg(feature = "shaq")] processes any shaq::Shaq;
    #[cfg(feature = "aeron")] processes any aeron::Aeron;
    #[cfg(feature = "peers")] threads any rtrb::Rtrb;
    #[cfg(feature = "peers")] threads any disruptor::Disruptor;
    #[cfg(feature = "peers")] threads any crossbeam::Crossbeam;
    processes any pipe::Pipe;
    processes any unix::Unix;
    processes any sysv::SystemV;
    processes any posix_mq::PosixQueue;
}

fn entry<S: System>(is_threads: bool) -> Entry {
    Entry {
        name: S::NAME,
        about: S::ABOUT,
        measures: S::MEASURES,
        largest: S::largest,
        remove: S::remove,
        is_threads,
    }
}

/// A number that the kernel keeps in a file; a page if it does not say.
fn kernel_limit(path: &str) -> usize {
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(4096)
}

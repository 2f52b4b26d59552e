//! The common part of the examples: Ctrl-C, exit codes, numbers on the command line.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Any error that ends a program early. Its text has the way out.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// True after Ctrl-C or SIGTERM.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From now on the first Ctrl-C, SIGTERM or SIGHUP is noted ([`interrupted`]) and ends a blocking
/// read; the second one ends the process as it always does.
pub(crate) fn catch_interrupts() {
    extern "C" fn note(_signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a `sigaction` of zeroes is a valid one: no handler, an empty mask, no flags.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESETHAND;
        // SAFETY: `action` is initialised; the handler stores to an atomic, which a handler may.
        let installed = unsafe { libc::sigaction(signal, &action, std::ptr::null_mut()) };
        debug_assert_eq!(installed, 0, "these three signals can be caught");
    }
}

/// A command line that cannot be understood.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; --help shows what is understood", self.0)
    }
}

impl Error for Usage {}

/// 0 if it went well or the reader of the output has gone, 2 for a bad command line, 130 if
/// Ctrl-C ended it before its end, else 1.
pub(crate) fn exit(program: &str, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    if failure.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    eprintln!("{program}: {failure}");
    ExitCode::from(match failure.is::<Usage>() {
        true => 2,
        false if interrupted() => 130,
        false => 1,
    })
}

/// A number on the command line; `1_000_000` is one, too.
pub(crate) fn number<T: std::str::FromStr>(option: &str, value: Option<&str>) -> Result<T, Usage> {
    let value = value.ok_or_else(|| Usage(format!("{option} needs a number")))?;
    let parsed = value.replace('_', "").parse();
    parsed.map_err(|_| Usage(format!("{option} {value:?} is not a number, or out of range")))
}

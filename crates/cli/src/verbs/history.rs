//! `history`: the messages of a journal, to standard output.

use crate::exit::{Failure, Outcome};
use crate::facts;
use crate::format::{Format, FormatOptions, View};
use crate::output;
use crate::parse::Origin;
use crate::signals::{self, Deadline};
use crate::verbs::journal;
use serde_json::Value;
use slipring::{RingId, Start};
use slipring_journal::{Description, History, HistoryError, HistoryMessage, readers};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The size at which the output is written, at the latest.
const ENOUGH: usize = 256 * 1024;
/// The time between two looks of `--follow`.
const LOOK: Duration = Duration::from_millis(50);

/// Prints the messages of a journal, from the earliest one on
///
/// Needs no ring and no journal that runs, and no more than read permission.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A time is UTC: 2026-11-29, 2026-11-29T12:00 or 2026-11-29T12:00:00.5. It finds the first message that was committed \
then or later. With --json each message has the time of its commit, too.

Messages that are missing end the output with exit code 7, and an error with their positions; with --skip-gaps the \
output goes on behind them.

Examples:
  slipring history /var/lib/orders --from 2026-11-29T12:00 --json
  slipring history /var/lib/orders --from 17 --count 1
  slipring history /var/lib/orders --name audit >> audit.log      # goes on where it stopped")]
pub(crate) struct HistoryArgs {
    /// The directory of the journal
    dir: PathBuf,
    /// Where to begin: earliest, latest, a position, -N for N messages back from the end, or a time
    #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
    from: Beginning,
    /// The ring, where the directory has the journals of several
    #[arg(long, value_name = "ID")]
    ring: Option<RingId>,
    /// Ends after so many messages; with exit code 4 if it ends before
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Waits at the end for what is committed later
    #[arg(long)]
    follow: bool,
    /// Reads as the reader of this name: goes on where it stopped, and retention keeps what it has
    /// not read, up to a limit, until `slipring journal forget`
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Goes on behind messages that are missing, and says on standard error which
    #[arg(long)]
    skip_gaps: bool,
    #[command(flatten)]
    format: FormatOptions,
}

/// Where to begin: in positions, or at a time.
#[derive(Clone, Copy, Debug)]
enum Beginning {
    At(Origin),
    Time(SystemTime),
}

impl FromStr for Beginning {
    type Err = String;
    fn from_str(text: &str) -> Result<Beginning, String> {
        if let Ok(origin) = text.parse() {
            return Ok(Beginning::At(origin));
        }
        let zone = text.strip_suffix('Z').unwrap_or(text);
        // A date, or one with hours and minutes, is completed.
        let whole = match zone.len() {
            10 => format!("{zone}T00:00:00"),
            16 => format!("{zone}:00"),
            _ => zone.to_owned(),
        };
        humantime::parse_rfc3339_weak(&whole).map(Beginning::Time).map_err(|_| {
            format!("{text:?} is not earliest, latest, N, -N or a time such as 2026-11-29T12:00")
        })
    }
}

pub(crate) fn run(args: &HistoryArgs) -> Outcome {
    args.format.parse(None).map_err(Failure::usage)?;
    let mut history = journal::open(&args.dir, args.ring)?;
    let schema = Description::load(history.home()).ok().and_then(|description| description.schema);
    let mut sink = Sink {
        out: output::stdout()?,
        pending: Vec::with_capacity(ENOUGH + 4096),
        format: args.format.parse(schema.as_deref()).map_err(Failure::usage)?,
        written: 0,
    };
    begin(args, &mut history)?;
    let outcome = copy(args, &mut history, &mut sink);
    sink.flush()?;
    note_position(args, &history)?;
    outcome?;
    match args.count.filter(|count| sink.written < *count && !signals::interrupted()) {
        Some(count) => Err(Failure::empty(format!(
            "{}: {} of {} were there",
            args.dir.display(),
            sink.written,
            output::count(count, "message")
        ))),
        None => Ok(()),
    }
}

/// Goes to the beginning.
fn begin(args: &HistoryArgs, history: &mut History) -> Outcome {
    if let Some(name) = &args.name {
        if let Some(position) = readers::position(history.home(), name)? {
            history.seek(Start::At(position))?;
            return Ok(());
        }
    }
    match args.from {
        Beginning::At(origin) => history.seek(facts::start(origin))?,
        Beginning::Time(time) => {
            if history.seek_time(time)?.clock_was_behind {
                output::note(
                    "the system clock had been set back before that: messages from before the step have the same time",
                );
            }
        }
    }
    note_position(args, history)
}

/// Messages that were not written out are read again by the next reader of this name.
fn note_position(args: &HistoryArgs, history: &History) -> Outcome {
    match &args.name {
        Some(name) => Ok(readers::note(history.home(), name, history.position())?),
        None => Ok(()),
    }
}

fn copy(args: &HistoryArgs, history: &mut History, sink: &mut Sink) -> Outcome {
    let mut noted = Deadline::after(Some(Duration::from_secs(1)));
    while sink.written < args.count.unwrap_or(u64::MAX) && !signals::interrupted() {
        match history.next() {
            Ok(Some(message)) => sink.take(&message),
            Ok(None) if args.follow => {
                sink.flush()?;
                note_position(args, history)?;
                signals::sleep(LOOK);
                continue;
            }
            Ok(None) => return Ok(()),
            Err(error) if args.skip_gaps && is_gap(&error) => {
                output::note(&error.to_string());
                history.skip_gap();
            }
            Err(error) => return Err(error.into()),
        }
        if sink.pending.len() >= ENOUGH {
            sink.flush()?;
            if noted.is_over() {
                note_position(args, history)?;
                noted = Deadline::after(Some(Duration::from_secs(1)));
            }
        }
    }
    Ok(())
}

/// True if something follows what is missing.
fn is_gap(error: &HistoryError) -> bool {
    matches!(
        error,
        HistoryError::Gone { .. }
            | HistoryError::Hole { .. }
            | HistoryError::Damaged { .. }
            | HistoryError::Head { to: Some(_), .. }
    )
}

/// The output, and how much was written.
struct Sink {
    out: File,
    pending: Vec<u8>,
    format: Format,
    written: u64,
}

impl Sink {
    fn take(&mut self, message: &HistoryMessage<'_>) {
        self.written += 1;
        let view = View { position: message.position, kind: message.kind, bytes: message.bytes };
        self.format.append_with(&mut self.pending, self.written, view, |value| {
            value["committed"] = Value::from(time(message.committed));
        });
    }

    fn flush(&mut self) -> Outcome {
        self.out.write_all(&self.pending)?;
        self.pending.clear();
        Ok(())
    }
}

/// A time as it is written in JSON.
pub(crate) fn time(time: SystemTime) -> String {
    // Beyond the year 9999 there is no notation; no clock says so.
    let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_nanos(time.min(last)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_short() {
        let noon = UNIX_EPOCH + Duration::from_secs(1_795_953_600);
        for text in ["2026-11-29T12:00", "2026-11-29T12:00Z", "2026-11-29 12:00:00", "2026-11-29T12:00:00.0Z"]
        {
            assert!(matches!(text.parse(), Ok(Beginning::Time(time)) if time == noon), "{text}");
        }
        assert!(matches!("2026-11-29".parse(), Ok(Beginning::Time(time)) if time < noon));
        assert!(matches!("17".parse(), Ok(Beginning::At(Origin::At(17)))));
        assert!("noon".parse::<Beginning>().is_err() && "2026-13-01".parse::<Beginning>().is_err());
        assert_eq!(time(noon), "2026-11-29T12:00:00.000000000Z");
    }
}

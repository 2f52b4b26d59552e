//! `dump`: the messages of a ring, into a file.

use crate::archive::{Head, Writer};
use crate::exit::{Failure, Outcome};
use crate::facts;
use crate::format::View;
use crate::new_file::NewFile;
use crate::output;
use crate::parse::Origin;
use crate::place;
use crate::progress;
use crate::signals;
use slipring::{Observer, RecvError, Ring};
use std::io::{self, BufWriter, ErrorKind};
use std::path::{Path, PathBuf};

/// Writes the messages of a ring to a file, read-only; `restore` reads it. The positions of
/// consumers and groups are not in it
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Everything up to the head at the time is written, or, where the producer was faster, what it had not overwritten. \
Messages, with their kinds and positions, and nothing else: how far consumers and groups have come, groups' settings and \
dead letters are not in it. A file that is named with -o appears when it is whole, or not at all. Never copy a live ring \
with cp: the copy is torn, and says that it is the same ring.

Examples:
  slipring dump /dev/shm/news > news.jsonl
  slipring dump /dev/shm/news --binary -o news.dump && slipring restore /dev/shm/copy -f news.dump")]
pub(crate) struct Dump {
    /// The ring
    path: PathBuf,
    /// The first message: earliest, a position, or -N for N messages back from the head
    #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
    from: Origin,
    /// Ends before this position [default: the head]
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
    /// Small and fast, instead of JSON lines
    #[arg(long)]
    binary: bool,
    /// Writes a new file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Dump) -> Outcome {
    let ring = Ring::open(&args.path)?;
    let end = args.to.unwrap_or(u64::MAX).min(ring.head());
    let mut observer =
        Observer::<[u8]>::attach(place::of_any_type(&args.path), facts::start(&ring, args.from))?;
    let from = observer.position();
    let cannot = |error: io::Error| {
        let path = args.output.as_deref().unwrap_or(Path::new("-")).display();
        Failure::error(match error.kind() {
            ErrorKind::AlreadyExists => format!("{path}: is there already; name another file, or remove it"),
            _ => format!("{path}: cannot be made: {error}"),
        })
    };
    let file = args.output.as_deref().map(NewFile::begin).transpose().map_err(cannot)?;
    let out = file.as_ref().map_or_else(output::stdout, NewFile::writer)?;
    let head = Head {
        ring: ring.id().to_string(),
        block_size: ring.block_size() as u64,
        capacity: ring.capacity(),
        from,
    };
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, out), args.binary, &head)?;
    let bar = progress::messages(end.saturating_sub(from));
    let mut missed = 0;
    while observer.position() < end {
        if signals::interrupted() {
            return Err(Failure::error("interrupted: what was written is not complete"));
        }
        match observer.try_recv() {
            Ok(message) if message.position() < end => {
                writer.message(View {
                    position: message.position(),
                    kind: message.kind(),
                    bytes: &message,
                })?;
            }
            Ok(_) => {}
            // It may have been lapped beyond the end.
            Err(RecvError::Lagged { missed: gone }) => {
                missed += gone - observer.position().saturating_sub(end).min(gone);
            }
            Err(RecvError::Empty | RecvError::Closed) => {
                return Err(Failure::error(format!(
                    "{0}: nothing is at position {1}, though the head is {end}: the ring is not sound; slipring check {0} \
                     says more, and --to {1} writes what comes before",
                    args.path.display(),
                    observer.position(),
                )));
            }
            Err(error) => return Err(error.into()),
        }
        bar.set_position(observer.position().min(end) - from);
    }
    bar.finish_and_clear();
    writer.end()?;
    file.map_or(Ok(()), NewFile::finish).map_err(cannot)?;
    if missed > 0 {
        output::note(&format!(
            "overwritten before they were written out: {}",
            output::count(missed, "message")
        ));
    }
    Ok(())
}

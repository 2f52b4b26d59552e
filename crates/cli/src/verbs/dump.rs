//! `dump`: the messages of a ring, into a file.

use crate::archive::{Head, Writer};
use crate::exit::{Failure, Outcome};
use crate::facts;
use crate::format::View;
use crate::new_file::NewFile;
use crate::output;
use crate::parse::Origin;
use crate::progress;
use crate::signals;
use slipring::{At, AtPath, AttachError, Error, Observer, OpenError, RecvError, Ring, Start};
use std::io::{self, BufWriter, ErrorKind, Write};
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
    /// Writes what can be read of a damaged ring: of a file that was cut short, whose header or
    /// counts were changed, or a part of which the disk cannot read. Messages that are damaged are
    /// left out, and counted
    #[arg(long)]
    salvage: bool,
    /// Small and fast, instead of JSON lines
    #[arg(long)]
    binary: bool,
    /// Writes a new file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Dump) -> Outcome {
    let mut stream = Stream::open(args)?;
    let (from, end) = (stream.observer.position(), args.to.unwrap_or(u64::MAX).min(stream.ring.head()));
    let cannot = |error: io::Error| {
        let path = args.output.as_deref().unwrap_or(Path::new("-")).display();
        Failure::error(match error.kind() {
            ErrorKind::AlreadyExists => format!("{path}: is there already; name another file, or remove it"),
            _ => format!("{path}: cannot be made: {error}"),
        })
    };
    let file = args.output.as_deref().map(NewFile::begin).transpose().map_err(cannot)?;
    let out = file.as_ref().map_or_else(output::stdout, NewFile::writer)?;
    let out = BufWriter::with_capacity(1 << 20, out);
    let mut writer = Writer::new(out, args.binary, &stream.head(from))?;
    let bar = progress::messages(end.saturating_sub(from));
    while stream.observer.position() < end {
        if signals::interrupted() {
            return Err(Failure::error("interrupted: what was written is not complete"));
        }
        stream.step(end, &mut writer)?;
        bar.set_position(stream.observer.position().min(end) - from);
    }
    bar.finish_and_clear();
    writer.end()?;
    file.map_or(Ok(()), NewFile::finish).map_err(cannot)?;
    stream.tell_what_is_missing();
    Ok(())
}

/// The messages of a ring, or of what can be read of it.
struct Stream<'a> {
    args: &'a Dump,
    ring: Ring,
    observer: Observer,
    /// With --salvage: the positions of messages that are damaged.
    damaged: Option<Vec<u64>>,
    /// Messages that the producer overwrote, or that are damaged.
    missed: u64,
}

impl Stream<'_> {
    fn open(args: &Dump) -> Result<Stream<'_>, Failure> {
        let (ring, damaged) = if args.salvage {
            let salvage = Ring::salvage(&args.path)?;
            salvage
                .faults
                .iter()
                .for_each(|fault| output::note(&format!("{}: {fault}", args.path.display())));
            (salvage.ring, Some(salvage.damaged))
        } else {
            (Ring::open(&args.path).map_err(|error| of_damage(args, error))?, None)
        };
        let start = facts::start(args.from);
        let attached = Observer::<[u8]>::attach(At::ring(&ring).any_type(), start);
        let observer = attached.map_err(|error| match damaged {
            Some(_) => error.into(),
            None => of_damage(args, error),
        })?;
        Ok(Stream { args, ring, observer, damaged, missed: 0 })
    }

    fn head(&self, from: u64) -> Head {
        Head {
            ring: self.ring.id().to_string(),
            block_size: self.ring.block_size() as u64,
            capacity: self.ring.capacity(),
            from,
            schema: self.ring.schema().map(str::to_owned),
        }
    }

    /// Writes the next message, or passes what is missing before it.
    fn step<W: Write>(&mut self, end: u64, writer: &mut Writer<W>) -> Outcome {
        let position = self.observer.position();
        let is_damaged = |all: &Vec<u64>| all.binary_search(&position).is_ok();
        if self.damaged.as_ref().is_some_and(is_damaged) {
            return self.skip();
        }
        match self.observer.try_recv() {
            Ok(message) if message.position() < end => {
                let view = View { position: message.position(), kind: message.kind(), bytes: &message };
                writer.message(view)?;
            }
            Ok(_) => {}
            // The observer may have been lapped beyond the end.
            Err(RecvError::Lagged { missed: gone }) => {
                self.missed += gone - self.observer.position().saturating_sub(end).min(gone);
            }
            Err(_) if self.damaged.is_some() => return self.skip(),
            Err(RecvError::Empty | RecvError::Closed) => {
                return Err(Failure::error(format!(
                    "{0}: nothing is at position {1}, though the head is {end}: the ring is not sound; slipring check {0} \
                     says more, and --salvage writes what can be read",
                    self.args.path.display(),
                    self.observer.position(),
                )));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Passes a message that is damaged.
    fn skip(&mut self) -> Outcome {
        self.missed += 1;
        let next = Start::At(self.observer.position() + 1);
        self.observer = Observer::attach(At::ring(&self.ring).any_type(), next)?;
        Ok(())
    }

    fn tell_what_is_missing(&self) {
        if self.missed == 0 {
            return;
        }
        let missed = output::count(self.missed, "message");
        match self.damaged.as_deref() {
            None => output::note(&format!("overwritten before they were written out: {missed}")),
            Some(all) => {
                let first: Vec<_> = all.iter().take(10).map(u64::to_string).collect();
                let more = if all.len() > first.len() { ", ..." } else { "" };
                let positions = first.join(", ");
                output::note(&format!("left out, since they are damaged: {missed}, at {positions}{more}"));
            }
        }
    }
}

/// The error of a ring that is damaged, with the way to what can be read of it.
fn of_damage<E>(args: &Dump, error: AtPath<E>) -> Failure
where
    Error: From<AtPath<E>>,
{
    let error = Error::from(error);
    let is_damage = matches!(
        &error,
        Error::Open(AtPath { error, .. }) | Error::Attach(AtPath { error: AttachError::Open(error), .. })
            if matches!(
                error,
                OpenError::Checksum { .. } | OpenError::Incomplete | OpenError::Length { .. } | OpenError::Damaged(_)
            )
    );
    match is_damage {
        true => Failure::error(format!(
            "{error}; slipring dump --salvage {} writes what can be read",
            args.path.display()
        )),
        false => error.into(),
    }
}

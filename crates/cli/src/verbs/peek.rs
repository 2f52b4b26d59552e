//! `peek`: messages at a position, read-only.

use crate::exit::{Failure, Outcome};
use crate::facts;
use crate::format::{FormatOptions, View};
use crate::output;
use crate::parse::Origin;
use crate::place;
use slipring::{Observer, RecvError, Ring, Start};
use std::io::Write as _;
use std::path::PathBuf;

/// Prints the message at a position, read-only
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  slipring peek /dev/shm/news 1042
  slipring peek /dev/shm/news -1 --hex       # the last one
  slipring peek /dev/shm/news earliest -c 10 --json")]
pub(crate) struct Peek {
    /// The ring
    path: PathBuf,
    /// Which: a position, -N for N messages back from the head, or earliest
    #[arg(allow_hyphen_values = true)]
    position: Origin,
    /// So many messages from there on
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    count: u64,
    #[command(flatten)]
    format: FormatOptions,
}

pub(crate) fn run(args: &Peek) -> Outcome {
    args.format.parse(None).map_err(Failure::usage)?;
    let ring = Ring::open(&args.path)?;
    let format = args.format.parse_for_people(ring.schema()).map_err(Failure::usage)?;
    let start = match args.position {
        // That message and no later one, as a position.
        Origin::Back(n) => Start::At(ring.head().saturating_sub(n).max(ring.first_position())),
        position => facts::start(position),
    };
    let mut observer = Observer::<[u8]>::attach(place::of_any_type(&args.path), start)?;
    let mut stdout = output::stdout()?;
    let mut out = Vec::new();
    for number in 1..=args.count {
        let message = match observer.try_recv() {
            Ok(message) => message,
            Err(RecvError::Closed | RecvError::Empty) => {
                stdout.write_all(&out)?;
                return Err(Failure::empty(format!(
                    "{}: nothing is published at {} yet",
                    args.path.display(),
                    observer.position()
                )));
            }
            Err(error) => return Err(error.into()),
        };
        if let (Start::At(asked), 1) = (start, number) {
            if message.position() != asked {
                return Err(Failure::empty(format!(
                    "{}: {asked} has been overwritten; the oldest message left is about {}",
                    args.path.display(),
                    message.position()
                )));
            }
        }
        let view = View { position: message.position(), kind: message.kind(), bytes: &message };
        format.append(&mut out, number, view);
    }
    Ok(stdout.write_all(&out)?)
}

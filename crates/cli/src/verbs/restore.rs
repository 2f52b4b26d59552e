//! `restore`: messages from a file that `dump` wrote, into a ring.

use crate::archive::{Head, Message, Reader};
use crate::exit::{Failure, Outcome};
use crate::facts::Facts;
use crate::output;
use crate::parse;
use crate::place::{self, Trust};
use crate::progress;
use crate::signals::{self, Deadline};
use crate::source::Source;
use crate::verbs::stat;
use slipring::{
    AtPath, Observer, OpenError, Producer, RecvError, Ring, RingId, RingOptions, SendError, Start,
};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Publishes a dump: into a new ring, with the same positions, or at the head of an existing ring
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
A ring that is made here has the block size and the capacity of the one that was dumped, and no groups and no \
durable consumers: make it with `slipring create` first for more. Input that was cut short or changed is an error; \
what came before is published.

With --journal the ring is made anew as it was, with an id of its own, the last messages that are on the disk, and its \
durable consumers and groups where the journal knows that they had come; on standard error it says how many messages \
each may get again. Nobody sees the ring before it is complete; killed at any moment, the command can be given again. \
Start the journal and the other readers before the producer.

Examples:
  slipring restore /dev/shm/copy < news.jsonl
  slipring restore --journal /var/lib/orders /dev/shm/orders   # after a power cut
  slipring dump /dev/shm/a --binary | slipring restore /dev/shm/b")]
pub(crate) struct Restore {
    /// The ring; made if it does not exist
    path: PathBuf,
    /// Reads this file instead of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Makes the ring anew from its journal under this directory, because its file is lost
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "timeout"])]
    journal: Option<PathBuf>,
    /// The ring whose journal it is, of several under the directory
    #[arg(long, value_name = "ID", requires = "journal")]
    ring: Option<RingId>,
    /// Waits for room so long, then fails with exit code 5 [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = parse::duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    trust: Trust,
}

pub(crate) fn run(args: &Restore) -> Outcome {
    if let Some(directory) = &args.journal {
        return from_journal(args, directory);
    }
    let input = BufReader::with_capacity(1 << 20, Source::open(args.file.as_deref())?);
    let (head, mut reader) = Reader::open(input)?;
    let (ring, is_new) = find_or_make(&args.path, &head)?;
    if ring.dead_letters_of().is_some() {
        return Err(Failure::error(format!(
            "{}: holds dead letters, which only workers write; restore them into a ring of their own",
            args.path.display()
        )));
    }
    reader.limit(ring.block_size() as u64);
    let mut target = Target::open(args, is_new)?;
    let bar = progress::messages(head.capacity);
    let (mut count, mut moved) = (0, false);
    let mut again = Present::new(&args.path, &ring)?;
    while let Some(message) = reader.next()? {
        for message in again.pass(message)? {
            if is_new && !moved && message.position != target.producer.head() {
                moved = true;
                output::note(&format!(
                    "position {} and what follows get other positions: the dump has a gap before it",
                    message.position
                ));
            }
            if !target.publish(&message)? {
                let restored = output::are(again.held() + count, "message");
                return Err(Failure::error(format!("interrupted: {restored} restored")));
            }
            count += 1;
            bar.set_position(count);
        }
    }
    bar.finish_and_clear();
    if again.held() > 0 {
        let there = output::are(again.held(), "message");
        output::note(&format!("{there} there already, at the same position, and not published again"));
    }
    output::note(&format!(
        "{} restored, up to position {}",
        output::count(count, "message"),
        target.producer.head()
    ));
    Ok(())
}

/// The messages of a dump that lie in the ring already, where the dump says: a restore that did not
/// end left them, or it is the ring that was dumped. One that differs means that the ring is
/// another, and all are new.
struct Present {
    ring: Observer,
    /// Where the ring ended before.
    end: u64,
    held: Vec<Message>,
    is_another: bool,
}

impl Present {
    fn new(path: &Path, ring: &Ring) -> Result<Present, Failure> {
        let observer = Observer::<[u8]>::attach(place::of_any_type(path), Start::Earliest)?;
        Ok(Present { ring: observer, end: ring.head(), held: Vec::new(), is_another: false })
    }

    /// How many are there.
    fn held(&self) -> u64 {
        self.held.len() as u64
    }

    /// Takes the next message, and returns the messages up to it that are to be published.
    fn pass(&mut self, message: Message) -> Result<Vec<Message>, Failure> {
        if self.is_another || message.position >= self.end {
            return Ok(vec![message]);
        }
        let is_there = self.holds(&message)?;
        self.held.push(message);
        if is_there {
            return Ok(Vec::new());
        }
        self.is_another = true;
        Ok(std::mem::take(&mut self.held))
    }

    fn holds(&mut self, message: &Message) -> Result<bool, Failure> {
        while self.ring.position() <= message.position {
            match self.ring.try_recv() {
                Ok(found) if found.position() < message.position => {}
                Ok(found) => {
                    let same = (found.position(), found.kind(), &*found)
                        == (message.position, message.kind, message.bytes.as_slice());
                    return Ok(same);
                }
                Err(RecvError::Lagged { .. }) => {}
                Err(RecvError::Empty | RecvError::Closed) => return Ok(false),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}

/// Makes the ring anew from its journal, and says what that means for its readers.
fn from_journal(args: &Restore, directory: &Path) -> Outcome {
    let restored = slipring_journal::restore(directory, args.ring, &args.path)
        .map_err(|error| Failure::error(error.to_string()))?;
    let (path, watermark) = (args.path.display(), restored.watermark);
    let what = if restored.was_there { "was restored before" } else { "restored" };
    output::note(&format!(
        "{path}: {what}: {}, positions {} to {watermark}, of ring {}; from {watermark} on its messages are its own",
        output::count(watermark - restored.first_position, "message"),
        restored.first_position,
        restored.lost,
    ));
    for member in &restored.members {
        let role = if member.is_group { "group" } else { "durable consumer" };
        let (name, begins_at) = (&member.name, member.begins_at);
        let again = output::count(member.again(watermark), "message");
        let mut told = format!("{role} {name:?} goes on at {begins_at}: it may get {again} again");
        if member.undone(watermark) > 0 {
            let undone = output::count(member.undone(watermark), "message");
            told += &format!(
                "; it had had {undone} from {watermark} on that are not on the disk, and are undone"
            );
        }
        output::note(&told);
    }
    Ok(())
}

/// The ring, and whether it was made just now.
fn find_or_make(path: &Path, head: &Head) -> Result<(Ring, bool), Failure> {
    match Ring::open(path) {
        Err(AtPath { error: OpenError::NotFound, .. }) => {}
        other => return Ok((other?, false)),
    }
    let size = |n| usize::try_from(n).unwrap_or(usize::MAX);
    let options = RingOptions::new(size(head.block_size), size(head.capacity)).first_position(head.from);
    Ok((options.create(path)?, true))
}

/// The ring that is written.
struct Target {
    producer: Producer,
    /// How many more messages go in before the first of them is overwritten.
    free: u64,
    timeout: Option<Duration>,
}

impl Target {
    fn open(args: &Restore, is_new: bool) -> Result<Target, Failure> {
        let facts = Facts::open(&args.path)?;
        let capacity = facts.ring.capacity();
        let free = match facts.gate() {
            Some(_) => u64::MAX,
            None if is_new => capacity,
            // Producers claim some positions ahead of need.
            None => capacity - (capacity / 64).min(16),
        };
        let producer = Producer::<[u8]>::open(args.trust.at(&args.path))?;
        Ok(Target { producer, free, timeout: args.timeout })
    }

    /// False after a signal.
    fn publish(&mut self, message: &Message) -> Result<bool, Failure> {
        if self.free == 0 {
            return Err(Failure::Full(
                "no reader gates the ring, and more would overwrite the restored messages; make it larger, or give it a \
                 durable consumer or a group (slipring create --help)"
                    .to_owned(),
            ));
        }
        let deadline = Deadline::after(self.timeout);
        while !signals::interrupted() {
            match self.producer.send_timeout((message.kind, &message.bytes), deadline.slice()) {
                Err(SendError::Full { .. }) if !deadline.is_over() => {}
                Err(ref error @ SendError::Full { ref path, .. }) => {
                    let waits = stat::if_full_of_dead_pending(path);
                    return Err(Failure::Full(format!("{error}{waits}")));
                }
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    self.free -= 1;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

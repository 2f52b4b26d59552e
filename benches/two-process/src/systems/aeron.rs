//! Aeron over shared memory: an exclusive publication, a subscription that polls, and a media
//! driver, which is a thread of the near side.

use crate::channel::{AcrossProcesses, Failure, Receiver, Sender, System, capacity};
use crate::machine;
use crate::payload::{Payload, fill};
use crate::place::Place;
use crate::run::Measure;
use rusteron_client::{
    Aeron as Client, AeronContext, AeronExclusivePublication, AeronFragmentClosureAssembler, AeronHeader,
    AeronOfferError, AeronSubscription, Handlers,
};
use rusteron_media_driver::bindings::aeron_threading_mode_enum::AERON_THREADING_MODE_SHARED;
use rusteron_media_driver::{AeronDriver, AeronDriverContext};
use std::ffi::CString;
use std::hint::spin_loop;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// A channel `aeron:ipc` for each direction.
#[derive(Debug)]
pub(crate) struct Aeron;

impl System for Aeron {
    const NAME: &'static str = "aeron";
    const ABOUT: &'static str = "Aeron, aeron:ipc, an exclusive publication, the subscription polls";
    const MEASURES: &'static [Measure] = &[Measure::Roundtrip, Measure::Stream];
}

/// Bytes before each fragment, and what a fragment's length is rounded up to.
const HEADER: usize = 32;
/// The longest fragment that Aeron allows, with its header.
const MTU: usize = 65504;
const LONGEST_CLAIM: usize = MTU - HEADER;
/// The longest time for an answer of the driver.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that a message of `size` takes in a log.
const fn room(size: usize) -> usize {
    let whole = size / LONGEST_CLAIM;
    let rest = size % LONGEST_CLAIM;
    whole * MTU + if rest > 0 { (HEADER + rest).next_multiple_of(HEADER) } else { 0 }
}

/// The sending end. A message longer than a fragment cannot be filled in place.
pub(crate) struct Writer<const N: usize> {
    publication: AeronExclusivePublication,
    copied: Box<Payload<N>>,
    _client: Client,
}

/// The receiving end.
pub(crate) struct Reader {
    subscription: AeronSubscription,
    assembler: AeronFragmentClosureAssembler,
    _client: Client,
}

impl<const N: usize> Sender<N> for Writer<N> {
    fn meet(&mut self) -> Result<(), Failure> {
        wait_until(|| self.publication.is_connected())
    }

    #[inline(always)]
    fn send(&mut self, n: u64) -> Result<(), Failure> {
        if N <= LONGEST_CLAIM {
            let mut claim = retry(|| self.publication.try_claim_owned(N))?;
            fill::<N>(claim.data().try_into()?, n);
            claim.commit()?;
        } else {
            fill(&mut self.copied.0, n);
            retry(|| self.publication.offer(&self.copied.0))?;
        }
        Ok(())
    }
}

/// Again, until there is room. A subscription that went away would be an error: no end would
/// be there to read.
#[inline(always)]
fn retry<T>(mut attempt: impl FnMut() -> Result<T, AeronOfferError>) -> Result<T, Failure> {
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(AeronOfferError::BackPressured | AeronOfferError::AdminAction) => spin_loop(),
            Err(error) => return Err(error.to_string().into()),
        }
    }
}

/// The treatment of one message, and its result.
struct Reading<F, R> {
    read: Option<F>,
    done: Option<Result<R, Failure>>,
}

impl<F, R> Reading<F, R> {
    #[inline(always)]
    fn of<const N: usize>(&mut self, bytes: &[u8], _header: AeronHeader)
    where
        F: FnOnce(&[u8; N]) -> R,
    {
        if let Some(read) = self.read.take() {
            self.done = Some(bytes.try_into().map(read).map_err(Failure::from));
        }
    }
}

impl<const N: usize> Receiver<N> for Reader {
    fn meet(&mut self) -> Result<(), Failure> {
        wait_until(|| self.subscription.image_count().is_ok_and(|count| count > 0))
    }

    #[inline(always)]
    fn recv<R>(&mut self, read: impl FnOnce(&[u8; N]) -> R) -> Result<R, Failure> {
        let mut reading = Reading { read: Some(read), done: None };
        loop {
            if N <= LONGEST_CLAIM {
                self.subscription.poll_fn(|bytes, header| reading.of::<N>(bytes, header), 1)?;
            } else {
                self.assembler.poll(&self.subscription, &mut reading, Reading::of::<N>, 1)?;
            }
            if let Some(done) = reading.done {
                return done;
            }
            spin_loop();
        }
    }
}

fn wait_until(mut is_so: impl FnMut() -> bool) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err("the other side does not come".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Where the driver keeps its files: with the others of the run, so that they go when it is over.
fn directory(place: &Place) -> PathBuf {
    place.file().with_file_name("aeron")
}

/// The least that may be under way. Only the driver moves the limit up to which a publication may
/// send, and where the two ends have all the cores it seldom runs: with a window as small as the
/// other systems' rings, everything waits for it (3300 ns per message of 64 B instead of 150).
const WINDOW_MIN: usize = 8 << 20;

/// The channel. The window is at most half of a term.
fn channel(size: usize) -> Result<CString, Failure> {
    let window = (capacity(size) * room(size)).max(WINDOW_MIN);
    let term = (2 * window).next_power_of_two();
    Ok(CString::new(format!("aeron:ipc?mtu={MTU}|term-length={term}|pub-wnd={window}"))?)
}

/// The stream ids of the directions of a run.
fn stream(place: &Place) -> i32 {
    if place.file().ends_with("there") { 1 } else { 2 }
}

fn connect(place: &Place) -> Result<Client, Failure> {
    let context = AeronContext::new()?;
    context.set_dir(&CString::new(directory(place).into_os_string().into_vec())?)?;
    let client = Client::new(&context)?;
    client.start()?;
    Ok(client)
}

/// Runs a media driver until the process ends, on whichever core is free: it makes logs, and moves
/// the limit up to which a publication may send, but no message passes through it.
fn drive(directory: CString, started: &SyncSender<Result<(), Failure>>) -> Result<(), Failure> {
    machine::unpin()?;
    let context = AeronDriverContext::new()?;
    context.set_dir(&directory)?;
    context.set_threading_mode(AERON_THREADING_MODE_SHARED)?;
    let driver = AeronDriver::new(&context)?;
    driver.start(true)?;
    started.send(Ok(()))?;
    loop {
        driver.main_idle_strategy(driver.main_do_work()?);
    }
}

impl<const N: usize> AcrossProcesses<N> for Aeron {
    type Sender = Writer<N>;
    type Receiver = Reader;

    /// Starts the driver, if the other direction has not.
    fn create(place: &Place) -> Result<(), Failure> {
        let directory = directory(place);
        if directory.exists() {
            return Ok(());
        }
        let directory = CString::new(directory.into_os_string().into_vec())?;
        let (tell, started) = sync_channel(1);
        thread::spawn(move || {
            if let Err(error) = drive(directory, &tell) {
                // After the start no thread listens any more; the ends notice that the driver is
                // gone.
                let _ = tell.send(Err(error));
            }
        });
        started.recv()?
    }

    fn sender(place: &Place) -> Result<Writer<N>, Failure> {
        let client = connect(place)?;
        let publication = client.add_exclusive_publication(&channel(N)?, stream(place), PATIENCE)?;
        Ok(Writer { publication, copied: Box::new(Payload([0; N])), _client: client })
    }

    fn receiver(place: &Place) -> Result<Reader, Failure> {
        let client = connect(place)?;
        let subscription =
            client.add_subscription(c"aeron:ipc", stream(place), Handlers::NONE, Handlers::NONE, PATIENCE)?;
        Ok(Reader { subscription, assembler: AeronFragmentClosureAssembler::new()?, _client: client })
    }
}

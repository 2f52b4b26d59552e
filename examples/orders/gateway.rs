//! The SMS gateway: a process of its own that knows nothing of rings. The gateway is slow, it
//! fails, and at times it sends the SMS that it was asked for and does not say so.
//!
//! As such services do, the gateway takes an idempotency key: it does not send again under a key
//! that it knows. It keeps books, which the report checks.

use crate::common::Failure;
use crate::order::{Order, is_possible, is_silent, mix};
use crate::place::Place;
use slipring::MessageId;
use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A worker that has no answer after this does not know whether there is an SMS.
const PATIENCE: Duration = Duration::from_millis(15);
/// A call takes between this and three times as long.
const CALL_MIN: Duration = Duration::from_micros(400);
/// Of 1000 calls, so many find the gateway busy, and so many get no answer: half of these have
/// their effect.
const BUSY: u64 = 30;
const UNANSWERED: u64 = 10;
/// So many calls about a customer of the silent network get no answer: as many as a message has
/// attempts.
pub(crate) const SILENT_CALLS: u64 = 5;

/// Key (ring, position), number of the order, phone.
type Request = [u8; 40];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Sent = 1,
    /// Under this key, before.
    AlreadySent = 2,
    Busy = 3,
    NoSuchNumber = 4,
}

/// The gateway's record of one order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    pub(crate) number: u64,
    pub(crate) calls: u64,
    pub(crate) sent: u64,
    /// Calls that asked for what was done.
    pub(crate) repeated: u64,
    pub(crate) unanswered: u64,
}

fn address(place: &Place) -> PathBuf {
    place.file("gateway")
}

/// A worker's connection.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: PathBuf,
    connection: Option<UnixStream>,
}

impl Gateway {
    pub(crate) fn new(place: &Place) -> Gateway {
        Gateway { address: address(place), connection: None }
    }

    /// So that a call that fails from here on is one that may have had its effect.
    pub(crate) fn connect(&mut self) -> io::Result<()> {
        if self.connection.is_none() {
            let connection = UnixStream::connect(&self.address)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    /// Sends the SMS for this order. After an error the caller does not know whether it was sent.
    pub(crate) fn send(&mut self, key: MessageId, order: &Order) -> io::Result<Answer> {
        // An answer that comes too late must not pass for that of the next call.
        let mut connection = self.connection.take().ok_or(io::ErrorKind::NotConnected)?;
        let mut request: Request = [0; 40];
        request[..16].copy_from_slice(&key.ring.to_bytes());
        for (to, word) in request[16..].chunks_exact_mut(8).zip([key.position, order.number, order.phone]) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        connection.write_all(&request)?;
        let mut answer = [0];
        connection.read_exact(&mut answer)?;
        self.connection = Some(connection);
        match answer[0] {
            1 => Ok(Answer::Sent),
            2 => Ok(Answer::AlreadySent),
            3 => Ok(Answer::Busy),
            4 => Ok(Answer::NoSuchNumber),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// The director's connection: the first one. The gateway lives as long as it.
#[derive(Debug)]
pub(crate) struct Owner(UnixStream);

impl Owner {
    /// None if the gateway does not listen yet.
    pub(crate) fn connect(place: &Place, seed: u64) -> io::Result<Option<Owner>> {
        let Ok(mut connection) = UnixStream::connect(address(place)) else { return Ok(None) };
        connection.write_all(&seed.to_le_bytes())?;
        Ok(Some(Owner(connection)))
    }

    /// Ends the gateway and returns its books.
    pub(crate) fn close(mut self) -> io::Result<Vec<Account>> {
        self.0.write_all(&[0])?;
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes)?;
        let word = |chunk: &[u8], n: usize| {
            chunk[8 * n..8 * n + 8].iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
        };
        let account = |chunk: &[u8]| Account {
            number: word(chunk, 0),
            calls: word(chunk, 1),
            sent: word(chunk, 2),
            repeated: word(chunk, 3),
            unanswered: word(chunk, 4),
        };
        Ok(bytes.chunks_exact(40).map(account).collect())
    }
}

#[derive(Debug, Default)]
struct Books {
    /// The keys of what was done.
    done: HashSet<[u8; 24]>,
    accounts: HashMap<u64, Account>,
}

/// Serves until the owner asks for the books, or is gone.
pub(crate) fn serve(place: &Place) -> Result<(), Failure> {
    let listener = UnixListener::bind(address(place))?;
    let (mut owner, _) = listener.accept()?;
    let mut seed = [0; 8];
    owner.read_exact(&mut seed)?;
    let seed = u64::from_le_bytes(seed);
    let books = Arc::new(Mutex::new(Books::default()));
    let open = Arc::clone(&books);
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let books = Arc::clone(&open);
            // Ends when the caller does; the caller knows what an error means.
            thread::spawn(move || drop(answer_calls(caller, seed, &books)));
        }
    });
    if owner.read_exact(&mut [0]).is_err() {
        // Killed, so that it could not clean up.
        place.remove();
        return Err("the director is gone".into());
    }
    let books = books.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bytes = Vec::new();
    for account in books.accounts.values() {
        let Account { number, calls, sent, repeated, unanswered } = *account;
        for word in [number, calls, sent, repeated, unanswered] {
            bytes.extend(word.to_le_bytes());
        }
    }
    Ok(owner.write_all(&bytes)?)
}

fn answer_calls(mut caller: UnixStream, seed: u64, books: &Mutex<Books>) -> io::Result<()> {
    let mut request: Request = [0; 40];
    loop {
        caller.read_exact(&mut request)?;
        if let Some(answer) = handle(&request, seed, books) {
            caller.write_all(&[answer as u8])?;
        }
    }
}

/// None: no answer.
fn handle(request: &Request, seed: u64, books: &Mutex<Books>) -> Option<Answer> {
    let (key, rest) = request.split_first_chunk::<24>()?;
    let (number, phone) = rest.split_first_chunk()?;
    let (number, phone) = (u64::from_le_bytes(*number), u64::from_le_bytes(phone.try_into().ok()?));
    let locked = || books.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = {
        let mut books = locked();
        let account = books.accounts.entry(number).or_default();
        (account.number, account.calls) = (number, account.calls + 1);
        account.calls
    };
    let chance = mix(seed ^ mix(number ^ calls << 40));
    thread::sleep(CALL_MIN + 2 * CALL_MIN * u32::try_from(chance >> 48).unwrap_or(0) / (1 << 16));
    if !is_possible(phone) {
        return Some(Answer::NoSuchNumber);
    }
    let (busy, silent) = (chance % 1000 < BUSY, is_silent(phone) && calls <= SILENT_CALLS);
    if busy && !silent {
        return Some(Answer::Busy);
    }
    let unanswered = silent || (BUSY..BUSY + UNANSWERED).contains(&(chance % 1000));
    let has_effect = !unanswered || silent || chance >> 32 & 1 == 0;
    let mut books = locked();
    // Both under one lock: of two calls with one key, one has the effect.
    let new = has_effect && books.done.insert(*key);
    let account = books.accounts.entry(number).or_default();
    account.sent += u64::from(new);
    account.repeated += u64::from(has_effect && !new);
    account.unanswered += u64::from(unanswered);
    match (unanswered, new) {
        (true, _) => None,
        (false, true) => Some(Answer::Sent),
        (false, false) => Some(Answer::AlreadySent),
    }
}

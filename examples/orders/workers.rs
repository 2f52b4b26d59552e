//! The processes that do something about an order: the SMS workers, the points worker, the audit.

use crate::common::Failure;
use crate::gateway::{self, Answer, Gateway};
use crate::order::Order;
use crate::place::Place;
use crate::process;
use slipring::{Backoff, ConsumerOptions, Delivery, GroupSettings, LeaseLost, RecvError, WorkerOptions};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

pub(crate) const GATEWAY: &str = "gateway";
pub(crate) const SMS_WORKERS: [&str; 3] = ["sms-1", "sms-2", "sms-3"];
pub(crate) const POINTS: &str = "points";
pub(crate) const AUDIT: &str = "audit";
/// The group of the SMS workers; the points worker has one of its own.
pub(crate) const SMS: &str = "sms";

/// So many orders at most are being tried, or wait for another attempt: when the gateway is down,
/// new ones stay where they are.
const IN_FLIGHT_MAX: u64 = 100;

/// How the SMS group delivers. The settings belong to the ring: its creator sets them once.
pub(crate) fn sms_settings() -> GroupSettings {
    GroupSettings::new()
        .ack_wait(Duration::from_millis(300))
        .max_deliver(5)
        .max_ack_pending(IN_FLIGHT_MAX)
        .backoff(Backoff::exponential(Duration::from_millis(20), Duration::from_millis(200)))
}

pub(crate) fn points_settings() -> GroupSettings {
    GroupSettings::new().ack_wait(Duration::from_secs(2)).max_deliver(None).max_ack_pending(IN_FLIGHT_MAX)
}

/// Plays the role that the arguments after [`ROLE`](process::ROLE) describe.
pub(crate) fn play(arguments: impl Iterator<Item = std::ffi::OsString>) -> Result<(), Failure> {
    let (role, place) = process::role_and_place(arguments)?;
    let result = match role.as_str() {
        GATEWAY => gateway::serve(&place),
        POINTS => add_points(&place),
        AUDIT => audit(&place),
        name => send_sms(name, &place),
    };
    result.map_err(|failure| format!("{role} ends: {failure}").into())
}

/// An SMS for every order, although any of this may be killed, hang, or not know what it did.
///
/// The ring gives "at least once": whatever is not acknowledged comes again. The gateway makes
/// "exactly once" of it, by a key that is the same at every delivery of a message: its id. A
/// redriven message is a new message with another id, so it carries that of the first one.
fn send_sms(name: &str, place: &Place) -> Result<(), Failure> {
    let worker =
        WorkerOptions::new(SMS).name(name).notice_producer_away(true).join::<Order>(place.file("orders"))?;
    let mut gateway = Gateway::new(place);
    loop {
        let delivery = match worker.recv() {
            Ok(delivery) => delivery,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Err(error) = gateway.connect() {
            // Not the order's fault, and nothing was tried: it goes back untouched, for a worker
            // that has a gateway.
            delivery.hand_back().or_else(too_late)?;
            return Err(format!("no gateway: {error}").into());
        }
        attempt(delivery, &mut gateway)?;
    }
}

fn attempt(delivery: Delivery<'_, Order>, gateway: &mut Gateway) -> Result<(), Failure> {
    let order = *delivery;
    let settled = match gateway.send(order.key(delivery.id()), &order) {
        Ok(Answer::Sent | Answer::AlreadySent) => delivery.ack(),
        Ok(Answer::NoSuchNumber) => delivery.reject(&format!("no such number: {}", order.phone)).map(drop),
        Ok(Answer::Busy) => delivery.nack(None),
        // No answer: there is an SMS, or there is none. Asking again does no harm, by the key.
        Err(_) => delivery.nack(None),
    };
    settled.or_else(too_late)
}

/// This worker was so slow that another has the order now, and sees to it. Nothing to undo: the
/// effect goes by the key. The group counts it.
fn too_late(_: LeaseLost) -> Result<(), Failure> {
    Ok(())
}

/// Bytes of a booking: points, and how often they were booked.
pub(crate) const BOOKING: u64 = 8;

/// A booking has its place by the position of the order's first message, so that a worker that
/// comes to an order again, after a kill or by a redriven message, finds it booked.
fn add_points(place: &Place) -> Result<(), Failure> {
    let worker = WorkerOptions::new(POINTS)
        .name(POINTS)
        .notice_producer_away(true)
        .join::<Order>(place.file("orders"))?;
    let ledger = open(place, POINTS)?;
    loop {
        let delivery = match worker.recv() {
            Ok(delivery) => delivery,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let order = *delivery;
        let at = order.first_position(delivery.position()) * BOOKING;
        let times = booking(&ledger, at)?.1;
        if times == 0 {
            let [a, b, c, d] = order.points().to_le_bytes();
            // Inside one page: a process that is killed has made it, or has not.
            ledger.write_all_at(&[a, b, c, d, 1, 0, 0, 0], at)?;
        }
        delivery.ack().or_else(too_late)?;
    }
}

/// Points, and how often they were booked; zeroes if they were not.
pub(crate) fn booking(ledger: &File, at: u64) -> io::Result<(u32, u32)> {
    let mut bytes = [0; 8];
    match ledger.read_exact_at(&mut bytes, at) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok((0, 0)),
        Err(error) => return Err(error),
    }
    let [a, b, c, d, times @ ..] = bytes;
    Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes(times)))
}

/// The audit's line for an order; all are of one length, so that each has its place.
pub(crate) fn audit_line(order: &Order) -> String {
    format!("{:>10} customer {:>5} paid {:>8} cents\n", order.number, order.customer, order.cents)
}

/// Gets every order, in order: not a worker but a durable consumer. Started again after a kill, it
/// gets what it had not released, and writes the same lines to the same places.
fn audit(place: &Place) -> Result<(), Failure> {
    let mut consumer = ConsumerOptions::new()
        .name(AUDIT)
        .durable(true)
        .notice_producer_away(true)
        .attach::<Order>(place.file("orders"))?;
    let file = open(place, AUDIT)?;
    loop {
        let message = match consumer.recv() {
            Ok(message) => message,
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if let Err(failure) = write_down(&file, message.position(), &message) {
            // Dropping the message would release it. It is not written: it must come again.
            message.keep();
            return Err(failure);
        }
    }
}

fn write_down(file: &File, position: u64, order: &Order) -> Result<(), Failure> {
    // The line of a redriven order stands there since its first message.
    if order.origin == 0 {
        let line = audit_line(order);
        file.write_all_at(line.as_bytes(), position * line.len() as u64)?;
    }
    Ok(())
}

/// The file of the points worker, or of the audit.
pub(crate) fn file_of(place: &Place, role: &str) -> std::path::PathBuf {
    place.file(&format!("{role}.book"))
}

fn open(place: &Place, role: &str) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).open(file_of(place, role))
}

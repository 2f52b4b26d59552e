//! Work that must not be lost: `cargo run --example work`. Workers would be processes; nothing else
//! changes.

use slipring::{Backoff, DeadLetters, GroupSettings, Producer, RecvError, RingOptions, Worker};
use std::time::Duration;

fn main() -> Result<(), slipring::Error> {
    let path = std::env::temp_dir().join(format!("slipring-work-{}", std::process::id()));

    // How a group delivers belongs to the ring. Other groups get every message too.
    let sms = GroupSettings::new()
        .ack_wait(Duration::from_secs(30)) // a lease
        .max_deliver(5)
        .backoff(Backoff::exponential(Duration::from_millis(100), Duration::from_secs(10)));
    RingOptions::new(48, 1024).group("sms", sms).create(&path)?;

    let mut producer = Producer::<[u8]>::open(&path)?;
    for order in ["to 600123456", "to 600654321", "to 12"] {
        producer.send(order.as_bytes())?;
    }

    // In as many processes as you like: each message goes to one of them at a time.
    let worker = Worker::<[u8]>::join(&path, "sms")?;
    while let Ok(delivery) = worker.try_recv() {
        match send_sms(&delivery.id().to_string(), &delivery) {
            Ok(()) => delivery.ack()?,
            Err(Trouble::Busy) => delivery.nack(None)?, // again, after the backoff
            Err(Trouble::NoSuchNumber) => drop(delivery.reject("no such number")?), // never again
        }
    }

    // Dead letters wait for an operator: redrive, or purge.
    let mut dead = DeadLetters::open(&path)?;
    while let Some(letter) = dead.peek()? {
        println!("{}: {}: {}", letter.id, letter.note, String::from_utf8_lossy(&letter.bytes));
        dead.purge(1)?;
    }
    producer.close()?;
    assert!(matches!(worker.recv(), Err(RecvError::Closed))); // the group has settled everything
    drop(std::fs::remove_file(&path));
    drop(std::fs::remove_file(path.with_extension("dead"))); // the dead-letter ring beside it
    Ok(())
}

enum Trouble {
    Busy,
    NoSuchNumber,
}

/// The key is the same at every delivery of a message: a gateway that has seen the key does
/// nothing.
fn send_sms(key: &str, order: &[u8]) -> Result<(), Trouble> {
    match order {
        b"to 12" => Err(Trouble::NoSuchNumber),
        b"" => Err(Trouble::Busy),
        _ => {
            println!("{key}: sent {}", String::from_utf8_lossy(order));
            Ok(())
        }
    }
}

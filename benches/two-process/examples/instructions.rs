//! Publishes messages of 48 bytes while so many consumers are attached, for counting instructions:
//!
//! ```text
//! cargo build --release -p two-process --example instructions
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/instructions CONSUMERS MESSAGES
//! ```
//!
//! The difference between two runs with different numbers of messages, by the difference of these, is what one costs.
//! None of the messages needs a look at the tails: the ring holds them all.

use slipring::{Consumer, Producer, RingOptions, Start};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let mut number =
        || args.next().ok_or("CONSUMERS MESSAGES")?.parse::<usize>().map_err(Box::<dyn Error>::from);
    let (consumers, messages) = (number()?, number()?);
    let ring = RingOptions::new(48, 1 << 16).consumers(64).create_in_memory()?;
    let attached: Result<Vec<_>, _> =
        (0..consumers).map(|_| Consumer::attach(&ring, Start::Earliest)).collect();
    let attached = attached?;
    let mut producer = Producer::open(&ring)?;
    // The first look at the tails.
    producer.send(&[1; 48])?;
    for _ in 0..messages {
        producer.try_send(0, &[1; 48])?;
    }
    println!("{} consumers, {} messages", attached.len(), producer.head());
    Ok(())
}

//! Both ends of a ring: `cargo run --example hello`. They would be two processes; nothing else
//! changes.

use slipring::{Consumer, Producer, RecvError, RingOptions, Start};

fn main() -> Result<(), slipring::Error> {
    let path = std::env::temp_dir().join(format!("slipring-hello-{}", std::process::id()));

    // Created once, by any process: 1024 blocks of 48 bytes, in a file.
    RingOptions::new(48, 1024).create(&path)?;

    // In one process. There is only one producer at a time; the kernel sees to that.
    let mut producer = Producer::<[u8]>::open(&path)?;

    // In any number of others.
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest)?;

    producer.send(b"hello")?;
    let mut claim = producer.claim()?; // or in place: no copy at all
    claim[..5].copy_from_slice(b"world");
    claim.publish(5)?;
    producer.close()?;

    loop {
        match consumer.recv() {
            Ok(message) => println!("{}: {}", message.position(), String::from_utf8_lossy(&message)),
            Err(RecvError::Closed) => break, // everything was received
            Err(error) => return Err(error.into()),
        } // the message is dropped here: the producer may use its block again
    }
    drop(std::fs::remove_file(&path));
    Ok(())
}

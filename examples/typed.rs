//! Messages that are values: `cargo run --example typed`.
//!
//! A ring carries quotes; one thread publishes them, another keeps the best bid. A program with
//! another idea of a quote is refused when it attaches, not surprised when it reads.

use slipring::{ConsumerOptions, ProducerOptions, RecvError, RingOptions, Start};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

slipring::message! {
    /// The best bid of an instrument.
    pub struct Quote {
        /// Nanoseconds since 1970.
        pub time_ns: u64,
        /// Which instrument.
        pub instrument: u32,
        /// In lots.
        pub size: u32,
        /// In ticks; may be negative, for spreads.
        pub price: i64,
    }
}

/// The type of a program that was deployed last week: the same size, but `size` and `instrument`
/// have changed places.
mod last_week {
    slipring::message! {
        /// The best bid of an instrument.
        pub struct Quote {
            /// Nanoseconds since 1970.
            pub time_ns: u64,
            /// In lots.
            pub size: u32,
            /// Which instrument.
            pub instrument: u32,
            /// In ticks.
            pub price: i64,
        }
    }
}

const QUOTES: u64 = 100_000;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let Err(failure) = run() else { return ExitCode::SUCCESS };
    eprintln!("typed: {failure}");
    ExitCode::FAILURE
}

fn run() -> Result<(), Failure> {
    let path = std::env::temp_dir().join(format!("slipring-typed-{}", std::process::id()));
    let ring = RingOptions::of::<Quote>(4096).durable("book").create(&path)?;
    println!("{} carries {}", path.display(), ring.schema().unwrap_or("bytes"));

    let result = thread::scope(|scope| {
        let publisher = scope.spawn(|| publish(&path));
        let book = scope.spawn(|| keep_book(&path));
        for thread in [publisher, book] {
            thread.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    });

    let stranger = ConsumerOptions::new().start(Start::Earliest).attach::<last_week::Quote>(&path);
    match stranger {
        Err(refusal) => println!("refused: {refusal}"),
        Ok(_) => println!("the wrong type was accepted; that is a bug"),
    }
    std::fs::remove_file(&path)?;
    result
}

fn publish(path: &Path) -> Result<(), Failure> {
    let mut producer = ProducerOptions::new().open::<Quote>(path)?;
    for n in 0..QUOTES {
        let instrument = if n % 3 == 0 { 7 } else { 11 };
        let price = i64::try_from(n * 7919 % 2001)? - 1000;
        // Filled in place: the value is built in the ring.
        let mut quote = producer.claim()?;
        *quote = Quote { time_ns: n, instrument, size: 1, price };
        quote.publish()?;
    }
    producer.close()?;
    Ok(())
}

fn keep_book(path: &Path) -> Result<(), Failure> {
    let mut consumer = ConsumerOptions::new().name("book").durable(true).attach::<Quote>(path)?;
    let (mut count, mut best) = (0_u64, None::<Quote>);
    loop {
        match consumer.recv() {
            // `quote` is a `&Quote` into the mapping: nothing is parsed, nothing is copied.
            Ok(quote) => {
                count += 1;
                if best.is_none_or(|best| quote.price > best.price) {
                    best = Some(*quote);
                }
            }
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    println!("{count} quotes, the best: {best:?}");
    Ok(())
}

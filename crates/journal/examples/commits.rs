//! Measures commits beside bare writes: the same bytes, at the same places of the same file, with
//! the same flags, in turns.
//!
//! ```sh
//! cargo run --release -p slipring-journal --example commits -- DIR [ROUNDS]
//! ```
//!
//! Prints the median over the rounds of how many a second, for a frame of one page and one of 64
//! KiB, and what a whole journal takes out of a ring.

use rustix::fs::OFlags;
use slipring::{Producer, RingId, RingOptions};
use slipring_journal::{Home, Journal, Method, Sizes, Writer};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const COMMITS: usize = 200;
const PAGE: usize = 4096;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("a directory on a disk is needed")?;
    let rounds = arguments.next().map_or(Ok(15), |rounds| rounds.parse())?;
    let dir = Path::new(&dir).join(format!("commits-{}", std::process::id()));
    std::fs::create_dir(&dir)?;
    let measured = [PAGE, 16 * PAGE].iter().try_for_each(|len| frames(&dir, *len, rounds));
    let measured = measured.and_then(|()| [1, 32, 4096].iter().try_for_each(|batch| whole(&dir, *batch)));
    std::fs::remove_dir_all(&dir)?;
    measured
}

/// Frames of this length, full of messages of 64 bytes.
fn frames(dir: &Path, len: usize, rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let home = Home::new(dir, RingId::from_bytes([u8::try_from(len / PAGE)?; 16]));
    std::fs::create_dir(home.path())?;
    let sizes = Sizes::new(64, (PAGE + 2 * COMMITS * len) as u64);
    let messages = (len - 64) / 72;
    let mut writer = Writer::new(&home, sizes, Method::Direct, 0, 0, false)?;
    let (mut bare, mut commits) = (Vec::new(), Vec::new());
    let commit = |writer: &mut Writer| {
        (0..messages).for_each(|n| writer.push(0, &[n.to_le_bytes()[0]; 64]));
        writer.commit(1, false)
    };
    for _ in 0..rounds {
        let first = writer.next();
        writer.rotate()?;
        // Every block was written once, as in a segment that was made ahead of need.
        let file = bare_file(&home, first)?;
        let whole = aligned(len);
        let buffer = &whole.0[whole.1..whole.1 + len];
        for n in 0..2 * COMMITS {
            file.write_all_at(buffer, (PAGE + n * len) as u64)?;
        }
        // In turns of ten, each half of the file.
        let (mut bare_time, mut commit_time) = (Duration::ZERO, Duration::ZERO);
        for turn in 0..COMMITS / 10 {
            let start = Instant::now();
            for n in 0..10 {
                file.write_all_at(buffer, (PAGE + (COMMITS + turn * 10 + n) * len) as u64)?;
            }
            bare_time += start.elapsed();
            let start = Instant::now();
            for _ in 0..10 {
                commit(&mut writer)?;
            }
            commit_time += start.elapsed();
        }
        bare.push(COMMITS as f64 / bare_time.as_secs_f64());
        commits.push(COMMITS as f64 / commit_time.as_secs_f64());
        std::fs::remove_file(home.segment(first))?;
    }
    let ratio = median(bare.iter().zip(&commits).map(|(bare, commits)| commits / bare).collect());
    let (bare, commits) = (median(bare), median(commits));
    println!(
        "{len:6} bytes: bare {bare:7.0}/s, commits {commits:7.0}/s of {messages} messages, ratio {ratio:.2}"
    );
    Ok(())
}

/// Out of a ring, published in batches, with the journal in a thread.
fn whole(dir: &Path, batch: usize) -> Result<(), Box<dyn std::error::Error>> {
    let ring = RingOptions::of::<[u64; 8]>(1 << 16).durable("journal").create_in_memory()?;
    let journal = Journal::attach(&ring, dir)?;
    let handle = journal.handle();
    let running = std::thread::spawn(|| journal.run());
    let mut producer = Producer::<[u64; 8]>::open(&ring)?;
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_secs(2) {
        producer.send_batch(&vec![[sent; 8]; batch])?;
        sent += batch as u64;
    }
    while handle.status().durable < sent {
        std::thread::yield_now();
    }
    let (time, status) = (start.elapsed().as_secs_f64(), handle.status());
    handle.stop();
    running.join().map_err(|_| "the journal panicked")??;
    println!(
        "published {batch:4} at a time: {:.2} M messages/s on the disk, in {:.0} commits/s of {:.0}",
        sent as f64 / time / 1e6,
        status.commits as f64 / time,
        sent as f64 / status.commits as f64
    );
    Ok(())
}

fn bare_file(home: &Home, first: u64) -> std::io::Result<File> {
    let flags = (OFlags::DIRECT | OFlags::DSYNC).bits();
    File::options()
        .read(true)
        .write(true)
        .custom_flags(i32::try_from(flags).unwrap_or(0))
        .open(home.segment(first))
}

/// Bytes, and where in them a page begins.
fn aligned(len: usize) -> (Vec<u8>, usize) {
    let bytes = vec![7; len + PAGE];
    let from = bytes.as_ptr().align_offset(PAGE);
    (bytes, from)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

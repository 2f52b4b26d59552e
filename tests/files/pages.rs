//! The conditions of a handle on its pages.

use kit::TempDir;
use slipring::{At, AtPath, AttachError, Consumer, Observer, OpenError, Pages, Producer, RingOptions, Start};
use std::path::Path;

/// KiB of all mappings of a file in this process, as the kernel counts them under this name.
fn kib(path: &Path, name: &str) -> u64 {
    let (mut sum, mut is_ours) = (0, false);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        // `Rss:      64 kB`; the first line of a mapping has its address before the first colon.
        let (field, value) = line.split_once(':').unwrap();
        if field.contains(' ') {
            is_ours = line.ends_with(path.to_str().unwrap());
        } else if is_ours && field == name {
            sum += value.trim_end_matches(" kB").trim().parse::<u64>().unwrap();
        }
    }
    sum
}

#[test]
fn pages_come_when_they_are_touched_or_at_once() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::new(48, 65536).create(&path).unwrap();
    let whole = ring.file_len() / 1024;
    drop(ring);
    let producer = Producer::<[u8]>::open(&path).unwrap();
    assert!(kib(&path, "Rss") < whole / 4, "{} of {whole}", kib(&path, "Rss"));
    drop(producer);
    let mut producer = Producer::<[u8]>::open(At::path(&path).pages(Pages::new().prefault(true))).unwrap();
    assert_eq!(kib(&path, "Rss"), whole);
    drop(
        Consumer::<[u8]>::attach(At::path(&path).pages(Pages::new().prefault(true)), Start::Latest).unwrap(),
    );
    drop(
        Observer::<[u8]>::attach(
            At::path(&path).pages(Pages::new().prefault(true).huge(true)),
            Start::Latest,
        )
        .unwrap(),
    );
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    producer.send(b"still a ring").unwrap();
    assert_eq!(&*consumer.recv().unwrap(), b"still a ring");
}

#[test]
fn pages_are_locked_or_the_error_names_the_limit() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 16).create(&path).unwrap();
    match Producer::<[u8]>::open(At::path(&path).pages(Pages::new().lock(true))) {
        Ok(producer) => {
            assert!(kib(&path, "Locked") > 0);
            drop(producer);
        }
        Err(error @ AtPath { error: AttachError::Open(OpenError::Io { .. }), .. }) => {
            assert!(error.to_string().contains("ulimit -l"), "{error}")
        }
        Err(error) => panic!("{error}"),
    }
    let ring = RingOptions::new(48, 16).create_in_memory().unwrap();
    let pages = Pages::new().lock(true).prefault(true).huge(true);
    drop(Producer::<[u8]>::open(At::ring(&ring).pages(pages)).unwrap());
}

/// The kernel maps a huge page only where address and offset in the file agree modulo 2 MiB.
#[test]
fn a_ring_that_asks_for_huge_pages_is_mapped_where_they_fit() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    // Several of each: their addresses agree by chance now and then.
    RingOptions::new(48, 65536).create(&path).unwrap();
    let place = || At::path(&path).pages(Pages::new().huge(true));
    let observers: Vec<_> =
        (0..4).map(|_| Observer::<[u8]>::attach(place(), Start::Latest).unwrap()).collect();
    let mut producer = Producer::<[u8]>::open(place()).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(place(), Start::Latest).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.ends_with(path.to_str().unwrap()));
    let mut count = 0;
    for line in ours {
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let fields: Vec<_> = line.split_whitespace().collect();
        let start = hex(fields[0].split_once('-').unwrap().0);
        assert_eq!(start.wrapping_sub(hex(fields[2])) % (2 << 20), 0, "{line}");
        count += 1;
    }
    assert!(count >= 6, "{maps}");
    producer.send(b"in its place").unwrap();
    assert_eq!(&*consumer.recv().unwrap(), b"in its place");
    // Nothing of the reservation is left.
    drop((observers, producer, consumer));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(path.to_str().unwrap()), "{maps}");
}

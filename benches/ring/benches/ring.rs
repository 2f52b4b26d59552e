//! The cost of a message: `cargo bench --bench ring`.
//!
//! * `publish`, `receive`: one thread, a warm ring on the heap, one side at a time. The other
//!   side's work, which makes the room or the messages, is not measured.
//! * `publish with consumers`: as `publish`, with 1 and 64 consumers to look at whenever the
//!   producer reaches its limit. They keep up: each catches up, unmeasured, when the ring is full.
//! * `group`: claim and acknowledge, by one worker, warm, and by four threads that share the
//!   messages of one group; and `publish` into a ring with a group, to be compared with the one
//!   without.
//! * `newest`: an observer gets the newest of 64 messages that it has not read: by asking for it,
//!   and by reading through them. One element is such a look.
//! * `threads`: two threads of this process; a stream in batches, and a ping-pong. These depend
//!   most on the machine: on which cores the threads run, and on the other programs there.
//!
//! Otherwise, one element is one message, except in the ping-pong, where it is a round trip.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use slipring::{Consumer, GroupSettings, Observer, Producer, RecvError, Ring, RingOptions, Start, Worker};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

const SIZES: [usize; 4] = [8, 48, 64, 1024];
const CAPACITY: usize = 1024;
const BATCH: usize = 32;

fn new_ring(block_size: usize) -> Ring {
    RingOptions::new(block_size, CAPACITY).consumers(64).create_in_memory().expect("a ring fits in memory")
}

fn both_ends(ring: &Ring) -> (Producer, Consumer) {
    let consumer = Consumer::<[u8]>::attach(ring, Start::Earliest).expect("there is a free entry");
    (Producer::<[u8]>::open(ring).expect("there is no other producer"), consumer)
}

/// Receives everything that is there.
fn drain(consumer: &mut Consumer) {
    while let Ok(batch) = consumer.try_recv_batch(CAPACITY) {
        black_box(batch.iter().count());
    }
}

/// Fills the ring.
fn fill(producer: &mut Producer, message: &[u8]) {
    while producer.try_send(message).is_ok() {}
}

/// Measures `messages` calls' worth of `timed`, which handles a whole ring at a time; `untimed`
/// makes that possible again.
fn in_laps(messages: u64, mut untimed: impl FnMut(), mut timed: impl FnMut(u64)) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = messages;
    while left > 0 {
        let lap = left.min(CAPACITY as u64);
        untimed();
        let start = Instant::now();
        timed(lap);
        elapsed += start.elapsed();
        left -= lap;
    }
    elapsed
}

/// A whole number of batches.
fn batches(messages: u64) -> u64 {
    messages.div_ceil(BATCH as u64)
}

fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let message = vec![7; size];
        let (mut producer, mut consumer) = both_ends(&new_ring(size));
        group.bench_function(BenchmarkId::new("try_send", size), |bencher| {
            bencher.iter_custom(|n| {
                in_laps(
                    n,
                    || drain(&mut consumer),
                    |lap| {
                        for _ in 0..lap {
                            producer.try_send(black_box(&message)).expect("the ring was drained");
                        }
                    },
                )
            });
        });
        group.bench_function(BenchmarkId::new("claim and publish", size), |bencher| {
            bencher.iter_custom(|n| {
                in_laps(
                    n,
                    || drain(&mut consumer),
                    |lap| {
                        for _ in 0..lap {
                            let mut claim = producer.try_claim().expect("the ring was drained");
                            claim.copy_from_slice(black_box(&message));
                            claim.publish(size).expect("it is as long as the block");
                        }
                    },
                )
            });
        });
        group.bench_function(BenchmarkId::new("batches of 32", size), |bencher| {
            bencher.iter_custom(|n| {
                in_laps(
                    n,
                    || drain(&mut consumer),
                    |lap| {
                        // Whole batches: what is left of a shorter last one is scaled away below.
                        for _ in 0..batches(lap) {
                            let mut batch = producer.try_claim_batch(BATCH).expect("the ring was drained");
                            for _ in 0..BATCH {
                                batch.push(black_box(&message)).expect("it is as long as the block");
                            }
                            batch.publish().unwrap();
                        }
                    },
                )
                .mul_f64(n as f64 / whole_batches(n) as f64)
            });
        });
    }
    group.finish();
}

/// How many messages the batches of [`in_laps`] hold.
fn whole_batches(n: u64) -> u64 {
    let lap = CAPACITY as u64;
    n / lap * lap + batches(n % lap) * BATCH as u64
}

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let message = vec![7; size];
        let (mut producer, mut consumer) = both_ends(&new_ring(size));
        group.bench_function(BenchmarkId::new("try_recv", size), |bencher| {
            bencher.iter_custom(|n| {
                in_laps(
                    n,
                    || fill(&mut producer, &message),
                    |lap| {
                        for _ in 0..lap {
                            let message = consumer.try_recv().expect("the ring was filled");
                            black_box(&message[..]);
                        }
                    },
                )
            });
        });
        group.bench_function(BenchmarkId::new("batches of 32", size), |bencher| {
            bencher.iter_custom(|n| {
                in_laps(
                    n,
                    || fill(&mut producer, &message),
                    |lap| {
                        for _ in 0..batches(lap) {
                            let batch = consumer.try_recv_batch(BATCH).expect("the ring was filled");
                            for message in &batch {
                                black_box(&message[..]);
                            }
                        }
                    },
                )
                .mul_f64(n as f64 / whole_batches(n) as f64)
            });
        });
    }
    group.finish();
}

fn publish_with_consumers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish with consumers");
    group.throughput(Throughput::Elements(1));
    for count in [1, 64] {
        let ring = new_ring(48);
        let mut producer = Producer::<[u8]>::open(&ring).expect("there is no other producer");
        let mut consumers: Vec<Consumer> = (0..count)
            .map(|_| Consumer::<[u8]>::attach(&ring, Start::Earliest).expect("there are 64 entries"))
            .collect();
        group.bench_function(BenchmarkId::new("try_send 48 bytes", count), |bencher| {
            bencher.iter_custom(|n| {
                in_laps(
                    n,
                    || consumers.iter_mut().for_each(drain),
                    |lap| {
                        for _ in 0..lap {
                            producer.try_send(black_box(&[7; 48])).expect("the ring was drained");
                        }
                    },
                )
            });
        });
    }
    group.finish();
}

fn new_group() -> (Producer, Worker, Ring) {
    let settings = GroupSettings::new().max_ack_pending(CAPACITY as u64);
    let ring = RingOptions::new(48, CAPACITY).group("g", settings).create_in_memory();
    let ring = ring.expect("a ring fits in memory");
    let worker = Worker::<[u8]>::join(&ring, "g").expect("there is a free entry");
    (Producer::<[u8]>::open(&ring).expect("there is no other producer"), worker, ring)
}

/// Acknowledges everything that is there; how many.
fn work(worker: &Worker) -> u64 {
    let mut acked = 0;
    while let Ok(delivery) = worker.try_recv() {
        black_box(&delivery[..]);
        delivery.ack().expect("nobody else has it");
        acked += 1;
    }
    acked
}

fn group(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("group");
    group.throughput(Throughput::Elements(1));
    let (mut producer, worker, _ring) = new_group();
    group.bench_function("claim and ack, one worker", |bencher| {
        bencher.iter_custom(|n| {
            in_laps(
                n,
                || fill(&mut producer, &[7; 48]),
                |lap| {
                    for _ in 0..lap {
                        let delivery = worker.try_recv().expect("the ring was filled");
                        black_box(&delivery[..]);
                        delivery.ack().expect("nobody else has it");
                    }
                },
            )
        });
    });
    group.bench_function("try_send 48 bytes", |bencher| {
        bencher.iter_custom(|n| {
            in_laps(
                n,
                || {
                    black_box(work(&worker));
                },
                |lap| {
                    for _ in 0..lap {
                        producer.try_send(black_box(&[7; 48])).expect("all was settled");
                    }
                },
            )
        });
    });
    group.bench_function("claim and ack, four workers", |bencher| {
        bencher.iter_custom(four_workers);
    });
    group.finish();
}

/// The time in which four threads settle the messages that a fifth publishes.
fn four_workers(messages: u64) -> Duration {
    let (mut producer, worker, ring) = new_group();
    drop(worker);
    let start = Instant::now();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let worker = Worker::<[u8]>::join(&ring, "g").expect("there are free entries");
                    let mut acked = 0;
                    while let Ok(delivery) = worker.recv() {
                        black_box(&delivery[..]);
                        acked += u64::from(delivery.ack().is_ok());
                    }
                    acked
                })
            })
            .collect();
        for _ in 0..messages {
            producer.send(black_box(&[7; 48])).expect("the ring is there");
        }
        producer.close().unwrap();
        let acked: u64 = workers.into_iter().map(|worker| worker.join().expect("no worker panics")).sum();
        assert_eq!(acked, messages);
    });
    start.elapsed()
}

fn newest(criterion: &mut Criterion) {
    const UNREAD: usize = 64;
    let mut group = criterion.benchmark_group("newest");
    group.throughput(Throughput::Elements(1));
    let ring = new_ring(48);
    let mut producer = Producer::<[u8]>::open(&ring).expect("there is no other producer");
    let mut observer = Observer::<[u8]>::attach(&ring, Start::Latest).expect("there is nothing to miss");
    type Look = fn(&mut Observer) -> u64;
    let latest: Look =
        |observer| observer.latest().expect("a sound ring").expect("64 were published").position();
    let through: Look = |observer| {
        let mut last = 0;
        while let Ok(message) = observer.try_recv() {
            last = black_box(message).position();
        }
        last
    };
    for (name, look, catches_up) in [("latest", latest, false), ("through 64", through, true)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|n| {
                let mut elapsed = Duration::ZERO;
                for _ in 0..n {
                    for _ in 0..UNREAD {
                        producer.send(black_box(&[7; 48])).expect("nobody gates");
                    }
                    let start = Instant::now();
                    black_box(look(&mut observer));
                    elapsed += start.elapsed();
                    if !catches_up {
                        through(&mut observer);
                    }
                }
                elapsed
            });
        });
    }
    group.finish();
}

fn threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    group.throughput(Throughput::Elements(1));
    for size in [8, 48] {
        group.bench_function(BenchmarkId::new("stream in batches of 32", size), |bencher| {
            bencher.iter_custom(|n| stream(n, size));
        });
    }
    group.bench_function("ping-pong of 8 bytes", |bencher| bencher.iter_custom(ping_pong));
    group.finish();
}

/// The time from the first message sent to the last received.
fn stream(messages: u64, size: usize) -> Duration {
    let (mut producer, mut consumer) = both_ends(&new_ring(size));
    let reader = thread::spawn(move || {
        let mut received = 0;
        loop {
            match consumer.recv_batch(CAPACITY) {
                Ok(batch) => {
                    received += batch.iter().map(|message| black_box(message.len()).min(1)).sum::<usize>()
                }
                Err(RecvError::Closed) => return (received as u64, Instant::now()),
                Err(error) => panic!("the stream broke: {error}"),
            }
        }
    });
    let message = vec![7; size];
    let start = Instant::now();
    let mut left = usize::try_from(messages).expect("fits");
    while left > 0 {
        let mut batch = producer.claim_batch(left.min(BATCH)).expect("the ring is there");
        left -= batch.remaining();
        while batch.remaining() > 0 {
            batch.push(black_box(&message)).expect("it is as long as the block");
        }
        batch.publish().unwrap();
    }
    producer.close().unwrap();
    let (received, end) = reader.join().expect("the reader does not panic");
    assert_eq!(received, messages);
    end - start
}

fn ping_pong(round_trips: u64) -> Duration {
    let (mut ping, mut pinged) = both_ends(&new_ring(8));
    let (mut pong, mut ponged) = both_ends(&new_ring(8));
    let echo = thread::spawn(move || {
        while let Ok(message) = pinged.recv() {
            pong.send(&*message).expect("there is room for one");
        }
    });
    let mut round_trip = |n: u64| {
        ping.send(&n.to_le_bytes()).expect("there is room for one");
        let reply = ponged.recv().expect("the echo lives");
        assert_eq!(reply[..], n.to_le_bytes());
    };
    (0..1000).for_each(&mut round_trip);
    let start = Instant::now();
    (0..round_trips).for_each(&mut round_trip);
    let elapsed = start.elapsed();
    ping.close().unwrap();
    echo.join().expect("the echo does not panic");
    elapsed
}

criterion_group!(benches, publish, receive, publish_with_consumers, group, newest, threads);
criterion_main!(benches);

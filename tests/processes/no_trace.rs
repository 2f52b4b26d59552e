//! Events that must leave no trace: a refusal, a forked child, a consumer that drains while its
//! thread unwinds.

use kit::TempDir;
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, GroupSettings, HandleError, Observer, OpenError,
    Producer, ProducerOptions, RecvError, Ring, RingOptions, Selector, SendError, Start, Wait, Worker,
};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

slipring::message! {
    struct Right { value: u64 }
}
slipring::message! {
    struct Wrong { value: i64 }
}

#[test]
fn a_refused_type_leaves_no_durable_consumer_that_would_hold_the_producer() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let ring = RingOptions::of::<Right>(4).create(&path).unwrap();
    let refused = ConsumerOptions::new().name("d").durable(true).attach::<Wrong>(&path);
    assert!(matches!(refused, Err(AtPath { error: AttachError::Open(OpenError::TypeMismatch { .. }), .. })));
    assert_eq!(ring.consumers(), []);
}

#[test]
fn a_refused_type_does_not_reopen_a_closed_stream() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::of::<Right>(4).create(&path).unwrap();
    ProducerOptions::new().open::<Right>(&path).unwrap().close().unwrap();
    let mut consumer = Consumer::<Right>::attach(&path, Start::Earliest).unwrap();
    assert!(matches!(
        ProducerOptions::new().open::<Wrong>(&path),
        Err(AtPath { error: AttachError::Open(OpenError::TypeMismatch { .. }), .. })
    ));
    assert!(matches!(consumer.try_recv(), Err(RecvError::Closed)));
}

/// Runs `life` in a forked child and returns how it ended, as `waitpid` has it: a failure, if it
/// returns false or panics.
fn in_child(life: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child only runs `life` and leaves; the C library makes allocation usable in it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
        let code = i32::from(!ended.unwrap_or(false));
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to an integer that lives across the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    status
}

fn fill_memory(with: u8) -> Vec<Vec<u8>> {
    (0..64).map(|_| vec![with; 1 << 20]).collect()
}

#[test]
fn a_forked_child_that_drops_a_handle_unmaps_nothing_of_its_own() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(1 << 20, 16).create(&path).unwrap();
    let mut consumer = Some(Consumer::<[u8]>::attach(&path, Start::Latest).unwrap());
    let status = in_child(|| {
        let memory = fill_memory(7);
        drop(consumer.take());
        memory.iter().flatten().all(|&byte| byte == 7)
    });
    assert_eq!(status, 0, "the child is sound");
    assert!(Ring::open(&path).unwrap().consumers()[0].alive, "and took nothing from its parent");
}

/// Without `/dev/null`, the child's fork handler has nothing to put in the place of a descriptor.
#[test]
fn a_forked_child_that_drops_a_handle_closes_no_file_of_its_own() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(8, 4).create(&path).unwrap();
    let root = std::ffi::CString::new(path.parent().unwrap().to_str().unwrap()).unwrap();
    let status = in_child(|| {
        let consumer = Consumer::<[u8]>::attach(&path, Start::Latest).unwrap();
        // SAFETY: the string is NUL-terminated and outlives the call.
        if unsafe { libc::chroot(root.as_ptr()) } != 0 {
            eprintln!("nothing tried: this process may not change its root");
            return true;
        }
        let of_the_grandchild = in_child(|| {
            let files: Vec<File> = (0..8).map(|_| File::open("/ring").unwrap()).collect();
            drop(consumer);
            files.iter().all(|file| file.metadata().is_ok())
        });
        of_the_grandchild == 0
    });
    assert_eq!(status, 0);
}

#[test]
fn a_handle_that_a_forked_child_uses_is_an_error_there_and_writes_nowhere() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(1 << 20, 16).group("group", GroupSettings::new()).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    let mut observer = Observer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    let mut evictable =
        ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(&path).unwrap();
    let worker = Worker::<[u8]>::join(&path, "group").unwrap();
    let message = vec![0xAA; 1 << 20];
    for _ in 0..4 {
        producer.send(&message).unwrap();
    }
    let mut delivery = Some(worker.try_recv().unwrap());
    let forked = |error: SendError| {
        matches!(error, SendError::Handle(AtPath { error: HandleError::Forked { .. }, .. }))
    };
    let unreadable = |error: RecvError| {
        matches!(error, RecvError::Handle(AtPath { error: HandleError::Forked { .. }, .. }))
    };
    let status = in_child(|| {
        let memory = fill_memory(0);
        let sent = producer.try_send(&message).is_err_and(forked)
            && producer.send(&message).is_err_and(forked)
            && producer.try_claim().map(drop).is_err_and(forked)
            && producer.claim_batch(4).map(drop).is_err_and(forked)
            && producer.check().is_err_and(forked);
        let received = consumer.try_recv().map(drop).is_err_and(unreadable)
            && consumer.recv().map(drop).is_err_and(unreadable)
            && consumer.try_recv_batch(2).map(drop).is_err_and(unreadable)
            && observer.try_recv().map(drop).is_err_and(unreadable)
            && evictable.try_recv().map(drop).is_err_and(unreadable)
            && worker.try_recv().map(drop).is_err_and(unreadable)
            && delivery.take().unwrap().ack().is_err();
        sent && received && memory.iter().flatten().all(|&byte| byte == 0)
    });
    assert_eq!(status, 0, "each call is an error in the child: {status:#x}");
    delivery.take().unwrap().ack().unwrap();
    assert_eq!(producer.send(&message).unwrap(), 4);
    assert_eq!(*consumer.recv().unwrap(), message);
    assert_eq!(Ring::open(&path).unwrap().check(), []);
}

#[test]
fn a_claim_and_a_lease_that_a_forked_child_ends_are_its_parents() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 16).group("group", GroupSettings::new()).create(&path).unwrap();
    for ending in 0..8 {
        let mut producer = Some(Producer::<[u8]>::open(&path).unwrap());
        let worker = Worker::<[u8]>::join(&path, "group").unwrap();
        let start = producer.as_mut().unwrap().send(b"message").unwrap();
        let mut delivery = Some(worker.try_recv().unwrap());
        let status = in_child(|| match ending {
            0 => producer.take().unwrap().close().is_err(),
            1 => producer.take().is_some(),
            2 => delivery.take().unwrap().nack(None).is_err(),
            3 => delivery.take().unwrap().reject("no").is_err(),
            4 => delivery.take().unwrap().hand_back().is_err(),
            5 => delivery.as_mut().unwrap().extend().is_err(),
            6 => delivery.take().is_some(),
            _ => producer.as_mut().unwrap().claim().map_or(true, |mut claim| {
                claim.fill(7);
                claim.publish(48).is_err()
            }),
        });
        assert_eq!(status, 0, "ending {ending}: {status:#x}");
        let ring = Ring::open(&path).unwrap();
        let info = ring.producer_info().unwrap();
        assert!(info.alive && !info.closed, "ending {ending}");
        assert_eq!(ring.head(), start + 1, "ending {ending}");
        assert!(ring.dead_letters().unwrap().is_empty(), "ending {ending}");
        delivery.take().unwrap().ack().unwrap();
        producer.take().unwrap().check().unwrap();
    }
}

/// Number of descriptors and mappings that a process has of the file at `path`.
fn holdings(process: i32, path: &std::path::Path) -> usize {
    let links = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = links.filter_map(|link| std::fs::read_link(link.unwrap().path()).ok());
    let descriptors = links.filter(|link| link.to_string_lossy().starts_with(path.to_str().unwrap())).count();
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    descriptors + maps.lines().filter(|line| line.contains(path.to_str().unwrap())).count()
}

#[test]
fn a_child_that_is_forked_while_another_thread_attaches_has_nothing_of_the_ring() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 16).create(&path).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let held = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(relaxed) {
                drop(Producer::<[u8]>::open(&path));
                drop(Ring::open(&path));
            }
        });
        let mut held = 0;
        for _ in 0..400 {
            let (mut told, mut telling) = UnixStream::pair().unwrap();
            // SAFETY: the child only writes a byte, and waits to be killed.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // The handlers of the fork have run.
                telling.write_all(&[1]).unwrap();
                loop {
                    // SAFETY: takes nothing.
                    unsafe { libc::pause() };
                }
            }
            told.read_exact(&mut [0]).unwrap();
            held += usize::from(holdings(child, &path) > 0);
            // SAFETY: takes numbers; the process is the child.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above; nothing is written through a null pointer.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        }
        stop.store(true, relaxed);
        held
    });
    assert_eq!(held, 0, "children that keep something of the ring");
}

#[test]
fn draining_while_the_thread_unwinds_ends() {
    struct Drain(Consumer, std::sync::mpsc::Sender<usize>);
    impl Drop for Drain {
        fn drop(&mut self) {
            let mut drained = 0;
            while drained < 1000 && self.0.try_recv().is_ok() {
                drained += 1;
            }
            self.1.send(drained).unwrap();
        }
    }
    let ring = RingOptions::new(8, 8).create_in_memory().unwrap();
    let consumer = Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap();
    let mut producer = Producer::<[u8]>::open(&ring).unwrap();
    for _ in 0..5 {
        producer.send(b"x").unwrap();
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _drain = Drain(consumer, sender);
        std::panic::resume_unwind(Box::new(()));
    }));
    assert!(unwound.is_err());
    assert_eq!(receiver.recv(), Ok(5));
}

#[test]
fn a_stream_that_a_successor_continues_is_read_on() {
    let ring = RingOptions::new(8, 4).create_in_memory().unwrap();
    let mut selector = Selector::new(Wait::Park);
    selector.add(Consumer::<[u8]>::attach(&ring, Start::Earliest).unwrap());
    Producer::<[u8]>::open(&ring).unwrap().close().unwrap();
    assert!(matches!(selector.recv(), Err(RecvError::Closed)));
    assert!(selector.ended(0).is_some());
    let mut successor = Producer::<[u8]>::open(&ring).unwrap();
    for number in 0..10_u8 {
        assert!(!matches!(successor.try_send(&[number]), Err(SendError::Full { .. })));
        assert_eq!(&*selector.recv().unwrap().1, [number]);
    }
    assert!(selector.ended(0).is_none());
}

#[test]
fn a_change_of_directory_does_not_change_which_file_is_meant() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(8, 4).create(&path).unwrap();
    let status = in_child(|| {
        let home = path.parent().unwrap();
        std::env::set_current_dir(home).unwrap();
        let mut consumer = Consumer::<[u8]>::attach("ring", Start::Latest).unwrap();
        let ring = Ring::open("ring").unwrap();
        std::env::set_current_dir("/").unwrap();
        // Longer than it takes to look whether the file was replaced.
        let waited = consumer.recv_timeout(std::time::Duration::from_millis(250));
        drop(Producer::<[u8]>::open(&ring).unwrap());
        matches!(waited, Err(RecvError::TimedOut(_)))
    });
    assert_eq!(status, 0);
}

#[test]
fn a_change_of_root_takes_no_ring_for_removed_and_hides_no_removal() {
    let dir = TempDir::new();
    let (outside, jail) = (dir.file("outside"), dir.file("jail"));
    std::fs::create_dir(&jail).unwrap();
    for path in [&outside, &jail.join("inside")] {
        RingOptions::new(8, 4).create(path).unwrap();
    }
    // Longer than it takes to look whether the file was replaced.
    let long = std::time::Duration::from_millis(250);
    let status = in_child(|| {
        let mut before = Consumer::<[u8]>::attach(&outside, Start::Latest).unwrap();
        if let Err(refused) = std::os::unix::fs::chroot(&jail) {
            eprintln!("nothing was tried: chroot: {refused}");
            return true;
        }
        let mut after = Consumer::<[u8]>::attach("/inside", Start::Latest).unwrap();
        let both_wait = [&mut before, &mut after]
            .into_iter()
            .all(|consumer| matches!(consumer.recv_timeout(long), Err(RecvError::TimedOut(_))));
        std::fs::remove_file("/inside").unwrap();
        let found = after.recv_timeout(long);
        let is_replaced =
            |error: &RecvError| matches!(error, RecvError::Handle(at) if at.error == HandleError::Replaced);
        both_wait && found.is_err_and(|error| is_replaced(&error))
    });
    assert_eq!(status, 0);
}

//! What must leave no trace: a refusal, a forked child, a consumer that drains while its thread unwinds.

use kit::TempDir;
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, OpenError, Producer, ProducerOptions, RecvError, Ring,
    RingOptions, Selector, SendError, Start, Wait,
};

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

/// Runs `life` in a forked child and returns how it ended, as `waitpid` has it.
fn in_child(life: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child only runs `life` and leaves; the C library makes allocation usable in it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = i32::from(!life());
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

#[test]
fn a_forked_child_that_uses_a_handle_faults_and_writes_nowhere() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(1 << 20, 16).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let message = vec![0xAA; 1 << 20];
    let status = in_child(|| {
        let memory = fill_memory(0);
        let _ = producer.try_send(&message);
        memory.iter().flatten().all(|&byte| byte == 0)
    });
    assert_eq!(status & 0x7F, libc::SIGSEGV, "an access violation: {status:#x}");
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
        std::env::set_current_dir("/").unwrap();
        // Longer than it takes to look whether the file was replaced.
        let waited = consumer.recv_timeout(std::time::Duration::from_millis(250));
        matches!(waited, Err(RecvError::TimedOut(_)))
    });
    assert_eq!(status, 0);
}

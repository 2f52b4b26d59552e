//! The fear: one process breaks the rules, and takes the processes that keep them with it.
//!
//! A process that writes noise over all that readers may write; a file that is cut short while it
//! is used; roles that are stopped for a while; more readers than cores. Resources that run out are
//! in `scarcity.rs`.

use kit::format::readers::SEGMENT_OF_SMALL;
use kit::{Child, Dice, LONG, TempDir, message, tell};
use slipring::{
    AtPath, AttachError, Consumer, ConsumerOptions, GroupSettings, HandleError, Observer, Producer,
    RecvError, Ring, RingOptions, Selector, SendError, Start, Wait, Worker,
};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Where the packed blocks begin, as `docs/format.md` has it.
const PACKED: u64 = 12288;

fn create(path: &Path) -> Ring {
    let settings = GroupSettings::new().ack_wait(Duration::from_millis(50)).max_deliver(3);
    let options = RingOptions::new(48, 8).consumers(8).workers(4).group("group", settings);
    options.dead_letter_capacity(8).create(path).unwrap()
}

/// Writes noise over everything that a consumer or a worker may write, until it is killed.
fn vandal(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let len = file.metadata().unwrap().len() - SEGMENT_OF_SMALL;
    let mut dice = Dice::new(std::process::id().into());
    tell("ready");
    loop {
        let near = dice.roll(16);
        let value = match dice.roll(5) {
            0 => near,
            1 => u64::MAX - near,
            2 => (1_u64 << 63).wrapping_add(near),
            3 => 1 << dice.roll(64),
            _ => dice.any(),
        };
        let word = dice.roll(len / 8) * 8;
        // Every other one where something is decided.
        let word = if near % 2 == 0 { word } else { word - word % 128 };
        file.write_all_at(&value.to_le_bytes(), SEGMENT_OF_SMALL + word).unwrap();
        if near == 0 {
            std::thread::yield_now();
        }
    }
}

/// Every role at work for a while, in steps that do not wait. A party that cannot go on leaves, and
/// comes again.
fn honest(path: &Path) {
    let end = Instant::now() + Duration::from_millis(2500);
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut consumer = None;
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let mut worker = None;
    let (mut sent, mut seen, mut received, mut settled, mut full) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
    let mut stuck = 0;
    tell("ready");
    while Instant::now() < end {
        match producer.try_send((1, &message(producer.head()))) {
            Ok(_) => (sent, stuck) = (sent + 1, 0),
            Err(SendError::Full { .. }) => (full, stuck) = (full + 1, stuck + 1),
            Err(error) => panic!("{error}"),
        }
        while let Ok(copy) = observer.try_recv() {
            // An observer gives a whole copy or none: only the producer writes the words that it
            // goes by.
            assert_eq!(&*copy, message(copy.position()));
            seen += 1;
        }
        consumer = consumer.or_else(|| Consumer::<[u8]>::attach(path, Start::Earliest).ok());
        if let Some(reader) = &mut consumer {
            match reader.try_recv().map(|message| message.len() as u64) {
                Ok(len) => received += len / 16,
                Err(RecvError::Empty) => {}
                Err(RecvError::Damaged(_)) => consumer = None,
                Err(error) => panic!("{error}"),
            }
        }
        worker = worker.or_else(|| Worker::<[u8]>::join(path, "group").ok());
        if let Some(member) = &worker {
            match member.try_recv() {
                Ok(delivery) if delivery.position() % 3 == 0 => drop(delivery.reject("no")),
                Ok(delivery) if delivery.position() % 3 == 1 => drop(delivery),
                Ok(delivery) => settled += u64::from(delivery.ack().is_ok()),
                Err(RecvError::Empty) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // A way out for every party that a meaningless word holds up.
        if stuck == 64 {
            (consumer, worker, stuck) = (None, None, 0);
            way_out(path);
        }
    }
    tell(format!("sent {sent}, seen {seen}, received {received}, settled {settled}, full {full}"));
    assert!(sent > 100 && seen > 100, "nothing was done");
}

/// Clears everything away that may be in the way.
fn way_out(path: &Path) {
    let ring = Ring::open(path).unwrap();
    drop(ring.check());
    let _ = ring.repair();
    ring.groups().iter().for_each(|group| drop(ring.remove_group(&group.name)));
    ring.consumers().iter().for_each(|consumer| drop(ring.remove_consumer(&consumer.name)));
}

#[test]
fn noise_over_all_that_readers_write_ends_no_honest_process() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    let given = [path.to_str().unwrap()];
    let mut vandals = [Child::start("neighbours/vandal", &given), Child::start("neighbours/vandal", &given)];
    vandals.iter_mut().for_each(|vandal| assert_eq!(vandal.hear(), "ready"));
    let mut honest = Child::start("neighbours/honest", &given);
    assert_eq!(honest.hear(), "ready");
    println!("{}", honest.hear());
    honest.finish();
    drop(vandals);
    // The vandals are gone: their noise is cleared away, and the ring works.
    way_out(&path);
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Latest).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    for _ in 0..20 {
        let position = producer.send_timeout(b"again", LONG).unwrap();
        assert_eq!(consumer.try_recv().unwrap().position(), position);
    }
}

/// Has the parent cut the file, and looks until it is: to hear of it, the child would need a way to
/// be spoken to.
fn until_cut(path: &Path, len: u64) {
    tell("ready");
    while std::fs::metadata(path).unwrap().len() > len {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Says what each role is told once the file has been cut short.
fn truncated(path: &Path, handled: bool) {
    if handled {
        slipring::handle_sigbus().unwrap();
        slipring::handle_sigbus().unwrap();
    }
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let mut waiting = Consumer::<[u8]>::attach(path, Start::Latest).unwrap();
    let mut evictable = ConsumerOptions::new().attach_evictable::<[u8]>(path).unwrap();
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let worker = Worker::<[u8]>::join(path, "group").unwrap();
    producer.send(b"before").unwrap();
    let held = worker.try_recv().unwrap();
    // The head has told these of three messages more.
    let mut informed = [(); 3].map(|()| Consumer::<[u8]>::attach(path, Start::Latest).unwrap());
    let mut batch = producer.try_claim_batch(4).unwrap();
    assert_eq!(batch.push_blocks(4, |block| block.fill(7)), 4);
    batch.publish().unwrap();
    informed.iter_mut().for_each(|consumer| assert_eq!(consumer.recv().unwrap()[..], [7; 48]));
    let other = path.with_extension("other");
    let mut selector = Selector::new(Wait::Spin);
    let [first, second, third] = informed;
    let mut informed = [first, second];
    selector.add(third);
    selector.add(Consumer::<[u8]>::attach(&create(&other), Start::Latest).unwrap());
    Producer::<[u8]>::open(&other).unwrap().send(b"sound").unwrap();
    until_cut(path, 0);
    assert!(held.iter().all(|&byte| byte == 0), "what is gone reads as zeros");
    assert!(held.ack().is_err());
    let gone = |error: RecvError| {
        assert!(matches!(error, RecvError::Handle(AtPath { error: HandleError::Truncated, .. })), "{error}")
    };
    gone(consumer.try_recv().map(|message| message.len()).unwrap_err());
    gone(waiting.recv().map(|message| message.len()).unwrap_err());
    gone(informed[0].recv().map(|message| message.len()).unwrap_err());
    // A batch is in hand as soon as it is known: to look whether it is still there would cost every
    // one.
    assert!(informed[1].try_recv_batch(1).unwrap().iter().all(|item| item[..] == [0; 48]));
    gone(informed[1].try_recv_batch(1).map(|batch| batch.len()).unwrap_err());
    assert_eq!(selector.recv().map(|(index, message)| (index, message.len())).unwrap(), (1, 5));
    assert!(matches!(
        selector.ended(0),
        Some(RecvError::Handle(AtPath { error: HandleError::Truncated, .. }))
    ));
    gone(evictable.try_recv().map(|message| message.len()).unwrap_err());
    gone(observer.recv().map(|message| message.len()).unwrap_err());
    gone(worker.recv().map(|delivery| delivery.len()).unwrap_err());
    let error = (0..100).find_map(|_| producer.try_send(b"after").err()).unwrap();
    assert!(matches!(error, SendError::Handle(AtPath { error: HandleError::Truncated, .. })), "{error}");
    let error = producer.send(b"after").unwrap_err();
    assert!(matches!(error, SendError::Handle(AtPath { error: HandleError::Truncated, .. })), "{error}");
}

/// The file is cut between the slots and the packed blocks, so that a message is still said to be
/// there.
fn half_gone(path: &Path) {
    slipring::handle_sigbus().unwrap();
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut batch = producer.try_claim_batch(4).unwrap();
    assert_eq!(batch.push_blocks(4, |block| block.fill(7)), 4);
    batch.publish().unwrap();
    let mut evictable = ConsumerOptions::new().start(Start::Earliest).attach_evictable::<[u8]>(path).unwrap();
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    until_cut(path, PACKED);
    let gone = |error: RecvError| {
        assert!(matches!(error, RecvError::Handle(AtPath { error: HandleError::Truncated, .. })), "{error}")
    };
    gone(observer.try_recv().map(|message| message.len()).unwrap_err());
    gone(evictable.try_recv().map(|message| message.len()).unwrap_err());
}

#[test]
fn what_is_cut_away_is_no_message() {
    let (mut child, _dir) = cut("half_gone", PACKED);
    child.finish();
}

fn cut(role: &str, len: u64) -> (Child, TempDir) {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    let mut child = Child::start(&format!("neighbours/{role}"), &[path.to_str().unwrap()]);
    assert_eq!(child.hear(), "ready");
    OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
    (child, dir)
}

#[test]
fn a_file_that_is_cut_short_is_an_error_to_a_process_that_asked_for_one() {
    let (mut child, _dir) = cut("truncated_handled", 0);
    child.finish();
}

#[test]
fn a_file_that_is_cut_short_ends_a_process_that_did_not_ask() {
    let (mut child, _dir) = cut("truncated", 0);
    assert_eq!(child.process.wait().unwrap().signal(), Some(libc::SIGBUS));
}

/// A fault in a mapping that is no ring's.
fn foreign_fault(path: &Path) {
    slipring::handle_sigbus().unwrap();
    let _producer = Producer::<[u8]>::open(path).unwrap();
    let other = path.with_extension("other");
    let file = File::create_new(&other).unwrap();
    file.set_len(4096).unwrap();
    let file = OpenOptions::new().read(true).write(true).open(&other).unwrap();
    let map = memmap2::MmapRaw::map_raw(&file).unwrap();
    file.set_len(0).unwrap();
    tell("ready");
    // SAFETY: inside the mapping; that nothing is behind it is what this is about.
    unsafe { map.as_ptr().read_volatile() };
    tell("survived");
}

#[test]
fn a_fault_elsewhere_has_its_usual_end() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    let mut child = Child::start("neighbours/foreign_fault", &[path.to_str().unwrap()]);
    assert_eq!(child.hear(), "ready");
    assert_eq!(child.process.wait().unwrap().signal(), Some(libc::SIGBUS));
}

/// A signal that another process sent: it has no address.
fn foreign_signal() {
    // Rust's own handler waits for a second one.
    // SAFETY: takes numbers.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    slipring::handle_sigbus().unwrap();
    tell("ready");
    // SAFETY: takes a number; to this thread, as good as from another process.
    unsafe { libc::raise(libc::SIGBUS) };
    tell("survived");
}

/// The kernel announces that a page of this process is defective, before an instruction meets it.
fn announced() {
    // SAFETY: takes numbers.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    slipring::handle_sigbus().unwrap();
    tell("ready");
    // SAFETY: a `siginfo_t` is plain integers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    (info.si_signo, info.si_code) = (libc::SIGBUS, libc::BUS_MCEERR_AO);
    let (process, signal) = (std::process::id(), libc::SIGBUS);
    // SAFETY: takes nothing.
    let thread = unsafe { libc::gettid() };
    // SAFETY: the pointer is to a `siginfo_t` that lives across the call; the thread is this one.
    let sent =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, &raw const info) };
    tell(format!("survived, sent {sent}"));
    // SAFETY: ends the process at once.
    unsafe { libc::_exit(0) };
}

#[test]
fn a_signal_that_was_sent_or_announces_has_its_usual_end() {
    for role in ["foreign_signal", "announced"] {
        let mut child = Child::start(&format!("neighbours/{role}"), &["-"]);
        assert_eq!(child.hear(), "ready");
        assert_eq!(child.process.wait().unwrap().signal(), Some(libc::SIGBUS), "{role}");
    }
}

/// Sends this process a SIGBUS as the kernel does for a page that the hardware lost.
fn lose_by_hardware(address: u64) {
    let mut info = [0_u64; 16];
    info[0] = libc::SIGBUS.unsigned_abs().into();
    info[1] = libc::BUS_MCEERR_AR.unsigned_abs().into();
    info[2] = address;
    // SAFETY: takes nothing.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    let (process, signal) = (std::process::id(), libc::SIGBUS);
    // SAFETY: the pointer is to as many bytes as a `siginfo_t` has, laid out like one.
    let sent =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, info.as_mut_ptr()) };
    assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
}

/// Where a file is mapped.
fn mapped_at(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(path.to_str().unwrap())).unwrap();
    u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap()
}

fn hardware(path: &Path) {
    slipring::handle_sigbus().unwrap();
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    lose_by_hardware(mapped_at(path) + 4096);
    let error = (0..100).find_map(|_| producer.try_send(b"after").err()).unwrap();
    assert!(matches!(&error, SendError::Handle(AtPath { error: HandleError::Lost { .. }, .. })), "{error}");
    assert!(error.to_string().contains("hardware"), "{error}");
}

#[test]
fn a_page_that_the_hardware_lost_is_not_called_a_file_that_was_cut() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    Child::start("neighbours/hardware", &[path.to_str().unwrap()]).finish();
}

static CALLED: AtomicUsize = AtomicUsize::new(0);

/// A handler that other code installed before: it works once, and leaves the default behind.
extern "C" fn once(_: libc::c_int) {
    CALLED.fetch_add(1, Relaxed);
    // SAFETY: takes numbers.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

fn chained(path: &Path) {
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGBUS, once as *const () as libc::sighandler_t) };
    slipring::handle_sigbus().unwrap();
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    // SAFETY: takes a number.
    unsafe { libc::raise(libc::SIGBUS) };
    assert_eq!(CALLED.load(Relaxed), 1, "the handler that was there before");
    until_cut(path, 0);
    let error = (0..100).find_map(|_| producer.try_send(b"after").err()).unwrap();
    assert!(matches!(error, SendError::Handle(AtPath { error: HandleError::Truncated, .. })), "{error}");
}

#[test]
fn a_handler_that_resets_itself_does_not_end_the_protection() {
    let (mut child, _dir) = cut("chained", 0);
    child.finish();
}

#[test]
fn sixty_four_consumers_each_get_everything() {
    const MESSAGES: u64 = 2000;
    let dir = TempDir::new();
    let path = dir.file("ring");
    RingOptions::new(48, 64).consumers(64).create(&path).unwrap();
    let consumers: Vec<Consumer> =
        (0..64).map(|_| Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap()).collect();
    assert!(matches!(
        Consumer::<[u8]>::attach(&path, Start::Latest),
        Err(AtPath { error: AttachError::TableFull { .. }, .. })
    ));
    std::thread::scope(|scope| {
        for mut consumer in consumers {
            scope.spawn(move || {
                for position in 0..MESSAGES {
                    let message = consumer.recv_timeout(LONG).unwrap();
                    assert_eq!((message.position(), &*message), (position, &self::message(position)[..]));
                }
            });
        }
        let mut producer = Producer::<[u8]>::open(&path).unwrap();
        for position in 0..MESSAGES {
            producer.send_timeout(&message(position), LONG).unwrap();
        }
    });
    assert_eq!(Ring::open(&path).unwrap().check(), []);
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let path = PathBuf::from(&given[0]);
    // Some of the roles end by a signal.
    // SAFETY: takes numbers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    match role {
        "vandal" => vandal(&path),
        "honest" => honest(&path),
        "truncated" => truncated(&path, false),
        "half_gone" => half_gone(&path),
        "truncated_handled" => truncated(&path, true),
        "announced" => announced(),
        "foreign_signal" => foreign_signal(),
        "hardware" => hardware(&path),
        "chained" => chained(&path),
        "foreign_fault" => foreign_fault(&path),
        _ => panic!("no such role: {role}"),
    }
}

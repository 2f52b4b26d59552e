//! The fear: a clock that was set makes a party give up a message that is still held, or hold one
//! that is given up.
//!
//! The system clock is for people, and for one decision: how long a durable consumer has been away.
//! Set back, it leaves time stamps of the future; set forward, some of long ago. Leases go by the
//! machine's monotonic clock, which no program sets, but which a container may see shifted
//! (`time_namespaces(7)`).

use kit::format::{consumer, header, producer, word};
use kit::{Child, LONG, TempDir, command, tell};
use slipring::{
    ConsumerOptions, GroupSettings, HolderRole, PendingState, Producer, RecvError, Ring, RingOptions,
    SendError, Start, Worker, WorkerOptions,
};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes the time stamps of the producer and of the first consumer this one: when each came, and
/// when the latter left.
fn stamp(path: &Path, time: SystemTime) {
    let ms = u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let consumer = word(path, header::READERS) + word(path, header::CONSUMER_TABLE);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for at in [producer::OPENED, consumer + consumer::JOINED, consumer + consumer::DETACHED] {
        assert_ne!(word(path, at), 0, "no time stamp at {at}");
        file.write_all_at(&ms.to_le_bytes(), at).unwrap();
    }
}

fn audit() -> ConsumerOptions {
    ConsumerOptions::new().name("audit").durable(true).start(Start::Earliest)
}

/// A full ring. Its durable consumer may be away for an hour, and left at the given time by today's
/// clock.
fn held(path: &Path, left: SystemTime) -> Producer {
    let options = RingOptions::new(48, 8).consumers(2).durable_inactive_threshold(Duration::from_secs(3600));
    options.create(path).unwrap();
    drop(audit().attach::<[u8]>(path).unwrap());
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    for _ in 0..8 {
        producer.try_send(b"waits").unwrap();
    }
    stamp(path, left);
    producer
}

#[test]
fn the_system_clock_set_back_gives_no_consumer_up() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let mut producer = held(&path, SystemTime::now() + YEAR);
    for _ in 0..3 {
        let Err(SendError::Full { holder, .. }) = producer.try_send(b"no") else { panic!("not full") };
        assert_eq!((holder.role, holder.name.as_str()), (HolderRole::DurableConsumer, "audit"));
        // How long the producer believes what it found.
        std::thread::sleep(Duration::from_millis(11));
    }
    let ring = Ring::open(&path).unwrap();
    assert_eq!(ring.check(), []);
    assert!(ring.consumers()[0].joined_unix_ms > ring.events().last().unwrap().unix_ms);
    let mut back = audit().attach::<[u8]>(&path).unwrap();
    assert_eq!(back.position(), 0);
    (0..8).for_each(|_| assert_eq!(*back.try_recv().unwrap(), *b"waits"));
    producer.try_send(b"goes on").unwrap();
}

#[test]
fn the_system_clock_set_forward_gives_up_the_consumer_that_was_away_and_no_other() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let mut producer = held(&path, SystemTime::now() - YEAR);
    let mut back = audit().attach::<[u8]>(&path).unwrap();
    stamp_joined_long_ago(&path);
    assert!(matches!(producer.try_send(b"no"), Err(SendError::Full { .. })), "it is here");
    assert_eq!(*back.try_recv().unwrap(), *b"waits");
    drop(back);
    producer.try_send(b"last").unwrap();
    stamp(&path, SystemTime::now() - YEAR);
    // How long the producer believes what it found.
    std::thread::sleep(Duration::from_millis(11));
    producer.try_send(b"goes on").unwrap();
    assert_eq!(Ring::open(&path).unwrap().consumers(), []);
}

/// As if the clock had been set forward while the first consumer is attached.
fn stamp_joined_long_ago(path: &Path) {
    let consumer = word(path, header::READERS) + word(path, header::CONSUMER_TABLE);
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&1_u64.to_le_bytes(), consumer + 144).unwrap();
}

fn join(path: &Path) -> Worker {
    WorkerOptions::new("group").tick(Duration::from_millis(1)).join::<[u8]>(path).unwrap()
}

/// Looks for a while, and finds nothing.
fn gets_nothing(worker: &Worker) {
    for _ in 0..5 {
        let got = worker.recv_timeout(Duration::from_millis(20)).map(|delivery| delivery.position());
        assert!(matches!(got, Err(RecvError::TimedOut(_))), "{got:?}");
    }
}

/// In a namespace with a clock that is more than a day ahead.
fn guest(path: &Path) {
    let worker = join(path);
    let lease = worker.recv_timeout(LONG).unwrap();
    assert_eq!((lease.position(), lease.attempt()), (1, 1), "the first message is leased");
    gets_nothing(&worker);
    tell("leased");
    while !path.with_extension("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    lease.ack().unwrap();
}

/// In the child, before `exec`: makes a time namespace, and goes on as its first process. An error
/// where that is not allowed.
fn shift_the_clock() -> io::Result<()> {
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: takes flags.
    let unshare = |flags| check(unsafe { libc::unshare(flags) });
    unshare(libc::CLONE_NEWTIME).or_else(|_| unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWTIME))?;
    std::fs::write("/proc/self/timens_offsets", "monotonic 100000 0\nboottime 100000 0\n")?;
    // SAFETY: there is one thread.
    let first = check(unsafe { libc::fork() })?;
    if first > 0 {
        // The parent waits for the end of a pipe that `exec` closes, and only the child gets there.
        // SAFETY: takes numbers; nothing here uses a descriptor any more.
        check(unsafe { libc::close_range(3, libc::c_uint::MAX, 0) })?;
        let mut status = 0;
        // SAFETY: the status lives across the call.
        check(unsafe { libc::waitpid(first, &raw mut status, 0) })?;
        // SAFETY: ends the process.
        unsafe { libc::_exit(libc::WEXITSTATUS(status)) };
    }
    Ok(())
}

#[test]
fn a_shifted_clock_shortens_no_lease_and_lengthens_none() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let settings = GroupSettings::new().ack_wait(LONG);
    RingOptions::new(48, 8).group("group", settings).create(&path).unwrap();
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    producer.send(b"here").unwrap();
    producer.send(b"there").unwrap();
    let worker = join(&path);
    let lease = worker.try_recv().unwrap();
    let mut command = command("clocks/guest", &[path.to_str().unwrap()]);
    // SAFETY: system calls only, and a write of constant bytes.
    unsafe { command.pre_exec(shift_the_clock) };
    let mut guest = Child::spawn(&mut command).unwrap_or_else(|error| {
        println!("no time namespace is allowed here: {error}");
        Child::start("clocks/guest", &[path.to_str().unwrap()])
    });
    assert_eq!(guest.hear(), "leased");
    gets_nothing(&worker);
    let pending = Ring::open(&path).unwrap().pending("group").unwrap();
    let about_a_minute = LONG / 2..LONG + Duration::from_secs(1);
    for message in &pending {
        let PendingState::Leased { time_left, .. } = message.state else { panic!("{message:?}") };
        assert!(about_a_minute.contains(&time_left), "{message:?}");
    }
    assert_eq!(pending.len(), 2);
    lease.ack().unwrap();
    std::fs::write(path.with_extension("go"), "").unwrap();
    guest.finish();
}

/// Takes a lease, makes a time namespace for its children, and forks one, which takes a lease there
/// and another one when it has moved back (`setns(2)`).
fn host(path: &Path) {
    let worker = join(path);
    let first = worker.try_recv().unwrap();
    let home = std::fs::File::open("/proc/self/ns/time").unwrap();
    // SAFETY: takes flags.
    let unshared = unsafe { libc::unshare(libc::CLONE_NEWTIME) } == 0;
    // SAFETY: takes nothing.
    let offsets = format!("/proc/{}/timens_offsets", unsafe { libc::gettid() });
    let made = unshared && std::fs::write(offsets, "monotonic 100000 0\nboottime 100000 0\n").is_ok();
    if !made {
        return tell(format!("no time namespace is allowed here: {}", io::Error::last_os_error()));
    }
    // SAFETY: the child takes leases and waits for its end; the C library makes allocation usable
    // in it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: takes flags.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let worker = join(path);
        let moved = worker.try_recv().unwrap();
        // SAFETY: takes a descriptor and flags; this process has one thread.
        assert_eq!(unsafe { libc::setns(home.as_raw_fd(), libc::CLONE_NEWTIME) }, 0);
        let back = worker.try_recv().unwrap();
        tell("leased");
        loop {
            std::hint::black_box((&moved, &back));
            std::thread::park();
        }
    }
    while !path.with_extension("go").exists() {
        std::thread::yield_now();
    }
    // SAFETY: takes numbers; the process is the child.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: as above; nothing is written through a null pointer.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    drop(first);
}

#[test]
fn a_process_that_changes_its_time_namespace_goes_on_by_the_same_time() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    let settings = GroupSettings::new().ack_wait(LONG);
    RingOptions::new(48, 8).group("group", settings).create(&path).unwrap();
    Producer::<[u8]>::open(&path).unwrap().send_batch(&[b"1", b"2", b"3"]).unwrap();
    let mut host = Child::start("clocks/host", &[path.to_str().unwrap()]);
    let heard = host.hear();
    if heard != "leased" {
        return println!("{heard}");
    }
    let pending = Ring::open(&path).unwrap().pending("group").unwrap();
    for message in &pending {
        let PendingState::Leased { time_left, .. } = message.state else { panic!("{message:?}") };
        assert!((LONG / 2..LONG + Duration::from_secs(1)).contains(&time_left), "{message:?}");
    }
    assert_eq!(pending.len(), 3);
    std::fs::write(path.with_extension("go"), "").unwrap();
    host.finish();
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let path = PathBuf::from(&given[0]);
    match role {
        "guest" => guest(&path),
        "host" => host(&path),
        _ => panic!("no such role: {role}"),
    }
}

//! The fear: a resource runs out, and the processes at work lose a message, hang, or die of it.
//!
//! A full filesystem; no descriptors left; no kernel memory for locks; signals that interrupt every
//! wait.

use kit::{Child, LONG, TempDir, message, tell};
use slipring::{
    At, Consumer, CreateError, DeadLetters, Error, GroupSettings, Observer, OpenError, Producer, RecvError,
    Rejected, Ring, RingOptions, SendError, Start, Worker,
};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(300);

fn create(path: &Path) -> Ring {
    let settings = GroupSettings::new().ack_wait(Duration::from_millis(50)).max_deliver(3);
    let options = RingOptions::new(48, 8).consumers(4).workers(4).group("group", settings);
    options.dead_letter_capacity(8).create(path).unwrap()
}

/// A tmpfs of its own, of a size; None where that is not allowed.
fn own_tmpfs(at: &Path, size: &str) -> Option<()> {
    own_mount(at, c"tmpfs", size)
}

/// Mounts a filesystem in a mount namespace of this process's own; None where that is not allowed.
fn own_mount(at: &Path, kind: &std::ffi::CStr, options: &str) -> Option<()> {
    let c = |text: &str| std::ffi::CString::new(text).unwrap();
    // SAFETY: takes flags. The other threads of the process touch no file.
    let unshare = |flags| unsafe { libc::unshare(flags) } == 0;
    let unshared = unshare(libc::CLONE_NEWNS) || unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS);
    let (target, options, null) = (c(at.to_str()?), c(options), std::ptr::null());
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the string is NUL-terminated and outlives the call; the others are not read.
    let private = || unsafe { libc::mount(null, c"/".as_ptr(), null, flags, null.cast()) };
    // SAFETY: the strings are NUL-terminated and outlive the call.
    let mount =
        || unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
    (unshared && private() == 0 && mount() == 0).then_some(())
}

/// A filesystem in user space whose server answers the first request, and then no other. It hangs
/// until the server is dropped.
struct Hung(File);

impl Hung {
    fn mount(at: &Path) -> Option<Hung> {
        let server = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        own_mount(at, c"fuse", &format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd()))?;
        let hung = Hung(server);
        let init = hung.next_request();
        // `struct fuse_out_header` and `struct fuse_init_out` of `linux/fuse.h`, the latter as of
        // version 7.12, with `FUSE_PARALLEL_DIROPS`.
        let (len, error, limits) = (40_u32, 0_u32, [7, 12, 0, 1 << 18, 0, 1 << 16_u32]);
        let words = [len, error].into_iter().map(u32::to_le_bytes);
        let body = limits.into_iter().map(u32::to_le_bytes);
        let answer: Vec<u8> = words.flatten().chain(init).chain(body.flatten()).collect();
        (&hung.0).write_all(&answer).unwrap();
        Some(hung)
    }

    /// Waits for a request, and returns its number.
    fn next_request(&self) -> [u8; 8] {
        let mut request = vec![0; 1 << 17];
        assert!((&self.0).read(&mut request).unwrap() >= 40, "a request is whole");
        request[8..16].try_into().unwrap()
    }
}

fn hung_filesystem(directory: &Path) {
    let at = directory.join("hung");
    std::fs::create_dir(&at).unwrap();
    let Some(server) = Hung::mount(&at) else { return tell("not allowed to mount") };
    let doors: [fn(&Path); 3] = [
        |path| assert!(Ring::open(path).is_err()),
        |path| assert!(Producer::<[u8]>::open(path).is_err()),
        |path| assert!(RingOptions::new(48, 8).create(path).is_err()),
    ];
    let mut names = ["one", "two", "three"].iter();
    let inside = doors.map(|door| {
        // Two lookups of one name would be one request.
        let path = at.join(names.next().unwrap());
        let thread = std::thread::spawn(move || door(&path));
        server.next_request();
        thread
    });
    let (forked, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // SAFETY: the child ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: takes the status of the child, which nobody wants.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        forked.send(()).unwrap();
    });
    told.recv_timeout(LONG).expect("a fork waits for a filesystem that does not answer");
    assert!(inside.iter().all(|thread| !thread.is_finished()), "none of them was held up");
    drop(server);
    inside.into_iter().for_each(|thread| thread.join().unwrap());
    tell("forked beside it");
}

#[test]
fn a_fork_does_not_wait_for_a_filesystem_that_does_not_answer() {
    let dir = TempDir::new();
    let mut child = Child::start("scarcity/hung_filesystem", &[dir.as_ref().to_str().unwrap()]);
    println!("{}", child.hear());
    child.finish();
}

fn full_filesystem(directory: &Path) {
    let at = directory.join("small");
    std::fs::create_dir(&at).unwrap();
    if own_tmpfs(&at, "size=512k").is_none() {
        return tell("not allowed to mount");
    }
    let (path, late) = (at.join("ring"), at.join("late"));
    create(&path);
    let filler = File::create(at.join("filler")).unwrap();
    let filled = (0..).find(|&page| filler.write_all_at(&[1; 4096], page * 4096).is_err()).unwrap();
    // The ring's space is its own.
    let mut producer = Producer::<[u8]>::open(&path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(&path, Start::Earliest).unwrap();
    let worker = Worker::<[u8]>::join(&path, "group").unwrap();
    for position in 0..24 {
        producer.send_timeout(&message(position), LONG).unwrap();
        assert_eq!(*consumer.try_recv().unwrap(), message(position));
        let delivery = worker.try_recv().unwrap();
        match position % 4 {
            0 => assert_eq!(delivery.reject("no"), Ok(Rejected::Settled)),
            _ => delivery.ack().unwrap(),
        }
    }
    assert_eq!(DeadLetters::open(&path).unwrap().purge(100), Ok(6));
    let error = RingOptions::new(48, 1024).create(&late).unwrap_err();
    assert!(matches!(error.error, CreateError::NoSpace { .. }), "{error}");
    assert!(filled > 0 && !late.exists());
    // The dead-letter ring cannot be made again. The message waits for that, and is not lost.
    std::fs::remove_file(at.join("ring.dead")).unwrap();
    (filled..).find(|&page| filler.write_all_at(&[1; 4096], page * 4096).is_err()).unwrap();
    producer.send_timeout(b"dead", LONG).unwrap();
    assert_eq!(worker.try_recv().unwrap().reject("no"), Ok(Rejected::Waiting));
    filler.set_len(0).unwrap();
    await_dead_letter(&path, &worker);
    tell("full");
}

#[test]
fn a_full_filesystem_stops_no_attached_process() {
    let dir = TempDir::new();
    let mut child = Child::start("scarcity/full_filesystem", &[dir.as_ref().to_str().unwrap()]);
    println!("{}", child.hear());
    child.finish();
}

fn no_descriptors(path: &Path) {
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let worker = Worker::<[u8]>::join(path, "group").unwrap();
    let mut hoard = Vec::new();
    let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: the pointer is to an `rlimit` that lives across the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    let errors = [
        Ring::open(path).map(drop).map_err(Error::from),
        Producer::<[u8]>::open(path).map(drop).map_err(Error::from),
        Consumer::<[u8]>::attach(path, Start::Latest).map(drop).map_err(Error::from),
        Observer::<[u8]>::attach(path, Start::Latest).map(drop).map_err(Error::from),
        Worker::<[u8]>::join(path, "group").map(drop).map_err(Error::from),
        RingOptions::new(48, 8).create(path.with_extension("late")).map(drop).map_err(Error::from),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(error.to_string().contains("open files"), "{error}");
    }
    for position in 0..20 {
        producer.send_timeout(&message(position), LONG).unwrap();
        assert_eq!(*consumer.try_recv().unwrap(), message(position));
        worker.try_recv().unwrap().ack().unwrap();
    }
    // The dead-letter ring cannot be opened now. The message waits, and is not lost.
    producer.send_timeout(b"dead", LONG).unwrap();
    assert_eq!(worker.try_recv().unwrap().reject("no"), Ok(Rejected::Waiting));
    drop(hoard);
    await_dead_letter(path, &worker);
}

/// Lets the worker wait for messages until it has moved one to the dead-letter ring.
fn await_dead_letter(path: &Path, worker: &Worker) {
    let start = Instant::now();
    while !Ring::open(path).unwrap().dead_letters().is_ok_and(|letters| !letters.is_empty()) {
        assert!(start.elapsed() < LONG, "never a dead letter");
        assert!(worker.recv_timeout(Duration::from_millis(20)).is_err());
    }
}

#[test]
fn a_lack_of_descriptors_is_an_error_and_loses_nothing() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    Child::start("scarcity/no_descriptors", &[path.to_str().unwrap()]).finish();
}

/// One step of a filter of system calls.
fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code.try_into().unwrap(), jt, jf, k }
}

/// From here on, the filter decides about every system call of this process.
fn filter_calls(filter: &mut [libc::sock_filter]) {
    let program = libc::sock_fprog { len: filter.len().try_into().unwrap(), filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and what it points to live across the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// From here on, every lock that this process asks for, or asks about, is `ENOLCK`: the kernel has
/// no memory for it.
fn refuse_locks() {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let compare = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let second_argument = std::mem::offset_of!(libc::seccomp_data, args) + 8;
    filter_calls(&mut [
        step(load, std::mem::offset_of!(libc::seccomp_data, nr).try_into().unwrap(), 0, 0),
        step(compare, libc::SYS_fcntl.try_into().unwrap(), 0, 4),
        step(load, second_argument.try_into().unwrap(), 0, 0),
        step(compare, libc::F_OFD_SETLK.try_into().unwrap(), 1, 0),
        step(compare, libc::F_OFD_GETLK.try_into().unwrap(), 0, 1),
        step(end, libc::SECCOMP_RET_ERRNO | u32::try_from(libc::ENOLCK).unwrap(), 0, 0),
        step(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]);
}

/// From here on, a signal interrupts each reservation of more than 100 KiB, as the tmpfs of an
/// older kernel has it that takes longer than the next tick of a timer.
fn interrupt_long_reservations() {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let compare = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let exceeds = libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let fourth_argument = std::mem::offset_of!(libc::seccomp_data, args) + 3 * 8;
    filter_calls(&mut [
        step(load, std::mem::offset_of!(libc::seccomp_data, nr).try_into().unwrap(), 0, 0),
        step(compare, libc::SYS_fallocate.try_into().unwrap(), 0, 3),
        step(load, fourth_argument.try_into().unwrap(), 0, 0),
        step(exceeds, 100 << 10, 0, 1),
        step(end, libc::SECCOMP_RET_ERRNO | u32::try_from(libc::EINTR).unwrap(), 0, 0),
        step(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]);
}

fn interrupted_reservation(path: &Path) {
    interrupt_long_reservations();
    let ring = RingOptions::new(4096, 256).create(path).unwrap();
    let reserved = std::fs::metadata(path).unwrap().blocks() * 512;
    assert!(reserved >= ring.file_len(), "{reserved} of {}", ring.file_len());
}

#[test]
fn signals_that_interrupt_every_long_reservation_do_not_keep_a_ring_from_being_made() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    Child::start("scarcity/interrupted_reservation", &[path.to_str().unwrap()]).finish();
}

fn no_locks(path: &Path) {
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let mut second = Consumer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let mut observer = Observer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let worker = Worker::<[u8]>::join(path, "group").unwrap();
    refuse_locks();
    let errors = [
        Producer::<[u8]>::open(path).map(drop).map_err(Error::from),
        Consumer::<[u8]>::attach(path, Start::Latest).map(drop).map_err(Error::from),
        Worker::<[u8]>::join(path, "group").map(drop).map_err(Error::from),
        DeadLetters::open(path).map(drop).map_err(Error::from),
        Ring::open(path).unwrap().remove_group("group").map_err(Error::from),
    ];
    for error in errors {
        let error = error.unwrap_err();
        let is_io = matches!(&error, Error::Open(at) if matches!(at.error, OpenError::Io { .. }));
        assert!(is_io && error.to_string().contains("lock"), "{error}");
    }
    for position in 0..20 {
        producer.send_timeout(&message(position), LONG).unwrap();
        assert_eq!(*consumer.try_recv().unwrap(), message(position));
        assert_eq!(*second.try_recv().unwrap(), message(position));
        assert_eq!(*observer.try_recv().unwrap(), message(position));
        worker.try_recv().unwrap().ack().unwrap();
    }
    // No party is taken for dead for want of an answer.
    for position in 20..28 {
        producer.try_send(&message(position)).unwrap();
        drop(consumer.try_recv().unwrap());
        worker.try_recv().unwrap().ack().unwrap();
    }
    assert!(matches!(producer.send_timeout(b"no", SHORT), Err(SendError::Full { .. })));
    assert_eq!(*second.try_recv().unwrap(), message(20));
    // The dead-letter ring cannot be locked. The message waits.
    producer.send_timeout(b"dead", LONG).unwrap();
    assert_eq!(worker.try_recv().unwrap().reject("no"), Ok(Rejected::Waiting));
}

#[test]
fn a_lack_of_locks_is_an_error_and_takes_no_process_for_dead() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    Child::start("scarcity/no_locks", &[path.to_str().unwrap()]).finish();
    // The waiting message is not lost.
    await_dead_letter(&path, &Worker::<[u8]>::join(&path, "group").unwrap());
}

extern "C" fn nothing(_: libc::c_int) {}

/// A signal every 100 microseconds, which restarts no system call.
fn storm(path: &Path) {
    // SAFETY: a `sigaction` is plain integers and an optional function.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the pointers are to a `sigaction` that lives across the call, and null.
    assert_eq!(unsafe { libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) }, 0);
    let every = libc::timeval { tv_sec: 0, tv_usec: 100 };
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) }, 0);

    let second = path.with_extension("second");
    for _ in 0..200 {
        create(&second);
        drop(Producer::<[u8]>::open(&second).unwrap());
        drop(Consumer::<[u8]>::attach(&second, Start::Earliest).unwrap());
        drop(Worker::<[u8]>::join(&second, "group").unwrap());
        std::fs::remove_file(&second).unwrap();
        std::fs::remove_file(path.with_extension("second.dead")).unwrap();
    }
    let mut producer = Producer::<[u8]>::open(path).unwrap();
    let mut consumer = Consumer::<[u8]>::attach(path, Start::Earliest).unwrap();
    let mut observer = Observer::<[u8]>::attach(path, Start::Latest).unwrap();
    let worker = Worker::<[u8]>::join(path, "group").unwrap();
    // Time-outs are neither cut short nor drawn out.
    let start = Instant::now();
    let timed_out = |error: RecvError| assert!(matches!(error, RecvError::TimedOut(_)), "{error}");
    timed_out(consumer.recv_timeout(SHORT).map(|message| message.len()).unwrap_err());
    timed_out(observer.recv_timeout(SHORT).map(|message| message.len()).unwrap_err());
    timed_out(worker.recv_timeout(SHORT).map(|delivery| delivery.len()).unwrap_err());
    while producer.try_send(b"fill").is_ok() {}
    assert!(matches!(producer.send_timeout(b"no", SHORT), Err(SendError::Full { .. })));
    assert!(start.elapsed() >= 4 * SHORT && start.elapsed() < LONG);
    // Sleepers are woken by what they wait for.
    while consumer.try_recv().is_ok() {}
    while let Ok(delivery) = worker.try_recv() {
        delivery.ack().unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 0..500 {
                producer.send_timeout(&message(producer.head()), LONG).unwrap();
            }
        });
        scope.spawn(move || {
            for _ in 0..500 {
                let message = consumer.recv_timeout(LONG).unwrap();
                assert_eq!(*message, self::message(message.position()));
            }
        });
        scope.spawn(move || (0..500).for_each(|_| worker.recv_timeout(LONG).unwrap().ack().unwrap()));
    });
}

#[test]
fn signals_that_interrupt_every_wait_change_nothing() {
    let dir = TempDir::new();
    let path = dir.file("ring");
    create(&path);
    Child::start("scarcity/storm", &[path.to_str().unwrap()]).finish();
}

/// More than a small ring, and less than a large one.
const LOCKABLE: u64 = 4 << 20;

/// A user that may lock little memory, in a process that has asked for all that it maps from now
/// on.
fn locks_all_memory(path: &Path) {
    let limit = libc::rlimit { rlim_cur: LOCKABLE, rlim_max: LOCKABLE };
    // SAFETY: the pointer is to an `rlimit` that lives across the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    // Root may lock all memory there is.
    // SAFETY: takes a number. A user that is not root stays what it is.
    unsafe { libc::setuid(kit::NOBODY) };
    // SAFETY: takes a number.
    assert_eq!(unsafe { libc::mlockall(libc::MCL_FUTURE) }, 0);
    let trusting = At::path(path).trust_owner(std::fs::metadata(path).unwrap().uid());
    let errors = [
        RingOptions::new(1024, 16384).create(path.with_extension("large")).map(drop).map_err(Error::from),
        Ring::open(&trusting).map(drop).map_err(Error::from),
        Producer::<[u8]>::open(&trusting).map(drop).map_err(Error::from),
        Consumer::<[u8]>::attach(&trusting, Start::Latest).map(drop).map_err(Error::from),
        Observer::<[u8]>::attach(&trusting, Start::Latest).map(drop).map_err(Error::from),
    ];
    for error in errors {
        let error = error.unwrap_err();
        assert!(error.to_string().contains("ulimit -l"), "{error}");
    }
    assert!(!path.with_extension("large").exists(), "nothing is left behind");
    let small = path.with_extension("small");
    RingOptions::new(48, 8).create(&small).unwrap();
    Producer::<[u8]>::open(&small).unwrap().send(b"works").unwrap();
}

#[test]
fn a_process_that_locks_all_its_memory_is_told_of_its_limit() {
    let dir = TempDir::new();
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.file("ring");
    RingOptions::new(1024, 16384).mode(0o666).create(&path).unwrap();
    Child::start("scarcity/locks_all_memory", &[path.to_str().unwrap()]).finish();
}

/// Plays one of the roles of this file.
pub(crate) fn play(role: &str, given: &[String]) {
    let path = PathBuf::from(&given[0]);
    match role {
        "full_filesystem" => full_filesystem(&path),
        "hung_filesystem" => hung_filesystem(&path),
        "no_descriptors" => no_descriptors(&path),
        "no_locks" => no_locks(&path),
        "locks_all_memory" => locks_all_memory(&path),
        "interrupted_reservation" => interrupted_reservation(&path),
        "storm" => storm(&path),
        _ => panic!("no such role: {role}"),
    }
}

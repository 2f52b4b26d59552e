//! The fear: a sandbox refuses a system call, by any error, and the command hangs, spins, or says
//! that it did what it did not.

mod shell;

use shell::Place;
use std::cell::RefCell;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// The errors by which sandboxes refuse.
const ERRORS: [i32; 4] = [libc::EPERM, libc::ENOSYS, libc::EACCES, libc::ENOMEM];

/// Calls that have a way around, or that a ring can do without.
const OPTIONAL: &[(&str, libc::c_long)] = &[
    ("futex", SHARED_FUTEX),
    ("futex_waitv", libc::SYS_futex_waitv),
    ("membarrier", libc::SYS_membarrier),
    ("getrandom", libc::SYS_getrandom),
    ("sched_yield", libc::SYS_sched_yield),
    ("sched_getaffinity", libc::SYS_sched_getaffinity),
    ("fadvise64", libc::SYS_fadvise64),
    ("fallocate", libc::SYS_fallocate),
    ("statx", libc::SYS_statx),
    ("prctl", libc::SYS_prctl),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("clone3", libc::SYS_clone3),
    ("set_robust_list", libc::SYS_set_robust_list),
    ("rseq", libc::SYS_rseq),
    ("prlimit64", libc::SYS_prlimit64),
    ("ioctl", libc::SYS_ioctl),
    ("getcwd", libc::SYS_getcwd),
    ("readlink", libc::SYS_readlink),
    ("mlock", libc::SYS_mlock),
    ("renameat2", libc::SYS_renameat2),
    ("memfd_create", libc::SYS_memfd_create),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("timerfd_create", libc::SYS_timerfd_create),
    ("signalfd4", libc::SYS_signalfd4),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("sigaltstack", libc::SYS_sigaltstack),
];

/// Calls without which a ring cannot be used, or some verb cannot work: an error is right.
const NEEDED: &[(&str, libc::c_long)] = &[
    ("fcntl", libc::SYS_fcntl),
    ("fstatfs", libc::SYS_fstatfs),
    ("statfs", libc::SYS_statfs),
    ("madvise", libc::SYS_madvise),
    ("linkat", libc::SYS_linkat),
    ("fchmod", libc::SYS_fchmod),
    ("clock_nanosleep", libc::SYS_clock_nanosleep),
    ("ppoll", libc::SYS_ppoll),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    ("getdents64", libc::SYS_getdents64),
    ("pwrite64", libc::SYS_pwrite64),
    ("lseek", libc::SYS_lseek),
    ("setpgid", libc::SYS_setpgid),
    ("geteuid", libc::SYS_geteuid),
    ("clone", libc::SYS_clone),
    ("vfork", libc::SYS_vfork),
    ("pipe2", libc::SYS_pipe2),
    ("socketpair", libc::SYS_socketpair),
    ("dup3", libc::SYS_dup3),
];

/// Only futexes between processes: libc itself ends a program that is refused its own.
const SHARED_FUTEX: libc::c_long = -libc::SYS_futex;

/// From the next `exec` on, this process and its children get this error for this call.
fn refuse(call: libc::c_long, error: i32) -> io::Result<()> {
    let step =
        |code: u32, k: u32, jt, jf| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let end = libc::BPF_RET | libc::BPF_K;
    let compare = |code| libc::BPF_JMP | code | libc::BPF_K;
    let number = |offset| u32::try_from(offset).unwrap_or(0);
    let operation = std::mem::offset_of!(libc::seccomp_data, args) + 8;
    // The mark of a process's own futex lets any other call's operation pass, too.
    let own = if call < 0 { libc::FUTEX_PRIVATE_FLAG.unsigned_abs() } else { 0 };
    let mut filter = [
        step(load, number(std::mem::offset_of!(libc::seccomp_data, nr)), 0, 0),
        step(compare(libc::BPF_JEQ), u32::try_from(call.abs()).unwrap_or(0), 0, 3),
        step(load, number(operation), 0, 0),
        step(compare(libc::BPF_JSET), own, 1, 0),
        step(end, libc::SECCOMP_RET_ERRNO | error.unsigned_abs(), 0, 0),
        step(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: takes numbers.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the program and what it points to live across the call.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A call that is refused, and the error.
#[derive(Clone, Copy)]
struct Sandbox {
    name: &'static str,
    call: libc::c_long,
    error: i32,
}

impl Sandbox {
    /// Each of these calls with each of these errors.
    fn all(calls: &[(&'static str, libc::c_long)], errors: &[i32]) -> Vec<Sandbox> {
        let of = |&(name, call): &_| errors.iter().map(move |&error| Sandbox { name, call, error });
        calls.iter().flat_map(of).collect()
    }

    /// Runs `slipring` in it. The kernel kills a command that takes more than a second of processor
    /// time, and one that has not ended after a time that no working command needs.
    fn run(self, place: &Place, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipring"));
        command.args(args);
        command.current_dir(place.file("")).stdin(Stdio::null());
        let Sandbox { call, error, .. } = self;
        let limit = libc::rlimit { rlim_cur: 1, rlim_max: 1 };
        let enter = move || {
            // SAFETY: the pointer is to a limit that the closure owns.
            unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const limit) };
            // SAFETY: takes a number.
            unsafe { libc::alarm(30) };
            refuse(call, error)
        };
        // SAFETY: the closure makes system calls, and allocates nothing.
        unsafe { command.pre_exec(enter) };
        command.output().unwrap()
    }
}

/// Runs each case, on some threads; returns what went wrong.
fn each(cases: &[Sandbox], threads: usize, try_one: impl Fn(Sandbox) -> Vec<String> + Sync) -> Vec<String> {
    let place = Place::new();
    let probe = Sandbox { name: "", call: libc::SYS_io_uring_setup, error: libc::EPERM };
    let output = probe.run(&place, &["--version"]);
    if !output.status.success() {
        println!("nothing was tried: {output:?}");
        return Vec::new();
    }
    let next = AtomicUsize::new(0);
    let take = || {
        let mut wrong = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
            wrong.extend(
                try_one(*case).into_iter().map(|text| format!("{} {}: {text}", case.name, case.error)),
            );
        }
        wrong
    };
    thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        all.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Whether a command did what it was told; an error if it ended in no way that is right.
fn is_done(output: &Output) -> Result<bool, String> {
    let error = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => Ok(true),
        Some(1..=5) if error.contains("slipring: ") => Ok(false),
        // The loader ended before the program began.
        Some(_) if !error.is_empty() && !error.contains("panicked") => Ok(false),
        _ => Err(format!("{}: {error}", output.status)),
    }
}

const MESSAGES: &str = "1\n2\n3\n";

/// A ring is made, written, read, worked on and looked at; whatever does not work is done outside.
fn life_of_a_ring(sandbox: Sandbox, must_work: bool) -> Vec<String> {
    let place = Place::new();
    place.good("seq 3 > in");
    let wrong = RefCell::new(Vec::new());
    let run = |args: &[&str]| {
        let output = sandbox.run(&place, args);
        let done = is_done(&output).unwrap_or_else(|text| {
            wrong.borrow_mut().push(format!("{args:?}: {text}"));
            false
        });
        if must_work && !done && !args.contains(&"--timeout") {
            let error = String::from_utf8_lossy(&output.stderr);
            wrong.borrow_mut().push(format!("{args:?} does not work: {error}"));
        }
        done.then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if run(&["create", "ring", "-b", "48", "-c", "64", "-g", "g"]).is_none() {
        // Absent, or complete: the command may have failed to say that it was made.
        let left = place.shell("ls -A | grep -v '^in$' && slipring check $R");
        if !left.stdout.is_empty() && !left.status.success() {
            wrong.borrow_mut().push(format!("create failed, and left {left:?}"));
        }
        place.good("rm -f ring ring.dead; slipring create $R -b 48 -c 64 -g g");
    }
    let published = run(&["pub", "ring", "-f", "in"]).is_some();
    let there = place.good("slipring sub $R --observe -e");
    if published != (there == MESSAGES) {
        wrong.borrow_mut().push(format!("published: {published}, and there is {there:?}"));
    }
    place.good("slipring sub $R --observe -e | cmp - in || slipring pub $R -f in");
    for args in [&["-c", "3"][..], &["--observe", "-e"]] {
        let text = run(&[&["sub", "ring"], args].concat());
        if text.as_ref().is_some_and(|text| text != MESSAGES) {
            wrong.borrow_mut().push(format!("sub {args:?} printed {text:?}"));
        }
    }
    let worked = run(&["work", "ring", "-g", "g", "-c", "3", "--exec", "exec cat"]);
    if worked.as_ref().is_some_and(|text| text.replace('\n', "") != "123") {
        wrong.borrow_mut().push(format!("work printed {worked:?}"));
    }
    run(&["sub", "ring", "--from", "latest", "-c", "1", "--timeout", "50ms"]);
    if sandbox.error == libc::EPERM {
        for verb in ["stat", "check", "dump", "metrics", "events", "ls"] {
            run(&[verb, if verb == "ls" { "." } else { "ring" }]);
        }
        run(&["top", ".", "--once", "--interval", "50ms"]);
    }
    wrong.into_inner()
}

#[test]
fn calls_that_a_ring_can_do_without() {
    let wrong = each(&Sandbox::all(OPTIONAL, &ERRORS), 4, |sandbox| life_of_a_ring(sandbox, true));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn calls_that_a_ring_needs_end_in_an_error() {
    let wrong = each(&Sandbox::all(NEEDED, &ERRORS), 4, |sandbox| life_of_a_ring(sandbox, false));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A wait is longer than the processor time that the command may take.
fn waits(sandbox: Sandbox) -> Vec<String> {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 4 -g g && seq 4 | slipring pub $R");
    let mut wrong = Vec::new();
    let commands = [
        &["sub", "ring", "--from", "latest", "-c", "1", "--timeout", "3s"][..],
        &["sub", "ring", "--from", "latest", "-c", "1", "--timeout", "3s", "--observe"],
        &["pub", "ring", "full", "--timeout", "3s"],
        &["work", "ring", "-g", "g", "-c", "1", "--exec", "sleep 3"],
    ];
    for args in commands {
        let output = sandbox.run(&place, args);
        if let Err(text) = is_done(&output) {
            wrong.push(format!("{args:?}: {text}"));
        }
    }
    wrong
}

/// The errors by which a wait ends, too: a caller that takes a refusal for one waits again at once.
#[test]
fn a_wait_does_not_spin() {
    let calls: Vec<_> = [OPTIONAL, NEEDED].concat();
    let waiting = ["futex", "membarrier", "sched_yield", "clock_nanosleep", "pidfd_open"];
    let calls: Vec<_> = calls.into_iter().filter(|(name, _)| waiting.contains(name)).collect();
    let errors = [&ERRORS[..], &[libc::EAGAIN, libc::EINTR, libc::ETIMEDOUT, 0]].concat();
    let mut cases = Sandbox::all(&calls, &errors);
    // Of a call that returns a number, 0 is one.
    cases.retain(|case| case.error != 0 || case.call == SHARED_FUTEX);
    let wrong = each(&cases, 24, waits);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

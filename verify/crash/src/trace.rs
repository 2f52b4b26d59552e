//! A process that is led through one operation, instruction by instruction.

use crate::world::{BLOCK_VARIABLE, block};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The victim's next event after it was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// One instruction, or one system call.
    Stepped,
    /// It raised its mark: the operation begins, or has ended.
    Marked,
    /// It ended by itself.
    Exited(i32),
    /// An unexpected signal.
    Signalled(i32),
}

/// A process in the hands of this one. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Victim {
    pid: libc::pid_t,
    output: std::process::ChildStdout,
    gone: bool,
    /// The victim's report.
    said: String,
}

/// The victim's first report, if it handled a message.
const HANDLED: char = '+';

/// The victim's side: stops before and after the operation.
#[derive(Debug)]
pub(crate) struct Marks(());

impl Marks {
    pub(crate) fn new() -> Marks {
        Marks(())
    }

    /// The operation: what happens in here happens one instruction at a time.
    #[inline(always)]
    pub(crate) fn around<T>(&self, operation: impl FnOnce() -> T) -> T {
        mark();
        let result = operation();
        mark();
        result
    }

    /// Within the operation: the victim has handled the message, which may be settled from here on.
    #[inline(always)]
    pub(crate) fn handled(&self) {
        // SAFETY: the byte is a constant.
        unsafe { libc::write(libc::STDOUT_FILENO, [HANDLED as u8].as_ptr().cast(), 1) };
    }
}

#[inline(never)]
fn mark() {
    // SAFETY: no memory is passed.
    unsafe { libc::raise(libc::SIGSTOP) };
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Before `exec`, in the child.
fn prepare() -> io::Result<()> {
    // SAFETY: no memory is passed. The same addresses every time, so that the same instruction is
    // the n-th.
    check(unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) }.into())?;
    // SAFETY: as above. The child dies with the thread that started it, however that ends.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }.into())?;
    // SAFETY: the arguments are ignored.
    check(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })?;
    Ok(())
}

impl Victim {
    /// Starts this program again to play `role` in `directory`, and leads it to where its operation
    /// begins.
    pub(crate) fn start(role: &str, directory: &Path, mode: &str) -> io::Result<Victim> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("victim").arg(role).arg(directory).arg(mode);
        command.env(BLOCK_VARIABLE, block().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: only system calls.
        unsafe { command.pre_exec(prepare) };
        let mut process = command.spawn()?;
        let pid = libc::pid_t::try_from(process.id()).map_err(io::Error::other)?;
        let output = process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut victim = Victim { pid, output, gone: false, said: String::new() };
        // It stops when `exec` is done.
        victim.await_stop();
        // SAFETY: no memory is passed.
        check(unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, options()) })?;
        victim.hide_vdso()?;
        match victim.resume(libc::PTRACE_CONT) {
            Stop::Marked => Ok(victim),
            other => Err(io::Error::other(format!(
                "{role}: {other:?} before the operation: {}",
                victim.rest_of_output()
            ))),
        }
    }

    /// Makes it ask the kernel for the time: in the vDSO it would read the clock again and again
    /// until the kernel does not set it meanwhile, which at one instruction after the other is
    /// seldom. Done where `exec` ended, before anything read the auxiliary vector, which is on the
    /// stack behind the arguments and the environment.
    fn hide_vdso(&self) -> io::Result<()> {
        let memory = File::options().read(true).write(true).open(format!("/proc/{}/mem", self.pid))?;
        let word_at = |at: u64| {
            let mut word = [0; 8];
            memory.read_exact_at(&mut word, at).map(|()| u64::from_ne_bytes(word))
        };
        let registers = self.registers();
        #[cfg(target_arch = "x86_64")]
        let stack = registers.rsp;
        #[cfg(target_arch = "aarch64")]
        let stack = registers.sp;
        // The number of arguments, the arguments, a zero.
        let mut at = stack + 8 * (word_at(stack)? + 2);
        while word_at(at)? != 0 {
            at += 8;
        }
        at += 8;
        while ![libc::AT_NULL, libc::AT_SYSINFO_EHDR].contains(&word_at(at)?) {
            at += 16;
        }
        if word_at(at)? == libc::AT_SYSINFO_EHDR {
            memory.write_all_at(&libc::AT_IGNORE.to_ne_bytes(), at)?;
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u64 {
        u64::try_from(self.pid).unwrap_or(0)
    }

    fn resume(&mut self, request: libc::c_uint) -> Stop {
        // SAFETY: no memory is passed; the process is stopped and ours.
        if unsafe { libc::ptrace(request, self.pid, 0, 0) } == -1 {
            return Stop::Signalled(libc::SIGKILL);
        }
        self.await_stop()
    }

    fn await_stop(&mut self) -> Stop {
        let mut status = 0;
        loop {
            // SAFETY: the status lives across the call.
            let waited = unsafe { libc::waitpid(self.pid, &raw mut status, libc::WUNTRACED | libc::__WALL) };
            if waited == self.pid {
                break;
            }
        }
        if libc::WIFEXITED(status) {
            self.gone = true;
            return Stop::Exited(libc::WEXITSTATUS(status));
        }
        if libc::WIFSIGNALED(status) {
            self.gone = true;
            return Stop::Signalled(libc::WTERMSIG(status));
        }
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => Stop::Stepped,
            signal if signal == libc::SIGTRAP | 0x80 => Stop::Stepped,
            libc::SIGSTOP => Stop::Marked,
            signal => Stop::Signalled(signal),
        }
    }

    /// One instruction.
    pub(crate) fn step(&mut self) -> Stop {
        self.resume(libc::PTRACE_SINGLESTEP)
    }

    /// To the end of the operation, at full speed.
    pub(crate) fn run(&mut self) -> Stop {
        self.resume(libc::PTRACE_CONT)
    }

    /// To the return of the n-th system call from here.
    pub(crate) fn skip_calls(&mut self, calls: u32) -> Stop {
        // One stop at its entry, one at its return.
        for _ in 0..2 * calls {
            match self.resume(libc::PTRACE_SYSCALL) {
                Stop::Stepped => {}
                other => return other,
            }
        }
        Stop::Stepped
    }

    /// Where it is.
    pub(crate) fn instruction(&self) -> u64 {
        let registers = self.registers();
        #[cfg(target_arch = "x86_64")]
        return registers.rip;
        #[cfg(target_arch = "aarch64")]
        return registers.pc;
    }

    fn registers(&self) -> libc::user_regs_struct {
        let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
        let mut vector = libc::iovec {
            iov_base: registers.as_mut_ptr().cast(),
            iov_len: size_of::<libc::user_regs_struct>(),
        };
        let set = libc::c_long::from(libc::NT_PRSTATUS);
        // SAFETY: the vector describes a buffer that lives across the call.
        unsafe { libc::ptrace(libc::PTRACE_GETREGSET, self.pid, set, &raw mut vector) };
        // SAFETY: plain integers, zeroed or filled.
        unsafe { registers.assume_init() }
    }

    /// True if the instruction at this address is a system call.
    pub(crate) fn is_call(&self, instruction: u64) -> bool {
        // SAFETY: reads the other process's memory; an address that is not mapped is an error.
        let word = unsafe { libc::ptrace(libc::PTRACE_PEEKTEXT, self.pid, instruction, 0) };
        if cfg!(target_arch = "x86_64") { word & 0xFFFF == 0x050F } else { word & 0xFFFF_FFFF == 0xD400_0001 }
    }

    /// Dead, and the kernel has taken its locks back.
    pub(crate) fn kill(&mut self) {
        if !self.gone {
            // SAFETY: no memory is passed; the process is a child that was not waited for.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            while !self.gone {
                self.await_stop();
            }
        }
    }

    /// Stopped by SIGSTOP, and traced no more.
    pub(crate) fn freeze(&mut self) {
        let signal = libc::c_long::from(libc::SIGSTOP);
        // SAFETY: no memory is passed.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.pid, 0, signal) };
        self.await_stop();
    }

    fn go_on(&self) {
        // SAFETY: no memory is passed; the process is a child that was not waited for.
        unsafe { libc::kill(self.pid, libc::SIGCONT) };
    }

    /// Lets a frozen one go on to the end of its operation, say what came of it, and end.
    pub(crate) fn thaw(&mut self, patience: Duration) -> Result<String, String> {
        let start = Instant::now();
        self.go_on();
        let mut status = 0;
        while start.elapsed() < patience {
            let flags = libc::WUNTRACED | libc::WNOHANG;
            // SAFETY: the status lives across the call.
            let waited = unsafe { libc::waitpid(self.pid, &raw mut status, flags) };
            if waited != self.pid {
                std::thread::sleep(Duration::from_micros(200));
            } else if libc::WIFSTOPPED(status) {
                // The mark behind the operation. It is not seen if it was raised when the process
                // was stopped.
                self.go_on();
            } else {
                self.gone = true;
                let said = self.rest_of_output();
                return if status == 0 { Ok(said) } else { Err(format!("status {status:#x}: {said}")) };
            }
        }
        Err(format!("did not finish its operation within {patience:?} of SIGCONT"))
    }

    /// Lets one that has finished its operation say what came of it, and end.
    pub(crate) fn report(&mut self) -> Result<String, String> {
        match self.run() {
            Stop::Exited(0) => Ok(self.rest_of_output()),
            other => Err(format!("{other:?}: {}", self.rest_of_output())),
        }
    }

    fn rest_of_output(&mut self) -> String {
        if !self.gone {
            self.kill();
        }
        // An unreadable report counts as absent.
        let _ = self.output.read_to_string(&mut self.said);
        self.said.trim_start_matches(HANDLED).trim_end().to_owned()
    }

    /// True if it had the message before it ended.
    pub(crate) fn has_handled(&mut self) -> bool {
        self.rest_of_output();
        self.said.starts_with(HANDLED)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill();
    }
}

fn options() -> libc::c_long {
    libc::c_long::from(libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACESYSGOOD)
}

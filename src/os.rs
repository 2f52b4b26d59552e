//! Every system call of the library. Nothing here knows a message.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Turns the usual "-1 and errno" into a result.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Opens an existing file without following a symlink, without waiting for the other end of a FIFO and
/// without becoming anybody's terminal.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Creates a new file; fails if the name is taken, be it by a dangling symlink.
pub(crate) fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
        .open(path)
}

/// Creates a file without a name in `directory`: if this process dies, nothing is left of it.
pub(crate) fn create_unnamed(directory: &Path) -> io::Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_TMPFILE)
        .open(directory)
}

/// True if the error of [`create_unnamed`] says that the filesystem has no files without a name.
pub(crate) fn lacks_unnamed_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR))
}

/// Gives a file without a name its name, unless that is taken.
pub(crate) fn link_unnamed(file: &File, path: &Path) -> io::Result<()> {
    let source = c_path(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())))?;
    let target = c_path(path)?;
    // SAFETY: both strings are NUL-terminated and outlive the call.
    check(unsafe {
        libc::linkat(
            libc::AT_FDCWD,
            source.as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    })
    .map(drop)
}

/// Gives `from` the name `to` unless `to` exists. Falls back to a hard link where the filesystem cannot
/// rename without replacing.
pub(crate) fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    let (c_from, c_to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both strings are NUL-terminated and outlive the call.
    let renamed = check(unsafe {
        libc::renameat2(
            libc::AT_FDCWD,
            c_from.as_ptr(),
            libc::AT_FDCWD,
            c_to.as_ptr(),
            libc::RENAME_NOREPLACE,
        )
    });
    match renamed {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        other => other.map(drop),
    }
}

/// Reserves `len` bytes for the file, so that no later store can fail for want of space.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(|_| io::Error::from_raw_os_error(libc::EFBIG))?;
    loop {
        // SAFETY: no memory is passed.
        let result = check(unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, len) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(drop),
        }
    }
}

/// What `fstatfs` says of the filesystem a file lies on.
pub(crate) struct Filesystem {
    kind: i64,
    /// Bytes that an unprivileged process may still allocate.
    pub(crate) available: u64,
}

impl Filesystem {
    pub(crate) fn of(file: &File) -> io::Result<Filesystem> {
        let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the pointer is to a `statfs` that the call fills.
        check(unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, so it filled the structure.
        let stat = unsafe { stat.assume_init() };
        #[expect(
            clippy::cast_sign_loss,
            clippy::unnecessary_cast,
            reason = "sizes are never negative; the types vary by target"
        )]
        let available = (stat.f_bavail as u64).saturating_mul(stat.f_bsize as u64);
        #[expect(clippy::unnecessary_cast, reason = "the type varies by target")]
        let kind = stat.f_type as i64;
        Ok(Filesystem { kind, available })
    }

    /// The name of the network or user-space filesystem, on which a shared mapping is not shared between
    /// hosts, nor a lock reliable.
    pub(crate) fn remote_name(&self) -> Option<&'static str> {
        remote_name(self.kind)
    }
}

/// Magic numbers from `statfs(2)` and `linux/magic.h`.
const fn remote_name(kind: i64) -> Option<&'static str> {
    Some(match kind {
        0x6969 => "NFS",
        0x517B | 0xFE53_4D42 | 0xFF53_4D42 => "SMB",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x0102_1997 => "9p",
        0x7461_636F => "OCFS2",
        0x0116_1970 => "GFS2",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

/// The user that this process acts as.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

/// Takes an open-file-description write lock on one byte, if nobody else has it. `Ok(false)` if somebody
/// has.
pub(crate) fn try_lock(file: &File, offset: u64) -> io::Result<bool> {
    match lock_operation(file, libc::F_OFD_SETLK, libc::F_WRLCK, offset, 1) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a byte back.
pub(crate) fn unlock(file: &File, offset: u64) -> io::Result<()> {
    lock_operation(file, libc::F_OFD_SETLK, libc::F_UNLCK, offset, 1).map(drop)
}

/// Gives every byte from `offset` on back.
pub(crate) fn unlock_from(file: &File, offset: u64) -> io::Result<()> {
    lock_operation(file, libc::F_OFD_SETLK, libc::F_UNLCK, offset, 0).map(drop)
}

/// True if some *other* open file description has the byte locked. Needs no write access.
pub(crate) fn is_locked(file: &File, offset: u64) -> io::Result<bool> {
    let lock = lock_operation(file, libc::F_OFD_GETLK, libc::F_WRLCK, offset, 1)?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

fn lock_operation(
    file: &File,
    command: libc::c_int,
    kind: libc::c_int,
    offset: u64,
    len: libc::off_t,
) -> io::Result<libc::flock> {
    // SAFETY: `flock` is plain integers; OFD locks demand that the unused `l_pid` is zero.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "the constants are 0, 1 and 2")]
    {
        lock.l_type = kind as libc::c_short;
        lock.l_whence = libc::SEEK_SET as libc::c_short;
    }
    lock.l_start = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    lock.l_len = len;
    loop {
        // SAFETY: the pointer is to a `flock` that lives across the call.
        let result = check(unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) });
        match result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| lock),
        }
    }
}

/// Sleeps while the 32-bit word at `word` equals `expected`, at most `timeout`. The futex is shared
/// between processes and may lie in a read-only mapping.
///
/// # Safety
///
/// `word` points to four mapped, aligned bytes.
pub(crate) unsafe fn futex_wait(word: *const u32, expected: u32, timeout: Duration) {
    if cfg!(miri) {
        // Its kernel would read half of a word that is elsewhere accessed whole. Waking early is allowed.
        return std::thread::yield_now();
    }
    let timeout = timespec(timeout);
    // SAFETY: `word` is mapped by the caller's promise; `timeout` lives across the call. Every outcome
    // (woken, changed, timed out, interrupted) sends the caller back to look for itself.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            libc::FUTEX_WAIT,
            expected,
            &raw const timeout,
            std::ptr::null::<u32>(),
            0,
        )
    };
}

/// Wakes everybody who sleeps on the word.
///
/// # Safety
///
/// As for [`futex_wait`].
pub(crate) unsafe fn futex_wake_all(word: *const u32) {
    if cfg!(miri) {
        return;
    }
    // SAFETY: `word` is mapped by the caller's promise.
    let _ = unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, libc::c_int::MAX) };
}

/// One word of [`futex_wait_any`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct FutexWord {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

impl FutexWord {
    /// A shared 32-bit futex (`FUTEX2_SIZE_U32`).
    pub(crate) fn new(word: *const u32, expected: u32) -> FutexWord {
        FutexWord { expected: u64::from(expected), address: word.addr() as u64, flags: 2, reserved: 0 }
    }
}

/// Most words that one [`futex_wait_any`] takes (`FUTEX_WAITV_MAX`).
pub(crate) const FUTEX_WAIT_ANY_MAX: usize = 128;

/// Sleeps until any of the words changes, at most `timeout`. False if the kernel cannot (before 5.16).
///
/// # Safety
///
/// As for [`futex_wait`], for each word.
pub(crate) unsafe fn futex_wait_any(words: &[FutexWord], timeout: Duration) -> bool {
    if cfg!(miri) {
        return false;
    }
    // futex_waitv takes an absolute time.
    let deadline = timespec(monotonic_now().saturating_add(timeout));
    // SAFETY: the words are mapped by the caller's promise; both pointers live across the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            words.as_ptr(),
            words.len(),
            0,
            &raw const deadline,
            libc::CLOCK_MONOTONIC,
        )
    };
    result != -1 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOSYS)
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(duration.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(duration.subsec_nanos()),
    }
}

fn monotonic_now() -> Duration {
    read_clock(libc::CLOCK_MONOTONIC)
}

fn read_clock(clock: libc::clockid_t) -> Duration {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the pointer is to a timespec that lives across the call, which cannot fail for these clocks.
    let _ = unsafe { libc::clock_gettime(clock, &raw mut now) };
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

fn whole_ms(time: Duration) -> u64 {
    time.as_secs().wrapping_mul(1000) + u64::from(time.subsec_millis())
}

/// Milliseconds of the monotonic clock.
pub(crate) fn monotonic_ms() -> u64 {
    whole_ms(monotonic_now())
}

/// The same as of the kernel's last tick.
pub(crate) fn coarse_monotonic_ms() -> u64 {
    // Miri knows the exact clock only.
    whole_ms(if cfg!(miri) { monotonic_now() } else { read_clock(libc::CLOCK_MONOTONIC_COARSE) })
}

/// How far apart the kernel's ticks are.
pub(crate) fn coarse_resolution() -> Duration {
    if cfg!(miri) {
        return Duration::from_millis(1);
    }
    let mut resolution = timespec(Duration::ZERO);
    // SAFETY: the pointer is to a timespec that lives across the call, which cannot fail for this clock.
    let _ = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) };
    Duration::new(0, u32::try_from(resolution.tv_nsec).unwrap_or(10_000_000))
}

/// By how many milliseconds this process's monotonic clock is ahead of that of the machine's first time
/// namespace, modulo 2^64; 0 where the kernel knows no such namespaces, or does not tell.
pub(crate) fn time_namespace_shift_ms() -> u64 {
    if cfg!(miri) {
        return 0;
    }
    let namespace = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
    // The offsets are those of the namespace that children get: usually this process's own.
    if namespace("time") != namespace("time_for_children") {
        return 0;
    }
    parse_shift(&std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default())
}

fn parse_shift(offsets: &str) -> u64 {
    let mut monotonic = offsets.lines().map(str::split_whitespace).filter_map(|mut fields| {
        let name = fields.next()?;
        let seconds: i64 = fields.next()?.parse().ok()?;
        let nanos: i64 = fields.next()?.parse().ok()?;
        (name == "monotonic").then_some(seconds.wrapping_mul(1000).wrapping_add(nanos / 1_000_000))
    });
    #[expect(clippy::cast_sign_loss, reason = "modulo 2^64")]
    {
        monotonic.next().unwrap_or(0) as u64
    }
}

/// True once this process may be interrupted by other processes' [`membarrier`], so that its light fences
/// need not be real ones. Asked of the kernel once per process.
pub(crate) fn membarrier_registered() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        // Miri has no such call; under it every fence is a real one.
        !cfg!(miri) && membarrier_call(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
    })
}

/// A full barrier on every core that runs a registered process. False if the kernel or a sandbox
/// refuses: the caller's light-fencing peers may then be missed for a while.
pub(crate) fn membarrier() -> bool {
    !cfg!(miri) && membarrier_call(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

/// True if [`membarrier`] works in this process. Asked of the kernel once.
pub(crate) fn membarrier_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(membarrier)
}

fn membarrier_call(command: libc::c_int) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Keeps a mapping out of forked children: a child that touches it faults instead of sharing it.
///
/// # Safety
///
/// `address` and `len` are those of a mapping.
pub(crate) unsafe fn dont_fork(address: *mut u8, len: usize) -> io::Result<()> {
    // SAFETY: the range is a mapping by the caller's promise; the advice changes no byte of it.
    check(unsafe { libc::madvise(address.cast(), len, libc::MADV_DONTFORK) }).map(drop)
}

/// Maps all pages of a mapping, for reading or for writing.
///
/// # Safety
///
/// `address` and `len` are those of a mapping, which is writable if `write` is set.
pub(crate) unsafe fn populate(address: *mut u8, len: usize, write: bool) -> io::Result<()> {
    let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
    // SAFETY: the range is a mapping by the caller's promise; the advice changes no byte of it.
    let populated = check(unsafe { libc::madvise(address.cast(), len, advice) });
    match populated {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // Older than Linux 5.14: at least they are asked for.
            // SAFETY: as above.
            check(unsafe { libc::madvise(address.cast(), len, libc::MADV_WILLNEED) }).map(drop)
        }
        other => other.map(drop),
    }
}

/// Asks for huge pages: for what comes, and, from Linux 6.1 on, for what is there.
///
/// # Safety
///
/// `address` and `len` are those of a mapping.
pub(crate) unsafe fn ask_for_huge_pages(address: *mut u8, len: usize) {
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
        // SAFETY: the range is a mapping by the caller's promise; the advice changes no byte of it. A hint: what
        // becomes of it makes no difference but in speed.
        unsafe { libc::madvise(address.cast(), len, advice) };
    }
}

/// 128 random bits from the kernel.
pub(crate) fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0_u8; 16];
    // SAFETY: the buffer has the length that is passed. Up to 256 bytes are never cut short.
    let got = unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    if got == 16 { Ok(id) } else { Err(io::Error::last_os_error()) }
}

/// Which boot of this machine it is; zeros where the kernel does not tell.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = if cfg!(miri) {
        String::new()
    } else {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
    };
    let mut id = [0_u8; 16];
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|digit| u8::try_from(digit).ok()).collect();
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    id
}

/// The system clock, for people: it may be set back.
pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// As milliseconds in a word of the file.
pub(crate) fn unix_now_ms() -> u64 {
    u64::try_from(unix_now().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_of_a_time_namespace_is_read_with_its_sign() {
        assert_eq!(parse_shift("monotonic           0         0\nboottime            0         0\n"), 0);
        assert_eq!(parse_shift("monotonic      604800 500000000\nboottime 1 0\n"), 604_800_500);
        assert_eq!(parse_shift("monotonic         -10         0\n"), 0_u64.wrapping_sub(10_000));
        assert_eq!(parse_shift(""), 0);
    }

    #[test]
    fn network_filesystems_are_known_by_their_magic_and_local_ones_are_not() {
        assert_eq!(remote_name(0x6969), Some("NFS"));
        assert_eq!(remote_name(0xFF53_4D42), Some("SMB"));
        assert_eq!(remote_name(0x6573_5546), Some("FUSE"));
        for local in [
            0x0102_1994, /* tmpfs */
            0xEF53,      /* ext4 */
            0x9123_683E, /* btrfs */
            0x5846_5342, /* xfs */
        ] {
            assert_eq!(remote_name(local), None);
        }
    }
}

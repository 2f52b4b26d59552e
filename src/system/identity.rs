//! Random ids, the boot, the user.

use std::io::{self, Read};

/// 128 random bits from the kernel.
pub(crate) fn random_id() -> io::Result<[u8; 16]> {
    let mut id = [0_u8; 16];
    // SAFETY: the buffer has the length that is passed. Up to 256 bytes are never cut short.
    let got = unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    if got != 16 {
        // A sandbox may refuse the call.
        std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    }
    Ok(id)
}

/// The id of this boot of the machine, 16 bytes; zeros where the kernel does not tell.
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

/// The user that this process acts as.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

//! A filesystem's kind, and how much room it has.

use super::check;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The answer of `fstatfs` about the filesystem a file lies on.
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

    /// The name of the network or user-space filesystem, on which a shared mapping is not shared
    /// between hosts, nor a lock reliable.
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

#[cfg(test)]
mod tests {
    use super::*;

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

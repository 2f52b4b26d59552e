//! A filesystem's kind, and how much room it has.

use super::check;
use super::file::c_path;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

/// The answer of `fstatfs` about the filesystem a file lies on.
pub(crate) struct Filesystem {
    kind: i64,
    /// Bytes that an unprivileged process may still allocate; none if the filesystem does not say.
    pub(crate) available: Option<u64>,
}

impl Filesystem {
    pub(crate) fn of(file: &File) -> io::Result<Filesystem> {
        let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the pointer is to a `statfs` that the call fills.
        check(unsafe { libc::fstatfs(file.as_raw_fd(), stat.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, so it filled the structure.
        Ok(Filesystem::from(unsafe { stat.assume_init() }))
    }

    /// The name of the network or user-space filesystem that this path lies on, as an error. Asked
    /// before a file is opened: a server that does not answer holds up this call, and not the open,
    /// during which no thread of the process can fork.
    pub(crate) fn not_remote(path: &Path) -> Result<(), &'static str> {
        // A path that cannot be asked about is for the open to judge.
        Filesystem::at(path).ok().and_then(|filesystem| filesystem.remote_name()).map_or(Ok(()), Err)
    }

    fn at(path: &Path) -> io::Result<Filesystem> {
        let path = c_path(path)?;
        let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: the string is NUL-terminated; the pointer is to a `statfs` that the call fills.
        check(unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) })?;
        // SAFETY: the call succeeded, so it filled the structure.
        Ok(Filesystem::from(unsafe { stat.assume_init() }))
    }

    fn from(stat: libc::statfs) -> Filesystem {
        #[expect(clippy::unnecessary_cast, reason = "the types vary by target")]
        let (blocks, free, kind) = (stat.f_blocks as u64, stat.f_bavail as u64, stat.f_type as i64);
        #[expect(clippy::cast_sign_loss, reason = "sizes are never negative; the types vary by target")]
        let block_size = stat.f_bsize as u64;
        // A filesystem without blocks, such as ramfs, does not say how much room it has.
        let available = (blocks > 0).then(|| free.saturating_mul(block_size));
        Filesystem { kind: kind & 0xFFFF_FFFF, available }
    }

    /// The name of the network or user-space filesystem, on which a shared mapping is not shared
    /// between hosts, nor a lock reliable.
    pub(crate) fn remote_name(&self) -> Option<&'static str> {
        remote_name(self.kind)
    }

    /// The name of a local filesystem on which a ring cannot be, and the reason.
    pub(crate) fn unsuitable(&self) -> Option<(&'static str, &'static str)> {
        unsuitable(self.kind)
    }

    /// The name of a local filesystem, or its magic number.
    pub(crate) fn name(&self) -> String {
        let name = match self.kind {
            TMPFS => "tmpfs",
            RAMFS => "ramfs",
            OVERLAY => "overlay",
            BTRFS => "btrfs",
            0xEF53 => "ext2, ext3 or ext4",
            0x5846_5342 => "xfs",
            0xF2F5_2010 => "F2FS",
            kind => return format!("the filesystem with the magic number {kind:#x}"),
        };
        name.to_owned()
    }
    /// True if its files are memory, charged to the control group of the process that fills them.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.kind, TMPFS | RAMFS)
    }
    /// True if it joins directories of other filesystems.
    pub(crate) fn is_overlay(&self) -> bool {
        self.kind == OVERLAY
    }

    /// True if `/proc/locks` names its files by the device that `stat` says.
    pub(crate) fn lists_locks(&self) -> bool {
        !matches!(self.kind, BTRFS | BCACHEFS | OVERLAY)
    }

    /// True if a page that is written over is written to a new place, unless the file says
    /// otherwise ([`dont_copy_on_write`]).
    pub(crate) fn copies_on_write(&self) -> bool {
        self.kind == BTRFS
    }
}

const BTRFS: i64 = 0x9123_683E;
const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58F6;
const BCACHEFS: i64 = 0xCA45_1A4E;
const OVERLAY: i64 = 0x794C_7630;

const fn unsuitable(kind: i64) -> Option<(&'static str, &'static str)> {
    const NEW_PLACE: &str =
        "which writes every page to a new place, so that no space can be reserved for a message";
    Some(match kind {
        0x9584_58F6 => ("hugetlbfs", "whose pages are larger than the parts of a ring"),
        0x2FC1_2FC1 => ("ZFS", NEW_PLACE),
        BCACHEFS => ("bcachefs", NEW_PLACE),
        0x3434 => ("NILFS", NEW_PLACE),
        _ => return None,
    })
}

/// Asks a filesystem that copies on write to write over the pages of this file, which is empty, in
/// their place.
pub(crate) fn dont_copy_on_write(file: &File) -> io::Result<()> {
    /// `FS_NOCOW_FL` of `linux/fs.h`.
    const NOCOW: libc::c_int = 0x0080_0000;
    let mut flags: libc::c_int = 0;
    // SAFETY: the pointer is to an integer that lives across the call.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_GETFLAGS, &raw mut flags) })?;
    flags |= NOCOW;
    // SAFETY: as above.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::FS_IOC_SETFLAGS, &raw const flags) }).map(drop)
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
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "OrangeFS",
        0x786F_4256 => "VirtualBox's shared folders",
        0xBACB_ACBC => "VMware's shared folders",
        0x564C => "NCP",
        0xAAD7_AAEA => "PanFS",
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
        assert_eq!(remote_name(0x4750_4653), Some("GPFS"));
        assert_eq!(remote_name(0x1983_0326), Some("BeeGFS"));
        assert_eq!(remote_name(0x2003_0528), Some("OrangeFS"));
        assert_eq!(remote_name(0x786F_4256), Some("VirtualBox's shared folders"));
        assert_eq!(remote_name(0xBACB_ACBC), Some("VMware's shared folders"));
        assert_eq!(unsuitable(0x2FC1_2FC1).map(|(name, _)| name), Some("ZFS"));
        for local in [
            0x0102_1994, /* tmpfs */
            0xEF53,      /* ext4 */
            0x9123_683E, /* btrfs */
            0x5846_5342, /* xfs */
        ] {
            assert_eq!((remote_name(local), unsuitable(local)), (None, None));
        }
    }
}

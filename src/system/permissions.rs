//! Which users may open a file, by its mode and its access control list.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

const ACCESS_LIST: &std::ffi::CStr = c"system.posix_acl_access";
const READ: u32 = 4;
const WRITE: u32 = 2;

/// The permissions of users other than the owner. (The owner may do anything: to change the mode,
/// or the file.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    group: u32,
    other: u32,
    /// A user or group of the access control list may read, and not write.
    listed_reader: bool,
}

impl Permissions {
    pub(crate) fn of(file: &File, metadata: &Metadata) -> Permissions {
        let mode = metadata.mode();
        let (group, other) = (mode >> 3 & 7, mode & 7);
        // The mode's bits of the group bound those of the list.
        let list = if group == 0 { Vec::new() } else { access_list(file) };
        Permissions { group, other, listed_reader: false }.with_list(&list)
    }

    /// Users may read the file that may not write it.
    pub(crate) fn has_readers_only(self) -> bool {
        let reads_only = |class: u32| class & READ != 0 && class & WRITE == 0;
        reads_only(self.group) || reads_only(self.other) || self.listed_reader
    }

    /// Users may open a file with these permissions that may not write the one with the others.
    pub(crate) fn exceed(self, others: Permissions) -> bool {
        let opens = |class: u32, other: u32| class & (READ | WRITE) != 0 && other & WRITE == 0;
        opens(self.group, others.group) || opens(self.other, others.other) || self.listed_reader
    }

    /// Permission bits of a file that users may open only if they may read and write this one.
    pub(crate) fn mode_for_writers(self) -> u32 {
        let both = |class: u32| if class & (READ | WRITE) == READ | WRITE { READ | WRITE } else { 0 };
        0o600 | both(self.group) << 3 | both(self.other)
    }

    /// A list is a version of 4 bytes, then for each entry its kind, its bits and a user or group.
    fn with_list(mut self, list: &[u8]) -> Permissions {
        const USER: u16 = 2;
        const OWNING_GROUP: u16 = 4;
        const GROUP: u16 = 8;
        const MASK: u16 = 16;
        let number = |entry: &[u8], at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let entries = || list.get(4..).unwrap_or_default().chunks_exact(8);
        let entries = || entries().map(|entry| (number(entry, 0), u32::from(number(entry, 2))));
        let mask = entries().find_map(|(kind, bits)| (kind == MASK).then_some(bits)).unwrap_or(7);
        for (kind, bits) in entries() {
            match kind {
                OWNING_GROUP => self.group = bits & mask,
                USER | GROUP => self.listed_reader |= bits & mask & (READ | WRITE) == READ,
                _ => {}
            }
        }
        self
    }
}

/// The access control list; empty if the file has none, or neither the filesystem nor a sandbox
/// tells.
fn access_list(file: &File) -> Vec<u8> {
    let mut list = vec![0_u8; 4096];
    // SAFETY: the name is NUL-terminated; the buffer has the length that is passed.
    let len = unsafe {
        libc::fgetxattr(file.as_raw_fd(), ACCESS_LIST.as_ptr(), list.as_mut_ptr().cast(), list.len())
    };
    list.truncate(usize::try_from(len).unwrap_or(0));
    list
}

/// Removes the access control list that a file may have got from its directory.
pub(crate) fn drop_access_list(file: &File) {
    // SAFETY: the name is NUL-terminated. A refusal means that there is none, or that a reader of
    // the file finds it.
    unsafe { libc::fremovexattr(file.as_raw_fd(), ACCESS_LIST.as_ptr()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_mode(mode: u32) -> Permissions {
        Permissions { group: mode >> 3 & 7, other: mode & 7, listed_reader: false }
    }

    #[test]
    fn the_mode_says_whether_more_users_read_than_write() {
        for (mode, readers_only, for_writers) in [
            (0o600, false, 0o600),
            (0o400, false, 0o600),
            (0o640, true, 0o600),
            (0o644, true, 0o600),
            (0o664, true, 0o660),
            (0o660, false, 0o660),
            (0o666, false, 0o666),
            (0o604, true, 0o600),
            (0o620, false, 0o600),
        ] {
            let permissions = of_mode(mode);
            let found = (permissions.has_readers_only(), permissions.mode_for_writers());
            assert_eq!(found, (readers_only, for_writers), "{mode:o}");
        }
    }

    #[test]
    fn a_lock_file_is_for_those_alone_that_may_write_its_ring() {
        for (lock_file, ring, exceed) in [
            (0o600, 0o644, false),
            (0o644, 0o644, true),
            (0o666, 0o644, true),
            (0o602, 0o644, true),
            (0o660, 0o664, false),
            (0o640, 0o664, false),
            (0o660, 0o644, true),
        ] {
            assert_eq!(of_mode(lock_file).exceed(of_mode(ring)), exceed, "{lock_file:o} {ring:o}");
        }
    }

    #[test]
    fn the_access_control_list_counts_as_its_mask_says() {
        let list = |entries: &[(u16, u16)]| {
            let mut list = vec![2, 0, 0, 0];
            for (kind, bits) in entries {
                list.extend_from_slice(&kind.to_le_bytes());
                list.extend_from_slice(&bits.to_le_bytes());
                list.extend_from_slice(&[0; 4]);
            }
            list
        };
        let found = |entries: &[(u16, u16)]| of_mode(0o660).with_list(&list(entries));
        assert!(!found(&[(1, 6), (4, 6), (16, 6), (32, 0)]).has_readers_only());
        assert!(!found(&[(1, 6), (2, 6), (4, 6), (16, 6), (32, 0)]).has_readers_only());
        assert!(found(&[(1, 6), (2, 4), (4, 6), (16, 6), (32, 0)]).has_readers_only());
        assert!(found(&[(1, 6), (8, 6), (4, 0), (16, 4), (32, 0)]).has_readers_only());
        assert!(!found(&[(1, 6), (8, 6), (4, 0), (16, 0), (32, 0)]).has_readers_only());
        // The bits of the mode are the mask, not those of the owning group.
        assert_eq!(found(&[(1, 6), (2, 6), (4, 4), (16, 6), (32, 0)]).mode_for_writers(), 0o600);
    }
}

//! Huge pages: asks for them, and reads how many bytes the kernel moved.

use crate::exit::Failure;
use slipring::{At, Observer, Pages, Ring, Start};
use std::fs;

/// Moves a ring into huge pages as far as the kernel does it, and says how many bytes lie in them.
/// The pages stay huge for every process that maps the ring.
pub(crate) fn make_huge(ring: &Ring) -> Result<u64, Failure> {
    let pages = Pages::new().huge(true).prefault(true);
    let observer = Observer::<[u8]>::attach(At::ring(ring).any_type().pages(pages), Start::Latest)?;
    let path = fs::canonicalize(ring.path())?;
    let huge = huge_kib(&fs::read_to_string("/proc/self/smaps")?, &path.to_string_lossy()) * 1024;
    drop(observer);
    Ok(huge)
}

/// KiB of a file's mapping that are mapped by huge pages, from `proc_pid_smaps(5)`.
fn huge_kib(smaps: &str, path: &str) -> u64 {
    let mut ours = false;
    let mut sum = 0;
    for line in smaps.lines() {
        match line.split_once(": ") {
            Some((name, value)) if ours && ["ShmemPmdMapped", "FilePmdMapped"].contains(&name) => {
                sum += value.trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0);
            }
            Some((name, _)) if !name.contains(' ') => {}
            // The line that begins a mapping ends in its path.
            _ => ours = line.ends_with(&format!(" {path}")),
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::huge_kib;

    #[test]
    fn only_the_ring_counts() {
        let smaps = "\
7f00-7f01 r--s 00000000 00:1a 12   /dev/shm/other
Size:               4096 kB
ShmemPmdMapped:     4096 kB
7f01-7f02 r--s 00000000 00:1a 13   /dev/shm/a ring: one
ShmemPmdMapped:     2048 kB
FilePmdMapped:         0 kB
VmFlags: rd sh mr
7f02-7f03 r--p 00000000 00:1a 14
FilePmdMapped:      2048 kB
";
        assert_eq!(huge_kib(smaps, "/dev/shm/a ring: one"), 2048);
        assert_eq!(huge_kib(smaps, "/dev/shm/other"), 4096);
        assert_eq!(huge_kib(smaps, "/dev/shm"), 0);
    }
}

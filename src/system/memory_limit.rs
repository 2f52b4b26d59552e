//! How much memory the control groups of this process have left.

use std::path::{Path, PathBuf};

/// The first version of control groups tells a group without a limit by the most pages that it can
/// count, less than 2^63 bytes.
const NO_LIMIT: u64 = 1 << 62;

/// Bytes that may still be charged to the process's memory control group and to the groups above
/// it; none if there is no limit, or none is told.
pub(crate) fn memory_left() -> Option<u64> {
    if cfg!(miri) {
        return None;
    }
    left_of(&std::fs::read_to_string("/proc/self/cgroup").ok()?, Path::new("/sys/fs/cgroup"))
}

/// The least of what is left on the way up, for the lines of `/proc/self/cgroup`.
fn left_of(groups: &str, mounted: &Path) -> Option<u64> {
    groups.lines().filter_map(|line| left_in(line, mounted)).min()
}

fn left_in(line: &str, mounted: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, path) = (fields.next()?, fields.next()?);
    let (root, limit, used) = match controllers {
        "" => (mounted.to_path_buf(), "memory.max", "memory.current"),
        list if list.split(',').any(|name| name == "memory") => {
            (mounted.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
        }
        _ => return None,
    };
    // In a container the path may be the host's, and what is mounted the container's own group.
    let whole = root.join(path.trim_start_matches('/'));
    let on_the_way = whole.ancestors().take_while(|group| group.starts_with(&root));
    let on_the_way: Vec<PathBuf> = on_the_way.map(Path::to_path_buf).collect();
    let number = |file: PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<u64>().ok();
    let left = |group: &PathBuf| {
        let limit = number(group.join(limit)).filter(|&limit| limit < NO_LIMIT)?;
        let used = number(group.join(used))?.saturating_sub(reclaimable(&group.join("memory.stat")));
        Some(limit.saturating_sub(used))
    };
    on_the_way.iter().filter_map(left).min()
}

/// Bytes of cached files, which the kernel gives up before it kills a process. The pages of a
/// tmpfs are not among them.
fn reclaimable(stat: &Path) -> u64 {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let cached = lines.filter(|(name, _)| {
        let name = name.strip_prefix("total_").unwrap_or(name);
        matches!(name, "inactive_file" | "active_file")
    });
    // The first version of control groups tells each number twice, with those of the groups below.
    let numbers: Vec<(bool, u64)> =
        cached.map(|(name, n)| (name.starts_with("total_"), n.parse().unwrap_or(0))).collect();
    let totals = numbers.iter().any(|(total, _)| *total);
    numbers.iter().filter(|(total, _)| *total == totals).map(|(_, n)| n).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plant(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn the_tightest_group_on_the_way_up_decides_in_both_versions() {
        let root = std::env::temp_dir().join(format!("slipring-cgroup-{}", std::process::id()));
        plant(
            &root,
            &[
                ("a/memory.max", "1000\n"),
                ("a/memory.current", "400\n"),
                ("a/memory.stat", "anon 7\ninactive_file 30\nactive_file 20\nshmem 9\n"),
                ("a/b/memory.max", "max\n"),
                ("a/b/memory.current", "100\n"),
                ("memory/c/memory.limit_in_bytes", "500\n"),
                ("memory/c/memory.usage_in_bytes", "450\n"),
                ("memory/c/memory.stat", "active_file 1\ntotal_active_file 2\ntotal_inactive_file 3\n"),
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/memory.usage_in_bytes", "450\n"),
            ],
        );
        assert_eq!(left_of("0::/a/b\n", &root), Some(650));
        assert_eq!(left_of("0::/\n", &root), None);
        assert_eq!(left_of("4:cpu,memory:/c\n", &root), Some(55));
        assert_eq!(left_of("4:cpu:/c\n", &root), None);
        assert_eq!(left_of("4:memory:/\n", &root), None, "a limit that is none");
        assert_eq!(left_of("4:memory:/c\n0::/a\n", &root), Some(55));
        std::fs::remove_dir_all(&root).unwrap();
    }
}

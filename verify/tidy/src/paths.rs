//! Paths that documents and comments name exist.

use crate::Finding;
use crate::source::File;

/// Directories at the top of the repository: a path that begins with one of these is one of its
/// paths.
const TOPS: [&str; 11] =
    [".ci", "src", "crates", "tests", "verify", "loom-tests", "benches", "examples", "docs", "ci", ".github"];

/// Finds paths in backticks, and the targets of links in documents, that `exists` denies.
///
/// A path in backticks is one from the repository's root, a link one from the document's folder.
#[must_use]
pub fn check(files: &[File], exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        let folder = &file.path[..file.path.rfind('/').map_or(0, |slash| slash + 1)];
        let is_document = file.path.ends_with(".md");
        for (line, number) in file.text.lines().zip(1..) {
            let comment = line.trim_start();
            if !is_document && !comment.starts_with("//") {
                continue;
            }
            let mut missing = |path: &str, full: &str| {
                if !exists(full) {
                    findings.push(Finding::new(&file.path, number, format!("`{path}` does not exist")));
                }
            };
            for path in line.split('`').skip(1).step_by(2).filter(|path| is_path(path)) {
                missing(path, path);
            }
            let links =
                line.split("](").skip(1).filter(|_| is_document).filter_map(|rest| rest.split(')').next());
            for link in links.filter(|link| !link.contains(':') && !link.starts_with('#')) {
                let path = link.split('#').next().unwrap_or_default();
                missing(link, &format!("{folder}{path}"));
            }
        }
    }
    findings
}

/// True if this text is a path of the repository, without wildcards.
pub(crate) fn is_path(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    text.split_once('/').is_some_and(|(top, _)| TOPS.contains(&top)) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_gone_is_found() {
        let text = "`src/a.rs`, `src/b.rs`, `/dev/shm/x`, `tests/*.rs`\n[x](a.md#part) [y](c.md) [z](https://a.b/c)\n";
        let files = [
            File::planted("docs/d.md", text),
            File::planted("src/e.rs", "// `src/b.rs`\nf(\"`src/c.rs`\");\n"),
        ];
        let found = check(&files, |path| ["src/a.rs", "docs/a.md"].contains(&path));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/d.md:1: `src/b.rs` does not exist",
                "docs/d.md:2: `c.md` does not exist",
                "src/e.rs:1: `src/b.rs` does not exist",
            ]
        );
    }
}

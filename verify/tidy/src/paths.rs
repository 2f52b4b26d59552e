//! Paths, functions and other names that documents and comments name exist.

use crate::Finding;
use crate::source::File;

/// Directories at the top of the repository: a path that begins with one of these is one of its
/// paths.
const TOPS: [&str; 12] = [
    ".ci",
    "src",
    "crates",
    "tests",
    "verify",
    "loom-tests",
    "benches",
    "examples",
    "docs",
    "ci",
    ".github",
    "findings",
];

/// Folders of the core, which documents and comments name without the path to them.
const OF_THE_CORE: [&str; 2] = ["protocol", "format"];

/// Finds paths in backticks, and the targets of links in documents, that `exists` denies.
///
/// A path in backticks is one from the repository's root or, of the core's files, from its source
/// folder; a link is one from the document's folder.
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
            for path in line.split('`').skip(1).step_by(2).filter(|path| is_of_the_core(path)) {
                missing(path, &format!("crates/core/src/{path}"));
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

/// Finds functions in backticks, as `tests/a.rs::f`, that the text of their file does not have.
///
/// `text` gives the text of a file of the repository, if there is one.
#[must_use]
pub fn check_functions(documents: &[File], text: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents {
        for (line, number) in document.text.lines().zip(1..) {
            let quoted = line.split('`').skip(1).step_by(2);
            for (path, function) in quoted.filter_map(|name| name.split_once("::")) {
                let has = |text: String| text.contains(&format!("fn {function}("));
                if is_path(path) && !text(path).is_some_and(has) {
                    let found = format!("`{path}` has no function {function}");
                    findings.push(Finding::new(&document.path, number, found));
                }
            }
        }
    }
    findings
}

/// Finds names in backticks with two underscores or more, such as those of tests, that `is_known`
/// denies. `except` lists the names of things that are no code, by how they begin.
#[must_use]
pub fn check_names(documents: &[File], is_known: impl Fn(&str) -> bool, except: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents {
        for (line, number) in document.text.lines().zip(1..) {
            let quoted = line.split('`').skip(1).step_by(2);
            for name in quoted.filter(|name| is_long_name(name) && !is_known(name)) {
                if !except.iter().any(|beginning| name.starts_with(beginning)) {
                    findings.push(Finding::new(
                        &document.path,
                        number,
                        format!("nothing is called `{name}`"),
                    ));
                }
            }
        }
    }
    findings
}

fn is_long_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.split('_').filter(|word| !word.is_empty()).count() > 2 && text.chars().all(plain)
}

/// True if this text is a path of the repository, without wildcards.
pub(crate) fn is_path(text: &str) -> bool {
    is_below(text, &TOPS)
}

fn is_of_the_core(text: &str) -> bool {
    is_below(text, &OF_THE_CORE) && text.ends_with(".rs")
}

fn is_below(text: &str, folders: &[&str]) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    text.split_once('/').is_some_and(|(top, _)| folders.contains(&top)) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_gone_is_found() {
        let text = "`src/a.rs::f`, `src/a.rs::g`, `src/b.rs::f`, `std::fmt`\n";
        let source = |path: &str| (path == "src/a.rs").then(|| "fn f() {}\nfn go() {}".to_owned());
        let found = check_functions(&[File::planted("docs/d.md", text)], source);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["docs/d.md:1: `src/a.rs` has no function g", "docs/d.md:1: `src/b.rs` has no function f",]
        );
    }

    #[test]
    fn a_name_that_is_gone_is_found() {
        let text = "`a_b_c`, `a_b_d`, `a_d`, `metric_of_x`, `A_B_D`, a_b_d, `a_b_c::a_b_d`\n";
        let found = check_names(&[File::planted("docs/d.md", text)], |name| name == "a_b_c", &["metric_"]);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["docs/d.md:1: nothing is called `a_b_d`"]);
    }

    #[test]
    fn a_path_that_is_gone_is_found() {
        let text = "`src/a.rs`, `src/b.rs`, `/dev/shm/x`, `tests/*.rs`, `protocol/a.rs`, `protocol/b.rs`\n[x](a.md#part) [y](c.md) [z](https://a.b/c)\n";
        let files = [
            File::planted("docs/d.md", text),
            File::planted("src/e.rs", "// `src/b.rs`\nf(\"`src/c.rs`\");\n"),
        ];
        let found =
            check(&files, |path| ["src/a.rs", "docs/a.md", "crates/core/src/protocol/a.rs"].contains(&path));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/d.md:1: `src/b.rs` does not exist",
                "docs/d.md:1: `protocol/b.rs` does not exist",
                "docs/d.md:2: `c.md` does not exist",
                "src/e.rs:1: `src/b.rs` does not exist",
            ]
        );
    }
}

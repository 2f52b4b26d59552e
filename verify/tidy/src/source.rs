//! The files of the repository, and their lines parted into code and comments.

use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Clone, Debug)]
pub struct File {
    /// Relative to the repository's root, with slashes.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// A line of Rust, parted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// Its number, from 1 on.
    pub number: usize,
    /// The code, without the comment and the blanks around it.
    pub code: &'t str,
    /// The comment's text, without the slashes; empty if there is none.
    pub comment: &'t str,
}

impl File {
    /// A file that only a test knows.
    #[must_use]
    pub fn planted(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// The lines of a Rust file without its unit tests, which stand at the end, behind
    /// `#[cfg(test)]`.
    pub fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let shipped = self.text.find("\n#[cfg(test)]\nmod ").map_or(self.text.len(), |at| at + 1);
        self.text[..shipped].lines().zip(1..).map(|(line, number)| part(line, number))
    }
}

/// Parts a line where its comment begins: at two slashes outside a string.
fn part(line: &str, number: usize) -> Line<'_> {
    let (mut quoted, mut escaped) = (false, false);
    let mut before = ' ';
    for (at, letter) in line.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            // A quote in quotes is a character.
            '"' if before != '\'' || !line[at + 1..].starts_with('\'') => quoted = !quoted,
            '/' if !quoted && before == '/' => {
                let comment = line[at + 1..].trim_start_matches(['/', '!']).trim_end();
                let comment = comment.strip_prefix(' ').unwrap_or(comment);
                return Line { number, code: line[..at - 1].trim(), comment };
            }
            _ => {}
        }
        before = letter;
    }
    Line { number, code: line.trim(), comment: "" }
}

/// The repository's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One file of the repository.
///
/// # Panics
///
/// Panics if the file cannot be read.
#[must_use]
pub fn file(path: &str) -> File {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    File { path: path.to_owned(), text }
}

/// All files under these directories, and these files, whose names end so. Sorted by path.
///
/// # Panics
///
/// Panics if a directory or a file cannot be read.
#[must_use]
pub fn files(under: &[&str], endings: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    for place in under {
        collect(&root().join(place), place, endings, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(path: &Path, name: &str, endings: &[&str], found: &mut Vec<File>) {
    if !path.is_dir() {
        if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(file(name));
        }
        return;
    }
    let mut entries: Vec<String> = std::fs::read_dir(path)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    entries.sort();
    for entry in entries.iter().filter(|entry| !entry.starts_with('.') && *entry != "target") {
        collect(&path.join(entry), &format!("{name}/{entry}"), endings, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_outside_strings() {
        let parted = |line| {
            let Line { code, comment, .. } = part(line, 1);
            (code, comment)
        };
        assert_eq!(parted("    a(); // b"), ("a();", "b"));
        assert_eq!(parted("//! b // c"), ("", "b // c"));
        assert_eq!(parted("/// b"), ("", "b"));
        assert_eq!(parted(r#"a("http://x\"//"); // b"#), (r#"a("http://x\"//");"#, "b"));
        assert_eq!(parted("a('\"'); // b"), ("a('\"');", "b"));
        assert_eq!(parted("a / b"), ("a / b", ""));
    }

    #[test]
    fn unit_tests_are_not_shipped() {
        let file = File::planted("a.rs", "one\ntwo\n#[cfg(test)]\nmod tests {\n    three\n}\n");
        assert_eq!(file.lines().map(|line| line.code).collect::<Vec<_>>(), ["one", "two"]);
    }
}

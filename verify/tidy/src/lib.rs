//! Rules about the source that no compiler keeps.
//!
//! Each module holds one rule: a function from source files to findings, the table that the rule
//! goes by, and tests with a planted offender. `verify/tidy/tests/tidy.rs` applies the rules to
//! this repository. `cargo run -p tidy` prints the figures of the prose, file by file.

pub mod commands;
pub mod doors;
pub mod findings;
pub mod names;
pub mod orderings;
pub mod paths;
pub mod prose;
pub mod rooms;
pub mod source;
pub mod tables;

/// The documents whose prose is measured.
pub const DOCUMENTS: &[&str] =
    &["docs", "findings", "README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"];

/// One offence against a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, relative to the repository's root.
    pub path: String,
    /// The line, from 1 on; 0 for the file as a whole.
    pub line: usize,
    /// The offence, and the way out.
    pub text: String,
}

impl Finding {
    fn new(path: &str, line: usize, text: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, text: text.into() }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

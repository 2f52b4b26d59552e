//! Names that were replaced do not come back.

use crate::Finding;
use crate::source::File;

/// Old names, each with the new one. Whole words, as written.
pub const OLD: &[(&str, &str)] = &[];

/// Finds old names in files.
#[must_use]
pub fn check(files: &[File], old: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        for (line, number) in file.text.lines().zip(1..) {
            for (name, new) in old.iter().filter(|(name, _)| has_word(line, name)) {
                findings.push(Finding::new(&file.path, number, format!("`{name}` is called `{new}` now")));
            }
        }
    }
    findings
}

/// True if the line has this word, with nothing of a name on either side.
fn has_word(line: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_came_back_is_found_as_a_whole_word() {
        let file = File::planted("docs/a.md", "graveyard Graves\nthe `Grave` of\n");
        let found = check(&[file], &[("Grave", "DeadLetterWriter")]);
        assert_eq!(found, [Finding::new("docs/a.md", 2, "`Grave` is called `DeadLetterWriter` now")]);
    }
}

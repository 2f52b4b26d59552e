//! Every line of the core that orders memory ends with the tags of its pairs, which stand in the
//! table of pairs.

use crate::Finding;
use crate::source::File;
use std::collections::BTreeSet;

/// The file with the table of pairs.
pub const TABLE: &str = "crates/core/src/protocol/mod.rs";

/// Calls and values that order memory.
const ORDERS: [&str; 7] = ["Acquire", "Release", "AcqRel", "SeqCst", "fence", "light_fence", "heavy_fence"];

/// Checks the lines of the core's files against the table of pairs in its documentation.
#[must_use]
pub fn check(files: &[File], table: &File) -> Vec<Finding> {
    let pairs = pairs(table);
    let mut findings = Vec::new();
    let mut used = BTreeSet::new();
    if pairs.is_empty() {
        findings.push(Finding::new(
            &table.path,
            0,
            "no table of pairs: rows that begin with `| TAG |` are expected",
        ));
    }
    for file in files {
        for line in file.lines().filter(|line| orders(line.code)) {
            let tags: Vec<&str> = line.comment.split(", ").map(str::trim).collect();
            if line.comment.is_empty() || !tags.iter().all(|tag| is_tag(tag)) {
                let text = "orders memory and does not end with the tag of its pair (`// TAG`, or several)";
                findings.push(Finding::new(&file.path, line.number, text));
                continue;
            }
            for tag in tags {
                if !pairs.contains(tag) {
                    let text = format!("{tag} has no row in the table of pairs in {}", table.path);
                    findings.push(Finding::new(&file.path, line.number, text));
                }
                used.insert(tag.to_owned());
            }
        }
    }
    for tag in pairs.difference(&used) {
        findings.push(Finding::new(
            &table.path,
            0,
            format!("no line is tagged {tag}: the row is not needed any more"),
        ));
    }
    findings
}

/// Checks that the models which the table of pairs names in its last column are in the list of
/// models.
///
/// A name that ends with a star stands for all that begin so.
#[must_use]
pub fn check_models(table: &File, list: &File) -> Vec<Finding> {
    let models = crate::tables::models(list);
    let mut findings = Vec::new();
    for (line, number) in table.text.lines().zip(1..) {
        let Some(row) = line.strip_prefix("//! | ").filter(|row| row.split(" | ").next().is_some_and(is_tag))
        else {
            continue;
        };
        let column = row.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
        let named: Vec<&str> = column.split('`').skip(1).step_by(2).collect();
        if named.is_empty() {
            findings.push(Finding::new(&table.path, number, "names no model that fails without this pair"));
        }
        for name in named {
            let is_model = match name.strip_suffix('*') {
                Some(start) => models.keys().any(|model| model.starts_with(start)),
                None => models.contains_key(name),
            };
            if !is_model {
                findings.push(Finding::new(&table.path, number, format!("there is no model {name}")));
            }
        }
    }
    findings
}

/// The tags of the table: first column of its rows.
fn pairs(table: &File) -> BTreeSet<String> {
    let rows = table.text.lines().filter_map(|line| line.strip_prefix("//! | "));
    rows.filter_map(|row| row.split(" | ").next()).filter(|tag| is_tag(tag)).map(str::to_owned).collect()
}

fn is_tag(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

/// True if this line of code orders memory. Imports and declarations only name what does.
fn orders(code: &str) -> bool {
    let is_use = code.starts_with("use ") || code.starts_with("pub use ");
    let declares =
        code.contains("fn fence(") || code.contains("fn light_fence(") || code.contains("fn heavy_fence(");
    let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
    !is_use && !declares && words.any(|word| ORDERS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: &str) -> Vec<String> {
        let table =
            File::planted(TABLE, "//! | tag | x |\n//! |---|---|\n//! | PUB | x |\n//! | FREE | x |\n");
        let file = File::planted("crates/core/src/protocol/a.rs", code);
        check(&[file], &table).iter().map(ToString::to_string).collect()
    }

    const SOUND: &str =
        "use Ordering::{Acquire, Relaxed};\nm.fence(Acquire); // PUB, FREE\nm.load(x, Relaxed);\n";

    #[test]
    fn tagged_lines_pass() {
        assert_eq!(found(SOUND), [""; 0]);
    }

    #[test]
    fn an_untagged_line_is_found() {
        for line in
            ["m.store(x, 1, Release);", "m.heavy_fence(); // the dear one", "m.load(x, SeqCst) // PUB free"]
        {
            let found = found(&format!("{SOUND}{line}\n"));
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(found[0].starts_with("crates/core/src/protocol/a.rs:4: orders memory"), "{found:?}");
        }
    }

    #[test]
    fn an_unknown_tag_and_an_unused_row_are_found() {
        let unknown = found(&format!("{SOUND}m.store(x, 1, Release); // GONE\n"));
        assert!(unknown.len() == 1 && unknown[0].contains("GONE has no row"), "{unknown:?}");
        let unused = found("m.store(x, 1, Release); // PUB\n");
        assert!(unused.len() == 1 && unused[0].contains("no line is tagged FREE"), "{unused:?}");
    }

    #[test]
    fn a_pair_without_a_model_and_a_model_that_is_gone_are_found() {
        let list = File::planted("m.rs", "name: \"park_one\",\nexecutions: 1,\n");
        let rows = "//! | PUB | a | b | `park_*` |\n//! | FREE | a | b | `park_two`, `park_one` |\n//! | X | a | b | none |\n";
        let found = check_models(&File::planted(TABLE, rows), &list);
        let found: Vec<(usize, &str)> =
            found.iter().map(|finding| (finding.line, finding.text.as_str())).collect();
        assert_eq!(
            found,
            [(2, "there is no model park_two"), (3, "names no model that fails without this pair")]
        );
    }
}

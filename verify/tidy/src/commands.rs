//! The shell blocks of documents name packages, targets, scripts and folders that exist.
//!
//! The commands of `slipring` itself are run by `crates/cli/tests/docs.rs`. Most commands of cargo
//! take minutes, and some need a nightly compiler: this rule reads them.

use crate::Finding;
use crate::paths::is_path;
use crate::source::File;

/// Options of cargo that name a target, with or without `=`.
const TARGETS: [&str; 4] = ["--bin", "--bench", "--example", "--test"];

/// Folders in which each file, or folder with a `main.rs`, is a target.
const FOLDERS: [&str; 5] = ["bin/", "benches/", "examples/", "tests/", "fuzz_targets/"];

/// The names that a command may use.
#[derive(Debug, Default)]
pub struct Names {
    /// Names of packages and of targets that a manifest declares.
    pub declared: Vec<String>,
    /// Names of targets that cargo finds by their files.
    pub found: Vec<String>,
}

impl Names {
    /// The names that these manifests declare, and that these Rust files have.
    #[must_use]
    pub fn of(manifests: &[File], sources: &[File]) -> Names {
        let lines = manifests.iter().flat_map(|file| file.text.lines());
        let quoted = |line: &str| Some(line.strip_prefix("name = \"")?.split('"').next()?.to_owned());
        let found = sources.iter().filter_map(|file| target_of(&file.path));
        Names { declared: lines.filter_map(quoted).collect(), found: found.map(str::to_owned).collect() }
    }

    fn has_package(&self, name: &str) -> bool {
        self.declared.iter().any(|declared| declared == name)
    }

    fn has_target(&self, name: &str) -> bool {
        self.has_package(name) || self.found.iter().any(|found| found == name)
    }
}

/// The target that cargo makes of the file at this path, if it makes one.
fn target_of(path: &str) -> Option<&str> {
    let stem = path.strip_suffix("/main.rs").or_else(|| path.strip_suffix(".rs"))?;
    let (folder, name) = stem.rsplit_once('/')?;
    FOLDERS.iter().any(|end| format!("{folder}/").ends_with(end)).then_some(name)
}

/// Finds words in the shell blocks of documents that name no package, no target or no path.
#[must_use]
pub fn check(documents: &[File], names: &Names, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in documents {
        let mut in_block = false;
        for (line, number) in document.text.lines().zip(1..) {
            if line.starts_with("```") {
                in_block = line == "```sh";
            } else if in_block {
                let missing = missing_in(line, names, &exists);
                findings.extend(missing.map(|what| Finding::new(&document.path, number, what)));
            }
        }
    }
    findings
}

/// What a line of a shell block names and the repository does not have.
fn missing_in<'a>(
    line: &'a str,
    names: &'a Names,
    exists: &'a impl Fn(&str) -> bool,
) -> impl Iterator<Item = String> + 'a {
    let command = line.split(" #").next().unwrap_or_default();
    let is_cargo = command.contains("cargo ") || command.starts_with("mutants ");
    let mut before = "";
    command.split_whitespace().filter_map(move |word| {
        let option = std::mem::replace(&mut before, word);
        let (flag, value) = word.rsplit_once('=').unwrap_or((option, word));
        let flag = flag.rsplit('=').next().unwrap_or_default();
        let is_there = match flag {
            "-p" if is_cargo => names.has_package(value),
            flag if is_cargo && TARGETS.contains(&flag) => names.has_target(value),
            "cd" => exists(value),
            _ => !is_path(word) || exists(word),
        };
        (!is_there).then(|| format!("`{word}` is not in the repository"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_names_nothing_is_found() {
        let text = "-p gone\n```sh\ncd verify\ncargo test -p kit --test a --test=gone # -p lost\n\
                    cargo run --example b\ncargo bench -p gone\nci/gone\nmutants -C=--test=lost -f src/a.rs\n```\n";
        let manifests = [File::planted("verify/kit/Cargo.toml", "[package]\nname = \"kit\"\n")];
        let sources = [File::planted("tests/a.rs", ""), File::planted("examples/b/main.rs", "")];
        let names = Names::of(&manifests, &sources);
        let found =
            check(&[File::planted("d.md", text)], &names, |path| ["verify", "src/a.rs"].contains(&path));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "d.md:4: `--test=gone` is not in the repository",
                "d.md:6: `gone` is not in the repository",
                "d.md:7: `ci/gone` is not in the repository",
                "d.md:8: `-C=--test=lost` is not in the repository",
            ]
        );
    }
}

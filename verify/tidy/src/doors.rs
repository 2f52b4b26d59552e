//! Each kind of danger has one door: system calls in `src/system/`, stores into the ring's memory
//! in `crates/core`.

use crate::Finding;
use crate::source::File;

/// A door: what only one place may say, and the exceptions.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// The code that must not stand elsewhere.
    pub words: &'static [&'static str],
    /// Files behind the door begin so.
    pub behind: &'static str,
    /// The way out.
    pub instead: &'static str,
    /// Files that may say it nevertheless, each with the reason. An exception that is not needed is
    /// an offence.
    pub exceptions: &'static [(&'static str, &'static str)],
}

/// System calls, and the calls of the standard library for which that room has its own: `sleep`
/// panics where a sandbox refuses the call, `process::id` makes a system call each time.
pub const SYSTEM: Door = Door {
    words: &["libc::", "thread::sleep(", "process::id("],
    behind: "src/system/",
    instead: "system calls, sleeping and process numbers belong into src/system/",
    exceptions: &[],
};

/// Stores into the ring's memory.
pub const STORES: Door = Door {
    words: &[".store(", ".compare_exchange(", ".compare_exchange_weak(", ".fetch_add(", ".swap("],
    behind: "crates/core/",
    instead: "steps of the protocol belong into crates/core, where models run them",
    exceptions: &[
        ("src/region/mod.rs", "implements the core's memory interface over the mapping"),
        (
            "src/system/fork.rs",
            "its words are this process's own: mappings and locks to be dropped after a fork",
        ),
        ("src/system/process.rs", "its word is this process's own: its number"),
        ("src/system/time.rs", "its words are this process's own: the shift of its clock"),
        ("src/system/sigbus.rs", "its words are this process's own: the handler that was there before"),
    ],
};

/// Checks the files of `src/` against a door.
#[must_use]
pub fn check(files: &[File], door: &Door) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| !file.path.starts_with(door.behind)) {
        let excused = door.exceptions.iter().any(|(path, _)| *path == file.path);
        let offends = |code: &str| door.words.iter().copied().find(|word| code.contains(word));
        let mut needed = false;
        for line in file.lines() {
            let Some(word) = offends(line.code) else { continue };
            needed = true;
            if !excused {
                let text = format!("`{}`: {}", word.trim_matches(['.', '(']), door.instead);
                findings.push(Finding::new(&file.path, line.number, text));
            }
        }
        if excused && !needed {
            findings.push(Finding::new(&file.path, 0, "the exception for this file is not needed any more"));
        }
    }
    for (path, _) in door.exceptions.iter().filter(|(path, _)| !files.iter().any(|file| file.path == *path)) {
        findings.push(Finding::new(path, 0, "the exception is for a file that does not exist"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOOR: Door = Door {
        words: &["libc::"],
        behind: "src/system/",
        instead: "go there",
        exceptions: &[("src/b.rs", "planted")],
    };

    fn found(b: &str, c: &str) -> Vec<String> {
        let files = [
            File::planted("src/system/a.rs", "libc::a();\n"),
            File::planted("src/b.rs", b),
            File::planted("src/c.rs", c),
        ];
        check(&files, &DOOR).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_the_door_and_the_exceptions_are_open() {
        assert_eq!(found("libc::b();\n", "// libc::c()\n"), [""; 0]);
        assert_eq!(found("libc::b();\n", "\nlibc::c();\n"), ["src/c.rs:2: `libc::`: go there"]);
    }

    #[test]
    fn an_exception_that_is_not_needed_is_found() {
        let found_ = found("b();\n", "");
        assert!(found_.len() == 1 && found_[0].contains("not needed any more"), "{found_:?}");
        let gone = check(&[], &DOOR);
        assert!(gone.len() == 1 && gone[0].text.contains("does not exist"), "{gone:?}");
    }
}

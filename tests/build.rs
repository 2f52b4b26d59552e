//! Makes a test of each Rust snippet in README.md and in docs/, so that what the documents show
//! compiles and runs.
//!
//! A block that begins with ```` ```rust ```` becomes the body of a function that returns a
//! `Result`. One with `rust,no_run` is only compiled, one with `rust,ignore` is left out. Lines
//! that a snippet needs and a reader does not can stand before it in a comment of the document:
//!
//! ```text
//! <!-- with
//! use std::time::Duration;
//! -->
//! ```
//!
//! Names in `/dev/shm` get the snippet's own name in front.

use std::fmt::Write;
use std::path::{Path, PathBuf};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut documents = vec![root.join("README.md")];
    collect(&root.join("docs"), &mut documents);
    documents.sort();
    let mut tests = String::new();
    for document in &documents {
        println!("cargo::rerun-if-changed={}", document.display());
        let text = std::fs::read_to_string(document).expect("a readable document");
        let name = document.strip_prefix(&root).expect("inside the root").display().to_string();
        write_tests(&mut tests, &name, &text);
    }
    println!("cargo::rerun-if-changed={}", root.join("docs").display());
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo says where"));
    std::fs::write(out.join("snippets.rs"), tests).expect("a writable directory");
}

fn collect(directory: &Path, documents: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            println!("cargo::rerun-if-changed={}", path.display());
            collect(&path, documents);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
}

/// Writes the tests of one document.
fn write_tests(tests: &mut String, document: &str, text: &str) {
    let mut before = String::new();
    let mut lines = text.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        let mut until = |end: &str| -> String {
            lines
                .by_ref()
                .map(|(line, _)| line)
                .take_while(|line| *line != end)
                .map(|l| format!("{l}\n"))
                .collect()
        };
        match line.strip_prefix("```rust") {
            _ if line == "<!-- with" => before = until("-->"),
            Some(kind @ ("" | ",no_run")) => {
                let code = before.clone() + &until("```");
                write_test(tests, document, number, &code, kind.is_empty());
                before.clear();
            }
            Some(",ignore") => drop(until("```")),
            Some(other) => {
                panic!("{document}:{number}: neither rust, nor rust,no_run, nor rust,ignore: {other:?}")
            }
            None => {}
        }
    }
}

fn write_test(tests: &mut String, document: &str, number: usize, code: &str, runs: bool) {
    let name: String = document.trim_end_matches(".md").to_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let code = code.replace("\"/dev/shm/", "\"/dev/shm/{snippet}-");
    let code = code.replace("{snippet}", &format!("snippet-{name}-{number}"));
    let main = if code.contains("fn main()") { "main()?;" } else { "" };
    let run = if runs { "run_snippet" } else { "compile_snippet" };
    write!(
        tests,
        "/// {document}:{number}\n#[test]\nfn {name}_line_{number}() {{\n    fn snippet() -> Result<(), Box<dyn \
         std::error::Error>> {{\n{code}\n{main}\n        Ok(())\n    }}\n    {run}(snippet, \
         \"snippet-{name}-{number}\");\n}}\n\n"
    )
    .expect("a String takes everything");
}

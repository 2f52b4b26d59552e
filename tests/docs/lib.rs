//! The Rust snippets of README.md and docs/, as tests. `build.rs` finds them; this library holds
//! nothing else.

#![cfg(test)]

/// Runs a snippet, and removes the files that it made.
fn run_snippet(snippet: fn() -> Result<(), Box<dyn std::error::Error>>, name: &str) {
    let remove = || {
        for entry in std::fs::read_dir("/dev/shm").unwrap().filter_map(Result::ok) {
            if entry.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    };
    remove();
    let result = snippet();
    remove();
    result.unwrap();
}

/// Nothing but the compiler needs to look at this one.
fn compile_snippet(_snippet: fn() -> Result<(), Box<dyn std::error::Error>>, _name: &str) {}

include!(concat!(env!("OUT_DIR"), "/snippets.rs"));

//! Runs the litmus tests of the checker, then every model, and prints how much each explored. Arguments
//! that do not begin with a dash select by name, as with any test; `--bound=4` allows more preemptions, for a
//! long run.

use loom_tests::explore::{BOUND, Model, on_every_core};
use loom_tests::litmus::LITMUS;
use loom_tests::models::MODELS;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let wanted = |model: &&Model| filters.is_empty() || filters.iter().any(|f| model.name.contains(f));
    if arguments.iter().any(|argument| argument == "--list") {
        LITMUS.iter().chain(MODELS).filter(wanted).for_each(|model| println!("{}: test", model.name));
        return ExitCode::SUCCESS;
    }
    let bound = arguments.iter().find_map(|argument| argument.strip_prefix("--bound=")?.parse().ok());
    let bound: usize = bound.unwrap_or(BOUND);
    let failed = AtomicUsize::new(0);
    let passed = AtomicUsize::new(0);
    let run = |model: &Model| {
        let start = Instant::now();
        match std::panic::catch_unwind(|| model.check(bound)) {
            Ok(executions) => {
                passed.fetch_add(1, Relaxed);
                println!("test {} ... ok ({executions} executions, {:.1?})", model.name, start.elapsed());
            }
            Err(_) => {
                failed.fetch_add(1, Relaxed);
                println!("test {} ... FAILED: {}", model.name, model.question);
            }
        }
    };
    // A checker that fails its own tests has nothing to say about the models.
    LITMUS.iter().filter(wanted).for_each(run);
    if failed.load(Relaxed) == 0 {
        on_every_core(MODELS.iter().filter(wanted), run);
    }
    let (passed, failed) = (passed.load(Relaxed), failed.load(Relaxed));
    println!(
        "\ntest result: {}. {passed} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" }
    );
    ExitCode::from(u8::from(failed != 0))
}

//! Runs the litmus tests of the checker, then every model, and prints how much each explored.
//! Arguments that do not begin with a dash select by name, as with any test; `--bound=4` allows
//! more preemptions, for a long run. Each model runs in a process of its own: every execution maps
//! and unmaps its threads' stacks, and two cores that do so in one address space wait for each
//! other more than they explore.

use loom_tests::explore::{BOUND, Model, on_every_core};
use loom_tests::litmus::LITMUS;
use loom_tests::models::MODELS;
use std::cmp::Reverse;
use std::process::{Command, ExitCode};
use std::time::Instant;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| arguments.iter().find_map(|argument| argument.strip_prefix(name));
    let filters: Vec<&str> = arguments.iter().map(String::as_str).filter(|a| !a.starts_with('-')).collect();
    let wanted = |model: &&Model| filters.is_empty() || filters.iter().any(|f| model.name.contains(f));
    let bound = option("--bound=").and_then(|bound| bound.parse().ok()).unwrap_or(BOUND);
    if arguments.iter().any(|argument| argument == "--list") {
        LITMUS.iter().chain(MODELS).filter(wanted).for_each(|model| println!("{}: test", model.name));
        return ExitCode::SUCCESS;
    }
    if let Some(name) = option("--one=") {
        let model = MODELS.iter().find(|model| model.name == name).expect("the parent knows the models");
        return ExitCode::from(u8::from(!holds(model, bound)));
    }
    let mut results: Vec<bool> = LITMUS.iter().filter(wanted).map(|model| holds(model, bound)).collect();
    // A checker that fails its own tests has nothing to say about the models.
    if results.iter().all(|holds| *holds) {
        let mut models: Vec<&Model> = MODELS.iter().filter(wanted).collect();
        models.sort_by_key(|model| Reverse(model.executions));
        results.extend(on_every_core(models, |model| holds_in_a_process_of_its_own(model, bound)));
    }
    let failed = results.iter().filter(|holds| !**holds).count();
    println!(
        "\ntest result: {}. {} passed; {failed} failed",
        if failed == 0 { "ok" } else { "FAILED" },
        results.len() - failed
    );
    ExitCode::from(u8::from(failed != 0))
}

fn holds(model: &Model, bound: usize) -> bool {
    let start = Instant::now();
    match std::panic::catch_unwind(|| model.check(bound)) {
        Ok(executions) => {
            println!("test {} ... ok ({executions} executions, {:.1?})", model.name, start.elapsed());
            true
        }
        Err(_) => {
            println!("test {} ... FAILED: {}", model.name, model.question);
            false
        }
    }
}

fn holds_in_a_process_of_its_own(model: &Model, bound: usize) -> bool {
    let status = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([format!("--one={}", model.name), format!("--bound={bound}")])
        .status()
        .expect("this program can be run");
    if !matches!(status.code(), Some(0 | 1)) {
        println!("test {} ... FAILED: its process ended with {status}", model.name);
    }
    status.success()
}

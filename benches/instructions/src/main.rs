//! Counts the instructions of each call on the hot path, and compares them with `expected.txt`.
//!
//! ```text
//! ci/instructions            # counts and compares
//! ci/instructions --update   # counts and writes benches/instructions/expected.txt
//! ```
//!
//! Time depends on the machine and its load; instructions depend on the compiler alone. The program
//! runs itself under callgrind, twice for each operation, with different numbers of calls: the
//! difference of the two counts divided by the difference of the calls is the cost of one call,
//! without start and end.

mod count;
mod expected;
mod operations;

use operations::OPERATIONS;
use std::error::Error;
use std::process::ExitCode;

/// A count may differ from the expected one by this part of it, in either direction.
const TOLERANCE: f64 = 0.03;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => compare(),
        ["--update"] => update(),
        ["run", name, calls] => run(name, calls.parse()?),
        _ => Err("usage: instructions [--update]".into()),
    }
}

/// The counted program.
fn run(name: &str, calls: usize) -> Result<ExitCode, Box<dyn Error>> {
    let operation = OPERATIONS.iter().find(|o| o.name == name).ok_or("no such operation")?;
    (operation.run)(calls)?;
    Ok(ExitCode::SUCCESS)
}

fn update() -> Result<ExitCode, Box<dyn Error>> {
    let mut counts = Vec::new();
    for operation in &OPERATIONS {
        let count = count::per_call(operation.name)?;
        println!("{:<34} {count:>8.1}", operation.name);
        counts.push((operation.name, count));
    }
    expected::write(&counts)?;
    Ok(ExitCode::SUCCESS)
}

fn compare() -> Result<ExitCode, Box<dyn Error>> {
    let expected = expected::read()?;
    let comparable = expected.build == expected::this_build()?;
    println!("{:<34} {:>8} {:>8}", "instructions per call", "counted", "expected");
    let mut verdict = ExitCode::SUCCESS;
    for operation in &OPERATIONS {
        let count = count::per_call(operation.name)?;
        let wanted = expected.count(operation.name);
        let remark = remark(count, wanted);
        let shown = wanted.map_or("-".into(), |wanted| format!("{wanted:.1}"));
        println!("{:<34} {count:>8.1} {shown:>8}  {}", operation.name, remark.unwrap_or_default());
        if comparable && remark.is_some() {
            verdict = ExitCode::FAILURE;
        }
    }
    if !comparable {
        println!(
            "expected.txt was counted for {}, this is {}: shown, not judged",
            expected.build,
            expected::this_build()?
        );
    } else if verdict == ExitCode::FAILURE {
        println!(
            "if these counts are meant: ci/instructions --update, and commit benches/instructions/expected.txt"
        );
    }
    Ok(verdict)
}

/// The judgement on a count, if it is not the expected one.
fn remark(count: f64, expected: Option<f64>) -> Option<&'static str> {
    match expected {
        None => Some("not in expected.txt"),
        Some(expected) if count > expected * (1.0 + TOLERANCE) => Some("MORE than expected"),
        Some(expected) if count < expected * (1.0 - TOLERANCE) => Some("FEWER than expected"),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::remark;

    #[test]
    fn a_count_is_held_against_the_expected_one_in_both_directions() {
        assert_eq!(remark(46.0, Some(46.8)), None);
        assert_eq!(remark(48.0, Some(46.8)), None);
        assert_eq!(remark(48.5, Some(46.8)), Some("MORE than expected"));
        assert_eq!(remark(45.0, Some(46.8)), Some("FEWER than expected"));
        assert_eq!(remark(46.8, None), Some("not in expected.txt"));
    }
}

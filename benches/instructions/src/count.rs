//! This program under callgrind.

use std::error::Error;
use std::io::ErrorKind;
use std::process::Command;

/// Both are multiples of a batch and of the ring that is gone around.
const FEW: u32 = 2048;
const MANY: u32 = 10240;

pub(crate) fn per_call(name: &str) -> Result<f64, Box<dyn Error>> {
    let (few, many) = (collected(name, FEW)?, collected(name, MANY)?);
    Ok((many - few) / f64::from(MANY - FEW))
}

/// All instructions of one run.
fn collected(name: &str, calls: u32) -> Result<f64, Box<dyn Error>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["run", name, &calls.to_string()])
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => "valgrind is not installed".into(),
            _ => format!("valgrind: {error}"),
        })?;
    let report = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{name}, {calls} calls, under valgrind: {}\n{report}", output.status).into());
    }
    let total = report.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok());
    total.ok_or_else(|| format!("valgrind's report names no count:\n{report}").into())
}

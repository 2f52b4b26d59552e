//! The committed counts: a line for the compiler and the architecture, then a name and a number
//! on each line.

use std::error::Error;
use std::fmt::Write;
use std::process::Command;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/expected.txt");

pub(crate) struct Expected {
    /// The compiler and the architecture that the counts hold for.
    pub(crate) build: String,
    counts: Vec<(String, f64)>,
}

impl Expected {
    pub(crate) fn count(&self, name: &str) -> Option<f64> {
        self.counts.iter().find(|(expected, _)| expected == name).map(|&(_, count)| count)
    }
}

pub(crate) fn read() -> Result<Expected, Box<dyn Error>> {
    let text = std::fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    let (build, lines) = text.split_once('\n').ok_or("expected.txt is empty")?;
    Ok(Expected { build: build.into(), counts: lines.lines().map(parse).collect::<Result<_, _>>()? })
}

fn parse(line: &str) -> Result<(String, f64), Box<dyn Error>> {
    let (name, count) = line.rsplit_once(' ').ok_or("expected.txt: a line without a count")?;
    Ok((name.trim().into(), count.parse()?))
}

pub(crate) fn write(counts: &[(&str, f64)]) -> Result<(), Box<dyn Error>> {
    let mut text = this_build()? + "\n";
    for (name, count) in counts {
        writeln!(text, "{name:<34} {count:.1}")?;
    }
    std::fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}").into())
}

/// The compiler that cargo calls, and the architecture.
pub(crate) fn this_build() -> Result<String, Box<dyn Error>> {
    let output = Command::new("rustc").arg("--version").output()?;
    let version = String::from_utf8(output.stdout)?;
    let version = version.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(format!("{version} on {}", std::env::consts::ARCH))
}

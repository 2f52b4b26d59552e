//! Results: as lines of JSON, and as part of a document.

use crate::channel::Failure;
use crate::conductor::Run;
use crate::machine::Machine;
use crate::run::{Measure, Outcome};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The result of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) rep: u32,
    pub(crate) system: String,
    pub(crate) measure: Measure,
    pub(crate) size: usize,
    /// Between two threads of one process, not between two processes.
    pub(crate) threads: bool,
    pub(crate) outcome: Outcome,
}

impl Record {
    pub(crate) fn new(rep: u32, run: &Run, outcome: Outcome) -> Record {
        let (system, threads) = (run.system.name.to_owned(), run.system.is_threads);
        Record { rep, system, measure: run.measure, size: run.size, threads, outcome }
    }
}

/// All results, and what could not be had.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) records: Vec<Record>,
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// A report without results.
    pub(crate) fn new(machine: Machine) -> Report {
        Report { machine, records: Vec::new(), failures: Vec::new() }
    }

    /// The report that a [`Writer`] has written.
    pub(crate) fn read(path: &Path) -> Result<Report, Failure> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut lines = text.lines();
        let machine = serde_json::from_str(lines.next().ok_or("the file is empty")?)?;
        let records = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
        Ok(Report { machine, records, failures: Vec::new() })
    }
}

/// Writes results as they come.
#[derive(Debug)]
pub(crate) struct Writer(Option<BufWriter<File>>);

impl Writer {
    /// Begins the file, if there is to be one, with the machine.
    pub(crate) fn open(path: Option<&Path>, machine: &Machine) -> Result<Writer, Failure> {
        let file = path.map(File::create).transpose()?;
        let mut writer = Writer(file.map(BufWriter::new));
        writer.line(machine)?;
        Ok(writer)
    }

    /// Adds a result.
    pub(crate) fn write(&mut self, record: &Record) -> Result<(), Failure> {
        self.line(record)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        if let Some(file) = &mut self.0 {
            serde_json::to_writer(&mut *file, value)?;
            file.write_all(b"\n")?;
            file.flush()?;
        }
        Ok(())
    }
}

/// Replaces what is between the marks of a document.
pub(crate) fn write_into(document: &Path, text: &str) -> Result<(), Failure> {
    let old = fs::read_to_string(document).map_err(|error| format!("{}: {error}", document.display()))?;
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        parts.ok_or_else(|| format!("{} has no marks {BEGIN} and {END}", document.display()))?;
    Ok(fs::write(document, format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))?)
}

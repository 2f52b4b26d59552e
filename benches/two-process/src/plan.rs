//! Which runs there are, in which order.

use crate::channel::Failure;
use crate::conductor::{self, Run, conduct};
use crate::machine::Machine;
use crate::options::Options;
use crate::place;
use crate::record::{Record, Report, Writer};
use crate::run::{Measure, SIZES, Schedule};
use crate::systems::{self, Entry};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// The time for starting and ending the processes of a run.
const OVERHEAD: Duration = Duration::from_millis(20);

/// All runs that the options ask for, each once. Systems that a ratio compares are measured one
/// right after the other.
fn runs(options: &Options, seconds: f64) -> Result<Vec<Run>, Failure> {
    let systems = systems::all();
    if let Some(unknown) =
        options.systems.iter().find(|name| systems.iter().all(|known| known.name != **name))
    {
        return Err(format!("there is no system {unknown}; --list shows all").into());
    }
    if let Some(unknown) = options.sizes.iter().find(|size| !SIZES.contains(size)) {
        return Err(format!("not compiled for messages of {unknown} bytes, only for {SIZES:?}").into());
    }
    let is_wanted = |entry: &Entry, measure: Measure, size: usize| {
        (options.systems.is_empty() || options.systems.iter().any(|name| name == entry.name))
            && entry.measures.contains(&measure)
            && size <= (entry.largest)()
    };
    let mut runs = Vec::new();
    for measure in Measure::ALL {
        if !options.measures.is_empty() && !options.measures.contains(&measure) {
            continue;
        }
        // Measures that make sense for one size only do so whatever was asked for.
        let has_choice = measure.sizes().len() > 1;
        let is_asked_for =
            |size: &&usize| options.sizes.is_empty() || !has_choice || options.sizes.contains(size);
        for &size in measure.sizes().iter().filter(is_asked_for) {
            let wanted = systems.iter().filter(|entry| is_wanted(entry, measure, size));
            let seconds = seconds * measure.patience();
            runs.extend(wanted.map(|system| Run { system: *system, measure, size, seconds }));
        }
    }
    if runs.is_empty() { Err("nothing was asked for".into()) } else { Ok(runs) }
}

/// Measures everything that was asked for, as often as was asked for: all of it once, then all of
/// it again, so that whatever changes on the machine meanwhile changes for all.
pub(crate) fn perform(options: &Options) -> Result<Report, Failure> {
    let (reps, seconds) = options.extent();
    let runs = runs(options, seconds)?;
    let machine = Machine::look(&options.cores);
    let mut writer = Writer::open(options.json.as_deref(), &machine)?;
    conductor::catch_interrupts();
    let removers: Vec<_> = systems::all().iter().map(|system| system.remove).collect();
    place::remove_leftovers(&removers);

    let count = runs.len() * reps as usize;
    let once: Duration = runs.iter().map(|run| Schedule::seconds(run.seconds).total() + OVERHEAD).sum();
    eprintln!("{count} runs, about {} s", (once * reps).as_secs() + 1);
    let progress = ProgressBar::with_draw_target(Some(count as u64), ProgressDrawTarget::stderr());
    progress.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left, {msg}")?);

    let mut report = Report::new(machine);
    for rep in 0..reps {
        for (n, run) in runs.iter().enumerate() {
            let what = format!("{} {} {} B", run.system.name, run.measure.name(), run.size);
            progress.set_message(what.clone());
            match conduct(run, &options.cores, rep as usize * runs.len() + n) {
                Ok(outcome) => {
                    let record = Record::new(rep, run, outcome);
                    writer.write(&record)?;
                    report.records.push(record);
                }
                Err(_) if conductor::interrupted() => {
                    progress.finish_and_clear();
                    return Err("interrupted; everything has been cleared away".into());
                }
                Err(error) => report.failures.push(format!("{what}, repetition {rep}: {error}")),
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(report)
}

//! Changes one site of the protocol at a time, and shows which model catches it.

use crate::child::exit_code;
use crate::explore::{BOUND, Model, on_every_core};
use crate::litmus::LITMUS;
use crate::models::MODELS;
use crate::sites::{self, Change, Site};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Preemptions per execution while it is found out which sites a model reaches. Fewer than for an
/// answer: a site that is reached later than that is told as one that no model reaches, or catches.
const BOUND_OF_SITES: usize = 2;

/// Exit code of a model that holds, and in which a changed load never gave anything else than what
/// was there.
const IDLE: u8 = 3;
/// Seeds of the simulation that look at a change.
const SEEDS: &str = "600";

/// A change that no model catches, and the reason why it cannot, or need not.
#[derive(Clone, Copy, Debug)]
pub struct Accepted {
    /// A part of the file name.
    pub file: &'static str,
    /// A part of the source line.
    pub line: &'static str,
    /// The change.
    pub change: &'static str,
    /// Why.
    pub why: &'static str,
}

impl Accepted {
    fn is_it(&self, outcome: &Outcome, source: &str) -> bool {
        outcome.site.file.contains(self.file)
            && source.contains(self.line)
            && outcome.change.to_string() == self.change
    }
}

/// Which changes are made, and how hard it is looked.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// Name of a change, in the plural.
    pub what: &'static str,
    /// The changes of a site.
    pub changes: fn(&Site) -> Vec<Change>,
    /// The changes that no model catches, each with its reason.
    pub accepted: &'static [Accepted],
    /// Most preemptions per execution.
    pub bound: usize,
    /// Where the simulation looks, too: builds it.
    pub simulation: Option<fn() -> PathBuf>,
    /// Accepted changes are tried, too: what was accepted may be noticed by now.
    pub tries_accepted: bool,
}

/// One change, the models that reach its site, and which of them fails.
#[derive(Debug)]
pub struct Outcome {
    /// Where.
    pub site: Site,
    /// The change.
    pub change: Change,
    models: Vec<&'static Model>,
    /// The first model that fails.
    pub caught: Option<&'static str>,
    /// It makes no difference in any model: no party looks twice.
    pub idle: bool,
}

impl Outcome {
    /// The line of source that the site stands on.
    pub fn source_line(&self) -> String {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
        let text = std::fs::read_to_string(format!("{root}{}", self.site.file)).unwrap_or_default();
        let line = usize::try_from(self.site.line).unwrap_or(1);
        text.lines().nth(line - 1).unwrap_or_default().trim().to_owned()
    }
}

/// The work of a child process that its parent started for one question; `None` in the parent.
pub fn answer(arguments: &[&str]) -> Option<ExitCode> {
    match arguments[..] {
        ["--sites-of", model] => Some(print_sites(model)),
        ["--one", site, change, model, bound] => Some(run_changed(site, change, model, bound)),
        ["--run", model, bound] => Some(run(model, bound)),
        _ => None,
    }
}

fn model(name: &str) -> &'static Model {
    MODELS.iter().find(|model| model.name == name).expect("the parent knows the models")
}

fn print_sites(name: &str) -> ExitCode {
    sites::record();
    (model(name).run)(BOUND_OF_SITES);
    sites::recorded().iter().for_each(|site| println!("{site}"));
    ExitCode::SUCCESS
}

fn run_changed(site: &str, change: &str, name: &str, bound: &str) -> ExitCode {
    let (Ok(site), Ok(change)) = (site.parse(), change.parse()) else {
        return ExitCode::from(2);
    };
    sites::change(site, change);
    run(name, bound)
}

fn run(name: &str, bound: &str) -> ExitCode {
    let Ok(bound) = bound.parse() else { return ExitCode::from(2) };
    std::panic::set_hook(Box::new(|_| {}));
    let held = std::panic::catch_unwind(|| (model(name).run)(bound)).is_ok();
    let idle = sites::remembers() && !sites::made_a_difference();
    ExitCode::from(match (held, idle) {
        (false, _) => 101,
        (true, true) => IDLE,
        (true, false) => 0,
    })
}

fn child(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs the litmus tests of the checker itself.
pub fn check_the_checker() {
    for litmus in LITMUS {
        litmus.check(BOUND);
    }
    println!("{} litmus tests of the checker passed", LITMUS.len());
}

/// The sites of the protocol whose names hold one of the filters, each with the models that reach
/// it.
pub fn reached(filters: &[&str]) -> Vec<(Site, Vec<&'static Model>)> {
    let mut sites: BTreeMap<String, Vec<&'static Model>> = BTreeMap::new();
    let reached = on_every_core(MODELS, |model| {
        (model, child(&["--sites-of", model.name]).output().expect("this program can be run"))
    });
    for (model, output) in reached {
        assert!(output.status.success(), "{} fails before anything is changed", model.name);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            sites.entry(line.to_owned()).or_default().push(model);
        }
    }
    let wanted = |name: &str| {
        name.contains("core/src/")
            && (filters.is_empty() || filters.iter().any(|filter| name.contains(filter)))
    };
    let parsed = sites.into_iter().filter(|(name, _)| wanted(name)).filter_map(|(name, mut models)| {
        models.sort_by_key(|model| model.executions);
        Some((name.parse().ok()?, models))
    });
    let mut sites: Vec<(Site, Vec<&'static Model>)> = parsed.collect();
    sites.sort_by(|(a, _), (b, _)| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    sites
}

impl Campaign {
    /// Makes every change of these sites, each in a process of its own, against the models that
    /// reach the site, cheapest first, until one fails: with one preemption per execution, then
    /// with more.
    pub fn run(&self, sites: Vec<(Site, Vec<&'static Model>)>) -> Vec<Outcome> {
        let jobs: Vec<Outcome> = sites
            .into_iter()
            .flat_map(|(site, models)| {
                let outcome = move |change| Outcome {
                    site: site.clone(),
                    change,
                    models: models.clone(),
                    caught: None,
                    idle: false,
                };
                (self.changes)(&outcome(Change::Skipped).site).into_iter().map(outcome)
            })
            .collect();
        let total = jobs.len();
        println!("{total} {}", self.what);
        let done = AtomicUsize::new(0);
        let simulation = self.simulation.map(|build| build());
        on_every_core(jobs, |job| {
            let job = self.try_one(job, simulation.as_deref());
            progress(done.fetch_add(1, Relaxed) + 1, total);
            job
        })
    }

    /// Few preemptions show most bugs in a tenth of the time, or less.
    fn try_one(&self, job: Outcome, simulation: Option<&Path>) -> Outcome {
        let mut idle = true;
        let mut by_models = |bound| {
            let mut catches = |model: &&&'static Model| {
                let code = run_child(&job, model, bound);
                idle &= code == Some(IDLE.into());
                code != Some(0) && code != Some(IDLE.into())
            };
            job.models.iter().find(|model| catches(model)).map(|model| model.name)
        };
        let simulated = || simulation.filter(|path| is_simulated(&job, path)).map(|_| "the simulation");
        let is_accepted = self.argument(&job).is_some();
        if is_accepted && !self.tries_accepted {
            return job;
        }
        // Each accepted omission was reviewed when it was accepted.
        let bound = if is_accepted { 1 } else { self.bound };
        let caught = by_models(1).or_else(simulated).or_else(|| (2..=bound).find_map(by_models));
        Outcome { caught, idle: idle && caught.is_none(), ..job }
    }

    /// Prints what became of every change. How many are open: neither caught nor accepted.
    pub fn report(&self, outcomes: &[Outcome], start: Instant) -> usize {
        println!();
        let (mut caught, mut accepted, mut open) = (0, 0, 0);
        let idle = outcomes.iter().filter(|outcome| outcome.idle).count();
        for outcome in outcomes.iter().filter(|outcome| !outcome.idle) {
            let source = outcome.source_line();
            let verdict = match (outcome.caught, self.argument(outcome)) {
                (Some(model), _) => {
                    caught += 1;
                    format!("caught by {model}")
                }
                (None, Some(why)) => {
                    accepted += 1;
                    format!("NOT CAUGHT, accepted: {why}")
                }
                (None, None) => {
                    open += 1;
                    "NOT CAUGHT".to_owned()
                }
            };
            println!("{:<62} -> {:<10} {verdict}", outcome.site.to_string(), outcome.change);
            println!("    {source}");
        }
        println!(
            "\n{} {}: {caught} caught, {accepted} accepted with an argument, {open} open ({:.0?}){}",
            outcomes.len() - idle,
            self.what,
            start.elapsed(),
            if idle == 0 {
                String::new()
            } else {
                format!("; {idle} loads of what was not looked at before")
            }
        );
        open
    }

    /// Why a change need not be caught, if it is accepted.
    pub fn argument(&self, outcome: &Outcome) -> Option<&'static str> {
        let source = outcome.source_line();
        self.accepted.iter().find(|accepted| accepted.is_it(outcome, &source)).map(|accepted| accepted.why)
    }

    /// The accepted changes of code that is no longer there.
    pub fn stale(&self, outcomes: &[Outcome]) -> Vec<&'static Accepted> {
        let is_there = |accepted: &&Accepted| {
            outcomes.iter().any(|outcome| accepted.is_it(outcome, &outcome.source_line()))
        };
        self.accepted.iter().filter(|accepted| !is_there(accepted)).collect()
    }
}

fn run_child(job: &Outcome, model: &Model, bound: usize) -> Option<i32> {
    let (site, change, bound) = (job.site.to_string(), job.change.to_string(), bound.to_string());
    let mut command = child(&["--one", &site, &change, model.name, &bound]);
    let code = exit_code(&mut command.stdout(Stdio::null()).spawn().expect("this program can be run"));
    assert_ne!(code, Some(2), "the child understands the parent");
    code
}

fn is_simulated(job: &Outcome, program: &Path) -> bool {
    let mut command = Command::new(program);
    command.args(["whatever", "--test-threads=1"]).env("SLIPRING_SEEDS", SEEDS);
    command.env(sites::CHANGE_VARIABLE, format!("{} {}", job.site, job.change));
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    fails(command)
}

/// True if a run of a model or a test ends with an error, or not at all.
///
/// # Panics
///
/// If it cannot be run, or does not understand what it is told.
pub fn fails(command: &mut Command) -> bool {
    let code = exit_code(&mut command.spawn().expect("it can be run"));
    assert_ne!(code, Some(2), "the child understands the parent");
    code != Some(0)
}

/// Builds the simulation; the program that plays it.
///
/// # Panics
///
/// If it cannot be built.
pub fn build_simulation() -> PathBuf {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--release", "--no-run", "--message-format=json", "--test", "simulation"]);
    cargo.args(["-p", "simulation"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    executable(&mut cargo).expect("the simulation is built")
}

/// The program that cargo says it has built.
pub fn executable(cargo: &mut Command) -> Option<PathBuf> {
    let output = cargo.stderr(Stdio::inherit()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let path = text
        .lines()
        .rev()
        .find_map(|line| Some(line.split_once("\"executable\":\"")?.1.split_once('"')?.0.to_owned()));
    path.map(PathBuf::from).filter(|_| output.status.success())
}

/// Says how far it is.
pub fn progress(done: usize, total: usize) {
    if std::io::stdout().is_terminal() {
        print!("\r{done} of {total}");
        let _ = std::io::stdout().flush();
    } else if done % 10 == 0 || done == total {
        println!("{done} of {total}");
    }
}

//! Leaves out every step of the protocol, one at a time, and plants every bug that was ever found
//! in it: shows what notices.

mod planting;
mod plants;

use loom_tests::campaign::{self, Accepted, Campaign, Outcome, progress};
use loom_tests::explore::{Model, on_every_core};
use loom_tests::models::MODELS;
use loom_tests::sites::Site;
use planting::{Copy, PLANT_VARIABLE};
use plants::{Check, PLANTS, Plant};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const HELP: &str = "\
Leaves out every step of the protocol, and plants bugs in it, one at a time, and shows what notices.

usage: steps [omissions] [FILTER ...]   every store and exchange is left out, every exchange made blind, every load
                                        gives what its thread knew of the word before
       steps quick [plants]             what one preemption, or a quick model, shows of both: a minute or two
       steps plants [FILTER ...]        the bugs of loom-tests/src/bin/steps/plants.rs, in a copy of the source
       steps find [FILTER ...]          the same, and looks for everything that notices them
       steps table                      omissions and plants, as the table of docs/verification.md

A FILTER selects by a part of the name. An omission runs against the models that reach its site, and against the
simulation; one that nothing notices must stand in the list of accepted ones, with its argument. A planted bug
must be noticed by the model or the test that its entry names. Otherwise the exit code is 1. Some minutes.";

const fn accepted(
    file: &'static str,
    line: &'static str,
    change: &'static str,
    why: &'static str,
) -> Accepted {
    Accepted { file, line, change, why }
}

/// Omissions that nothing notices.
const ACCEPTED: &[Accepted] = &[
    accepted(
        "",
        "compare_exchange(word, from, to, Release",
        "skipped",
        "the floor is a lower bound: every party walks up from it over settled positions",
    ),
    accepted(
        "",
        "match self.memory.compare_exchange(word, seen, position, Relaxed, Relaxed)",
        "blind",
        "a hint: a sweep finds the messages that it skips",
    ),
    accepted(
        "",
        "let mut seen = self.memory.load(word, Relaxed);",
        "remembered",
        "the exchange that follows finds the present value",
    ),
    accepted(
        "runs.rs",
        "let end = memory.load(geometry.run_end(number, position), Relaxed);",
        "remembered",
        "a hint: an older end makes the walk longer",
    ),
    accepted(
        "runs.rs",
        "memory.store(geometry.run_end(*number, first), settled, Release);",
        "skipped",
        "a hint: without it, the next walk is longer",
    ),
    accepted(
        "group/mod.rs",
        "memory.load(HEAD, Relaxed).min(POSITION_MAX)",
        "remembered",
        "a hint where to begin: an older head makes the floor lower for a while",
    ),
    accepted(
        "members.rs",
        "memory.load(word(worker::GROUP), Relaxed);",
        "remembered",
        "the right to the entry is held, and under it an older look differs only by a worker that left, and left no lease",
    ),
    accepted(
        "members.rs",
        "worker::GROUP), Relaxed) != 0",
        "remembered",
        "under the right to the entry, clearing what is free changes nothing",
    ),
    accepted(
        "membership.rs",
        "let tail = Tail(memory.load(geometry.tail(entry), Relaxed));",
        "remembered",
        "under the right to the entry, a tail that may be resumed does not move",
    ),
    accepted(
        "membership.rs",
        "kind.flags_while_entering()",
        "skipped",
        "the right to the entry is held meanwhile; a free entry that gates is cleared away, too",
    ),
    accepted(
        "entry.rs",
        "EntryFlags(memory.load(geometry.flags(entry), Relaxed))",
        "remembered",
        "flags change under the right to the entry alone; without that right, a party that sees the change later waits longer",
    ),
    accepted(
        "group/mod.rs",
        "compare_exchange(word, seen, seen.wrapping_add(times)",
        "skipped",
        "counters are for display, but for that of backfills: `what_others_lease_below_counts_for_a_worker_that_chooses`",
    ),
    accepted(
        "group/mod.rs",
        "compare_exchange(word, seen, seen.wrapping_add(times)",
        "blind",
        "counters are for display; a lost backfill lets the limit be exceeded by one, which no model looks at",
    ),
    accepted(
        "tenure.rs",
        "let mut seen = memory.load(used, Relaxed);",
        "remembered",
        "the exchange that follows finds the present value",
    ),
    accepted(
        "tenure.rs",
        "if let Some(position) = Tail(memory.load(entry.tail(), Relaxed)).position()",
        "remembered",
        "under the right to the entry: its owner alone moved the tail, unless it was evicted",
    ),
    accepted(
        "lease",
        "group::FRONTIER), next_frontier",
        "skipped",
        "a hint: a search that begins lower looks at leased words",
    ),
    accepted(
        "lease",
        "compare_exchange(word, returned, next_returned",
        "skipped",
        "a hint: a search that begins lower looks at leased words",
    ),
    accepted(
        "lease",
        "compare_exchange(word, returned, next_returned",
        "blind",
        "a hint: a sweep finds the messages that it skips",
    ),
    accepted(
        "sweep.rs",
        "group::SWEEP_AT), next_sweep",
        "skipped",
        "a hint: without it, the next sweep looks at the same words, as far as models and rings of the simulation reach",
    ),
    accepted(
        "message.rs",
        "memory.load(",
        "remembered",
        "the next call finds a message that an older look misses",
    ),
    accepted(
        "observe.rs",
        "let head = self.memory.load(HEAD",
        "remembered",
        "a hint where to go on; every look validates its copy",
    ),
    accepted(
        "observe.rs",
        "self.memory.load(self.geometry.slot(head).sequence()",
        "remembered",
        "an older look gives the newest message of that time",
    ),
    accepted(
        "park.rs",
        "if memory.load(side.asleep(), Relaxed) != 0 {",
        "remembered",
        "the look by which it is called has seen the sleeper",
    ),
    accepted(
        "read.rs",
        "self.memory.load(self.slots.at(position).sequence(), Relaxed);",
        "remembered",
        "the next look finds the message that an older one misses",
    ),
    accepted(
        "park.rs",
        "memory.store(self.asleep(), 0",
        "skipped",
        "costs a wake for nothing at each message",
    ),
    accepted("park.rs", "memory.store(WAKE_COUNT", "skipped", "for display only"),
    accepted("park.rs", "memory.store(WAKE_COUNT", "remembered", "the producer alone writes it"),
    accepted("park.rs", "memory.store(WAKE,", "remembered", "the producer alone writes it"),
    accepted("publish.rs", "memory.store(EPOCH", "skipped", "for display only"),
    accepted(
        "publish.rs",
        "Damage::bound(",
        "remembered",
        "a successor remembers only what the same thread stored as its predecessor",
    ),
    accepted(
        "publish.rs",
        "self.memory.store(LIMIT, limit.max(self.claimed)",
        "skipped",
        "a limit that stays too high costs a joiner some of the past, and nothing is overwritten",
    ),
    accepted(
        "publish.rs",
        "memory.store(LIMIT, claimed, Relaxed)",
        "skipped",
        "the same, until the first scan",
    ),
    accepted("publish.rs", "self.memory.store(EVICTED_COUNT", "skipped", "for display only"),
    accepted(
        "read.rs",
        "let head = memory.load(HEAD",
        "remembered",
        "the first look finds a message that is not known at the beginning",
    ),
    accepted(
        "recorder.rs",
        "memory.load(",
        "remembered",
        "events are for display, and written under the table right",
    ),
    accepted(
        "recorder.rs",
        "memory.store(",
        "skipped",
        "events are for display, and written under the table right",
    ),
    accepted(
        "protocol/table.rs",
        "let head = Damage::bound(\"head\", memory.load(HEAD, Relaxed)",
        "remembered",
        "a position beyond an older head is looked for in its slot, and by another look at the head",
    ),
];

/// Most preemptions per execution.
const BOUND: usize = 2;
/// Seeds of the simulation that look at a planted bug.
const SEEDS: &str = "3000";

const OMISSIONS: Campaign = Campaign {
    what: "omissions",
    changes: Site::omissions,
    accepted: ACCEPTED,
    bound: BOUND,
    simulation: Some(campaign::build_simulation),
    tries_accepted: true,
};
/// The search with one preemption alone.
const QUICK: Campaign = Campaign { bound: 1, simulation: None, tries_accepted: false, ..OMISSIONS };
/// Omissions that neither one preemption shows nor the list accepts: the long run notices them.
const LEFT_BY_QUICK: usize = 2;
/// A model of at most so many executions, as recorded, is quick.
const QUICK_MODEL: usize = 20_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(code) = campaign::answer(&arguments) {
        return code;
    }
    let done = match arguments[..] {
        ["quick"] => Ok(quick()),
        ["quick", "plants"] => plants(&is_quick, false),
        ["plants", ref filters @ ..] => plants(&|plant| is_named(plant, filters), false),
        ["find", ref filters @ ..] => plants(&|plant| is_named(plant, filters), true),
        ["table"] => table(),
        ["omissions", ref filters @ ..] => Ok(omissions(filters)),
        _ if arguments.iter().any(|argument| argument.starts_with('-')) => {
            println!("{HELP}");
            return ExitCode::from(if arguments == ["--help"] || arguments == ["-h"] { 0 } else { 2 });
        }
        ref filters => Ok(omissions(filters)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn omissions(filters: &[&str]) -> bool {
    let start = Instant::now();
    let outcomes = OMISSIONS.run(campaign::reached(filters));
    let open = OMISSIONS.report(&outcomes, start);
    open == 0 && (!filters.is_empty() || all_accepted_are_there(&outcomes))
}

fn all_accepted_are_there(outcomes: &[Outcome]) -> bool {
    let stale = OMISSIONS.stale(outcomes);
    for accepted in &stale {
        println!("accepted, and no longer in the code: {} ({})", accepted.line, accepted.change);
    }
    stale.is_empty()
}

/// Fails if more omissions are left to the long run than on record: for a new step that no model
/// notices, and for a model that notices less than before.
fn quick() -> bool {
    let start = Instant::now();
    let outcomes = QUICK.run(campaign::reached(&[]));
    let open = QUICK.report(&outcomes, start);
    println!("{open} are left to the long run, {LEFT_BY_QUICK} on record");
    open <= LEFT_BY_QUICK && all_accepted_are_there(&outcomes)
}

/// The planted copy, and the programs that were built of it.
struct Bench {
    models: PathBuf,
    tests: BTreeMap<(&'static str, &'static str), PathBuf>,
}

const SIMULATION: (&str, &str) = ("simulation", "simulation");

impl Bench {
    fn new(jobs: &[(usize, &Plant)], all_tests: bool) -> Result<Bench, String> {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let copy = Copy::plant(&target.join("plants"), PLANTS)?;
        let mut tests = BTreeMap::new();
        for (_, plant) in jobs {
            let wanted = match plant.seen_by {
                Check::Test(package, test, _) => (package, test),
                Check::Simulation => SIMULATION,
                _ if all_tests => SIMULATION,
                _ => continue,
            };
            if let Entry::Vacant(place) = tests.entry(wanted) {
                place.insert(copy.build_test(wanted.0, wanted.1)?);
            }
        }
        Ok(Bench { models: copy.build_models()?, tests })
    }

    /// True if a check fails with this bug.
    fn notices(&self, check: Check, number: usize, bound: usize) -> bool {
        let bound = bound.to_string();
        let mut command = match check {
            Check::Model(name) => {
                let mut command = Command::new(&self.models);
                command.args(["--run", name, &bound]);
                command
            }
            Check::Simulation => {
                let mut command = Command::new(&self.tests[&SIMULATION]);
                command.args(["whatever"]).env("SLIPRING_SEEDS", SEEDS);
                command
            }
            Check::Test(package, test, filter) => {
                let mut command = Command::new(&self.tests[&(package, test)]);
                command.args([filter]);
                command
            }
            Check::Nothing(_) => return false,
        };
        command.env(PLANT_VARIABLE, number.to_string()).stdin(Stdio::null());
        campaign::fails(command.stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// The first check that notices a bug, looking everywhere.
    fn find(&self, number: usize) -> Option<Check> {
        let mut models: Vec<&Model> = MODELS.iter().collect();
        models.sort_by_key(|model| model.executions);
        let by_models = |bound| {
            let checks = models.iter().map(|model| Check::Model(model.name));
            checks.into_iter().find(|check| self.notices(*check, number, bound))
        };
        let simulated = || Some(Check::Simulation).filter(|check| self.notices(*check, number, 0));
        by_models(1).or_else(simulated).or_else(|| by_models(BOUND))
    }

    /// The fate of a planted bug.
    fn try_one(&self, plant: &Plant, number: usize, find: bool) -> Option<Check> {
        if find {
            return self.find(number);
        }
        Some(plant.seen_by).filter(|check| (1..=BOUND).any(|bound| self.notices(*check, number, bound)))
    }
}

fn is_named(plant: &Plant, filters: &[&str]) -> bool {
    filters.is_empty() || filters.iter().any(|filter| plant.name.contains(filter))
}

/// True if a quick model notices it.
fn is_quick(plant: &Plant) -> bool {
    let quick = |name| MODELS.iter().any(|model| model.name == name && model.executions <= QUICK_MODEL);
    matches!(plant.seen_by, Check::Model(name) if quick(name))
}

fn plants(is_wanted: &dyn Fn(&Plant) -> bool, find: bool) -> Result<bool, String> {
    let start = Instant::now();
    let jobs: Vec<(usize, &Plant)> = (1..).zip(PLANTS).filter(|(_, plant)| is_wanted(plant)).collect();
    let bench = Bench::new(&jobs, find)?;
    // A copy that is broken in itself would look as if everything were noticed.
    let checks: BTreeMap<String, Check> =
        jobs.iter().map(|(_, plant)| (format!("{:?}", plant.seen_by), plant.seen_by)).collect();
    let broken = on_every_core(checks.into_values(), |check| bench.notices(check, 0, 1).then_some(check));
    if let Some(check) = broken.into_iter().flatten().next() {
        return Err(format!("{check:?} fails though nothing is planted"));
    }
    let (total, done) = (jobs.len(), AtomicUsize::new(0));
    println!("{total} planted bugs");
    let results = on_every_core(jobs, |(number, plant)| {
        let noticed = bench.try_one(plant, number, find);
        progress(done.fetch_add(1, Relaxed) + 1, total);
        (plant, noticed)
    });
    Ok(report(&results, start))
}

fn report(results: &[(&Plant, Option<Check>)], start: Instant) -> bool {
    let mut sound = true;
    println!();
    for (plant, noticed) in results {
        let verdict = match (noticed, plant.seen_by) {
            (Some(check), _) => format!("noticed by {}", name_of(*check)),
            (None, Check::Nothing(why)) => format!("NOT NOTICED, accepted: {why}"),
            (None, check) => {
                sound = false;
                format!("NOT NOTICED by {}", name_of(check))
            }
        };
        println!("{:<26} {verdict}\n    {}", plant.name, plant.what);
    }
    println!("\n{} planted bugs ({:.0?})", results.len(), start.elapsed());
    sound
}

fn name_of(check: Check) -> String {
    match check {
        Check::Model(name) => format!("`{name}`"),
        Check::Simulation => "the simulation".to_owned(),
        Check::Test(_, test, filter) => format!("`{test}`, `{filter}`"),
        Check::Nothing(why) => format!("nothing: {why}"),
    }
}

/// Prints what is in `docs/verification.md`.
fn table() -> Result<bool, String> {
    let outcomes = OMISSIONS.run(campaign::reached(&[]));
    println!("\n| where | step | change | noticed by |\n|---|---|---|---|");
    for outcome in outcomes.iter().filter(|outcome| !outcome.idle) {
        println!("{}", row(outcome));
    }
    println!("\n| planted bug | noticed by |\n|---|---|");
    for plant in PLANTS {
        println!("| {} | {} |", plant.what, name_of(plant.seen_by));
    }
    Ok(true)
}

fn row(outcome: &Outcome) -> String {
    let file = outcome.site.file.rsplit('/').next().unwrap_or_default();
    let source = outcome.source_line();
    let code = source.split(" // ").next().unwrap_or_default().replace('|', "\\|");
    let noticed = match (outcome.caught, OMISSIONS.argument(outcome)) {
        (Some("the simulation"), _) => "the simulation".to_owned(),
        (Some(model), _) => format!("`{model}`"),
        (None, Some(why)) => format!("nothing: {why}"),
        (None, None) => "**nothing**".to_owned(),
    };
    format!("| `{file}` | `{code}` | {} | {noticed} |", outcome.change)
}

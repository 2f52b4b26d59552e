//! Weakens every ordered access and fence of the protocol, one at a time and from outside the source, and
//! shows which model catches it.

use loom_tests::explore::{BOUND, Model, on_every_core};
use loom_tests::litmus::LITMUS;
use loom_tests::models::MODELS;
use loom_tests::sites::{self, Site, Weakening, ordering_name, ordering_of};
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

const HELP: &str = "\
Weakens every ordered access and fence of the protocol, one at a time, and shows which model catches it.

usage: weaken [FILTER ...]

A FILTER selects sites by a part of their name, such as `publish.rs` or `fence`. Each weakening runs in a
process of its own, against the models that reach the site, cheapest first, until one fails: with one
preemption per execution, then with more. A weakening that no model catches must stand in the list of
accepted ones, with its argument; otherwise the exit code is 1. Takes some minutes.";

/// Preemptions per execution while it is found out which sites a model reaches. Fewer than for an answer: a site that is
/// reached later than that is told as one that no model reaches, or catches.
const BOUND_OF_SITES: usize = 2;

/// Weakenings that no model catches, each with the reason why it cannot, or need not.
///
/// (a part of the file name, a part of the source line, the operation, why)
const ACCEPTED: &[(&str, &str, &str, &str)] = &[];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--sites-of", model] => print_sites(model),
        ["--one", site, to, model, bound] => run_weakened(site, to, model, bound),
        _ if arguments.iter().any(|argument| argument.starts_with('-')) => {
            println!("{HELP}");
            ExitCode::from(if arguments == ["--help"] || arguments == ["-h"] { 0 } else { 2 })
        }
        _ => campaign(&arguments),
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

fn run_weakened(site: &str, to: &str, name: &str, bound: &str) -> ExitCode {
    let (Ok(site), Some(to), Ok(bound)) = (site.parse(), ordering_of(to), bound.parse()) else {
        return ExitCode::from(2);
    };
    sites::weaken(Weakening { site, to });
    std::panic::set_hook(Box::new(|_| {}));
    let held = std::panic::catch_unwind(|| (model(name).run)(bound)).is_ok();
    ExitCode::from(if held { 0 } else { 101 })
}

fn child(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

struct Job {
    site: Site,
    to: std::sync::atomic::Ordering,
    models: Vec<&'static Model>,
}

fn campaign(filters: &[&str]) -> ExitCode {
    let start = Instant::now();
    for litmus in LITMUS {
        litmus.check(BOUND);
    }
    println!("{} litmus tests of the checker passed", LITMUS.len());
    let mut jobs = jobs(filters);
    println!("{} weakenings", jobs.len());
    let unreached = unreached(&jobs);
    if filters.is_empty() && !unreached.is_empty() {
        println!("ordered accesses that no model reaches:");
        unreached.iter().for_each(|line| println!("    {line}"));
        return ExitCode::FAILURE;
    }
    let total = jobs.len();
    for job in &mut jobs {
        job.models.sort_by_key(|model| model.executions);
    }
    let done = AtomicUsize::new(0);
    let results = on_every_core(jobs, |job| {
        // What few preemptions show is found in a tenth of the time, or less.
        let caught =
            (1..=BOUND).find_map(|bound| job.models.iter().find(|model| is_caught(&job, model, bound)));
        let caught = caught.map(|model| model.name);
        progress(done.fetch_add(1, Relaxed) + 1, total);
        (job, caught)
    });
    report(&results, start)
}

/// Every weakening of every site that some model reaches.
fn jobs(filters: &[&str]) -> Vec<Job> {
    let mut sites: BTreeMap<String, Vec<&'static Model>> = BTreeMap::new();
    let reached = on_every_core(MODELS, |model| {
        (model, child(&["--sites-of", model.name]).output().expect("this program can be run"))
    });
    for (model, output) in reached {
        assert!(output.status.success(), "{} fails before anything is weakened", model.name);
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            sites.entry(line.to_owned()).or_default().push(model);
        }
    }
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let parsed = sites.into_iter().filter(|(name, _)| wanted(name)).filter_map(|(name, models)| {
        let site: Site = name.parse().ok()?;
        Some((site, models))
    });
    let mut jobs: Vec<Job> = parsed
        .flat_map(|(site, models)| {
            let weakenings = site.weakenings();
            weakenings.into_iter().map(move |to| Job { site: site.clone(), to, models: models.clone() })
        })
        .collect();
    jobs.sort_by(|a, b| {
        (&a.site.file, a.site.line, a.site.column).cmp(&(&b.site.file, b.site.line, b.site.column))
    });
    jobs
}

/// Lines of the protocol that order something and that no model reaches. A model that is missing must not
/// look like an ordering that is proved.
fn unreached(jobs: &[Job]) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/core/src/protocol");
    let Ok(files) = std::fs::read_dir(folder) else { return vec![format!("{folder} cannot be read")] };
    let mut unreached = Vec::new();
    for path in files.filter_map(|file| Some(file.ok()?.path())) {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (line, code) in (1_u32..).zip(text.lines()) {
            let orders = ["Acquire)", "Release)", "SeqCst)", "Release,", "Acquire,", "AcqRel,", "_fence()"];
            let code = code.trim();
            if code.starts_with("//") || code.starts_with("use ") || !orders.iter().any(|o| code.contains(o))
            {
                continue;
            }
            // A call that is wrapped over lines is reported where it begins.
            let reached = |job: &Job| {
                job.site.file.ends_with(&format!("protocol/{name}")) && job.site.line.abs_diff(line) <= 1
            };
            if !jobs.iter().any(reached) {
                unreached.push(format!("{name}:{line}: {code}"));
            }
        }
    }
    unreached
}

fn is_caught(job: &Job, model: &Model, bound: usize) -> bool {
    let (site, bound) = (job.site.to_string(), bound.to_string());
    let status = child(&["--one", &site, ordering_name(job.to), model.name, &bound])
        .stdout(Stdio::null())
        .status()
        .expect("this program can be run");
    assert_ne!(status.code(), Some(2), "the child understands the parent");
    !status.success()
}

fn progress(done: usize, total: usize) {
    if std::io::stdout().is_terminal() {
        print!("\r{done} of {total}");
        let _ = std::io::stdout().flush();
    } else if done % 10 == 0 || done == total {
        println!("{done} of {total}");
    }
}

/// The line of source that a site stands on, and its own text.
fn source_line(site: &Site) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../");
    let text = std::fs::read_to_string(format!("{root}{}", site.file)).unwrap_or_default();
    let line = usize::try_from(site.line).unwrap_or(1);
    text.lines().nth(line - 1).unwrap_or_default().trim().to_owned()
}

fn report(results: &[(Job, Option<&str>)], start: Instant) -> ExitCode {
    let mut open = 0;
    let mut caught_count = 0;
    let mut accepted_count = 0;
    println!();
    for (job, caught) in results {
        let source = source_line(&job.site);
        let verdict = match caught {
            Some(model) => {
                caught_count += 1;
                format!("caught by {model}")
            }
            None => match argument(&job.site, &source) {
                Some(why) => {
                    accepted_count += 1;
                    format!("NOT CAUGHT, accepted: {why}")
                }
                None => {
                    open += 1;
                    "NOT CAUGHT".to_owned()
                }
            },
        };
        println!("{:<62} -> {:<8} {verdict}", job.site.to_string(), ordering_name(job.to));
        println!("    {source}");
    }
    println!(
        "\n{} weakenings: {caught_count} caught, {accepted_count} accepted with an argument, {open} open ({:.0?})",
        results.len(),
        start.elapsed()
    );
    ExitCode::from(u8::from(open != 0))
}

fn argument(site: &Site, source: &str) -> Option<&'static str> {
    let name = site.to_string();
    ACCEPTED
        .iter()
        .find(|(file, line, operation, _)| {
            site.file.contains(file) && source.contains(line) && name.contains(operation)
        })
        .map(|(.., why)| *why)
}

//! Weakens every ordered access and fence of the protocol, one at a time and from outside the
//! source, and shows which model catches it.

use loom_tests::campaign::{self, Campaign};
use loom_tests::explore::{BOUND, Model};
use loom_tests::sites::Site;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
Weakens every ordered access and fence of the protocol, one at a time, and shows which model catches it.

usage: weaken [FILTER ...]

A FILTER selects sites by a part of their name, such as `publish.rs` or `fence`. Each weakening runs in a
process of its own, against the models that reach the site, cheapest first, until one fails: with one
preemption per execution, then with more. A weakening that no model catches must stand in the list of
accepted ones, with its argument; otherwise the exit code is 1. Takes some minutes.";

const CAMPAIGN: Campaign = Campaign {
    what: "weakenings",
    changes: Site::weakenings,
    accepted: &[],
    bound: BOUND,
    simulation: None,
    tries_accepted: true,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(code) = campaign::answer(&arguments) {
        return code;
    }
    if arguments.iter().any(|argument| argument.starts_with('-')) {
        println!("{HELP}");
        return ExitCode::from(if arguments == ["--help"] || arguments == ["-h"] { 0 } else { 2 });
    }
    let start = Instant::now();
    campaign::check_the_checker();
    let sites = campaign::reached(&arguments);
    let unreached = unreached(&sites);
    if arguments.is_empty() && !unreached.is_empty() {
        println!("ordered accesses that no model reaches:");
        unreached.iter().for_each(|line| println!("    {line}"));
        return ExitCode::FAILURE;
    }
    let open = CAMPAIGN.report(&CAMPAIGN.run(sites), start);
    ExitCode::from(u8::from(open != 0))
}

/// Lines of the protocol that order something and that no model reaches. A model that is missing
/// must not look like an ordering that is proved.
fn unreached(sites: &[(Site, Vec<&Model>)]) -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/core/src/protocol");
    let files =
        [folder.to_owned(), format!("{folder}/group"), format!("{folder}/lease")].map(std::fs::read_dir);
    let mut unreached = Vec::new();
    for file in files.into_iter().flat_map(|files| files.expect("the protocol is there")) {
        let path = file.expect("the protocol can be read").path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        for (line, code) in (1_u32..).zip(text.lines()) {
            let orders = ["Acquire)", "Release)", "SeqCst)", "Release,", "Acquire,", "AcqRel,", "_fence()"];
            let code = code.trim();
            if code.starts_with("//") || code.starts_with("use ") || !orders.iter().any(|o| code.contains(o))
            {
                continue;
            }
            // A call that is wrapped over lines is reported where it begins.
            let reached = |(site, _): &(Site, Vec<&Model>)| {
                site.file.ends_with(&format!("protocol/{name}")) && site.line.abs_diff(line) <= 1
            };
            if !sites.iter().any(reached) {
                unreached.push(format!("{name}:{line}: {code}"));
            }
        }
    }
    unreached
}

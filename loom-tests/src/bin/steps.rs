//! Leaves out every step of the protocol, one at a time, and shows what notices.

use loom_tests::campaign::{self, Campaign};
use loom_tests::sites::Site;
use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
usage: steps [FILTER ...]";

const ACCEPTED: &[campaign::Accepted] = &[];

const OMISSIONS: Campaign =
    Campaign { what: "omissions", changes: Site::omissions, accepted: ACCEPTED, bound: 2 };

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
    let sites = campaign::reached(&arguments);
    let open = OMISSIONS.report(&OMISSIONS.run(sites), start);
    ExitCode::from(u8::from(open != 0))
}

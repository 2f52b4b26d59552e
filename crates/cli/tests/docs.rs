//! What the documents promise.

mod shell;

use shell::Place;

fn page(path: &str) -> String {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

/// The shell commands of a document, with line ends that are escaped taken away.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let lines = blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn every_verb_has_its_section_and_every_code_its_line() {
    let place = Place::new();
    let (help, page) = (place.good("slipring --help"), page("docs/cli.md"));
    let verbs = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = verbs
        .lines()
        // What is longer than a line goes on further to the right.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() > 18, "{verbs:?}");
    for verb in verbs.into_iter().filter(|verb| *verb != "help") {
        let is_there = match verb {
            "completions" | "man" => page.contains("completions, man"),
            "dump" | "restore" => page.contains("## Dump and restore"),
            verb => page.contains(&format!("\n## {verb}\n")),
        };
        assert!(is_there, "docs/cli.md has no section on {verb}");
        assert!(place.good(&format!("slipring {verb} --help")).len() > 120, "{verb}");
    }
    for code in 0..=5 {
        assert!(page.contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let place = Place::new();
    for command in [page("README.md"), page("docs/cli.md")].iter().flat_map(|text| commands(text)) {
        // Of a pipeline, each of ours. What it would do is tested elsewhere; here an option that is
        // not there is one.
        for part in command.split(['|', '&']).map(str::trim).filter(|part| part.starts_with("slipring ")) {
            let words: Vec<&str> = part.split_whitespace().skip(1).collect();
            // These two have verbs of their own.
            let verb = if ["group", "dead"].contains(&words[0]) {
                words[..2].join(" ")
            } else {
                words[0].to_owned()
            };
            let help = place.good(&format!("slipring {verb} --help"));
            for option in words.iter().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{part}: there is no {option}");
            }
        }
    }
}

#[test]
fn alerts_go_by_metrics_that_there_are() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group g --durable d; seq 2 | slipring pub $R");
    place.good("slipring work $R -g g -c 2");
    let metrics = place.good("slipring metrics $R");
    let alerts = page("docs/alerts.yml");
    let is_part = |c: char| c.is_ascii_lowercase() || c == '_';
    let names = alerts.split(|c: char| !is_part(c)).filter(|word| word.starts_with("slipring_"));
    let mut count = 0;
    for name in names {
        count += 1;
        assert!(metrics.contains(&format!("\n{name}{{")), "no metric {name}");
    }
    assert!(count >= 10, "{count}");
    // Where it is at hand, Prometheus itself reads them.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    place.good(&format!("! command -v promtool || promtool check rules {root}/docs/alerts.yml"));
}

#[test]
fn the_readme_works_as_written() {
    let place = Place::new();
    let text = page("README.md");
    let section = text.split("## From a shell").nth(1).unwrap().split("\n## ").next().unwrap();
    let ring = place.ring();
    std::fs::write(place.file("app.log"), "one\ntwo\n").unwrap();
    place.good("printf '#!/bin/sh\ncat >> sent; echo >> sent\n' > send-sms; chmod +x send-sms");
    for command in
        commands(section).into_iter().filter(|line| line.contains("slipring") && !line.starts_with("cargo"))
    {
        let command = command.replace("/dev/shm/news", &ring).replace("tail -f", "tail -n 2");
        // The test has no terminal.
        let command = command.replace("slipring top", "slipring top --once --interval 1ms");
        // What would wait for more ends when there is nothing more.
        let ends = command.starts_with("slipring sub") || command.starts_with("slipring work");
        place.good(&if ends { format!("{command} -e") } else { command });
    }
    assert_eq!(place.good("cat sent"), "one\ntwo\n");
}

//! The documents keep their promises: every shell block with a command of `slipring` runs, every
//! verb has its section, every metric of an alert exists.

mod shell;

use shell::Place;

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn page(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap()
}

/// README.md and every document of `docs`, from the root of the repository.
fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    let mut folders = vec!["docs".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(format!("{ROOT}/{folder}")).unwrap().map(Result::unwrap) {
            let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if path.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found
}

/// A shell block of a document.
struct Block {
    /// The document and the line.
    at: String,
    /// Commands that a reader does not need, from a comment of the document before the block:
    /// `<!-- sh`, then lines, then `-->`.
    before: String,
    /// False if a comment before the block says `<!-- sh: not run`.
    runs: bool,
    commands: Vec<String>,
}

fn blocks(document: &str) -> Vec<Block> {
    let text = page(document);
    let mut lines = text.lines().zip(1..);
    let (mut blocks, mut before, mut runs) = (Vec::new(), String::new(), true);
    while let Some((line, number)) = lines.next() {
        let mut until = |end: &str| -> Vec<&str> {
            lines.by_ref().map(|(line, _)| line).take_while(|line| *line != end).collect()
        };
        match line {
            "<!-- sh" => before = until("-->").join("\n"),
            "```sh" => {
                let at = format!("{document}:{number}");
                let commands = until("```")
                    .iter()
                    .map(|line| line.split(" #").next().unwrap().trim().to_owned())
                    .collect();
                blocks.push(Block { at, before: std::mem::take(&mut before), runs, commands });
                runs = true;
            }
            line if line.starts_with("<!-- sh: not run") => runs = false,
            _ => {}
        }
    }
    blocks
}

/// The command as one word of a shell.
fn quoted(command: &str) -> String {
    format!("'{}'", command.replace('\'', r"'\''"))
}

/// The command as the test runs it: in its folder, without a terminal, with few messages, and to an
/// end.
fn bounded(command: &str, folder: &str) -> String {
    let command = command.replace("/dev/shm", folder).replace("20000000", "20000");
    let command = command.replace("tail -f", "tail -n 2");
    // Without a path it looks at all rings of the machine.
    let command = if command == "slipring top" { format!("{command} {folder}") } else { command };
    let once = if command.contains("--once") { "slipring top" } else { "slipring top --once --interval 1ms" };
    let command = command.replace("slipring top", once).replace("--interval 5s", "--interval 1ms");
    let command = command.replace("--listen 127.0.0.1:9469", "");
    let waits = command.starts_with("slipring sub") || command.starts_with("slipring work");
    if waits && !command.contains(" -e") { format!("{command} -e") } else { command }
}

#[test]
fn every_verb_has_its_section_and_every_code_its_line() {
    let place = Place::new();
    let (help, page) = (place.good("slipring --help"), page("docs/cli.md"));
    let verbs = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let verbs: Vec<&str> = verbs
        .lines()
        // A text that is longer than a line goes on further to the right.
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
    for code in 0..=7 {
        assert!(page.contains(&format!("\n| {code} | ")), "{code}");
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

/// Every shell block with a command of `slipring` runs as it stands in its document, one after
/// another, in a folder for each document that stands for `/dev/shm`.
#[test]
fn every_shell_block_of_the_documents_works() {
    let mut count = 0;
    for document in documents() {
        let place = Place::new();
        let folder = place.file("").to_str().unwrap().trim_end_matches('/').to_owned();
        for block in blocks(&document) {
            if !block
                .commands
                .iter()
                .any(|command| command.contains("slipring ") && !command.starts_with("cargo"))
            {
                continue;
            }
            let before = block.before.replace("/dev/shm", &folder);
            for command in before.lines() {
                place.good(command);
            }
            for command in block.commands.iter().filter(|_| block.runs) {
                let command = bounded(command, &folder);
                let output = place.shell(&format!("timeout 60 bash -o pipefail -c {}", quoted(&command)));
                assert!(output.status.success(), "{}: {command}: {output:?}", block.at);
                count += 1;
            }
        }
    }
    assert!(count > 25, "{count} commands");
}

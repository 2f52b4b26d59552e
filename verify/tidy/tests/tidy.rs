//! The rules of `tidy`, applied to this repository.

use tidy::commands::Names;
use tidy::prose::{Ceiling, of_comments, of_document};
use tidy::source::{File, file, files};
use tidy::{Finding, commands, doors, findings, names, orderings, paths, prose, rooms, source, tables};

/// Figures of comments: of the library, of the core, of models and harnesses.
const COMMENTS: Ceiling = Ceiling { who: 1.5, begins: 0.5, long: 0 };
/// Figures of the documents.
const DOCUMENTS: Ceiling = Ceiling { who: 1.5, begins: 0.5, long: 0 };

#[track_caller]
fn nothing(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

fn library() -> Vec<File> {
    files(&["src"], &[".rs"])
}

fn core() -> Vec<File> {
    files(&["crates/core/src"], &[".rs"])
}

#[test]
fn knowledge_points_downwards() {
    nothing(&rooms::check(&library(), rooms::ROOMS, rooms::UPWARDS));
}

#[test]
fn no_crate_has_a_circle() {
    nothing(&rooms::check_circles(&core()));
    nothing(&rooms::check_circles(&library()));
}

#[test]
fn every_ordering_has_its_pair() {
    let table = file(orderings::TABLE);
    nothing(&orderings::check(&core(), &table));
    nothing(&orderings::check_models(&table, &file(tables::MODELS.1)));
}

#[test]
fn system_calls_are_in_one_room() {
    nothing(&doors::check(&library(), &doors::SYSTEM));
}

#[test]
fn the_rings_memory_is_written_by_the_core() {
    nothing(&doors::check(&library(), &doors::STORES));
}

#[test]
fn the_table_of_models_is_the_list_of_models() {
    nothing(&tables::check_models(&file(tables::MODELS.0), &file(tables::MODELS.1)));
}

#[test]
fn the_documented_offsets_are_the_librarys_and_the_kits() {
    nothing(&tables::check_offsets(&file(tables::FORMAT), &tables::offsets()));
}

#[test]
fn every_finding_says_what_it_is_and_has_its_row() {
    nothing(&findings::check(&file(findings::TABLE), &files(&["findings"], &[".sh"])));
}

/// All that people read and write, but for what was given to them.
fn everything() -> Vec<File> {
    let all = [
        "src",
        "crates",
        "tests",
        "verify",
        "loom-tests",
        "benches",
        "examples",
        "docs",
        "findings",
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ];
    files(&all, &[".rs", ".md", ".toml", ".sh"])
}

#[test]
fn old_names_do_not_come_back() {
    let table = "verify/tidy/src/names.rs";
    let files: Vec<File> = everything().into_iter().filter(|file| file.path != table).collect();
    nothing(&names::check(&files, names::OLD));
}

#[test]
fn paths_that_are_named_exist() {
    let planted = "verify/tidy/src/paths.rs";
    let files: Vec<File> = everything().into_iter().filter(|file| file.path != planted).collect();
    nothing(&paths::check(&files, |path| source::root().join(path).exists()));
}

#[test]
fn tests_that_documents_name_exist() {
    let text = |path: &str| std::fs::read_to_string(source::root().join(path)).ok();
    nothing(&paths::check_functions(&files(tidy::DOCUMENTS, &[".md"]), text));
}

#[test]
fn names_in_documents_exist() {
    let sources: Vec<File> = everything().into_iter().filter(|file| !file.path.ends_with(".md")).collect();
    let is_known = |name: &str| sources.iter().any(|file| file.text.contains(name));
    // Metrics are put together from parts; `ci/monitoring` checks them. A function of an older day.
    let except = ["slipring_", "count_in_flight"];
    nothing(&paths::check_names(&files(tidy::DOCUMENTS, &[".md"]), is_known, &except));
}

#[test]
fn commands_name_what_exists() {
    let all = ["crates", "tests", "verify", "loom-tests", "benches", "examples", "Cargo.toml"];
    let names = Names::of(&files(&all, &[".toml"]), &files(&all, &[".rs"]));
    let documents = files(tidy::DOCUMENTS, &[".md"]);
    nothing(&commands::check(&documents, &names, |path| source::root().join(path).exists()));
}

#[test]
fn sentences_have_actors_with_names() {
    let mut harnesses = files(&["verify", "loom-tests"], &[".rs"]);
    // It speaks of these very words.
    harnesses.retain(|file| file.path != "verify/tidy/src/prose.rs");
    let tests = files(&["tests", "crates/cli/tests"], &[".rs"]);
    let commands = files(&["crates/cli/src", "benches", "examples"], &[".rs"]);
    for (what, files) in [
        ("the library", library()),
        ("the core", core()),
        ("models and harnesses", harnesses),
        ("tests", tests),
        ("commands", commands),
    ] {
        let figures: Vec<_> = files.iter().map(|file| (file.path.clone(), of_comments(file))).collect();
        nothing(&prose::check(what, &figures, COMMENTS));
    }
    let documents = files(tidy::DOCUMENTS, &[".md"]);
    let figures: Vec<_> = documents.iter().map(|file| (file.path.clone(), of_document(file))).collect();
    nothing(&prose::check("documents", &figures, DOCUMENTS));
}

#[test]
fn the_formatter_keeps_the_width_of_code() {
    assert_eq!(file("rustfmt.toml").text, "max_width = 110\nuse_small_heuristics = \"Max\"\n");
}

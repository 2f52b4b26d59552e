//! Knowledge points downwards: a room of `src/` imports only rooms below it, and only those that
//! the table allows.
//!
//! A room is a folder or a file directly under `src/`. No circle of imports is allowed among files.

use crate::Finding;
use crate::source::File;
use std::collections::{BTreeMap, BTreeSet};

/// A room, and the rooms that it may import.
pub type Room = (&'static str, &'static [&'static str]);

/// The rooms of `src/`, the lowest first. A room that imports one at its own height or above is an
/// arrow upwards.
pub const ROOMS: &[Room] = &[
    ("system", &[]),
    ("id", &[]),
    ("error", &["id", "system"]),
    ("message", &["error"]),
    ("wait", &["system"]),
    ("region", &["system"]),
    ("ring", &["error", "id", "message", "region", "system"]),
    ("producer", &["error", "id", "message", "region", "ring", "system", "wait"]),
    ("consumer", &["error", "id", "message", "region", "ring", "system", "wait"]),
    ("progress", &["error", "id", "region", "ring", "wait"]),
    ("copying", &["consumer", "error", "id", "message", "region", "ring", "wait"]),
    ("dead_letters", &["consumer", "copying", "error", "id", "message", "producer", "region", "ring"]),
    ("worker", &["dead_letters", "error", "id", "message", "region", "ring", "system", "wait"]),
];

/// Arrows upwards that are allowed, with the reason. At most one.
pub const UPWARDS: &[(&str, &str, &str)] = &[];

/// An import: of which file and line, from which room, of which.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrow {
    path: String,
    line: usize,
    from: String,
    to: String,
}

/// Checks the imports of the files of `src/`.
#[must_use]
pub fn check(files: &[File], rooms: &[Room], upwards: &[(&str, &str, &str)]) -> Vec<Finding> {
    let height = |room: &str| rooms.iter().position(|(name, _)| *name == room);
    let arrows = arrows(files);
    let mut findings = Vec::new();
    for Arrow { path, line, from, to } in &arrows {
        let mut found = |text| findings.push(Finding::new(path, *line, text));
        let Some(own) = height(from) else {
            found(format!("the room {from} has no line in the table of rooms: give it one"));
            continue;
        };
        let excused = upwards.iter().any(|(a, b, _)| a == from && b == to);
        match height(to) {
            None => found(format!("{to} has no line in the table of rooms: give it one")),
            Some(other) if other >= own && !excused => {
                found(format!("{from} imports {to}, which lies above it: move what is shared below both"));
            }
            Some(_) if !excused && !rooms[own].1.contains(&to.as_str()) => {
                found(format!(
                    "{from} may not import {to}: a new arrow needs an entry in the table of rooms"
                ));
            }
            Some(_) => {}
        }
    }
    for (room, allowed) in rooms {
        for other in allowed.iter().filter(|other| !arrows.iter().any(|a| a.from == *room && a.to == **other))
        {
            findings.push(Finding::new(
                "the table of rooms",
                0,
                format!("{room} does not import {other} any more"),
            ));
        }
    }
    for (from, to, _) in upwards {
        if !arrows.iter().any(|arrow| arrow.from == *from && arrow.to == *to) {
            findings.push(Finding::new(
                "the arrows upwards",
                0,
                format!("{from} does not import {to} any more"),
            ));
        }
    }
    if upwards.len() > 1 {
        findings.push(Finding::new("the arrows upwards", 0, "more than one"));
    }
    findings
}

/// Checks that the files of a crate import each other in no circle.
#[must_use]
pub fn check_circles(files: &[File]) -> Vec<Finding> {
    let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        let code: String = file.lines().map(|line| format!("{}\n", line.code)).collect();
        for path in paths(&code) {
            // The longest part of the path that is a file of its own, or the index file of a
            // folder.
            let target = (1..=path.len()).rev().find_map(|len| {
                let module = absolute(&file.path, &path[..len]);
                files.iter().find(|f| is_module(&f.path, &module)).map(|f| f.path.as_str())
            });
            if let Some(target) = target.filter(|target| *target != file.path) {
                imports.entry(&file.path).or_default().insert(target);
            }
        }
    }
    // A file that imports no file that is left, or is imported by none, is in no circle.
    let mut left: BTreeSet<&str> = imports.keys().copied().collect();
    loop {
        let imported: BTreeSet<&str> = left.iter().flat_map(|file| &imports[file]).copied().collect();
        let imports_left = |file: &&str| imports[file].iter().any(|other| left.contains(other));
        let still: BTreeSet<&str> =
            left.iter().copied().filter(|file| imported.contains(file) && imports_left(file)).collect();
        if still.len() == left.len() {
            break;
        }
        left = still;
    }
    let circle: Vec<&str> = left.into_iter().collect();
    circle
        .iter()
        .map(|file| {
            let others: Vec<&str> =
                imports[file].iter().filter(|other| circle.contains(other)).copied().collect();
            Finding::new(file, 0, format!("is part of a circle of imports: it imports {others:?}"))
        })
        .collect()
}

/// The path of a file inside its crate, without its ending.
fn inside(path: &str) -> &str {
    let inside = path.rsplit_once("/src/").map(|(_, inside)| inside).or(path.strip_prefix("src/"));
    inside.unwrap_or(path).trim_end_matches(".rs")
}

/// The module of a path that a file uses, as folders from the crate's root.
fn absolute(path: &str, used: &[String]) -> Vec<String> {
    let inside = inside(path);
    let mut own: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if matches!(own.last().map(String::as_str), Some("mod" | "lib")) {
        own.pop();
    }
    match used[0].as_str() {
        "super" => {
            own.pop();
            own.extend_from_slice(&used[1..]);
            own
        }
        _ => used[1..].to_vec(),
    }
}

/// True if a file holds this module.
fn is_module(path: &str, module: &[String]) -> bool {
    let inside = inside(path);
    !module.is_empty() && inside.trim_end_matches("/mod") == module.join("/")
}

/// The room of a path: the folder or file directly under `src/`. None of the crate's root.
fn room(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

fn arrows(files: &[File]) -> Vec<Arrow> {
    let mut arrows = Vec::new();
    for file in files {
        let Some(from) = room(&file.path) else { continue };
        for line in file.lines().filter(|line| line.code.contains("crate::")) {
            // The user's crate, in a macro.
            let code = line.code.replace("$crate::", "");
            for path in paths(&code).into_iter().filter(|path| path[0] == "crate") {
                let Some(to) = path.get(1) else { continue };
                if to != from {
                    let (path, from, to) = (file.path.clone(), from.to_owned(), to.clone());
                    let arrow = Arrow { path, line: line.number, from, to };
                    if !arrows.contains(&arrow) {
                        arrows.push(arrow);
                    }
                }
            }
        }
    }
    arrows
}

/// The paths in a piece of code that begin with `crate` or `super`, braces spread.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            if !code[..at]
                .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
            {
                spread(&code[at..], &mut Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Follows one path, and all of those in its braces. Returns the rest of the code.
fn spread<'c>(mut code: &'c str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'c str {
    let own = before.len();
    loop {
        let len = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
        if len > 0 {
            before.push(code[..len].to_owned());
        }
        code = &code[len..];
        if let Some(rest) = code.strip_prefix("::") {
            code = rest;
            if let Some(rest) = code.strip_prefix('{') {
                code = rest;
                while !code.is_empty() && !code.starts_with('}') {
                    code = spread(code, before, found).trim_start_matches([',', ' ', '\n']);
                }
                before.truncate(own);
                return code.strip_prefix('}').unwrap_or(code);
            }
            if code.starts_with('*') {
                code = &code[1..];
            }
            continue;
        }
        if before.len() > own {
            found.push(before.clone());
        } else if !code.is_empty() && !code.starts_with([',', '}']) {
            // Nothing that a path has: go on behind it.
            code = &code[code.chars().next().map_or(0, char::len_utf8)..];
        }
        before.truncate(own);
        return code;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[Room] = &[("low", &[]), ("middle", &["low"]), ("high", &["low", "middle"])];

    fn tree(low: &str, high: &str) -> Vec<File> {
        vec![
            File::planted("src/lib.rs", "mod low;\npub use crate::high::X;\n"),
            File::planted("src/low.rs", low),
            File::planted("src/middle/mod.rs", "use crate::low::{self, Y};\n"),
            File::planted("src/high/deep.rs", high),
        ]
    }

    fn texts(files: &[File], upwards: &[(&str, &str, &str)]) -> Vec<String> {
        check(files, TABLE, upwards).iter().map(ToString::to_string).collect()
    }

    const SOUND: &str = "use crate::{low, middle::{a::B, C}};\n";

    #[test]
    fn downwards_is_allowed() {
        assert_eq!(texts(&tree("", SOUND), &[]), [""; 0]);
    }

    #[test]
    fn an_arrow_upwards_is_found_and_can_be_excused_once() {
        let files = tree("// x\nfn f() { crate::high::deep::g() }\n", SOUND);
        let found = texts(&files, &[]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("src/low.rs:2: low imports high, which lies above"), "{found:?}");
        assert_eq!(texts(&files, &[("low", "high", "planted")]), [""; 0]);
        let two = [("low", "high", "planted"), ("low", "middle", "planted")];
        assert_eq!(texts(&files, &two).len(), 2, "one that is not needed, and one too many");
    }

    #[test]
    fn an_arrow_that_the_table_does_not_know_is_found_and_one_that_is_gone() {
        let files = tree("", "use crate::low;\nuse crate::other;\n");
        let found = texts(&files, &[]).join("\n");
        assert!(found.contains("src/high/deep.rs:2: other has no line"), "{found}");
        assert!(found.contains("high does not import middle any more"), "{found}");
    }

    #[test]
    fn imports_of_unit_tests_and_comments_do_not_count() {
        let low = "// crate::high\n#[cfg(test)]\nmod tests {\n    use crate::high;\n}\n";
        assert_eq!(texts(&tree(low, SOUND), &[]), [""; 0]);
    }

    #[test]
    fn a_circle_is_found() {
        let file = |name: &str, text| File::planted(&format!("crates/core/src/{name}"), text);
        let mut files = vec![
            file("lib.rs", "pub mod p;"),
            file("p/mod.rs", "pub mod a;\npub struct D;\n"),
            file("p/a.rs", "use super::{D, b::{self, B}};\n"),
            file("p/b.rs", "use crate::p::D;\n"),
        ];
        assert_eq!(check_circles(&files), []);
        files[3].text.push_str("fn f() { super::a::g() }\n");
        let found: Vec<String> = check_circles(&files).into_iter().map(|finding| finding.path).collect();
        assert_eq!(found, ["crates/core/src/p/a.rs", "crates/core/src/p/b.rs"]);
    }
}

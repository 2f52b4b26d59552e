//! Names in a column of limited width, no two of them alike.

use ratatui::text::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The directory that all of the paths are in.
pub(super) fn common_directory<'a>(mut paths: impl Iterator<Item = &'a Path>) -> PathBuf {
    let mut common = paths.next().and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
    for path in paths {
        while !path.parent().is_some_and(|parent| parent.starts_with(&common)) {
            if !common.pop() {
                return PathBuf::new();
            }
        }
    }
    common
}

/// The names, each at most so wide: shortened in the middle, where they differ least, and numbered
/// where that leaves two of them alike.
pub(super) fn fit(names: &[String], width: usize) -> Vec<String> {
    let mut fitted: Vec<String> = names.iter().map(|name| shorten(name, width, width / 3)).collect();
    for head in [width * 2 / 3, width / 6, width * 5 / 6, 0] {
        let alike = alike(&fitted);
        let others: BTreeSet<String> = fitted.iter().filter(|name| !alike.contains(*name)).cloned().collect();
        let again: Vec<String> = names.iter().map(|name| shorten(name, width, head)).collect();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, _) in again.iter().zip(&fitted).filter(|(_, old)| alike.contains(*old)) {
            *seen.entry(name).or_default() += 1;
        }
        for (new, old) in again.iter().zip(&mut fitted) {
            if alike.contains(old) && seen.get(new.as_str()) == Some(&1) && !others.contains(new) {
                old.clone_from(new);
            }
        }
    }
    number(fitted, width)
}

/// The names that occur more than once.
fn alike(names: &[String]) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| !seen.insert(*name)).cloned().collect()
}

/// Gives those that are still alike a number, in their order.
fn number(names: Vec<String>, width: usize) -> Vec<String> {
    let alike = alike(&names);
    let mut taken: BTreeSet<String> = names.iter().filter(|name| !alike.contains(*name)).cloned().collect();
    let mut name_it = |name: String| {
        if !alike.contains(&name) || taken.insert(name.clone()) {
            return name;
        }
        let candidates = (2_u64..).map(|n| {
            let mark = format!("~{n}");
            shorten(&name, width.saturating_sub(mark.len()), width) + &mark
        });
        let free = candidates.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
        taken.insert(free.clone());
        free
    };
    names.into_iter().map(&mut name_it).collect()
}

/// At most so wide, of which the beginning takes up to `head`, the end what is left.
fn shorten(name: &str, width: usize, head: usize) -> String {
    if columns(name) <= width {
        return name.to_owned();
    }
    let room = width.saturating_sub(1);
    let head = take(name.chars(), head.min(room));
    let tail = take(name.chars().rev(), room - columns(&head));
    format!("{head}…{}", tail.chars().rev().collect::<String>())
}

/// As many of the characters as have room.
fn take(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut taken = String::new();
    for c in chars {
        taken.push(c);
        if columns(&taken) > room {
            taken.pop();
            break;
        }
    }
    taken
}

/// How wide a text is on the screen.
fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted(names: &[&str], width: usize) -> Vec<String> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let fitted = fit(&names, width);
        assert!(fitted.iter().all(|name| columns(name) <= width), "{fitted:?}");
        assert!(alike(&fitted).is_empty(), "{fitted:?}");
        fitted
    }

    #[test]
    fn the_directory_of_all_is_the_longest_that_all_are_in() {
        let common = |paths: &[&str]| common_directory(paths.iter().map(Path::new));
        assert_eq!(common(&["/dev/shm/a", "/dev/shm/b"]), Path::new("/dev/shm"));
        assert_eq!(common(&["/dev/shm/ab/a", "/dev/shm/a/b"]), Path::new("/dev/shm"));
        assert_eq!(common(&["/dev/shm/a", "b"]), Path::new(""));
        assert_eq!(common(&["a/b", "a"]), Path::new(""));
        assert_eq!(common(&[]), Path::new(""));
    }

    #[test]
    fn no_two_names_are_alike_wherever_they_differ() {
        assert_eq!(fitted(&["short", "market-data-of-today"], 10), ["short", "mar…-today"]);
        for at in 0..40 {
            let mut other = "x".repeat(40);
            other.replace_range(at..=at, "y");
            fitted(&[&"x".repeat(40), &other], 12);
        }
        let many: Vec<String> = (0..200).map(|n| format!("{0}-{n:03}-{0}", "market".repeat(5))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for width in 6..40 {
            fitted(&many, width);
        }
        fitted(&["same", "same", "same~2"], 6);
        fitted(&[&"価格".repeat(20), &"価格".repeat(21)], 9);
    }
}

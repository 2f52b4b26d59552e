//! Each script of `findings` says at its top what it shows, shows it, and has a row in the folder's
//! document.

use crate::Finding;
use crate::source::File;

/// The document with a row for each script.
pub const TABLE: &str = "findings/README.md";

/// The parts of the comment at a script's top, in this order.
const PARTS: [&str; 6] = ["Finding", "Version", "Source", "Behaviour", "Seen", "For users"];

/// Finds scripts without a row, without a part of their comment, or with a line under `Seen` that
/// no `expect` of the script has.
#[must_use]
pub fn check(document: &File, scripts: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if scripts.is_empty() {
        findings.push(Finding::new(&document.path, 0, "no scripts"));
    }
    for script in scripts {
        let mut found = |line, text: String| findings.push(Finding::new(&script.path, line, text));
        let name = script.path.rsplit('/').next().unwrap_or_default();
        let rows = document.text.lines().filter(|line| line.starts_with(&format!("| [{name}]({name})")));
        if rows.count() != 1 {
            found(0, format!("{TABLE} has not one row for it"));
        }
        let mut top = script.text.lines().zip(1..).take_while(|(line, _)| line.starts_with('#'));
        for part in PARTS {
            if !top.any(|(line, _)| line.starts_with(&format!("# {part}:"))) {
                found(0, format!("its top has no `{part}:` here; the parts are {PARTS:?}"));
            }
        }
        for (seen, number) in seen(&script.text) {
            let (what, value) = seen.split_once(": ").unwrap_or((seen, ""));
            let quoted = |text: &str| {
                script.text.contains(&format!("expect '{text}' "))
                    || script.text.contains(&format!("expect {text} "))
            };
            if !quoted(what) {
                found(number, format!("no `expect '{what}'` shows: {value}"));
            }
        }
    }
    findings
}

/// The lines under `Seen`: indented, one for each `expect`.
fn seen(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let lines = text.lines().zip(1..).skip_while(|(line, _)| !line.starts_with("# Seen:")).skip(1);
    lines.map_while(|(line, number)| Some((line.strip_prefix("#   ")?, number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: &str = "#!/bin/sh\n# Finding: f\n# Version: 1\n# Source: s\n# Behaviour: b\n# Seen:\n#   size: 3\n# For users: u\n";

    fn found(text: &str) -> Vec<String> {
        let document = File::planted("findings/README.md", "| [a.sh](a.sh) | b |\n");
        check(&document, &[File::planted("findings/a.sh", text)]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_script_without_its_row_its_parts_or_its_expectation_is_found() {
        assert_eq!(found(&format!("{TOP}expect size 3 \"$(size)\"\n")), [""; 0]);
        assert_eq!(found(&format!("{TOP}expect 'size' 3 3\n")), [""; 0]);
        assert_eq!(found(TOP), ["findings/a.sh:7: no `expect 'size'` shows: 3"]);
        let without = found(&TOP.replace("Source", "Link"));
        assert!(without.len() > 1 && without[0].contains("no `Source:` here"), "{without:?}");
        let document = File::planted("findings/README.md", "| [b.sh](b.sh) | b |\n");
        assert_eq!(check(&document, &[]).len(), 1);
        let script = File::planted("findings/a.sh", &format!("{TOP}expect size 3 3\n"));
        assert_eq!(check(&document, &[script]).len(), 1);
    }
}

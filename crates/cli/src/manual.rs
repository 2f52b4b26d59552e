//! The manual: every verb's help on one page.

use clap::Command;
use clap_mangen::Man;
use std::fmt::Write as _;
use std::io;

/// The page in roff, of a command and all its verbs.
pub(crate) fn page(mut command: Command) -> io::Result<String> {
    // Before `build`, a verb does not know its parent command.
    command.build();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    page.push_str(".SH VERBS\n");
    for verb in verbs(&command) {
        describe(verb, &mut page)?;
    }
    page.push_str(".SH EXIT STATUS\n");
    page.push_str(&extra(&command));
    Ok(page)
}

fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
}

/// One verb under a heading of its own, and those that it has in turn.
fn describe(verb: &Command, page: &mut String) -> io::Result<()> {
    let man = Man::new(verb.clone().mut_arg("help", |help| help.hide(true)));
    let mut text = Vec::new();
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let _ = writeln!(page, ".SS \"{}\"", verb.get_bin_name().unwrap_or(verb.get_name()));
    // How to write an apostrophe was said at the top.
    let is_preamble = |line: &&str| line.starts_with(".ie ") || line.starts_with(".el ");
    for line in String::from_utf8_lossy(&text).lines().filter(|line| !is_preamble(line)) {
        // A section of a verb's own page is a paragraph here.
        let line = if line.starts_with(".SH ") { ".PP" } else { line };
        let _ = writeln!(page, "{line}");
    }
    page.push_str(".PP\n");
    page.push_str(&extra(verb));
    verbs(verb).try_for_each(|verb| describe(verb, page))
}

/// The text behind the options: indented lines unchanged, other lines as paragraphs.
fn extra(command: &Command) -> String {
    let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let (mut roff, mut as_is) = (String::new(), false);
    for line in text.lines() {
        match (as_is, line.starts_with("  ")) {
            (false, true) => roff.push_str(".nf\n"),
            (true, false) => roff.push_str(".fi\n"),
            _ => {}
        }
        as_is = line.starts_with("  ");
        if line.is_empty() {
            roff.push_str(".PP\n");
        } else {
            // Neither a request nor an escape, and a hyphen that can be copied.
            let _ = writeln!(roff, "\\&{}", line.replace('\\', "\\e").replace('-', "\\-"));
        }
    }
    if as_is {
        roff.push_str(".fi\n");
    }
    roff
}

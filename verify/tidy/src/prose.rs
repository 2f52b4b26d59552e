//! Sentences have an actor with a name: how often comments and documents say "who" instead, and how
//! long lines are.
//!
//! Code, code blocks and tables are left out. A sentence begins where a paragraph begins, or behind
//! a full stop, a question mark or an exclamation mark.

use crate::Finding;
use crate::source::File;

/// The most columns that a line with a comment may have.
pub const COLUMNS: usize = 100;

/// Figures of some prose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// All words.
    pub words: usize,
    /// Those that are who, whoever, whom or whose.
    pub who: usize,
    /// Sentences that begin with who, what or a kin of them.
    pub begins: usize,
    /// Lines with a comment that are too long.
    pub long: usize,
}

/// How much of it is allowed: per thousand words, and lines.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// Words that are who, whoever, whom or whose, per thousand.
    pub who: f64,
    /// Sentences that begin with who, what or a kin of them, per thousand words.
    pub begins: f64,
    /// Lines with a comment that are too long.
    pub long: usize,
}

impl Figures {
    fn per_thousand(self, count: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "counts of words")]
        let (count, words) = (count as f64, self.words.max(1) as f64);
        1000.0 * count / words
    }

    /// Who, whoever, whom and whose per thousand words.
    #[must_use]
    pub fn who_per_thousand(self) -> f64 {
        self.per_thousand(self.who)
    }

    /// Sentences that begin with who or what, per thousand words.
    #[must_use]
    pub fn begins_per_thousand(self) -> f64 {
        self.per_thousand(self.begins)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Figures) -> Figures {
        Figures {
            words: self.words + other.words,
            who: self.who + other.who,
            begins: self.begins + other.begins,
            long: self.long + other.long,
        }
    }
}

/// The figures of the comments of a Rust file.
#[must_use]
pub fn of_comments(file: &File) -> Figures {
    let mut paragraphs = Paragraphs::default();
    let mut long = 0;
    for line in file.lines() {
        let text = file.text.lines().nth(line.number - 1).unwrap_or_default();
        let is_comment = !line.comment.is_empty();
        long += usize::from(is_comment && !line.comment.starts_with('|') && text.chars().count() > COLUMNS);
        if is_comment { paragraphs.line(line.comment) } else { paragraphs.end() }
    }
    Figures { long, ..paragraphs.figures() }
}

/// The figures of a document.
#[must_use]
pub fn of_document(file: &File) -> Figures {
    let mut paragraphs = Paragraphs::default();
    file.text.lines().for_each(|line| paragraphs.line(line));
    paragraphs.figures()
}

/// Checks figures against a ceiling; the files with most of it are named.
#[must_use]
pub fn check(what: &str, figures: &[(String, Figures)], ceiling: Ceiling) -> Vec<Finding> {
    let all = figures.iter().fold(Figures::default(), |all, (_, figures)| all.and(*figures));
    let mut findings = Vec::new();
    let mut compare = |name: &str, is: f64, most: f64, count: fn(&Figures) -> usize| {
        if is > most {
            let mut worst: Vec<(usize, &str)> =
                figures.iter().map(|(path, figures)| (count(figures), path.as_str())).collect();
            worst.sort_by(|a, b| b.cmp(a));
            worst.truncate(5);
            let text = format!("{name}: {is:.2}, and {most} is the most; most of it in {worst:?}");
            findings.push(Finding::new(what, 0, text));
        }
    };
    compare("who, whoever, whom, whose per thousand words", all.who_per_thousand(), ceiling.who, |f| f.who);
    let begins = "sentences that begin with who or what, per thousand words";
    compare(begins, all.begins_per_thousand(), ceiling.begins, |f| f.begins);
    #[expect(clippy::cast_precision_loss, reason = "a count of lines")]
    let (long, most) = (all.long as f64, ceiling.long as f64);
    compare("lines with a comment that are too long", long, most, |f| f.long);
    findings
}

/// Lines of prose, gathered into paragraphs.
#[derive(Debug, Default)]
struct Paragraphs {
    done: Vec<String>,
    in_code: bool,
    open: bool,
}

impl Paragraphs {
    fn line(&mut self, line: &str) {
        let text = line.trim();
        if text.starts_with("```") {
            self.in_code = !self.in_code;
            self.end();
            return;
        }
        if self.in_code || text.is_empty() || text.starts_with('|') || text.starts_with('<') {
            self.end();
            return;
        }
        let is_item = text.starts_with(['#', '*', '-']) || text.split('.').next().is_some_and(is_number);
        if !self.open || is_item {
            self.done.push(String::new());
            self.open = true;
        }
        let paragraph = self.done.last_mut().expect("one was pushed");
        paragraph.push(' ');
        paragraph.push_str(text.trim_start_matches(['#', '*', '-', ' ']));
    }

    fn end(&mut self) {
        self.open = false;
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for paragraph in &self.done {
            let mut begins = true;
            for word in paragraph.split_whitespace() {
                let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
                if bare.is_empty() {
                    continue;
                }
                figures.words += 1;
                figures.who += usize::from(["who", "whoever", "whom", "whose"].contains(&bare.as_str()));
                let vague = ["who", "whoever", "whom", "whose", "what", "whatever"].contains(&bare.as_str());
                figures.begins += usize::from(begins && vague && !paragraph.trim_end().ends_with('?'));
                begins = word.trim_end_matches([')', '"', '*', '`']).ends_with(['.', '!', '?']);
            }
        }
        figures
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (usize, usize, usize) {
        let Figures { words, who, begins, .. } = of_document(&File::planted("a.md", text));
        (words, who, begins)
    }

    #[test]
    fn vague_actors_are_counted_once_each() {
        assert_eq!(of("The reader sleeps. Whoever wakes it knows what\nit does.\n"), (10, 1, 1));
        assert_eq!(of("Tell us who did it: what nobody knows.\n\nWhose is it."), (11, 2, 1));
        assert_eq!(of("# What holds\n\n* Who waits\n* who sleeps\n"), (6, 2, 3));
    }

    #[test]
    fn code_and_tables_are_left_out() {
        assert_eq!(of("| who | what |\n|---|---|\n\n```sh\nwho am i\n```\nyes\n"), (1, 0, 0));
    }

    #[test]
    fn comments_are_read_and_code_is_not() {
        let long = format!("// {}\n", "word ".repeat(25));
        let file = File::planted("a.rs", &format!("/// Who waits.\nlet who = 1; // what\n{long}"));
        let figures = of_comments(&file);
        assert_eq!(figures, Figures { words: 28, who: 1, begins: 2, long: 1 });
    }

    #[test]
    fn above_the_ceiling_the_worst_files_are_named() {
        let figures = [("good.md".to_owned(), "a word"), ("bad.md".to_owned(), "who is who. What is it")]
            .map(|(path, text)| (path, of_document(&File::planted("", text))));
        assert_eq!(check("docs", &figures, Ceiling { who: 300.0, begins: 250.0, long: 0 }), []);
        let found = check("docs", &figures, Ceiling { who: 1.5, begins: 0.5, long: 0 });
        assert_eq!(found.len(), 2);
        assert!(found[0].text.contains("[(2, \"bad.md\"), (0, \"good.md\")]"), "{found:?}");
    }
}

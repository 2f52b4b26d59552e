//! Prints the figures of the prose, the files with most of it first.

use tidy::prose::{Figures, of_comments, of_document};
use tidy::source::files;

fn main() {
    let comments = files(&["src", "crates/core/src"], &[".rs"]);
    let documents = files(tidy::DOCUMENTS, &[".md"]);
    let table = |title: &str, mut figures: Vec<(String, Figures)>| {
        let all = figures.iter().fold(Figures::default(), |all, (_, figures)| all.and(*figures));
        figures.sort_by_key(|(_, figures)| std::cmp::Reverse(figures.who + figures.begins));
        println!("{title:50} {:>7} {:>6} {:>7} {:>6}", "words", "who", "begins", "long");
        figures.insert(0, ("all".to_owned(), all));
        for (path, figures) in figures {
            let (who, begins) = (figures.who_per_thousand(), figures.begins_per_thousand());
            println!("{path:50} {:>7} {who:>6.2} {begins:>7.2} {:>6}", figures.words, figures.long);
        }
        println!();
    };
    let of = |figures: fn(&_) -> Figures| move |file| (tidy::source::File::clone(file).path, figures(file));
    table("comments", comments.iter().map(of(of_comments)).collect());
    table("documents", documents.iter().map(of(of_document)).collect());
}

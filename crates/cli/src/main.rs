//! The command line of slipring: rings from a shell.

mod archive;
mod child;
mod duet;
mod exit;
mod exporter;
mod exposition;
mod facts;
mod format;
mod manual;
mod new_file;
mod output;
mod pages;
mod parse;
mod place;
mod progress;
mod signals;
mod source;
mod splitter;
mod typed;
mod verbs;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;
use verbs::{
    bench, check, consumers, create, dead, doctor, dump, events, group, history, journal, latency, ls,
    metrics, peek, publish, restore, rm, stat, subscribe, top, work,
};

/// Message queues that are files: make them, write to them, read them, look into them
#[derive(Debug, Parser)]
#[command(name = "slipring", version, after_long_help = exit::CODES)]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Create(create::Create),
    Rm(rm::Rm),
    Ls(ls::Ls),
    Stat(stat::Stat),
    Events(events::Events),
    Consumers(consumers::Consumers),
    Group(group::GroupArgs),
    Pub(publish::Publish),
    Sub(subscribe::Subscribe),
    Work(work::Work),
    Peek(peek::Peek),
    Journal(journal::JournalArgs),
    History(history::HistoryArgs),
    Dead(dead::Dead),
    Dump(dump::Dump),
    Restore(restore::Restore),
    Top(top::Top),
    Check(check::Check),
    Metrics(metrics::Metrics),
    Bench(bench::Bench),
    Latency(latency::Latency),
    Doctor(doctor::Doctor),
    /// Prints completions of this command for a shell
    #[command(
        after_long_help = "Example:\n  slipring completions bash > ~/.local/share/bash-completion/completions/slipring"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual, with every verb
    #[command(after_long_help = "Example:\n  slipring man | man -l -")]
    Man,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Err(error) = signals::catch() {
        output::note(&format!("signals cannot be caught: {error}"));
    }
    if let Err(error) = slipring::handle_sigbus() {
        output::note(&format!("a ring that is cut short will end this process: {error}"));
    }
    exit::report(match &options.verb {
        Verb::Create(args) => create::run(args),
        Verb::Rm(args) => rm::run(args),
        Verb::Ls(args) => ls::run(args),
        Verb::Stat(args) => stat::run(args),
        Verb::Events(args) => events::run(args),
        Verb::Consumers(args) => consumers::run(args),
        Verb::Group(args) => group::run(args),
        Verb::Pub(args) => publish::run(args),
        Verb::Sub(args) => subscribe::run(args),
        Verb::Work(args) => work::run(args),
        Verb::Peek(args) => peek::run(args),
        Verb::Journal(args) => journal::run(args),
        Verb::History(args) => history::run(args),
        Verb::Dead(args) => dead::run(args),
        Verb::Dump(args) => dump::run(args),
        Verb::Restore(args) => restore::run(args),
        Verb::Top(args) => top::run(args),
        Verb::Check(args) => check::run(args),
        Verb::Metrics(args) => metrics::run(args),
        Verb::Bench(args) => bench::run(args),
        Verb::Latency(args) => latency::run(args),
        Verb::Doctor(args) => doctor::run(args),
        Verb::Completions { shell } => completions(*shell),
        Verb::Man => man(),
    })
}

fn completions(shell: clap_complete::Shell) -> exit::Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "slipring", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}

fn man() -> exit::Outcome {
    output::print(&manual::page(Options::command())?)
}

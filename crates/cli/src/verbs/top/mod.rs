//! `top`: rings and their readers, live.

mod board;
mod names;
mod screen;
mod view;

use crate::exit::{Failure, Outcome};
use crate::output;
use crate::parse;
use crate::signals;
use board::Board;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use view::View;

/// Shows rings and their readers on the whole screen, live: how full, how fast, how far behind
///
/// Reads only: no ring is written or held up.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Keys:
  q        ends            s, S     sorts by the next, the previous column
  /        filters         r        turns the order round
  space    stops the clock ↑ ↓ PgUp PgDn Home End   scroll
  ?        help

Examples:
  slipring top
  slipring top /dev/shm/orders /dev/shm/news
  slipring top --once --interval 5s | mail -s rings me@example.org")]
pub(crate) struct Top {
    /// Rings, or directories with rings
    #[arg(default_value = "/dev/shm")]
    paths: Vec<PathBuf>,
    /// How often it looks, and over how long a rate is taken
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse::duration)]
    interval: Duration,
    /// Looks twice, prints the rates in between as text, and ends
    #[arg(long)]
    once: bool,
    /// With --once: an array of objects
    #[arg(long, requires = "once")]
    json: bool,
}

pub(crate) fn run(args: &Top) -> Outcome {
    if args.interval.is_zero() {
        return Err(Failure::usage("--interval 0s: no rate can be taken over no time"));
    }
    let mut board = Board::new(args.paths.clone());
    board.look(Instant::now())?;
    if args.once {
        if signals::sleep_until(Instant::now() + args.interval) {
            board.look(Instant::now())?;
        }
        match args.json {
            true => output::print_json(&board.json())?,
            false => output::print(&View::default().text(&board))?,
        }
        let faults: Vec<String> = board.faults().map(|path| path.display().to_string()).collect();
        return match faults.as_slice() {
            [] => Ok(()),
            some => Err(Failure::error(format!("cannot be opened: {}", some.join(" ")))),
        };
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::usage("this is not a terminal; --once prints text"));
    }
    screen::run(&mut board, args.interval)
}

//! The whole screen, and the keys.

use super::board::Board;
use super::view::{HEADINGS, Role, Row, View, is_number};
use crate::exit::{Failure, Outcome};
use crate::output;
use crate::signals;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Flex, Layout};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Cell, Clear, Paragraph, Table, TableState};
use ratatui::{DefaultTerminal, Frame};
use std::time::{Duration, Instant};

const HELP: &str = "\
 q  Ctrl-C      end
 s  S           sort by the next, the previous column
 r              turn the order round
 /              show only what has this text in its name
 space          stop the clock, let it go on
 ↑ ↓ PgUp PgDn  scroll; Home, End: to the ends
 ?              this; any key closes it";

/// How wide the names of rings and readers are at least.
const NAME: u16 = 20;
/// How wide the other columns are, in the order of the headings.
const WIDTHS: [u16; 9] = [6, 8, 8, 9, 6, 8, 17, 11, 16];

/// How wide the names are, and how many columns stand beside them: the first ones whole rather than
/// all of them cut, and the names get what is left.
fn columns(width: u16) -> (u16, usize) {
    let (mut beside, mut count) = (0, 0);
    for column in WIDTHS {
        if NAME + beside + column + 1 > width {
            break;
        }
        beside += column + 1;
        count += 1;
    }
    (width - beside.min(width), count)
}

/// The parts of the screen besides the rings.
#[derive(Debug, Default)]
struct Screen {
    view: View,
    scroll: TableState,
    /// The filter is being typed.
    typing: bool,
    helping: bool,
    paused: bool,
    over: bool,
}

pub(super) fn run(board: &mut Board, interval: Duration) -> Outcome {
    // Also if this panics: ratatui sees to it.
    let mut terminal = ratatui::try_init()?;
    let outcome = go(board, interval, &mut terminal);
    ratatui::try_restore()?;
    outcome
}

fn go(board: &mut Board, interval: Duration, terminal: &mut DefaultTerminal) -> Outcome {
    let mut screen = Screen::default();
    screen.scroll.select(Some(0));
    let mut next = Instant::now() + interval;
    while !screen.over && !signals::interrupted() {
        let (name, _) = columns(terminal.size()?.width);
        let rows = screen.view.rows(board, Some(name.into()));
        terminal.draw(|frame| screen.draw(frame, board, &rows))?;
        let wait = next.saturating_duration_since(Instant::now()).min(signals::SLICE);
        if !is_there(wait)? {
            break;
        }
        while event::poll(Duration::ZERO)? {
            if let Event::Key(key) = event::read()? {
                screen.press(key, rows.len());
            }
        }
        if Instant::now() >= next {
            next = Instant::now() + interval;
            if !screen.paused {
                board.look(Instant::now())?;
            }
        }
    }
    Ok(())
}

/// Waits for a key, or so long. False if the terminal has gone: crossterm would read its end for
/// ever.
fn is_there(wait: Duration) -> Result<bool, Failure> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
    let stdin = rustix::stdio::stdin();
    let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
    match poll(&mut waiting, Some(&timeout)) {
        Ok(_) => Ok(!waiting[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

impl Screen {
    fn press(&mut self, key: KeyEvent, rows: usize) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            self.over = true;
        } else if self.helping {
            self.helping = false;
        } else if self.typing {
            self.type_filter(key.code);
        } else {
            self.command(key.code, rows);
        }
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.view.filter.clear();
            }
            KeyCode::Backspace => drop(self.view.filter.pop()),
            KeyCode::Char(c) => self.view.filter.push(c),
            _ => {}
        }
    }

    fn command(&mut self, key: KeyCode, rows: usize) {
        let at = self.scroll.selected().unwrap_or(0);
        let mut go_to = |row: usize| self.scroll.select(Some(row.min(rows.saturating_sub(1))));
        match key {
            KeyCode::Char('q') => self.over = true,
            KeyCode::Char('s') => self.view.order = self.view.order.next(),
            KeyCode::Char('S') => self.view.order = self.view.order.previous(),
            KeyCode::Char('r') => self.view.reversed ^= true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Char(' ') => self.paused ^= true,
            KeyCode::Char('?' | 'h') => self.helping = true,
            KeyCode::Esc => self.view.filter.clear(),
            KeyCode::Up | KeyCode::Char('k') => go_to(at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => go_to(at + 1),
            KeyCode::PageUp => go_to(at.saturating_sub(10)),
            KeyCode::PageDown => go_to(at + 10),
            KeyCode::Home => go_to(0),
            KeyCode::End => go_to(rows),
            _ => {}
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>, board: &Board, rows: &[Row]) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
                .areas(frame.area());
        let common = board.common_directory().display().to_string();
        let places: Vec<String> = match common.as_str() {
            "" => board.places().map(|place| place.display().to_string()).collect(),
            _ => vec![common],
        };
        let title = format!(
            "slipring top  {}  {}, by {}{}{}",
            places.join(" "),
            output::count(board.tracks().count() as u64, "ring"),
            self.view.order.name(),
            if self.view.reversed { ", turned round" } else { "" },
            if self.paused { "  PAUSED" } else { "" },
        );
        frame.render_widget(Line::from(title).bold(), head);
        frame.render_widget(self.foot(), foot);
        if rows.is_empty() {
            let text =
                if self.view.filter.is_empty() { "no rings here" } else { "no ring has this in its name" };
            return frame.render_widget(Paragraph::new(text).dim(), body);
        }
        let (name, beside) = columns(body.width);
        let columns = beside + 1;
        let header =
            ratatui::widgets::Row::new(HEADINGS[..columns].iter().enumerate().map(|(n, text)| cell(n, text)))
                .style(Style::new().add_modifier(Modifier::REVERSED));
        let lines = rows.iter().map(|(role, cells)| {
            let cells = cells[..columns].iter().enumerate().map(|(n, text)| cell(n, text));
            ratatui::widgets::Row::new(cells).style(match role {
                Role::Ring => Style::new().bold(),
                Role::FullRing => Style::new().bold().yellow(),
                Role::Reader => Style::new(),
                Role::AwayReader => Style::new().red(),
            })
        });
        let widths = std::iter::once(name).chain(WIDTHS).take(columns).map(Constraint::Length);
        let table = Table::new(lines, widths).header(header).row_highlight_style(Style::new().underlined());
        frame.render_stateful_widget(table, body, &mut self.scroll);
        if self.helping {
            let [area] = Layout::horizontal([Constraint::Length(62)]).flex(Flex::Center).areas(body);
            let [area] = Layout::vertical([Constraint::Length(9)]).flex(Flex::Center).areas(area);
            frame.render_widget(Clear, area);
            frame
                .render_widget(Paragraph::new(Text::from(HELP)).block(Block::bordered().title("keys")), area);
        }
    }

    fn foot(&self) -> Line<'_> {
        match (self.typing, self.view.filter.as_str()) {
            (true, filter) => Line::from(format!("show only: {filter}█   Enter keeps it, Esc drops it")),
            (false, "") => Line::from("q end  s sort  r turn round  / filter  space pause  ? help").dim(),
            (false, filter) => Line::from(format!("only {filter:?}; Esc shows all")).dim(),
        }
    }
}

/// Names and texts are set left, numbers right.
fn cell(column: usize, text: &str) -> Cell<'_> {
    let line = Line::from(text);
    Cell::from(if is_number(column) { line.right_aligned() } else { line.left_aligned() })
}

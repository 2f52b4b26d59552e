//! `top`, in a terminal.

mod shell;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use shell::Place;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Long enough for any machine; nothing waits for it to pass.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program in a terminal, and what stands on its screen.
struct Terminal {
    screen: vt100::Parser,
    output: Receiver<Vec<u8>>,
    keys: Box<dyn Write + Send>,
    child: Box<dyn Child + Send + Sync>,
    _pty: Box<dyn MasterPty + Send>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that fails leaves nothing behind.
        drop(self.child.kill());
    }
}

impl Terminal {
    fn run(place: &Place, args: &[&str], (rows, cols): (u16, u16)) -> Terminal {
        let size = PtySize { rows, cols, ..PtySize::default() };
        let pty = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_slipring"));
        command.args(args);
        command.cwd(place.file(""));
        command.env("TERM", "xterm-256color");
        let child = pty.slave.spawn_command(command).unwrap();
        let (mut reader, keys) = (pty.master.try_clone_reader().unwrap(), pty.master.take_writer().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..len].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { screen: vt100::Parser::new(rows, cols, 0), output, keys, child, _pty: pty.master }
    }

    /// Waits until the screen is like that.
    fn until(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.screen.screen().contents();
            if is_there(&text) {
                return text;
            }
            let more = self.output.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            self.screen.process(&more.unwrap_or_else(|_| panic!("never came: {what}; the screen:\n{text}")));
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code; the screen is what it was before.
    fn end(mut self) -> u32 {
        let code = self.child.wait().unwrap().exit_code();
        while let Ok(more) = self.output.recv_timeout(PATIENCE) {
            self.screen.process(&more);
        }
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "the terminal was not restored");
        code
    }
}

fn with_rings() -> Place {
    let place = Place::new();
    place.good(
        "slipring create orders -b 48 -c 64 --group sms --durable audit && seq 60 | slipring pub orders",
    );
    place.good("slipring create news -b 48 -c 1024 && seq 5 | slipring pub news");
    place.good("slipring work orders -g sms -c 10");
    place
}

#[test]
fn rings_are_shown_sorted_filtered_and_followed() {
    let place = with_rings();
    let mut top = Terminal::run(&place, &["top", ".", "--interval", "20ms"], (20, 130));
    let before = |text: &str, a: &str, b: &str| text.find(a) < text.find(b);
    let text = top.until("both rings", |text| text.contains("\nnews ") && text.contains("\norders "));
    assert!(text.contains("2 rings, by name") && before(&text, "\nnews ", "\norders "), "{text}");
    assert!(text.contains("93.7%") && text.contains("audit") && text.contains("sms"), "{text}");
    top.press("s");
    top.until("the fullest first", |text| text.contains("by used") && before(text, "\norders ", "\nnews "));
    top.press("r");
    top.until("the order turned round", |text| {
        text.contains("turned round") && before(text, "\nnews ", "\norders ")
    });
    // `top` follows: messages, and a ring that comes and goes.
    place.good("slipring create later -b 48 -c 64 --durable archive; seq 7 | slipring pub later");
    top.until("the new ring", |text| text.contains("3 rings") && text.contains("archive"));
    place.good("slipring rm later");
    top.until("it is gone", |text| text.contains("2 rings") && !text.contains("later"));
    top.press("/sms\r");
    top.until("only the ring with this reader", |text| text.contains("orders") && !text.contains("news"));
    top.press("\x1b");
    top.until("all of them again", |text| text.contains("news"));
    top.press("?");
    top.until("help", |text| text.contains("stop the clock"));
    top.press("x ");
    top.until("a pause", |text| text.contains("PAUSED") && !text.contains("stop the clock"));
    top.press("q");
    assert_eq!(top.end(), 0);
}

/// The names in the first column.
fn names(text: &str) -> Vec<String> {
    let rows = text.lines().skip(2).filter(|line| !line.starts_with([' ', 'q']));
    rows.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

#[test]
fn at_eighty_columns_no_two_rings_are_called_alike() {
    let place = Place::new();
    let long = "market-data-feed-europe-frankfurt";
    place.good(&format!(
        "mkdir -p deep/{long} deep/other; for n in level-1 level-2; do
             slipring create deep/{long}/$n-quotes-of-the-day -b 8 -c 8
             slipring create deep/{long}-$n-of-the-exchange -b 8 -c 8
         done; slipring create deep/other/level-1-quotes-of-the-day -b 8 -c 8"
    ));
    let mut top = Terminal::run(&place, &["top", "deep", &format!("deep/{long}"), "deep/other"], (20, 80));
    let text = top.until("five rings", |text| names(text).len() == 5);
    let all: std::collections::HashSet<String> = names(&text).into_iter().collect();
    assert!(all.len() == 5 && !names(&text)[0].starts_with("deep"), "{text}");
    assert!(text.contains("IN FLIGHT") && text.contains("DEAD"), "{text}");
    top.press("q");
    assert_eq!(top.end(), 0);
}

#[test]
fn dead_letters_are_a_column_of_their_ring() {
    let place = with_rings();
    place.good("slipring work orders -g sms -c 3 --exec 'exit 65'");
    let mut top = Terminal::run(&place, &["top", "."], (20, 80));
    let row = |text: &str, name: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let text = top.until("three letters", |text| row(text, "orders ").get(5).is_some_and(|n| n == "3"));
    assert!(!text.contains("orders.dead") && !text.contains("redrive"), "{text}");
    top.press("q");
    assert_eq!(top.end(), 0);
    // A dead-letter ring is shown if it is asked for, or its ring has gone; it is no alarm that no
    // redrive runs.
    assert!(place.good("slipring top --once --interval 1ms orders.dead").contains("redrive"));
    place.good("mv orders elsewhere; mkdir lone; mv orders.dead lone");
    let mut top = Terminal::run(&place, &["top", "lone"], (20, 80));
    top.until("it alone", |text| text.contains("orders.dead") && text.contains("redrive"));
    let (rows, cols) = top.screen.screen().size();
    let cells = (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col)));
    let red = cells.filter(|at| {
        let cell = top.screen.screen().cell(at.0, at.1);
        cell.is_some_and(|cell| cell.fgcolor() == vt100::Color::Idx(1))
    });
    assert_eq!(red.count(), 0);
}

#[test]
fn signals_and_narrow_screens_are_survived() {
    let place = with_rings();
    let mut top = Terminal::run(&place, &["top", "orders"], (5, 30));
    top.until("as much as there is room for", |text| text.contains("orders") && text.contains("USED"));
    let pid = top.child.process_id().unwrap();
    place.good(&format!("kill -TERM {pid}"));
    assert_eq!(top.end(), 0);
    let mut top = Terminal::run(&place, &["top", "absent"], (24, 120));
    top.until("a ring that is not there", |text| {
        text.contains("absent") && text.contains("cannot be opened")
    });
    top.press("\x03");
    assert_eq!(top.end(), 0);
}

#[test]
fn once_is_for_pipes() {
    let place = with_rings();
    let text = place.good("slipring top orders --once --interval 1ms");
    assert!(text.starts_with("RING") && text.contains("93.7%") && text.contains("audit"), "{text}");
    assert!(place.good("slipring top --once --json --interval 1ms .").contains("\"lag\":60"));
    let (code, error) = place.bad("slipring top --once --interval 1ms orders absent");
    assert!(code == 1 && error.contains("absent"), "{error}");
    let (code, error) = place.bad("slipring top . | cat");
    assert!(code == 2 && error.contains("--once"), "{error}");
    assert_eq!(place.bad("slipring top --interval 0s").0, 2);
}

#[test]
fn a_terminal_that_goes_away_ends_top() {
    let place = with_rings();
    let mut top = Terminal::run(&place, &["top", "orders"], (24, 120));
    top.until("the ring", |text| text.contains("orders"));
    // The kernel sends SIGHUP then. As this terminal has not gone, `top` puts it in order.
    place.good(&format!("kill -HUP {}", top.child.process_id().unwrap()));
    assert_eq!(top.end(), 0);
}

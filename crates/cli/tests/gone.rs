//! The fear: a producer goes on in a file that no reader finds any more, or a reader waits in one
//! that no producer finds, and says nothing.

mod shell;

use shell::Place;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Longer than any machine needs.
const LONG: Duration = Duration::from_secs(60);

/// A `slipring pub` that gets lines for as long as it takes them.
struct Publisher(Child);

impl Publisher {
    fn start(place: &Place, path: &str) -> Publisher {
        let mut child = Command::new(env!("CARGO_BIN_EXE_slipring"));
        child.args(["pub", path]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut publisher = Publisher(child.process_group(0).spawn().unwrap());
        publisher.line();
        let start = Instant::now();
        while !place.shell(&format!("slipring peek {path} 0")).status.success() {
            assert!(start.elapsed() < LONG, "the first line is published");
        }
        publisher
    }

    /// False once it takes no more.
    fn line(&mut self) -> bool {
        self.0.stdin.as_mut().unwrap().write_all(b"line\n").is_ok()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// How it ends if lines go on coming, and its error.
    fn end_of_the_line(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        while self.ended().is_none() {
            assert!(start.elapsed() < LONG, "it goes on");
            self.line();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.end_of_input()
    }

    /// How it ends if no line comes any more, and its error.
    fn end_of_input(mut self) -> (Option<i32>, String) {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// After `script`, a publisher that gets more lines ends with this error, and so does one that gets
/// none.
fn ends(script: &str, said: &str) {
    for more in [true, false] {
        let place = Place::new();
        place.good("slipring create $R -b 48 -c 1024 && cp $R old && slipring create other -b 48 -c 1024");
        let publisher = Publisher::start(&place, &place.ring());
        place.good(script);
        let (code, error) = if more { publisher.end_of_the_line() } else { publisher.end_of_input() };
        assert!(code == Some(1) && error.contains(said), "{script}, more lines: {more}: {code:?} {error}");
    }
}

#[test]
fn a_publisher_of_a_ring_that_was_removed_ends_with_an_error() {
    ends("rm $R", "was removed or replaced");
}

#[test]
fn a_publisher_of_a_ring_that_was_renamed_ends_with_an_error() {
    ends("mv $R elsewhere", "was removed or replaced");
    ends("mkdir d && mv $R d", "was removed or replaced");
}

#[test]
fn a_publisher_of_a_ring_that_was_replaced_ends_with_an_error() {
    ends("mv other $R", "was removed or replaced");
    ends("ln -f other $R", "was removed or replaced");
    ends("ln -sf other $R", "was removed or replaced");
    ends("rm $R && slipring create $R -b 48 -c 1024", "was removed or replaced");
    ends("mv $R elsewhere && mkdir $R", "was removed or replaced");
}

#[test]
fn a_publisher_of_a_ring_whose_name_is_another_file_of_the_same_content_ends_with_an_error() {
    ends("cp $R copy && mv copy $R", "was removed or replaced");
}

#[test]
fn a_publisher_of_a_ring_that_was_written_over_in_place_ends_with_an_error() {
    // Without cutting it short, as some tools that restore files do.
    ends("dd if=old of=$R conv=notrunc 2>/dev/null", "was removed or replaced");
    ends("dd if=other of=$R conv=notrunc 2>/dev/null", "was removed or replaced");
}

#[test]
fn a_publisher_of_a_ring_that_was_cut_short_ends_with_an_error() {
    for len in [0, 1, 4096, 8192, 20000] {
        ends(&format!("truncate -s {len} $R"), "was cut short");
    }
    // Only the last page, which no publisher touches.
    ends("truncate -s -4096 $R", "was cut short");
}

#[test]
fn a_publisher_of_a_ring_whose_filesystem_was_unmounted_or_covered_ends_with_an_error() {
    for gone in ["umount -l m", "mount -t tmpfs none m", "mount --bind other m/ring"] {
        let place = Place::new();
        let script = format!(
            "unshare -m bash -c '
               mkdir m && mount --make-rprivate / && mount -t tmpfs none m || exit 77
               slipring create m/ring -b 48 -c 64 && slipring create other -b 48 -c 64 && mkfifo lines
               slipring pub m/ring <lines 2>said & p=$!
               exec 3>lines; echo first >&3
               until slipring peek m/ring 0; do sleep .05; done
               {gone} || exit 76
               trap \"\" PIPE
               for i in $(seq 400); do kill -0 $p || break; echo more >&3; sleep .05; done 2>/dev/null
               exec 3>&-; wait $p'"
        );
        let output = place.shell(&script);
        if output.status.code() == Some(77) {
            return println!("not allowed to mount: nothing was tried");
        }
        let said = std::fs::read_to_string(place.file("said")).unwrap();
        assert!(
            output.status.code() == Some(1) && said.contains("was removed or replaced"),
            "{gone}: {output:?} {said}"
        );
    }
}

#[test]
fn a_publisher_of_a_ring_that_only_looks_different_goes_on() {
    // A second name, other permissions, other times, another current directory: it is the same
    // ring.
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 1024");
    let mut publisher = Publisher::start(&place, &place.ring());
    place.good("ln $R second && chmod 400 $R && touch -d 2001-01-01 $R && chmod 600 $R");
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        assert!(publisher.line() && publisher.ended().is_none());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(publisher.end_of_input().0, Some(0));
}

/// A verb that has had the first message of the ring and waits for another.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Waiting {
    fn start(place: &Place, verb: &str) -> Waiting {
        let create = |path: &str| format!("slipring create {path} -b 48 -c 64 -g g");
        // Two messages, and a copy of the time when there was one.
        place.good(&format!(
            "mkdir d && {} && {} && echo first | slipring pub d/ring && cp d/ring old && echo first | slipring pub d/ring",
            create("d/ring"),
            create("other")
        ));
        let mut child = Command::new("bash");
        child.args(["-c", &format!("exec slipring {verb} >got 2>said")]).stdin(Stdio::null());
        let bin = std::path::Path::new(env!("CARGO_BIN_EXE_slipring")).parent().unwrap();
        child.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
        let waiting = Waiting(child.current_dir(place.file("")).spawn().unwrap());
        let start = Instant::now();
        while std::fs::read_to_string(place.file("got")).unwrap_or_default() != "first\nfirst\n" {
            assert!(start.elapsed() < LONG, "{verb}: it reads");
            std::thread::sleep(Duration::from_millis(5));
        }
        waiting
    }

    fn end(&mut self, place: &Place, what: &str) -> (Option<i32>, String) {
        let start = Instant::now();
        let status = loop {
            match self.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(start.elapsed() < LONG, "{what}: it waits on"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        (status.code(), std::fs::read_to_string(place.file("said")).unwrap())
    }
}

/// Every verb that waits for messages ends with an error after this script, also if no message
/// comes.
fn ends_readers(script: &str) {
    for verb in [
        "sub d/ring",
        "sub d/ring --name durable",
        "sub d/ring --observe",
        "work d/ring -g g",
        "work d/ring -g g --exec 'cat; echo'",
    ] {
        let place = Place::new();
        let mut waiting = Waiting::start(&place, verb);
        place.good(script);
        let (code, error) = waiting.end(&place, &format!("{script}: {verb}"));
        let said = ["was removed or replaced", "was cut short", "lost its memory of the ring"];
        assert!(
            code == Some(1) && said.iter().any(|said| error.contains(said)),
            "{script}: {verb}: {code:?} {error}"
        );
    }
}

#[test]
fn a_reader_of_a_ring_that_went_from_its_path_ends_with_an_error() {
    for script in ["rm d/ring", "mv d/ring d/elsewhere", "rm -r d", "mv d e", "mv other d/ring"] {
        ends_readers(script);
    }
}

#[test]
fn a_reader_of_a_ring_that_was_written_over_in_place_ends_with_an_error() {
    for script in [
        "dd if=other of=d/ring conv=notrunc 2>/dev/null",
        "dd if=old of=d/ring conv=notrunc 2>/dev/null",
        "dd if=/dev/zero of=d/ring bs=4096 count=1 conv=notrunc 2>/dev/null",
        "cp other d/ring",
        "cp old d/ring",
    ] {
        ends_readers(script);
    }
}

#[test]
fn a_reader_of_a_ring_that_was_cut_or_punched_ends_with_an_error() {
    for script in [
        ": >d/ring",
        "truncate -s -4096 d/ring",
        "len=$(stat -c %s d/ring); : >d/ring; truncate -s $len d/ring",
        "fallocate -p -o 0 -l 8192 d/ring",
        "fallocate -p -o 0 -l $(stat -c %s d/ring) d/ring",
    ] {
        ends_readers(script);
    }
}

#[test]
fn a_publisher_that_waits_for_room_in_a_ring_that_is_gone_ends_with_an_error() {
    for script in ["rm $R", "cp other $R", "fallocate -p -o 0 -l 8192 $R", ": >$R", "mv other $R"] {
        let place = Place::new();
        place.good("slipring create $R -b 48 -c 1024 --durable away && slipring create other -b 48 -c 1024");
        place.good("seq 1024 | slipring pub $R");
        let mut waiting = Command::new(env!("CARGO_BIN_EXE_slipring"));
        waiting.args(["pub", &place.ring(), "more"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let waiting = waiting.spawn().unwrap();
        let start = Instant::now();
        while !place.good("slipring events $R").contains("full") {
            assert!(start.elapsed() < LONG, "it waits for room");
        }
        place.good(script);
        let output = waiting.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let said = ["was removed or replaced", "was cut short", "lost its memory of the ring"];
        assert!(
            output.status.code() == Some(1) && said.iter().any(|said| error.contains(said)),
            "{script}: {output:?}"
        );
    }
}

#[test]
fn a_publisher_of_a_ring_that_was_punched_or_emptied_and_grown_ends_with_an_error() {
    ends("fallocate -p -o 0 -l 8192 $R", "was removed or replaced");
    ends("len=$(stat -c %s $R); : >$R; truncate -s $len $R", "");
    ends("cp other $R", "");
}

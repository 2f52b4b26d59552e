//! The fear: something that is no ring, in a directory of rings or where a file is named, makes the
//! command hang, or hides the rings beside it.

mod shell;

use shell::Place;
use std::os::unix::net::UnixListener;

/// A directory with a ring, and a thousand things that are none.
fn crowded() -> Place {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 16 && seq 3 | slipring pub $R");
    place.good("for n in $(seq 1000); do echo junk > junk$n; done; printf SLIPRING > short");
    place.good("mkfifo fifo; ln -s fifo tofifo; ln -s ring toring; mkdir dir; touch closed; chmod 0 closed");
    drop(UnixListener::bind(place.file("socket")).unwrap());
    place
}

#[test]
fn a_directory_may_hold_anything_besides_rings() {
    let place = crowded();
    let limit = "timeout -s KILL 60 slipring";
    let listed = place.good(&format!("{limit} ls ."));
    assert!(listed.lines().count() == 3 && listed.contains("./short (cannot be opened)"), "{listed}");
    let metrics = place.good(&format!("{limit} metrics . || true"));
    assert!(metrics.contains("slipring_up{ring=\"./ring\"} 1"), "{metrics}");
    assert!(metrics.contains("slipring_up{ring=\"./short\"} 0"), "{metrics}");
    assert!(!metrics.contains("junk") && !metrics.contains("fifo"), "{metrics}");
    let top = place.shell(&format!("{limit} top . --once --interval 10ms"));
    let top = String::from_utf8(top.stdout).unwrap();
    assert!(top.contains("ring ") && top.contains("short ") && !top.contains("junk"), "{top}");
    let (code, error) = place.bad(&format!("{limit} doctor ."));
    assert!(code == 1 && error.contains("1 of"), "{error}");
    place.good(&format!("{limit} check $R"));
}

#[test]
fn no_verb_waits_for_the_other_end_of_a_fifo() {
    let place = crowded();
    for what in ["fifo", "socket", "dir", "tofifo", "short", "/dev/null"] {
        for verb in [
            "stat X",
            "check X",
            "events X",
            "consumers X",
            "group ls X",
            "dead ls X",
            "peek X 0",
            "sub X -e",
            "sub X --observe -e",
            "pub X x",
            "work X -g g -e",
            "dump X",
            "dump X --salvage",
            "rm X",
            "restore X -f short",
            "create X -b 48 -c 16",
        ] {
            let command = verb.replace('X', what);
            let (code, error) = place.bad(&format!("timeout -s KILL 60 slipring {command}"));
            assert!([1, 2].contains(&code) && error.contains("slipring: "), "{command}: {code} {error}");
        }
    }
    place.good("test -p fifo && test -S socket && test -d dir && test -L tofifo && test -c /dev/null");
}

#[test]
fn a_signal_ends_the_wait_for_a_writer_of_a_fifo() {
    let place = crowded();
    for command in ["pub $R -f fifo", "restore copy -f fifo"] {
        // The command waits once it has the FIFO open, so that a writer need not wait for a reader.
        let output = place.shell(&format!(
            "slipring {command} & p=$!; until ls -l /proc/$p/fd 2>/dev/null | grep -q fifo; do :; done; \
             kill -TERM $p; wait $p"
        ));
        assert!([Some(0), Some(1)].contains(&output.status.code()), "{command}: {output:?}");
    }
    let text = place.good("(echo a; echo b) > fifo & slipring pub $R -f fifo; slipring sub $R --observe -e");
    assert!(text.ends_with("a\nb\n"), "{text}");
}

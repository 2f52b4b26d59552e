//! The fear: a worker that sees another clock, other process numbers or another boot takes a
//! message from the living worker that has it, or waits for one that is dead.

mod shell;

use shell::Place;
use std::time::{Duration, Instant};

/// Longer than any machine needs.
const LONG: Duration = Duration::from_secs(60);

/// How to start a process in a namespace, as the shell has it; nothing before `--` where `$1` is
/// the command.
const ELSEWHERE: [(&str, &str); 9] = [
    (
        "a clock that is ahead",
        "unshare --time --monotonic 1000000 --boottime 1000000 --fork --kill-child bash -c",
    ),
    (
        "a clock that is a lap of the deadlines ahead",
        "unshare --time --monotonic 4294960 --fork --kill-child bash -c",
    ),
    (
        "a clock that is ahead, and no /proc that says so",
        "unshare --time --monotonic 1000000 --fork --kill-child bash noproc",
    ),
    ("other process numbers", "unshare --pid --fork --kill-child --mount-proc bash -c"),
    ("another user namespace", "unshare --user --map-root-user bash -c"),
    ("another boot id", "bash boot 11111111-2222-3333-4444-555555555555"),
    ("an empty boot id", "bash boot ''"),
    ("no boot id", "bash noproc"),
    ("a boot id that is no number", "bash boot unknown"),
];

/// Scripts that give a command its namespace.
fn plant(place: &Place) {
    let boot = "unshare -m bash -c 'printf %s \"$1\" >id$$ && mount --bind id$$ /proc/sys/kernel/random/boot_id && exec bash -c \"$2\"' - \"$1\" \"$2\"";
    std::fs::write(place.file("boot"), boot).unwrap();
    std::fs::write(
        place.file("noproc"),
        "unshare -m bash -c 'umount -l /proc && exec bash -c \"$1\"' - \"$1\"",
    )
    .unwrap();
}

/// Waits until the script succeeds.
fn until(place: &Place, script: &str) {
    let start = Instant::now();
    while !place.shell(script).status.success() {
        assert!(start.elapsed() < LONG, "{script}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A worker holds the first message in one place while another worker comes in the other.
fn keeps_its_message(what: &str, holder: &str, guest: &str) {
    let place = Place::new();
    plant(&place);
    if !place.shell(&format!("{holder} true && {guest} true")).status.success() {
        return println!("{what}: no such namespace is allowed here: nothing was tried");
    }
    place.good("slipring create $R -b 48 -c 16 -g g:ack-wait=60s && seq 2 | slipring pub $R");
    let work = "slipring work ring -g g --count 1 --exec \"cat >held; until test -e go; do sleep .02; done\"";
    let script = format!("{holder} '{work}'");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| place.shell(&script));
        until(&place, "test -s held");
        // The other message is the guest's, and there is nothing else for it, however long it
        // looks.
        let output = place.shell(&format!("{guest} 'slipring work ring -g g --count 2 --timeout 1s'"));
        assert_eq!(
            (String::from_utf8_lossy(&output.stdout), output.status.code()),
            ("2\n".into(), Some(4)),
            "{what}: {output:?}"
        );
        // The first message is still its holder's: the holder's `ack` succeeds.
        place.good("touch go");
        let held = held.join().unwrap();
        assert_eq!(held.status.code(), Some(0), "{what}: {held:?}");
        assert_eq!(place.good("cat held"), "1");
        let none = place.shell("slipring work ring -g g -e");
        assert_eq!((none.stdout.len(), none.status.code()), (0, Some(0)), "{what}: {none:?}");
    });
    assert!(place.good("slipring check $R").ends_with("sound\n"), "{what}");
}

#[test]
fn a_worker_keeps_its_message_from_one_that_sees_another_machine() {
    for (what, guest) in ELSEWHERE {
        keeps_its_message(what, "bash -c", guest);
    }
}

#[test]
fn a_worker_that_sees_another_machine_keeps_its_message() {
    for (what, holder) in ELSEWHERE {
        keeps_its_message(what, holder, "bash -c");
    }
}

#[test]
fn the_message_of_a_worker_that_was_killed_is_had_at_once_wherever_it_was() {
    for (what, elsewhere) in ELSEWHERE {
        for (holder, guest) in [("bash -c", elsewhere), (elsewhere, "bash -c")] {
            let place = Place::new();
            plant(&place);
            if !place.shell(&format!("{elsewhere} true")).status.success() {
                println!("{what}: no such namespace is allowed here: nothing was tried");
                continue;
            }
            place.good("slipring create $R -b 48 -c 16 -g g:ack-wait=1h && echo 1 | slipring pub $R");
            let work = "exec slipring work ring -g g --exec \"touch leased; exec sleep 2\"";
            // The process that has the ring mapped, whichever number it has in its own namespace.
            place.shell(&format!(
                "{holder} '{work}' & until test -e leased; do sleep .02; done
                 for process in $(grep -ls $R /proc/[0-9]*/maps); do kill -9 $(basename $(dirname $process)); done; wait"
            ));
            let got = place.shell(&format!("{guest} 'timeout 30 slipring work ring -g g --count 1'"));
            assert_eq!(String::from_utf8_lossy(&got.stdout), "1\n", "{what}: {got:?}");
        }
    }
}

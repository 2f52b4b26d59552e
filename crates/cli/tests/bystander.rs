//! The fear: a user that may only read a ring holds up its writers.

mod shell;

use kit::{Bystander, NOBODY};
use shell::Place;
use std::os::unix::fs::MetadataExt;

fn is_root() -> bool {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !is_root {
        println!("not root: nothing was tried");
    }
    is_root
}

/// A script as a user that may only read.
fn as_nobody(script: &str) -> String {
    format!("setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {script}")
}

#[test]
fn locks_of_a_user_that_may_only_read_hold_up_no_verb() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 16 -g g:max-deliver=1 --durable audit --mode 644");
    let _bystanders = ["ring", "ring.dead"].map(|name| Bystander::on(&place.file(name)));
    place.good("seq 8 | slipring pub $R && slipring work $R -g g --exec 'exit 1' --count 3");
    place.good("slipring sub $R --name audit --count 8 | tail -1 | grep -qx 8");
    place.good("slipring work $R -g g --exec true --drain && slipring dead redrive $R --apply");
    // The producer takes the room of a reader that was killed, and waits for that of a group.
    place.shell("timeout -s KILL 1 slipring sub $R");
    place.good("slipring work $R -g g --exec true --drain; slipring consumers --rm audit $R");
    place.good(
        "seq 64 | timeout 60 slipring pub $R --timeout 30s & \
         timeout 60 slipring work $R -g g --exec true --count 64 && wait $!",
    );
    place.good("slipring check --repair $R && slipring rm --force $R && ! ls -A | grep .");
}

#[test]
fn a_user_that_may_only_read_still_observes_and_sees_which_processes_live() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 16 --mode 644 && mkfifo lines");
    let seen = place.good(&format!(
        "slipring pub $R <lines & exec 3>lines; echo here >&3; until slipring peek $R 0 >/dev/null; do :; done
         {}; {}; {}; exec 3>&-; wait; {}",
        as_nobody("slipring sub $R --observe -e --count 1"),
        as_nobody("slipring stat --json $R | jq -c '.producer.alive'"),
        as_nobody("slipring check $R"),
        as_nobody("slipring stat --json $R | jq -c '.producer.alive'"),
    ));
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!((lines[0], lines[1], lines[3]), ("here", "true", "false"), "{seen}");
    assert!(lines[2].ends_with("sound"), "{seen}");
    for verb in ["pub $R </dev/null", "sub $R --name x", "check --repair $R"] {
        let (code, error) = place.bad(&as_nobody(&format!("slipring {verb}")));
        assert!(code == 1 && error.contains("no permission"), "{error}");
    }
    // A file that only the writers can open.
    let mode = std::fs::metadata(place.file("ring.locks")).unwrap().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn a_ring_that_only_its_writers_read_is_one_file() {
    let place = Place::new();
    for mode in ["600", "660", "666", "620"] {
        place.good(&format!("slipring create $R -b 48 -c 16 --mode {mode}; ls -A | grep -qx ring && rm $R"));
    }
}

#[test]
fn a_ring_that_is_opened_to_readers_afterwards_takes_no_party_until_it_is_closed_to_them() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 16 && chmod 644 $R");
    for verb in ["pub $R </dev/null", "sub $R --name x", "check $R", "check --repair $R"] {
        let output = place.shell(&format!("slipring {verb}"));
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(
            output.status.code() == Some(1) && said.contains("mode 644") && said.contains("chmod go-r"),
            "{said}"
        );
    }
    place.good("slipring sub $R --observe -e --count 0; slipring stat $R");
    place.good("chmod go-r $R && echo 1 | slipring pub $R && slipring check $R");
}

/// After the script, this is said to the verbs that write, and the ring can still be read.
fn refused(script: &str, said: &str) {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 16 --mode 644 && slipring create other -b 48 -c 16 --mode 644");
    place.good("echo kept | slipring pub $R");
    place.good(script);
    let ring = if place.file("ring").exists() { "ring" } else { "moved" };
    for verb in ["pub $R </dev/null", "sub $R --name x", "check $R", "check --repair $R"] {
        let output = place.shell(&format!("slipring {}", verb.replace("$R", ring)));
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(output.status.code() == Some(1) && text.contains(said), "{script}: {verb}: {text}");
        assert!(text.contains(".locks"), "{text}");
    }
    assert_eq!(place.good(&format!("slipring sub {ring} --observe -e --count 1")), "kept\n");
}

#[test]
fn another_file_is_never_taken_for_the_lock_file() {
    refused("rm ring.locks", "is missing");
    refused("mv ring moved", "is missing");
    refused("cp -p ring moved && rm ring", "is missing");
    refused("ln ring moved && rm ring", "is missing");
    refused("rm ring.locks && touch ring.locks && chmod 600 ring.locks", "is not a lock file");
    refused("cp other.locks ring.locks", "belongs to ring");
    refused("mv other.locks ring.locks", "belongs to ring");
    refused("cp -p ring.locks copy && mv copy ring.locks", "is a copy");
    refused("mv ring.locks elsewhere && ln -s elsewhere ring.locks", "symbolic link");
    refused("rm ring.locks && mkfifo ring.locks", "is a FIFO");
    refused("rm ring.locks && mkdir ring.locks", "is a directory");
    for mode in ["644", "666", "602"] {
        refused(&format!("chmod {mode} ring.locks"), "chmod go=");
    }
    if is_root() {
        refused("chown nobody ring.locks", "belongs to user 65534");
    }
}

#[test]
fn a_ring_and_its_lock_file_move_together() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 16 --mode 644 && mv ring moved && mv ring.locks moved.locks");
    place.good("echo 1 | slipring pub moved && slipring check moved");
    place.good("ln moved second && ln moved.locks second.locks && echo 2 | slipring pub second");
}

#[test]
fn a_lock_file_that_was_left_behind_stands_in_no_creators_way() {
    let place = Place::new();
    let create = "slipring create $R -b 48 -c 16 -g g --mode 644";
    place.good(create);
    place.good(&format!(
        "rm ring && rm ring.dead && {create} && echo 1 | slipring pub $R && slipring check $R"
    ));
    place.good(&format!("rm ring ring.dead ring.dead.locks && {create} && slipring check $R"));
    place.good("slipring rm $R && ! ls -A | grep .");
    place.good(&format!("{create} && rm ring && slipring doctor . | grep -q 'without a ring: ./ring.locks'"));
    place.good("rm ring.*");
    // A file that is no lock file is left alone.
    place.good("echo notes >ring.locks");
    let (code, error) = place.bad(create);
    assert!(code == 1 && error.contains("ring.locks: already exists"), "{error}");
    place.good("grep -qx notes ring.locks");
}

#[test]
fn another_users_file_in_a_sticky_directory_is_an_error_that_names_it() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    place.good("chmod 1777 . && slipring create other -b 48 -c 16 --mode 644 && mv other.locks ring.locks");
    let script = as_nobody("slipring create $R -b 48 -c 16 --mode 644");
    let (code, error) = place.bad(&script);
    assert!(code == 1 && error.contains("ring.locks: already exists"), "{error}");
}

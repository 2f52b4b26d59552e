//! Dead letters, from the shell.

mod shell;

use shell::Place;

/// A ring with three letters: two of `sms`, rejected, and one of `mail`, failed too often.
fn with_letters() -> Place {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group sms --group mail:max-deliver=1");
    place.good("printf 'one\\ntwo\\n' | slipring pub $R --kind 7");
    place.good("slipring work $R -g sms -e --exec 'exit 65'");
    place.good("slipring work $R -g mail -c 1 --exec 'exit 75' 2>/dev/null");
    place.good("slipring work $R -g mail -e >/dev/null");
    place
}

#[test]
fn they_are_listed_and_shown_without_being_touched() {
    let place = with_letters();
    for _ in 0..2 {
        let list = place.good("slipring dead ls $R");
        assert_eq!(list.lines().count(), 4, "{list}");
        assert!(list.contains("rejected") && list.contains("exit code 65"), "{list}");
        assert_eq!(
            place.good("slipring dead ls $R -g mail --json | grep -o '\"attempts\":1'"),
            "\"attempts\":1\n"
        );
        assert_eq!(place.good("slipring dead view $R"), "one\n");
        assert_eq!(place.good("slipring dead view $R 1 --format '%k %p %s'"), "7 1 two");
    }
    let (code, error) = place.bad("slipring dead view $R 9");
    assert!(code == 4 && error.contains("dead ls"), "{error}");
    assert!(place.good("slipring check $R").contains("sound"));
}

#[test]
fn they_are_redriven_oldest_first_and_once() {
    let place = with_letters();
    assert_eq!(place.good("slipring dead redrive $R | wc -l").trim(), "4");
    place.good("slipring dead redrive $R --apply -c 1");
    assert_eq!(place.good("slipring work $R -g sms -e"), "one\n", "a new message for everybody");
    assert_eq!(
        place.good("slipring dead ls $R --json | grep -o '\"letter\":[0-9]*'"),
        "\"letter\":1\n\"letter\":2\n"
    );
    place.good("slipring dead redrive $R --apply --through 1");
    assert_eq!(place.good("slipring work $R -g sms -e --format '%k %s'"), "7 two");
    place.good("slipring dead redrive $R --apply");
    let (code, error) = place.bad("slipring dead redrive $R --apply");
    assert!(code == 4 && error.contains("no dead letters"), "{error}");
}

#[test]
fn they_are_purged_only_when_told_so() {
    let place = with_letters();
    place.good("slipring dead purge $R");
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "4");
    place.good("slipring dead purge $R -c 2 --apply");
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "2");
    place.good("slipring dead purge $R --apply");
    assert_eq!(place.bad("slipring dead purge $R --apply").0, 4);
    assert!(place.good("slipring check $R").contains("sound"));
}

#[test]
fn a_living_producer_keeps_its_ring_and_a_ring_without_groups_has_none() {
    let place = with_letters();
    let script = "(echo started; sleep 100) | slipring pub $R & \
                  until slipring ls --json . | grep -q '\"alive\":true'; do :; done; \
                  slipring dead redrive $R --apply; code=$?; kill %1; exit $code";
    let (code, error) = place.bad(script);
    assert!(code == 1 && error.contains("DeadLetters::redrive"), "{error}");
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "4");
    let plain = Place::new();
    plain.good("slipring create $R -b 48 -c 64");
    let (code, error) = plain.bad("slipring dead ls $R");
    assert!(code == 1 && error.contains("group"), "{error}");
}

#[test]
fn what_is_rejected_again_meanwhile_waits_and_a_closed_stream_stays_closed() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 4 --group g:max-deliver=1 --dead-letter-capacity 64");
    place.good("seq 4 | slipring pub $R --close; slipring work $R -g g -e --exec 'exit 65'");
    // A worker that rejects everything runs beside the redrive. A worker that comes before it finds
    // the stream closed, and ends.
    let script = "until slipring group info $R g --json | grep -q '\"rejected\":8'; do \
                  slipring work $R -g g -e --exec 'exit 65'; done & \
                  slipring dead redrive $R --apply; code=$?; wait; exit $code";
    place.good(script);
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "5", "the same four, once more");
    assert!(place.good("slipring stat $R --json").contains("\"closed\":true"));
    place.good("slipring dead purge $R --apply");
    let epoch = place.good("slipring stat $R --json | grep -o '\"epoch\":[0-9]*'");
    assert_eq!(place.bad("slipring dead redrive $R --apply").0, 4);
    assert_eq!(place.good("slipring stat $R --json | grep -o '\"epoch\":[0-9]*'"), epoch, "nobody opened it");
}

/// A ring that is full of messages that wait for room in a dead-letter ring that is full, too.
fn knotted() -> Place {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 4 --group g:max-deliver=1 --dead-letter-capacity 2");
    let fill = "while seq 9 | slipring pub $R --timeout 10ms 2>/dev/null; [ $? = 5 ]; do \
                slipring work $R -g g -e --exec 'exit 65' 2>/dev/null; \
                slipring group info $R g --json | grep -q '\"dead_pending\":4' && break; done";
    place.good(fill);
    place
}

#[test]
fn a_redrive_into_a_ring_that_waits_for_the_dead_letter_ring_ends_with_the_way_out() {
    let place = knotted();
    let before = place.good("slipring dead ls $R --json");
    for limit in ["--timeout 50ms", "--nowait"] {
        let (code, error) = place.bad(&format!("slipring dead redrive $R --apply {limit}"));
        assert!(code == 5 && error.contains("4 messages wait for room there"), "{code} {error}");
        assert!(error.contains("slipring dead view") && error.contains("slipring dead purge"), "{error}");
        assert_eq!(place.good("slipring dead ls $R --json"), before, "no letter was lost");
    }
    // The way out that the error names: a letter is kept and removed, a worker moves a message, and
    // there is room.
    place.good("slipring dead view $R > kept; slipring dead purge $R -c 1 --apply");
    place.good(
        "slipring work $R -g g --timeout 20s 2>/dev/null & \
         until slipring group info $R g --json | grep -q '\"dead_pending\":3'; do :; done; kill %1; wait",
    );
    place.good("slipring dead redrive $R --apply -c 1 --timeout 5s");
    assert_eq!(place.good("cat kept"), "1\n");
}

#[test]
fn a_redrive_beside_a_reader_that_stands_still_ends_in_time_and_names_it() {
    let place = with_letters();
    place.good(
        "slipring consumers $R --add audit; seq 70 | slipring pub $R --timeout 10ms 2>/dev/null; [ $? = 5 ]",
    );
    let (code, error) = place.bad("slipring dead redrive $R --apply --timeout 50ms");
    assert!(code == 5 && error.contains("\"audit\"") && error.contains("0 of 3 dead letters"), "{error}");
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "4");
}

#[test]
fn two_redrives_at_once_are_one() {
    let place = with_letters();
    place.good("seq 70 | slipring pub $R --timeout 10ms 2>/dev/null; [ $? = 5 ]");
    let script = "slipring dead redrive $R --apply --timeout 60s 2>/dev/null & pid=$!; \
                  until slipring consumers $R.dead --json | grep -q '\"alive\":true'; do :; done; \
                  slipring dead redrive $R --apply --timeout 50ms; code=$?; \
                  for group in sms mail; do slipring work $R -g $group -e > /dev/null; done; \
                  wait $pid || exit 99; exit $code";
    let (code, error) = place.bad(script);
    assert!(code == 1 && error.contains("in use by process"), "{code} {error}");
    let (code, _) = place.bad("slipring dead redrive $R --apply");
    assert_eq!(code, 4, "the first one took all of them");
}

/// The file that ought to be the dead-letter ring is another one.
#[test]
fn a_file_that_is_no_dead_letter_ring_of_this_ring_takes_nothing_and_says_so() {
    for (make, what) in [
        ("ln -s ring ring.dead", "symbolic link"),
        ("ln ring ring.dead", "does not hold the dead letters"),
        (
            "slipring create other -b 48 -c 8 --group g; cp other.dead ring.dead",
            "does not hold the dead letters",
        ),
        ("slipring create ring.dead -b 240 -c 8", "does not hold the dead letters"),
        ("mkdir ring.dead", "directory"),
        ("echo text > ring.dead", "not a ring"),
        ("mkfifo ring.dead", "FIFO"),
    ] {
        let place = Place::new();
        place.good("slipring create $R -b 48 -c 8 --group g; rm ring.dead; slipring pub $R one");
        place.good(make);
        let error = place.good("slipring work $R -g g -c 1 --exec 'exit 65' 2>&1");
        assert!(error.contains("takes no message") && error.contains(what), "{make}: {error}");
        for verb in ["dead ls", "dead redrive --apply", "dead purge --apply"] {
            let (code, error) = place.bad(&format!("timeout 20 slipring {verb} $R"));
            assert!(code == 1 && error.contains(what), "{make}, {verb}: {code} {error}");
        }
        assert!(place.good("slipring stat $R").contains("1 message waits for it"), "{make}");
        let info = place.good("slipring group info $R g --json");
        assert!(info.contains("\"dead_pending\":1") && info.contains("\"dropped\":0"), "{info}");
        // Out of the way, as the error says: the message is a letter.
        place.good("rm -r ring.dead; slipring work $R -g g --timeout 20s & \
                    until slipring dead ls $R --json 2>/dev/null | grep -q rejected; do :; done; kill %1; wait");
    }
}

/// Two rings, each at the other's dead-letter path.
#[test]
fn rings_at_each_others_dead_letter_path_take_no_letters_of_each_other() {
    let place = Place::new();
    place.good(
        "slipring create a -b 240 -c 8 --group g; slipring create b -b 240 -c 8 --group g; rm a.dead b.dead",
    );
    place.good("ln b a.dead; ln a b.dead; for r in a b; do slipring pub $r $r; done");
    for ring in ["a", "b"] {
        let error = place.good(&format!("slipring work {ring} -g g -c 1 --exec 'exit 65' 2>&1"));
        assert!(error.contains("does not hold the dead letters"), "{error}");
        assert_eq!(place.bad(&format!("timeout 20 slipring dead redrive {ring} --apply")).0, 1);
        assert_eq!(place.good(&format!("slipring sub {ring} --observe -e")), format!("{ring}\n"));
    }
}

/// A worker of another user, which trusts the owner: needs a user that can give itself up.
/// Each verb that looks at a ring tells of the messages that wait for its dead-letter ring.
#[test]
fn messages_that_wait_for_the_dead_letter_ring_are_told_of_everywhere() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --dead-letter-capacity 1 -g g; seq 3 | slipring pub $R");
    let everywhere = [
        ("slipring stat $R", "2 messages wait for it: the dead-letter ring is full"),
        ("slipring check $R", "2 messages wait for the dead-letter ring: the dead-letter ring is full"),
        ("slipring check $R --json", "\"dead_letters_wait\":{\"count\":2"),
        ("slipring events $R", "dead-letters-full"),
        ("slipring metrics $R", "group=\"g\"} 2"),
        ("slipring top --once --interval 1ms $R", "no workers, 2 dead-pending"),
        ("slipring top --once --json --interval 1ms $R", "\"dead_pending\":2"),
        ("slipring group pending $R g", "dead-pending"),
        ("slipring doctor . || true", "do not reach the dead-letter ring"),
    ];
    for (script, told) in everywhere {
        assert!(!place.good(script).contains(told), "{script}");
    }
    place.good("slipring work $R -g g -c 3 --exec 'exit 65'");
    for (script, told) in everywhere {
        let text = place.good(script);
        assert!(text.contains(told), "{script}: {text}");
    }
}

#[test]
fn a_ring_that_is_full_of_messages_for_the_dead_letter_ring_says_so_to_its_producer() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 4 --dead-letter-capacity 1 -g g; seq 4 | slipring pub $R");
    let (code, error) = place.bad("slipring pub $R --nowait x");
    assert!(code == 5 && !error.contains("dead"), "{error}");
    place.good("slipring work $R -g g -c 4 --exec 'exit 65'; slipring pub $R --nowait x");
    for verb in ["pub $R --nowait y", "pub $R --timeout 1ms y"] {
        let (code, error) = place.bad(&format!("slipring {verb}"));
        assert!(
            code == 5 && error.contains("3 messages wait for the dead-letter ring: the dead-letter"),
            "{error}"
        );
    }
}

#[test]
fn a_dead_letter_ring_that_was_removed_is_made_by_a_worker_and_by_nobody_else() {
    let place = with_letters();
    place.good("rm ring.dead");
    for verb in ["ls", "view", "redrive --apply", "purge --apply"] {
        let (code, error) = place.bad(&format!("slipring dead {verb} $R"));
        assert!(code == 1 && error.contains("the next worker that gives a message up makes it"), "{error}");
        // A ring that is made as any other holds no dead letters.
        assert!(!error.contains("slipring create"), "{verb}: {error}");
    }
    assert!(place.good("slipring stat $R").contains("there is no dead-letter ring"));
    place.good("slipring pub $R three; slipring work $R -g sms -e --exec 'exit 65'");
    assert_eq!(place.good("slipring dead view $R"), "three\n");
}

#[test]
fn a_worker_of_another_user_moves_letters_too_or_says_why_not() {
    let place = Place::new();
    let second = "setpriv --reuid 12345 --regid 12345 --clear-groups";
    if !place.shell(&format!("{second} true")).status.success() {
        println!("nothing was tried: only root may become another user");
        return;
    }
    place.good("slipring create $R -b 48 -c 8 --group g --mode 666 --dead-letter-policy drop; chmod 777 .; seq 3 | slipring pub $R");
    let owner = place.good("id -u");
    // Root is trusted by every user; so the rings are given to a third one.
    assert_eq!(owner, "0\n");
    place.good("chown 54321 $R $R.dead");
    let work = format!("{second} slipring work $R -g g -c 1 --exec 'exit 65'");
    let (code, error) = place.bad(&work);
    assert!(code == 1 && error.contains("--trust-owner 54321"), "{error}");
    assert_eq!(place.good(&format!("{work} --trust-owner 54321 2>&1")), "");
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "2");
    // Trust in one user is no trust in another: the message waits, and is not dropped.
    place.good("chown 4321 $R.dead");
    let error = place.good(&format!("{work} --trust-owner 54321 2>&1"));
    assert!(error.contains("takes no message") && error.contains("4321"), "{error}");
    for verb in ["stat", "events"] {
        let said = place.good(&format!("slipring {verb} $R"));
        assert!(said.contains("4321"), "{verb}: {said}");
    }
    let (code, _) = place.bad("slipring doctor . > said");
    let said = place.good("cat said");
    assert!(code == 1 && said.contains("1 message waits") && said.contains("4321"), "{said}");
    assert!(place.good("slipring group info $R g --json").contains("\"dropped\":0"));
}

/// The filesystem has no room for the dead-letter ring, which a worker would make again.
#[test]
fn a_dead_letter_ring_for_which_there_is_no_space_is_named() {
    let place = Place::new();
    let script = "unshare -m true 2>/dev/null || exit 77
        unshare -m bash -c 'mount --make-rprivate / && mkdir m && mount -t tmpfs -o size=800k none m || exit 77
            slipring create m/r -b 48 -c 64 --group g --dead-letter-capacity 64 || exit 1
            rm m/r.dead; slipring pub m/r one; head -c 2M /dev/zero > m/filler 2>/dev/null
            slipring work m/r -g g -c 1 --exec \"exit 65\" 2>&1; slipring stat m/r
            rm m/filler; slipring work m/r -g g --timeout 20s & until slipring dead ls m/r --json 2>/dev/null | grep -q rejected; do :; done; kill %1; wait; exit 0'";
    let output = place.shell(script);
    if output.status.code() == Some(77) {
        println!("nothing was tried: this user may not mount");
        return;
    }
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("takes no message") && said.contains("bytes"), "{said}");
    assert!(said.contains("1 message waits for it"), "{said}");
}

#[test]
fn a_worker_out_of_descriptors_says_so_and_keeps_the_message() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 8 --group g:max-deliver=1 --dead-letter-policy drop; slipring pub $R one");
    place.good("slipring work $R -g g -c 1 --exec 'exit 75' 2>/dev/null");
    // With the fewest descriptors it cannot begin; with one or two more, the dead-letter ring is
    // what cannot be opened.
    let told = (4..32).find_map(|limit| {
        let script = format!("(ulimit -n {limit}; timeout 20 slipring work $R -g g -e 2>&1)");
        let told = String::from_utf8(place.shell(&script).stdout).unwrap();
        told.contains("takes no message").then_some(told)
    });
    let told = told.expect("some limit lets the worker begin, and no more");
    assert!(told.contains("open files"), "{told}");
    assert!(place.good("slipring group info $R g --json").contains("\"dropped\":0"));
    place.good(
        "timeout 60 slipring work $R -g g --timeout 20s & \
                until slipring dead ls $R --json | grep -q '\"group\"'; do :; done; kill %1; wait",
    );
}

#[test]
fn a_redrive_is_for_the_group_that_gave_the_message_up() {
    let place = with_letters();
    place.good("slipring dead redrive $R --apply");
    assert_eq!(place.good("slipring work $R -g sms -e --format '%k %s '"), "7 one 7 two ");
    assert_eq!(place.good("slipring work $R -g mail -e"), "one\n", "its own letter, and no other");
    assert!(place.good("slipring check $R").contains("sound"));
    // Rejected again, it is a letter of the same message, with all of its attempts.
    let place = with_letters();
    place.good("slipring dead redrive $R --apply -c 1; slipring work $R -g sms -e --exec 'exit 65'");
    let letters = place.good("slipring dead ls $R -g sms --json");
    assert!(letters.contains("\"position\":0,") && letters.contains("\"attempts\":2"), "{letters}");
    // Its group was made anew since.
    place.good("slipring group rm $R sms; slipring group add $R sms --from latest");
    let (code, error) = place.bad("slipring dead redrive $R --apply");
    assert!(code == 1 && error.contains("\"sms\"") && error.contains("--to-all"), "{error}");
    assert_eq!(place.good("slipring dead ls $R | wc -l").trim(), "4");
    place.good("slipring dead redrive $R --apply --to-all");
    assert_eq!(place.good("slipring work $R -g sms -e | sort | tr '\\n' ' '"), "one one two ");
}

/// The fear: a full ring says "wait for this reader", and no reader is behind.
#[test]
fn a_ring_that_is_full_of_messages_given_up_names_the_dead_letter_ring() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 4 --dead-letter-capacity 2 -g g");
    place.good("seq 2 | slipring pub $R; slipring work $R -g g -e --exec 'exit 65'");
    place.good(
        "seq 3 6 | slipring pub $R; slipring work $R -g g -e --exec 'echo no such number >&2; exit 65'",
    );
    let (code, error) = place.bad("slipring pub $R x --nowait");
    assert_eq!(code, 5);
    for said in [
        "group \"g\" has given up messages that wait for the dead-letter ring (the dead-letter ring is full), has no workers",
        "redrive its dead letters or purge them, or mend what is in the way, and start a worker",
    ] {
        assert!(error.contains(said), "{error}");
    }
    let stat = place.good("slipring stat $R");
    assert!(
        stat.contains("held by group \"g\", which waits for the dead-letter ring and has no workers"),
        "{stat}"
    );
    let metrics = place.good("slipring metrics $R");
    assert!(
        metrics.contains("slipring_held_by_dead_letters{ring=") && metrics.contains("} 1\n"),
        "{metrics}"
    );
    // The ring of dead letters goes away, and a file of another kind comes in its place.
    place.good("rm $R.dead; mkdir $R.dead");
    let script = "slipring work $R -g g & until slipring stat $R --json | jq -r .dead_letters_wait.why | grep -q directory; do :; done
         slipring pub $R x --nowait; code=$?; kill $!; wait; exit $code";
    let (code, error) = place.bad(script);
    assert!(code == 5 && error.contains("(") && error.contains("directory"), "{error}");
    assert!(error.contains("a worker tries again every second"), "{error}");
    // The directory goes while a worker and a producer wait.
    let script = "slipring work $R -g g & w=$!; slipring pub $R x & p=$!; rmdir $R.dead; wait $p; code=$?
         until [ \"$(slipring dead ls $R --json | jq length)\" = 2 ]; do :; done; kill $w; wait; exit $code";
    let output = place.shell(script);
    assert!(output.status.success(), "{output:?}");
    let notes = place.good("slipring dead ls $R --json | jq -r '.[].note'");
    assert!(notes.starts_with("no such number\nno such number\n"), "{notes}");
}

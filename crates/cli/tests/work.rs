//! `work`: leases, commands and their ends.

mod shell;

use shell::Place;

/// A ring with a group of these settings and so many messages.
fn with_messages(settings: &str, count: u32) -> Place {
    let place = Place::new();
    place.good(&format!(
        "slipring create $R -b 48 -c 64 --group g:{settings} && seq {count} | slipring pub $R"
    ));
    place
}

/// Waits until the process does not run any more, reaped or not.
const UNTIL_DEAD: &str =
    "dead() { while grep -q '^State:.[RSDT]' /proc/$1/status 2>/dev/null; do :; done; }; ";

#[test]
fn a_lease_lasts_as_long_as_the_command() {
    let place = with_messages("ack-wait=60ms", 1);
    // Beside it, a worker that would take the message over.
    let said = place.good(
        "mkfifo go; slipring work $R -g g -c 1 --exec 'echo > begun; read x < go; echo attempt $SLIPRING_ATTEMPT' & \
         until [ -e begun ]; do :; done; slipring work $R -g g -c 1 --timeout 500ms; echo $?; echo > go; wait $!",
    );
    assert_eq!(said, "4\nattempt 1\n");
    let info = place.good("slipring group info $R g --json");
    assert!(info.contains("\"expired\":0") && info.contains("\"lost\":0"), "{info}");
}

#[test]
fn a_command_that_does_not_read_holds_up_no_lease() {
    let place = Place::new();
    place.good("slipring create $R -b 1Mi -c 2 --group g:ack-wait=60ms");
    place.good("head -c 1000000 /dev/zero | tr '\\0' x | slipring pub $R");
    place.good("slipring work $R -g g -c 1 --exec 'sleep .4'");
    assert_eq!(place.good("slipring work $R -g g -e | wc -c").trim(), "0");
}

#[test]
fn a_command_ends_with_its_worker() {
    let place = with_messages("max-deliver=9", 1);
    place.good(&format!(
        "{UNTIL_DEAD} slipring work $R -g g --exec 'echo $$ > pid; exec sleep 100' & \
         until [ -s pid ]; do :; done; kill -KILL $!; dead $(cat pid)"
    ));
}

#[test]
fn a_command_that_runs_too_long_is_ended_with_all_that_it_began() {
    let place = with_messages("max-deliver=9", 1);
    let error = place.good(&format!(
        "{UNTIL_DEAD} slipring work $R -g g -c 1 --max-run 100ms \
            --exec 'trap \"\" TERM; sh -c \"trap : TERM; echo \\$\\$ > pid; while :; do sleep 1; done\" & \
                    trap - TERM; wait' 2>&1; dead $(cat pid)"
    ));
    assert!(error.contains("was ended; counted as failed"), "{error}");
    assert!(place.good("slipring group info $R g --json").contains("\"failed\":1"));
}

#[test]
fn the_last_line_of_its_errors_is_the_note() {
    let place = with_messages("max-deliver=9", 1);
    let command = "cat > /dev/null; echo looking >&2; printf \"no such customer\\n\\n\" >&2; exit 65";
    let error = place.good(&format!("slipring work $R -g g -c 1 --exec '{command}' 2>&1"));
    assert!(error.contains("looking\nno such customer\n"), "passed on: {error}");
    assert!(place.good("slipring dead ls $R --json").contains("\"note\":\"no such customer\""));
}

#[test]
fn several_work_at_once() {
    let place = with_messages("max-deliver=9", 3);
    place.good(
        "slipring work $R -g g --name w -j 3 -c 3 --exec \
            'touch j$SLIPRING_POSITION; until [ -e j0 ] && [ -e j1 ] && [ -e j2 ]; do :; done; \
             slipring group info $R g --json > seen$SLIPRING_POSITION; mv seen$SLIPRING_POSITION info$SLIPRING_POSITION; \
             until [ -e info0 ] && [ -e info1 ] && [ -e info2 ]; do :; done'",
    );
    assert!(place.good("cat info0").contains("\"name\":\"w-2\""));
    // A command that one worker cannot start ends all of them.
    place.good("seq 9 | slipring pub $R");
    let (code, error) = place.bad("slipring work $R -g g -j 3 --exec ./absent");
    assert!(code == 1 && error.contains("handed back"), "{error}");
    assert_eq!(place.bad("slipring work $R -g g -j 100").0, 1, "there are 64 entries");
}

#[test]
fn a_worker_takes_only_the_kinds_that_it_wants() {
    let place = with_messages("max-deliver=9", 2);
    place.good("slipring pub $R --kind 7 seven");
    assert_eq!(place.good("slipring work $R -g g -e --kind 7"), "seven\n");
    assert_eq!(place.good("slipring work $R -g g -e --kind '!7'"), "1\n2\n");
}

#[test]
fn it_ends_when_nothing_is_there_or_when_everything_is_settled() {
    let place = with_messages("max-deliver=4,backoff=300ms", 3);
    let fails_once = "--exec '[ $SLIPRING_ATTEMPT -ge 2 ] && cat'";
    let error = place.good(&format!("slipring work $R -g g -e {fails_once} 2>&1"));
    assert!(error.contains("3 messages are not settled") && error.contains("--drain"), "{error}");
    assert_eq!(place.good(&format!("slipring work $R -g g --drain {fails_once}")), "123");
    assert_eq!(place.good("slipring group pending $R g --json"), "[]\n");
    // A closed stream is no reason to leave what rests.
    place.good("seq 2 | slipring pub $R --close");
    assert_eq!(place.good(&format!("slipring work $R -g g --drain {fails_once} 2>/dev/null")), "12");
    // Letters for which there is no room are said, and not waited for.
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 8 -g g --dead-letter-capacity 1; seq 3 | slipring pub $R");
    let error = place.good("slipring work $R -g g --drain --exec 'exit 65' 2>&1");
    assert!(error.contains("2 messages wait for room"), "{error}");
}

#[test]
fn fewer_messages_than_asked_for_are_exit_code_4() {
    let place = with_messages("max-deliver=9", 3);
    assert_eq!(place.good("slipring sub $R -e -c 2"), "1\n2\n");
    assert_eq!(place.good("slipring sub $R -e --from latest"), "", "no number was asked for");
    for script in [
        "slipring work $R -g g -e -c 9",
        "slipring work $R -g g --drain -c 1",
        "slipring sub $R -e -c 9",
        "slipring sub $R --observe -e -c 9",
        "slipring sub $R --from latest -e -c 1",
        "slipring pub $R last --close; slipring sub $R -c 9",
    ] {
        let (code, error) = place.bad(&format!("{script} > /dev/null"));
        assert!(code == 4 && error.contains("were there"), "{script}: {code} {error}");
    }
}

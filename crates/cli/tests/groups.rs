//! Groups of workers, from the shell.

mod shell;

use shell::Place;

#[test]
fn settings_are_changed_under_a_running_worker() {
    let place = Place::new();
    place.good(
        "slipring create $R -b 48 -c 64 --group g:max-deliver=unlimited,ack-wait=10s; slipring pub $R one",
    );
    // The message fails for ever; one change later it fails once.
    place.good(
        "slipring work $R -g g --exec 'echo > tried; exit 75' 2>/dev/null & until [ -e tried ]; do :; done; \
         slipring group set $R g max-deliver=1 > said; \
         until slipring dead ls $R --json | grep -q '\"reason\":\"failed\"'; do :; done; kill %1; wait",
    );
    let said = "group \"g\" has ack-wait=10s,max-deliver=1,max-ack-pending=1000,backoff=none\n";
    assert_eq!(place.good("cat said"), said);
    assert!(place.good("slipring group info $R g").contains("ack-wait=10s,max-deliver=1,"));
    assert!(place.good("slipring events $R").contains("group-changed"));
    assert!(place.good("slipring check $R").contains("sound"));
}

#[test]
fn several_settings_are_changed_at_once_and_a_wrong_one_changes_none() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group g");
    place.good("slipring group set $R g ack-wait=1min,max-deliver=3 backoff=100ms..10s jitter=20");
    place.good("slipring group set $R g jitter=30");
    let settings = "ack-wait=1m,max-deliver=3,max-ack-pending=1000,backoff=100ms..10s,jitter=30";
    let info = place.good("slipring group info $R g");
    assert!(info.contains(settings), "{info}");
    for (wrong, what) in [
        ("max-deliver=127", "max_deliver is 127, and must be from 1 to 126"),
        (
            "ack-wait=2min max-ack-pending=0",
            "max_ack_pending is 0, and must be from 1 to 18446744073709551615",
        ),
        ("ack-wait=0s", "ack_wait (in ms) is 0"),
        ("ack-wait=2min speed=3", "\"speed\" is none of ack-wait, max-deliver"),
        ("backoff=none jitter=3", "jitter needs a doubling backoff"),
    ] {
        let (code, error) = place.bad(&format!("slipring group set $R g {wrong}"));
        assert!(code == 2 && error.contains(what), "{wrong}: {code} {error}");
        let at_creation = wrong.replace(' ', ",");
        let (code, error) = place.bad(&format!("slipring create other -b 48 -c 64 --group g:{at_creation}"));
        assert!(code == 2 && error.contains(what), "{wrong}: {code} {error}");
        assert!(place.good("slipring group info $R g").contains(settings), "{wrong}");
    }
    let (code, error) = place.bad("slipring group set $R h ack-wait=1s");
    assert!(code == 1 && error.contains("no group is named \"h\""), "{error}");
}

#[test]
fn a_ring_with_a_group_has_room_for_more_and_hints_do_not_lead_in_a_circle() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group g");
    // Each hint works, until there is no room; then the hint is another one.
    let mut hints = 0;
    let last = loop {
        let (code, error) = place.bad(&format!("slipring work $R -g g{hints} -e"));
        assert_eq!(code, 1, "{error}");
        let Some((_, hint)) = error.split_once("make it with: ") else { break error };
        place.good(hint);
        place.good(&format!("slipring work $R -g g{hints} -e"));
        hints += 1;
    };
    assert_eq!(hints, 3, "three more than were given");
    assert!(last.contains("all 4 places") && last.contains("slipring group rm"), "{last}");
    place.good("slipring group rm $R g1; slipring group add $R other");
    // A ring without groups says that it cannot have any.
    place.good("slipring create plain -b 48 -c 64");
    for verb in ["work plain -g g -e", "group info plain g", "group set plain g ack-wait=1s"] {
        let (code, error) = place.bad(&format!("slipring {verb}"));
        assert!(code == 1 && error.contains("when it is created"), "{verb}: {error}");
    }
}

/// Each verb that looks at a group tells that its limit is reached.
#[test]
fn a_group_whose_limit_is_reached_says_so_everywhere() {
    let place = Place::new();
    place.good(
        "slipring create $R -b 48 -c 64 --group sms:max-ack-pending=2,backoff=1h; seq 5 | slipring pub $R",
    );
    let seen = |script: &str| place.good(script);
    let everywhere = [
        ("slipring stat $R", "2 (limit)"),
        ("slipring group ls $R", "2 (limit)"),
        ("slipring group info $R sms", "2 (limit), 0"),
        ("slipring stat $R --json", "\"at_limit\":true"),
        ("slipring top --once --interval 1ms $R", "group, no workers, at its limit"),
        ("slipring top --once --json --interval 1ms $R", "\"at_limit\":true"),
    ];
    for (script, told) in everywhere {
        assert!(!seen(script).contains(told), "{script}");
    }
    // Two fail, and wait for an hour.
    place.good("slipring work $R -g sms -c 2 --exec 'exit 75'");
    for (script, told) in everywhere {
        let text = seen(script);
        assert!(text.contains(told), "{script}: {text}");
    }
    let metrics = seen("slipring metrics $R");
    for sample in ["group_ack_pending_messages", "group_max_ack_pending_messages"] {
        assert!(
            metrics.contains(&format!("slipring_{sample}{{ring=\"{}\",group=\"sms\"}} 2\n", place.ring()))
        );
    }
    let why =
        "3 messages are not delivered, since group \"sms\" has 2 in flight, and its max-ack-pending is 2";
    for (script, code) in [
        ("slipring work $R -g sms -e", 0),
        ("slipring work $R -g sms -e -c 3", 4),
        ("slipring work $R -g sms --timeout 1ms", 4),
    ] {
        let output = place.shell(script);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(code) && error.contains(why), "{script}: {error}");
    }
    // It goes on at once when the limit is raised, as it advises.
    place.good("slipring group set $R sms max-ack-pending=10");
    assert_eq!(place.good("slipring work $R -g sms -c 3"), "3\n4\n5\n");
    let quiet = place.shell("slipring work $R -g sms -e 2>&1");
    assert!(!String::from_utf8(quiet.stdout).unwrap().contains("max-ack-pending"));
}

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
    // Whoever rejects everything, beside the redrive. A worker that comes before it finds the
    // stream closed, and ends.
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

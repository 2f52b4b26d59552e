//! The fear: after a power cut, the command makes a ring that lacks messages, or does not say what
//! its readers get again.

mod shell;

use shell::Place;
use slipring_journal::JournalOptions;

#[test]
fn a_lost_ring_is_restored_from_its_journal_and_its_readers_go_on() {
    let place = Place::new();
    place
        .good("slipring create $R -b 48 -c 1024 --durable journal --durable audit --group sms:max-deliver=3");
    place.good("seq 1 100 | slipring pub $R && slipring sub $R --name audit -c 30");
    let options = JournalOptions::new().allow_memory(true).segment_bytes(64 << 10);
    let journal = options.attach(place.ring(), place.file("journal")).unwrap();
    let (code, error) = place.bad("slipring restore --journal journal $R");
    assert!(code == 1 && error.contains("a journal writes here"), "{error}");
    journal.handle().stop();
    journal.run().unwrap();
    let (code, error) = place.bad("slipring restore --journal journal $R");
    assert!(code == 1 && error.contains("is there already"), "{error}");
    place.good("rm $R $R.dead");

    let told = place.good("slipring restore --journal journal $R 2>&1");
    for part in [
        "restored: 100 messages, positions 0 to 100, of ring ",
        "; from 100 on its messages are its own",
        "durable consumer \"audit\" goes on at 30: it may get 70 messages again",
        "group \"sms\" goes on at 0: it may get 100 messages again",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(place.good("slipring sub $R --name audit -c 70 | head -1"), "31\n");
    assert!(place.good("slipring stat $R").contains("from 100 on, which was lost"));
    // Given again, as after a kill.
    assert!(
        place
            .good("slipring restore --journal journal $R 2>&1")
            .contains("was restored before: 100 messages")
    );
    assert_eq!(place.bad("slipring restore --journal nowhere other").0, 1);
    assert_eq!(place.bad("slipring restore --journal journal -f file $R").0, 2);
}

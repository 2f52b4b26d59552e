//! The fear: a ring is damaged, and the messages that are whole are lost with it.

mod shell;

use shell::Place;

/// A ring with the numbers 1 to 40, 48 bytes a block, each sent by itself: its slot says that it is
/// published.
fn with_messages() -> Place {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64");
    let mut producer = slipring::Producer::<[u8]>::open(place.ring()).unwrap();
    for n in 1..=40 {
        producer.send(n.to_string().as_bytes()).unwrap();
    }
    place
}

/// Which of the numbers are there, and what standard error says.
fn salvaged(place: &Place) -> (Vec<u32>, String) {
    let output = place
        .shell("slipring dump $R --salvage -o dump && sed -n 's/.*\"text\":\"\\([0-9]*\\)\".*/\\1/p' dump");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    // The dump is whole: it can be restored.
    place.good("slipring restore copy -f dump");
    (text.lines().map(|n| n.parse().unwrap()).collect(), String::from_utf8(output.stderr).unwrap())
}

fn all_but(missing: &[u32]) -> Vec<u32> {
    (1..=40).filter(|n| !missing.contains(n)).collect()
}

#[test]
fn a_header_that_was_changed() {
    let place = with_messages();
    // In the random id.
    place.good("printf xxxx | dd of=$R bs=1 seek=220 conv=notrunc 2>/dev/null");
    let (found, error) = salvaged(&place);
    assert_eq!(found, all_but(&[]));
    assert!(error.contains("checksum"), "{error}");
    let (_, error) = place.bad("slipring dump $R");
    assert!(error.contains("dump --salvage"), "the way out: {error}");
}

#[test]
fn a_file_that_was_cut_short() {
    let place = with_messages();
    // The slots of 64 bytes begin after two pages.
    place.good("truncate -s $((8192 + 10 * 64)) $R");
    let (found, error) = salvaged(&place);
    assert_eq!(found, (1..=10).collect::<Vec<_>>());
    assert!(error.contains("has 8832 bytes") && error.contains("30 messages, at 10, 11"), "{error}");
}

#[test]
fn a_slot_that_was_overwritten() {
    let place = with_messages();
    place.good(
        "printf 'xxxxxxxxxxxxxxxxxxxxxxxx' | dd of=$R bs=1 seek=$((8192 + 64 * 6)) conv=notrunc 2>/dev/null",
    );
    let (code, _) = place.bad("slipring check $R");
    assert_eq!(code, 1);
    let output = place.shell("slipring dump $R --salvage");
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && !text.contains("\"position\":6,") && text.contains("\"position\":7,"),
        "{text}"
    );
    assert!(text.contains("{\"end\":39}") && error.contains("1 message, at 6"), "{error}");
}

#[test]
fn a_head_that_cannot_be() {
    for head in ["\\377\\377\\377\\377\\377\\377\\0\\0", "\\0\\0\\0\\0\\0\\0\\0\\0"] {
        let place = with_messages();
        // `head` is on the second line of the producer's page; `claimed` on the first.
        place.good(&format!("printf '{head}' | dd of=$R bs=1 seek=$((4096 + 128)) conv=notrunc 2>/dev/null"));
        let (found, error) = salvaged(&place);
        assert_eq!(found, all_but(&[]), "{head}");
        assert!(error.contains("by the slots, head is 40"), "{error}");
    }
}

#[test]
fn what_is_no_ring_and_what_says_nothing_of_its_blocks_is_an_error() {
    let place = with_messages();
    assert!(place.bad("slipring dump /etc/passwd --salvage").1.contains("is not a ring"));
    place.good(
        "printf '\\377\\377\\377\\377\\377\\377\\377\\377' | dd of=$R bs=1 seek=56 conv=notrunc 2>/dev/null",
    );
    let (code, error) = place.bad("slipring dump $R --salvage");
    assert!(code == 1 && error.contains("the file was not written by slipring"), "{error}");
}

#[test]
fn check_names_the_count_that_is_wrong_and_no_other() {
    let place = with_messages();
    let set_head = |bytes: &str| {
        place
            .good(&format!("printf '{bytes}' | dd of=$R bs=1 seek=$((4096 + 128)) conv=notrunc 2>/dev/null"));
        String::from_utf8(place.shell("slipring check $R").stdout).unwrap()
    };
    let text = set_head("\\377\\377\\377\\377\\377\\377\\377\\377");
    assert!(text.contains("head is 18446744073709551615") && !text.contains("claimed"), "{text}");
    // Which of two possible numbers is wrong is not known.
    let text = set_head("\\350\\003\\0\\0\\0\\0\\0\\0");
    assert!(text.contains("head is 1000, claimed") && text.contains("cannot be together"), "{text}");
}

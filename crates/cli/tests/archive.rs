//! `dump` and `restore`.

mod shell;

use shell::Place;
use std::fmt::Write as _;

const ALL: &str = "slipring sub $R --from earliest -e --json";

#[test]
fn a_restored_ring_has_the_same_messages_at_the_same_positions() {
    let place = Place::new();
    // Every length from nothing to a whole block, every byte, and the ring lapped twice.
    let mut frames = Vec::new();
    for n in 0..150_usize {
        let len = n % 49;
        frames.extend(u32::try_from(len).unwrap().to_le_bytes());
        frames.extend((0..len).map(|at| u8::try_from((n * 49 + at) % 256).unwrap()));
    }
    std::fs::write(place.file("frames"), frames).unwrap();
    place.good("slipring create $R -b 48 -c 64 && slipring pub $R --framed --kind 5 < frames");
    for options in ["", "--binary"] {
        place.good(&format!("slipring dump $R {options} -o file && slipring restore copy < file"));
        place.good("slipring sub $R --observe -e --json > a; slipring sub copy --observe -e --json > b; cmp a b; test -s a");
        place.good("slipring check copy");
        // Onto what is there, through a pipe.
        place.good("slipring create more -b 48 -c 256");
        place.good(&format!("slipring dump $R {options} | slipring restore more"));
        place.good("slipring sub more --observe -e --format '%k %x\\n' > b; slipring sub $R --observe -e --format '%k %x\\n' | cmp - b");
        place.good("slipring rm copy; slipring rm more; rm file");
    }
    assert!(place.good(ALL).lines().count() > 40);
}

#[test]
fn a_part_can_be_dumped() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && seq 0 19 | slipring pub $R");
    let text = place.good("slipring dump $R --from 5 --to 8 | slipring restore copy; slipring sub copy --from earliest -e --format '%p=%s '");
    assert_eq!(text, "5=5 6=6 7=7 ");
    assert_eq!(place.good("slipring dump $R --from -2 | grep -c position"), "2\n");
}

#[test]
fn input_that_cannot_be_right_is_refused_and_nothing_goes_round_the_ring() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && seq 0 19 | slipring pub $R && slipring dump $R > file");
    let (code, error) = place.bad("head -n 5 file | slipring restore copy");
    assert!(code == 1 && error.contains("cut short") && error.contains("4 messages"), "{error}");
    let (code, error) = place.bad("echo hello | slipring restore other");
    assert!(code == 1 && error.contains("slipring dump"), "{error}");
    let (code, error) = place.bad("sed 's/\"len\":1,/\"len\":2,/' file | slipring restore third");
    assert!(code == 1 && error.contains("line 2"), "{error}");
    assert_eq!(place.bad("slipring restore copy -f absent").0, 1);
    assert_eq!(place.bad("slipring dump $R -o file").0, 1, "it exists");
    let mut many = String::new();
    for _ in 0..4 {
        write!(many, "slipring dump $R | slipring restore fourth || exit $?; ").unwrap();
    }
    let (code, error) = place.bad(&format!("slipring create fourth -b 48 -c 16; {many}"));
    assert!(code == 5 && error.contains("overwrite"), "{error}");
}

#[test]
fn a_dump_with_a_gap_says_so_and_dead_letters_are_not_made() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && seq 0 9 | slipring pub $R && slipring dump $R > file");
    place.good("grep -v '\"position\":4' file | sed 's/\"end\":10/\"end\":9/' > gap; slipring restore copy < gap 2> said");
    assert!(place.good("cat said").contains("position 5"));
    assert_eq!(place.good("slipring sub copy --observe -e | wc -l").trim(), "9");
    place.good("slipring create grouped -b 48 -c 64 --group g");
    let (code, error) = place.bad("slipring restore grouped.dead < file");
    assert!(code == 1 && error.contains("dead letters"), "{error}");
}

#[test]
fn a_restore_that_is_begun_again_repeats_nothing() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && seq 0 9 | slipring pub $R && slipring dump $R > file");
    for lines in [0, 1, 5, 10] {
        place.shell(&format!("head -n {} file | slipring restore copy", lines + 1));
        let said = place.good("slipring restore copy -f file 2>&1");
        assert!(lines == 0 || said.contains("there already"), "{said}");
        assert_eq!(place.good("slipring sub copy -e | tr '\\n' ' '"), "0 1 2 3 4 5 6 7 8 9 ");
        place.good("slipring restore copy -f file && slipring rm copy");
    }
    place.good("slipring restore $R -f file");
    assert_eq!(place.good("slipring sub $R -e | wc -l").trim(), "10", "its own ring has them all");
    // Another ring, which begins alike: everything is appended.
    place.good("slipring create other -b 48 -c 64; (seq 0 4; echo x) | slipring pub other; slipring restore other -f file");
    assert_eq!(place.good("slipring sub other -e | wc -l").trim(), "16");
}

#[test]
fn a_dump_that_fails_leaves_nothing_that_blocks_the_next() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64Ki && seq 60000 | slipring pub $R");
    for options in ["", "--binary"] {
        // As on a full disk: the file may not grow any further.
        let limited = format!("trap '' XFSZ; ulimit -f 64; slipring dump $R {options} -o out");
        assert_eq!(place.bad(&format!("({limited})")).0, 1);
        assert_eq!(place.good("ls"), "ring\n");
        place.good(&format!("slipring dump $R {options} -o out && slipring restore copy -f out"));
        place.good("slipring rm copy; rm out");
    }
}

#[test]
fn an_interrupt_ends_a_restore_that_waits_for_input() {
    let place = Place::new();
    place.good(
        "slipring create $R -b 48 -c 64 && seq 0 9 | slipring pub $R && slipring dump $R | head -n 3 > part",
    );
    let script = "mkfifo pipe; slipring restore copy < pipe & pid=$!; exec 3> pipe; cat part >&3; \
                  until slipring ls --json . | grep -q '\"head\":2'; do :; done; kill -INT $pid; wait $pid";
    let (code, error) = place.bad(script);
    assert!(code == 1 && error.contains("interrupted"), "{error}");
}

slipring::message_enum! {
    /// The side of an order.
    enum Side: u32 {
        /// The buyer's.
        Buy = 1,
        /// The seller's.
        Sell = 2,
    }
}
slipring::message! {
    /// An order, which has 16 bytes.
    struct Order {
        /// In ticks.
        price: i64,
        /// Buy or sell.
        side: slipring::Checked<Side>,
        /// In lots.
        lots: [u16; 2],
    }
}

/// A typed ring with an order, and a message of another length that an untyped producer sent.
fn typed() -> Place {
    let place = Place::new();
    slipring::Ring::create::<Order>(place.ring(), 16).unwrap();
    let mut producer = slipring::Producer::<Order>::open(place.ring()).unwrap();
    producer.send(&Order { price: -7, side: Side::Sell.into(), lots: [1, 2] }).unwrap();
    drop(producer);
    assert_eq!(place.bad("slipring pub $R short").0, 1, "refused unless said otherwise");
    place.good("slipring pub $R --any-type short");
    place
}

#[test]
fn the_fields_of_a_typed_ring_are_shown() {
    let place = typed();
    let value = r#"{"price":-7,"side":"Sell","lots":[1,2]}"#;
    for verb in ["sub $R --observe -e --json", "peek $R 0 --json", "dump $R"] {
        let lines = place.good(&format!("slipring {verb}"));
        let of = |position: u64| {
            let all = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
            all.into_iter().find(|line| line["position"] == position)
        };
        assert_eq!(of(0).unwrap()["value"].to_string(), value, "{verb}");
        assert_eq!(of(0).unwrap()["base64"], "+f////////8CAAAAAQACAA==", "{verb}: and the bytes");
        assert!(of(1).is_none_or(|short| short["text"] == "short" && short["value"].is_null()), "{verb}");
    }
    assert_eq!(place.good("slipring peek $R 0"), format!("{value}\n"));
    assert_eq!(place.good("slipring sub $R --observe -e -c 1 --format '%p %v\\n'"), format!("0 {value}\n"));
    // A dump that has the message's fields is restored.
    place.good("slipring dump $R | slipring restore copy");
    assert!(place.good("slipring dump copy").contains("+f////////8CAAAAAQACAA=="));
}

#[test]
fn check_names_a_message_that_is_no_value_of_the_type() {
    let place = typed();
    let output = place.shell("slipring check $R");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && text.contains("position 1: has 5 bytes"), "{text}");
    assert!(text.contains("value of Order{price:i64") && text.contains("has 16"), "{text}");
    // Once it is overwritten, no reader comes to it.
    place.good("for n in $(seq 16); do printf 0123456789abcdef; done | slipring pub $R --any-type --raw");
    place.good("slipring check $R");
}

#[test]
fn a_dump_to_a_full_device_or_over_a_file_or_interrupted_fails_and_changes_nothing() {
    let place = Place::new();
    place
        .good("slipring create $R -b 48 -c 64Ki && seq 60000 | slipring pub $R; echo mine > file; mkdir dir");
    for options in ["", "--binary"] {
        let (code, error) = place.bad(&format!("slipring dump $R {options} > /dev/full"));
        assert!(code == 1 && error.contains("make room"), "{code} {error}");
        for there in ["file", "dir", "/dev/full"] {
            let (code, error) = place.bad(&format!("slipring dump $R {options} -o {there}"));
            assert!(code == 1 && error.contains("is there already"), "{there}: {code} {error}");
        }
        assert_eq!(place.good("cat file"), "mine\n");
        // SIGINT, once so much is written: the digits of the position in the output, which has no
        // name yet.
        for digits in 0..7 {
            place.good(&format!(
                "slipring dump $R {options} -o out & p=$!; \
                 until [ ! -e /proc/$p/fd/0 ] || grep -qsE '^pos:\\s*[0-9]{{{digits},}}$' /proc/$p/fdinfo/*; do :; done; \
                 kill -INT $p; wait $p; code=$?; \
                 if [ $code = 0 ]; then rm out; else [ $code = 1 ] || [ $code = 130 ]; fi"
            ));
            assert_eq!(place.good("ls"), "dir\nfile\nring\n");
        }
        // On a pipe that lost its reader.
        place.good(&format!("(slipring dump $R {options}; [ $? = 0 ]) | head -c 10 > /dev/null"));
    }
}

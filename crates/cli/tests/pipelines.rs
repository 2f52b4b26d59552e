//! The real binary, in pipelines as users write them.

mod shell;

use shell::Place;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

#[test]
fn lines_go_through() {
    let place = Place::new();
    place.good("slipring create $R --block-size 112 --capacity 1024");
    place.good("seq 1 500 | slipring pub $R && slipring pub $R 'last one' --close");
    let lines = place.good("slipring sub $R -e");
    assert_eq!(lines.lines().count(), 501);
    assert!(lines.starts_with("1\n2\n") && lines.ends_with("500\nlast one\n"));
    assert_eq!(place.good("slipring sub $R --observe --from -2 -e"), "500\nlast one\n");
    assert_eq!(place.good("slipring sub $R --last 1 -e"), "last one\n");
    assert_eq!(place.good("slipring sub $R --last 1000000 -e | wc -l").trim(), "501");
    assert_eq!(place.bad("slipring sub $R --last 1 --from 3").0, 2);
    assert_eq!(place.good("slipring sub $R --from 9 -c 2 --format '%n %p %s;'"), "1 9 10;2 10 11;");
    assert_eq!(place.good("slipring peek $R -1"), "last one\n");
    let (code, error) = place.bad("slipring peek $R 501");
    assert_eq!(code, 4, "{error}");
    assert!(place.good("slipring check $R").ends_with(": sound\n"));
    assert!(place.good("slipring stat $R").contains("head          501"));
    assert!(place.good("slipring ls --json .").contains("\"head\":501"));
}

#[test]
fn a_file_larger_than_any_buffer_goes_through_line_by_line() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 65536 --durable archive && seq 300000 > file");
    place.good(
        "slipring sub $R --name archive -c 300000 > copy & slipring pub $R -f file && wait && cmp file copy",
    );
}

#[test]
fn binary_data_survives_byte_for_byte() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::File::create(place.file("data")).unwrap().write_all(&bytes).unwrap();
    place.good("slipring create $R --block-size 112 --capacity 4096");
    place.good("slipring pub $R --raw -f data && slipring sub $R -e --raw > copy && cmp data copy");
    place.good("slipring rm $R && slipring create $R --block-size 112 --capacity 4096");
    place.good("printf '\\x02\\0\\0\\0a\\n\\0\\0\\0\\0\\x01\\0\\0\\0\\xff' > frames; slipring pub $R --framed < frames");
    place.good("slipring sub $R -e --framed | cmp - frames");
    assert_eq!(place.good("slipring sub $R -e --json | wc -l").trim(), "3");
}

#[test]
fn what_is_retained_can_be_read() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 1024 --durable fast");
    place.good("seq 513 | slipring pub $R && slipring sub $R --name fast -e && slipring pub $R one");
    assert_eq!(place.good("slipring sub $R --observe -e | wc -l").trim(), "514");
    assert_eq!(place.good("slipring sub $R --observe --from -10 -e | head -1").trim(), "505");
    assert_eq!(place.good("slipring peek $R earliest -c 514 | wc -l").trim(), "514");
    place.good("slipring dump $R --binary -o copy && slipring restore again -f copy");
    assert_eq!(place.good("slipring sub again --observe -e | wc -l").trim(), "514");
}

#[test]
fn exit_codes_say_what_happened() {
    let place = Place::new();
    let (code, error) = place.bad("slipring sub $R");
    assert!(code == 1 && error.contains("slipring create"), "{error}");
    assert_eq!(place.bad("slipring frobnicate").0, 2);
    assert_eq!(place.bad("slipring create $R -b 0 -c 8").0, 2);
    place.good("slipring create $R -b 48 -c 8 --durable archive");
    let (code, error) = place.bad("slipring create $R -b 48 -c 8");
    assert!(code == 1 && error.contains("exists"), "{error}");
    let (code, error) = place.bad("seq 1 20 | slipring pub $R --nowait");
    assert!(code == 5 && error.contains("archive"), "{error}");
    assert_eq!(place.bad("slipring pub $R x --timeout 10ms").0, 5);
    assert_eq!(place.bad("slipring sub $R --from latest --timeout 10ms").0, 4);
    assert_eq!(place.good("slipring sub $R --name archive -e | wc -l").trim(), "8");
    let (code, error) = place.bad("head -c 49 /dev/zero | slipring pub $R");
    assert!(code == 1 && error.contains("--block-size"), "{error}");
    let (code, error) = place.bad("printf '\\x05\\0\\0\\0a' | slipring pub $R --framed");
    assert!(code == 1 && error.contains("ends within"), "{error}");
    std::fs::write(place.file("other"), "not a ring").unwrap();
    assert_eq!(place.bad("slipring rm other").0, 1);
    assert!(place.file("other").exists());
}

#[test]
fn a_ring_in_huge_pages_is_a_ring_and_what_the_kernel_did_is_said() {
    let place = Place::new();
    let created = place.shell("slipring create $R -b 240 -c 64Ki --huge-pages");
    let said = String::from_utf8(created.stderr).unwrap();
    assert!(created.status.success() && said.contains("huge pages"), "{said}");
    assert_eq!(place.good("slipring pub $R one && slipring sub $R --from earliest -c 1"), "one\n");
}

#[test]
fn a_following_reader_goes_on_when_the_stream_is_opened_again() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && slipring pub $R one --close");
    assert_eq!(place.good("slipring sub $R"), "one\n");
    for how in ["", "--observe"] {
        let follow = format!("slipring sub $R {how} --follow");
        let (code, error) = place.bad(&format!("{follow} --timeout 10ms"));
        assert!(code == 4 && error.contains("nothing came for 10ms"), "{error}");
        let script =
            format!("{{ {follow} -c 2 & }} | {{ read -r first; slipring pub $R two --close; cat; }}");
        assert_eq!(place.good(&script), "two\n");
        place.good("slipring rm $R; slipring create $R -b 48 -c 64 && slipring pub $R one --close");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_releases_only_what_it_wrote() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 65536 --durable archive; seq 1 50000 | slipring pub $R");
    assert_eq!(place.good("slipring sub $R --name archive -c 3"), "1\n2\n3\n");
    assert_eq!(place.good("slipring sub $R --name archive | head -n 1"), "4\n");
    // Nothing stays behind of either.
    assert!(place.good("slipring consumers $R --json").contains("\"alive\":false"));
}

#[test]
fn an_interrupt_ends_in_good_order() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64");
    let bin = env!("CARGO_BIN_EXE_slipring");
    let mut reader = Command::new(bin).args(["sub", &place.ring()]).stdout(Stdio::piped()).spawn().unwrap();
    place.good("slipring pub $R here");
    let mut line = [0; 5];
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut line).unwrap();
    assert_eq!(&line, b"here\n");
    let pid = reader.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert!(reader.wait().unwrap().success());
    assert_eq!(place.good("slipring consumers $R --json"), "[]\n");
}

#[test]
fn an_interrupt_that_leaves_messages_unpublished_is_an_error() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 4 --durable archive; seq 300000 > file");
    // The counter tells that `pub` found the ring full; from then on `pub` waits.
    let full =
        "until slipring stat $R --json | grep -q '\"full_count\":[1-9]'; do :; done; kill -INT $!; wait $!";
    for input in ["-c 10 hello", "-f file", "< <(seq 300000)"] {
        let (code, error) = place.bad(&format!("slipring pub $R {input} & {full}"));
        assert!(code == 1 && error.contains("interrupted: "), "{input}: {code} {error}");
        place.good("slipring rm $R && slipring create $R -b 48 -c 4 --durable archive");
    }
    // Nothing that came is unpublished: that is how `tail -f` ends.
    place.good(
        "mkfifo pipe; slipring pub $R < pipe & exec 3> pipe; echo one >&3; \
         until [ \"$(slipring sub $R --observe -e)\" = one ]; do :; done; kill -INT $!; wait $!",
    );
}

#[test]
fn a_line_that_is_too_long_becomes_what_was_asked_for() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && (echo a; printf '%0200d\\n' 1; echo b) > input");
    let (code, error) = place.bad("slipring pub $R < input");
    assert!(
        code == 1 && error.contains("--long split") && error.contains("published before it: 1 message"),
        "{error}"
    );
    for (policy, lengths, said) in [
        ("split", "1 48 48 48 48 8 1", "split"),
        ("truncate", "1 48 1", "cut off"),
        ("skip", "1 1", "left out"),
    ] {
        place.good("slipring rm $R && slipring create $R -b 48 -c 64");
        let error = place.good(&format!("slipring pub $R --long {policy} < input 2>&1"));
        assert!(error.contains(said) && error.contains("1 message"), "{error}");
        place.good(&format!("slipring pub $R --long {policy} \"$(printf '%0200d' 1)\" -c 2"));
        let found = place.good("slipring sub $R -e --format '%l '");
        let (lines, message) = found.split_at(lengths.len());
        assert_eq!(lines, lengths, "{policy}");
        let twice = format!("{0}{0}", &lengths[1..lengths.len() - 2]);
        assert_eq!(message.trim(), twice.trim(), "{policy}");
    }
    // The pipeline that README recommends outlives a long line, however much of it comes at once.
    place.good("slipring rm $R && slipring create $R -b 48 -c 64Ki");
    let lines = "seq 10; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo last";
    place.good(&format!("({lines}) | slipring pub $R --long split && slipring pub $R --close end"));
    assert!(place.good("slipring sub $R | tail -n 2").contains("last\nend\n"));
}

#[test]
fn two_signals_at_once_are_one_and_a_later_one_ends_the_process() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group g:max-deliver=2 && slipring pub $R job");
    for _ in 0..4 {
        // As coreutils timeout sends them: to the process, and to its group.
        place.shell(
            "set -m; slipring work $R -g g --exec 'echo > begun; exec sleep 60' & until [ -e begun ]; do :; done; \
             kill -TERM $!; kill -TERM $!; kill -TERM -- -$!; wait $!; rm begun",
        );
        assert!(place.good("slipring group info $R g --json").contains("\"pending\":1"), "untried");
    }
    let info = place.good("slipring group info $R g --json");
    assert!(info.contains("\"handed_back\":4") && info.contains("\"worker_died\":0"), "{info}");
    // One that a stuck command holds up can be ended all the same.
    let stuck = place.shell(
        "slipring work $R -g g --exec 'trap \"\" TERM; echo > begun; sleep 60 >/dev/null 2>&1 & wait; wait' & \
         until [ -e begun ]; do :; done; while kill -TERM $! 2>/dev/null; do sleep .1; done; wait $!",
    );
    assert_eq!(stuck.status.code(), Some(128 + 15));
}

#[test]
fn errors_name_the_ring_and_what_to_do() {
    let place = Place::new();
    let ring = place.ring();
    place.good("slipring create $R -b 48 -c 4 --group sms && seq 3 | slipring pub $R");
    let (code, error) = place.bad("seq 5 | slipring pub $R --nowait");
    assert!(code == 5 && error.contains(&ring) && error.contains("published: 1 message"), "{error}");
    assert!(place.good("slipring stat $R.dead").contains("letters of    ring "));
    for (script, code, said) in [
        ("slipring create other -b 48 -c 4 --group a --group a:max-deliver=3", 2, "given twice"),
        ("slipring create other -b 48 -c 4 --group a:max-deliver=0", 2, "1 to 126"),
        ("slipring create other -b 48 -c 4 --consumers 1 --durable a --durable b", 2, "2 durable consumers"),
        ("slipring create other -b 48 -c 4 --group a:ack-wait=3", 2, "\"3\" is not a time such as"),
        ("slipring create other -b 1Gi -c 1 --group a", 2, "at most 1073741632"),
        ("touch other.dead && slipring create other -b 48 -c 4 --group a", 1, "belong there"),
        ("slipring consumers $R --add archive --json", 2, "cannot be used"),
        ("slipring ls $R", 1, "slipring stat"),
        ("slipring rm other", 1, "check the path"),
        ("slipring dead purge $R", 4, "no dead letters"),
        ("slipring work $R -g sms -c 9 --timeout 20ms >/dev/null", 4, "nothing to do for 20ms"),
        ("slipring sub $R --from latest --timeout 20ms", 4, "nothing came for 20ms"),
        ("slipring dump $R -o dump && slipring dump $R -o dump", 1, "name another file"),
        ("slipring restore copy < /proc/self/comm", 1, "the input is not what"),
        ("slipring ls . > /dev/full", 1, "the output cannot be written"),
    ] {
        let (found, error) = place.bad(script);
        assert!(found == code && error.contains(said), "{script}: {found} {error}");
    }
    assert_eq!(place.good("slipring rm --force other"), "", "as rm -f does");
}

#[test]
fn a_command_that_is_not_there_costs_no_attempt() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group sms:max-deliver=2 && seq 3 | slipring pub $R");
    place.good("touch closed");
    for command in ["./absent", "./closed"] {
        for _ in 0..3 {
            let (code, error) = place.bad(&format!("slipring work $R -g sms -e --exec {command}"));
            assert!(code == 1 && error.contains("handed back"), "{error}");
        }
    }
    assert_eq!(
        place.good("slipring work $R -g sms -e --exec 'cat; echo \" $SLIPRING_ATTEMPT\"'"),
        "1 1\n2 1\n3 1\n"
    );
    assert_eq!(place.good("slipring dead ls $R --json"), "[]\n");
}

#[test]
fn workers_share_fail_and_reject() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --groups 3 --group sms:max-deliver=2");
    place.good("printf 'good\\nbad\\nworse\\n' | slipring pub $R");
    place.good(
        "slipring work $R -g sms -c 4 --exec 'read m; echo $m $SLIPRING_ATTEMPT >> seen; \
         case $m in good) exit 0;; bad) exit 65;; *) exit 75;; esac'",
    );
    let seen = place.good("sort seen");
    assert_eq!(seen, "bad 1\ngood 1\nworse 1\nworse 2\n");
    assert!(place.good("slipring group info $R sms --json").contains("sms"));
    assert_eq!(place.good("slipring work $R -g sms -e"), "");
    // To the end of its attempts, since nothing says that it should rest.
    place.good("slipring group add $R stubborn:max-deliver=4 --from latest; slipring pub $R again");
    place.good("slipring work $R -g stubborn -e --exec 'exit 75'");
    assert!(place.good("slipring dead ls $R -g stubborn --json").contains("\"attempts\":4"));
    let (code, error) = place.bad("slipring work $R -g nobody -e");
    assert!(code == 1 && error.contains("nobody"), "{error}");
    // A lease that ends, since its worker was stopped: another attempt may come, and the code says
    // so.
    place.good("slipring group add $R quick:ack-wait=100ms --from latest; slipring pub $R late");
    let info = "slipring group info $R stubborn --json";
    assert!(
        place
            .good(&format!("slipring work $R -g stubborn --name w1 -c 1 --exec '{info}'"))
            .contains("\"name\":\"w1\"")
    );
    let late = "slipring work $R -g quick -c 1 --exec \
                'kill -STOP $PPID; slipring work $R -g quick -c 1; kill -CONT $PPID'";
    let (code, error) = place.bad(late);
    assert!(code == 3 && error.contains("ack-wait"), "{error}");
}

#[test]
fn help_and_completions_are_there() {
    let place = Place::new();
    for script in ["slipring --help", "slipring pub --help", "slipring man", "slipring completions bash"] {
        assert!(place.good(script).len() > 200, "{script}");
    }
    assert!(place.good("slipring --help").contains("Exit codes"));
    let manual = place.good("slipring man");
    for part in
        [".SS \"slipring dead redrive\"", "\\-\\-durable\\-inactive", "the ring was full", "| jq \\-r .text"]
    {
        assert!(manual.contains(part), "the manual has no {part}");
    }
    assert!(!manual.contains("slipring\\-create(1)"), "there is one page");
}

/// A command that reads a ring for days must not be ended by the owner of its file.
#[test]
fn a_ring_that_is_cut_short_is_an_error() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 && slipring pub $R first");
    let mut reader = Command::new(env!("CARGO_BIN_EXE_slipring"))
        .args(["sub", &place.ring()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(reader.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    std::fs::OpenOptions::new().write(true).open(place.ring()).unwrap().set_len(0).unwrap();
    let mut error = String::new();
    reader.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(reader.wait().unwrap().code(), Some(1), "{error}");
    assert!(error.contains("cut short"), "{error}");
}

#[test]
fn a_ring_of_values_takes_lines_only_if_that_is_meant() {
    let place = Place::new();
    slipring::Ring::create::<u64>(place.file("values"), 8).unwrap();
    let (code, error) = place.bad("slipring pub values 12345678");
    assert!(code != 0 && error.contains("carries u64, this program expects untyped bytes"), "{error}");
    place.good("slipring pub values 12345678 --any-type");
    // Read as bytes, and as the number that the bytes are.
    assert_eq!(
        place.good("slipring sub values -e && slipring peek values -1"),
        "12345678\n4050765991979987505\n"
    );
}

#[test]
fn of_two_that_publish_at_once_the_second_may_wait_for_its_turn() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64; mkfifo pipe");
    let first = "slipring pub $R < pipe & exec 3> pipe; echo first >&3; \
                 until slipring stat $R --json | grep -q '\"alive\":true'; do :; done; ";
    let (code, error) =
        place.bad(&format!("{first} slipring pub $R second; code=$?; exec 3>&-; wait; exit $code"));
    assert!(code == 1 && error.contains("is its producer"), "{error}");
    let (code, _) = place.bad(&format!(
        "{first} slipring pub $R late --wait-turn --timeout 50ms; code=$?; exec 3>&-; wait; exit $code"
    ));
    assert_eq!(code, 1);
    place.good(&format!("{first} slipring pub $R second --wait-turn 3>&- & exec 3>&-; wait"));
    assert_eq!(place.good("slipring sub $R -e"), "first\nfirst\nfirst\nsecond\n");
}

#[test]
fn events_tell_a_producer_that_left_from_one_that_died() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64; slipring pub $R one; slipring pub $R two");
    let kinds = "slipring events $R --json | grep -o '\"event\":\"[^\"]*' | cut -d '\"' -f 4";
    assert_eq!(place.good(kinds), "created\nproducer-opened\ndetached\nproducer-opened\ndetached\n");
    place.good(
        "mkfifo pipe; slipring pub $R < pipe & pid=$!; exec 3> pipe; echo three >&3; \
         until [ \"$(slipring sub $R --observe -e | tail -n 1)\" = three ]; do :; done; \
         kill -KILL $pid; wait; slipring pub $R four",
    );
    assert!(place.good(kinds).ends_with("producer-opened\nproducer-died\nproducer-took-over\ndetached\n"));
    assert_eq!(place.good("slipring events $R -c 2 | wc -l").trim(), "3");
    assert!(place.good("slipring stat $R --json").contains("\"event\":\"producer-died\""));
}

#[test]
fn what_a_kill_leaves_is_no_fault_and_a_copy_is_one() {
    let place = Place::new();
    place.good(
        "slipring create $R -b 48 -c 64; slipring pub $R one; slipring sub $R > out & \
         until [ -s out ]; do :; done; kill -KILL $!; wait",
    );
    let said = place.good("slipring check $R");
    assert!(said.contains("sound, 1 entry to be cleared"), "{said}");
    assert!(place.good("slipring check $R --json").contains("\"violations\":[]"));
    assert!(place.shell("slipring doctor .").stdout.windows(9).any(|text| text == b"all sound"));
    place.good("slipring check $R --repair; slipring check $R | grep -q 'sound$'");
    place.good("cp ring copy");
    for one in ["ring", "copy"] {
        let output = place.shell(&format!("slipring check {one}"));
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(1) && said.contains("has the same id"), "{said}");
    }
    place.good("rm copy; slipring check ring");
}

/// Root can give the ring away; others have no second user at hand.
#[test]
fn every_verb_that_writes_can_trust_another_user() {
    let place = Place::new();
    place.good("slipring create $R -b 48 -c 64 --group g --durable d; seq 4 | slipring pub $R");
    place.good("slipring work $R -g g -c 2 --exec 'exit 65'; slipring dump $R > dump");
    if !place.shell("chown 1234 $R $R.dead").status.success() {
        eprintln!("tried nothing: not root");
        return;
    }
    for (verb, rest) in [
        ("pub", "x"),
        ("sub", "--name d -e"),
        ("work", "-g g -c 1"),
        ("consumers", "--add e"),
        ("consumers", "--rm e"),
        ("dead", "redrive $R -c 1 --apply"),
        ("dead", "purge $R -c 1 --apply"),
        ("group", "reset $R g --to latest --apply"),
        ("group", "rm $R g"),
        ("restore", "-f dump"),
        ("check", "--repair"),
    ] {
        let path = if rest.contains("$R") { "" } else { "$R" };
        let script = format!("slipring {verb} {path} {rest}");
        let (code, error) = place.bad(&script);
        assert!(code == 1 && error.contains("--trust-owner 1234"), "{script}: {code} {error}");
        if rest != "rm $R g" {
            place.good(&format!("{script} --trust-owner 1234"));
        }
    }
    place.good("chown 65534 $R");
    let (_, error) = place.bad("slipring pub $R x");
    assert!(error.contains("user namespace") && !error.contains("trust"), "{error}");
    assert_eq!(place.bad("slipring pub $R x --trust-owner nobody-of-this-name").0, 2);
}

#[test]
fn verbs_wait_for_a_ring_that_is_not_there_yet() {
    let place = Place::new();
    let (_, error) = place.bad("slipring sub late -e --wait 1ms");
    assert!(error.contains("no such ring"), "{error}");
    let both = "slipring sub late -c 1 --wait 1min & slipring pub late hello --wait 1min & \
                slipring create late -b 48 -c 8 > /dev/null && wait";
    assert_eq!(place.good(both), "hello\n");
}

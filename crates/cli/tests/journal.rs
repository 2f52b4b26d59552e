//! The fear: the journal that runs beside a trading system loses what it said it had, stops for
//! ever, spins, or says nothing.

mod shell;

use shell::Place;

/// A ring with `n` messages 1 to n that waits for its journal.
fn ring(n: u32) -> Place {
    let place = Place::new();
    place.good(&format!("slipring create $R -b 48 -c 16Ki --durable journal && seq {n} | slipring pub $R"));
    place
}

/// A journal in a directory that may be in memory.
const JOURNAL: &str = "timeout -s KILL 100 slipring journal $R --to j --allow-memory";

/// True if strace is there and may trace.
fn can_inject(place: &Place) -> bool {
    let can = place.shell("strace -o /dev/null -e inject=pwrite64:error=EIO:when=9 true").status.success();
    if !can {
        println!("nothing was tried: strace is not there, or may not trace");
    }
    can
}

#[test]
fn what_is_published_is_in_the_history_by_position_and_by_time() {
    let place = ring(1000);
    place.good(&format!("{JOURNAL} -e"));
    place.good("test $(slipring history j | tee all | wc -l) = 1000 && diff <(seq 1000) all");
    assert_eq!(place.good("slipring history j --from 17 -c 2"), "18\n19\n");
    assert_eq!(place.good("slipring history j --from -1"), "1000\n");
    assert_eq!(place.good("slipring history j --from latest"), "");
    assert_eq!(place.good("slipring history j --from 2020-01-01T12:00 | wc -l"), "1000\n");
    assert_eq!(place.good("slipring history j --from 2120-01-01 | wc -l"), "0\n");
    let line = place.good("slipring history j --from 4 -c 1 --json");
    assert!(line.starts_with(r#"{"position":4,"kind":0,"len":1,"text":"5","committed":"2"#), "{line}");
    let (code, error) = place.bad("slipring history j --from 990 -c 11");
    assert!(code == 4 && error.contains("10 of 11 messages"), "{error}");
    assert_eq!(place.bad("slipring history j --from noon").0, 2);
    let (code, error) = place.bad("slipring history elsewhere");
    assert!(code == 1 && error.contains("no journal"), "{error}");
    let text = place.good("slipring journal check j");
    assert!(text.contains("sound: 1000 messages in 1 segment"), "{text}");
}

#[test]
fn a_reader_goes_from_history_over_to_live_without_a_gap() {
    let place = Place::new();
    // More than the ring holds, while the journal and the reader run.
    place.good(&format!(
        "slipring create $R -b 48 -c 256 --durable journal
         {JOURNAL} --segment 64Ki --keep-bytes 100Mi & j=$!
         seq 20000 | slipring pub $R & p=$!
         until slipring history j -c 2000 >/dev/null 2>&1; do :; done
         timeout -s KILL 60 slipring sub $R --history j --from 0 -c 20000 > all && wait $p && kill $j && wait $j
         diff <(seq 20000) all"
    ));
    let json = place.good("slipring sub $R --history j --from 19990 -e --json | tail -1");
    assert!(json.contains(r#""text":"20000","origin":"#), "{json}");
    place.good("slipring create other -b 48 -c 64");
    let (code, error) = place.bad("slipring sub other --history j --from 0 -e");
    assert!(code == 1 && error.contains("no journal"), "{error}");
}

#[test]
fn a_signal_lets_it_write_what_is_published_by_then() {
    let place = ring(5000);
    place.good(&format!(
        "{JOURNAL} 2>said & p=$!; until grep -q 'journal from' said; do :; done; kill -TERM $p; wait $p"
    ));
    place.good("diff <(seq 5000) <(slipring history j)");
    place.good("grep -q 'stopped: all below position 5000 is on the disk; 5000 messages' said");
}

#[test]
fn of_two_journals_in_one_directory_the_second_ends_at_once() {
    let place = ring(10);
    // The same ring by another path: its durable consumer is another one's, the directory is not.
    let (code, error) = place.bad(&format!(
        "cp ring copy; {JOURNAL} 2>said & p=$!; until grep -q 'journal from' said; do :; done
         slipring journal copy --to j --allow-memory; code=$?
         slipring journal $R --to k --allow-memory && exit 99
         kill $p; wait $p; test ! -e k || exit 98; exit $code"
    ));
    assert!(code == 1 && error.contains("another journal writes here (process "), "{code} {error}");
    assert!(error.contains("\"journal\" is in use by process"), "{error}");
}

#[test]
fn a_write_that_fails_ends_it_and_the_next_goes_on_in_a_new_segment() {
    let place = ring(3000);
    if !can_inject(&place) {
        return;
    }
    // The writes of the thread that commits: the head of the segment, then frames.
    let (code, error) = place.bad(
        "timeout -s KILL 100 strace -f -o /dev/null -e trace=pwrite64 -e inject=pwrite64:error=EIO:when=2 \
         slipring journal $R --to j --allow-memory -e",
    );
    assert!(code == 6 && error.contains("nothing more is released"), "{code} {error}");
    let tail = place.good("slipring consumers $R --json");
    assert!(tail.contains(r#""tail":0"#), "{tail}");
    place.good(&format!("ls j/*/*.failed && {JOURNAL} -e && diff <(seq 3000) <(slipring history j)"));
    place.good("slipring journal check j");
}

#[test]
fn a_disk_that_says_yes_and_writes_nothing_is_found_out_at_the_next_start() {
    let place = ring(3000);
    if !can_inject(&place) {
        return;
    }
    place.good(
        "timeout -s KILL 100 strace -f -o /dev/null -e trace=pwrite64 -e inject=pwrite64:retval=36864:when=2 \
         slipring journal $R --to j --allow-memory -e",
    );
    let (code, error) = place.bad(&format!("{JOURNAL} -e"));
    // Marks were written behind the frame that is not there.
    assert!(code == 6 && error.contains("damaged at byte 4096, position 0"), "{code} {error}");
    place.good(&format!("{JOURNAL} -e --begin-here"));
}

#[test]
fn a_full_disk_is_waited_out() {
    let place = ring(3000);
    if !can_inject(&place) {
        return;
    }
    place.good(
        "timeout -s KILL 100 strace -f -o /dev/null -e trace=pwrite64 -e inject=pwrite64:error=ENOSPC:when=2..3 \
         slipring journal $R --to j --allow-memory -e 2>said",
    );
    place.good("test $(grep -c 'the disk is full' said) = 1 && grep -q 'has room again' said");
    place.good("diff <(seq 3000) <(slipring history j)");
    // It is stopped while the disk is full.
    let place = ring(3000);
    let (code, error) = place.bad(
        "strace -f -o /dev/null -e trace=pwrite64 -e inject=pwrite64:error=ENOSPC:when=2+ \
         timeout -s KILL 100 slipring journal $R --to j --allow-memory 2>said & s=$!
         until grep -q 'is full' said; do :; done
         kill -TERM $(pgrep -P $s); wait $s; code=$?; cat said >&2; exit $code",
    );
    assert!(code == 6 && error.contains("was stopped before there was room"), "{code} {error}");
    assert!(place.good("slipring consumers $R --json").contains(r#""tail":0"#));
}

#[test]
fn damage_ends_the_history_with_a_code_of_its_own_and_nothing_is_removed_by_a_repair() {
    let place = ring(3000);
    place.good(&format!("{JOURNAL} -e --segment 4Ki"));
    let segments = place.good("ls j/*/*.seg | wc -l");
    place.good("cd j/*/ && printf X | dd of=$(ls *.seg | head -1) bs=1 seek=5000 conv=notrunc status=none");
    let (code, error) = place.bad("slipring history j > read");
    assert!(code == 7 && error.contains("damaged at byte 4096: positions 0 to "), "{code} {error}");
    let (code, error) = place.bad("slipring journal check j > text");
    assert!(code == 7 && error.contains("1 thing is wrong"), "{code} {error}");
    place.good("slipring history j --skip-gaps | tail -1 | grep -q 3000");
    // The head of a segment: no reader can open it.
    place.good("cd j/*/ && printf X | dd of=$(ls *.seg | head -1) bs=1 seek=20 conv=notrunc status=none");
    place.good("slipring journal repair j | grep -q 'would be moved' && test ! -e j/*/aside");
    place.good("slipring journal repair j --apply && ls j/*/aside/*.seg");
    assert_eq!(place.good("ls j/*/*.seg j/*/aside/*.seg | wc -l"), segments);
    place.good("slipring journal check j");
}

#[test]
fn a_named_reader_goes_on_where_it_stopped_is_listed_and_forgotten() {
    let place = ring(100);
    place.good(&format!("{JOURNAL} -e"));
    assert_eq!(place.good("slipring history j --name audit -c 60 | tail -1"), "60\n");
    let list = place.good("slipring journal readers j");
    assert!(list.contains("audit") && list.contains(" 60 ") && list.contains(" 40 "), "{list}");
    assert_eq!(place.good("slipring history j --name audit | head -1"), "61\n");
    place.good("slipring journal forget j audit");
    assert!(place.bad("slipring journal forget j audit").1.contains("no reader is called"));
}

#[test]
fn a_directory_in_memory_is_refused_and_a_missing_parent_is_not_made() {
    let place = ring(10);
    let (code, error) = place.bad("slipring journal $R --to j");
    assert!(code == 1 && error.contains("which is memory") && error.contains("--allow-memory"), "{error}");
    let (code, error) = place.bad("slipring journal $R --to no/such/place --allow-memory");
    assert!(code == 1 && error.contains("no"), "{error}");
    place.good("test ! -e j && test ! -e no");
    assert_eq!(place.bad("slipring journal $R").0, 2);
}

#[test]
fn many_segments_take_few_descriptors_and_a_start_looks_at_the_newest() {
    let place = ring(3000);
    place.good(&format!("{JOURNAL} -e --segment 4Ki"));
    let segments: u32 = place.good("ls j/*/*.seg | wc -l").trim().parse().unwrap();
    place.good("(ulimit -n 24; slipring history j) | diff <(seq 3000) -");
    // Each but the newest is made unreadable: a start does not mind.
    place.good("cd j/*/ && for s in $(ls *.seg | head -n -1); do printf X | dd of=$s bs=1 seek=20 conv=notrunc status=none; done");
    place.good(&format!("(ulimit -n 24; {JOURNAL} -e)"));
    assert!(segments > 1, "{segments}");
}

/// SIGKILL at the first, second, … of the system calls by which a journal changes files and names:
/// what it had released is there, and the next journal goes on.
#[test]
fn a_journal_that_is_killed_at_any_system_call_loses_nothing() {
    let place = Place::new();
    if !can_inject(&place) {
        return;
    }
    let calls = "pwrite64,rename,renameat2,fsync,unlink,mkdir,ftruncate,fallocate";
    let script = format!(
        "for n in $(seq 60); do
            rm -rf j ring; slipring create $R -b 900 -c 256 --durable journal && seq -f %0400g 60 | slipring pub $R || exit 1
            strace -f -o /dev/null -e trace={calls} -e inject={calls}:signal=KILL:when=$n \
                slipring journal $R --to j --allow-memory --segment 8Ki -e 2>/dev/null && break
            tail=$(slipring consumers $R --json | grep -o '\"tail\":[0-9]*' | cut -d: -f2)
            test $(slipring history j 2>/dev/null | wc -l) -ge $tail || exit 2
            {JOURNAL} --segment 8Ki -e || exit 3
            diff <(seq -f %0400g 60) <(slipring history j) || exit 4
            slipring journal check j >/dev/null || exit 5
        done; echo survived $n"
    );
    let text = place.good(&script);
    let n: u32 = text.trim().rsplit(' ').next().unwrap().parse().unwrap();
    assert!((5..60).contains(&n), "{text}");
}

/// Runs a script in a mount namespace of its own, with an ext4 of 32 MiB at `m`, in a tmpfs of so
/// many MiB. None where that is not allowed.
fn on_a_disk(place: &Place, memory: u32, script: &str) -> Option<(i32, String)> {
    let before = format!(
        "mount --make-rprivate / || exit 77
         mkdir m t && mount -t tmpfs -o size={memory}m none t && truncate -s 32M t/image || exit 77
         mkfs.ext4 -q t/image && mount -o loop t/image m || exit 77\n"
    );
    std::fs::write(place.file("script"), before + script).unwrap();
    let output = place.shell("unshare -m true || exit 77; unshare -m timeout -s KILL 100 bash script 2>&1");
    let code = output.status.code().unwrap();
    (code != 77).then(|| (code, String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn a_disk_that_fills_up_is_waited_out_and_no_message_is_missing() {
    let place = Place::new();
    let script = "
        slipring create ring -b 4000 -c 4Ki --durable journal >/dev/null
        dd if=/dev/zero of=m/filler bs=1M count=22 2>/dev/null
        slipring journal ring --to m/j --segment 1Mi 2>said & j=$!
        for n in $(seq 3000); do printf '%d %3900d\\n' $n 0; done | slipring pub ring
        until grep -q 'the disk is full' said; do :; done
        rm m/filler
        until grep -q 'has room again' said; do :; done
        until slipring consumers ring --json | grep -q '\"tail\":3000'; do :; done
        kill $j; wait $j || exit 3
        diff <(seq 3000) <(slipring history m/j | cut -d' ' -f1) || exit 4
        slipring journal check m/j || exit 5
        umount m";
    let Some((code, text)) = on_a_disk(&place, 64, script) else { return };
    assert!(code == 0, "{code} {text}");
}

/// A sparse image in a tmpfs that is full: the device refuses writes.
#[test]
fn a_device_that_fails_ends_it_or_is_waited_out_and_what_was_released_is_there_or_missed_aloud() {
    let place = Place::new();
    let script = "
        slipring create ring -b 4000 -c 4Ki --durable journal >/dev/null
        slipring journal ring --to m/j --segment 1Mi 2>said & j=$!
        seq 100 | slipring pub ring
        until slipring consumers ring --json | grep -q '\"tail\":100'; do :; done
        dd if=/dev/urandom of=t/filler bs=64K 2>/dev/null; dd if=/dev/urandom of=t/more bs=4K 2>/dev/null
        for n in $(seq 101 2000); do printf '%d %3900d\\n' $n 0; done | slipring pub ring
        until grep -qE 'the disk is full|nothing more is released' said; do :; done
        kill $j 2>/dev/null; wait $j; code=$?
        tail=$(slipring consumers ring --json | grep -o '\"tail\":[0-9]*' | cut -d: -f2)
        umount m && rm t/filler t/more && mount -o loop t/image m || exit 2
        slipring journal ring --to m/j --segment 1Mi -e 2>again; next=$?
        n=$(slipring history m/j | wc -l)
        diff <(seq $n) <(slipring history m/j | cut -d' ' -f1) || exit 3
        umount m; echo $code $tail $next $n";
    let Some((code, text)) = on_a_disk(&place, 20, script) else { return };
    let numbers: Vec<u32> =
        text.split_whitespace().map(|number| number.parse().unwrap_or(u32::MAX)).collect();
    let [ended, tail, next, n] = numbers[..] else { panic!("{code} {text}") };
    assert!(code == 0 && ended == 6 && tail < 2000, "{code} {text}");
    // The device may have lost what it had confirmed; then the next start says so.
    assert!((next == 0 && n == 2000) || (next == 6 && n < tail), "{code} {text}");
}

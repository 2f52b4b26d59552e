//! The fear: on some filesystem, or where something is missing, a ring is not what it promises, or
//! the error does not say why.

mod shell;

use shell::Place;

/// Runs a script in a mount namespace of its own. None where that is not allowed, or the script
/// ends with 77: a tool or a filesystem is missing, and nothing was tried.
fn apart(place: &Place, script: &str) -> Option<(i32, String, String)> {
    std::fs::write(place.file("script"), format!("mount --make-rprivate / || exit 77\nmkdir m\n{script}"))
        .unwrap();
    let output = place.shell("unshare -m true || exit 77; unshare -m bash script");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    if code == 77 {
        println!("nothing was tried: {}", text(output.stderr));
        return None;
    }
    Some((code, text(output.stdout), text(output.stderr)))
}

/// A ring on a filesystem that is full keeps what is published: two laps of it.
fn keeps_its_space(mkfs: &str, megabytes: u32) {
    let place = Place::new();
    let script = format!(
        "truncate -s {megabytes}M image && {mkfs} image >/dev/null && mount -o loop image m || exit 77
         slipring create m/ring -b 48 -c 16Ki || exit 1
         seq 16000 | slipring pub m/ring || exit 2
         dd if=/dev/urandom of=m/filler bs=64K 2>/dev/null; sync; dd if=/dev/urandom of=m/more bs=1K 2>/dev/null; sync
         seq 40000 | slipring pub m/ring || exit 3
         sync
         slipring sub m/ring --observe -e | tail -1; slipring check m/ring
         umount m || umount -l m"
    );
    let Some((code, out, error)) = apart(&place, &script) else { return };
    assert!(code == 0 && out.contains("\n40000\n"), "{mkfs}: {code} {out} {error}");
}

#[test]
fn a_ring_on_a_filesystem_without_reservation_keeps_its_space() {
    keeps_its_space("mkfs.ext2 -q", 16);
    keeps_its_space("mkfs.ext3 -q", 16);
}

#[test]
fn a_ring_on_a_disk_keeps_its_space() {
    keeps_its_space("mkfs.ext4 -q", 32);
    keeps_its_space("mkfs.xfs -q", 320);
}

#[test]
fn a_ring_on_a_filesystem_that_copies_on_write_asks_it_not_to() {
    let place = Place::new();
    let script =
        "truncate -s 128M image && mkfs.btrfs -q image >/dev/null && mount -o loop image m || exit 77
        slipring create m/ring -b 48 -c 16Ki -g g || exit 1
        seq 40000 | slipring pub m/ring --count 16384 || exit 2
        lsattr m/ring m/ring.dead | cut -d' ' -f1; umount m || umount -l m";
    let Some((code, out, error)) = apart(&place, script) else { return };
    let flagged = out.lines().filter(|line| line.starts_with("---") && line.contains('C')).count();
    assert!(code == 0 && flagged == 2, "{code} {out} {error}");
}

/// On a full filesystem, after `copy` has made the pages of the ring shared: a message that does
/// not fit is an error, and no published message is lost.
fn copies_take_no_message(mkfs: &str, megabytes: u32, copy: &str) {
    let place = Place::new();
    let script = format!(
        "truncate -s {megabytes}M image && {mkfs} image >/dev/null && mount -o loop image m || exit 77
         mkdir m/v; slipring create m/v/ring -b 48 -c 16Ki || exit 1
         seq 16384 | slipring pub m/v/ring || exit 2
         sync; {copy} || exit 77
         dd if=/dev/urandom of=m/filler bs=64K 2>/dev/null; sync; dd if=/dev/urandom of=m/more bs=1K 2>/dev/null; sync
         seq 20001 36384 | slipring pub m/v/ring 2>said; echo ended $?
         umount m && mount -o loop image m || exit 3
         slipring sub m/v/ring --observe -e | tail -1; slipring check m/v/ring || exit 4
         rm m/filler m/more; echo again | slipring pub m/v/ring || exit 5
         umount m || umount -l m"
    );
    let Some((code, out, error)) = apart(&place, &script) else { return };
    assert!(code == 0, "{copy}: {code} {out} {error}");
    // A filesystem that finds another place has lost nothing, either.
    if out.contains("ended 0\n") {
        assert!(out.contains("\n36384\n"), "{copy}: {out}");
        return;
    }
    let said = std::fs::read_to_string(place.file("said")).unwrap();
    assert!(out.contains("ended 1\n16384\n"), "{copy}: {out} {said}");
    assert!(said.contains("snapshot or a reflink") && said.contains("published: 0 messages"), "{said}");
}

#[test]
fn a_snapshot_or_a_reflink_that_takes_reserved_space_costs_no_message() {
    copies_take_no_message("mkfs.xfs -q", 320, "cp --reflink=always m/v/ring m/copy");
    let into_its_like = "touch m/copy && chattr +C m/copy && cp --reflink=always m/v/ring m/copy";
    copies_take_no_message("mkfs.btrfs -q", 128, into_its_like);
    copies_take_no_message("mkfs.btrfs -q", 128, "btrfs subvolume snapshot m m/snapshot >/dev/null");
}

/// The script mounts a filesystem at `m`, also a second time.
fn knows_its_lock_file(mount: &str) {
    let place = Place::new();
    let script = format!(
        "mounted() {{ {mount}; }}; mounted || exit 77
         slipring create m/ring -b 48 -c 64 -g g --mode 644 && echo first | slipring pub m/ring || exit 1
         umount m && mounted || exit 77
         echo second | slipring pub m/ring && slipring check m/ring && slipring rm m/ring; ls -A m | grep ring; umount m"
    );
    let Some((code, out, error)) = apart(&place, &script) else { return };
    assert!(code == 0 && out.ends_with("sound\n"), "{mount}: {code} {out} {error}");
}

#[test]
fn a_ring_knows_its_lock_file_again_when_its_filesystem_is_mounted_anew() {
    for (mkfs, megabytes) in
        [("mkfs.ext2 -q", 16), ("mkfs.ext4 -q", 32), ("mkfs.xfs -q", 320), ("mkfs.btrfs -q", 128)]
    {
        let image = format!("truncate -s {megabytes}M image && {mkfs} image >/dev/null");
        knows_its_lock_file(&format!("(test -e image || {{ {image}; }}) && mount -o loop image m"));
    }
    knows_its_lock_file(
        "(test -d o/u || { mkdir o && mount -t tmpfs none o && mkdir o/l o/u o/w; }) && \
         mount -t overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w none m",
    );
}

/// An overlay of `o/l` and `o/u` at `m`, over a ring `o/l/ring` with one message.
const OVERLAY: &str = "trap '' PIPE; mkdir o && mount -t tmpfs none o && mkdir o/l o/u o/w || exit 77
    slipring create o/l/ring -b 48 -c 64 && slipring pub o/l/ring first || exit 1
    mount -t overlay -o lowerdir=o/l,upperdir=o/u,workdir=o/w none m || exit 77";

#[test]
fn an_observer_of_a_ring_that_an_overlay_copies_up_ends_with_an_error() {
    let place = Place::new();
    let script = format!(
        "{OVERLAY}
         timeout 60 slipring sub m/ring --observe >seen & observer=$!
         until grep -q first seen; do :; done
         slipring pub m/ring second || exit 2
         wait $observer; echo ended $?; slipring sub m/ring --observe -e; umount m"
    );
    let Some((code, out, error)) = apart(&place, &script) else { return };
    assert!(code == 0 && out.ends_with("ended 1\nfirst\nsecond\n"), "{code} {out} {error}");
    assert!(error.contains("overlay filesystem that it lies on has copied it up"), "{error}");
}

/// The first producer has the merged path, the second the upper directory's; `end` is how the
/// first's input goes on.
fn the_first_of_two_producers_learns(end: &str) {
    let place = Place::new();
    let script = format!(
        "{OVERLAY}
         mkfifo lines others
         slipring pub m/ring --close <lines & first=$!
         exec 3>lines; echo one >&3; until slipring peek m/ring 1 >/dev/null 2>&1; do :; done
         slipring pub o/u/ring <others 3>&- & second=$!
         exec 4>others; echo two >&4; until slipring peek m/ring 2 >/dev/null 2>&1; do :; done
         {end}
         wait $first; echo ended $?
         echo three >&4; slipring sub m/ring --observe -c 3 | tail -2; slipring stat m/ring | grep -o 'closed the stream'
         exec 4>&-; wait $second; echo ended $?; umount m"
    );
    let Some((code, out, error)) = apart(&place, &script) else { return };
    assert!(code == 0 && out.ends_with("ended 1\none\ntwo\nended 0\n"), "{end}: {code} {out} {error}");
    assert!(error.contains("is its producer too, through another path"), "{end}: {error}");
}

#[test]
fn a_producer_beside_another_one_below_an_overlay_ends_with_an_error() {
    the_first_of_two_producers_learns("exec 3>&-");
    the_first_of_two_producers_learns("while kill -0 $first 2>/dev/null; do echo more >&3; done 2>/dev/null");
}

#[test]
fn create_says_that_it_lies_on_an_overlay() {
    let place = Place::new();
    let script = format!("{OVERLAY}; slipring create m/other -b 48 -c 64 && slipring rm m/other; umount m");
    let Some((code, out, error)) = apart(&place, &script) else { return };
    assert!(code == 0 && error.contains("m/other: lies on an overlay filesystem"), "{code} {out} {error}");
}

#[test]
fn a_ring_is_made_on_a_filesystem_that_does_not_say_how_much_room_it_has() {
    let place = Place::new();
    let script = "mount -t ramfs none m || exit 77
        slipring create m/ring -b 48 -c 1024 && echo hello | slipring pub m/ring && slipring sub m/ring --observe -e";
    let Some((code, out, error)) = apart(&place, script) else { return };
    assert!(code == 0 && out.ends_with("hello\n"), "{code} {out} {error}");
}

#[test]
fn a_filesystem_of_huge_pages_is_refused_by_its_name() {
    let place = Place::new();
    let script = "mount -t hugetlbfs none m || exit 77
        slipring create m/ring -b 48 -c 1024";
    let Some((code, _, error)) = apart(&place, script) else { return };
    assert!(code == 1 && error.contains("lies on hugetlbfs"), "{code} {error}");
}

#[test]
fn a_ring_is_made_without_proc() {
    let place = Place::new();
    let script = "umount -l /proc || exit 77
        slipring create ring -b 48 -c 1024 -g g && echo hello | slipring pub ring && slipring sub ring --observe -e
        ls -A | grep creating && exit 1; true";
    let Some((code, out, error)) = apart(&place, script) else { return };
    assert!(code == 0 && out.ends_with("hello\n"), "{code} {out} {error}");
}

#[test]
fn no_descriptors_left_is_an_error_with_a_way_out() {
    let place = Place::new();
    // One for the dead-letter ring, none for the ring.
    let (code, error) = place.bad("(ulimit -n 4; slipring create other -b 48 -c 1024 -g g)");
    assert!(code == 1 && error.contains("ulimit -n"), "{code} {error}");
}

#[test]
fn a_ring_beyond_the_control_groups_memory_is_refused_and_the_creator_lives() {
    let place = Place::new();
    let script = r#"
        of=$(sed -n 's,^[0-9]*:memory:,,p' /proc/self/cgroup); v1=/sys/fs/cgroup/memory$of/slipring-$$
        v2=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/slipring-$$
        if mkdir $v1; then group=$v1; echo 16M >$v1/memory.limit_in_bytes || exit 77
        elif mkdir $v2 && echo 16M >$v2/memory.max; then group=$v2
        else exit 77; fi
        mount -t tmpfs none m
        (echo $BASHPID >$group/cgroup.procs || exit 77; slipring create m/ring -b 1Ki -c 32Ki); code=$?
        rmdir $group
        exit $code"#;
    let Some((code, _, error)) = apart(&place, script) else { return };
    assert!(code == 1 && error.contains("control group"), "{code} {error}");
}

/// The lines of `doctor` about a directory under one heading.
fn doctor_of(place: &Place, mount: &str, heading: &str) -> Option<(i32, String)> {
    let script = format!(
        "{mount} || exit 77
         slipring doctor m > found; echo $? > code
         umount m || umount -l m
         sed -n '/^[a-z]* *{heading} /,/^[a-z]/p' found | head -3; exit $(cat code)"
    );
    apart(place, &script).map(|(code, out, _)| (code, out))
}

#[test]
fn the_doctor_knows_the_filesystems_that_cannot() {
    let cases = [
        ("mount -t hugetlbfs none m", "problem", "hugetlbfs"),
        ("mount -t ramfs none m", "advice", "memory without a limit"),
        ("mount -t tmpfs none m", "ok", "which is memory"),
        (
            "truncate -s 128M image && mkfs.btrfs -q image >/dev/null && mount -o loop image m",
            "advice",
            "btrfs",
        ),
        (
            "mkdir a b c && mount -t tmpfs none a && mkdir a/upper a/work && \
             mount -t overlay -o lowerdir=b,upperdir=a/upper,workdir=a/work none m",
            "advice",
            "two producers at once learn of each other when messages are lost already",
        ),
    ];
    for (mount, verdict, text) in cases {
        let Some((code, out)) = doctor_of(&Place::new(), mount, "filesystem") else { continue };
        assert!(out.starts_with(verdict) && out.contains(text), "{mount}: {code} {out}");
        assert_eq!(code, i32::from(verdict == "problem"), "{mount}: {out}");
    }
}

#[test]
fn the_doctor_names_the_mount_that_is_full_and_what_does_not_say() {
    let place = Place::new();
    let mount = "mount -t tmpfs -o size=2m none m && mkdir m/deep && head -c 2M /dev/zero > m/deep/file";
    if let Some((code, out)) = doctor_of(&place, mount, "space") {
        assert!(code == 1 && out.contains("remount,size=2G") && out.contains("/m\n"), "{out}");
    }
    if let Some((code, out)) = doctor_of(&Place::new(), "mount -t ramfs none m", "space") {
        assert!(code == 0 && out.starts_with("ok") && out.contains("does not say"), "{out}");
    }
}

#[test]
fn the_doctor_sees_the_limit_of_the_control_group() {
    let place = Place::new();
    let script = r#"
        of=$(sed -n 's,^[0-9]*:memory:,,p' /proc/self/cgroup); v1=/sys/fs/cgroup/memory$of/slipring-d$$
        v2=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/slipring-d$$
        if mkdir $v1; then group=$v1; echo 64M >$v1/memory.limit_in_bytes || exit 77
        elif mkdir $v2 && echo 64M >$v2/memory.max; then group=$v2
        else exit 77; fi
        (echo $BASHPID >$group/cgroup.procs || exit 77; slipring doctor .); code=$?
        rmdir $group
        exit $code"#;
    let Some((_, out, error)) = apart(&place, script) else { return };
    let line = out.lines().find(|line| line.contains("memory limit")).unwrap();
    assert!(line.starts_with("advice") && line.contains("MiB left"), "{out} {error}");
    assert!(out.contains("charged to the control group of its creator"), "{out}");
}

#[test]
fn huge_pages_are_given_at_the_default_setting() {
    let place = Place::new();
    let setting = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map_while(|number| number.parse::<u32>().ok());
    let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(1));
    match std::fs::read_to_string(setting) {
        Ok(text) if is_new && !text.contains("[deny]") => {}
        other => return println!("nothing was tried: {release} {other:?}"),
    }
    let script = "mount -t tmpfs none m || exit 77
        slipring create m/ring -b 1024 -c 16Ki --huge-pages";
    let Some((code, _, error)) = apart(&place, script) else { return };
    assert!(code == 0 && error.contains("MiB of the ring are in huge pages"), "{code} {error}");
}

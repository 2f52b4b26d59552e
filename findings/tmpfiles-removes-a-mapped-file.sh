#!/usr/bin/env bash
# Finding: systemd-tmpfiles removes a file in tmpfs by its age while a process maps it, locks it and writes it
# many times a second.
#
# Version: systemd 252.39-1~deb12u2 (Debian 12, amd64), Linux 6.18. Needs no root, but a tmpfs at /dev/shm.
# Source: tmpfiles.d(5), "Age": a BSD lock on a *directory* keeps what is below it. msync(2) and the
#   kernel's mm/memory.c: a store to a shared mapping moves the times of a file in tmpfs when the page is
#   faulted in, and never again.
# Behaviour: a process maps a file, holds an open-file-description lock and an exclusive `flock` of it, and
#   stores into the mapping 20 times a second. The times of the file stay those of the first store. A
#   cleanup of the directory above with an age of 2 seconds removes it after 4. It stays if a line of
#   type `x` names it, or if a process holds a shared `flock` of the directory that it lies in.
# Seen:
#   times of the file after 4 seconds of stores: unchanged
#   mapped, locked, and written: removed
#   a line `x`: kept
#   a flock of its directory: kept
# For users: a ring in a directory that is cleaned by age (/tmp on many systems; not /dev/shm by default) needs
#   a line `x /path/of/ring*` in /etc/tmpfiles.d, or a directory of its own. Otherwise it goes, and
#   `send` returns `HandleError::Replaced` (docs/situations.md).
. "$(dirname "$0")/common"
tool python3 python3
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || not_tried 'no tmpfs at /dev/shm'
debs systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2
place=$(mktemp -d /dev/shm/findings.XXXXXX)
later "rm -rf '$place'"
cat >"$work/live.py" <<'P'
import fcntl, mmap, os, struct, sys, time

file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
os.ftruncate(file, 4096)
fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
fcntl.flock(file, fcntl.LOCK_EX)
memory = mmap.mmap(file, 4096)
memory[0] = 1
before, number = os.fstat(file), 0
while os.getppid() != 1:
    number += 1
    memory[:8] = number.to_bytes(8, "little")
    after = os.fstat(file)
    same = (before.st_mtime_ns, before.st_ctime_ns) == (after.st_mtime_ns, after.st_ctime_ns)
    with open(sys.argv[2] + "~", "w") as said:
        said.write("unchanged" if same else "moved")
    os.rename(sys.argv[2] + "~", sys.argv[2])
    time.sleep(0.05)
P
mkdir "$place/bare" "$place/named" "$place/locked"
for name in bare named locked; do
    python3 "$work/live.py" "$place/$name/ring" "$work/$name" &
    later "kill $!; wait $!"
done
flock --shared "$place/locked" sleep 60 &
later "kill $!; wait $!"
sleep 4
times=$(cat "$work/bare")
clean() {
    printf '%s\n' "$@" >"$work/clean.conf"
    LD_LIBRARY_PATH="$libraries/systemd:$libraries" systemd-tmpfiles --clean "$work/clean.conf" >"$work/log" 2>&1 ||
        not_tried "systemd-tmpfiles: $(tail -n 1 "$work/log")"
}
clean "e $place - - - 2s" "x $place/named/ring"
left() { if [ -e "$place/$1/ring" ]; then echo kept; else echo removed; fi; }
expect 'times of the file after 4 seconds of stores' unchanged "$times"
expect 'mapped, locked, and written' removed "$(left bare)"
expect 'a line `x`' kept "$(left named)"
expect 'a flock of its directory' kept "$(left locked)"
outcome

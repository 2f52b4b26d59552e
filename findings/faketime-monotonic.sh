#!/usr/bin/env bash
# Finding: under faketime, CLOCK_MONOTONIC is the wall clock: it jumps by the time since 1970.
#
# Version: libfaketime 0.9.10-2.1 (Debian 12, amd64), preloaded with FAKETIME=+1d. Needs no root.
# Source: https://packages.debian.org/bookworm/libfaketime; `--exclude-monotonic` in faketime(1).
# Behaviour: CLOCK_MONOTONIC, its coarse and raw forms and CLOCK_BOOTTIME do not run ahead by a day: each
#   returns the faked CLOCK_REALTIME, half a century ahead of every other process of the machine. With
#   FAKETIME_DONT_FAKE_MONOTONIC=1 they stay as they are.
# Seen:
#   clocks that follow the wall clock: MONOTONIC MONOTONIC_COARSE MONOTONIC_RAW BOOTTIME
#   with FAKETIME_DONT_FAKE_MONOTONIC=1: none
# For users: deadlines that two processes share are wrong by decades if one of them runs under faketime. slipring corrects
#   its clock by the kernel's count of ticks, and cannot where the faked clock stands still or runs at another
#   speed (docs/guide/containers.md, "Clocks"). Test a changed date with `faketime --exclude-monotonic`.
. "$(dirname "$0")/common"
tool python3 python3
debs libfaketime=0.9.10-2.1
cat >"$work/clocks.py" <<'P'
import time

clocks = {"MONOTONIC": 1, "MONOTONIC_COARSE": 6, "MONOTONIC_RAW": 4, "BOOTTIME": 7}
near = [name for name, number in clocks.items() if abs(time.clock_gettime(number) - time.time()) < 60]
print(*near or ["none"])
P
library=$(find "$work/root" -name libfaketime.so.1)
follow() {
    env "$@" FAKETIME=+1d LD_PRELOAD="$library" python3 "$work/clocks.py" &
    wait $!
    rm -f "/dev/shm/faketime_shm_$!" "/dev/shm/sem.faketime_sem_$!" # it leaves them behind
}
expect 'clocks that follow the wall clock, not faked' none "$(python3 "$work/clocks.py")"
expect 'clocks that follow the wall clock' 'MONOTONIC MONOTONIC_COARSE MONOTONIC_RAW BOOTTIME' "$(follow -u FAKETIME_DONT_FAKE_MONOTONIC)"
expect 'with FAKETIME_DONT_FAKE_MONOTONIC=1' none "$(follow FAKETIME_DONT_FAKE_MONOTONIC=1)"
outcome

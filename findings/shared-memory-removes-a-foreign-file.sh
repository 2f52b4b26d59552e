#!/usr/bin/env bash
# Finding: a Python process that only looks at a file in /dev/shm through `SharedMemory` removes it when it ends.
#
# Version: python3 3.11.2 (Debian 12) and CPython 3.8 to 3.12; 3.13 has `track=False`. Needs no root.
# Source: https://docs.python.org/3.13/library/multiprocessing.shared_memory.html, "track";
#   https://github.com/python/cpython/issues/82300.
# Behaviour: another program has made a file in /dev/shm. `SharedMemory("name")` attaches, and `close()` lets
#   go. The process ends, its resource tracker warns of a "leaked" object, and the file's name is
#   gone. `mmap` of an opened file leaves it alone.
# Seen:
#   attached by SharedMemory and closed: removed
#   mapped by mmap: kept
# For users: a script that looks into a ring opens the file and maps it with `mmap.ACCESS_READ`, or calls
#   `slipring dump`. After SharedMemory the ring has no name; its producer gets `HandleError::Replaced`.
. "$(dirname "$0")/common"
tool python3 python3
python3 -c 'import sys; sys.exit(not (3, 8) <= sys.version_info < (3, 13))' ||
    not_tried "$(python3 --version) is not one of 3.8 to 3.12"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || not_tried 'no tmpfs at /dev/shm'
name=findings-$$
later "rm -f '/dev/shm/$name'"
look() {
    head -c 65536 /dev/zero >"/dev/shm/$name"
    # The pipe ends when the tracker, a process of its own, has ended.
    python3 -c "$1" "$name" 2>&1 | cat >"$work/said" || not_tried "$(tail -n 1 "$work/said")"
    if [ -e "/dev/shm/$name" ]; then echo kept; else echo removed; fi
}
seen=$(look '
import sys
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(sys.argv[1])
assert memory.size == 65536
memory.close()')
expect 'attached by SharedMemory and closed' removed "$seen"
seen=$(look '
import mmap, sys
with open("/dev/shm/" + sys.argv[1], "rb") as file:
    memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
assert len(memory) == 65536
memory.close()')
expect 'mapped by mmap' kept "$seen"
outcome

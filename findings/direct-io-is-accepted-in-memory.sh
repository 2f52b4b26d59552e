#!/usr/bin/env bash
# Finding: tmpfs accepts O_DIRECT and O_DSYNC, for writes of any size at any offset; and an overlay above it does
# not say that it is memory.
#
# Version: Linux 6.18.44; tmpfs takes O_DIRECT from 6.6 on. Needs no root for tmpfs, root for the overlay.
# Source: open(2), which promises an error where a filesystem has no direct I/O; statfs(2).
# Behaviour: `open(O_DIRECT | O_DSYNC)` of a file in tmpfs succeeds, and so does a write of 7 bytes at offset 3,
#   though direct I/O to a disk asks for whole sectors. The same through an overlay with its upper layer
#   in tmpfs, of which `statfs` says overlayfs. `statx` has no STATX_DIOALIGN for these files.
# Seen:
#   tmpfs: tmpfs, opened, 7 bytes at 3 written, no STATX_DIOALIGN
#   overlay above tmpfs: overlayfs, opened, 7 bytes at 3 written, no STATX_DIOALIGN
# For users: neither `open` nor alignment tells a program that keeps what must outlive a power cut whether
#   there is a disk, and of an overlay `statfs` does not either: the upper layer of a container, or of a live
#   system, may be memory. STATX_DIOALIGN does, from 6.1 on: a file on ext4 or xfs has it, also through an
#   overlay. Name a directory that is mounted from a disk.
. "$(dirname "$0")/common"
tool python3 python3
printf '6.6\n%s\n' "$(uname -r)" | sort -CV || not_tried "Linux $(uname -r) is older than 6.6"
[ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ] || not_tried 'no tmpfs at /dev/shm'
place=$(mktemp -d /dev/shm/findings.XXXXXX)
later "rm -rf '$place'"
cat >"$work/direct.py" <<'P'
import ctypes, os, subprocess, sys

path = sys.argv[1] + "/file"
said = [subprocess.check_output(["stat", "-f", "-c", "%T", sys.argv[1]], text=True).strip()]
try:
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT | os.O_DSYNC, 0o600)
    said.append("opened")
    os.pwrite(file, b"7 bytes", 3)
    said.append("7 bytes at 3 written")
except OSError as error:
    said.append(error.strerror)
DIOALIGN = 0x2000
answer = (ctypes.c_uint32 * 64)()
if ctypes.CDLL(None).statx(-100, path.encode(), 0, DIOALIGN, answer):
    sys.exit("no statx")
said.append("STATX_DIOALIGN" if answer[0] & DIOALIGN else "no STATX_DIOALIGN")
print(", ".join(said))
P
direct() { python3 "$work/direct.py" "$1"; }
expect tmpfs 'tmpfs, opened, 7 bytes at 3 written, no STATX_DIOALIGN' "$(direct "$place")"
mkdir "$place/lower" "$place/upper" "$place/work" "$place/merged"
if [ "$(id -u)" = 0 ] && mount -t overlay -o "lowerdir=$place/lower,upperdir=$place/upper,workdir=$place/work" \
    findings "$place/merged" 2>/dev/null; then
    later "umount '$place/merged'"
    expect 'overlay above tmpfs' 'overlayfs, opened, 7 bytes at 3 written, no STATX_DIOALIGN' "$(direct "$place/merged")"
else
    echo 'not tried: the overlay, which needs root'
fi
outcome

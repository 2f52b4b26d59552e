#!/usr/bin/env bash
# Finding: on xfs, a plain `cp` of a file takes away the space that the file had reserved for itself.
#
# Version: Linux 6.18 (xfs, with xfsprogs 6.1.0-1 of Debian 12: reflink=1 by default), coreutils 9.1. Needs
#   root, for a loop-mounted image of 400 MiB.
# Source: cp(1) of coreutils, since 9.0: `--reflink=auto` is the default. ioctl_ficlone(2).
# Behaviour: a file is allocated, written and synced. On a full filesystem, it can be written over. After
#   `cp file copy` the two share their blocks, so the next write to each block of the *original*
#   needs a new one: on a full filesystem, it fails with ENOSPC, and a store to a mapping ends in
#   SIGBUS. Once the copy is removed, the original can be written again.
# Seen:
#   full filesystem, before the copy: written
#   full filesystem, after cp: No space left on device
#   full filesystem, after cp --reflink=never: written
#   full filesystem, the copy is removed: written
# For users: no `cp` of a live ring (`slipring dump`); on xfs it takes the ring's reservation away as long as
#   the copy is there. `cp --reflink=never` does not (docs/guide/containers.md, "Filesystems").
. "$(dirname "$0")/common"
root 'mounting an image'
tool python3 python3
debs xfsprogs=6.1.0-1 libinih1=55-1 liburcu8=0.13.2-1
truncate -s 400M "$work/image"
LD_LIBRARY_PATH="$libraries" mkfs.xfs -q "$work/image" >/dev/null || not_tried 'mkfs.xfs failed'
disk="$work/disk"
mkdir "$disk"
mount -o loop "$work/image" "$disk" 2>/dev/null || not_tried 'this kernel mounts no xfs image here'
later "umount '$disk'"
cat >"$work/write.py" <<'P'
import os, sys

MIB = 1 << 20
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
try:
    if os.fstat(file).st_size == 0:
        os.posix_fallocate(file, 0, 16 * MIB)
    for number in range(16):
        os.pwrite(file, b"w" * MIB, number * MIB)
    os.fsync(file)
    print("written")
except OSError as error:
    print(error.strerror)
P
fill() {
    dd if=/dev/zero of="$disk/filler" bs=1M 2>/dev/null || true
    sync -f "$disk"
    dd if=/dev/zero of="$disk/rest" bs=4k 2>/dev/null || true
    sync -f "$disk"
}
free() { rm -f "$disk/filler" "$disk/rest"; sync -f "$disk"; }
write() { python3 "$work/write.py" "$disk/ring"; }
write >/dev/null
fill
expect 'full filesystem, before the copy' written "$(write)"
free
cp --reflink=never "$disk/ring" "$disk/copy"
fill
expect 'full filesystem, after cp --reflink=never' written "$(write)"
free
rm "$disk/copy"
cp "$disk/ring" "$disk/copy"
fill
expect 'full filesystem, after cp' 'No space left on device' "$(write)"
rm "$disk/copy"
expect 'full filesystem, the copy is removed' written "$(write)"
outcome

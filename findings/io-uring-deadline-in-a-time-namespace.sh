#!/usr/bin/env bash
# Finding: in a time namespace, an absolute deadline of io_uring is one of the machine's clock: it comes at once, or as
# late as the namespace is ahead.
#
# Version: Linux 6.18.44; up to 7.0 (mended in 7.1). Needs root, or a user namespace, for the time namespace.
# Source: kernel commits 9cc6bac1bebf and 45d2b37a37ab; time_namespaces(7); io_uring_enter(2).
# Behaviour: a process whose CLOCK_MONOTONIC is 1000 s ahead asks for a deadline 0.2 s from now. futex_waitv and timerfd
#   keep it. IORING_OP_TIMEOUT with IORING_TIMEOUT_ABS does not complete within 2 s. A relative timeout does.
# Seen:
#   in the first namespace: futex_waitv timerfd absolute relative
#   with a clock 1000 s ahead: futex_waitv timerfd relative
# For users: a program that waits for a ring by io_uring, beside its own timers, gives relative timeouts.
#   Containers that were restored from a checkpoint run in such namespaces. The library waits by futexes only.
. "$(dirname "$0")/common"
tool cc gcc
tool unshare util-linux
cat >"$work/deadlines.c" <<'C'
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static struct timespec soon(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_nsec += 200000000;
    if (time.tv_nsec >= 1000000000) time.tv_sec++, time.tv_nsec -= 1000000000;
    return time;
}

/* Whether a timeout of io_uring completes within 2 s. */
static int completes(struct timespec time, uint32_t flags) {
    struct io_uring_params ring = {0};
    int file = (int)syscall(SYS_io_uring_setup, 1, &ring);
    if (file < 0) return -1;
    size_t size = ring.sq_off.array + ring.sq_entries * sizeof(uint32_t);
    char *queue = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry =
        mmap(NULL, sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED, file, IORING_OFF_SQES);
    if (queue == MAP_FAILED || entry == MAP_FAILED) return -1;
    struct __kernel_timespec when = {time.tv_sec, time.tv_nsec};
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_TIMEOUT;
    entry->addr = (uintptr_t)&when;
    entry->len = 1;
    entry->timeout_flags = flags;
    *(uint32_t *)(queue + ring.sq_off.array) = 0;
    __atomic_store_n((uint32_t *)(queue + ring.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, file, 1, 0, 0, NULL, 0) != 1) return -1;
    struct pollfd readable = {file, POLLIN, 0};
    int completed = poll(&readable, 1, 2000) == 1;
    close(file);
    return completed;
}

int main(void) {
    uint32_t word = 0;
    struct futex_waitv waiter = {.uaddr = (uintptr_t)&word, .flags = FUTEX_32};
    struct timespec time = soon();
    long woken = syscall(SYS_futex_waitv, &waiter, 1, 0, &time, CLOCK_MONOTONIC);
    if (woken == -1 && errno == ETIMEDOUT) printf("futex_waitv ");
    struct itimerspec timer = {.it_value = soon()};
    struct pollfd expired = {timerfd_create(CLOCK_MONOTONIC, 0), POLLIN, 0};
    timerfd_settime(expired.fd, TFD_TIMER_ABSTIME, &timer, NULL);
    if (poll(&expired, 1, 2000) == 1) printf("timerfd ");
    int absolute = completes(soon(), IORING_TIMEOUT_ABS);
    if (absolute < 0) return 1;
    if (absolute) printf("absolute ");
    if (completes((struct timespec){0, 200000000}, 0)) printf("relative ");
}
C
cc -O1 -o "$work/deadlines" "$work/deadlines.c" || not_tried 'the headers of this kernel have no futex_waitv'
kept() { "$@" "$work/deadlines" | sed 's/ $//'; }
seen=$(kept) || not_tried 'io_uring is not allowed here'
expect 'in the first namespace' 'futex_waitv timerfd absolute relative' "$seen"
user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
seen=$(kept unshare ${user[@]+"${user[@]}"} --time --monotonic 1000 --fork 2>/dev/null) ||
    not_tried 'no time namespace is allowed here'
expect 'with a clock 1000 s ahead' 'futex_waitv timerfd relative' "$seen"
outcome

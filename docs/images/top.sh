#!/usr/bin/env bash
# Draws docs/images/top.svg from a real terminal: starts rings, readers and workers, lets `slipring top`
# run in tmux, and turns the screen into a picture. Needs tmux and Python (`pip install rich==14.0.0`).
set -emuo pipefail # -m: each job is a process group, so that ending it ends its pipeline
cd "$(dirname "$0")/../.."
cargo build --release -p slipring-cli
slipring="$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/slipring"
rings=$(mktemp -d /dev/shm/top.XXXXXX)
# SIGKILL: the rings go, too, so that none of them needs to leave in good order.
finish() {
    tmux kill-session -t slipring-top 2>/dev/null || true
    for job in $(jobs -p); do kill -KILL -- "-$job" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$rings"
}
trap finish EXIT

feed() { # RING RATE: so many lines a second
    python3 -u -c 'import sys, time
n, rate = 0, int(sys.argv[1])
while True:
    for _ in range(max(1, rate // 20)):
        print("message", n); n += 1
    time.sleep(0.05)' "$2" | "$slipring" pub "$1"
}
"$slipring" create "$rings/quotes" -b 48 -c 64Ki --durable risk >/dev/null
"$slipring" create "$rings/orders" -b 240 -c 4Ki -g sms:ack-wait=30s -g points >/dev/null
"$slipring" create "$rings/telemetry" -b 112 -c 16Ki >/dev/null
feed "$rings/quotes" 40000 & feed "$rings/orders" 300 & feed "$rings/telemetry" 2000 &
"$slipring" sub "$rings/quotes" --name risk >/dev/null &
"$slipring" sub "$rings/quotes" --name ui >/dev/null &
"$slipring" sub "$rings/telemetry" --observe >/dev/null &
for _ in 1 2 3; do "$slipring" work "$rings/orders" -g sms --exec 'sleep 0.02; [ $((SLIPRING_POSITION % 40)) != 7 ] || exit 65' >/dev/null & done
"$slipring" work "$rings/orders" -g points >/dev/null &
tmux new-session -d -s slipring-top -x 122 -y 18 "$slipring top $rings"
sleep 6
tmux capture-pane -e -p -t slipring-top > "$rings/screen"
python3 - "$rings/screen" docs/images/top.svg <<'PY'
import sys
from rich.console import Console
from rich.text import Text
console = Console(record=True, width=122, force_terminal=True, file=open("/dev/null", "w"))
console.print(Text.from_ansi(open(sys.argv[1]).read()))
console.save_svg(sys.argv[2], title="slipring top")
PY

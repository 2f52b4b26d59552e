#!/usr/bin/env bash
# Finding: iceoryx2 says of a message that it reached one subscriber, and the message is lost when the
# publisher ends in good order before that subscriber has looked.
#
# Version: iceoryx2 0.10.0 (PyPI, Linux x86-64). Needs no root.
# Source: https://pypi.org/project/iceoryx2/0.10.0/; its `Publisher.send_copy` returns the number of
#   subscribers that got the message.
# Behaviour: a subscriber is attached. A publisher in another process starts, sends three messages
#   (each call returns 1), and ends. A subscriber that called `receive` or `has_samples` once while the
#   publisher was there gets all three; a subscriber that did not gets none, and no error. If SIGKILL
#   ends the publisher instead, the subscriber gets all three either way.
# Seen:
#   orderly end, not looked before: reached 1 1 1, received -
#   orderly end, looked before: reached 1 1 1, received 0 1 2
#   SIGKILL, not looked before: reached 1 1 1, received 0 1 2
# For users: the number that `send` returns is no receipt. A publisher of few messages waits until its
#   reader has answered. In a slipring ring a message is there once `send` has returned, however the
#   producer ends; see "a message outlives the death of every process" in README.md.
. "$(dirname "$0")/common"
wheels iceoryx2==0.10.0
later 'rm -f /dev/shm/findings_$$_*'
export PREFIX="findings_$$_" ROOT="$work/iceoryx2"
cat >"$work/ends.py" <<'P'
import ctypes, os, signal, subprocess, sys
import iceoryx2

iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)


def service(name):
    config = iceoryx2.config.default()
    config.global_cfg.prefix = iceoryx2.FileName.new(os.environ["PREFIX"])
    config.global_cfg.root_path = iceoryx2.Path.new(os.environ["ROOT"])
    node = iceoryx2.NodeBuilder.new().config(config).create(iceoryx2.ServiceType.Ipc)
    builder = node.service_builder(iceoryx2.ServiceName.new(name)).publish_subscribe(ctypes.c_uint64)
    return node, builder.subscriber_max_buffer_size(8).open_or_create()


if sys.argv[1] == "publish":
    node, factory = service(sys.argv[2])
    publisher = factory.publisher_builder().create()
    print(*[publisher.send_copy(ctypes.c_uint64(number)) for number in range(3)], flush=True)
    sys.stdin.readline()
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    del publisher
    sys.exit()

name = f"service-{os.getpid()}"
end, look = sys.argv[1:]
node, factory = service(name)
subscriber = factory.subscriber_builder().create()
command = [sys.executable, __file__, "publish", name, end]
other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
reached = other.stdout.readline().strip()
if look == "looked":
    subscriber.has_samples()
other.communicate("\n")
received = []
while (sample := subscriber.receive()) is not None:
    received.append(sample.payload().contents.value)
print(f"reached {reached}, received", *received or "-")
P
expect 'orderly end, not looked before' 'reached 1 1 1, received -' "$(python "$work/ends.py" ended waited)"
expect 'orderly end, looked before' 'reached 1 1 1, received 0 1 2' "$(python "$work/ends.py" ended looked)"
expect 'SIGKILL, not looked before' 'reached 1 1 1, received 0 1 2' "$(python "$work/ends.py" killed waited)"
outcome

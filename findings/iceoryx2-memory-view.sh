#!/usr/bin/env bash
# Finding: a memoryview of an iceoryx2 sample shows later messages once the sample is gone.
#
# Version: iceoryx2 0.10.0 (PyPI, Linux x86-64). Needs no root.
# Source: https://pypi.org/project/iceoryx2/0.10.0/; https://github.com/eclipse-iceoryx/iceoryx2/issues/1548
#   gave `payload()` an owner; the view of `as_memory_view()` has none.
# Behaviour: `view = sample.payload().as_memory_view()`, then `del sample`. The view stays usable without
#   an error and shows what the publisher writes into that chunk next.
# Seen:
#   the view while the sample lives: EEEE
#   the view without the sample: not EEEE
# For users: copy (`bytes(view)`) before the sample goes, or keep the sample as long as the view. A view
#   of a slipring message from a binding has to count as a borrow of the message.
. "$(dirname "$0")/common"
wheels iceoryx2==0.10.0
later 'rm -f /dev/shm/findings_$$_*'
export PREFIX="findings_$$_" ROOT="$work/iceoryx2"
cat >"$work/view.py" <<'P'
import ctypes, os
import iceoryx2

iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
config = iceoryx2.config.default()
config.global_cfg.prefix = iceoryx2.FileName.new(os.environ["PREFIX"])
config.global_cfg.root_path = iceoryx2.Path.new(os.environ["ROOT"])
node = iceoryx2.NodeBuilder.new().config(config).create(iceoryx2.ServiceType.Ipc)
builder = node.service_builder(iceoryx2.ServiceName.new("view"))
factory = builder.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8]).open_or_create()
publisher = factory.publisher_builder().initial_max_slice_len(4).create()
subscriber = factory.subscriber_builder().create()


def send(byte):
    sample = publisher.loan_slice_uninit(4)
    for index in range(4):
        sample.payload()[index] = byte
    sample.assume_init().send()


send(ord("E"))
sample = subscriber.receive()
view = sample.payload().as_memory_view()
print(bytes(view).decode())
del sample
for byte in b"FGHIJKLMNOPQ":
    send(byte)
    later = subscriber.receive()
    del later
print("EEEE" if bytes(view) == b"EEEE" else "not EEEE")
P
python "$work/view.py" >"$work/seen"
expect 'the view while the sample lives' EEEE "$(sed -n 1p "$work/seen")"
expect 'the view without the sample' 'not EEEE' "$(sed -n 2p "$work/seen")"
outcome

#!/usr/bin/env bash
# Finding: mosquitto acknowledges a message of quality of service 1 with "Success" and drops it, when the only session
# that subscribes is away and has a thousand waiting.
#
# Version: mosquitto 2.0.11-1.2+deb12u2 (Debian 12), paho-mqtt 2.2.0 (PyPI), MQTT 5. Needs no root.
# Source: mosquitto.conf(5), `max_queued_messages`: 1000 by default. MQTT 5, section 3.4.2.1: a reason code of PUBACK
#   can say "Quota exceeded" (0x97).
# Behaviour: a session subscribes with quality 1 and leaves; it is kept for an hour. A client publishes 1500
#   messages of quality 1. Each is acknowledged with reason code "Success" (one without a subscriber gets "No
#   matching subscribers"). The session comes back and gets the first 1000.
# Seen:
#   acknowledged with Success: 1500
#   received by the session: 1000, from 0 on
# For users: an acknowledgement of the broker is no proof that a subscriber will get the message. Before a ring's
#   consumer releases on the strength of it, the broker needs `max_queued_messages 0` (no limit), and a
#   subscriber that counts positions.
. "$(dirname "$0")/common"
wheels paho-mqtt==2.2.0
debs mosquitto=2.0.11-1.2+deb12u2 libcjson1=1.7.15-1+deb12u4 libdlt2=2.18.8-6 libev4=1:4.33-1 libuv1=1.44.2-1+deb12u1 \
    libwebsockets17=4.1.6-3 libwrap0=7.6.q-32 libnsl2=1.3.0-2
port=$(python -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
printf 'listener %s 127.0.0.1\nallow_anonymous true\nuser %s\n' "$port" "$(id -un)" >"$work/mosquitto.conf"
LD_LIBRARY_PATH="$libraries" mosquitto -c "$work/mosquitto.conf" 2>"$work/log" &
later "kill $!; wait $!"
cat >"$work/quality.py" <<'P'
import sys, threading, time
from collections import Counter
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT = int(sys.argv[1])
received = []


def connect(name):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    there, subscribed = threading.Event(), threading.Event()
    client.on_connect = lambda *_: there.set()
    client.on_subscribe = lambda *_: subscribed.set()
    client.on_message = lambda _client, _data, message: received.append(int(message.payload))
    client.subscribed = subscribed
    hour = Properties(PacketTypes.CONNECT)
    hour.SessionExpiryInterval = 3600
    for _ in range(100):
        try:
            client.connect("127.0.0.1", PORT, clean_start=False, properties=hour)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    client.loop_start()
    assert there.wait(10)
    return client


session = connect("session")
session.subscribe("topic", qos=1)
assert session.subscribed.wait(10)
session.disconnect()
session.loop_stop()

publisher = connect("publisher")
codes = Counter()
publisher.on_publish = lambda _client, _data, _id, code, _properties: codes.update([str(code)])
sent = [publisher.publish("topic", str(number), qos=1) for number in range(1500)]
for message in sent:
    message.wait_for_publish(30)
while sum(codes.values()) < 1500:
    time.sleep(0.05)
print(codes["Success"])

session = connect("session")
publisher.publish("topic", "-1", qos=1)  # the last that comes
while -1 not in received:
    time.sleep(0.05)
received.remove(-1)
print(f"{len(received)}, from 0 on" if received == list(range(len(received))) else received)
P
timeout 120 "$work/venv/bin/python" "$work/quality.py" "$port" >"$work/seen" || not_tried 'no end within two minutes'
expect 'acknowledged with Success' 1500 "$(sed -n 1p "$work/seen")"
expect 'received by the session' '1000, from 0 on' "$(sed -n 2p "$work/seen")"
outcome

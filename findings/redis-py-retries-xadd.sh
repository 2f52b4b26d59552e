#!/usr/bin/env bash
# Finding: redis-py sends XADD again when the connection ends before the reply. A stream then has the
# entry twice, and with an identifier of one's own the stored entry is reported as an error.
#
# Version: redis-py 8.1.0 (PyPI) with its defaults, redis-server 7.0.15-1~deb12u10 (Debian 12). Needs no root.
# Source: https://pypi.org/project/redis/8.1.0/; retries have been its default since 6.0.
# Behaviour: a proxy on the way forwards XADD to the server and ends the connection in place of the reply.
#   One call of `xadd(stream, fields)` returns one identifier, and the stream has two entries. One call of
#   `xadd(stream, fields, id="1-0")` raises ResponseError ("equal or smaller"), and the stream has the entry.
# Seen:
#   xadd with an identifier of the server: returned one, stored 2
#   xadd with its own identifier: ResponseError, stored 1
# For users: messages that go from a ring into a Redis stream need an identifier made of the ring's position,
#   and after any error the sender asks for the stream's last identifier before it decides. Or
#   `Redis(retry=None)`, and the same question after a lost connection.
. "$(dirname "$0")/common"
wheels redis==8.1.0
debs redis-server=5:7.0.15-1~deb12u10 redis-tools=5:7.0.15-1~deb12u10 libjemalloc2=5.3.0-1 liblzf1=3.6-3 \
    liblua5.1-0=5.1.5-9 lua-cjson=2.1.0+dfsg-2.2 lua-bitop=1.0.2-7
LD_LIBRARY_PATH="$libraries" redis-server --port 0 --unixsocket "$work/redis" --save '' --dir "$work" >"$work/log" &
later "kill $!; wait $!"
cat >"$work/retries.py" <<'P'
import socket, sys, threading, time
import redis

path = sys.argv[1]
direct = redis.Redis(unix_socket_path=path)
for _ in range(200):
    try:
        direct.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.05)
listener = socket.create_server(("127.0.0.1", 0))
lose = 0


def serve(client):
    global lose
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    while command := client.recv(65536):
        server.sendall(command)
        reply = server.recv(65536)
        if lose and b"XADD" in command:
            lose -= 1
            break
        client.sendall(reply)
    client.close()


def accept():
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()


threading.Thread(target=accept, daemon=True).start()
through = redis.Redis(port=listener.getsockname()[1])
through.ping()
for stream, id in (("a", "*"), ("b", "1-0")):
    lose = 1
    try:
        through.xadd(stream, {"message": "1"}, id=id)
        said = "returned one"
    except redis.RedisError as error:
        said = type(error).__name__
    print(f"{said}, stored {direct.xlen(stream)}")
P
python "$work/retries.py" "$work/redis" >"$work/seen"
expect 'xadd with an identifier of the server' 'returned one, stored 2' "$(sed -n 1p "$work/seen")"
expect 'xadd with its own identifier' 'ResponseError, stored 1' "$(sed -n 2p "$work/seen")"
outcome

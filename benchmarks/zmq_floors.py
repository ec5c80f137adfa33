"""Bare pyzmq, with nothing around it; runs on a host by itself.

    zmq_floors.py serve rep|pub|push ADDRESS PORT COUNT SIZE
    zmq_floors.py call req|sub|pull ADDRESS PORT COUNT SIZE

What libzmq's own local_lat, remote_lat, local_thr and remote_thr do, which Debian does not package.
No bounds, no monitor, no events. `call` prints a rate a second, and quantiles in ms for req.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import zmq

_PATIENCE = 30_000


def serve(kind: str, endpoint: str, count: int, size: int) -> None:
    """Answer, or send so many messages to each that comes, until it is ended."""
    kinds = {"rep": zmq.REP, "pub": zmq.XPUB, "push": zmq.PUSH}
    with zmq.Context() as context, context.socket(kinds[kind]) as socket:
        socket.linger = 0
        if kind == "pub":
            socket.setsockopt(zmq.XPUB_NODROP, 1)
        socket.bind(endpoint)
        text = b"x" * size
        while kind == "rep":
            socket.send(socket.recv())
        while True:
            if kind == "pub":
                while socket.recv()[:1] != b"\1":  # until somebody subscribes
                    pass
            for _ in range(count):
                socket.send(text)


def call(kind: str, endpoint: str, count: int, size: int) -> dict[str, float]:
    """Ask so many times, or receive so many messages; give how fast that was."""
    kinds = {"req": zmq.REQ, "sub": zmq.SUB, "pull": zmq.PULL}
    with zmq.Context() as context, context.socket(kinds[kind]) as socket:
        socket.linger = 0
        socket.rcvtimeo = _PATIENCE
        if kind == "sub":
            socket.subscribe(b"")
        socket.connect(endpoint)
        if kind == "req":
            return _asked(socket, count, b"x" * size)
        socket.recv()
        began = time.perf_counter()
        for _ in range(count - 1):
            socket.recv()
        return {"rate": count / (time.perf_counter() - began)}


def _asked(socket: zmq.Socket[bytes], count: int, text: bytes) -> dict[str, float]:
    latencies = []
    for _ in range(count):
        began = time.perf_counter()
        socket.send(text)
        socket.recv()
        latencies.append(time.perf_counter() - began)
    cuts = statistics.quantiles(latencies, n=100)
    rate = count / sum(latencies)
    return {"rate": rate, "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", kind, address, port, count, size]:
            serve(kind, f"tcp://{address}:{port}", int(count), int(size))
        case ["call", kind, address, port, count, size]:
            print(json.dumps(call(kind, f"tcp://{address}:{port}", int(count), int(size))))
        case _:
            sys.exit(__doc__)

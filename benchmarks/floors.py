"""What each remote call stands on, with nothing around it; runs on a host by itself.

    floors.py serve tcp ADDRESS PORT                 a line comes, a line goes, by blocking sockets
    floors.py serve http ADDRESS PORT                gunicorn and the smallest WSGI application
    floors.py call tcp|http ADDRESS PORT CALLERS SECONDS

No framing to speak of, no events, no checks, no disk. `call` prints what a client's summary has.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import socketserver
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable

BODY = b'{"jsonrpc": "2.0", "method": "sum", "params": [17, 25], "id": 1}'
"""What is sent, there as here: some tens of bytes."""
_PATIENCE = 10.0


class _Answering(socketserver.StreamRequestHandler):
    """Answers each line with itself."""

    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer until the peer has gone."""
        for line in self.rfile:
            self.wfile.write(line)


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def application(environ: dict[str, object], start_response: Callable[..., object]) -> list[bytes]:
    """Answer as many bytes as were sent, whatever they are."""
    body = environ["wsgi.input"].read()  # type: ignore[attr-defined]
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def serve(kind: str, address: str, port: int) -> None:
    """Serve until it is ended."""
    if kind == "tcp":
        with _Server((address, port), _Answering) as server:
            server.serve_forever()
        return
    from gunicorn.app.wsgiapp import run

    options = ["--worker-class=gthread", "--threads=16", "--keep-alive=60", "--log-level=error"]
    sys.argv = ["gunicorn", *options, f"--bind={address}:{port}", "floors:application"]
    run()


def tcp_calls(address: str, port: int) -> Iterable[Callable[[], object]]:
    """Yield a call over one connection, again and again."""
    with socket.create_connection((address, port), _PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        answers = sock.makefile("rb")

        def call() -> None:
            sock.sendall(BODY + b"\n")
            if answers.readline() != BODY + b"\n":
                raise OSError("another answer")

        yield from itertools.repeat(call)


def http_calls(address: str, port: int) -> Iterable[Callable[[], object]]:
    """Yield a call over one connection that is kept, again and again."""
    connection = http.client.HTTPConnection(address, port, timeout=_PATIENCE)

    def call() -> None:
        connection.request("POST", "/", BODY, {"Content-Type": "application/json"})
        if connection.getresponse().read() != BODY:
            raise OSError("another answer")

    with contextlib.closing(connection):
        yield from itertools.repeat(call)


def measure(kind: str, address: str, port: int, callers: int, seconds: float) -> dict[str, float]:
    """Call for so long by so many threads; the rate a second and the quantiles in ms."""
    calls = tcp_calls if kind == "tcp" else http_calls
    latencies: list[float] = []
    began = time.perf_counter()

    def caller() -> None:
        for call in calls(address, port):
            start = time.perf_counter()
            if start - began > seconds:
                return
            call()
            latencies.append(time.perf_counter() - start)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100)
    return {"rate": len(latencies) / took, "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", kind, address, port]:
            serve(kind, address, int(port))
        case ["call", kind, address, port, callers, seconds]:
            found = measure(kind, address, int(port), int(callers), float(seconds))
            print(json.dumps(found))
        case _:
            sys.exit(__doc__)

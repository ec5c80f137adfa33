"""A load of appends over HTTP, by many clients at once: alike for the log and for etcd's gateway.

It runs on a host, and needs nothing but Python. Each client has one connection that it keeps, and
asks again when it was answered. An answer is read as far as it must be: its status and its length.

    appender.py log 198.18.0.11:5000 --clients 16 --size 1024 --seconds 5
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import secrets
import statistics
import time
from collections.abc import Iterator

PATHS = {"log": "/messages", "etcd": "/v3/kv/put"}
_WARM_UP = 0.2
"""Part of the seconds that goes before, and does not count."""


class Client(asyncio.Protocol):
    """One client: it sends a request, and the next one when it was answered."""

    transport: asyncio.Transport

    def __init__(self, requests: Iterator[bytes], until: float, latencies: list[float]) -> None:
        """It goes on to a moment of the loop's clock; `latencies` takes seconds."""
        self._requests = requests
        self._until = until
        self._latencies = latencies
        self._held = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        self.transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        """Take an answer; see asyncio.Protocol."""
        self._held += data
        head, blank, body = self._held.partition(b"\r\n\r\n")
        if not blank or len(body) < _length(head):
            return
        self._held = b""
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            self._end(OSError(f"{head.splitlines()[0].decode()}: {body.decode()}"))
            return
        now = time.perf_counter()
        self._latencies.append(now - self._began)
        if now < self._until:
            self._ask()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._end(exc or OSError("the server ended the connection"))

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error) if error else self.done.set_result(None)
        self.transport.abort()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise OSError(f"an answer without a length: {head.decode()}")


def requests(kind: str, host: str, size: int) -> Iterator[bytes]:
    """Yield the requests of one client: messages of so many bytes, each another one."""
    name = secrets.token_hex(8)
    for number in itertools.count(1):
        text = f"{name}/{number}".ljust(size, ".")[:size]
        if kind == "log":
            what: dict[str, object] = {"message": text, "client": name, "seq": number}
        else:
            key, value = f"{name}/{number}".encode(), text.encode()
            what = {
                "key": base64.b64encode(key).decode(),
                "value": base64.b64encode(value).decode(),
            }
        body = json.dumps(what).encode()
        yield b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n" % (
            PATHS[kind].encode(),
            host.encode(),
        ) + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


async def load(kind: str, address: str, clients: int, size: int, seconds: float) -> list[float]:
    """Append for so long; give the latencies in seconds."""
    host, _, port = address.rpartition(":")
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    loop = asyncio.get_running_loop()
    ended = []
    for _ in range(clients):
        sent = requests(kind, host, size)
        _, client = await loop.create_connection(
            lambda sent=sent: Client(sent, until, latencies),  # type: ignore[misc]
            host,
            int(port),
        )
        ended.append(client.done)
    await asyncio.gather(*ended)
    return latencies


def measure(kind: str, address: str, clients: int, size: int, seconds: float) -> dict[str, float]:
    """Append for so long, after a moment to warm up; the rate a second and quantiles in ms."""
    asyncio.run(load(kind, address, clients, size, seconds * _WARM_UP))
    began = time.perf_counter()
    latencies = asyncio.run(load(kind, address, clients, size, seconds))
    rate = len(latencies) / (time.perf_counter() - began)
    cuts = statistics.quantiles(latencies, n=100)
    return {"rate": rate, "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=PATHS)
    parser.add_argument("address")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    print(json.dumps(measure(given.kind, given.address, given.clients, given.size, given.seconds)))


if __name__ == "__main__":
    main()

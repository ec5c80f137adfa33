"""FlatBuffers beside JSON and msgpack: bytes, and microseconds, for the same messages.

Three things are timed, since they cost differently: to *write* a message, to *open* what came (so
that a field can be read), and to open it and read *all* numbers. JSON and msgpack pay for all when
they open; FlatBuffers pays for what is read. The verifier's price stands in a line of its own.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgpack

from apps.flatbuffers_zmq.codec import Topic, decode, encode, numbers, read

SIZES = (1, 100, 10_000)
"""Numbers of the messages that are compared."""


@dataclass(frozen=True, slots=True)
class Row:
    """What one format takes for one message: bytes, and microseconds."""

    format: str
    numbers: int
    bytes: int
    write_us: float
    open_us: float
    all_us: float


@dataclass(frozen=True, slots=True)
class Format:
    """How a format writes a message, opens it, and what it then gives as the numbers."""

    write: Callable[[Topic], bytes | bytearray]
    open: Callable[[bytes], Any]
    all: Callable[[Any], Sequence[int] | memoryview]


def _plain(topic: Topic) -> dict[str, Any]:
    return {
        "seq_no": topic.seq_no,
        "ts": topic.ts,
        "name": topic.name,
        "data": topic.data.tolist(),
        "unit": topic.unit,
        "quality": topic.quality,
    }


FORMATS = {
    "flatbuffers": Format(encode, decode, lambda topic: topic.data),
    "flatbuffers, unverified": Format(encode, read, lambda topic: topic.data),
    "msgpack": Format(lambda t: msgpack.packb(_plain(t)), msgpack.unpackb, lambda m: m["data"]),
    "json": Format(
        lambda t: json.dumps(_plain(t), separators=(",", ":")).encode(),
        json.loads,
        lambda m: m["data"],
    ),
}


def compare(sizes: Sequence[int], seconds: float, seed: int) -> Iterator[Row]:
    """Give a row for each format and size; each timing takes about so many seconds."""
    rng = random.Random(seed)
    for size in sizes:
        values = numbers([rng.getrandbits(32) for _ in range(size)])
        topic = Topic(1, 1e9, "temperature", values, "mK", 90)
        for name, kind in FORMATS.items():
            yield _row(name, kind, topic, seconds)


def _row(name: str, kind: Format, topic: Topic, seconds: float) -> Row:
    buffer = bytes(kind.write(topic))
    return Row(
        name,
        len(topic.data),
        len(buffer),
        _timed(lambda: kind.write(topic), seconds),
        _timed(lambda: kind.open(buffer), seconds),
        _timed(lambda: sum(kind.all(kind.open(buffer))), seconds),
    )


def fields(row: Row) -> dict[str, Any]:
    """Give a row as an event's fields."""
    return {name: round(v, 2) if name.endswith("_us") else v for name, v in asdict(row).items()}


def table(rows: Sequence[Row]) -> str:
    """Write the rows for a person."""
    titles = ("format", "numbers", "bytes", "write µs", "open µs", "read all µs")
    lines = [f"{titles[0]:<24}" + "".join(f"{title:>13}" for title in titles[1:])]
    for row in rows:
        cells = f"{row.format:<24}{row.numbers:>13,}{row.bytes:>13,}"
        lines.append(cells + f"{row.write_us:>13,.1f}{row.open_us:>13,.1f}{row.all_us:>13,.1f}")
    return "\n".join(lines)


def _timed(once: Callable[[], object], seconds: float) -> float:
    """Give the microseconds that it takes: the quickest of some batches, which noise met least."""
    batch, best, began = 1, float("inf"), time.perf_counter()
    while True:
        start = time.perf_counter()
        for _ in range(batch):
            once()
        now = time.perf_counter()
        best = min(best, (now - start) / batch)
        if now - began > seconds:
            return best * 1e6
        if now - start < seconds / 10:
            batch *= 2

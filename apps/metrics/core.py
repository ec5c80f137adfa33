"""Samples on their way into a database: what one is, its line, its stamp, and who repeats it.

A batch is handed on from hop to hop, and each hop keeps it until the next one has answered that it
is on its disk. An answer may be lost and then the batch comes again, so delivery is at least once;
what makes it count once is a point's identity in InfluxDB: measurement, tags and timestamp. So a
sample is stamped once, where it enters; `Stamps` gives no stamp twice; and all that comes again
overwrites what it had written before.

PUSH and PULL would not do: they acknowledge nothing, and what lies in their queues and in the
kernel's is lost with the process (Hintjens, "ZeroMQ", 2013, chapter 4). `Window` is what stands in
their place: at most so many batches are under way, which is the sender's credit, and each is sent
again until it is answered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, NamedTuple

LATENCY, DROPPED = "latency", "dropped"
"""The measurements: fields `ms` and `count`."""
NUMBERED = "numbered"
"""The component of samples whose values are numbers and no milliseconds; see `client.Publisher`."""
NAME_MOST = 64
"""Characters of a name."""
BATCH_MOST = 500
"""Samples of a batch."""
PAST, FUTURE = 7 * 86400 * 10**9, 86400 * 10**9
"""Nanoseconds that a stamp may lie back and ahead; each day far away is a shard of its own."""
_MS_MOST = 1e12


class Malformed(ValueError):
    """What came is no sample, or no batch; the text says why."""


class Sample(NamedTuple):
    """How long an operation took; or, without an operation, how many samples were dropped."""

    t: int
    """Nanoseconds since 1970."""
    pattern: str
    component: str
    operation: str | None
    value: float
    """Milliseconds, or a count."""


def datagram(data: bytes) -> tuple[Sample | None, Sample | None]:
    """Read what a process hands to its agent: a sample, and how many were dropped before it."""
    record = _json(data)
    if not isinstance(record, list) or len(record) != 6:
        raise Malformed("no record of six fields")
    t, pattern, component, operation, value, dropped = record
    lost = checked([t, pattern, component, None, dropped]) if dropped else None
    if operation is None:
        return None, lost
    return checked([t, pattern, component, operation, value]), lost


def checked(record: Any) -> Sample:
    """Give what is a sample; Malformed."""
    if not isinstance(record, list) or len(record) != 5:
        raise Malformed("a sample has five fields")
    t, pattern, component, operation, value = record
    if type(t) is not int:
        raise Malformed("a stamp is an integer")
    if type(value) not in (int, float) or not 0 <= value < _MS_MOST:  # NaN is in no order
        raise Malformed(f"a value is a number from 0 to {_MS_MOST:g}")
    series("-", pattern, component, operation)
    return Sample(t, pattern, component, operation, float(value))


def encode(host: str, samples: Iterable[Sample]) -> bytes:
    """Give the batch of a host's samples."""
    return json.dumps({"host": host, "samples": list(samples)}, separators=(",", ":")).encode()


def lines(batch: bytes, now: int) -> tuple[list[str], list[str]]:
    """Give the lines of a batch's samples in InfluxDB's line protocol, and why others are none.

    Malformed if it is no batch at all. `now` is in nanoseconds.
    """
    whole = _json(batch)
    if not isinstance(whole, dict) or whole.keys() != {"host", "samples"}:
        raise Malformed("a batch has a host and samples")
    host, records = whole["host"], whole["samples"]
    if not isinstance(records, list) or not 0 < len(records) <= BATCH_MOST:
        raise Malformed(f"a batch has 1 to {BATCH_MOST} samples")
    good, bad = [], []
    for record in records:
        try:
            good.append(line(host, checked(record), now))
        except Malformed as error:
            bad.append(str(error))
    return good, bad


def line(host: str, sample: Sample, now: int) -> str:
    """Give a sample's line; Malformed if it cannot be one, or its stamp is far from now."""
    if not now - PAST <= sample.t <= now + FUTURE:
        raise Malformed("its stamp is too far from the collector's time")
    head = series(host, sample.pattern, sample.component, sample.operation)
    if sample.operation is None:
        return f"{head} count={int(sample.value)}i {sample.t}"
    return f"{head} ms={sample.value!r} {sample.t}"


def series(host: Any, pattern: Any, component: Any, operation: Any) -> str:
    """Give measurement and tags; Malformed if a name cannot stand there.

    A line break would begin another line, and a backslash at a value's end would swallow the comma
    after it: the line protocol has no escape for either, so names with them are refused.
    """
    if not (type(host) is type(pattern) is type(component) is str):
        raise Malformed("a name is a text")
    if not (operation is None or type(operation) is str):
        raise Malformed("an operation's name is a text, or null")
    return _series(host, pattern, component, operation)


@lru_cache(maxsize=4096)
def _series(host: str, pattern: str, component: str, operation: str | None) -> str:
    tags = {"component": component, "host": host, "operation": operation, "pattern": pattern}
    written = (f"{name}={_tag(value)}" for name, value in tags.items() if value is not None)
    return ",".join([DROPPED if operation is None else LATENCY, *written])


def _tag(value: str) -> str:
    if not 0 < len(value) <= NAME_MOST:
        raise Malformed(f"a name has 1 to {NAME_MOST} characters")
    if not value.isprintable() or "\\" in value:
        raise Malformed("a name has printable characters, and no backslash")
    return value.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON: {error}") from None


class Stamps:
    """Gives stamps, each greater than the last one: no two samples of a host have the same."""

    def __init__(self, last: int = 0) -> None:
        """`last` is the greatest that was ever given."""
        self.last = last

    def give(self, wished: int, now: int) -> int:
        """Give the wished stamp if it is free and not ahead of time, or the next one that is."""
        self.last = max(self.last + 1, min(wished, now))
        return self.last


class Answer(Enum):
    """What a hop says of a batch."""

    KEPT = b"kept"
    """It is on the disk; the text says how many of its samples were refused as malformed."""
    FULL = b"full"
    """There is no room now; the text says why."""
    MALFORMED = b"malformed"
    """It is no batch, and so it would be the next time."""


class _UnderWay:
    def __init__(self, payload: bytes, now: float) -> None:
        self.payload = payload
        self.due = now
        self.sent = 0
        self.full = 0


class Window:
    """What is under way: at most `size` batches, each sent again until it is answered."""

    def __init__(self, size: int = 8, patience: float = 2.0, rest: float = 0.25) -> None:
        """Send again after `patience` seconds without an answer, and `rest` after `FULL`."""
        self._size = size
        self._patience = patience
        self._rest = rest
        self._under_way: dict[int, _UnderWay] = {}

    @property
    def open(self) -> bool:
        """Whether there is credit for one more."""
        return len(self._under_way) < self._size

    @property
    def empty(self) -> bool:
        """Whether all was answered."""
        return not self._under_way

    def put(self, number: int, payload: bytes, now: float) -> None:
        """Take a batch that is due at once; its number is its sender's own."""
        self._under_way[number] = _UnderWay(payload, now)

    def due(self, now: float) -> Iterator[tuple[int, bytes]]:
        """Give the batches that are to be sent now; to take one is to send it."""
        for number, one in list(self._under_way.items()):
            if one.due <= now:
                one.due = now + self._patience
                one.sent += 1
                yield number, one.payload

    def unsent(self, number: int, now: float) -> None:
        """Take back that it was sent: nobody is connected."""
        if (one := self._under_way.get(number)) is not None:
            one.sent -= 1
            one.due = now + self._rest

    def wait(self, now: float) -> float:
        """Give the seconds until the next one is due."""
        return max(0.0, min((one.due for one in self._under_way.values()), default=math.inf) - now)

    def answered(self, number: int, answer: Answer, now: float) -> bool:
        """Take an answer; whether it settles a batch, which is then forgotten."""
        one = self._under_way.get(number)
        if one is None:  # answered before: it had been sent again
            return False
        if answer is Answer.FULL:
            one.full += 1
            one.due = now + self._rest
            return False
        del self._under_way[number]
        return True

    def left(self) -> Iterator[tuple[int, bool]]:
        """Give the numbers of those not settled, and whether each may have been kept."""
        for number, one in self._under_way.items():
            yield number, one.sent > one.full


def ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Give some numbers as sorted ranges, first and last of each."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        elif not found or number != found[-1][1]:
            found.append([number, number])
    return found

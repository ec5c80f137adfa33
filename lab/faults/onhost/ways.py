"""What is wrong on the ways out of this host: the faults of links, put together.

Several may befall one way at once. They add up: delays and jitters are summed, and a packet must
escape every part that is lost, doubled, damaged or let overtake; of rates the lowest counts.
Addresses on which the same faults act make one way, and share its rate.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from lab.faults.onhost.records import Record

MULTICAST = "224.0.0.0/3"
"""Class D, and what lies above it: 255.255.255.255."""
EVERYTHING = "0.0.0.0/0"
"""All that is IPv4 and on no other way."""
LIMIT = 10_000
"""Packets that a way holds back at most; more are dropped. At 50 ms these are 200,000 a second."""
LIMIT_OF_RATE = 1_000
"""As many where a rate makes a queue: tc-netem(8)'s own limit."""


@dataclass(frozen=True)
class Effects:
    """What befalls the packets of a way; see `apps.kit.faults.Link`."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    rate: float = 0.0

    @property
    def limit(self) -> int:
        """How many packets may be held back."""
        return LIMIT_OF_RATE if self.rate else LIMIT


def together(all_: Sequence[Effects]) -> Effects:
    """Give what they come to when all of them act."""

    def total(name: str) -> float:
        return math.fsum(map(attrgetter(name), all_))

    def either(name: str) -> float:
        return 1.0 - math.prod(1.0 - float(getattr(each, name)) for each in all_)

    loss = either("loss")
    return Effects(
        delay=total("delay"),
        jitter=total("jitter"),
        loss=loss,
        # To netem, one that is lost and doubled is one; where all are lost, none shall come of it.
        duplicate=either("duplicate") if loss < 1 else 0.0,
        reorder=either("reorder"),
        corrupt=either("corrupt"),
        rate=min((each.rate for each in all_ if each.rate), default=0.0),
    )


@dataclass(frozen=True)
class Way:
    """Addresses, and what befalls packets for them."""

    to: tuple[str, ...]
    """Addresses, and `MULTICAST`."""
    effects: Effects
    number: int
    """1 to 65535, the same as long as the same faults act on it."""


def effects(record: Record) -> Effects:
    """Give what one fault of a link does."""
    return Effects(**record.parameters["effects"])


def ways(links: Iterable[Record], led_to: Iterable[str], broadcasts: Sequence[str]) -> list[Way]:
    """Give the ways out of one device.

    `led_to` are the addresses that it leads to, `broadcasts` those by which it reaches all.
    """
    acting: dict[tuple[str, ...], list[str]] = {}
    by_id = {record.id: record for record in links}
    for address in [*sorted(set(led_to)), *broadcasts]:
        ids = tuple(id_ for id_, record in by_id.items() if _suffers(record, broadcasts)(address))
        if ids:
            acting.setdefault(ids, []).append(address)
    return [
        Way(tuple(to), together([effects(by_id[id_]) for id_ in ids]), _number(ids))
        for ids, to in acting.items()
    ]


def _suffers(record: Record, broadcasts: Sequence[str]) -> Callable[[str], bool]:
    to = {*record.parameters["to"], *(broadcasts if record.parameters["broadcast"] else ())}
    return to.__contains__


def _number(ids: Iterable[str]) -> int:
    return 1 + zlib.crc32(" ".join(ids).encode()) % 0xFFFE

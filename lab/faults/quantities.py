"""Quantities as people write them on a command line and in a schedule: 50ms, 20%, 1mbit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lab.errors import LabError

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BITS = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_BYTES = {"": 1.0, "B": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30}


def seconds(text: str) -> float:
    """Give the seconds of `20s`, `50ms`, `2min`; a bare number is seconds."""
    return _read(text, {"": 1.0, **_SECONDS}, "a time", "20s, 50ms, 2min")


def part(text: str) -> float:
    """Give the part of a whole, 0 to 1, of `20%` or `0.2`."""
    return _read(text, {"": 1.0, "%": 0.01}, "a part", "20% or 0.2")


def bits_per_second(text: str) -> float:
    """Give the bits a second of `1mbit`, `512kbit`, as tc(8) writes rates."""
    return _read(text, _BITS, "a rate", "1mbit, 512kbit")


def signed(read: Callable[[str], float], text: str) -> float:
    """Give a quantity that may have a sign: `-5s`, `+1%`."""
    given = text.strip()
    size = read(given[1:] if given[:1] in {"+", "-"} else given)
    return -size if given.startswith("-") else size


def bytes_(text: str) -> int:
    """Give the bytes of `64K`, `1M`; a bare number is bytes."""
    return int(_read(text, _BYTES, "an amount", "64K, 1M"))


def _read(text: str, units: Mapping[str, float], what: str, examples: str) -> float:
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z%]*)\s*", text)
    if match is None or match[2] not in units:
        raise LabError(f"{text!r} is not {what}", f"write it as: {examples}")
    return float(match[1]) * units[match[2]]

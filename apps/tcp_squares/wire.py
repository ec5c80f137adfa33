r"""The lines that cross the network, readable and typable: `nc hub 8081` is a client.

    client says                       server answers
    12                                144
    submit REQUEST SECONDS N N …      squares S S …           or `none` after so many seconds
    take WORKER SECONDS               task LEASE N            or `none` after so many seconds
    done LEASE SQUARE                 counted                 or `dropped: why`
    anything else                     error: what is wrong

A number's digits are bounded, so that no line costs more than its sender pays for it: squaring is
cheap, but turning n digits into a number and back is quadratic (CVE-2020-10735, the reason for
Python's own limit of 4300 digits, which a square of twice 2000 digits stays below).
"""

from __future__ import annotations

import re
from typing import Any

from apps.kit.effects import Message

LONGEST_LINE = 65536
"""Bytes of a line in either direction."""
MOST_DIGITS = 2000
"""The highest limit on digits that a server may set."""
LONGEST_WAIT = 60.0
"""Seconds that a `submit` or `take` may wait for its answer; who wants more asks again."""

_INTEGER = re.compile(r"[+-]?([0-9]+)")
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_SECONDS = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


class BadLine(ValueError):
    """A line that asks for nothing the server knows; the text says what was wrong."""


def parse(line: bytes, digits: int) -> dict[str, Any]:
    """Read a request: a mapping with `f` (square, submit, take, done) and what belongs to it.

    BadLine if it is none, or if one of its numbers has more than so many digits.
    """
    match line.decode(errors="backslashreplace").split():
        case []:
            raise BadLine("an empty line; send an integer")
        case ["submit", name, seconds, *numbers] if numbers:
            # A square has at most twice the digits, so the answer's line fits if this one does so.
            if len(line) > LONGEST_LINE // 2 - 1:
                raise BadLine(f"a submit of {len(line)} bytes; send it in parts of half as much")
            given = [_integer(number, digits) for number in numbers]
            name, wait = _name(name), _seconds(seconds)
            return {"f": "submit", "request": name, "wait": wait, "numbers": given}
        case ["take", worker, seconds]:
            return {"f": "take", "worker": _name(worker), "wait": _seconds(seconds)}
        case ["done", lease, square]:
            return {"f": "done", "lease": _name(lease), "square": _integer(square, 2 * digits)}
        case ["submit" | "take" | "done" as verb, *_]:
            usage = {
                "submit": "REQUEST SECONDS N…",
                "take": "WORKER SECONDS",
                "done": "LEASE SQUARE",
            }
            raise BadLine(f"{verb} needs: {verb} {usage[verb]}")
        case [number]:
            return {"f": "square", "number": _integer(number, digits)}
        case _:
            raise BadLine("several words; send one integer a line, or submit, take, done")


def render(f: str, result: Message) -> bytes:
    """Give the line that answers a request of this kind, with what the bag made of it."""
    match f:
        case "submit" | "take" if not result:
            return b"none"
        case "submit":
            return f"squares {' '.join(map(str, result['squares']))}".encode()
        case "take":
            return f"task {result['lease']} {result['number']}".encode()
        case _:
            return b"counted" if result["counted"] else f"dropped: {result['why']}".encode()


def complain(why: str) -> bytes:
    """Give the line that says what was wrong; no other answer begins so."""
    return f"error: {why}".encode()


def _integer(text: str, digits: int) -> int:
    found = _INTEGER.fullmatch(text)
    if not found:
        raise BadLine(f"{_short(text)} is not an integer")
    if len(found[1]) > digits:
        raise BadLine(f"a number of {len(found[1])} digits; at most {digits} are taken")
    return int(text)


def _seconds(text: str) -> float:
    if not _SECONDS.fullmatch(text) or float(text) > LONGEST_WAIT:
        raise BadLine(f"{_short(text)} is not 0 to {LONGEST_WAIT:g} seconds")
    return float(text)


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise BadLine(f"{_short(text)} is no name: 1 to 64 letters, digits and any of . _ : -")
    return text


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}…")

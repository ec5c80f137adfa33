"""What clients ask of a node, as a JSON object a line; see `node.py`.

    {"f": "get", "key": K}                                        the newest value that is found
    {"f": "set", "key": K, "value": V, "copies": 20, "ttl": 86400}
    {"f": "holds", "key": K}                                      what this very node keeps of it
    {"f": "register", "topic": T, "publisher": P, "address": "host:port", "lease": 5}
    {"f": "withdraw", "topic": T, "publisher": P}
    {"f": "lookup", "topic": T}                                   the publishers of a topic
    {"f": "status"}

The answer is {"result": …} or {"error": why, "known": "refused" | "rejected" | "unknown"}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from apps.kademlia import wire
from apps.kit.address import Address

LONGEST_LINE = 30_000
"""Bytes of a request: JSON may need six for one of a value."""
LONGEST_KEY = 200
DAY = 86400.0
_FIELDS = {
    "get": {"key"},
    "set": {"key", "value"},
    "holds": {"key"},
    "register": {"topic", "publisher", "address"},
    "withdraw": {"topic", "publisher"},
    "lookup": {"topic"},
    "status": set[str](),
}
_MORE = {"set": {"copies", "ttl"}, "register": {"lease"}, "withdraw": {"lease"}}
_WORD = re.compile(r"[!-~]{1,100}")


class BadRequest(ValueError):
    """The request is none; the text says how it should have been."""


def parse(line: bytes) -> dict[str, Any]:
    """Read a request, with what was left out; BadRequest."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest("a request is a JSON object") from None
    f = body.get("f") if isinstance(body, dict) else None
    if not isinstance(f, str) or f not in _FIELDS:
        raise BadRequest(f"f must be one of {', '.join(_FIELDS)}")
    given = body.keys() - {"f"}
    if missing := _FIELDS[f] - given:
        raise BadRequest(f"{f} needs {', '.join(sorted(missing))}")
    if unknown := given - _FIELDS[f] - _MORE.get(f, set()):
        raise BadRequest(f"{f} has no {', '.join(map(repr, sorted(unknown)))}")
    whole: dict[str, Any] = {"copies": wire.MOST_CONTACTS, "ttl": DAY, "lease": 5.0} | body
    for name in given & _CHECKS.keys():
        whole[name] = _CHECKS[name](name, body[name])
    return whole


def _key(name: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_KEY or not value.isprintable():
        raise BadRequest(f"{name} is a text of 1 to {LONGEST_KEY} printable characters")
    return value


def _value(_: str, value: Any) -> Any:
    try:
        return wire.plain(value)
    except wire.Malformed as error:
        raise BadRequest(str(error)) from None


def _word(name: str, value: Any) -> str:
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise BadRequest(f"{name} is a word of 1 to 100 characters of ASCII")
    return value


def _address(_: str, value: Any) -> str:
    try:
        return str(Address.parse(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise BadRequest(f"address: {error}") from None


def _seconds(name: str, value: Any) -> float:
    fair = isinstance(value, int | float) and not isinstance(value, bool)
    if not fair or not 0.1 <= value <= wire.LONGEST_LEASE:
        raise BadRequest(f"{name} is 0.1 to {wire.LONGEST_LEASE:.0f} seconds")
    return float(value)


def _copies(name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= wire.MOST_CONTACTS:
        raise BadRequest(f"{name} is a number from 1 to {wire.MOST_CONTACTS}")
    return value


_CHECKS = {
    "key": _key,
    "value": _value,
    "topic": _word,
    "publisher": _word,
    "address": _address,
    "ttl": _seconds,
    "lease": _seconds,
    "copies": _copies,
}


def answer(body: Mapping[str, Any]) -> bytes:
    """Give an answer as a line."""
    return json.dumps(body, separators=(",", ":")).encode()


def complain(why: str, known: str = "rejected") -> bytes:
    """Give the answer to what cannot be done, and what is known of it then."""
    return answer({"error": why, "known": known})

r"""What master and secondaries say to each other: a line of JSON, behind it entries as they are.

    {"id": "n1.4f09:17", "kind": "append", "log": "9e…", "session": 7, "first": 12}\n<entries>
    {"id": "n2.77a1:4", "kind": "stored", "log": "9e…", "session": 7, "length": 15}\n
    {"id": "n2.77a1:5", "kind": "follow", "log": "9e…", "session": 0, "length": 15}\n

The master says `append`; without entries it is a heartbeat. A secondary says `stored`, which
acknowledges so many entries, or `follow`, which asks for those that come after them, and begins a
new session: the master gives it a number, and counts a `stored` that names it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from apps.kit.effects import Message
from apps.replicated_log.entries import SEQ_MOST, Entry, decode, encode

NUMBERS = {"append": "first", "stored": "length", "follow": "length"}
"""The kinds of messages, and the number that each has."""
_LOG = re.compile(r"[0-9a-f]{32}|")


class Malformed(ValueError):
    """What came is no message of this protocol."""


class Encoder:
    """Writes messages; entries that go to several secondaries are written once."""

    def __init__(self) -> None:
        """Nothing was written yet."""
        self._last: tuple[Sequence[Entry], bytes] = ((), b"")

    def encode(self, message_id: str, message: Message) -> bytes:
        """Give the frame that carries a message."""
        entries = message.get("entries", ())
        if entries is not self._last[0]:
            self._last = (entries, encode(entries))
        head = {name: value for name, value in message.items() if name != "entries"}
        return json.dumps({"id": message_id, **head}).encode() + b"\n" + self._last[1]


def read(frame: bytes) -> tuple[str, dict[str, Any]]:
    """Give a frame's id and message; Malformed."""
    head, _, body = frame.partition(b"\n")
    try:
        said = json.loads(head)
        entries = decode(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(str(error)) from error
    if not isinstance(said, dict) or said.get("kind") not in NUMBERS:
        raise Malformed(f"its kind is none of {', '.join(NUMBERS)}")
    name = NUMBERS[said["kind"]]
    log, message_id = said.get("log"), said.get("id")
    numbers = {what: said.get(what) for what in ("session", name)}
    for what, value in numbers.items():
        if type(value) is not int or not 0 <= value <= SEQ_MOST:
            raise Malformed(f"{what} is a whole number")
    if not isinstance(log, str) or not _LOG.fullmatch(log) or not isinstance(message_id, str):
        raise Malformed("it names its log and its id")
    message = {"kind": said["kind"], "log": log, **numbers}
    if said["kind"] == "append":
        message["entries"] = entries
    elif entries:
        raise Malformed(f"{said['kind']} has no entries")
    return message_id[:100], message

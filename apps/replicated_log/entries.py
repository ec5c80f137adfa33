"""Entries of the log, and the bytes that carry them: on a disk and between nodes, the same."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

MESSAGE_MOST = 65_536
"""Bytes of a message, in UTF-8."""
CLIENT_MOST = 64
"""Bytes of a client's id, in UTF-8."""
SEQ_MOST = (1 << 63) - 1
_HEAD = struct.Struct("!IHQ")
OVERHEAD = _HEAD.size
"""Bytes of an entry besides its message and its client's id."""


class Entry(NamedTuple):
    """A message, and which of whose requests it is; of a client without an id, nobody knows."""

    message: str
    client: str = ""
    seq: int = 0


def encode(entries: Iterable[Entry]) -> bytes:
    """Give the bytes that carry these entries."""
    parts: list[bytes] = []
    for message, client, seq in entries:
        text, name = message.encode(), client.encode()
        parts += (_HEAD.pack(len(text), len(name), seq), name, text)
    return b"".join(parts)


def decode(data: bytes) -> list[Entry]:
    """Read entries back; ValueError if these bytes carry none."""
    entries, at = [], 0
    try:
        while at < len(data):
            length, named, seq = _HEAD.unpack_from(data, at)
            name = at + OVERHEAD
            text = name + named
            at = text + length
            if at > len(data):
                raise ValueError("an entry is cut off")
            entries.append(Entry(data[text:at].decode(), data[name:text].decode(), seq))
    except struct.error as error:
        raise ValueError(f"an entry is cut off: {error}") from error
    return entries


def size(entry: Entry) -> int:
    """Give about how many bytes an entry has; exact where its text is ASCII."""
    return OVERHEAD + len(entry.client) + len(entry.message)

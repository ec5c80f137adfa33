"""Buffers that must be refused, made of good ones: what a stranger might send, in exact numbers.

Each does one thing that FlatBuffers' accessors would follow out of the buffer, or would hand on as
what it is not. A changed number alone is no such thing: it is another message, and as good.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from apps.flatbuffers_zmq.codec import Schema

Make = Callable[[bytearray, random.Random], None]

_HUGE = 1 << 31


def spoil(buffer: bytearray, rng: random.Random) -> tuple[str, bytearray]:
    """Give what was done, and a buffer to which it was done; the given one stays as it is."""
    kind = rng.choice(sorted(KINDS))
    spoilt = bytearray(buffer)
    KINDS[kind](spoilt, rng)
    return kind, spoilt


def _truncated(buffer: bytearray, rng: random.Random) -> None:
    del buffer[rng.randrange(len(buffer)) :]


def _of_another_kind(buffer: bytearray, _rng: random.Random) -> None:
    buffer[4:8] = b"ELSE"


def _rootless(buffer: bytearray, rng: random.Random) -> None:
    struct.pack_into("<I", buffer, 0, rng.randrange(len(buffer), _HUGE))


def _without_vtable(buffer: bytearray, rng: random.Random) -> None:
    (root,) = struct.unpack_from("<I", buffer)
    struct.pack_into("<i", buffer, root, rng.choice((root + 1, -len(buffer), -_HUGE, _HUGE - 1)))


def _with_a_far_field(buffer: bytearray, _rng: random.Random) -> None:
    slot = _vtable(buffer) + 4 + 2 * 3
    struct.pack_into("<H", buffer, slot, 0xFFFC)


def _with_far_numbers(buffer: bytearray, rng: random.Random) -> None:
    (root,) = struct.unpack_from("<I", buffer)
    (offset,) = struct.unpack_from("<H", buffer, _vtable(buffer) + 4 + 2 * 3)
    struct.pack_into("<I", buffer, root + offset, rng.randrange(len(buffer), _HUGE))


def _too_long(buffer: bytearray, rng: random.Random) -> None:
    struct.pack_into("<I", buffer, _numbers(buffer) - 4, rng.randrange(len(buffer), _HUGE))


def _unterminated(buffer: bytearray, _rng: random.Random) -> None:
    start, length = _name(buffer)
    buffer[start + length] = 0x21


def _without_text(buffer: bytearray, _rng: random.Random) -> None:
    start, length = _name(buffer)
    buffer[start + length - 1] = 0xFF


KINDS: dict[str, Make] = {
    "truncated": _truncated,
    "another identifier": _of_another_kind,
    "root outside": _rootless,
    "vtable outside": _without_vtable,
    "field outside": _with_a_far_field,
    "vector outside": _with_far_numbers,
    "vector too long": _too_long,
    "string without end": _unterminated,
    "no UTF-8": _without_text,
}
"""What can be done, by name, in place. The buffer must be good, and its name not empty."""


def _vtable(buffer: bytearray) -> int:
    (root,) = struct.unpack_from("<I", buffer)
    (back,) = struct.unpack_from("<i", buffer, root)
    return int(root - back)


def _numbers(buffer: bytearray) -> int:
    table = Schema.NEW.generated.Topic.GetRootAs(buffer)._tab
    return int(table.Vector(table.Offset(4 + 2 * 3)))


def _name(buffer: bytearray) -> tuple[int, int]:
    """Give where the name's bytes begin, and how many they are."""
    table = Schema.NEW.generated.Topic.GetRootAs(buffer)._tab
    offset = table.Offset(4 + 2 * 2)
    return int(table.Vector(offset)), int(table.VectorLen(offset))

"""Topics as FlatBuffers, and back: written by the generated builders, read where they lie.

A reader gets no copy of the numbers: `data` is a view of the buffer that came from the network, and
keeps it alive. `unit` and `quality` are the fields that the schema had not at first: who reads with
the old one never sees them, and of what the old one wrote they have their defaults.
"""

from __future__ import annotations

import array
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import ModuleType

import flatbuffers

from apps.flatbuffers_zmq.verifier import Buffer, Field, Kind, Malformed, verify

IDENTIFIER = b"TOPC"
QUALITY = 100
"""Percent, where the writer says nothing."""
MOST = 16_000
"""Numbers of a topic."""
LONGEST_TEXT = 255
"""Bytes of a name, and of a unit."""

_FIELDS = (
    Field("seq_no", Kind.UINT32),
    Field("ts", Kind.DOUBLE),
    Field("name", Kind.STRING, required=True),
    Field("data", Kind.UINT32S, required=True),
    Field("unit", Kind.STRING),
    Field("quality", Kind.UBYTE),
)
_DATA = 4 + 2 * 3
"""Where the vtable has the vector: the generated accessors give its elements one by one alone."""


class Schema(Enum):
    """Which schema a program was built with."""

    OLD = "old"
    NEW = "new"

    @property
    def fields(self) -> Sequence[Field]:
        """The fields that it knows."""
        return _FIELDS[:4] if self is Schema.OLD else _FIELDS

    @property
    def generated(self) -> ModuleType:
        """What flatc made of it."""
        return _generated()[self]


@cache
def _generated() -> dict[Schema, ModuleType]:
    """Import it when it is used: the command line must be known where nothing was made yet."""
    from apps.flatbuffers_zmq.generated import topic, topic_v1

    return {Schema.OLD: topic_v1, Schema.NEW: topic}


@dataclass(frozen=True, slots=True)
class Topic:
    """A message. Equal ones say the same; `data` may be any sequence of numbers."""

    seq_no: int
    ts: float
    name: str
    data: memoryview | array.array[int]
    unit: str = ""
    quality: int = QUALITY

    @property
    def crc(self) -> str:
        """A checksum of what it says in the fields that every reader knows."""
        # FlatBuffers does not write what equals the default, and -0.0 equals 0.0.
        head = f"{self.seq_no} {self.ts + 0.0!r} {self.name}".encode()
        return f"{zlib.crc32(_little(self.data), zlib.crc32(head)):08x}"


def numbers(values: Sequence[int]) -> array.array[int]:
    """Give numbers as a topic has them; ValueError if one is no uint32, or they are too many."""
    if len(values) > MOST:
        raise ValueError(f"{len(values)} numbers: a topic has at most {MOST}")
    try:
        return array.array("I", values)
    except (OverflowError, TypeError):
        raise ValueError("its numbers must be whole, from 0 to 4294967295") from None


def encode(message: Topic, schema: Schema = Schema.NEW) -> bytearray:
    """Write a topic; ValueError if it cannot be one. An old schema leaves out what it has not."""
    name, unit = _text(message.name), _text(message.unit)
    new = schema.generated
    raw = _little(message.data)
    builder = flatbuffers.Builder(len(raw) + len(name) + len(unit) + 128)
    # The leaves first: a table holds offsets of what is written already.
    data = _vector(builder, raw)
    name_at = builder.CreateString(name)
    unit_at = builder.CreateString(unit) if unit and schema is Schema.NEW else 0
    new.TopicStart(builder)
    try:
        new.TopicAddSeqNo(builder, message.seq_no)
        if schema is Schema.NEW:
            new.TopicAddQuality(builder, message.quality)
    except TypeError as error:  # the library's word for a number that does not fit
        raise ValueError(str(error)) from None
    new.TopicAddTs(builder, message.ts)
    new.TopicAddName(builder, name_at)
    new.TopicAddData(builder, data)
    if unit_at:
        new.TopicAddUnit(builder, unit_at)
    builder.Finish(new.TopicEnd(builder), file_identifier=IDENTIFIER)
    written: bytearray = builder.Output()
    return written


def decode(buffer: Buffer, schema: Schema = Schema.NEW) -> Topic:
    """Read a topic where it lies, once it is verified; Malformed says why it must not be read."""
    verify(buffer, schema.fields, IDENTIFIER)
    return read(buffer, schema)


def read(buffer: Buffer, schema: Schema = Schema.NEW) -> Topic:
    """Read a topic that has been verified; Malformed if its texts are none to print."""
    found = schema.generated.Topic.GetRootAs(buffer)
    name, data = _said(found.Name()), _data(buffer, found)
    if schema is Schema.OLD:
        return Topic(found.SeqNo(), found.Ts(), name, data)
    unit = _said(found.Unit() or b"")
    return Topic(found.SeqNo(), found.Ts(), name, data, unit, found.Quality())


def _vector(builder: flatbuffers.Builder, raw: memoryview) -> int:
    """Write a vector of numbers at once, as `CreateNumpyVector` does for those who have numpy."""
    count = len(raw) // 4
    builder.StartVector(4, count, 4)
    builder.head -= len(raw)
    builder.Bytes[builder.head : builder.head + len(raw)] = raw
    at: int = builder.EndVector()
    return at


def _data(buffer: Buffer, found: object) -> memoryview | array.array[int]:
    """Give the numbers as a view of the buffer; the generated code does so with numpy alone."""
    table = found._tab  # type: ignore[attr-defined]
    offset = table.Offset(_DATA)
    start, length = table.Vector(offset), table.VectorLen(offset)
    raw = memoryview(buffer)[start : start + 4 * length].toreadonly()
    if sys.byteorder == "little":
        return raw.cast("I")
    swapped = array.array("I", bytes(raw))
    swapped.byteswap()
    return swapped


def _little(data: memoryview | array.array[int]) -> memoryview:
    """Give the numbers' bytes as they are on the wire."""
    if sys.byteorder == "big":
        data = array.array("I", data)
        data.byteswap()
    return memoryview(data).cast("B")


def _text(text: str) -> bytes:
    if not _is_text(text):
        raise ValueError(f"{text[:40]!r} is no text: printable, and at most {LONGEST_TEXT} bytes")
    return text.encode()


def _said(raw: bytes) -> str:
    text = raw.decode()
    if not _is_text(text):
        raise Malformed(f"{text[:40]!r} is no text: printable, and at most {LONGEST_TEXT} bytes")
    return text


def _is_text(text: str) -> bool:
    return text.isprintable() and len(text.encode(errors="replace")) <= LONGEST_TEXT

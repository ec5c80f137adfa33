"""A verifier: whether a buffer may be read, before any accessor touches it.

A FlatBuffer is read in place. Its accessors follow offsets that stand in the buffer itself, and
believe them: that is the speed, and the danger. FlatBuffers for C++ has a verifier for buffers from
strangers; the library for Python has none, and its accessors on a hostile buffer raise whatever
they stumble on, or read what is not theirs. This one follows each offset once, before anybody else
does, and asks that all it leads to lies within the buffer.

The format ("FlatBuffer Internals", in the documentation of FlatBuffers); integers little-endian:

    at       bytes
    0        4      offset of the root table, from here
    4        4      file identifier
    table    4      signed: its vtable lies so much before it; then its scalars and offsets
    vtable   2, 2   its own size, the table's size; then 2 for each field: where in the table it
                    is, or 0 if the writer left it out
    vector   4      how many elements; then these
    string   4      how many bytes; then these, UTF-8, and a zero

Old and new schema differ in how many fields a vtable has: who knows fewer ignores the rest, who
knows more finds them left out. So the verifier is told the fields that its reader knows, and that
there may be others.

What is verified may be read. It need not be true: nothing here is a signature or a checksum.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview

LONGEST = 1 << 16
"""Bytes of a buffer."""

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_I32 = struct.Struct("<i")
_HEADER = 8
"""Bytes before the first table: the root's offset, the identifier."""


class Malformed(ValueError):
    """The buffer may not be read; the text says what is wrong with it, and where."""


class Kind(Enum):
    """What a field of a table is: the bytes that it has there, and what they lead to."""

    UBYTE = 1
    UINT32 = 4
    DOUBLE = 8
    STRING = "string"
    UINT32S = "vector of uint32"

    @property
    def width(self) -> int:
        """Bytes in the table; an offset has four."""
        return self.value if isinstance(self.value, int) else 4


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the root table, as the schema declares it; its place in the list is its id."""

    name: str
    kind: Kind
    required: bool = False


def verify(buffer: Buffer, fields: Sequence[Field], identifier: bytes) -> None:
    """Find out whether a reader that knows these fields may read the buffer; Malformed if not."""
    size = len(buffer)
    if not _HEADER <= size <= LONGEST:
        raise Malformed(f"{size} bytes: a buffer has {_HEADER} to {LONGEST}")
    if (found := bytes(buffer[4:_HEADER])) != identifier:
        raise Malformed(f"its identifier is {found!r}, and should be {identifier!r}")
    table = _Table(buffer)
    for number, field in enumerate(fields):
        table.verify(number, field)


class _Table:
    """The root table, of which the frame is verified."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        (self._at,) = _U32.unpack_from(buffer)
        self._within(self._at, 4, 4, "the root table")
        (back,) = _I32.unpack_from(buffer, self._at)
        self._vtable = self._at - back
        self._within(self._vtable, 4, 2, "the vtable")
        (self._slots,) = _U16.unpack_from(buffer, self._vtable)
        (self._size,) = _U16.unpack_from(buffer, self._vtable + 2)
        if self._slots < 4 or self._slots % 2:
            raise Malformed(f"a vtable of {self._slots} bytes is none")
        if self._size < 4:
            raise Malformed(f"a table of {self._size} bytes is none")
        self._within(self._vtable, self._slots, 2, "the vtable")
        self._within(self._at, self._size, 4, "the root table")

    def verify(self, number: int, field: Field) -> None:
        """Verify a field, and what it leads to."""
        slot = 4 + 2 * number
        offset = 0
        if slot < self._slots:
            (offset,) = _U16.unpack_from(self._buffer, self._vtable + slot)
        if not offset:
            if field.required:
                raise Malformed(f"{field.name} is required, and left out")
            return
        width = field.kind.width
        if not 4 <= offset <= self._size - width:
            raise Malformed(f"{field.name} lies outside of its table")
        self._within(self._at + offset, width, width, field.name)
        if field.kind is Kind.STRING:
            self._string(self._at + offset, field.name)
        elif field.kind is Kind.UINT32S:
            self._vector(self._at + offset, field.name, 4)

    def _string(self, at: int, name: str) -> None:
        start, length = self._vector(at, name, 1)
        end = start + length
        if end >= len(self._buffer) or self._buffer[end]:
            raise Malformed(f"{name} does not end with a zero")
        try:
            str(self._buffer[start:end], "utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"{name} is no UTF-8 at byte {error.start} of it") from None

    def _vector(self, at: int, name: str, width: int) -> tuple[int, int]:
        """Verify the vector that an offset leads to; give where its elements begin, and its length.

        An offset of less than 4 would lead to the offset itself.
        """
        (offset,) = _U32.unpack_from(self._buffer, at)
        if offset < 4:
            raise Malformed(f"{name} leads to itself")
        start = at + offset
        self._within(start, 4, 4, f"the length of {name}")
        (length,) = _U32.unpack_from(self._buffer, start)
        self._within(start + 4, length * width, width, f"{name}, of length {length},")
        return start + 4, length

    def _within(self, at: int, size: int, alignment: int, what: str) -> None:
        """Ask that these bytes lie in the buffer, where their alignment says.

        Python reads anywhere; readers in other languages trust the alignment, and some crash.
        """
        if at < 0 or at + size > len(self._buffer):
            raise Malformed(
                f"{what} lies outside: bytes {at} to {at + size} of {len(self._buffer)}"
            )
        if at % alignment:
            raise Malformed(f"{what} lies at byte {at}, which {alignment} does not divide")

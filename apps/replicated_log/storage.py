"""The log on a disk: one file that is only appended to, and is there after any crash.

The file begins with a header: what it is, and the log's identity, 16 random bytes. A record follows
for each write: magic, length, the offset of its first entry, their number, a CRC-32, and entries.
The checksum begins from the identity, so nothing that a client writes can pass for a record.

A write is a whole record, and is synced before the next one begins: `append` puts all that waits
into one ("group commit"; Gray and Reuter, "Transaction Processing", 1993). So of all records only
the last can be torn by a crash. It was never acknowledged, and opening cuts it off. A record that
is bad and has a good one behind it is no torn tail, it is a broken disk: then opening fails, and
nothing is changed (Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST
2018, has what follows from mistaking the one for the other).

A process that is killed between a write and its sync leaves a whole record that no disk has yet;
the kernel shows it all the same. So opening syncs what it found, before anybody is told of it.

The file grows ahead of the log by zeros, as a record that overwrites blocks which are there already
is synced without the file system's own journal. A disk without room refuses an append as a whole:
what of it was written is cut off again, and synced, before anybody is told.

In memory there is one index point for each 64 KiB of the file; entries are read from the disk.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from apps.kit.store import NoRoom
from apps.replicated_log.entries import Entry, decode, encode

_HEADER = struct.Struct("!16s16sI")
_WHAT = b"distlab log 1\n\0\0"
_RECORD = struct.Struct("!4sIQII")
_MAGIC = b"rec\xfe"
_RECORD_MOST = 8 << 20
"""Bytes of a record; whoever appends takes care that it is not longer."""
_STRIDE = 65536
"""Bytes between two index points."""
_AHEAD = 1 << 18
"""Bytes by which the file grows ahead of the log."""
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

Seen = Callable[[int, Entry], None]


class Damaged(ValueError):
    """The file is not what this class wrote; nothing was changed. The text says what to do."""


class _Record(NamedTuple):
    first: int
    entries: int
    payload: bytes
    end: int
    """The place in the file behind it."""


class LogFile:
    """The log of one file; a context manager that closes it.

    One thread at a time appends, any others may read meanwhile.
    """

    def __init__(self, path: Path, seen: Seen = lambda _offset, _entry: None) -> None:
        """Open `path` or make it; Damaged. `seen` is given every entry that is there."""
        self._path = path
        self._identity = b""
        self._checksum = 0
        self._length = 0
        self._end = 0
        self._points = array("Q", [0])
        self._places = array("Q", [_HEADER.size])
        self.repaired = 0
        """Bytes of a torn tail that were cut off."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._recover(seen)
            os.fsync(self._file)
            _sync_directory(path)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    @property
    def identity(self) -> str:
        """The log's identity; "" before the first append to a new file."""
        return self._identity.hex()

    @property
    def length(self) -> int:
        """How many entries are on the disk."""
        return self._length

    def append(self, entries: Sequence[Entry], identity: str) -> None:
        """Have these entries on the disk; NoRoom, and then nothing was changed.

        The identity is that of a new file's log from now on; that of another one stays as it is.
        """
        if not self._identity:
            self._begin(bytes.fromhex(identity))
        if not entries:
            return
        data = _record(self._checksum, self._length, len(entries), encode(entries))
        self._write(data, self._end)
        self._point(self._length, self._end)
        self._end += len(data)
        self._length += len(entries)

    def read(self, first: int, most: int, size: int = 1 << 20) -> list[Entry]:
        """Give the entries from an offset on: so many at most, and about so many bytes of them."""
        found: list[Entry] = []
        taken = 0
        for record in self._records(first):
            entries = decode(record.payload)[max(0, first - record.first) :]
            found += entries
            taken += len(record.payload)
            if len(found) >= most or taken >= size:
                break
        return found[:most]

    def _records(self, offset: int) -> Iterator[_Record]:
        """Read the records from that of an entry on."""
        length = self._length
        if offset >= length:
            return
        place = self._places[bisect_right(self._points, offset) - 1]
        while True:
            record = self._record_at(place)
            if record is None:
                raise OSError(errno.EIO, f"{self._path} cannot be read at byte {place}")
            if record.first + record.entries > offset:
                yield record
            if record.first + record.entries >= length:
                return
            place = record.end

    def _record_at(self, place: int) -> _Record | None:
        """Read the record at a place of the file; None if there is no good one."""
        head = os.pread(self._file, _RECORD.size, place)
        if len(head) < _RECORD.size:
            return None
        magic, size, first, count, checksum = _RECORD.unpack(head)
        if magic != _MAGIC or size > _RECORD_MOST:
            return None
        payload = os.pread(self._file, size, place + _RECORD.size)
        if checksum != _crc(self._checksum, size, first, count, payload) or len(payload) < size:
            return None
        return _Record(first, count, payload, place + _RECORD.size + size)

    # Opening

    def _recover(self, seen: Seen) -> None:
        header = os.pread(self._file, _HEADER.size, 0)
        if len(header) == _HEADER.size and _header(header[16:32]) == header:
            self._be(header[16:32])
        elif any(piece.strip(b"\0") for _, piece in self._pieces(_HEADER.size)):
            raise self._damaged(0, "it does not begin as a log does")
        while record := self._identity and self._record_at(self._end):
            if record.first != self._length:
                raise self._damaged(self._end, f"entry {self._length} is missing")
            for number, entry in enumerate(decode(record.payload)):
                seen(record.first + number, entry)
            self._point(record.first, self._end)
            self._length += record.entries
            self._end = record.end
        self._repair()

    def _repair(self) -> None:
        """Cut off what follows the last good record, unless it is nothing, or too much."""
        torn = 0
        for place, piece in self._pieces(self._end):
            if piece.strip(b"\0"):
                torn = place + len(piece.rstrip(b"\0")) - self._end
            for found in _places_of(_MAGIC, piece):
                if self._record_at(place + found) is not None:
                    raise self._damaged(self._end, "good records follow")
        if torn:
            self.repaired = torn
            self._cut()

    def _pieces(self, place: int) -> Iterator[tuple[int, bytes]]:
        """Read on from a place, in pieces that overlap by a magic's length."""
        while piece := os.pread(self._file, _STRIDE, place):
            yield place, piece
            if len(piece) < len(_MAGIC):
                return
            place += max(1, len(piece) - len(_MAGIC) + 1)

    def _damaged(self, place: int, why: str) -> Damaged:
        return Damaged(
            f"{self._path} is damaged at byte {place}, entry {self._length}: {why}. Nothing was"
            " changed. Restore it; or move it away: a secondary gets everything anew from its"
            " master, a master begins a new log"
        )

    # Writing

    def _begin(self, identity: bytes) -> None:
        """Have the header on the disk, before any record: a torn one has nothing behind it."""
        self._write(_header(identity), 0)
        self._be(identity)

    def _be(self, identity: bytes) -> None:
        self._identity = identity
        self._checksum = zlib.crc32(identity)
        self._end = _HEADER.size

    def _write(self, data: bytes, place: int) -> None:
        """Write and sync all of it; NoRoom, and then the file ends where it did."""
        try:
            self._grow(place + len(data))
            _write_all(self._file, data, place)
            os.fdatasync(self._file)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._cut()
            raise NoRoom(f"{os.strerror(error.errno or 0)}: {self._path}") from error

    def _grow(self, end: int) -> None:
        """Have the file reach beyond `end`, as far as there is room."""
        size = os.fstat(self._file).st_size
        if end <= size:
            return
        try:
            _write_all(self._file, bytes(end + _AHEAD - size), size)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise  # whether the record itself has room, its own write will tell

    def _cut(self) -> None:
        """End the file where the log does."""
        os.ftruncate(self._file, self._end)
        os.fdatasync(self._file)

    def _point(self, offset: int, place: int) -> None:
        if place - self._places[-1] >= _STRIDE:
            self._places.append(place)
            self._points.append(offset)


def _header(identity: bytes) -> bytes:
    return _HEADER.pack(_WHAT, identity, zlib.crc32(_WHAT + identity))


def _record(checksum: int, first: int, count: int, payload: bytes) -> bytes:
    crc = _crc(checksum, len(payload), first, count, payload)
    return _RECORD.pack(_MAGIC, len(payload), first, count, crc) + payload


def _crc(start: int, size: int, first: int, count: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(b"%d %d %d" % (size, first, count), start))


def _places_of(wanted: bytes, data: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


def _write_all(file: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, place)
        view, place = view[written:], place + written


def _sync_directory(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

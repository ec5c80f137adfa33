"""A bounded queue on the disk: what was appended survives kill -9 and power loss until dropped.

Records lie in segments, files that are only appended to: length, CRC-32, payload. `append` returns
when all it was given is synced (one fsync for many, Gray's group commit), or raises and has kept
none of it. A segment is deleted when all its records are dropped, but for the newest: it says where
the numbers went on. What was dropped is not recorded, so after a restart a segment's records come
once more; who reads a spool must be able to bear that.

A torn tail, of an append that power or a kill cut off, was never acknowledged; it is cut away.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

_HEADER = struct.Struct("!II")
SEGMENT = 1 << 20
"""Bytes after which the next segment begins."""


class Full(Exception):
    """There is no room for it; nothing was kept."""


class _Place(NamedTuple):
    segment: int
    offset: int
    length: int


class _Segment:
    """A file, open for reading and appending."""

    def __init__(self, path: Path, *, new: bool) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0)
        self.path = path
        self.file = os.open(path, flags, 0o600)
        self.end = os.fstat(self.file).st_size
        self.held = 0
        """Records of it that were not dropped."""

    def remove(self) -> None:
        """Close and delete it."""
        os.close(self.file)
        self.path.unlink()


class Spool:
    """The queue of one directory. One thread appends at a time; any may read and drop."""

    def __init__(self, directory: Path, most: int) -> None:
        """Nothing is opened before it is entered; it takes at most `most` bytes."""
        self._directory = directory
        self._most = most
        self._lock = threading.Lock()
        self._segments: dict[int, _Segment] = {}
        self._places: dict[int, _Place] = {}
        self._next = 1
        self.damaged = 0
        """Segments in whose middle something was unreadable; what followed there is lost."""
        self.last: bytes | None = None
        """The newest record that was found."""

    def __enter__(self) -> Self:
        """Open what is there; OSError if it cannot be."""
        self._directory.mkdir(exist_ok=True)
        paths = sorted(self._directory.glob("*.spool"))
        for path in paths:
            self._open(path, last=path == paths[-1])
        self.last = self.read(self._next - 1) if self._next - 1 in self._places else None
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        for segment in self._segments.values():
            os.close(segment.file)
        self._segments.clear()
        self._places.clear()

    def __len__(self) -> int:
        """How many records were not dropped."""
        return len(self._places)

    @property
    def taken(self) -> int:
        """What it takes on the disk."""
        return sum(segment.end for segment in self._segments.values())

    def append(self, payloads: Sequence[bytes]) -> None:
        """Keep these; they are on the disk when this returns. Full or OSError if none is kept."""
        data = b"".join(map(_record, payloads))
        if self.taken + len(data) > self._most:
            raise Full(f"{self.taken} of {self._most} bytes are taken")
        name, segment = self._newest()
        try:
            _write(segment.file, data, segment.end)
            os.fsync(segment.file)
        except OSError:
            # Half of it may be there. It is not acknowledged: the next append writes over it.
            with suppress(OSError):
                os.ftruncate(segment.file, segment.end)
            raise
        with self._lock:
            for payload in payloads:
                self._admit(name, segment, len(payload))

    def after(self, number: int, most: int) -> list[tuple[int, bytes]]:
        """Give the records that follow a number, of at most so many bytes, but one at least."""
        found: list[tuple[int, bytes]] = []
        room = most
        with self._lock:
            first = next(iter(self._places), self._next)
            for following in range(max(number + 1, first), self._next):
                if (place := self._places.get(following)) is None:
                    continue
                room -= place.length
                if found and room < 0:
                    break
                found.append((following, self.read(following)))
        return found

    def read(self, number: int) -> bytes:
        """Give a record."""
        place = self._places[number]
        return os.pread(self._segments[place.segment].file, place.length, place.offset)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget these records."""
        with self._lock:
            for number in numbers:
                if (place := self._places.pop(number, None)) is None:
                    continue
                self._segments[place.segment].held -= 1
            self._tidy()

    def _newest(self) -> tuple[int, _Segment]:
        """Give the segment to append to, a new one if the newest is long enough."""
        name = max(self._segments, default=0)
        if name and self._segments[name].end < SEGMENT:
            return name, self._segments[name]
        path = self._directory / f"{self._next:016d}.spool"
        segment = _Segment(path, new=True)
        try:
            _sync_directory(self._directory)
        except OSError:
            segment.remove()
            raise
        with self._lock:
            self._segments[self._next] = segment
            self._tidy()
        return self._next, segment

    def _tidy(self) -> None:
        newest = max(self._segments, default=0)
        for name in [n for n, s in self._segments.items() if not s.held and n != newest]:
            self._segments.pop(name).remove()

    def _admit(self, name: int, segment: _Segment, length: int) -> None:
        self._places[self._next] = _Place(name, segment.end + _HEADER.size, length)
        self._next += 1
        segment.held += 1
        segment.end += _HEADER.size + length

    def _open(self, path: Path, *, last: bool) -> None:
        segment = _Segment(path, new=False)
        size, segment.end = segment.end, 0
        self._next = name = int(path.stem)
        self._segments[name] = segment
        while (length := _whole(segment.file, segment.end, size)) is not None:
            self._admit(name, segment, length)
        if segment.end < size:
            self.damaged += not last
            os.ftruncate(segment.file, segment.end)


def _record(payload: bytes) -> bytes:
    return _HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def _whole(file: int, offset: int, size: int) -> int | None:
    """Give the length of the payload of the record there; None if there is no whole one."""
    header = os.pread(file, _HEADER.size, offset)
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    # A length of zeros is what a file system leaves of a size that was written before its data.
    if not 0 < length <= size - offset - _HEADER.size:
        return None
    payload = os.pread(file, length, offset + _HEADER.size)
    return length if zlib.crc32(payload) == checksum else None


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

"""Titanic's disk: a map whose changes are appended to one file, and are there after any crash.

A change is a line: the CRC-32 of the rest in eight hexadecimal digits, a space, and a JSON array of
a key and its value, null if the key is gone. `put` writes a batch of them and syncs once: what it
returned from is on the disk ("group commit"; Gray and Reuter, "Transaction Processing", 1993).

A crash in the middle of a write leaves a torn tail: lines at the end that are no changes. They were
never acknowledged, and opening cuts them off. A bad line with good ones behind it is no torn tail,
it is a broken disk or somebody's editor: then opening fails, and nothing is changed.

What is gone still takes room. When that is more than half of the file, it is written anew without,
beside the old one, which it then replaces in one step.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SMALL = 1 << 20
"""Bytes below which a file is not worth writing anew."""


class Journal:
    """The map; a context manager that closes its file."""

    def __init__(self, path: Path, small: int = SMALL) -> None:
        """Open `path`, or make it; ValueError if it is not what this class wrote."""
        self._path = path
        self._small = small
        self._values: dict[str, tuple[Any, int]] = {}
        self._live = 0
        self.repaired = 0
        """Bytes of a torn tail that were cut off."""
        # Not appending: after a write that failed, the next one begins where it began.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._length = self._read()
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
    def values(self) -> Mapping[str, Any]:
        """What is durable now; a copy."""
        return {key: value for key, (value, _) in self._values.items()}

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._length

    def put(self, changes: Iterable[tuple[str, Any]]) -> None:
        """Make these changes durable, all or, if it raises, none; None takes a key away."""
        lines = [(key, value, _line(key, value)) for key, value in changes]
        data = b"".join(line for _, _, line in lines)
        try:
            _write(self._file, data, self._length)
        except OSError:
            os.ftruncate(self._file, self._length)
            raise
        self._length += len(data)
        for key, value, line in lines:
            self._apply(key, value, len(line))
        if self._length > max(self._small, 2 * self._live):
            self._compact()

    def _apply(self, key: str, value: Any, size: int) -> None:
        _, before = self._values.pop(key, (None, 0))
        self._live -= before
        if value is not None:
            self._values[key] = value, size
            self._live += size

    def _read(self) -> int:
        """Read the changes, and cut off a torn tail; give the length of what is good."""
        data = self._path.read_bytes()
        good = 0
        for line in data.splitlines(keepends=True):
            change = _change(line)
            if change is None:
                break
            self._apply(*change, len(line))
            good += len(line)
        tail = data[good:]
        if any(_change(line) is not None for line in tail.splitlines(keepends=True)):
            raise ValueError(
                f"{self._path} is damaged at byte {good}, with good lines behind it. Nothing was "
                "changed; restore it, or move it away to begin anew, without what it kept"
            )
        if tail:
            self.repaired = len(tail)
            os.ftruncate(self._file, good)
            os.fsync(self._file)
        return good

    def _compact(self) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        data = b"".join(_line(key, value) for key, (value, _) in self._values.items())
        file = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(file, data, 0)
            beside.replace(self._path)
            _sync_directory(self._path)
        except OSError:  # a full disk: the old file is as good as it was, only long
            os.close(file)
            return
        os.close(self._file)
        self._file, self._length = file, len(data)


def _line(key: str, value: Any) -> bytes:
    text = json.dumps([key, value], separators=(",", ":")).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _change(line: bytes) -> tuple[str, Any] | None:
    """Read a line; None if it is no change."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    key, value = json.loads(text)
    return key, value


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of it, and have it on the disk."""
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written
    os.fsync(file)


def _sync_directory(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

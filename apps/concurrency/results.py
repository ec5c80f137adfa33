"""The file of results: a line for each number and its square, and `end` when all are there.

Appended, flushed with fsync before anybody is told, and repaired when it is opened: half a line at
its end is what a killed writer was writing, and nobody was told of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from apps.kit.outcome import Rejected

_END = b"end\n"
_LINE = re.compile(rb"(-?[0-9]+) ([0-9]+)")
_NAME = re.compile(r"squares-([0-9]+)-([0-9]+)\.txt")

Pair = tuple[int, int]


class Results:
    """The file, open for one writer. What cannot be written is Rejected, and was not written."""

    def __init__(self, path: Path) -> None:
        """Open the file or make it; Rejected if it is none of ours, or cannot be had."""
        self._path = path
        if path.exists() and not path.is_file():
            raise Rejected(f"{path} is no file")
        try:
            fresh = not path.exists()
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            if fresh:
                sync_directory(path.parent)
            pairs, self._end, self._closed = _parse(path)
        except OSError as error:
            raise Rejected(f"{path}: {error.strerror}") from error
        self.numbers = dict.fromkeys(number for number, _ in pairs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def keep(self, pairs: Iterable[Pair]) -> None:
        """Have these on the disk; those that are there already are not written again."""
        new = {number: square for number, square in pairs if number not in self.numbers}
        if not new:
            return
        if self._closed:
            self._end -= len(_END)
            self._closed = False
        self._append("".join(f"{number} {square}\n" for number, square in new.items()).encode())
        self.numbers.update(dict.fromkeys(new))

    def close_with_end(self) -> None:
        """Write that these are all."""
        if not self._closed:
            self._append(_END)
            self._closed = True

    def _append(self, data: bytes) -> None:
        try:
            os.ftruncate(self._file, self._end)
            written = os.write(self._file, data)
            if written < len(data):  # a disk that was full in the middle says so the next time
                os.write(self._file, data[written:])
            os.fsync(self._file)
        except OSError as error:
            raise Rejected(f"{self._path}: {error.strerror}") from error
        self._end += len(data)


def _parse(path: Path) -> tuple[list[Pair], int, bool]:
    """Give the pairs of a file, where its whole lines end, and whether it was closed."""
    data = path.read_bytes()
    end = data.rfind(b"\n") + 1
    lines = data[:end].splitlines()
    closed = bool(lines) and lines[-1] == _END.strip()
    pairs = []
    for place, line in enumerate(lines[:-1] if closed else lines, 1):
        found = _LINE.fullmatch(line)
        if not found:
            raise Rejected(
                f"{path}, line {place} is {line[:40]!r}, no number and its square: "
                "name a file of this program's own, or a new one"
            )
        pairs.append((int(found[1]), int(found[2])))
    return pairs, end, closed


def read(path: Path) -> tuple[list[Pair], bool]:
    """Give the pairs of a file as they stand there, and whether it was closed with `end`."""
    pairs, _, closed = _parse(path)
    return pairs, closed


def write_whole(path: Path, pairs: Sequence[Pair]) -> None:
    """Have a file of these and `end`, or none at all; Rejected if it cannot be written."""
    temporary = path.with_suffix(".new")
    try:
        with temporary.open("wb") as file:
            file.write("".join(f"{number} {square}\n" for number, square in pairs).encode() + _END)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise Rejected(f"{path}: {error.strerror}") from error


def sync_directory(directory: Path) -> None:
    """Have the names of a directory on the disk."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Round(NamedTuple):
    """Some numbers in a row, and the file of their squares, which is named after them."""

    first: int
    last: int
    path: Path

    @property
    def size(self) -> int:
        """How many numbers."""
        return self.last - self.first + 1


def next_round(directory: Path, count: int) -> Round:
    """Give the round that was broken off, or the one after the last: the files say which."""
    rounds = rounds_in(directory)
    if rounds and not read(rounds[-1].path)[1]:
        return rounds[-1]
    first = rounds[-1].last + 1 if rounds else 1
    last = first + count - 1
    return Round(first, last, directory / f"squares-{first}-{last}.txt")


def forget_old(directory: Path, keep: int) -> None:
    """Remove the files of all rounds but the last `keep`."""
    for old in rounds_in(directory)[:-keep]:
        old.path.unlink()


def rounds_in(directory: Path) -> list[Round]:
    """Give the rounds that have a file, in order."""
    found = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(Round(int(name[1]), int(name[2]), path) for name, path in found if name)

"""A subscriber's inbox on its disk: what it confirms to the broker, it has written down before.

A log of lines, each a change of the inbox. One flush serves all that came at once (group commit).
A line that a crash cut short was confirmed to nobody, so the next start cuts it off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from apps.mqtt.core import Delivery, Inbox, Line, Message

LONG = 20_000
"""Lines after which the log is written anew, with what still counts."""


class Record:
    """An inbox and its log. What is delivered counts when `flush` gives it."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier process wrote; ValueError if it is nothing of ours."""
        self.inbox = Inbox()
        self._path = path
        self._lines = 0
        self._pending: list[Line] = []
        self._handed: list[Delivery] = []
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._size = self._read()
        except ValueError:
            self.close()
            raise
        _sync_directory(path)

    def close(self) -> None:
        """Close the log."""
        os.close(self._file)

    def hold(self, mid: int, message: Message) -> None:
        """Have a message of QoS 2 held."""
        line = self.inbox.hold(mid, message)
        if line is not None:
            self._pending.append(line)

    def deliver(self, message: Message, mid: int | None = None) -> None:
        """Have a message delivered."""
        delivery, line = self.inbox.deliver(message, mid)
        self._pending.append(line)
        self._handed.append(delivery)

    def flush(self) -> list[Delivery]:
        """Write what changed; on the disk when this returns. Give what was delivered with it.

        OSError: nothing of it counts yet, and the next flush tries again.
        """
        if self._pending:
            if self._lines > LONG:
                self._write_anew()
            data = _encoded(self._pending)
            try:
                _write(self._file, data)
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, self._size)  # half a line would spoil the next one
                raise
            self._size += len(data)
            self._lines += len(self._pending)
            self._pending.clear()
        handed, self._handed = self._handed, []
        return handed

    def _read(self) -> int:
        """Repeat the log; give the length of what is whole in it, and cut off the rest."""
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        try:
            for line in data[:whole].splitlines():
                self.inbox.take(json.loads(line))
                self._lines += 1
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self._path} is no record of deliveries (line {self._lines + 1}: {error!r}): "
                "move it away to begin anew"
            ) from error
        os.ftruncate(self._file, whole)
        return whole

    def _write_anew(self) -> None:
        """Replace the log by a short one that gives what the inbox was when it was last flushed."""
        inbox = Inbox()
        for line in self._path.read_bytes().splitlines():
            inbox.take(json.loads(line))
        data = _encoded(inbox.lines())
        temporary = self._path.with_suffix(".new")
        file = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            _write(file, data)
            os.fsync(file)
            temporary.replace(self._path)
        except OSError:
            os.close(file)
            raise
        os.close(self._file)
        self._file, self._size, self._lines = file, len(data), data.count(b"\n")
        _sync_directory(self._path)


def _encoded(lines: Iterable[Any]) -> bytes:
    return "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines).encode()


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)

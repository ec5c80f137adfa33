"""A small durable map: what a core persists survives kill -9 and power loss.

One JSON file, replaced atomically: write a temporary file, fsync it, rename, fsync the directory
(Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, section 2). For a few keys that
change now and then; a log has a store of its own.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Protocol


class NoRoom(Exception):
    """What was to be kept was not, and surely so: the store is full, or its disk. Says which."""


class Durable(Protocol):
    """What keeps what a core persists."""

    def put(self, key: str, value: Any) -> None:
        """Make `key` durable with `value` before this returns; NoRoom if that surely failed."""


class Store:
    """Durable keys and JSON values in one file."""

    def __init__(self, path: Path) -> None:
        """Read `path` if it is there; ValueError if it is not what this class wrote."""
        self._path = path
        try:
            self._text = path.read_text("ascii") if path.exists() else "{}"
            if not isinstance(json.loads(self._text), dict):
                raise TypeError("it holds no JSON object")
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a store: {error}. Nothing was changed; "
                "move it away to begin anew, without what it kept"
            ) from error

    @property
    def values(self) -> dict[str, Any]:
        """What is durable now; a copy, the caller's own."""
        values: dict[str, Any] = json.loads(self._text)
        return values

    def put(self, key: str, value: Any) -> None:
        """Make `key` durable with `value`; it is on the disk when this returns.

        If it raises, the old value is there or the new one: only reading the file anew can tell.
        """
        text = json.dumps({**self.values, key: value})
        _replace(self._path, text)
        self._text = text


def _replace(path: Path, text: str) -> None:
    """Let the file hold `text`: after a crash at any moment it holds all of it, or none."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def state_directory() -> Path:
    """Give the unit's own durable directory (systemd's `StateDirectory=`), or the working one."""
    return Path(os.environ.get("STATE_DIRECTORY", "."))

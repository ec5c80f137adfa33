"""A small durable map: what a core persists survives kill -9 and power loss.

One JSON file, replaced atomically: write a temporary file, fsync it, rename, fsync the directory
(Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014, section 2). For a few keys that
change now and then; a log has a store of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Store:
    """Durable keys and JSON values in one file."""

    def __init__(self, path: Path) -> None:
        """Read `path` if it is there; ValueError if it is not what this class wrote."""
        self._path = path
        self._values: dict[str, Any] = {}
        if path.exists():
            values = json.loads(path.read_text())
            if not isinstance(values, dict):
                raise ValueError(f"{path} is not a store: it holds no JSON object")
            self._values = values

    @property
    def values(self) -> Mapping[str, Any]:
        """What is durable now."""
        return self._values

    def put(self, key: str, value: Any) -> None:
        """Make `key` durable with `value`; it is on the disk when this returns."""
        self._values[key] = value
        temporary = self._path.with_suffix(".new")
        with temporary.open("w") as file:
            json.dump(self._values, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def state_directory() -> Path:
    """Give the unit's own durable directory (systemd's `StateDirectory=`), or the working one."""
    return Path(os.environ.get("STATE_DIRECTORY", "."))

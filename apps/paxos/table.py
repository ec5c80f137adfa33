"""A durable table: what an acceptor may never forget, a row for each decree.

SQLite's write-ahead log with `synchronous=FULL`: what `put` has taken survives kill -9 and power
loss, and a write costs one flush of the disk however long the table is. Nothing is kept in memory
but SQLite's own bounded cache, so what is read is what would be read after a crash.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from apps.kit.store import NoRoom

_SCHEMA = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID, STRICT"


class Table:
    """Durable keys and JSON values; see `apps.kit.store.Durable`."""

    def __init__(self, path: Path, most: int) -> None:
        """Open `path` or make it; ValueError says why that cannot be. It keeps `most` keys."""
        self._path = path
        self._most = most
        self._connection = sqlite3.connect(path, isolation_level=None)
        try:
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.execute(_SCHEMA)
            (self._count,) = self._connection.execute("SELECT count(*) FROM kept").fetchone()
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(
                f"{path} cannot be opened ({error}): is its disk full, or has another process it"
                " open? Move it away if it is no database; who forgets its promises must not go on"
            ) from error

    def close(self) -> None:
        """Close it."""
        self._connection.close()

    def get(self, key: str) -> Any:
        """Give what is kept under a key; None if nothing is."""
        query = "SELECT value FROM kept WHERE key = ?"
        row = self._connection.execute(query, (_encoded(key),)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, value: Any) -> None:
        """Make a key durable with a value before this returns.

        NoRoom if it was surely not written; anything else that is raised leaves that open, and only
        opening the table anew can tell.
        """
        new = self.get(key) is None
        if new and self._count >= self._most:
            raise NoRoom(f"{self._path.name} is full: it keeps {self._most} keys")
        try:
            self._connection.execute(
                "INSERT INTO kept VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (_encoded(key), json.dumps(value)),
            )
        except sqlite3.OperationalError as error:
            # A commit that found no room was rolled back; after any other trouble nobody knows.
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
                raise NoRoom(f"{self._path.name}: {error}") from error
            raise
        self._count += new

    def pin(self, key: str, value: Any) -> None:
        """Have a key keep this value for ever; ValueError if it keeps another one."""
        kept = self.get(key)
        if kept is None:
            self.put(key, value)
        elif kept != value:
            raise ValueError(f"{self._path.name} is that of {key} {kept}, not {value}")


def _encoded(key: str) -> str:
    """Give a key as SQLite takes it, who refuses what is no Unicode, such as half a surrogate."""
    return json.dumps(key)

"""A durable ledger: each entry once for its key, and no total below zero.

An entry has a key that its writer chose, a document, and what it adds to named totals. A key that
comes again gives the entry that it made; that is what makes a request repeatable whose answer was
lost. Numbered from 1 without a gap, the entries are the server's own account of what it did, and
whoever was told an outcome can be checked against it.

SQLite with `synchronous=FULL`: what was committed survives kill -9 and power loss.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS totals (
    name TEXT PRIMARY KEY,
    amount INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
"""
_BUSY_TIMEOUT = 5.0
"""Seconds that a writer waits for a writer of another process."""
MOST = (1 << 62) - 1
"""No total is larger."""


class NotAdded(Exception):
    """An entry cannot be added; nothing was changed. The text says why."""


class Short(NotAdded):
    """A total would fall below zero."""

    def __init__(self, name: str, left: int) -> None:
        """`left` is what there is of it."""
        super().__init__(f"there is only {left} left of {name}")
        self.name = name
        self.left = left


class NoSuch(NotAdded):
    """There is no total of this name."""


class KeyReused(NotAdded):
    """A key came with another document than the one it belongs to."""


class NoRoom(NotAdded):
    """The ledger or its disk is full, or too many write."""


class Entry(NamedTuple):
    """One entry."""

    number: int
    key: str
    document: Any


class Ledger:
    """The ledger of one file. Every thread may use it; each has a connection of its own."""

    def __init__(self, path: Path, opening: Mapping[str, int], most: int = 10_000_000) -> None:
        """Open `path` or make it; ValueError says why that cannot be.

        `opening` are the totals before the first entry; it keeps so many entries at most.
        """
        self._path = path
        self._most = most
        self._local = threading.local()
        self._writing = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        try:
            self._connection().executescript(_SCHEMA)
            with self._transaction() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO totals VALUES (?, ?)", opening.items()
                )
        except (sqlite3.DatabaseError, NoRoom) as error:
            self.close()
            raise ValueError(
                f"{path} cannot be opened ({error}): check that its directory is there and"
                " writable and its disk not full, and move the file away if it is no database"
            ) from error

    def close(self) -> None:
        """Close every thread's connection."""
        while self._connections:
            self._connections.pop().close()

    def add(self, key: str, document: Any, changes: Mapping[str, int]) -> tuple[Entry, bool]:
        """Add an entry, and whether it was there already; it is on the disk when this returns.

        Short, NoSuch, KeyReused, NoRoom: then nothing was changed.
        """
        text = json.dumps(document, sort_keys=True)
        with self._transaction() as connection:
            found = connection.execute("SELECT * FROM entries WHERE key = ?", (key,)).fetchone()
            if found is not None:
                if found[2] != text:
                    raise KeyReused(f"the key {key} belongs to another request: take a new one")
                return _entry(found), True
            number = _last(connection) + 1
            if number > self._most:
                raise NoRoom(f"the ledger is full: it keeps {self._most} entries")
            for name, change in changes.items():
                _change(connection, name, change)
            row = (number, key, text)
            connection.execute("INSERT INTO entries VALUES (?, ?, ?)", row)
            return _entry(row), False

    def entries(self, after: int, limit: int) -> list[Entry]:
        """Give the entries with numbers above `after`, in order, at most `limit`."""
        rows = self._connection().execute(
            "SELECT * FROM entries WHERE number > ? ORDER BY number LIMIT ?",
            (min(after, MOST), limit),
        )
        return [_entry(row) for row in rows]

    def total(self, name: str) -> int:
        """Give a total; NoSuch."""
        return _total(self._connection(), name)

    def count(self) -> int:
        """Give the number of entries."""
        return _last(self._connection())

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._connections.append(connection)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Write; what is raised undoes it. Writers of this process wait on a lock, which is fair.

        NoRoom is what of SQLite's own troubles leaves no doubt that nothing was changed.
        """
        connection = self._connection()
        with self._writing:
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and _definite(error):
                    raise NoRoom(f"{error}; nothing was changed: try again later") from error
                raise


def _definite(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL}


def _last(connection: sqlite3.Connection) -> int:
    (number,) = connection.execute("SELECT coalesce(max(number), 0) FROM entries").fetchone()
    return int(number)


def _total(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT amount FROM totals WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise NoSuch(f"there is no {name}")
    return int(row[0])


def _change(connection: sqlite3.Connection, name: str, change: int) -> None:
    left = _total(connection, name)
    if left + change < 0:
        raise Short(name, left)
    if left + change > MOST:
        raise NoRoom(f"{name} would be more than {MOST}")
    connection.execute("UPDATE totals SET amount = amount + ? WHERE name = ?", (change, name))


def _entry(row: tuple[int, str, str]) -> Entry:
    number, key, text = row
    return Entry(number, key, json.loads(text))

"""Items on the disk: SQLite, where an acknowledged change has been synced.

`journal_mode=WAL` with `synchronous=FULL` syncs the log at each commit, so what was committed
survives kill -9 and power loss (sqlite.org/pragma.html#pragma_synchronous). A creation and its
idempotency key are one transaction: either both are durable or neither is.

Writers wait for each other in this process on a lock, which is fair, and only between processes on
SQLite's own, which polls. Readers never wait: they see the last committed state.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.rest_api.core import Content, entity_tag, fingerprint

_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL,
    content TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    item TEXT NOT NULL,
    expires REAL NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS keys_by_expiry ON keys (expires);
CREATE TABLE IF NOT EXISTS counts (what TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT OR IGNORE INTO counts VALUES ('items', 0), ('keys', 0);
CREATE TRIGGER IF NOT EXISTS item_in AFTER INSERT ON items
    BEGIN UPDATE counts SET n = n + 1 WHERE what = 'items'; END;
CREATE TRIGGER IF NOT EXISTS item_out AFTER DELETE ON items
    BEGIN UPDATE counts SET n = n - 1 WHERE what = 'items'; END;
CREATE TRIGGER IF NOT EXISTS key_in AFTER INSERT ON keys
    BEGIN UPDATE counts SET n = n + 1 WHERE what = 'keys'; END;
CREATE TRIGGER IF NOT EXISTS key_out AFTER DELETE ON keys
    BEGIN UPDATE counts SET n = n - 1 WHERE what = 'keys'; END;
"""

_ID_MOST = (1 << 63) - 1
_BUSY_TIMEOUT = 5.0
"""Seconds that a writer waits for a writer of another process."""


class NoSuchItem(LookupError):
    """No item has this id."""


class Conflict(Exception):
    """The change was made from another version than the current one."""

    def __init__(self, etag: str) -> None:
        """`etag` is the current version's."""
        super().__init__(f"the item's entity tag is now {etag}")
        self.etag = etag


class KeyReused(Exception):
    """An idempotency key came with another request than the one it belongs to."""


class Full(Exception):
    """A bound is reached; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Item:
    """One version of an item. Times are RFC 3339."""

    id: int
    version: int
    content: Content
    created: str
    updated: str

    @property
    def etag(self) -> str:
        """The entity tag of this version, with its quotes."""
        return entity_tag(self.version)

    def document(self) -> dict[str, Any]:
        """Give the item as clients see it."""
        times = {"created": self.created, "updated": self.updated}
        return {"id": self.id, "version": self.version, **self.content, **times}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the storage holds at most."""

    items: int = 100_000
    keys: int = 1_000_000
    key_life: float = 86_400.0
    """Seconds that a key is remembered after its creation."""


Change = Callable[[Content], Content]
Matches = Callable[[str], bool]
"""Whether the entity tag of the current version is one that the change was made from."""


class Storage:
    """The items of one file. Every thread may use it; each has a connection of its own."""

    def __init__(self, path: Path, bounds: Bounds | None = None) -> None:
        """Open `path` or make it; ValueError says why that cannot be."""
        self._path = path
        self._bounds = bounds or Bounds()
        self._local = threading.local()
        self._writing = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        try:
            self._connection().executescript(_SCHEMA)
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(
                f"{path} cannot be opened ({error}): check that its directory is there and"
                " writable and its disk not full, and move the file away if it is no database"
            ) from error

    def close(self) -> None:
        """Close every thread's connection."""
        while self._connections:
            self._connections.pop().close()

    def create(
        self, content: Content, key: str | None, now: float, stamp: str
    ) -> tuple[Item, bool]:
        """Add an item, and whether it was there already: made before by a request of this key.

        `now` is in unix seconds, `stamp` the same in RFC 3339. KeyReused, Full.
        """
        with self._transaction() as connection:
            self._forget_keys(connection, now)
            if key is not None and (before := self._replay(connection, key, content)):
                return before, True
            self._check_room(connection, with_key=key is not None)
            row = connection.execute(
                "INSERT INTO items (version, content, created, updated) VALUES (1, ?, ?, ?)",
                (json.dumps(content), stamp, stamp),
            )
            item = Item(int(row.lastrowid or 0), 1, content, stamp, stamp)
            if key is not None:
                connection.execute(
                    "INSERT INTO keys VALUES (?, ?, ?, ?)",
                    (key, fingerprint(content), _packed(item), now + self._bounds.key_life),
                )
            return item, False

    def get(self, item_id: int) -> Item:
        """Give an item; NoSuchItem."""
        return _find(self._connection(), item_id)

    def page(self, after: int, limit: int) -> list[Item]:
        """Give the items with ids above `after`, in order, at most `limit`."""
        rows = self._connection().execute(
            "SELECT * FROM items WHERE id > ? ORDER BY id LIMIT ?", (min(after, _ID_MOST), limit)
        )
        return [_item(row) for row in rows]

    def count(self) -> int:
        """Give the number of items."""
        return _count(self._connection(), "items")

    def change(self, item_id: int, matches: Matches, change: Change, stamp: str) -> Item:
        """Give an item new content, if its current version matches; NoSuchItem, Conflict.

        What `change` raises leaves the item as it was.
        """
        with self._transaction() as connection:
            old = _find(connection, item_id)
            if not matches(old.etag):
                raise Conflict(old.etag)
            content = change(old.content)
            new = Item(old.id, old.version + 1, content, old.created, stamp)
            connection.execute(
                "UPDATE items SET version = ?, content = ?, updated = ? WHERE id = ?",
                (new.version, json.dumps(content), stamp, new.id),
            )
            return new

    def delete(self, item_id: int, matches: Matches) -> None:
        """Remove an item, if its current version matches; NoSuchItem, Conflict."""
        with self._transaction() as connection:
            old = _find(connection, item_id)
            if not matches(old.etag):
                raise Conflict(old.etag)
            connection.execute("DELETE FROM items WHERE id = ?", (item_id,))

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # `close` may run on another thread, hence check_same_thread.
            connection = sqlite3.connect(
                self._path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            self._connections.append(connection)
            self._local.connection = connection
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        return connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        with self._writing:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def _replay(self, connection: sqlite3.Connection, key: str, content: Content) -> Item | None:
        row = connection.execute(
            "SELECT fingerprint, item FROM keys WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        if row[0] != fingerprint(content):
            raise KeyReused
        return _item(json.loads(row[1]))

    def _forget_keys(self, connection: sqlite3.Connection, now: float) -> None:
        # A few at a time: twice as many as a creation adds would do, and no creation waits long.
        connection.execute(
            "DELETE FROM keys WHERE key IN"
            " (SELECT key FROM keys WHERE expires <= ? ORDER BY expires LIMIT 100)",
            (now,),
        )

    def _check_room(self, connection: sqlite3.Connection, *, with_key: bool) -> None:
        if _count(connection, "items") >= self._bounds.items:
            raise Full(f"there are {self._bounds.items} items, which is the bound: delete some")
        if with_key and _count(connection, "keys") >= self._bounds.keys:
            raise Full(f"{self._bounds.keys} idempotency keys are remembered, which is the bound")


def _find(connection: sqlite3.Connection, item_id: int) -> Item:
    # An id beyond SQLite's integers is no item's.
    row = connection.execute(
        "SELECT * FROM items WHERE id = ?", (min(item_id, _ID_MOST),)
    ).fetchone()
    if row is None or row[0] != item_id:
        raise NoSuchItem(item_id)
    return _item(row)


def _count(connection: sqlite3.Connection, what: str) -> int:
    (n,) = connection.execute("SELECT n FROM counts WHERE what = ?", (what,)).fetchone()
    return int(n)


def _item(row: Any) -> Item:
    item_id, version, content, created, updated = row
    return Item(item_id, version, json.loads(content), created, updated)


def _packed(item: Item) -> str:
    row = (item.id, item.version, json.dumps(item.content), item.created, item.updated)
    return json.dumps(row)

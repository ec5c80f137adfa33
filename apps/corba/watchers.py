"""Calling back: every watcher has a queue and a thread, so that a slow one delays nobody."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from typing import Any

from omniORB import CORBA

from apps.corba.core import Written
from apps.corba.generated import Ledger
from apps.corba.orb import Trace, said
from apps.kit.events import Events

WAITING = 1000
"""Entries that may wait for a watcher; one that is further behind is given up."""


class Watchers:
    """Who is to be told of every entry. One that cannot be reached is told no more."""

    def __init__(self, events: Events, trace: Trace, name: str, *, most: int) -> None:
        """`name` says whose entries these are; at most so many watchers at once."""
        self._events = events
        self._trace = trace
        self._name = name
        self._most = most
        self._lock = threading.Lock()
        self._watching: list[_Watching] = []
        self._count = 0

    def add(self, watcher: Any) -> bool:
        """Tell it of every entry from now on; False if there are too many."""
        with self._lock:
            if len(self._watching) >= self._most:
                return False
            self._count += 1
            watching = _Watching(watcher, f"{self._events.node}-{self._name}:w{self._count}")
            self._watching.append(watching)
        threading.Thread(target=self._serve, args=[watching], daemon=True).start()
        self._events.emit("watched", watcher=watching.name, watchers=len(self._watching))
        return True

    def remove(self, watcher: Any) -> None:
        """Tell it no more."""
        with self._lock:
            found = [w for w in self._watching if w.reference._is_equivalent(watcher)]
        for watching in found:
            self._drop(watching, "it asked for that")

    def tell(self, written: Iterable[Written]) -> None:
        """Have all watchers told; never waits."""
        news = list(written)
        with self._lock:
            watching = list(self._watching)
        for one in watching:
            try:
                for item in news:
                    one.queue.put_nowait(item)
            except queue.Full:
                self._drop(one, f"it is {WAITING} entries behind")

    def close(self) -> None:
        """Tell nobody any more."""
        with self._lock:
            watching, self._watching = self._watching, []
        for one in watching:
            one.end()

    def _serve(self, watching: _Watching) -> None:
        """Call a watcher for each entry, in order."""
        while (item := watching.queue.get()) is not None and not watching.over:
            message = f"{watching.name}#{item.number}"
            try:
                with self._trace.calling(message, "written", watching.name):
                    watching.reference.written(item.number, Ledger.Entry(*item.entry))
            except CORBA.SystemException as error:
                self._drop(watching, said(error))

    def _drop(self, watching: _Watching, why: str) -> None:
        with self._lock:
            if watching not in self._watching:
                return
            self._watching.remove(watching)
        watching.end()
        self._events.bounded("dropped", watcher=watching.name, why=why)


class _Watching:
    """A watcher, and what is still to be told to it."""

    def __init__(self, reference: Any, name: str) -> None:
        self.reference = reference
        self.name = name
        self.queue: queue.Queue[Written | None] = queue.Queue(WAITING)
        self.over = False

    def end(self) -> None:
        """Wake its thread for the last time."""
        self.over = True
        with self.queue.mutex:
            self.queue.queue.clear()
        self.queue.put(None)

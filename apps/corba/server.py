"""The servant of the ledger: called by threads of the ORB, bound to its name, calling watchers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from apps.corba import core
from apps.corba.generated import Ledger, Ledger__POA
from apps.corba.names import BOOK, Names
from apps.corba.orb import Trace, start
from apps.corba.watchers import Watchers
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed

LOOK = 1.0
"""Seconds between two looks whether the name still leads here."""
PATIENCE = 2.0
"""Seconds that the naming service, or a watcher, has for an answer."""


class Servant(Ledger__POA.Book):  # type: ignore[misc]  # made by omniidl, which knows no types
    """The book, as its interface has it. Several threads call it; one at a time is in the book."""

    def __init__(
        self, book: core.Book, watchers: Watchers, events: Events, trace: Trace, name: str
    ) -> None:
        """`name` says which book of all that this server ever kept."""
        self._book = book
        self._watchers = watchers
        self._events = events
        self._trace = trace
        self._name = name
        self.lock = threading.Lock()

    def post(self, new_entry: Any) -> int:
        """Write an entry; give the balance after it."""
        return self._post([new_entry])[-1].balance

    def post_all(self, new_entries: Sequence[Any]) -> int:
        """Write all entries or none; give how many were written so far."""
        self._post(new_entries)
        return self._book.written

    def balance(self, account: str) -> int:
        """Give what is in an account."""
        with self.lock:
            return self._book.balance(account)

    def recent(self, account: str, most: int) -> list[Any]:
        """Give the last entries of an account."""
        with self.lock:
            return [Ledger.Entry(*entry) for entry in self._book.recent(account, most)]

    def remark(self, text: str) -> None:
        """Write a note into the log."""
        self._events.bounded("remark", call=_operation(self._trace.served), text=text)

    def watch(self, who: Any) -> int:
        """Have a watcher called for every entry from now on."""
        with self.lock:
            if not self._watchers.add(who):
                raise Ledger.Declined("there are as many watchers as can be had")
            return self._book.written

    def unwatch(self, who: Any) -> None:
        """Have it called no longer."""
        self._watchers.remove(who)

    def _post(self, entries: Sequence[Any]) -> list[core.Written]:
        with self.lock:
            try:
                given = [core.Entry(e.account, e.amount, e.memo) for e in entries]
                written = self._book.post(given)
            except core.Overdrawn as no:
                raise Ledger.Overdrawn(no.account, no.balance, no.amount) from no
            except core.Declined as no:
                raise Ledger.Declined(str(no)) from no
            if not written:
                raise Ledger.Declined("there is nothing in it")
            self._events.bounded(
                "executed",
                call=_operation(self._trace.served),
                book=self._name,
                entries=[(w.number, w.entry.account, w.entry.amount, w.balance) for w in written],
            )
            self._watchers.tell(written)
            return written


def _operation(message: str) -> str:
    """Give the operation that a request belongs to: the number of the attempt is cut off."""
    return message.partition("#")[0]


class LedgerServer:
    """An async context manager that serves while it is entered."""

    def __init__(
        self,
        listen: Address,
        events: Events,
        *,
        naming: Address,
        threads: int,
        idle: int,
        watchers: int,
        accounts: int,
    ) -> None:
        """Close connections after `idle` seconds of silence; serve so many requests at once."""
        self._events = events
        self._naming = naming
        self._most_watchers = watchers
        self._book = core.Book(accounts=accounts, remembered=100)
        self._options = {
            "endPoint": f"giop:tcp:{listen}",
            # Threads for requests, not for connections: a thousand silent peers cost none.
            "threadPerConnectionPolicy": 0,
            "maxServerThreadPoolSize": threads,
            # Half a message holds a thread for so long: the ORB has no other end to that.
            "inConScanPeriod": idle,
            "serverCallTimeOutPeriod": idle * 1000,
            "clientCallTimeOutPeriod": round(PATIENCE * 1e3),
        }

    async def __aenter__(self) -> Self:
        trace = Trace(self._events)
        self._orb = start(self._options)
        name = secrets.token_hex(4)
        self._watchers = Watchers(self._events, trace, name, most=self._most_watchers)
        self._servant = Servant(self._book, self._watchers, self._events, trace, name)
        # Its references stay good over a restart: the same address, and a key that we choose.
        poa = self._orb.resolve_initial_references("omniINSPOA")
        poa.activate_object_with_id(BOOK.encode(), self._servant)
        self._reference = poa.servant_to_reference(self._servant)
        poa.the_POAManager.activate()
        self._names = Names(self._orb, self._naming, PATIENCE)
        self._bound = False
        await asyncio.to_thread(self._bind)
        self._turns = [asyncio.create_task(self._renew()), asyncio.create_task(self._turn())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the calls that are being served, and no more."""
        for task in self._turns:
            task.cancel()
        self._watchers.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(3):
                await asyncio.to_thread(self._orb.shutdown, True)

    async def _renew(self) -> None:
        """Look now and then whether the name leads here, and bind it if not."""
        while True:
            await asyncio.sleep(LOOK)
            await asyncio.to_thread(self._bind)

    async def _turn(self) -> None:
        """Take the servant's lock now and then: who keeps it for ever starves the watchdog."""
        while True:
            await asyncio.sleep(LOOK)
            with self._servant.lock:
                pass

    def _bind(self) -> None:
        try:
            if self._names.bind(self._reference):
                self._events.emit("bound", name=BOOK, naming=str(self._naming))
            self._bound = True
        except CallFailed as error:
            if self._bound:
                self._events.emit("unbound", name=BOOK, error=str(error))
            self._bound = False

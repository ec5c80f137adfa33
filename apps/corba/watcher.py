"""The watcher: an object of the client's own that the servant calls for every entry."""

from __future__ import annotations

import queue
import socket
from typing import Any, NamedTuple

from apps.corba.client import Client
from apps.corba.generated import Ledger__POA
from apps.corba.orb import Trace
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.kit.retry import Deadline

IN_ORDER = {"threadPerConnectionPolicy": 1, "maxServerThreadPerConnection": 1}
"""Options of an ORB that serves what comes over a connection one after the other."""
WAITING = 10_000
"""Entries that may wait to be shown."""


class Told(NamedTuple):
    """What the servant told: the entry's number, its account and amount."""

    number: int
    account: str
    amount: int


class Watcher(Ledger__POA.Watcher):  # type: ignore[misc]  # made by omniidl, which knows no types
    """What the servant calls, in a thread of the ORB."""

    def __init__(self, events: Events, trace: Trace) -> None:
        """What it is told waits in `told`."""
        self._events = events
        self._trace = trace
        self.told: queue.Queue[Told] = queue.Queue(WAITING)

    def written(self, number: int, written_entry: Any) -> None:
        """Take what the servant tells."""
        by = self._trace.served.partition("#")[0]
        told = Told(number, written_entry.account, written_entry.amount)
        self._events.bounded("told", by=by, number=number, account=told.account)
        self.told.put(told)


def own_address(naming: Address) -> str:
    """Give this host's address on the way to another: where the servant can call it.

    OSError if there is no such way.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(*naming, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.connect(address)
        return str(sock.getsockname()[0])


def watch(orb: Any, trace: Trace, client: Client, events: Events, seconds: float) -> None:
    """Show every entry for so long, or until Ctrl-C."""
    watcher = Watcher(events, trace)
    poa = orb.resolve_initial_references("RootPOA")
    poa.activate_object(watcher)
    poa._get_the_POAManager().activate()
    reference = watcher._this()
    written = client.watch(reference)
    events.say(f"{written} entries were written before; Ctrl-C ends this")
    ends = Deadline(seconds)
    try:
        while not ends.passed:
            try:
                told = watcher.told.get(timeout=min(ends.remaining, 0.2))
            except queue.Empty:
                continue
            events.say(f"{told.number}. {told.account} {told.amount:+}")
    finally:
        try:
            client.unwatch(reference)
        except CallFailed as error:
            events.say(f"{type(error).__name__.lower()}: {error}")

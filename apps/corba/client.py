"""The client: find the ledger by its name, call it, and say what is known of every call."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import omniORB
from omniORB import CORBA

from apps.corba.core import Entry
from apps.corba.generated import Ledger
from apps.corba.names import BOOK, Names
from apps.corba.orb import Trace, failure
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected
from apps.kit.retry import Backoff, Deadline

PERSISTENT = Backoff(retries=50, first=0.05, longest=1.0)
"""Patience is the deadline's; a server that restarts is away for a second or two."""


class Client:
    """The ledger, found through a naming service. A reference once found outlives that service."""

    def __init__(
        self,
        orb: Any,
        trace: Trace,
        naming: Address,
        events: Events,
        *,
        timeout: float = 5.0,
        rng: random.Random | None = None,
    ) -> None:
        """`timeout` bounds a whole call, its repetitions included (seconds)."""
        self._names = Names(orb, naming, timeout)
        self._trace = trace
        self._events = events
        self._timeout = timeout
        self._rng = rng or random.Random()
        self._book: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be closed: the ORB keeps connections, and ends them."""

    def post(self, entry: Entry) -> int:
        """Write an entry; give the balance after it."""
        posted = Ledger.Entry(*entry)
        return int(self._call("post", [entry], lambda book: book.post(posted)))

    def post_all(self, entries: Sequence[Entry]) -> int:
        """Write all entries or none; give how many were written so far."""
        posted = [Ledger.Entry(*entry) for entry in entries]
        return int(self._call("post_all", list(entries), lambda book: book.post_all(posted)))

    def balance(self, account: str) -> int:
        """Give what is in an account."""
        return int(self._call("balance", account, lambda book: book.balance(account)))

    def recent(self, account: str, most: int = 10) -> list[Entry]:
        """Give the last entries of an account, oldest first."""

        def ask(book: Any) -> list[Entry]:
            return [Entry(e.account, e.amount, e.memo) for e in book.recent(account, most)]

        entries: list[Entry] = self._call("recent", account, ask)
        return entries

    def remark(self, text: str) -> None:
        """Send a note for the server's log: oneway, so nobody learns whether it came."""
        self._call("remark", text, lambda book: book.remark(text))

    def watch(self, watcher: Any) -> int:
        """Have a watcher called for every entry from now on; give how many were written so far."""
        return int(self._call("watch", None, lambda book: book.watch(watcher)))

    def unwatch(self, watcher: Any) -> None:
        """Have it called no longer."""
        self._call("unwatch", None, lambda book: book.unwatch(watcher))

    def _call(self, f: str, value: Any, ask: Callable[[Any], Any]) -> Any:
        """Call the book; record the operation and what is known of its end."""
        op = self._events.operation()
        self._events.emit("invoke", op=op, f=f, value=value)
        try:
            result = self._until_answered(op, f, ask, Deadline(self._timeout))
        except CallFailed as error:
            how = type(error).__name__.lower()
            self._events.emit(error.event, op=op, f=f, value=value, how=how, error=str(error))
            raise
        self._events.emit("ok", op=op, f=f, value=result)
        return result

    def _until_answered(
        self, op: str, f: str, ask: Callable[[Any], Any], deadline: Deadline
    ) -> Any:
        """Call until it is not refused, which changed nothing: any other outcome is the end."""
        attempt = 0
        delays = PERSISTENT.delays(self._rng)
        while True:
            attempt += 1
            try:
                return self._once(f"{op}#{attempt}", f, ask, deadline)
            except Refused:
                delay = next(delays, None)
                if delay is None or delay > deadline.remaining:
                    raise
            time.sleep(delay)

    def _once(self, message: str, f: str, ask: Callable[[Any], Any], deadline: Deadline) -> Any:
        book = self._found(deadline)
        omniORB.setClientCallTimeout(book, max(1, round(deadline.remaining * 1e3)))
        try:
            with self._trace.calling(message, f, BOOK):
                return ask(book)
        except Ledger.Overdrawn as no:
            what = f"{no.account} holds {no.balance}, and {-no.amount} were to go out"
            raise Rejected(what) from no
        except Ledger.Declined as no:
            raise Rejected(no.why) from no
        except CORBA.SystemException as error:
            known = failure(error)
            if isinstance(known, Refused):
                self._look_again(deadline)
            raise known from error

    def _found(self, deadline: Deadline) -> Any:
        if self._book is None:
            self._book = self._names.resolve(deadline.remaining)._narrow(Ledger.Book)
        return self._book

    def _look_again(self, deadline: Deadline) -> None:
        """Perhaps the name leads elsewhere by now; with nobody to ask, the old reference stays."""
        try:
            self._book = self._names.resolve(deadline.remaining)._narrow(Ledger.Book)
        except CallFailed:
            return


class Misspelt(ValueError):
    """What was typed is no verb, and what is."""


def do(client: Client, events: Events, words: Sequence[str]) -> None:
    """Do what a person typed; Misspelt says what would be understood."""
    match words:
        case ["post", account, amount, *memo]:
            events.say(f"{account}: {client.post(Entry(account, _amount(amount), ' '.join(memo)))}")
        case ["move", source, target, amount]:
            many = _amount(amount)
            moved = client.post_all(
                [Entry(source, -many, f"to {target}"), Entry(target, many, f"of {source}")]
            )
            events.say(f"moved; {moved} entries were written so far")
        case ["balance", account]:
            events.say(f"{account}: {client.balance(account)}")
        case ["recent", account]:
            for entry in client.recent(account):
                events.say(f"{entry.amount:+}  {entry.memo}".rstrip())
        case ["remark", *text] if text:
            client.remark(" ".join(text))
            events.say("sent; nobody says whether it came")
        case _:
            raise Misspelt(
                "post ACCOUNT AMOUNT [MEMO], move FROM TO AMOUNT, balance ACCOUNT, "
                "recent ACCOUNT or remark TEXT"
            )


def converse(client: Client, events: Events, lines: Iterable[str]) -> None:
    """Do what each line says, through all failures."""
    for line in lines:
        if not line.strip():
            continue
        try:
            do(client, events, line.split())
        except CallFailed as error:
            events.say(f"{type(error).__name__.lower()}: {error}")
        except Misspelt as error:
            events.say(f"say: {error}")


def _amount(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise Misspelt(f"an amount that is a whole number, not {text[:40]!r}") from None

"""The ledger: accounts that never go below nothing, and the entries that made them so."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

LARGEST = 10**15
"""The largest amount of an entry, and balance of an account."""


class Entry(NamedTuple):
    """What comes into an account, or with a negative amount goes out of it."""

    account: str
    amount: int
    memo: str = ""


class Overdrawn(Exception):
    """More was to go out than was there."""

    def __init__(self, account: str, balance: int, amount: int) -> None:
        """`balance` is what was there."""
        super().__init__(f"{account} holds {balance}, and {-amount} were to go out")
        self.account = account
        self.balance = balance
        self.amount = amount


class Declined(Exception):
    """An entry that cannot be written, and why."""


class Written(NamedTuple):
    """An entry in the ledger: its number, counted from 1, and the balance that it made."""

    number: int
    entry: Entry
    balance: int


class Book:
    """The accounts; it forgets the oldest entries of an account, and never its balance."""

    def __init__(self, *, accounts: int, remembered: int) -> None:
        """At most so many accounts, and so many last entries of each."""
        self._most = accounts
        self._remembered = remembered
        self._balances: dict[str, int] = {}
        self._entries: dict[str, deque[Entry]] = {}
        self.written = 0

    def post(self, entries: Sequence[Entry]) -> list[Written]:
        """Write all entries, or none: Overdrawn or Declined say why not."""
        after: dict[str, int] = {}
        balances = []
        for entry in entries:
            before = after.get(entry.account, self.balance(entry.account))
            after[entry.account] = self._checked(entry, before)
            balances.append(after[entry.account])
        if len(self._balances.keys() | after.keys()) > self._most:
            raise Declined(f"there are {self._most} accounts, and no more are kept")
        self._balances |= after
        return [self._write(*pair) for pair in zip(entries, balances, strict=True)]

    def balance(self, account: str) -> int:
        """Give what is in an account; nothing is in one that nobody has opened."""
        return self._balances.get(account, 0)

    def recent(self, account: str, most: int) -> list[Entry]:
        """Give the last entries of an account, oldest first."""
        entries = self._entries.get(account, ())
        return list(entries)[-most:] if most else []

    def _checked(self, entry: Entry, balance: int) -> int:
        """Give the balance that an entry would make."""
        if not entry.account:
            raise Declined("an account needs a name")
        if not entry.amount or abs(entry.amount) > LARGEST:
            raise Declined(f"an amount is not 0, and at most {LARGEST} either way")
        after = balance + entry.amount
        if after < 0:
            raise Overdrawn(entry.account, balance, entry.amount)
        if after > LARGEST:
            raise Declined(f"{entry.account} would hold more than {LARGEST}")
        return after

    def _write(self, entry: Entry, balance: int) -> Written:
        self.written += 1
        remembered = self._entries.setdefault(entry.account, deque(maxlen=self._remembered))
        remembered.append(entry)
        return Written(self.written, entry, balance)

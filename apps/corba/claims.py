"""What the ledger promises, judged over a history of clients' and the servant's events."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from apps.kit.claims import Event, Finding, History
from apps.kit.executions import executed_as_told, unknown_calls
from apps.kit.history import left_out

POSTS = ("post", "post_all")
"""What changes the book."""


def posted_as_told(history: History) -> Finding:
    """What was answered was written once, what failed never, what is unknown at most once."""
    return executed_as_told(history, POSTS)


def unknown_posts(history: History) -> Finding:
    """Some call was of unknown outcome: CORBA's COMPLETED_MAYBE."""
    return unknown_calls(history, POSTS)


def book_adds_up(history: History) -> Finding:
    """Each book numbers its entries without a gap, and each balance follows from the one before."""
    events = list(history)
    if left_out(events):
        return Finding(None, "some events were left out, for there were too many")
    numbers: dict[str, int] = {}
    balances: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for event in events:
        if event["event"] != "executed":
            continue
        book = event["book"]
        accounts = balances[book]
        for number, account, amount, balance in event["entries"]:
            # A history may begin in the middle of a book: what was there is not known then.
            if number != numbers.get(book, number - 1) + 1:
                what = f"entry {number} of book {book} came after {numbers[book]}"
                return Finding(False, what, (event,))
            before = accounts.get(account, balance - amount)
            if balance < 0 or balance != before + amount:
                what = f"{account} held {before}, {amount:+} came, and it held {balance}"
                return Finding(False, what, (event,))
            numbers[book], accounts[account] = number, balance
    if not numbers:
        return Finding(None, "nothing was written")
    return Finding(True, f"{len(balances)} books, each balance follows, none is below 0")


def watchers_are_told_in_order(history: History) -> Finding:
    """Each watcher is told of entries that were written, in their order, and of none twice."""
    events = list(history)
    written: set[tuple[str, int]] = {
        (event["book"], entry[0])
        for event in events
        if event["event"] == "executed"
        for entry in event["entries"]
    }
    last: dict[tuple[str, str], Event] = {}
    told = 0
    for event in events:
        if event["event"] != "told":
            continue
        told += 1
        by, key = str(event["by"]), (event["node"], str(event["by"]))
        before = last.get(key)
        if before is not None and event["number"] <= before["number"]:
            what = f"{by} was told of {event['number']} after {before['number']}"
            return Finding(False, what, (before, event))
        if (_book(by), event["number"]) not in written and not left_out(events):
            return Finding(False, f"{by} was told of what was never written", (event,))
        last[key] = event
    if not told:
        return Finding(None, "no watcher was told anything")
    return Finding(True, f"{len(last)} watchers were told of {told} entries, in order")


def names_are_bound_again(history: History) -> Finding:
    """After each new naming service, the servant bound its name again."""
    begun: Event | None = None
    bound: tuple[Event, ...] = ()
    renewed = 0
    for event in history:
        if event["event"] == "begins" and event["component"] == "naming":
            begun = event
        elif event["event"] == "bound" and begun is not None:
            bound, begun = (begun, event), None
            renewed += 1
    if begun is not None:
        return Finding(False, "a new naming service was not told the name", (begun,))
    if not renewed:
        return Finding(None, "the naming service was never a new one")
    return Finding(True, f"{renewed} new naming services were told the name", bound)


def _book(watcher: str) -> Any:
    """Give the book that a watcher's name belongs to: `n1-5f0c22aa:w3`."""
    return watcher.rpartition(":")[0].rpartition("-")[2]

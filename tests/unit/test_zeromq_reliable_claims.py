"""What judges zeromq_reliable: each claim finds what violates it, and holds where nothing does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apps.kit.claims import Event, Finding
from apps.zeromq_reliable import claims

T1, T2 = "1" * 32, "2" * 32


class Told:
    """A history in the making; each event is a second after the last."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, event: str, **fields: Any) -> Told:
        t = float(len(self.events))
        self.events.append({"event": event, "node": "n", "component": "c", "t": t, **fields})
        return self

    def did(self, op: str, f: str, value: Any, result: Any, outcome: str = "ok", **of: Any) -> Told:
        self.add("invoke", op=op, f=f, value=value, **of)
        return self.add(outcome, op=op, f=f, value=result, **of)

    def done(self, *calls: str) -> Told:
        for call in calls:
            self.add("executed", service="echo", call=call)
        return self

    def titanic(self, event: str, ticket: str, call: str) -> Told:
        return self.add(event, ticket=ticket, call=call)


def good() -> Told:
    """One of each, as it should be."""
    told = Told().did("a", "ask", "hi", "hi").did("b", "call", "hi", "HI", service="upper")
    told.did("c", "store", "ho", T1, service="echo").did("d", "store", "hu", T2, service="upper")
    for event in ("accepted", "dispatched", "answered"):
        told.titanic(event, T1, "c").titanic(event, T2, "d")
    told.did("e", "fetch", T1, "ho").did("f", "fetch", T2, "HU")
    return told.done("a", "b", "c", "d").did("g", "find", "echo", True)


def answered(events: list[Event]) -> Finding:
    return claims.all_are_answered(events, ["ask", "call"])


def names(events: list[Event]) -> Finding:
    return claims.names_are_known(events, ["echo"])


PROMISES = (
    claims.replies_are_right,
    claims.told_truly,
    claims.none_is_lost,
    claims.one_reply_each,
    claims.first_come_first_asked,
    answered,
    names,
)
every_promise = pytest.mark.parametrize("claim", PROMISES, ids=lambda claim: claim.__name__)


@every_promise
def test_what_should_be_holds(claim: Callable[[list[Event]], Finding]) -> None:
    finding = claim(good().events)
    assert finding.holds is True, finding


@every_promise
def test_of_nothing_nothing_is_known(claim: Callable[[list[Event]], Finding]) -> None:
    assert claim([]).holds is None


@pytest.mark.parametrize(
    ("claim", "events"),
    [
        (claims.replies_are_right, Told().did("x", "ask", "hi", "ho")),
        (claims.replies_are_right, Told().did("x", "call", "hi", "hi", service="upper")),
        (
            claims.replies_are_right,
            Told().did("x", "store", "hi", T1, service="echo").did("y", "fetch", T1, "ho"),
        ),
        (claims.told_truly, good().did("x", "ask", "hi", "hi")),
        (claims.told_truly, good().did("x", "ask", "hi", "hi", "fail").done("x")),
        (claims.none_is_lost, good().did("x", "store", "hi", "3" * 32)),
        (
            claims.none_is_lost,
            good().did("x", "store", "hi", "3" * 32).did("y", "fetch", "3" * 32, None, "fail"),
        ),
        (claims.one_reply_each, good().titanic("answered", T1, "c")),
        (claims.one_reply_each, good().did("x", "fetch", T1, "another")),
        (
            claims.first_come_first_asked,
            Told()
            .did("c", "store", "ho", T1)
            .did("d", "store", "hu", T2)
            .titanic("dispatched", T2, "d")
            .titanic("dispatched", T1, "c"),
        ),
        (answered, good().did("x", "ask", "hi", None, "unknown")),
        (names, good().did("x", "find", "tea", result=True)),
        (names, good().did("x", "find", "echo", result=False)),
    ],
)
def test_what_should_not_be_is_found(claim: Callable[[list[Event]], Finding], events: Told) -> None:
    finding = claim(events.events)
    assert finding.holds is False
    assert finding.witness


def test_the_same_request_may_be_asked_again_later() -> None:
    told = good().titanic("dispatched", T1, "c")
    assert claims.first_come_first_asked(told.events).holds is True


def test_what_is_done_twice_is_counted() -> None:
    assert claims.worked_twice(good().events).holds is None
    assert claims.worked_twice(good().done("a").events).holds is True
    assert claims.accepted_twice(good().events).holds is None
    assert claims.accepted_twice(good().titanic("accepted", "3" * 32, "c").events).holds is True


def test_a_lost_journal_proves_nothing() -> None:
    cut = {"fault": {"fault": "power_off", "host": "n3"}, "hosts": ["n3"], "id": "f1"}
    told = good().did("x", "ask", "hi", "hi").add("inject", **cut)
    assert claims.told_truly(told.events).holds is True
    assert claims.first_come_first_asked(told.events).holds is None
    flooded = good().did("x", "ask", "hi", "hi").add("left_out", events=3)
    assert claims.told_truly(flooded.events).holds is None


def test_open_tickets_are_those_without_a_reply() -> None:
    told = good().did("x", "store", "hi", "3" * 32).did("y", "fetch", "3" * 32, None, "unknown")
    assert claims.open_tickets(told.events) == ["3" * 32]

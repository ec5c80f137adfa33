"""The client: envelopes over the kit's HTTP, and what is known of each call's outcome.

It knows the interface; a program that does not would read the WSDL, as zeep does in the tests.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Self, TypeVar

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http import Http, Reply
from apps.kit.operation import Operation
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Deadline
from apps.soap.envelope import (
    SHOP,
    XML,
    FaultTold,
    Malformed,
    content_of,
    fault_of,
    parsed,
    plain,
    written,
)

T = TypeVar("T")
PAGE = 500


class Client:
    """Calls to one server. One thread at a time uses it; a context manager."""

    def __init__(
        self,
        server: Address,
        events: Events,
        *,
        timeout: float = 5.0,
        once: bool = False,
        rng: random.Random | None = None,
    ) -> None:
        """`timeout` bounds a whole call, its repetitions included (seconds).

        With `once`, nothing is sent again that may have been done.
        """
        self._http = Http(server, events, rng or random.Random(), _judge)
        self._events = events
        self._timeout = timeout
        self._once = once

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def add(self, first: Any, second: Any) -> int:
        """Give the sum."""
        return self._call("add", {"first": first, "second": second}, int)

    def catalogue(self) -> list[dict[str, Any]]:
        """Give what there is to buy."""
        return self._call("catalogue", {}, lambda told: [_article(a) for a in _each(told)])

    def quote(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Give what an order would cost."""
        return self._call("quote", {"lines": {"OrderLine": [*lines]}}, _money)

    def order(
        self, customer: str, lines: Sequence[Mapping[str, Any]], key: str | None = None
    ) -> dict[str, Any]:
        """Order, once for each key; without one, by a key of this call's own."""
        fields = {"key": key or self.new_key(), "customer": customer}
        sent = {**fields, "lines": {"OrderLine": [*lines]}}
        return self._call("order", sent, _order, {**fields, "lines": [*lines]})

    def orders(self, after: int = 0) -> list[dict[str, Any]]:
        """Read all orders with numbers above `after`."""
        found: list[dict[str, Any]] = []
        while True:
            last = found[-1]["number"] if found else after
            fields = {"after": last, "limit": PAGE}
            page = self._call("orders", fields, lambda told: [_order(o) for o in _each(told)])
            found += page
            if len(page) < PAGE:
                return found

    def new_key(self) -> str:
        """Give a key that no other order has."""
        return self._events.operation()

    def _call(
        self, name: str, fields: Mapping[str, Any], read: Callable[[Any], T], said: Any = None
    ) -> T:
        """Call an operation, all of which may be repeated: they read, or have a key."""
        headers = {"Content-Type": f"{XML}; charset=utf-8", "SOAPAction": f'"{name}"'}
        with Operation(self._events, name, said or fields) as operation:
            try:
                body = written(name, fields)
            except ValueError as error:
                raise Rejected(f"this cannot be sent: {error}") from error
            reply = self._http.call(
                "POST", "/", Deadline(self._timeout), body, headers, idempotent=not self._once
            )
            return operation.ok(_result(name, reply, read))


def _judge(reply: Reply) -> None:
    """Tell an answer from a failure; by SOAP 1.1 (section 6.2) a fault comes with status 500."""
    if reply.status in {408, 503}:
        raise Refused(f"HTTP {reply.status}: {_said(reply)}")
    if reply.status >= 501:
        raise Unknown(f"HTTP {reply.status}: {_said(reply)}")


def _result(name: str, reply: Reply, read: Callable[[Any], T]) -> T:
    try:
        (answer,) = content_of(parsed(reply.body))
        told = fault_of(answer)
        if told is None:
            if answer.tag != f"{{{SHOP}}}{name}Response":
                raise ValueError(f"it is {answer.tag}")
            return read(plain(answer)[f"{name}Result"])
    except (Malformed, ValueError, KeyError, TypeError, InvalidOperation) as error:
        raise Unknown(f"HTTP {reply.status}, and no answer of {name}: {error}") from error
    raise _failure(told, reply)


def _failure(told: FaultTold, reply: Reply) -> CallFailed:
    """Say what is known: a server that failed inside may have done it.

    And what an attempt without an answer asked for may still be done, whatever this one was told.
    """
    text = f"{told.code}: {told.text}"
    if told.code == "Server":
        return Unknown(text)
    if reply.after_unknown:
        return Unknown(f"{text}; an attempt before got no answer, and may have been done")
    return Rejected(text)


def _said(reply: Reply) -> str:
    try:
        told = fault_of(content_of(parsed(reply.body))[0])
    except Malformed:
        told = None
    return told.text if told else reply.body.decode(errors="replace")


def _each(told: Any) -> list[Any]:
    """Give the members of an array, which is one element or several of one name, or none."""
    if not told:
        return []
    (members,) = told.values()
    return members if isinstance(members, list) else [members]


def _money(text: str) -> str:
    return str(Decimal(text))


def _article(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": told["name"], "price": _money(told["price"]), "left": int(told["left"])}


def _line(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"article": told["article"], "quantity": int(told["quantity"])}


def _order(told: Mapping[str, Any]) -> dict[str, Any]:
    lines = [_line(line) for line in _each(told["lines"])]
    own = {"number": int(told["number"]), "key": told["key"], "customer": told["customer"]}
    return {**own, "lines": lines, "total": _money(told["total"])}

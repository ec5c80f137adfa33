"""What can be called: the methods of the specification's examples, and a bank that keeps accounts.

A transfer has a key of its caller's. However often it is asked for by that key, it is made once,
and is on the disk before anybody is told so.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, Final

from pjrpc.common.exceptions import JsonRpcError
from pjrpc.common.typedefs import JsonRpcParamsT
from pjrpc.server import Method, MethodRegistry
from pjrpc.server.dispatcher import BoundMethod
from pjrpc.server.exceptions import InvalidParamsError
from pjrpc.server.validators import ValidationError

from apps.kit.ledger import Entry, KeyReused, Ledger, NoRoom, Short

OPENING: Final = dict.fromkeys(("alice", "bob", "carol", "dave", "erin"), 1_000_000)
"""The accounts, and what is on each in the beginning."""
PAGE_MOST = 500
SHORT: Final = -32000
KEY_REUSED: Final = -32001
NO_ROOM: Final = -32002
_REFUSALS = {
    Short: (SHORT, "Insufficient funds"),
    KeyReused: (KEY_REUSED, "Key reused"),
    NoRoom: (NO_ROOM, "No room"),
}
"""The server's own errors: each says definitely that nothing was changed."""
_KEY = re.compile(r"[!-~]{1,200}")
_Number = int | float


def registry(ledger: Ledger) -> MethodRegistry:
    """Give the methods over a ledger."""
    methods = MethodRegistry(metadata_processors=[_Variadic.of])
    bank = Bank(ledger)
    named: dict[str, Callable[..., Any]] = {
        "subtract": subtract,
        "sum": total,
        "get_data": get_data,
        "update": ignore,
        "notify_hello": ignore,
        "notify_sum": ignore,
        "transfer": bank.transfer,
        "balance": bank.balance,
        "transfers": bank.transfers,
    }
    for name, method in named.items():
        methods.add_method(method, name=name)
    return methods


class _Variadic(Method):
    """A method of pjrpc that may have `*values`: its own hands them over by name, which fails."""

    @classmethod
    def of(cls, method: Method) -> Method:
        """Give the method as such a one."""
        return cls(method.func, method.name)

    def bind(self, params: JsonRpcParamsT | None, context: object = None) -> BoundMethod:  # noqa: ARG002
        """Bind parameters as Python does; ValidationError."""
        values = params if isinstance(params, list | tuple) else ()
        names = params if isinstance(params, dict) else {}
        try:
            bound = inspect.signature(self.func).bind(*values, **names)
        except TypeError as error:
            raise ValidationError(str(error)) from error
        return functools.partial(self.func, *bound.args, **bound.kwargs)


def subtract(minuend: Any, subtrahend: Any) -> _Number:
    """Give the difference."""
    first, second = _numbers(minuend, subtrahend)
    return first - second


def total(*numbers: Any) -> _Number:
    """Give the sum."""
    return sum(_numbers(*numbers))


def ignore(*_values: Any) -> None:
    """Take whatever it is told."""


def get_data() -> list[Any]:
    """Give the specification's data."""
    return ["hello", 5]


class Bank:
    """Accounts, as a ledger keeps them."""

    def __init__(self, ledger: Ledger) -> None:
        """The ledger opened with `OPENING`."""
        self._ledger = ledger

    def transfer(self, key: Any, source: Any, target: Any, amount: Any) -> dict[str, Any]:
        """Transfer an amount once, however often it comes by this key."""
        _check(isinstance(key, str) and _KEY.fullmatch(key), "key must be 1 to 200 of ASCII's !-~")
        _check_account(source)
        _check_account(target)
        _check(source != target, "target must be another account than source")
        _check(_is_integer(amount) and amount > 0, "amount must be a positive integer")
        document = {"source": source, "target": target, "amount": amount}
        try:
            entry, _ = self._ledger.add(key, document, {source: -amount, target: amount})
        except (Short, KeyReused, NoRoom) as error:
            raise JsonRpcError(*_REFUSALS[type(error)], str(error)) from error
        return _shown(entry)

    def balance(self, account: Any) -> int:
        """Give what is on an account."""
        _check_account(account)
        return self._ledger.total(account)

    def transfers(self, after: Any = 0, limit: Any = 100) -> list[dict[str, Any]]:
        """Give the transfers with numbers above `after`: what the bank itself says it did."""
        _check(_is_integer(after) and after >= 0, "after must be a transfer's number, or 0")
        _check(
            _is_integer(limit) and 0 < limit <= PAGE_MOST, f"limit must be from 1 to {PAGE_MOST}"
        )
        return [_shown(entry) for entry in self._ledger.entries(after, limit)]


def _shown(entry: Entry) -> dict[str, Any]:
    return {"number": entry.number, "key": entry.key, **entry.document}


def _numbers(*values: Any) -> tuple[_Number, ...]:
    for value in values:
        number = _is_integer(value) or (isinstance(value, float) and math.isfinite(value))
        _check(number, "every parameter must be a number")
    return values


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_account(name: Any) -> None:
    _check(isinstance(name, str) and name in OPENING, f"the accounts are {[*OPENING]}")


def _check(holds: object, otherwise: str) -> None:
    if not holds:
        raise InvalidParamsError(data=otherwise)

"""What the JSON-RPC 2.0 specification says of a message: pure rules, no HTTP, no methods.

A message is a call, or an array of calls (section 6). A call without the member `id` is a
notification, and nothing is answered to it (section 4.1); one whose id is null is no notification.
Whatever is wrong with a call of a batch concerns that call alone.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

Id: TypeAlias = str | int | float | None
Params: TypeAlias = list[Any] | dict[str, Any]

VERSION: Final = "2.0"
DEPTH_MOST = 32
"""Of arrays and objects in each other, in a message."""
DIGITS_MOST = 400
"""Of an integer in a message: beyond that, arithmetic costs more than the message did."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
MESSAGES: Final = {
    PARSE_ERROR: "Parse error",
    INVALID_REQUEST: "Invalid Request",
    METHOD_NOT_FOUND: "Method not found",
    INVALID_PARAMS: "Invalid params",
    INTERNAL_ERROR: "Internal error",
}
"""The errors that the specification defines (section 5.1), in its words."""


class Malformed(ValueError):
    """A message is not JSON, or none that means one thing; the text says where."""


class Invalid(ValueError):
    """A value is no call."""

    def __init__(self, why: str, id_: Id) -> None:
        """`id_` is the call's as far as it can be told, else None (section 5)."""
        super().__init__(why)
        self.id = id_


class Call(NamedTuple):
    """A call, or a notification: then its `id` counts for nothing."""

    method: str
    params: Params
    id: Id
    notification: bool


def parsed(body: bytes) -> Any:
    """Read a message strictly: UTF-8, no NaN, no name twice in an object, bounds; Malformed."""
    try:
        value = json.loads(
            body.decode(), parse_constant=_no_number, parse_int=_integer, object_pairs_hook=_object
        )
        if _deeper(value, DEPTH_MOST):
            raise RecursionError
    except RecursionError:
        raise Malformed(f"the message is nested more than {DEPTH_MOST} deep") from None
    except UnicodeDecodeError as error:
        raise Malformed(f"the message is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise Malformed(f"the message is not JSON: {error}") from None
    return value


def call_of(value: Any) -> Call:
    """Read a call (section 4); Invalid."""
    if not isinstance(value, dict):
        raise Invalid("a call must be an object", None)
    id_ = value.get("id")
    if not _is_id(id_):
        raise Invalid("an id must be a string, a number or null", None)
    if value.get("jsonrpc") != VERSION:
        raise Invalid(f'a call must have "jsonrpc": "{VERSION}"', id_)
    method = value.get("method")
    if not isinstance(method, str):
        raise Invalid("a method must be a string", id_)
    params = value.get("params", [])
    if not isinstance(params, list | dict):
        raise Invalid("params must be an array or an object", id_)
    return Call(method, params, id_, "id" not in value)


def result(value: Any, id_: Id) -> str:
    """Give the answer of a call that succeeded; ValueError if JSON has no word for the value."""
    return _dumped({"jsonrpc": VERSION, "result": value, "id": id_})


def error(code: int, id_: Id, *, message: str | None = None, data: Any = None) -> str:
    """Give the answer of a call that failed; `data` is left out if there is none."""
    told: dict[str, Any] = {"code": code, "message": message or MESSAGES[code]}
    if data is not None:
        told["data"] = data
    return _dumped({"jsonrpc": VERSION, "error": told, "id": id_})


def _dumped(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return abs(value) != float("inf")  # a number that is too large to be given back
    return value is None or isinstance(value, str | int)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MOST:
        raise ValueError(f"an integer has more than {DIGITS_MOST} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same name twice")
    return members


def _deeper(value: Any, most: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return most == 0 or any(_deeper(member, most - 1) for member in value)

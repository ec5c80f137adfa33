r"""The lines between a writer and the resource, JSON objects: `nc hub 7100` is a client.

{"f": "write", "token": 17, "holder": "n1", "value": "x", "op": "n1-1"}
    {"result": {"number": 5, "token": 17, "holder": "n1", "value": "x"}}
    {"error": "token 17 is stale: n2 holds 21"}
{"f": "state"}
    {"result": {…}}
"""

from __future__ import annotations

import json
from typing import Any

LONGEST = 4096
"""Bytes of a line."""
MOST = (1 << 63) - 1
"""No token is higher: ZooKeeper counts transactions in 64 bits with a sign."""
_LONGEST_TEXT = 200


class BadRequest(ValueError):
    """A line that is no request; the text says what is wrong."""


def parse(line: bytes) -> dict[str, Any]:
    """Read a request; BadRequest."""
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        raise BadRequest('this is no JSON; send {"f": "state"}') from None
    match body:
        case {"f": "state"}:
            return {"f": "state"}
        case {"f": "write", "token": int(token), "holder": str(), "value": str(), "op": str()}:
            if isinstance(token, bool) or not 0 < token <= MOST:
                raise BadRequest(f"a token is a whole number from 1 to {MOST}")
            for name in ("holder", "value", "op"):
                if not body[name] or len(body[name]) > _LONGEST_TEXT:
                    raise BadRequest(f"{name} has 1 to {_LONGEST_TEXT} characters")
            return {name: body[name] for name in ("f", "token", "holder", "value", "op")}
        case {"f": "write"}:
            raise BadRequest("a write has a token (a number), a holder, a value and an op (texts)")
    raise BadRequest('f is "write" or "state"')


def result(body: dict[str, Any]) -> bytes:
    """Give the line of an answer."""
    return json.dumps({"result": body}).encode()


def complain(why: str) -> bytes:
    """Give the line that says no, and why: nothing was done."""
    return json.dumps({"error": why}).encode()

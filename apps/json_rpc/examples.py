"""The examples of the JSON-RPC 2.0 specification, section 7: what is sent, and what is answered.

Source: https://www.jsonrpc.org/specification, of 2013-01-04. White space between the tokens of an
answer means nothing; all else is compared to the letter, the order of members included.
"""

from __future__ import annotations

import json
from typing import NamedTuple


class Example(NamedTuple):
    """One exchange."""

    name: str
    sent: str
    answered: str | None
    """None where nothing at all is returned."""

    @property
    def expected(self) -> str:
        """The answer as a server writes it, white space and all; empty for none."""
        return "" if self.answered is None else json.dumps(json.loads(self.answered))


_INVALID = '{"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null}'
_PARSE = '{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}'

EXAMPLES = (
    Example(
        "positional parameters",
        '{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}',
        '{"jsonrpc": "2.0", "result": 19, "id": 1}',
    ),
    Example(
        "positional parameters, the other way round",
        '{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}',
        '{"jsonrpc": "2.0", "result": -19, "id": 2}',
    ),
    Example(
        "named parameters",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42},'
        ' "id": 3}',
        '{"jsonrpc": "2.0", "result": 19, "id": 3}',
    ),
    Example(
        "named parameters in another order",
        '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23},'
        ' "id": 4}',
        '{"jsonrpc": "2.0", "result": 19, "id": 4}',
    ),
    Example(
        "a notification", '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None
    ),
    Example(
        "a notification of a method that is not there",
        '{"jsonrpc": "2.0", "method": "foobar"}',
        None,
    ),
    Example(
        "a call of a method that is not there",
        '{"jsonrpc": "2.0", "method": "foobar", "id": "1"}',
        '{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}',
    ),
    Example(
        "a call that is not JSON",
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        _PARSE,
    ),
    Example("a call that is invalid", '{"jsonrpc": "2.0", "method": 1, "params": "bar"}', _INVALID),
    Example(
        "a batch that is not JSON",
        """[
  {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
  {"jsonrpc": "2.0", "method"
]""",
        _PARSE,
    ),
    Example("an empty array", "[]", _INVALID),
    Example("a batch that is invalid, but not empty", "[1]", f"[{_INVALID}]"),
    Example("a batch of what is invalid", "[1,2,3]", f"[{_INVALID}, {_INVALID}, {_INVALID}]"),
    Example(
        "a batch",
        """[
    {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
    {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
    {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
    {"foo": "boo"},
    {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
    {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
]""",
        """[
    {"jsonrpc": "2.0", "result": 7, "id": "1"},
    {"jsonrpc": "2.0", "result": 19, "id": "2"},
    {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": null},
    {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "5"},
    {"jsonrpc": "2.0", "result": ["hello", 5], "id": "9"}
]""",
    ),
    Example(
        "a batch of notifications",
        """[
    {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
    {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
]""",
        None,
    ),
)

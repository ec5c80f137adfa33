"""A message in, an answer out: pjrpc's methods, under the specification's own rules.

pjrpc 2.2 finds a method and binds parameters to it. Its dispatcher is not used, for it answers
otherwise than the specification where these are concerned (each has a test):

- an id of null makes a call a notification there, a fractional id is refused, `true` is taken;
- one invalid call in a batch, or one id twice, has the whole batch refused;
- a batch of notifications is answered with `[]`, and should not be answered;
- the id of an invalid request is null even where it can be told;
- a method that fails is -32000, where the specification has -32603;
- a nesting that is too deep, or an integer of too many digits, ends in an exception;
- a method with `*values` cannot be called (see `methods`);
- the answer of one call that JSON has no word for takes those of its whole batch with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pjrpc.common import UNSET
from pjrpc.common.exceptions import JsonRpcError
from pjrpc.server import MethodRegistry
from pjrpc.server.validators import ValidationError

from apps.json_rpc.core import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Call,
    Invalid,
    Malformed,
    call_of,
    error,
    parsed,
    result,
)

BATCH_MOST = 100


class Endpoint:
    """Answers messages."""

    def __init__(
        self,
        methods: MethodRegistry,
        failed: Callable[[Exception], None],
        batch_limit: int = BATCH_MOST,
    ) -> None:
        """`failed` is told when a method fails that should not; the caller learns no more."""
        self._methods = methods
        self._failed = failed
        self._batch_limit = batch_limit

    def answer(self, body: bytes) -> str | None:
        """Answer a message; None if there is nothing to answer."""
        try:
            message = parsed(body)
        except Malformed:
            return error(PARSE_ERROR, None)
        if not isinstance(message, list):
            return self._one(message)
        if not message:
            return error(INVALID_REQUEST, None)
        if len(message) > self._batch_limit:
            return error(INVALID_REQUEST, None, data=f"a batch has {self._batch_limit} at most")
        answers = [answer for answer in map(self._one, message) if answer is not None]
        return f"[{', '.join(answers)}]" if answers else None

    def _one(self, value: Any) -> str | None:
        try:
            call = call_of(value)
        except Invalid as invalid:
            return error(INVALID_REQUEST, invalid.id)
        answer = self._outcome(call)
        return None if call.notification else answer

    def _outcome(self, call: Call) -> str:
        method = self._methods.get(call.method)
        if method is None:
            return error(METHOD_NOT_FOUND, call.id)
        try:
            bound = method.bind(call.params)
        except ValidationError as unfit:
            return error(INVALID_PARAMS, call.id, data=str(unfit))
        try:
            return result(bound(), call.id)
        except JsonRpcError as told:
            data = None if told.data is UNSET else told.data
            return error(told.code, call.id, message=told.message, data=data)
        except Exception as failure:  # whatever it is, the caller is answered
            self._failed(failure)
            return error(INTERNAL_ERROR, call.id)

"""The client: pjrpc's messages over the kit's HTTP, and what is known of each call's outcome.

A call whose answer was lost may have been made. It is asked for again only if that does no harm:
what merely reads may be repeated, and so may a transfer, for it has a key.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from pjrpc.client import AbstractClient
from pjrpc.client.validators import validate_response_id_middleware
from pjrpc.common import BatchRequest, BatchResponse, Request, Response
from pjrpc.common.exceptions import BaseError, JsonRpcError

from apps.json_rpc.core import INTERNAL_ERROR, Params
from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http import Http, Reply
from apps.kit.operation import Operation
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline

JSON = {"Content-Type": "application/json", "Accept": "application/json"}
REPEATABLE = {"subtract", "sum", "get_data", "balance", "transfers", "transfer"}
"""Methods that may be called twice where once was meant."""
PAGE = 500


class Asked(NamedTuple):
    """A call as a person or a program means it."""

    method: str
    params: Params
    notification: bool = False

    def said(self) -> dict[str, Any]:
        """Give it as events show it."""
        return {"method": self.method, "params": self.params}


class Client(AbstractClient):
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
        super().__init__(middlewares=[validate_response_id_middleware])
        self._http = Http(server, events, rng or random.Random(), _judge)
        self._events = events
        self._timeout = timeout
        self._once = once
        self._numbers = itertools.count(1)
        self._after_unknown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, asked: Asked) -> Any:
        """Make a call, and give its result; None for a notification."""
        if asked.notification:
            return self._tell(asked)
        if asked.method == "transfer" and isinstance(asked.params, dict):
            asked = asked._replace(params={"key": self.new_key(), **asked.params})
        with Operation(self._events, asked.method, asked.params) as operation:
            answer = self._exchange(self._request_of(asked), repeatable=asked.method in REPEATABLE)
            return operation.ok(self._result(answer))

    def batch_of(self, calls: Sequence[Asked]) -> list[Any]:
        """Make several calls at once; give the result of each, or how it failed, in their order.

        Of a notification there is None.
        """
        requests = [self._request_of(asked) for asked in calls]
        repeatable = all(asked.method in REPEATABLE for asked in calls)
        with Operation(self._events, "batch", [asked.said() for asked in calls]) as operation:
            answers = self._exchange(BatchRequest(*requests), repeatable=repeatable) or ()
            by_id = {answer.id: answer for answer in answers}
            results = [
                None if request.id is None else self._outcome(by_id[request.id])
                for request in requests
            ]
            operation.ok([str(r) if isinstance(r, Exception) else r for r in results])
            return results

    def transfers(self, after: int = 0) -> list[dict[str, Any]]:
        """Read all transfers with numbers above `after`."""
        found: list[dict[str, Any]] = []
        while True:
            last = found[-1]["number"] if found else after
            page = self.ask(Asked("transfers", {"after": last, "limit": PAGE}))
            found += page
            if len(page) < PAGE:
                return found

    def new_key(self) -> str:
        """Give a key that no other transfer has."""
        return self._events.operation()

    def post(self, body: str) -> str:
        """Send a message as it is, and give the answer as it is."""
        return self._request(body, False, {"idempotent": False}) or ""

    def _tell(self, asked: Asked) -> None:
        with Operation(self._events, "notify", asked.said()) as operation:
            self._exchange(self._request_of(asked), repeatable=asked.method in REPEATABLE)
            operation.ok(None)

    def _request_of(self, asked: Asked) -> Request:
        id_ = None if asked.notification else next(self._numbers)
        return Request(asked.method, asked.params, id_)

    def _exchange(self, request: Request | BatchRequest, *, repeatable: bool) -> Any:
        """Send, and give pjrpc's response; Refused, Rejected or Unknown."""
        may_repeat = {"idempotent": repeatable and not self._once}
        try:
            response = self._send(request, may_repeat)
        except (BaseError, ValueError) as error:
            raise Unknown(f"what came back is no answer: {error}") from error
        if isinstance(response, BatchResponse) and response.is_error:
            raise Rejected(_told(response.unwrap_error()))
        return response

    def _request(
        self,
        request_text: str,
        is_notification: bool,  # noqa: FBT001  pjrpc calls it so
        request_kwargs: Mapping[str, Any],
    ) -> str | None:
        """See AbstractClient: carry a message over HTTP."""
        reply = self._http.call(
            "POST", "/", Deadline(self._timeout), request_text.encode(), JSON, **request_kwargs
        )
        self._after_unknown = reply.after_unknown
        if reply.status >= 400:
            raise Rejected(f"HTTP {reply.status}: {reply.body.decode(errors='replace')}")
        if is_notification:
            return None
        return reply.body.decode()

    def _result(self, answer: Response) -> Any:
        outcome = self._outcome(answer)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _outcome(self, answer: Response) -> Any:
        """Give the result, or what is known of the failure.

        A server that failed inside may have done it. And what an attempt without an answer asked
        for may still be done, whatever this one was told.
        """
        if answer.is_success:
            return answer.result
        error = answer.unwrap_error()
        told = _told(error)
        if error.code == INTERNAL_ERROR:
            return Unknown(told)
        if self._after_unknown:
            return Unknown(f"{told}; an attempt before got no answer, and may have been made")
        return Rejected(told)


def _judge(reply: Reply) -> None:
    text = reply.body.decode(errors="replace")
    if reply.status in {408, 503}:
        raise Refused(f"HTTP {reply.status}: {text}")
    if reply.status >= 500:
        raise Unknown(f"HTTP {reply.status}: {text}")


def _told(error: JsonRpcError) -> str:
    return f"{error.code} {error.message}" + (f": {error.data}" if error.data else "")

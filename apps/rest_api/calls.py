"""HTTP for the client: one connection, requests repeated within a deadline, outcomes told apart.

A request that never left changed nothing. One that left and was not answered may have changed
something. One that was answered has an outcome: what its status says.
"""

from __future__ import annotations

import http.client
import json
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Rejected, Unknown
from apps.kit.retry import Backoff, Deadline

PERSISTENT = Backoff(retries=50, first=0.05, longest=1.0)
"""Patience is the deadline's; a server that restarts is away for a second or two."""
_RETRY = {408, 503}
"""Statuses that say: nothing was changed, try again."""


class Answer(NamedTuple):
    """What came back: a success, or the server's definite no."""

    status: int
    document: Any
    after_unknown: bool = False
    """Whether an earlier attempt got no answer: then this one may have met its effect."""

    def taken(self) -> Any:
        """Give the document of a success; Rejected if the server said no."""
        if self.status < 400:
            return self.document
        raise Rejected(f"{self.status} {_reason(self.document)}")


class Http:
    """Requests to one server. Every one may be repeated: it carries what makes that safe."""

    def __init__(self, server: Address, events: Events, rng: random.Random) -> None:
        """`rng` is for the jitter of repetitions."""
        self._server = server
        self._events = events
        self._rng = rng
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def call(
        self, method: str, path: str, deadline: Deadline, body: Any, headers: Mapping[str, str]
    ) -> Answer:
        """Give the answer; Refused or Unknown if time runs out before there is one."""
        delays = PERSISTENT.delays(self._rng)
        unknown: Unknown | None = None
        while True:
            try:
                answer = self._once(method, path, deadline, body, headers)
                return answer._replace(after_unknown=unknown is not None)
            except CallFailed as failure:
                self.close()
                # Once one attempt may have been applied, a later refusal does not undo that.
                unknown = failure if isinstance(failure, Unknown) else unknown
                failed = unknown or failure
            delay = next(delays, None)
            if delay is None or delay > deadline.remaining:
                raise failed
            time.sleep(delay)

    def _once(
        self, method: str, path: str, deadline: Deadline, body: Any, headers: Mapping[str, str]
    ) -> Answer:
        connection = self._connected(deadline)
        request_id = self._events.operation()
        data = None if body is None else json.dumps(body).encode()
        try:
            self._events.send(request_id, str(self._server), method=method, path=path)
            connection.request(method, path, data, {**headers, "X-Request-ID": request_id})
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise Unknown(f"no answer from {self._server}: {what}") from error
        self._events.recv(f"{request_id}/answer", str(self._server), status=response.status)
        if response.will_close:
            self.close()
        return _judged(response.status, _document(text))

    def _connected(self, deadline: Deadline) -> http.client.HTTPConnection:
        seconds = max(deadline.remaining, 0.001)
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.settimeout(seconds)
            return self._connection
        connection = http.client.HTTPConnection(*self._server, timeout=seconds)
        try:
            connection.connect()
        except TimeoutError:
            raise Refused(f"{self._server} did not accept a connection in time") from None
        except OSError as error:
            raise Refused(f"{self._server}: {error.strerror or error}") from error
        self._connection = connection
        return connection


def _document(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _judged(status: int, document: Any) -> Answer:
    """Tell an answer from a failure: Refused if nothing was changed, Unknown if that is open."""
    if status in _RETRY:
        raise Refused(f"{status} {_reason(document)}")
    if status >= 500 and status != 507:
        raise Unknown(f"{status} {_reason(document)}")
    return Answer(status, document)


def _reason(document: Any) -> str:
    problem = document if isinstance(document, dict) else {}
    errors = problem.get("errors", [])
    what = [str(problem.get("detail", "(no reason given)"))]
    return "; ".join(what + [" ".join(map(str, error.values())) for error in errors])

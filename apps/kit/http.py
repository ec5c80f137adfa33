"""HTTP for clients: one connection, requests repeated within a deadline, outcomes told apart.

A request that never left changed nothing. One that left and was not answered may have changed
something. One that was answered has an outcome: what its answer says.
"""

from __future__ import annotations

import http.client
import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from apps.kit.address import Address
from apps.kit.caller import readable
from apps.kit.events import Events
from apps.kit.outcome import CallFailed, Refused, Unknown
from apps.kit.retry import Backoff, Deadline

PERSISTENT = Backoff(retries=50, first=0.05, longest=1.0)
"""Patience is the deadline's; a server that restarts is away for a second or two."""
ANSWER_MOST = 16 << 20
"""Bytes; nobody who asks for little can be made to hold more."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    after_unknown: bool = False
    """Whether an earlier attempt got no answer: then this one may have met its effect."""


class Http:
    """Requests to one server, over one connection at a time. One thread at a time uses it."""

    def __init__(
        self,
        server: Address,
        events: Events,
        rng: random.Random,
        judge: Callable[[Reply], None],
    ) -> None:
        """`rng` is for the jitter of repetitions.

        `judge` tells an answer from a failure: it raises Refused if a reply says that nothing was
        changed and another attempt may do better, Unknown if that is open.
        """
        self._server = server
        self._events = events
        self._rng = rng
        self._judge = judge
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def call(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        idempotent: bool = True,
    ) -> Reply:
        """Give the reply; Refused or Unknown if time runs out before there is one.

        What was refused is asked again. What is unknown is asked again only if it is idempotent.
        """
        delays = PERSISTENT.delays(self._rng)
        unknown: Unknown | None = None
        while True:
            try:
                reply = self._once(method, path, deadline, body, headers)
                return reply._replace(after_unknown=unknown is not None)
            except CallFailed as failure:
                self.close()
                # Once one attempt may have been applied, a later refusal does not undo that.
                unknown = failure if isinstance(failure, Unknown) else unknown
                failed = unknown or failure
            delay = next(delays, None)
            may_repeat = idempotent or unknown is None
            if delay is None or delay > deadline.remaining or not may_repeat:
                raise failed
            time.sleep(delay)

    def _once(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Reply:
        connection = self._connected(deadline)
        request_id = self._events.operation()
        try:
            self._events.send(request_id, str(self._server), method=method, path=path)
            connection.request(method, path, body, {**headers, "X-Request-ID": request_id})
            response = connection.getresponse()
            text = response.read(ANSWER_MOST + 1)
            if response.length or len(text) > ANSWER_MOST:  # read(n) does not say what is missing
                raise http.client.HTTPException(f"it broke off, or is above {ANSWER_MOST} bytes")
        except (OSError, http.client.HTTPException) as error:
            what = str(error) or type(error).__name__
            raise Unknown(f"no answer from {self._server}: {what}") from error
        self._events.recv(f"{request_id}/answer", str(self._server), status=response.status)
        if response.will_close:
            self.close()
        reply = Reply(response.status, text)
        self._judge(reply)
        return reply

    def _connected(self, deadline: Deadline) -> http.client.HTTPConnection:
        seconds = max(deadline.remaining, 0.001)
        idle = self._connection
        if idle is not None and idle.sock is not None and not readable(idle.sock):
            idle.sock.settimeout(seconds)
            return idle
        self.close()
        connection = http.client.HTTPConnection(*self._server, timeout=seconds)
        try:
            connection.connect()
        except TimeoutError:
            raise Refused(f"{self._server} did not accept a connection in time") from None
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
            raise Refused(f"{self._server}: {getattr(error, 'strerror', None) or error}") from error
        self._connection = connection
        return connection

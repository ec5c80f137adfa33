"""What an answer of the resource means: taken, refused, rejected, or nobody knows."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http import Http, Reply
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline

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


class Resource:
    """Requests to one server. Every one may be repeated: it carries what makes that safe."""

    def __init__(self, server: Address, events: Events, rng: random.Random) -> None:
        """`rng` is for the jitter of repetitions."""
        self._http = Http(server, events, rng, _judge)

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._http.close()

    def call(
        self, method: str, path: str, deadline: Deadline, body: Any, headers: Mapping[str, str]
    ) -> Answer:
        """Give the answer; Refused or Unknown if time runs out before there is one."""
        data = None if body is None else json.dumps(body).encode()
        reply = self._http.call(method, path, deadline, data, headers)
        return Answer(reply.status, _document(reply.body), reply.after_unknown)


def _document(text: bytes) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def _judge(reply: Reply) -> None:
    """Tell an answer from a failure: Refused if nothing was changed, Unknown if that is open."""
    if reply.status in _RETRY:
        raise Refused(f"{reply.status} {_reason(_document(reply.body))}")
    if reply.status >= 500 and reply.status != 507:
        raise Unknown(f"{reply.status} {_reason(_document(reply.body))}")


def _reason(document: Any) -> str:
    problem = document if isinstance(document, dict) else {}
    errors = problem.get("errors", [])
    what = [str(problem.get("detail", "(no reason given)"))]
    return "; ".join(what + [" ".join(map(str, error.values())) for error in errors])

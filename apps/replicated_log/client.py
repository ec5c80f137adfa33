"""The client: appends that are made once, however often they have to be asked for, and reads.

Each client has an id of its own, and numbers its appends. So one whose answer was lost is asked
again as it is: the master knows it, and answers with the offset that it has.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any, Self

from apps.kit.address import Address
from apps.kit.events import Events
from apps.kit.http import Http, Reply
from apps.kit.operation import Operation
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.retry import Deadline

JSON = {"Content-Type": "application/json"}


class Log:
    """A node of the log, to a client; a context manager."""

    def __init__(
        self, node: Address, events: Events, *, timeout: float, rng: random.Random
    ) -> None:
        """`timeout` bounds a whole operation, its repetitions included (seconds)."""
        self._node = str(node)
        self._http = Http(node, events, rng, _judge)
        self._events = events
        self._timeout = timeout
        self._client = events.operation()
        self._seq = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def append(self, message: str, w: str) -> int:
        """Append a message; its offset, once it is on so many disks."""
        self._seq += 1
        wanted: int | str = int(w) if w.isdecimal() else w
        body = {"message": message, "client": self._client, "seq": self._seq, "w": wanted}
        with self._recorded("append", {"key": message}) as outcome:
            told = self._call("POST", "/messages", body)
            outcome.ok({"key": message, "number": told["offset"], "w": told["w"]})
            return int(told["offset"])

    def read(self, first: int) -> list[str]:
        """Give all messages from an offset on, as they were when the first page was asked for."""
        with self._recorded("read", {"from": first}) as outcome:
            messages: list[str] = []
            total = first + 1
            while first + len(messages) < total:
                page = self._call("GET", f"/messages?offset={first + len(messages)}")
                total = total if messages else page["total"]
                messages += page["messages"]
                if not page["messages"]:
                    break
            return outcome.ok(messages[: max(0, total - first)])

    def health(self) -> Mapping[str, Any]:
        """Give what the node says of itself."""
        with self._recorded("health", None) as outcome:
            told: Mapping[str, Any] = outcome.ok(self._call("GET", "/health"))
            return told

    def _recorded(self, f: str, value: Any) -> Operation:
        return Operation(self._events, f, value, server=self._node)

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body).encode()
        reply = self._http.call(method, path, Deadline(self._timeout), text, JSON)
        told = _json(reply.body)
        if reply.status >= 400:
            detail = told.get("detail", f"status {reply.status}")
            # What was sent before and got no answer may have been appended all the same.
            raise (Unknown if reply.after_unknown else Rejected)(detail)
        return told


def _judge(reply: Reply) -> None:
    """Have that asked again which may do better; 507 and the like are answers."""
    detail = str(_json(reply.body).get("detail", f"status {reply.status}"))
    if reply.status == 503:
        raise Refused(detail)
    if reply.status >= 500 and reply.status != 507:
        raise Unknown(detail)


def _json(body: bytes) -> Any:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}

"""A counter: read, add, and write if nobody wrote meanwhile.

The version of the node is what makes it safe: a write names the version that was read, and is
declined if there is another. What is left is the answer that is lost: the write may have been done,
and to write again would add twice. So the node keeps the names of the last writes, and who is in
doubt looks for its own.
"""

from __future__ import annotations

import json

from kazoo.exceptions import BadVersionError

from apps.kit.operation import Operation
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.zookeeper_recipes.participant import Participant, because

KEPT = 64
"""Writes whose names the node keeps."""


class Counter:
    """The counter at a path."""

    def __init__(self, participant: Participant, path: str) -> None:
        """A counter that is not there is 0."""
        self._participant = participant
        self._path = path

    def add(self, amount: int) -> int:
        """Add; give what it is then. Unknown if it is in doubt and nobody can tell any longer."""
        self._participant.ensure(self._path)
        with Operation(self._participant.events, "add", amount, key=self._path) as operation:
            return operation.ok(self._add(amount, operation.op))

    def value(self) -> int:
        """Give what it is now."""
        self._participant.ensure(self._path)
        with Operation(self._participant.events, "value", None, key=self._path) as operation:
            return operation.ok(self._participant.insist(self._read)[0])

    def _add(self, amount: int, op: str) -> int:
        tried_at: int | None = None
        try:
            while True:
                value, last, version = self._participant.insist(self._read)
                if op in last:
                    return last[op]
                if tried_at is not None and version - tried_at >= KEPT:
                    raise Unknown("it was in doubt, and too many have written since")
                try:
                    self._participant.set(self._path, _written(value + amount, last, op), version)
                except Rejected as error:
                    if not because(error, BadVersionError):
                        raise
                except Unknown:
                    tried_at = version if tried_at is None else tried_at
                else:
                    return value + amount
        except Refused as error:
            if tried_at is None:
                raise
            raise Unknown(str(error)) from error

    def _read(self) -> tuple[int, dict[str, int], int]:
        """Give the value, the names of the last writes with what they made, and the version."""
        self._participant.sync(self._path)
        read = self._participant.get(self._path)
        try:
            known = json.loads(read.data or b"{}")
            return int(known.get("value", 0)), dict(known.get("last", {})), read.version
        except (ValueError, TypeError, AttributeError):
            raise Rejected(
                f"{self._path} holds {read.data[:40]!r}, and that is no counter"
            ) from None


def _written(value: int, last: dict[str, int], op: str) -> bytes:
    kept = dict([*last.items(), (op, value)][-KEPT:])
    return json.dumps({"value": value, "last": kept}).encode()

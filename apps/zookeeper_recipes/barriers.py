"""Barriers: nobody goes on before all are there; and, of a double one, nobody ends before all have.

Who arrives makes an ephemeral node below `here`. Whoever sees that enough are there writes, below
`open`, a node that names them: who finds itself named goes on. So what an earlier run left behind,
or one that died half-way, opens nothing for who comes now; and a marker whose people are all gone
is swept up by the next one who writes.

To leave a double barrier one takes one's node away, and waits until none of those with whom one
entered is there. Who died on the way is not waited for: its node went with its session.
"""

from __future__ import annotations

import json
from typing import Any

from kazoo.exceptions import NoNodeError

from apps.kit.outcome import Rejected
from apps.zookeeper_recipes.participant import Participant, Told, because, fresh


class Barrier:
    """A participant's way through the barrier at a path, for so many."""

    def __init__(self, participant: Participant, path: str, parties: int) -> None:
        """Nobody has arrived yet."""
        self._participant = participant
        self._path = path
        self._here = f"{path}/here"
        self._open = f"{path}/open"
        self._parties = parties
        self._own = self._name = ""
        self._cohort: list[str] = []

    def enter(self) -> None:
        """Arrive, and wait until all have; Refused if they do not come."""
        self._participant.ensure(self._open)
        self._arrive()
        try:
            self._participant.until(self._passes, f"{self._parties} are at {self._path}")
        except BaseException:
            self.go()
            raise
        self._tell("pass", cohort=self._cohort)

    def go(self) -> None:
        """Leave without waiting for anybody: the end of a barrier that is not double."""
        self._participant.withdraw(self._here, self._own)

    def leave(self) -> None:
        """Wait until all with whom we entered have done so too."""
        self._tell("leaving")
        self.go()
        self._participant.until(self._all_left, f"all have left {self._path}")
        self._tell("left", cohort=self._cohort)

    def _arrive(self) -> None:
        self._own = fresh("here")
        self._tell("arrive")
        self._name = self._participant.enrol(self._here, self._own)

    def _passes(self, told: Told) -> bool:
        here = self._participant.line(self._here, told)
        if self._name not in here:  # our session was lost
            self._arrive()
            return self._passes(told)
        markers = self._markers(told)
        for cohort in markers.values():
            if self._name in cohort:
                self._cohort = cohort
                return True
        named = {name for cohort in markers.values() for name in cohort}
        waiting = [name for name in here if name not in named]
        if len(waiting) >= self._parties:
            self._write(waiting[: self._parties], here, markers)
            return self._passes(told)
        return False

    def _write(self, cohort: list[str], here: list[str], markers: dict[str, list[str]]) -> None:
        """Name those who may go on, and sweep up; only if nobody did so since we looked."""
        version = self._participant.get(self._open).version
        if self._markers(None).keys() != markers.keys():
            return

        def add(transaction: Any) -> None:
            transaction.set_data(self._open, b"", version)
            data = json.dumps(cohort).encode()
            transaction.create(f"{self._open}/open-", data, sequence=True)
            for marker, members in markers.items():
                if not set(members) & set(here):
                    transaction.delete(f"{self._open}/{marker}")

        self._participant.together(add)

    def _markers(self, told: Told | None) -> dict[str, list[str]]:
        found = {}
        for name in self._participant.line(self._open, told):
            try:
                found[name] = json.loads(self._participant.get(f"{self._open}/{name}").data)
            except Rejected as error:
                if not because(error, NoNodeError):
                    raise
        return found

    def _all_left(self, told: Told) -> bool:
        return not set(self._cohort) & set(self._participant.line(self._here, told))

    def _tell(self, event: str, **more: Any) -> None:
        who = {"path": self._path, "who": self._own, "parties": self._parties}
        self._participant.events.emit(event, **who, **more)

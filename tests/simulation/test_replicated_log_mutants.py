"""The judges are judged: logs that are wrong on purpose are found out within 300 seeds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from apps.kit.effects import Message, Send
from apps.replicated_log.clients import ClientTable
from apps.replicated_log.core import Master
from apps.replicated_log.effects import Effect, Write
from apps.replicated_log.entries import Entry
from apps.replicated_log.follower import Follower
from apps.replicated_log.peers import Pace, Secondary
from apps.replicated_log.stages import STAGES
from lab.simulator.scenario import Scenario
from tests.simulation.test_replicated_log import (
    MASTER,
    Disk,
    Node,
    Renewed,
    Tight,
    core_of,
    judge,
    known,
    play,
)

PACE = Pace(batch=60)


def replaced(
    node: str,
    nodes: Sequence[str],
    disk: Disk,
    *,
    master: type[Master] | None = None,
    follower: type[Follower] | None = None,
    clients: type[ClientTable] | None = None,
) -> Any:
    """Make a node's core, with the wrong one in its place."""
    core = core_of(node, nodes, disk)
    if node == MASTER:
        table = clients() if clients else known(disk)
        return (master or Master)(nodes[1:], disk, table, STAGES[3], rng=disk.rng, pace=PACE)
    return follower(MASTER, disk) if follower else core


class AnswersAtOnce(Master):
    """Acknowledges what only it has."""

    def _acknowledge(self) -> None:
        for secondary in self.secondaries.values():
            secondary.acked = max(secondary.acked, self._durable)
        super()._acknowledge()


class TellsBeforeItSyncs(Master):
    """Hands on what is not on its own disk yet, as if one order were as good as the other."""

    def _write_next(self) -> None:
        super()._write_next()
        if self._writing:
            first = self._durable
            for secondary in self.secondaries.values():
                message = {"kind": "append", "log": self._log.identity, "first": first}
                told = {**message, "session": secondary.session, "entries": self._writing}
                self._effects.append(Send(secondary.name, told))


class Impatient(Follower):
    """Acknowledges what it has not synced."""

    def receive(self, now: float, sender: str, message: Message) -> list[Effect]:
        effects = super().receive(now, sender, message)
        for effect in effects:
            if isinstance(effect, Write):
                told = {"kind": "stored", "log": self.identity, "session": self._session}
                length = self._durable + len(self._writing)
                effects = [*effects, Send(self._master, {**told, "length": length})]
        return effects


class Gapped(Follower):
    """Takes what comes, be something missing before it."""

    def _take(self, now: float, first: int, entries: Sequence[Entry]) -> None:
        have = self._durable + len(self._writing) + len(self._gathered)
        super()._take(now, min(first, have), entries)


class Doubling(Follower):
    """Takes again what it has."""

    def _take(self, now: float, first: int, entries: Sequence[Entry]) -> None:
        have = self._durable + len(self._writing) + len(self._gathered)
        super()._take(now, max(first, have) if first < have else first, entries)


class Forgetful(ClientTable):
    """Does not know any request again."""

    def find(self, entry: Entry) -> int | None:
        del entry
        return None


class Careless(Master):
    """Never sends anything twice."""

    def _rewind(self, now: float, secondary: Secondary, to: int) -> None:
        if not secondary.known:
            super()._rewind(now, secondary, to)


class Hasty(Master):
    """Says that it refused what its disk had no room for, and writes it all the same."""

    def refused(self, now: float) -> list[Effect]:
        kept = [*self._writing, *self._gathered]
        effects = super().refused(now)
        self._gathered.extend(kept)
        self._write_next()
        return [*effects, *self._finish()]


class Unasked(Master):
    """Takes it for granted that a node has what it once said."""

    def _rewind(self, now: float, secondary: Secondary, to: int) -> None:
        super()._rewind(now, secondary, max(to, secondary.acked))

    def _begin_session(self, secondary: Secondary, length: int) -> None:
        """Have one session for all the master's life."""


WORLDS: dict[type, type[Node]] = {Hasty: Tight, Unasked: Renewed}
"""Where nodes have to live for some of these to go wrong."""


@pytest.mark.parametrize(
    ("wrong", "claims"),
    [
        ({"master": AnswersAtOnce}, {"disks"}),
        ({"master": TellsBeforeItSyncs}, {"prefix", "caught up", "survive", "linearizable"}),
        ({"follower": Impatient}, {"disks"}),
        ({"follower": Gapped}, {"prefix", "caught up"}),
        ({"follower": Doubling}, {"prefix", "caught up"}),
        ({"clients": Forgetful}, {"survive", "once", "linearizable"}),
        ({"master": Careless}, {"caught up"}),
        ({"master": Hasty}, {"survive"}),
        ({"master": Unasked}, {"caught up"}),
    ],
    ids=lambda value: next(iter(value.values())).__name__ if isinstance(value, dict) else "",
)
def test_judges_find_a_core_that_is_wrong(wrong: dict[str, Any], claims: set[str]) -> None:
    make = partial(replaced, **wrong)
    kind = WORLDS.get(next(iter(wrong.values())), Node)
    violation = Scenario(partial(play, make=make, kind=kind), judge).first_violation(range(300))
    assert violation is not None
    assert violation.claim in claims

"""Inject, heal, and tell what is wrong on purpose: what demos, schedules and verbs call."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from apps.kit.faults import Fault, PowerOff
from lab.errors import LabError
from lab.faults.agent import ask
from lab.faults.orders import orders
from lab.faults.power import Power
from lab.hosts.remote import Remote


@dataclass(frozen=True)
class Active:
    """A fault that is on now, on one host."""

    id: str
    host: str
    fault: Mapping[str, Any]
    since: float
    """Seconds since 1970, by the host's clock."""
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Give it for programs."""
        return {
            "id": self.id,
            "host": self.host,
            "fault": dict(self.fault),
            "since": self.since,
            "seconds": self.seconds,
        }


class Injected:
    """A fault that took; a context manager that heals it."""

    def __init__(
        self, id_: str, fault: Fault, measured: Mapping[str, Any], heal: Callable[[], None]
    ) -> None:
        """Use `Faults.inject`."""
        self.id = id_
        self.fault = fault
        self.measured = measured
        """What each host measured once it was in effect, by host."""
        self._heal = heal

    def heal(self) -> None:
        """Undo it; nothing if it is over already. LabError if a host cannot be asked."""
        self._heal()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()


class Faults:
    """The faults of an inventory's hosts."""

    def __init__(self, remote: Remote, tell: Callable[[str], None] = lambda _: None) -> None:
        """Nothing is done until it is asked for; `tell` shows progress."""
        self._remote = remote
        self._power = Power(remote.inventory, tell)

    def inject(self, fault: Fault, seconds: float) -> Injected:
        """Bring it about for at most so many seconds, and measure that it took.

        The hosts heal it by themselves when the time is over, whatever becomes of this process.
        LabError if it did not take everywhere; then it is nowhere.
        """
        id_ = secrets.token_hex(4)
        if isinstance(fault, PowerOff):
            self._power.off(id_, fault, seconds)
            return Injected(id_, fault, {}, lambda: self._power.on(fault.host))
        given = orders(fault, self._remote.inventory)
        for host in self._power.without().keys() & given.keys():
            raise LabError(
                f"{host} has no power, so {fault.word} cannot happen to it",
                "`fab heal` gives all hosts their power back",
            )
        texts = {
            host: json.dumps(
                {
                    "id": id_,
                    "fault": fault.as_json(),
                    "seconds": seconds,
                    "kind": order.kind,
                    "parameters": order.parameters,
                }
            )
            for host, order in given.items()
        }
        answers = self._remote.each(
            texts,
            lambda host: ask(self._remote, host, "inject", texts[host], files=given[host].files),
        )
        failed = [answer for answer in answers.values() if isinstance(answer, LabError)]
        if failed:
            self._undo(id_, [host for host, a in answers.items() if not isinstance(a, LabError)])
            raise failed[0]
        measured = {
            host: answer["measured"]
            for host, answer in answers.items()
            if not isinstance(answer, LabError)
        }
        hosts = list(texts) if fault.lasts else []
        return Injected(id_, fault, measured, lambda: self._undo(id_, hosts))

    def heal(self) -> list[Active]:
        """Undo every fault on every host; give what there was. LabError if a host cannot be asked.

        Hosts without power get it back first.
        """
        self._power.all_on()
        active = self.active()
        hosts = {fault.host for fault in active}
        self._must(self._remote.each(hosts, lambda host: ask(self._remote, host, "heal")))
        return active

    def active(self) -> list[Active]:
        """Give every fault that is on now. LabError if a host that has power cannot be asked."""
        dark = self._power.without()
        hosts = [name for name in self._remote.inventory.hosts if name not in dark]
        answers = self._must(self._remote.each(hosts, lambda host: ask(self._remote, host, "list")))
        return [
            *(
                Active(record["id"], host, record["fault"], record["since"], record["seconds"])
                for host, record in dark.items()
            ),
            *(
                Active(record["id"], host, record["fault"], record["since"], record["seconds"])
                for host, answer in answers.items()
                for record in answer["faults"]
            ),
        ]

    def _undo(self, id_: str, hosts: Iterable[str]) -> None:
        self._must(self._remote.each(hosts, lambda host: ask(self._remote, host, "heal", id_)))

    @staticmethod
    def _must(answers: Mapping[str, dict[str, Any] | LabError]) -> dict[str, dict[str, Any]]:
        for answer in answers.values():
            if isinstance(answer, LabError):
                raise answer
        return {host: a for host, a in answers.items() if not isinstance(a, LabError)}

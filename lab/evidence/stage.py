"""The stage of one demo: the lab as `apps.kit.demo` describes it, over real hosts.

What happens on it becomes the run's history: events of clients as they print them, events of
services from the hosts' journals, from the moment the demo began.
"""

from __future__ import annotations

import itertools
import random
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from apps.kit.claims import Event, Finding
from apps.kit.demo import Running
from apps.kit.faults import Fault, Kill
from lab.catalogue import Component, Pattern
from lab.errors import LabError
from lab.evidence.client import Client, Ended, until_heard
from lab.evidence.injection import Injection
from lab.evidence.playing import Playing
from lab.evidence.recording import Recording
from lab.evidence.verdict import Verdict
from lab.faults.control import Faults
from lab.faults.planned import Planned, Schedule
from lab.hosts.remote import Remote
from lab.logs import by_host
from lab.status import option, placed

PYTHON = "/opt/distlab/bin/python"
_POLL = 0.1
_TRACEBACK = "Traceback (most recent call last)"
_time = itemgetter("t")
_GRACE = 5.0
"""Seconds that the hosts leave us to heal what a schedule planned, before they do."""


class Stage:
    """What a demo is given; see `apps.kit.demo.Lab`, whose words are not repeated here."""

    def __init__(
        self,
        remote: Remote,
        pattern: Pattern,
        seed: int,
        tell: Callable[[str], None],
        stated: Callable[[Verdict], None],
    ) -> None:
        """`tell` shows progress to who watches, `stated` keeps each verdict at once."""
        self.seed = seed
        self.rng = random.Random(f"{seed}/{pattern.name}")
        self.attachments: dict[str, str] = {}
        self.figures: dict[str, float] = {}
        self.actions: list[dict[str, Any]] = []
        self.injections: list[Injection] = []
        self._remote = remote
        self._pattern = pattern
        self._tell = tell
        self._stated = stated
        self._clients: list[Event] = []
        self._components = {component.group: component for component in pattern.components}
        self._touched: set[tuple[str, str]] = set()
        self._faults = Faults(remote)
        self._ids = itertools.count(1)
        self._waiting: Schedule | None = None
        self._playing: Playing | None = None
        self._recording = Recording(remote, by_host(placed(remote.inventory, [pattern])))

    # The lab

    def hosts(self, component: str) -> list[str]:
        """Hosts of a group; LabError if it is empty, for a demo cannot go on without."""
        hosts = self._remote.inventory.groups.get(component, ())
        if not hosts:
            raise LabError(
                f"no host is in group {component}",
                "the demo needs at least one: edit inventory/placement.yml",
            )
        return list(hosts)

    def address(self, host: str) -> str:
        """Address in the lab's network."""
        return str(self._remote.inventory.hosts[host].address)

    def option(self, host: str, name: str) -> Any:
        """Role variable on a host."""
        return option(self._remote.inventory, host, self._pattern, name)

    # What happens

    def start(self, host: str, pattern: str, *arguments: object, timeout: float = 120.0) -> Client:
        """Client under way."""
        words = [PYTHON, "-m", f"apps.{pattern}", *map(str, arguments), "--json"]
        return Client(self._remote.start(host, shlex.join(words), timeout), self._collect)

    def run(self, host: str, pattern: str, *arguments: object, timeout: float = 60.0) -> Ended:
        """Client that ended."""
        return self.start(host, pattern, *arguments, timeout=timeout).wait()

    def shell(self, host: str, command: str, timeout: float = 60.0) -> Ended:
        """Shell command that ended."""
        return self.start_shell(host, command, timeout).wait()

    def start_shell(self, host: str, command: str, timeout: float = 60.0) -> Client:
        """Shell command under way."""
        return Client(self._remote.start(host, command, timeout), self._collect)

    def inject(self, fault: Fault, seconds: float = 60.0) -> Injection:
        """Fault that took."""
        return self._inject(f"f{next(self._ids)}", fault, seconds, seconds)

    def befall(self, schedule: Schedule) -> None:
        """Have a schedule of faults begin as soon as clients are under way.

        Its hosts are asked for something now: what the first question costs, no fault shall.
        """
        self._faults.active()
        self._ids = itertools.count(len(schedule.planned) + 1)
        self._waiting = schedule

    def conclude(self) -> None:
        """State whether the schedule befell the hosts as planned: what did not take shows nothing.

        Of a schedule without faults nothing is stated.
        """
        self._play()
        if self._playing is None or not self._playing.count:
            return
        self._playing.stop()
        failed, count = self._playing.failed, self._playing.count
        told = f"{count - len(failed)} of {count} faults took, and were healed"
        finding = Finding(None if failed else True, "; ".join([told, *failed]))
        self.promised("the faults are those of the schedule", finding)

    def _begin(self, plan: Planned, id_: str) -> Injection:
        return self._inject(id_, plan.fault, plan.seconds, plan.seconds + _GRACE)

    def _inject(self, id_: str, fault: Fault, seconds: float, at_most: float) -> Injection:
        """Inject, and have it in the history; the hosts heal it after `at_most` seconds."""
        self._tell(f"fault: {fault}")
        begun = {
            **self._action("inject", "lab"),
            "id": id_,
            "fault": fault.as_json(),
            "hosts": list(fault.where()),
            "seconds": seconds,
        }
        self.actions.append(begun)
        try:
            injected = self._faults.inject(fault, at_most)
        except BaseException as error:
            begun |= {"event": "inject_failed", "error": str(error)}
            self._tell(f"did not take: {fault}: {error}")
            raise
        begun |= {"took": time.time(), "measured": dict(injected.measured)}
        injection = Injection(injected, at_most, lambda t: self._healed(id_, fault, t))
        self.injections.append(injection)
        return injection

    def _healed(self, id_: str, fault: Fault, t: float) -> None:
        if fault.lasts:
            self._tell(f"healed: {fault}")
            self.actions.append({**self._action("heal", "lab"), "id": id_, "t": t})

    def under_way(self, clients: Sequence[Running]) -> None:
        """Clients heard; were faults to come before them, nobody would notice."""
        if self._waiting is not None:
            until_heard(clients)
            self._play()

    def _play(self) -> None:
        """Let the schedule begin, if one is waiting."""
        if self._waiting is not None:
            self._playing, self._waiting = Playing(self._waiting, self._begin), None

    def calm(self, timeout: float = 60.0) -> None:
        """Schedule over, all healed, all units ready."""
        self._play()
        if self._playing is not None:
            self._playing.wait(timeout)
        self.heal()
        for host, component in placed(self._remote.inventory, [self._pattern]):
            self.wait_ready(host, component.group, timeout)

    def kill(self, host: str, component: str) -> None:
        """SIGKILL to all processes of a unit."""
        self.inject(Kill(host, component))

    def restart(self, host: str, component: str) -> None:
        """Restarted and ready."""
        self._systemctl(host, component, "restart")
        self._touched.discard((host, component))

    def stop(self, host: str, component: str) -> None:
        """Stopped until restarted."""
        self._touched.add((host, component))
        self._systemctl(host, component, "stop")

    def heal(self) -> None:
        """End every fault of this demo, the last one first."""
        for injection in reversed(self.injections):
            injection.heal()

    def restore(self) -> list[LabError]:
        """End the faults, and bring back what the demo stopped; give what could not be undone."""
        failed = _tried([self._playing.stop]) if self._playing else []
        failed += _tried([injection.heal for injection in reversed(self.injections)])
        return failed + _tried([partial(self.restart, *unit) for unit in sorted(self._touched)])

    def wait_ready(self, host: str, component: str, timeout: float = 30.0) -> None:
        """Active, and for `Type=notify` that is READY."""
        unit = self._component(component).unit
        self.wait_until(
            lambda: (
                self._remote.run(host, f"sudo -n systemctl is-active --quiet {unit}").exit_status
                == 0
            ),
            f"{unit} on {host} is ready",
            timeout,
        )

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """Poll a condition; the last look begins when the time is over: a look takes time, too."""
        deadline = time.monotonic() + timeout
        began = 0.0
        while began <= deadline:
            began = time.monotonic()
            if condition():
                return
            time.sleep(_POLL)
        raise LabError(
            f"after {timeout:g} s it is still not so that {what}",
            f"see why: fab logs --only {self._pattern.name}",
        )

    # What was observed

    def history(self, component: str | None = None, *events: str) -> list[Event]:
        """Events of clients and journals, merged by time."""
        for lost in self.read().values():
            raise lost
        short = self._component(component).name if component else None
        asked = [
            event
            for event in self._unordered()
            if (short is None or event["component"] == short)
            and (not events or event["event"] in events)
        ]
        return sorted(asked, key=_time)

    def read(self) -> dict[str, LabError]:
        """Fetch what is new in the journals; give the hosts that cannot be asked, and why."""
        return self._recording.read()

    def observed(self) -> list[Event]:
        """Give all events as far as they were read, merged by time."""
        return sorted(self._unordered(), key=_time)

    def _unordered(self) -> Iterator[Event]:
        return itertools.chain(self._clients, self._recording.events, self.actions)

    def journals(self) -> dict[str, list[str]]:
        """Give the journals' lines as journald gave them, by host, as far as they were read."""
        return self._recording.lines

    # What is claimed

    def promised(self, claim: str, finding: Finding) -> None:
        """A promise holds, is violated, or is unknown."""
        self._state(Verdict.of(self._pattern.name, claim, "promised", finding))

    def limit(self, claim: str, finding: Finding) -> None:
        """A limit was shown, or not."""
        self._state(Verdict.of(self._pattern.name, claim, "limit", finding))

    def figure(self, name: str, value: float) -> None:
        """A number of the run."""
        self.figures[name] = value

    def say(self, text: str) -> None:
        """Progress."""
        self._tell(text)

    def attach(self, name: str, text: str) -> None:
        """A file of the run."""
        self.attachments[name] = text

    def _state(self, verdict: Verdict) -> None:
        self._stated(verdict)
        self._tell(f"{verdict.verdict}: {verdict.claim}")

    def _component(self, group: str) -> Component:
        if group not in self._components:
            raise LabError(
                f"{self._pattern.name} has no component {group}",
                f"it has: {', '.join(self._components)}",
            )
        return self._components[group]

    def _systemctl(self, host: str, component: str, verb: str, *options: str) -> None:
        unit = self._component(component).unit
        self._tell(f"systemctl {verb} {unit} on {host}")
        action = self._action(f"lab_{verb}", host)
        self.actions.append({**action, "component": self._component(component).name})
        self._remote.must(host, shlex.join(["sudo", "-n", "systemctl", verb, *options, unit]))

    def _action(self, event: str, node: str) -> dict[str, Any]:
        return {
            "event": event,
            "pattern": self._pattern.name,
            "component": "lab",
            "node": node,
            "t": time.time(),
        }

    def _collect(self, ended: Ended) -> None:
        self._clients.extend(ended.events)
        if _TRACEBACK in ended.stderr:
            self._tell(f"a client on {ended.host} broke down: {ended.stderr.splitlines()[-1]}")


def _tried(steps: Iterable[Callable[[], None]]) -> list[LabError]:
    """Take every step, whatever becomes of the others; give what failed."""
    failed = []
    for step in steps:
        try:
            step()
        except LabError as error:
            failed.append(error)
    return failed

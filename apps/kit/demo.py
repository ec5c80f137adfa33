"""What a demo is given: the lab, as far as a pattern may know it.

A pattern's `demo.py` holds `demo(lab: Lab) -> None`. It runs clients on hosts, may inject faults,
and states claims. Beside it stands `WORKLOAD`: clients that go on while a schedule of faults does,
and the claims that hold under any of them. `lab.evidence` implements these protocols; nothing here
imports it, so that `apps/` stays free of the controller.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from apps.kit.claims import Event, Finding
from apps.kit.faults import Fault


class Finished(Protocol):
    """A command that ended on a host."""

    @property
    def host(self) -> str:
        """Where it ran."""

    @property
    def exit_status(self) -> int:
        """As the command gave it; see `apps.kit.outcome` for clients."""

    @property
    def stdout(self) -> str:
        """All it printed."""

    @property
    def stderr(self) -> str:
        """All it complained."""

    @property
    def events(self) -> list[Event]:
        """The events among what it printed."""


class HostLost(Exception):
    """A host was lost with a command on it; the events that had come from it are in the history."""


class Running(Protocol):
    """A command that runs on a host."""

    @property
    def heard(self) -> bool:
        """Whether it has printed something, or has ended."""

    def wait(self) -> Finished:
        """Wait for its end; HostLost if its host is lost."""

    def stop(self) -> Finished:
        """End it (SIGTERM), and give what it printed."""


class Injection(AbstractContextManager["Injection"], Protocol):
    """A fault that took; at the end of its `with` it is healed."""

    def __enter__(self) -> Self:
        """Go on with the fault."""

    def heal(self) -> None:
        """Undo it; nothing if it is over already."""


class Lab(Protocol):
    """The lab, to a demo."""

    @property
    def rng(self) -> random.Random:
        """The run's seeded randomness: all that a demo draws, it draws from here."""

    @property
    def seed(self) -> int:
        """The run's seed, for clients that draw on their own."""

    def hosts(self, component: str) -> list[str]:
        """Give the hosts of a component's group, such as `tcp_echo_server`, in order."""

    def address(self, host: str) -> str:
        """Give the host's address in the lab's network."""

    def option(self, host: str, name: str) -> Any:
        """Give a role's variable as it holds on a host, such as `tcp_echo_server_port`."""

    def start(self, host: str, pattern: str, *arguments: object, timeout: float = 120.0) -> Running:
        """Start a client of a pattern on a host: `start("n2", "tcp_echo", "client", "n1", "hi")`.

        It runs as the login user, with `--json`, for at most `timeout` seconds; several started
        before the first `wait` run at the same time. Its events become part of the run's history.
        """

    def run(self, host: str, pattern: str, *arguments: object, timeout: float = 60.0) -> Finished:
        """Start a client and wait for its end."""

    def shell(self, host: str, command: str, timeout: float = 60.0) -> Finished:
        """Run a shell command on a host as the login user: for `nc`, `curl` and their like."""

    def start_shell(self, host: str, command: str, timeout: float = 60.0) -> Running:
        """Start a shell command on a host as the login user."""

    def inject(self, fault: Fault, seconds: float = 60.0) -> Injection:
        """Bring a fault about, and measure that it took; it ends after so many seconds at most.

        It stands in the history as `inject` and `heal`. The demo's end heals what is left.
        """

    def under_way(self, clients: Sequence[Running]) -> None:
        """Wait until these clients are heard; if a schedule of faults is to be played, it begins.

        One that has nothing to say yet is waited for a moment longer than the first that has.
        """

    def calm(self, timeout: float = 60.0) -> None:
        """Wait until the schedule of faults is over, all is healed, and every unit is ready."""

    def kill(self, host: str, component: str) -> None:
        """Inject `Kill`: SIGKILL to all processes of a component's unit; systemd restarts it."""

    def restart(self, host: str, component: str) -> None:
        """Restart a component's unit and wait until it is ready."""

    def stop(self, host: str, component: str) -> None:
        """Stop a component's unit; `restart` brings it back, and so does the demo's end."""

    def wait_ready(self, host: str, component: str, timeout: float = 30.0) -> None:
        """Wait until a component's unit is active (`Type=notify`: until it said READY)."""

    def wait_until(self, condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
        """Poll until the condition holds; the error after `timeout` seconds says `what` did not."""

    def history(self, component: str | None = None, *events: str) -> list[Event]:
        """Give the events since the demo began: clients' and journals', merged by time.

        Of all hosts; of one component's group if named; of these event names alone if given.
        """

    def promised(self, claim: str, finding: Finding) -> None:
        """State a claim that the pattern promises: if it does not hold, the run fails."""

    def limit(self, claim: str, finding: Finding) -> None:
        """State a known limit: the finding holds if the run made it visible."""

    def figure(self, name: str, value: float) -> None:
        """Keep a number with the verdicts: `lost`, `duplicated`, seconds until something."""

    def say(self, text: str) -> None:
        """Tell who watches what happens now."""

    def attach(self, name: str, text: str) -> None:
        """Keep a file with the run, such as `shiviz.log`."""


def outlast(lab: Lab, clients: Iterable[Running]) -> list[Finished]:
    """Wait for clients whatever befalls their hosts; give those that ended, and say who did not.

    What befalls them begins when they are under way.
    """
    running, ended = list(clients), []
    lab.under_way(running)
    for client in running:
        try:
            ended.append(client.wait())
        except HostLost as error:
            lab.say(str(error))
    return ended


def answered(lab: Lab, component: str, more: int = 40) -> None:
    """Wait until the servers of a component have answered so many requests more than now."""

    def count() -> int:
        return len(lab.history(component, "send"))

    enough = count() + more
    lab.wait_until(lambda: count() >= enough, "the clients are answered")


def servers_of(lab: Lab, component: str, port: int) -> str:
    """Give a component's addresses as clients take them: `n1:2181,n2:2181`; `port` if none is set.

    The component may be another pattern's, whose role's defaults this one does not know.
    """
    at = {host: lab.option(host, f"{component}_port") or port for host in lab.hosts(component)}
    return ",".join(f"{host}:{port}" for host, port in at.items())


def run_amid(
    lab: Lab, fault: Fault | None, host: str, pattern: str, *arguments: object
) -> Finished:
    """Run a client once, as `Lab.run` does, while a fault lasts; healed when the client ended."""
    with lab.inject(fault) if fault else nullcontext():
        return lab.run(host, pattern, *arguments)


def ended_with(client: Finished, status: int) -> Finding:
    """Judge whether a client ended with this status, and tell what it said."""
    told = client.stderr.strip() or "it was answered"
    return Finding(client.exit_status == status, told, tuple(client.events))


@dataclass(frozen=True, slots=True)
class Workload:
    """What goes on while a schedule of faults does: `run-demo --nemesis`, the fault matrix."""

    play: Callable[[Lab, float], None]
    """Run clients for so many seconds whatever befalls the hosts; then `lab.calm()`, and judge.

    Only claims that hold under every fault are promised here.
    """
    aims: tuple[str, ...]
    """The components that faults aim at, by group: `tcp_echo_server`; what matters most first."""
    clients: tuple[str, ...] = ()
    """The groups on whose hosts clients run: nobody cuts their power.

    If it names none: those of its groups that are no components, or else all its hosts.
    """
    immune: Mapping[str, str] = field(default_factory=dict)
    """Faults that cannot concern it, and why: `{"reset": "datagrams have no connections"}`."""

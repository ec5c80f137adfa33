"""How many rounds Paxos takes to choose a value, by the number of proposers that want one at once.

Each is asked at the same moment to have a value of its own chosen for the same decree. The rounds
of all of them are counted, up to the first that knows what is chosen, and the time from the first
round on; both from their journals, for the hosts of a lab on one machine have one clock. Beside it
stands the same without backoff, which only luck ends; what has no end counts as far as it went.
"""

from __future__ import annotations

import asyncio
import io
import secrets
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from statistics import fmean
from typing import NamedTuple

from apps.kit.address import Address
from apps.kit.claims import Event
from apps.kit.events import Events
from apps.kit.outcome import CallFailed
from apps.paxos.client import PaxosClient, Times
from benchmarks.figures import Figure, Peer, Tell
from benchmarks.stand import Stand
from lab.catalogue import Pattern
from lab.evidence.recording import Recording
from lab.hosts.remote import Remote
from lab.status import option

COUNTS = (1, 2, 3, 4, 5)
_CROWD = """\
paxos_proposer:
  hosts:
    n[1:5]:
"""
"""On top of the shared placement: a proposer on every acceptor's host."""
_PROPOSER = "paxos_proposer"
_PORT = f"{_PROPOSER}_port"
_UNIT = "lab-paxos-proposer.service"
_DECREES = 20
"""What is decided in each run, one after the other."""
_TIMES = Times(patience=2.0, attempt=2.0)


class _Decision(NamedTuple):
    rounds: int
    """Of all proposers together."""
    seconds: float
    ended: bool


def paxos(stand: Stand, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure on the six hosts, five of which are acceptors and proposers."""
    crowd = stand.tree / "inventory" / "local" / "paxos.yml"
    crowd.write_text(_CROWD)
    try:
        tell("six hosts, with five acceptors and five proposers")
        stand.fab("up", "local")
        stand.fab("deploy", "local", "--only", "paxos")
        with Remote(stand.inventory("local")) as remote:
            for count in COUNTS:
                yield from _compare(remote, count, runs, tell)
    finally:
        crowd.unlink()


def _compare(remote: Remote, count: int, runs: int, tell: Tell) -> Iterator[Figure]:
    """Measure so many proposers, with the backoff that is the inventory's, and without."""
    hosts = remote.inventory.groups[_PROPOSER][:count]
    backoffs = (option(remote.inventory, hosts[0], Pattern("paxos"), f"{_PROPOSER}_backoff"), 0.0)
    found: dict[float, list[list[_Decision]]] = {backoff: [] for backoff in backoffs}
    for _ in range(runs):  # in turns, so that what else the machine does befalls both alike
        for backoff in backoffs:
            tell(f"{count} proposers at once, backoff of up to {backoff:g} s, {_DECREES} decrees")
            found[backoff].append(_decisions(remote, hosts, backoff))
    ours, theirs = found.values()
    endless = sum(not decision.ended for run in theirs for decision in run)
    note = f"without backoff {endless} of {runs * _DECREES} had no end within {_TIMES.patience:g} s"
    who = f"paxos, {count} proposers at once" if count > 1 else "paxos, one proposer alone"
    yield Figure(
        "paxos",
        f"{who}: rounds to a decision",
        "rounds",
        tuple(fmean(decision.rounds for decision in run) for run in ours),
        peer=Peer("no backoff", tuple(fmean(d.rounds for d in run) for run in theirs)),
        note=note if endless else "",
    )
    yield Figure(
        "paxos",
        f"{who}: time to a decision",
        "ms",
        tuple(1000 * fmean(decision.seconds for decision in run) for run in ours),
        peer=Peer("no backoff", tuple(1000 * fmean(d.seconds for d in run) for run in theirs)),
    )


def _decisions(remote: Remote, hosts: Sequence[str], backoff: float) -> list[_Decision]:
    """Have values chosen for some decrees, and see from the journals what that took."""
    journals = Recording(remote, {host: [_UNIT] for host in hosts})
    inventory, pattern = remote.inventory, Pattern("paxos")
    proposers = [
        Address(str(inventory.hosts[host].address), option(inventory, host, pattern, _PORT))
        for host in hosts
    ]
    run = secrets.token_hex(4)
    decrees = [f"bench/{run}/{number}" for number in range(_DECREES)]
    asyncio.run(_propose(proposers, decrees, backoff))
    for lost in journals.read().values():
        raise lost
    return [_decision([e for e in journals.events if e.get("decree") == d]) for d in decrees]


async def _propose(proposers: Sequence[Address], decrees: Sequence[str], backoff: float) -> None:
    """Ask all of them at once, for one decree after the other."""
    events = Events("paxos", "client", "bench", out=io.StringIO())

    async def ask(client: PaxosClient, decree: str, value: str) -> None:
        try:
            await client.propose(decree, value, backoff=backoff)
        except CallFailed as error:  # a duel without end: the journals tell how far it went
            events.say(str(error))

    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(PaxosClient([proposer], events, _TIMES))
            for proposer in proposers
        ]
        for decree in decrees:
            asked = (ask(c, decree, f"of {place}") for place, c in enumerate(clients))
            await asyncio.gather(*asked)


def _decision(events: Sequence[Event]) -> _Decision:
    """Count the rounds that were begun until somebody knew what was chosen."""
    begun = sorted(event["t"] for event in events if event["event"] == "prepare")
    known = [event["t"] for event in events if event["event"] == "chosen"]
    end = min(known, default=begun[-1])
    return _Decision(sum(t <= end for t in begun), end - begun[0], bool(known))

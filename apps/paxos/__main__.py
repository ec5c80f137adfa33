"""Paxos: `acceptor`, `learner` and `proposer` agree; `propose` and `chosen` are for you."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import click

from apps.kit.address import Address
from apps.kit.cli import AddressesType, F, Pattern, PeerType, listens, loads, split, typed
from apps.kit.effects import Core
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.node import Node
from apps.kit.store import Durable, Store, state_directory
from apps.kit.summary import Load
from apps.kit.transport import UdpTransport
from apps.paxos.acceptor import Acceptor
from apps.paxos.client import PaxosClient, Times, converse, fight
from apps.paxos.client import contend as contend_all
from apps.paxos.learner import Learner
from apps.paxos.proposer import OWN, Pace, Proposer
from apps.paxos.table import Table

cli = Pattern("paxos", __doc__)
SECONDS = click.FloatRange(0.01)
TIME = click.FloatRange(0.0, 60.0)
PEER = PeerType()
Peers: TypeAlias = tuple[tuple[str, Address], ...]

attempts = click.option(
    "--attempt", type=SECONDS, default=Times.attempt, help="Seconds for each server that is asked."
)
timeouts = click.option(
    "--timeout", type=SECONDS, default=Times.patience, help="Seconds per call, whoever answers it."
)


def told_of(*kinds: str) -> Callable[[F], F]:
    """Add the options that tell a component of all others of these kinds."""

    def add(function: F) -> F:
        for kind in reversed(kinds):
            option = click.option(
                f"--{kind}", f"{kind}s", type=PEER, multiple=True, help=f"Every {kind}, once each."
            )
            function = option(function)
        return function

    return add


def serve(events: Events, here: Address, core: Core, peers: Peers, store: Durable) -> None:
    """Run a core: messages by UDP, clients by TCP on the same port."""
    name = f"{events.node}:{events.component}"
    transport = UdpTransport(here, dict(peers), events)
    run_service(events, Node(core, name, here, transport, events=events, store=store))


@cli.component
@listens(7300)
@told_of("proposer", "learner")
@click.option(
    "--decrees", type=click.IntRange(1), default=100_000, help="The most decrees that it keeps."
)
@click.option(
    "--delay",
    type=TIME,
    default=0.0,
    help="Artificial delay of its answers: at most so many seconds, drawn for each.",
)
def acceptor(
    events: Events,
    *,
    listen: str,
    port: int,
    proposers: Peers,
    learners: Peers,
    decrees: int,
    delay: float,
) -> None:
    """Promise and accept, and keep that for ever."""
    table = Table(state_directory() / "votes.db", decrees)
    drawn = partial(random.Random().uniform, 0.0, delay) if delay else None
    core = Acceptor([name for name, _ in learners], table.get, drawn)
    serve(events, Address(listen, port), core, (*proposers, *learners), table)


@cli.component
@listens(7301)
@told_of("acceptor", "proposer")
@click.option(
    "--answer", type=SECONDS, default=0.3, help="Seconds after which who is silent is asked again."
)
@click.option(
    "--patience", type=SECONDS, default=1.5, help="Seconds after which a client is told it failed."
)
def learner(
    events: Events,
    *,
    listen: str,
    port: int,
    acceptors: Peers,
    proposers: Peers,
    answer: float,
    patience: float,
) -> None:
    """Learn what is chosen, and tell who asks."""
    names = [name for name, _ in acceptors], [name for name, _ in proposers]
    core = Learner(*names, answer=answer, patience=patience)
    store = Store(state_directory() / "learner.json")  # a learner keeps nothing
    serve(events, Address(listen, port), core, (*acceptors, *proposers), store)


@cli.component
@listens(7302)
@click.option(
    "--id",
    "number",
    type=click.IntRange(1),
    default=1,
    help="A number that no other proposer has, or ever had.",
)
@told_of("acceptor", "learner")
@click.option(
    "--answer",
    type=SECONDS,
    default=Pace.answer,
    help="Seconds after which who is silent is asked again.",
)
@click.option(
    "--delay",
    type=TIME,
    default=Pace.delay,
    help="Artificial delay between the two phases, in seconds: time to be outbid.",
)
@click.option(
    "--backoff",
    type=TIME,
    default=Pace.backoff,
    help="Longest wait of one that was outbid, in seconds; 0: it comes back at once.",
)
@click.option(
    "--patience", type=SECONDS, default=Pace.patience, help="Seconds after which it gives up."
)
def proposer(
    events: Events,
    *,
    listen: str,
    port: int,
    number: int,
    acceptors: Peers,
    learners: Peers,
    answer: float,
    delay: float,
    backoff: float,
    patience: float,
) -> None:
    """Have values chosen that clients propose."""
    table = Table(state_directory() / "rounds.db", most=2)
    try:
        table.pin(OWN, number)
    except ValueError as error:
        raise click.ClickException(
            f"{error}: with it numbers could be used twice; give this host its old place in the"
            " group of proposers, and a new one the last"
        ) from error
    names = [name for name, _ in acceptors]
    pace = Pace(answer, delay, backoff, patience)
    core = Proposer(number, names, table.get, random.Random(), pace)
    serve(events, Address(listen, port), core, (*acceptors, *learners), table)


@cli.client
@click.argument("proposers", type=AddressesType(7302))
@click.argument("decree", required=False)
@click.argument("value", required=False)
@click.option("--delay", type=TIME, help="Instead of the proposer's own.  [seconds]")
@click.option("--backoff", type=TIME, help="Instead of the proposer's own.  [seconds]")
@attempts
@timeouts
def propose(
    events: Events,
    *,
    proposers: tuple[Address, ...],
    decree: str | None,
    value: str | None,
    delay: float | None,
    backoff: float | None,
    attempt: float,
    timeout: float,
) -> None:
    """Propose for DECREE a VALUE, and be told which was chosen; without them, converse.

    PROPOSERS are host[:port],…: the first that answers will do. When you converse, say a decree and
    a value a line, as a shell would quote them; Ctrl-D ends it.
    """
    if (decree is None) is not (value is None):
        raise click.UsageError("a decree goes with a value: propose PROPOSERS DECREE VALUE")
    client = PaxosClient(proposers, events, Times(timeout, attempt))

    async def ask(words: Sequence[str]) -> Mapping[str, Any]:
        return await client.propose(words[0], words[1], delay=delay, backoff=backoff)

    calls = _calls(events, "decree value> ", 2) if decree is None else [[decree, str(value)]]
    asyncio.run(converse(client, events, calls, ask, persist=decree is None))


@cli.client
@click.argument("learners", type=AddressesType(7301))
@click.argument("decrees", nargs=-1, metavar="[DECREE]...")
@attempts
@timeouts
def chosen(
    events: Events,
    *,
    learners: tuple[Address, ...],
    decrees: tuple[str, ...],
    attempt: float,
    timeout: float,
) -> None:
    """Ask what was chosen for each DECREE; without one, converse (Ctrl-D ends it).

    LEARNERS are host[:port],…: the first that answers will do.
    """
    client = PaxosClient(learners, events, Times(timeout, attempt))

    async def ask(words: Sequence[str]) -> Mapping[str, Any]:
        return await client.chosen(words[0])

    calls = [[decree] for decree in decrees] or _calls(events, "decree> ", 1)
    asyncio.run(converse(client, events, calls, ask, persist=not decrees))


@cli.client
@click.argument("proposers", type=AddressesType(7302))
@click.argument("learners", type=AddressesType(7301))
@click.argument("prefix")
@loads
@attempts
@timeouts
def contend(
    events: Events,
    *,
    proposers: tuple[Address, ...],
    learners: tuple[Address, ...],
    prefix: str,
    load: Load | None,
    attempt: float,
    timeout: float,
) -> None:
    """Propose for PREFIX/1, PREFIX/2 and so on, as others do, and ask; 10 calls, if not told."""
    times = Times(timeout, attempt)
    asyncio.run(contend_all((proposers, learners), events, prefix, load or Load(count=10), times))


@cli.client
@click.argument("proposers", type=AddressesType(7302))
@click.argument("decree")
@click.option("--delay", type=TIME, default=0.3, help="Between the two phases of each, in seconds.")
@click.option("--backoff", type=TIME, help="Instead of the proposers' own.  [seconds]")
@click.option("--timeout", type=SECONDS, default=5.0, help="Seconds after which it is called off.")
def duel(
    events: Events,
    *,
    proposers: tuple[Address, ...],
    decree: str,
    delay: float,
    backoff: float | None,
    timeout: float,
) -> None:
    """Have all of PROPOSERS propose at once for DECREE, each a value of its own."""
    times = Times(timeout, timeout)
    asyncio.run(fight(proposers, events, decree, times, delay=delay, backoff=backoff))


def _calls(events: Events, prompt: str, words: int) -> Iterable[Sequence[str]]:
    """Give what a person types, line by line; what are not so many words is said."""
    for line in filter(str.strip, typed(prompt)):
        said = split(line)
        if len(said) == words:
            yield said
        else:
            events.say(f"that is {len(said)} words, not {words}; quote as in a shell")


if __name__ == "__main__":
    cli()

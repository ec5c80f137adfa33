"""ZooKeeper's recipes: `member` is the unit; a client for each recipe, and `contend` for all."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import click

from apps.kit.address import Address
from apps.kit.cli import AddressesType, Pattern, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service

if TYPE_CHECKING:
    from apps.zookeeper_recipes.participant import Participant

F = TypeVar("F", bound=Callable[..., Any])

cli = Pattern("zookeeper_recipes", __doc__)
SERVERS = AddressesType(2181)
COUNT = click.IntRange(1)
SECONDS = click.FloatRange(0)
ROOT = "/distlab/recipes"
DEFAULTS = {kind: f"{ROOT}/{kind}" for kind in ("lock", "read_write", "semaphore")}


def takes_part(function: F) -> F:
    """Add what every client needs: the ensemble's SERVERS, `--timeout`, `--session`."""
    for option in (
        click.option(
            "--session",
            type=click.FloatRange(0.1),
            default=4.0,
            help="Seconds that the ensemble waits for us before it gives our session up.",
        ),
        click.option(
            "--timeout", type=click.FloatRange(0.1), default=30.0, help="Seconds of patience."
        ),
        click.argument("servers", type=SERVERS),
    ):
        function = option(function)
    return function


def at(kind: str) -> Callable[[F], F]:
    """Add `--path`: where the recipe's nodes are."""
    return click.option("--path", default=f"{ROOT}/{kind}", help="Where its nodes are.")


def opened(
    servers: tuple[Address, ...], events: Events, timeout: float, session: float
) -> Participant:
    """Give a participant, to be entered."""
    from apps.zookeeper_recipes.participant import Participant

    return Participant(servers, events, patience=timeout, session=session)


@cli.component
@click.option("--servers", type=SERVERS, default="127.0.0.1", help="The ZooKeeper ensemble.")
@click.option("--path", default=ROOT, help="Where the party and the queue are.")
@click.option(
    "--session",
    type=click.FloatRange(0.1),
    default=4.0,
    help="Seconds that the ensemble waits for us before we count as gone.",
)
@click.option("--work", type=SECONDS, default=0.1, help="Seconds that an item takes.")
def member(
    events: Events, *, servers: tuple[Address, ...], path: str, session: float, work: float
) -> None:
    """Be a member of the party, and work the queue."""
    from apps.zookeeper_recipes.member import Member, Settings

    run_service(events, Member(Settings(servers, path, session, work), events))


@cli.client
@takes_part
@click.option("-n", "--name", default=f"{ROOT}/session", help="The node's path.")
@click.option("-v", "--value", default="hello", help="What is written into it.")
def session(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    name: str,
    value: str,
) -> None:
    """Walk through a session: an ephemeral node is made, watched, changed, and gone with it."""
    from apps.zookeeper_recipes.walk import walk

    walk(lambda: opened(servers, events, timeout, session), name, value)


@cli.client
@takes_part
@at("barrier")
@click.option("--parties", type=COUNT, default=2, help="So many go on together.")
@click.option("--threads", type=COUNT, default=1, help="Of those, so many in this process.")
@click.option("--double", is_flag=True, help="Also leave together.")
@click.option("--hold", type=SECONDS, default=1.0, help="With --double: seconds in between.")
def barrier(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    path: str,
    parties: int,
    threads: int,
    double: bool,
    hold: float,
) -> None:
    """Wait until all PARTIES have arrived, wherever they are."""
    from apps.zookeeper_recipes.barriers import Barrier

    def through(number: int) -> None:
        barrier = Barrier(participant, path, parties)
        events.say(f"{number} arrives")
        barrier.enter()
        events.say(f"{number} goes on, with all {parties}")
        if double:
            participant.stay(hold)
            barrier.leave()
            events.say(f"{number} has left, as all have")
        else:
            barrier.go()

    with (
        opened(servers, events, timeout, session) as participant,
        ThreadPoolExecutor(max_workers=threads) as pool,
    ):
        for going in [pool.submit(through, number) for number in range(1, threads + 1)]:
            going.result()


@cli.client
@takes_part
@click.argument("kind", type=click.Choice(["lock", "read", "write", "semaphore"]), default="lock")
@click.option("--path", default="", help="Where its nodes are; each kind has a place of its own.")
@click.option("--leases", type=COUNT, default=2, help="Of a semaphore: so many are inside at most.")
@click.option("--hold", type=SECONDS, default=1.0, help="Seconds inside.")
@click.option("--times", type=COUNT, default=1, help="How often.")
@click.option("--crash", is_flag=True, help="Die inside, as by kill -9.")
def lock(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    kind: str,
    path: str,
    leases: int,
    hold: float,
    times: int,
    crash: bool,
) -> None:
    """Take a lock, a read or a write lock, or a lease of a semaphore; hold it, and let it go."""
    from apps.zookeeper_recipes.lines import LOCK, READ, WRITE, Line
    from apps.zookeeper_recipes.lines import semaphore as lease_of

    wish = {"lock": LOCK, "read": READ, "write": WRITE}.get(kind) or lease_of(leases)
    shared = "read_write" if kind in {"read", "write"} else kind

    with opened(servers, events, timeout, session) as participant:
        line = Line(participant, path or DEFAULTS[shared], wish)
        for _ in range(times):
            stayed = line.hold(hold, lambda _: events.say(f"{kind}: inside"), crash=crash)
            events.say("left" if stayed else "left early: the session had become doubtful")


@cli.client
@takes_part
@click.argument("words", nargs=-1, metavar="[put VALUE...|take [COUNT]|list]")
@at("queue")
def queue(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    words: tuple[str, ...],
    path: str,
) -> None:
    """Put VALUEs into the queue, take and acknowledge COUNT items, or list what waits.

    Without words, what is typed is put, a line an item (Ctrl-D ends it).
    """
    from apps.zookeeper_recipes.queues import Queue

    with opened(servers, events, timeout, session) as participant:
        queue = Queue(participant, path)
        match words:
            case ["take", *count] if len(count) < 2 and all(map(str.isdecimal, count)):
                for _ in range(int(count[0]) if count else 1):
                    item = queue.take()
                    if item is not None:
                        events.emit("done", item=item.name, value=item.value)
                        queue.acknowledge(item)
                        events.say(item.value)
            case ["list"]:
                names = queue.waiting()
                events.emit("waiting", path=path, items=names)
                events.say("\n".join(names) or "nothing waits")
            case ["put", _, *_] | []:
                for value in words[1:] or typed("> "):
                    events.say(queue.put(value))
            case _:
                raise click.UsageError("say put VALUE..., take [COUNT], or list")


@cli.client
@takes_part
@click.argument("amount", type=int, default=0)
@at("counter")
@click.option("--times", type=COUNT, default=1, help="Add so often.")
def counter(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    amount: int,
    path: str,
    times: int,
) -> None:
    """Add AMOUNT to the counter; without one, tell what it is. A negative one goes after --."""
    from apps.zookeeper_recipes.counters import Counter

    with opened(servers, events, timeout, session) as participant:
        counter = Counter(participant, path)
        for _ in range(times):
            events.say(str(counter.add(amount) if amount else counter.value()))


@cli.client
@takes_part
@at("party")
@click.option("--join", "name", default="", help="Be a member of this name, --for so long.")
@click.option("--for", "seconds", type=SECONDS, default=10.0, help="Seconds to be a member.")
def party(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    path: str,
    name: str,
    seconds: float,
) -> None:
    """Tell who is in the party, or be."""
    from apps.zookeeper_recipes.parties import Party

    with opened(servers, events, timeout, session) as participant:
        party = Party(participant, path)
        if name:
            party.join(name)
        events.say("\n".join(party.members()) or "nobody is there")
        if name:
            participant.stay(seconds)
            party.leave(name)


@cli.client
@takes_part
@at("counter")
@click.option("--for", "seconds", type=SECONDS, default=60.0, help="Seconds to watch.")
def watch(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    path: str,
    seconds: float,
) -> None:
    """Tell what a node holds, and whenever that changes."""
    from apps.zookeeper_recipes.watching import follow

    with opened(servers, events, timeout, session) as participant:
        follow(participant, path, seconds, threading.Event())


@cli.client
@takes_part
@click.option("--path", default=ROOT, help="Below which all recipes' nodes are.")
@click.option("--parties", type=click.IntRange(0), default=0, help="At the barriers; 0: none.")
@click.option("--times", type=COUNT, default=10, help="How often each is played.")
@click.option("--for", "seconds", type=SECONDS, help="At most for so many seconds.")
@click.option("--hold", type=SECONDS, default=0.1, help="Seconds inside, each time.")
@click.option("--seed", default=0, help="Of what is random.")
def contend(
    events: Events,
    *,
    servers: tuple[Address, ...],
    timeout: float,
    session: float,
    path: str,
    parties: int,
    times: int,
    seconds: float | None,
    hold: float,
    seed: int,
) -> None:
    """Play all recipes at once, with all who do the same."""
    from apps.zookeeper_recipes.contend import Contest
    from apps.zookeeper_recipes.contend import contend as play

    ended = threading.Event()
    timer = threading.Timer(seconds or 0, ended.set)
    rng = random.Random(f"{seed}/{events.node}")
    with opened(servers, events, timeout, session) as participant:
        if seconds is not None:
            timer.start()
        try:
            played = play(participant, Contest(path, parties, times, hold, rng, ended))
        finally:
            timer.cancel()
        events.emit("summary", **played)
        events.say(", ".join(f"{name} {count}" for name, count in played.items()))


if __name__ == "__main__":
    cli()

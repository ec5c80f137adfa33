"""Requests that are answered whoever dies: `queue` and `broker` have `pirate` and `worker` work."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable

import click

from apps.kit.address import Address
from apps.kit.cli import PORT, AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.store import state_directory
from apps.kit.summary import Load
from apps.zeromq_reliable.client import Caller, Pirate, Someone, Traveller, converse, measure
from apps.zeromq_reliable.crew import Pace
from apps.zeromq_reliable.journal import Journal
from apps.zeromq_reliable.majordomo import Broker, BrokerLimits
from apps.zeromq_reliable.paranoid import CLIENTS, WORKERS, Queue, QueueLimits
from apps.zeromq_reliable.pirates import Patience
from apps.zeromq_reliable.shell import Shell
from apps.zeromq_reliable.titanic import Titanic, TitanicLimits
from apps.zeromq_reliable.worker import SERVICES, Majordomo, ParanoidPirate, Talk, Worker

cli = Pattern("zeromq_reliable", __doc__)
QUEUE, CREW, BROKER = 5570, 5571, 5572
SECONDS = click.FloatRange(0.05)
MOST = click.IntRange(1)
WAIT = click.FloatRange(0.0)
heartbeat = click.option(
    "--heartbeat", type=SECONDS, default=0.5, help="Seconds between two heartbeats."
)
liveness = click.option(
    "--liveness", type=MOST, default=3, help="Heartbeats missed until the other side is gone."
)
takes = click.option("--takes", type=WAIT, default=0.0, help="Seconds that a request takes.")
a_broker = click.argument("broker", type=AddressType(BROKER))
a_service = click.argument("service")
texts = click.argument("given", nargs=-1, metavar="[TEXT]...")
a_timeout = click.option("--timeout", type=SECONDS, default=30.0, help="Seconds per call.")
an_attempt = click.option(
    "--attempt", type=SECONDS, default=2.5, help="Seconds until it is asked again."
)


@cli.component
@listens(QUEUE)
@click.option("--workers-port", type=PORT, default=CREW, help="Port for the workers.")
@heartbeat
@liveness
@click.option("--capacity", type=MOST, default=1000, help="Most requests that wait.")
@click.option("--expire", type=SECONDS, default=10.0, help="Seconds that a request waits at most.")
@click.option("--workers", type=MOST, default=1000, help="Most workers.")
def queue(
    events: Events,
    *,
    listen: str,
    port: int,
    workers_port: int,
    heartbeat: float,
    liveness: int,
    capacity: int,
    expire: float,
    workers: int,
) -> None:
    """Be the queue of the Paranoid Pirates: clients on one port, workers on another."""
    core = Queue(Pace(heartbeat, liveness), QueueLimits(capacity, expire, workers))
    bind = {CLIENTS: Address(listen, port), WORKERS: Address(listen, workers_port)}
    run_service(events, Shell(core, events, bind=bind))


@cli.component
@click.option("--queue", type=AddressType(CREW), required=True, help="The queue to work for.")
@heartbeat
@liveness
@takes
def pirate(
    events: Events, *, queue: Address, heartbeat: float, liveness: int, takes: float
) -> None:
    """Be a worker of the queue; it gives back what is asked."""
    talk = Talk(WORKERS, ParanoidPirate(), Pace(heartbeat, liveness))
    run_service(events, Shell(Worker({talk: "echo"}, takes), events, connect={WORKERS: queue}))


@cli.component
@listens(BROKER)
@heartbeat
@liveness
@click.option("--capacity", type=MOST, default=1000, help="Most requests that wait.")
@click.option("--workers", type=MOST, default=1000, help="Most workers.")
@click.option(
    "--expire", type=SECONDS, default=10.0, help="Seconds to wait for a service nobody offers."
)
@click.option(
    "--patience", type=SECONDS, default=30.0, help="Seconds that a worker has for a request."
)
@click.option(
    "--attempts", type=MOST, default=10, help="Workers lost with a request until it is dropped."
)
def broker(
    events: Events,
    *,
    listen: str,
    port: int,
    heartbeat: float,
    liveness: int,
    capacity: int,
    workers: int,
    expire: float,
    patience: float,
    attempts: int,
) -> None:
    """Be the Majordomo broker, of clients and workers on one port."""
    limits = BrokerLimits(capacity, workers, expire, patience, attempts)
    core = Broker(Pace(heartbeat, liveness), limits)
    run_service(events, Shell(core, events, bind={"broker": Address(listen, port)}))


@cli.component
@click.option("--broker", type=AddressType(BROKER), required=True, help="The broker to work for.")
@click.option(
    "--services", default=" ".join(SERVICES), help="Services to offer, with spaces between."
)
@heartbeat
@liveness
@takes
def worker(
    events: Events,
    *,
    broker: Address,
    services: str,
    heartbeat: float,
    liveness: int,
    takes: float,
) -> None:
    """Be a Majordomo worker of each service; `upper` is what `echo` is, in capitals."""
    unknown = set(services.split()) - set(SERVICES)
    if unknown or not services.split():
        told = f"{services!r}: name one or more of {', '.join(SERVICES)}"
        raise click.BadParameter(told, param_hint="--services")
    pace = Pace(heartbeat, liveness)
    talks = {Talk(name, Majordomo(name), pace): name for name in services.split()}
    connect = {talk.socket: broker for talk in talks}
    run_service(events, Shell(Worker(talks, takes), events, connect=connect))


@cli.component
@click.option("--broker", type=AddressType(BROKER), required=True, help="The broker to sail with.")
@heartbeat
@liveness
@click.option("--sockets", type=MOST, default=4, help="Clients that each service has at once.")
@click.option("--lanes", type=MOST, default=8, help="Requests that workers have at once.")
@click.option("--attempt", type=SECONDS, default=3.0, help="Seconds until a request waits again.")
@click.option("--capacity", type=MOST, default=10_000, help="Most tickets that are not closed.")
@click.option("--keep", type=SECONDS, default=3600.0, help="Seconds to keep a reply nobody closes.")
def titanic(
    events: Events,
    *,
    broker: Address,
    heartbeat: float,
    liveness: int,
    sockets: int,
    lanes: int,
    attempt: float,
    capacity: int,
    keep: float,
) -> None:
    """Keep requests on disk until they are answered; clients reach it through the broker."""
    limits = TitanicLimits(sockets, lanes, attempt, capacity, keep=keep)
    path = state_directory() / "titanic.log"
    try:
        journal = Journal(path)
    except (OSError, ValueError) as error:
        events.emit("failed", error=str(error))
        sys.exit(str(error))
    with journal:
        if journal.repaired:
            events.emit("repaired", bytes=journal.repaired)
        pace = Pace(heartbeat, liveness)
        core = Titanic(pace, limits, journal.values, random.SystemRandom())
        connect = dict.fromkeys(core.sockets, broker)
        run_service(events, Shell(core, events, connect=connect, journal=journal))


@cli.client
@click.argument("queue", type=AddressType(QUEUE))
@texts
@loads
@a_timeout
@an_attempt
def client(
    events: Events,
    *,
    queue: Address,
    given: tuple[str, ...],
    load: Load | None,
    timeout: float,
    attempt: float,
) -> None:
    """Ask the QUEUE each TEXT, as a Lazy Pirate; without one, what is typed (Ctrl-D ends it)."""
    patience = Patience(timeout, attempt)
    _run(events, lambda rng: Pirate(queue, events, patience, rng), Pirate.ask, given, load)


@cli.client
@a_broker
@a_service
@texts
@loads
@a_timeout
@an_attempt
def call(
    events: Events,
    *,
    broker: Address,
    service: str,
    given: tuple[str, ...],
    load: Load | None,
    timeout: float,
    attempt: float,
) -> None:
    """Call a SERVICE of the BROKER's with each TEXT; without one, with what is typed."""
    patience = Patience(timeout, attempt)

    async def ask(caller: Caller, text: str) -> str:
        return await caller.call(service, text)

    _run(events, lambda rng: Caller(broker, events, patience, rng), ask, given, load)


@cli.client
@a_broker
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@a_timeout
@an_attempt
def find(
    events: Events, *, broker: Address, services: tuple[str, ...], timeout: float, attempt: float
) -> None:
    """Ask the BROKER whether anybody offers each SERVICE (8/MMI)."""
    patience = Patience(timeout, attempt)

    async def ask(caller: Caller, service: str) -> str:
        return f"{service}: {'yes' if await caller.find(service) else 'nobody'}"

    _run(events, lambda rng: Caller(broker, events, patience, rng), ask, services)


@cli.client
@a_broker
@a_service
@texts
@click.option("--leave", is_flag=True, help="Do not wait: print the ticket, for `fetch`.")
@loads
@a_timeout
@an_attempt
def submit(
    events: Events,
    *,
    broker: Address,
    service: str,
    given: tuple[str, ...],
    leave: bool,
    load: Load | None,
    timeout: float,
    attempt: float,
) -> None:
    """Have Titanic keep each TEXT for a SERVICE; wait for the reply, and close the ticket."""
    patience = Patience(timeout, attempt)

    async def ask(traveller: Traveller, text: str) -> str:
        return await (traveller.store if leave else traveller.travel)(service, text)

    _run(events, lambda rng: Traveller(broker, events, patience, rng), ask, given, load)


@cli.client
@a_broker
@click.argument("tickets", nargs=-1, required=True, metavar="TICKET...")
@a_timeout
@an_attempt
def fetch(
    events: Events, *, broker: Address, tickets: tuple[str, ...], timeout: float, attempt: float
) -> None:
    """Wait for Titanic's reply to each TICKET."""
    patience = Patience(timeout, attempt)
    _run(events, lambda rng: Traveller(broker, events, patience, rng), Traveller.fetch, tickets)


@cli.client
@a_broker
@click.argument("tickets", nargs=-1, required=True, metavar="TICKET...")
@a_timeout
@an_attempt
def close(
    events: Events, *, broker: Address, tickets: tuple[str, ...], timeout: float, attempt: float
) -> None:
    """Have Titanic forget each TICKET."""
    patience = Patience(timeout, attempt)

    async def ask(traveller: Traveller, ticket: str) -> str:
        await traveller.close(ticket)
        return f"{ticket}: closed"

    _run(events, lambda rng: Traveller(broker, events, patience, rng), ask, tickets)


def _run(
    events: Events,
    connect: Callable[[random.Random], Someone],
    ask: Callable[[Someone, str], Awaitable[object]],
    given: tuple[str, ...],
    load: Load | None = None,
) -> None:
    """Ask what is given, what is typed if nothing is, or what a load makes up."""
    if load is not None:
        asyncio.run(measure(events, connect, ask, load))
        return
    lines = given or typed("> ")
    client = connect(random.Random())
    asyncio.run(converse(events, client, ask, lines, persist=not given))


if __name__ == "__main__":
    cli()

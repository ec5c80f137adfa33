"""Upcalls: `server` calls up `subscriber`s; `publish`, `listen`, `status` and `roundtrip` ask."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.outcome import Refused
from apps.kit.summary import Load
from apps.upcall import client as asking
from apps.upcall.core import Registry
from apps.upcall.server import UpcallServer
from apps.upcall.subscriber import Subscriber
from apps.upcall.subscription import Bounds

cli = Pattern("upcall", __doc__)
SERVER = AddressType(4050)
TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(0.01), default=10.0, help="Seconds per call."
)
TOPIC = click.option("--topic", default="news", help="What the events are about.")
DELAY = click.option(
    "--delay", type=click.FloatRange(0), default=0.0, help="Seconds that the callback takes."
)
REPLY = click.option(
    "--reply", default="", help="Topic to which the callback publishes in its turn, if any."
)
BACK = click.option(
    "--back", default="", help="Address to listen at for the server's calls; or our own connection."
)


@cli.component
@listens(4050)
@click.option(
    "--connections", type=click.IntRange(1), default=1000, help="Most connections at once."
)
@click.option(
    "--idle", type=click.FloatRange(1.0), default=60.0, help="Seconds without a line allowed."
)
@click.option(
    "--answer",
    type=click.FloatRange(0.1),
    default=3.0,
    help="Seconds without an upcall's answer after which its client is evicted.",
)
@click.option(
    "--silence",
    type=click.FloatRange(0.5),
    default=2.0,
    help="Seconds without a word of a client after which it is evicted.",
)
@click.option("--queue", type=click.IntRange(1), default=1000, help="Most upcalls of a client.")
@click.option("--window", type=click.IntRange(1, 64), default=16, help="Of those, most sent.")
def server(
    events: Events,
    *,
    listen: str,
    port: int,
    connections: int,
    idle: float,
    answer: float,
    silence: float,
    queue: int,
    window: int,
) -> None:
    """Call up each event to each of its topic's subscribers."""
    bounds = Bounds(answer=answer, silence=silence, beat=silence / 4, queue=queue, window=window)
    registry = Registry(bounds, random.Random())
    at = Address(listen, port)
    run_service(events, UpcallServer(at, registry, events, connections=connections, idle=idle))


@cli.component
@click.option("--server", type=SERVER, required=True, help="Who calls up.")
@click.option("--listen", default="127.0.0.1", help="Where the server may call back.")
@TOPIC
@click.option("--dialled", type=bool, default=False, help="Have the server call back.")
@DELAY
@REPLY
def subscriber(
    events: Events,
    *,
    server: Address,
    listen: str,
    topic: str,
    dialled: bool,
    delay: float,
    reply: str,
) -> None:
    """Be called up, through restarts of the server too."""
    called = asking.callback(events, delay=delay, reply=reply)
    back = Address(listen, 0) if dialled else None
    run_service(events, Subscriber(server, events.node, topic, called, events, back=back))


@cli.client
@click.argument("server", type=SERVER)
@TOPIC
@BACK
@DELAY
@REPLY
@click.option("--for", "seconds", type=click.FloatRange(0), help="Only for so many seconds.")
@TIMEOUT
def listen(
    events: Events,
    *,
    server: Address,
    topic: str,
    back: str,
    delay: float,
    reply: str,
    seconds: float | None,
    timeout: float,
) -> None:
    """Register with SERVER and show each event, until Ctrl-C."""
    name = f"{events.node}-{os.getpid()}"
    called = asking.callback(events, delay=delay, reply=reply)
    one = Subscriber(server, name, topic, called, events, back=_back(back))
    _run(asking.listen(one, events, seconds=seconds, patience=timeout))


@cli.client
@click.argument("server", type=SERVER)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@TOPIC
@loads
@TIMEOUT
def publish(
    events: Events,
    *,
    server: Address,
    texts: tuple[str, ...],
    topic: str,
    load: Load | None,
    timeout: float,
) -> None:
    """Publish each TEXT by SERVER and say who was told; without one, what is typed."""
    if load is not None:
        done = asking.publish_load(server, events, topic, load, patience=timeout)
    else:
        given = texts or typed("event> ")
        done = asking.publish_all(server, events, topic, given, patience=timeout, persist=not texts)
    asyncio.run(done)


@cli.client
@click.argument("server", type=SERVER)
@BACK
@loads
@TIMEOUT
def roundtrip(
    events: Events, *, server: Address, back: str, load: Load | None, timeout: float
) -> None:
    """Register with SERVER, publish to ourselves, and measure until the upcall was answered."""
    load = load or Load(count=1)
    _run(asking.roundtrips(server, events, load, patience=timeout, back=_back(back)))


@cli.client
@click.argument("server", type=SERVER)
@TIMEOUT
def status(events: Events, *, server: Address, timeout: float) -> None:
    """Show who is subscribed with SERVER."""
    asyncio.run(asking.status(server, events, patience=timeout))


def _back(host: str) -> Address | None:
    return Address(host, 0) if host else None


def _run(main: Coroutine[None, None, None]) -> None:
    """Run a client that may listen itself."""
    try:
        asyncio.run(main)
    except OSError as error:
        raise Refused(f"cannot listen for the server's calls: {error}") from error


if __name__ == "__main__":
    cli()

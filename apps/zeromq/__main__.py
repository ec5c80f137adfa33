"""ZeroMQ's socket patterns: services that run on the hosts, and clients for each of them."""

from __future__ import annotations

import asyncio
import functools
import math
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

import click

from apps.kit.address import Address
from apps.kit.cli import PORT, AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.summary import Load
from apps.kit.zeromq import Bounds
from apps.zeromq import request as asking
from apps.zeromq import server as answering
from apps.zeromq import subscriber as subscribing
from apps.zeromq import synchronised, ventilator
from apps.zeromq.broker import broker as brokering
from apps.zeromq.forwarder import forwarder as forwarding
from apps.zeromq.publisher import Pace
from apps.zeromq.publisher import publish as publishing
from apps.zeromq.sink import sink as counting
from apps.zeromq.watch import watch as watching
from apps.zeromq.wire import LONGEST_TASK, MOST_TASKS
from apps.zeromq.worker import worker as working

F = TypeVar("F", bound=Callable[..., Any])

cli = Pattern("zeromq", __doc__)
SMALL = 1 << 16
"""Bytes of the kernel's buffers where queues are shown: so small that the mark decides."""
LONG = 30.0
"""Seconds that a subscriber may be silent: it is to be slow, not gone."""
SECONDS = click.FloatRange(0.01)


def bounded(waiting: int = 1000, *, message: int = 1 << 16, **more: Any) -> Callable[[F], F]:
    """Add `--waiting` and `--message`; the function gets them as `bounds`, with some `more`."""

    def add(function: F) -> F:
        @functools.wraps(function)
        def collected(*args: Any, waiting: int, message: int, **kwargs: Any) -> Any:
            return function(*args, bounds=Bounds(waiting, message, **more), **kwargs)

        most = click.IntRange(1)
        mark = "High-water mark: messages that wait for each peer, on either side."
        for option in (
            click.option("--message", type=most, default=message, help="Longest frame, in bytes."),
            click.option("--waiting", type=most, default=waiting, help=mark),
        ):
            collected = option(collected)
        return cast("F", collected)

    return add


def listens_here(port: int) -> Callable[[F], F]:
    """Add `--listen` and `--port` of a client that is connected to: on this host's own address."""

    def add(function: F) -> F:
        function = click.option("--port", type=PORT, default=port, help="Port to listen on.")(
            function
        )
        return click.option(
            "--listen",
            default=lambda: socket.gethostbyname(socket.gethostname()),
            show_default="this host's",
            help="Address to listen on.",
        )(function)

    return add


def paces(function: F) -> F:
    """Add the options of made-up updates; the function gets them as `pace`, or None."""

    @functools.wraps(function)
    def collected(
        *args: Any,
        count: int | None,
        seconds: float | None,
        rate: float,
        size: int,
        **kwargs: Any,
    ) -> Any:
        given = count is not None or seconds is not None
        pace = Pace(count, math.inf if seconds is None else seconds, rate, size)
        return function(*args, pace=pace if given else None, **kwargs)

    for option in (
        click.option("--size", type=click.IntRange(0, 60_000), default=20, help="Their bytes."),
        click.option(
            "--rate", type=click.FloatRange(0), default=0.0, help="A second; 0: as fast as it goes."
        ),
        click.option("--for", "seconds", type=SECONDS, help="Make up updates for so many seconds."),
        click.option("--count", type=click.IntRange(1), help="Make up so many updates."),
    ):
        collected = option(collected)
    return cast("F", collected)


# Requests and replies


@cli.component
@listens(5550)
@bounded()
def server(events: Events, *, listen: str, port: int, bounds: Bounds) -> None:
    """REP: answer whoever connects, one after the other."""
    run_service(events, answering.server(events, Address(listen, port), bounds))


@cli.component
@listens(5551)
@click.option("--back", type=PORT, default=5552, help="Port to which repliers connect.")
@bounded()
def broker(events: Events, *, listen: str, port: int, back: int, bounds: Bounds) -> None:
    """ROUTER and DEALER: share the requests of many clients among many repliers."""
    front, behind = Address(listen, port), Address(listen, back)
    run_service(events, brokering(events, front, behind, bounds))


@cli.component
@click.option("--broker", type=AddressType(5552), required=True, help="The broker's back.")
@bounded()
def replier(events: Events, *, broker: Address, bounds: Bounds) -> None:
    """REP that connects: answer what a broker passes on."""
    run_service(events, answering.replier(events, broker, bounds))


@cli.client
@click.argument("server", type=AddressType(5550))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@loads
@click.option("--timeout", type=SECONDS, default=5.0, help="Seconds per request.")
@click.option("--identity", default="", show_default="made up", help="What a ROUTER calls it.")
def request(
    events: Events,
    *,
    server: Address,
    texts: tuple[str, ...],
    load: Load | None,
    timeout: float,
    identity: str,
) -> None:
    """Ask SERVER each TEXT by REQ; without one, converse (Ctrl-D ends it).

    SERVER is a server (port 5550), or a broker (5551).
    """
    if load is not None:
        asked = asking.measure(server, events, load, patience=timeout)
    else:
        asked = asking.converse(
            server,
            events,
            texts or typed("> "),
            patience=timeout,
            identity=identity,
            persist=not texts,
        )
    asyncio.run(asked)


# Publishers and subscribers


@cli.component
@listens(5554)
@click.option("--publishers", type=PORT, default=5553, help="Port to which publishers connect.")
@click.option("--topics", type=click.IntRange(1), default=1000, help="Most last values kept.")
@bounded(buffer=SMALL, silence=LONG)
def forwarder(
    events: Events, *, listen: str, port: int, publishers: int, topics: int, bounds: Bounds
) -> None:
    """XSUB and XPUB: forward what publishers send to whoever has subscribed."""
    inlet, outlet = Address(listen, publishers), Address(listen, port)
    run_service(events, forwarding(events, inlet, outlet, topics, bounds))


@cli.component
@click.option("--forwarder", type=AddressType(5554), required=True, help="Whom to hear.")
@click.option("--topic", default="", help="How the topics begin that it wants; all, if empty.")
@bounded(buffer=SMALL, silence=LONG)
def subscriber(events: Events, *, forwarder: Address, topic: str, bounds: Bounds) -> None:
    """SUB: count what is published, and what of it never came."""
    run_service(events, subscribing.subscriber(events, forwarder, topic, bounds))


@cli.client
@click.argument("forwarder", type=AddressType(5553))
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@click.option("--topic", default="weather", help="Of all of them.")
@paces
@click.option(
    "--settle",
    type=click.FloatRange(0),
    default=0.0,
    help="Seconds to wait for a subscriber before the first update; 0: begin at once.",
)
@bounded(linger=2.0)
def publish(
    events: Events,
    *,
    forwarder: Address,
    texts: tuple[str, ...],
    topic: str,
    pace: Pace | None,
    settle: float,
    bounds: Bounds,
) -> None:
    """Publish each TEXT by PUB into FORWARDER; without one, what is typed (Ctrl-D ends it)."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: sum up and end
    given: Iterable[str] = pace.texts() if pace else texts or typed("update> ")
    publishing(forwarder, events, given, topic=topic, settle=settle, bounds=bounds)


@cli.client
@click.argument("publisher", type=AddressType(5554))
@click.argument("topics", nargs=-1, metavar="[TOPIC]...")
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@click.option("--for", "seconds", type=SECONDS, default=math.inf, help="End after so many seconds.")
@click.option("--conflate", is_flag=True, help="Keep the newest alone.")
@click.option("--delay", type=click.FloatRange(0), default=0.0, help="Seconds that each takes.")
@bounded(buffer=SMALL, silence=LONG)
def subscribe(
    events: Events,
    *,
    publisher: Address,
    topics: tuple[str, ...],
    count: int | None,
    seconds: float,
    conflate: bool,
    delay: float,
    bounds: Bounds,
) -> None:
    """Show what PUBLISHER, or a forwarder, publishes on topics that begin with TOPIC, or on all."""
    subscribing.subscribe(
        publisher,
        events,
        topics,
        count=count,
        seconds=seconds,
        conflate=conflate,
        delay=delay,
        bounds=bounds,
    )


@cli.client
@listens_here(5558)
@click.option("--ready", type=PORT, default=5559, help="Port at which subscribers say they hear.")
@click.option("--subscribers", type=click.IntRange(0), default=1, help="So many are waited for.")
@click.option("--topic", default="weather", help="Of all updates.")
@paces
@click.option("--timeout", type=SECONDS, default=10.0, help="Seconds to wait for subscribers.")
@click.option("--wait", is_flag=True, help="Wait for slow subscribers instead of dropping.")
@bounded(11_000, linger=2.0)
def broadcast(
    events: Events,
    *,
    listen: str,
    port: int,
    ready: int,
    subscribers: int,
    topic: str,
    pace: Pace | None,
    timeout: float,
    wait: bool,
    bounds: Bounds,
) -> None:
    """Publish 10000 updates by PUB to those that `join`, when all are there."""
    synchronised.broadcast(
        events,
        Address(listen, port),
        Address(listen, ready),
        (pace or Pace(10_000, math.inf, 0.0, 20)).texts(),
        topic=topic,
        subscribers=subscribers,
        patience=timeout,
        wait=wait,
        bounds=bounds,
    )


@cli.client
@click.argument("publisher", type=AddressType(5558))
@click.option("--ready", type=PORT, default=5559, help="Its port to say that we hear.")
@click.option("--timeout", type=SECONDS, default=10.0, help="Seconds without anything.")
@bounded(11_000)
def join(events: Events, *, publisher: Address, ready: int, timeout: float, bounds: Bounds) -> None:
    """Hear what PUBLISHER broadcasts, by SUB, from its beginning to its end, and count."""
    at = Address(publisher.host, ready)
    synchronised.join(publisher, at, events, patience=timeout, bounds=bounds)


@cli.client
@click.argument("publisher", type=AddressType(5554))
@click.option("--topic", default="", help="How the topics begin; all, if empty.")
@click.option("--for", "seconds", type=SECONDS, default=math.inf, help="End after so many seconds.")
@bounded()
def watch(
    events: Events, *, publisher: Address, topic: str, seconds: float, bounds: Bounds
) -> None:
    """Show what PUBLISHER sends, and its connection's life by the monitor: a poller of both."""
    watching(publisher, events, topic, seconds=seconds, bounds=bounds)


# The pipeline


@cli.component
@listens(5555)
@click.option("--totals", type=PORT, default=5556, help="Port at which totals are asked for.")
@click.option("--batches", type=click.IntRange(1), default=20, help="Most batches kept.")
@bounded()
def sink(
    events: Events, *, listen: str, port: int, totals: int, batches: int, bounds: Bounds
) -> None:
    """PULL: count what the workers have done, and answer what it comes to."""
    at, asked = Address(listen, port), Address(listen, totals)
    run_service(events, counting(events, at, asked, batches, bounds))


@cli.component
@click.option(
    "--ventilators", required=True, help="Who may give out tasks: host:port, with commas between."
)
@click.option("--sink", type=AddressType(5555), required=True, help="Who gets the results.")
@bounded(10, buffer=SMALL)
def worker(events: Events, *, ventilators: str, sink: Address, bounds: Bounds) -> None:
    """PULL and PUSH: square the numbers that ventilators give out."""
    try:
        sources = [Address.parse(text, 5557) for text in ventilators.split(",")]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ventilators") from None
    run_service(events, working(events, sources, sink, bounds))


@cli.client
@click.argument("sink", type=AddressType(5556))
@listens_here(5557)
@click.option("--count", type=click.IntRange(1, MOST_TASKS), default=100, help="Tasks of a batch.")
@click.option(
    "--work", type=click.IntRange(0, LONGEST_TASK), default=0, help="Milliseconds of each task."
)
@click.option("--workers", type=click.IntRange(1), default=1, help="So many are waited for.")
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(0),
    default=0.0,
    help="Batch after batch for so many seconds.",
)
@click.option("--timeout", type=SECONDS, default=5.0, help="Seconds without progress.")
@bounded(10, buffer=SMALL)
def ventilate(
    events: Events,
    *,
    sink: Address,
    listen: str,
    port: int,
    count: int,
    work: int,
    workers: int,
    seconds: float,
    timeout: float,
    bounds: Bounds,
) -> None:
    """PUSH: give out tasks to the workers that connect here, and ask SINK what they come to."""
    plan = ventilator.Plan(count, work, workers, timeout)
    with ventilator.Ventilator(Address(listen, port), sink, events, bounds) as giving:
        ventilator.ventilate(giving, events, plan, seconds)


if __name__ == "__main__":
    cli()

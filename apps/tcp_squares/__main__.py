"""Squares over TCP: `server` computes them, `client` asks; `submit` and `work` share the work."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Iterable

import click

from apps.kit.address import Address
from apps.kit.cli import AddressType, Pattern, listens, loads, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.summary import Load
from apps.kit.tcp import Limits
from apps.tcp_squares import client as asking
from apps.tcp_squares import worker
from apps.tcp_squares.core import BagLimits
from apps.tcp_squares.server import SquaresServer
from apps.tcp_squares.wire import MOST_DIGITS

cli = Pattern("tcp_squares", __doc__)
SERVER = AddressType(8081)


@cli.component
@listens(8081)
@click.option(
    "--connections", type=click.IntRange(1), default=1000, help="Most connections at once."
)
@click.option(
    "--idle", type=click.FloatRange(0.1), default=60.0, help="Seconds without a line allowed."
)
@click.option(
    "--digits", type=click.IntRange(1, MOST_DIGITS), default=1000, help="Most digits of a number."
)
@click.option(
    "--lease",
    type=click.FloatRange(0.1),
    default=3.0,
    help="Seconds that a worker has for a task before another gets it too.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=5,
    help="Leases of one task before its request is given up.",
)
@click.option(
    "--keep",
    type=click.FloatRange(1.0),
    default=60.0,
    help="Seconds that a request is kept which nobody waits for.",
)
@click.option(
    "--capacity", type=click.IntRange(1), default=10_000, help="Most tasks in the bag at once."
)
def server(
    events: Events,
    *,
    listen: str,
    port: int,
    connections: int,
    idle: float,
    digits: int,
    lease: float,
    attempts: int,
    keep: float,
    capacity: int,
) -> None:
    """Square the integer on each line; keep the bag of tasks that workers share."""
    serving = SquaresServer(
        Address(listen, port),
        events,
        digits=digits,
        bag=BagLimits(lease=lease, attempts=attempts, keep=keep, capacity=capacity),
        limits=Limits(connections=connections, idle=idle),
    )
    run_service(events, serving)


@cli.client
@click.argument("server", type=SERVER)
@click.argument("numbers", nargs=-1, metavar="[NUMBER]...")
@click.option("--interactive", is_flag=True, help="Square what is typed, until Ctrl-D.")
@loads
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call.")
def client(
    events: Events,
    *,
    server: Address,
    numbers: tuple[str, ...],
    interactive: bool,
    load: Load | None,
    timeout: float,
) -> None:
    """Have SERVER square each NUMBER; without one, the numbers from 1 to 10."""
    if load is not None:
        asked = asking.measure(server, events, load, patience=timeout)
    else:
        given: Iterable[str] = _words(numbers) or asking.SERIES
        if interactive:
            given = (word for line in typed("number> ") for word in line.split())
        asked = asking.converse(server, events, given, patience=timeout, persist=interactive)
    asyncio.run(asked)


@cli.client
@click.argument("server", type=SERVER)
@click.argument("numbers", nargs=-1, metavar="[NUMBER]...")
@click.option(
    "--request", default=lambda: secrets.token_hex(4), show_default="made up", help="Its id."
)
@loads
@click.option(
    "--timeout", type=click.FloatRange(0.01), default=60.0, help="Seconds to wait for the result."
)
def submit(
    events: Events,
    *,
    server: Address,
    numbers: tuple[str, ...],
    request: str,
    load: Load | None,
    timeout: float,
) -> None:
    """Put each NUMBER into SERVER's bag (1 to 10 without one), and wait for the workers."""
    if load is not None:
        handed_in = asking.measure_requests(server, events, load, patience=timeout)
    else:
        given = _words(numbers) or asking.SERIES
        handed_in = asking.submit(server, events, request, given, patience=timeout)
    asyncio.run(handed_in)


@cli.client
@click.argument("server", type=SERVER)
@click.option("--follow", is_flag=True, help="When no task is left, wait for more.")
@click.option(
    "--for", "seconds", type=click.FloatRange(0), help="Wait for more for so many seconds."
)
@click.option(
    "--delay", type=click.FloatRange(0), default=0.0, help="Seconds that each task takes longer."
)
def work(
    events: Events, *, server: Address, follow: bool, seconds: float | None, delay: float
) -> None:
    """Take tasks from SERVER's bag and square them here, until none is left."""
    long = math.inf if follow and seconds is None else seconds
    asyncio.run(worker.work(server, events, follow=long, delay=delay))


def _words(arguments: Iterable[str]) -> list[str]:
    """Give the words of the arguments; `"1 2"` is two, and an empty one stays to be refused."""
    return [word for argument in arguments for word in argument.split() or [argument]]


for command in ("client", "submit"):
    cli.commands[command].ignore_unknown_options = True  # so that -3 is a number

if __name__ == "__main__":
    cli()

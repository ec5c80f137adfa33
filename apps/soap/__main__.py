"""Calls as SOAP: `server` takes orders and describes itself in WSDL; `client` calls it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import click

from apps.kit.address import Address
from apps.kit.cli import Misspelt, Pattern, UrlType, converse, loads, serves_http, split, typed
from apps.kit.events import Events
from apps.kit.store import state_directory
from apps.kit.summary import Load

if TYPE_CHECKING:
    from apps.kit.wsgi import Serving

PORT = 8000
cli = Pattern("soap", __doc__)


@cli.component
@serves_http(PORT)
@click.option("--orders", type=click.IntRange(1), default=10_000_000, help="Most orders kept.")
def server(events: Events, *, serving: Serving, orders: int) -> None:
    """Serve the operations at /, and their WSDL at /?wsdl."""
    from apps.kit.wsgi import Server

    try:
        from apps.soap.server import Operations

        operations = Operations(state_directory() / "shop.db", orders, events, serving)
    except (ImportError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    Server(operations, serving, events).run()


@cli.client
@click.argument("server", type=UrlType(PORT), metavar="URL")
@click.argument("words", nargs=-1, metavar="[OPERATION [ARG]...]")
@loads
@click.option("--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call.")
@click.option("--once", is_flag=True, help="Never repeat what may have been done.")
def client(
    events: Events,
    *,
    server: Address,
    words: tuple[str, ...],
    load: Load | None,
    timeout: float,
    once: bool,
) -> None:
    r"""Call an operation of URL.

    \b
    add A B                               their sum
    catalogue                             what there is to buy
    quote ARTICLE=N...                    what it would cost, as in: quote bolt=3 nut=2
    order CUSTOMER ARTICLE=N... [key=K]   order it, once for each key
    orders [AFTER]                        what was ordered

    Without an operation, converse: a line each, Ctrl-D ends it. With --count or --for, `add A B` is
    made again and again; without an operation, a mix of orders and others.
    """
    from apps.soap.client import Client
    from apps.soap.load import measure
    from apps.soap.verbs import do, operands

    try:
        if load is not None:
            adding = operands(words) if words else None
            asyncio.run(measure(server, events, load, adding, timeout=timeout, once=once))
            return
        with Client(server, events, timeout=timeout, once=once, rng=random.Random()) as calling:
            if not words:
                converse(events, typed("> "), lambda line: do(calling, events, split(line)))
            else:
                do(calling, events, words)
    except Misspelt as error:
        raise click.UsageError(str(error)) from error


if __name__ == "__main__":
    cli()

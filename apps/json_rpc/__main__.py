"""Calls as JSON-RPC 2.0: `server` has the methods, `client` calls them, `auto` on a schedule."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING

import click

from apps.kit.address import Address
from apps.kit.cli import Misspelt, Pattern, UrlType, converse, loads, serves_http, split, typed
from apps.kit.events import Events
from apps.kit.store import state_directory
from apps.kit.summary import Load

if TYPE_CHECKING:
    from apps.kit.wsgi import Serving

PORT = 4000
cli = Pattern("json_rpc", __doc__)
seconds_per_call = click.option(
    "--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call."
)


@cli.component
@serves_http(PORT)
@click.option("--batch-limit", type=click.IntRange(1), default=100, help="Most calls of a batch.")
@click.option(
    "--transfers", type=click.IntRange(1), default=10_000_000, help="Most transfers kept."
)
def server(events: Events, *, serving: Serving, batch_limit: int, transfers: int) -> None:
    """Serve the methods of the specification's examples, and a small bank."""
    from apps.json_rpc.server import Calls
    from apps.kit.wsgi import Server

    limits = {"body_limit": serving.body_limit, "batch_limit": batch_limit}
    try:
        calls = Calls(state_directory() / "bank.db", transfers, events, **limits)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    Server(calls, serving, events).run()


@cli.component
@click.option("--server", type=UrlType(PORT), default=f"127.0.0.1:{PORT}", help="Whom to call.")
@click.option(
    "--interval", type=click.FloatRange(0.01), default=1.0, help="Seconds between two calls."
)
@seconds_per_call
def auto(events: Events, *, server: Address, interval: float, timeout: float) -> None:
    """Call again and again."""
    from apps.json_rpc.auto import Auto
    from apps.kit.lifecycle import run_service

    run_service(events, Auto(server, interval, events, timeout))


@cli.client
@click.argument("server", type=UrlType(PORT), metavar="URL")
@click.argument("words", nargs=-1, metavar="[METHOD [ARG | NAME=ARG]...]")
@loads
@seconds_per_call
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
    r"""Call METHOD of URL with these parameters; each is JSON, or else a text.

    \b
    subtract 42 23                        by position
    subtract minuend=42 subtrahend=23     by name
    notify update 1 2                     nothing comes back
    batch "sum 1 2" "get_data"            several at once
    send '[1,2,3]'                        a message as it is

    Without a method, converse: a call a line, Ctrl-D ends it. With --count or --for, make that call
    again and again, or a mix of transfers and others.
    """
    from apps.json_rpc.client import Client
    from apps.json_rpc.load import measure
    from apps.json_rpc.verbs import asked, do

    try:
        if load is not None:
            call = asked(words) if words else None
            asyncio.run(measure(server, events, load, call, timeout=timeout, once=once))
            return
        with Client(server, events, timeout=timeout, once=once, rng=random.Random()) as calling:
            if not words:
                converse(events, typed("> "), lambda line: do(calling, events, split(line)))
            else:
                do(calling, events, words)
    except Misspelt as error:
        raise click.UsageError(str(error)) from error


@cli.client
@click.argument("server", type=UrlType(PORT), metavar="URL")
@seconds_per_call
def examples(events: Events, *, server: Address, timeout: float) -> None:
    """Send URL every example of the specification, and compare the answers to the letter."""
    from apps.json_rpc.client import Client
    from apps.json_rpc.examples import EXAMPLES

    wrong = 0
    with Client(server, events, timeout=timeout) as calling:
        for example in EXAMPLES:
            answer = calling.post(example.sent)
            same = answer == example.expected
            wrong += not same
            told = {"sent": example.sent, "answered": answer, "expected": example.expected}
            events.emit("example", name=example.name, same=same, **told)
            events.say(f"{'as specified' if same else 'OTHERWISE'}: {example.name}")
    if wrong:
        sys.exit(1)


@cli.client
@click.argument("server", type=UrlType(PORT), metavar="URL")
@click.option("--after", type=click.IntRange(0), default=0, help="The last one that is not shown.")
@seconds_per_call
def statement(events: Events, *, server: Address, after: int, timeout: float) -> None:
    """Read what the bank of URL itself says it did: all transfers, and what is on each account."""
    from apps.json_rpc.client import Asked, Client
    from apps.json_rpc.methods import OPENING

    with Client(server, events, timeout=timeout) as calling:
        for made in calling.transfers(after):
            events.say("{number}  {source} to {target}: {amount}  ({key})".format(**made))
        for account in OPENING:
            events.say(f"{account} has {calling.ask(Asked('balance', [account]))}")


if __name__ == "__main__":
    cli()

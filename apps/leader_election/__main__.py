"""Leader election: `node` stands for it, `resource` is what the leader writes, fenced."""

from __future__ import annotations

import asyncio
import json
import math
import random

import click

from apps.kit import cli as kit
from apps.kit.address import Address
from apps.kit.cli import AddressesType, AddressType, Misspelt, Pattern, listens, typed
from apps.kit.events import Events
from apps.kit.lifecycle import run_service
from apps.kit.store import state_directory
from apps.kit.tcp import Limits

cli = Pattern("leader_election", __doc__)
COUNT = click.IntRange(1)
RESOURCE = AddressType(7100)
SERVERS = AddressesType(2181)
PATH = click.option(
    "--path", default="/distlab/leader_election", help="Where the candidates' nodes are."
)
PATIENCE = click.option(
    "--timeout", type=click.FloatRange(0.01), default=5.0, help="Seconds per call."
)


@cli.component
@listens(7100)
@click.option("--connections", type=COUNT, default=1000, help="Most connections at once.")
@click.option(
    "--idle", type=click.FloatRange(0.01), default=60.0, help="Longest silence, in seconds."
)
def resource(events: Events, *, listen: str, port: int, connections: int, idle: float) -> None:
    """Be what the leader alone may write."""
    from apps.leader_election.resource import ResourceServer

    limits = Limits(connections=connections, idle=idle)
    path = state_directory() / "resource.json"
    run_service(events, ResourceServer(Address(listen, port), events, path, limits))


@cli.component
@click.option("--servers", type=SERVERS, default="127.0.0.1", help="The ZooKeeper ensemble.")
@click.option("--resource", type=RESOURCE, default="127.0.0.1", help="What the leader writes.")
@PATH
@click.option(
    "--session",
    type=click.FloatRange(0.1),
    default=3.0,
    help="Seconds that the ensemble waits for us before somebody else leads.",
)
@click.option(
    "--work", type=click.FloatRange(0.001), default=0.5, help="Seconds of work before each write."
)
def node(
    events: Events,
    *,
    servers: tuple[Address, ...],
    resource: Address,
    path: str,
    session: float,
    work: float,
) -> None:
    """Stand for election, and do the leader's work while elected."""
    from apps.leader_election.node import ElectionNode, Settings

    settings = Settings(servers, resource, path, session, work)
    run_service(events, ElectionNode(settings, events, random.Random()))


@cli.client
@click.argument("resource", type=RESOURCE)
@click.argument("words", nargs=-1, metavar="[VERB WORD...]")
@PATIENCE
def client(events: Events, *, resource: Address, words: tuple[str, ...], timeout: float) -> None:
    r"""Write to the RESOURCE, or read it.

    \b
    state               its value, the token that wrote it, and whose that is
    write TOKEN TEXT    as if this host led under that token

    Without a verb, converse: a verb a line, Ctrl-D ends it.
    """

    def do(line: list[str]) -> None:
        asyncio.run(_asked(events, resource, line, timeout))

    if not words:
        kit.converse(events, typed("> "), lambda line: do(kit.split(line)))
        return
    try:
        do(list(words))
    except Misspelt as error:
        raise click.UsageError(str(error)) from error


async def _asked(events: Events, resource: Address, words: list[str], patience: float) -> None:
    from apps.leader_election.client import Writer

    async with Writer(resource, events, patience) as writer:
        match words:
            case ["state"]:
                events.say(json.dumps(await writer.state()))
            case ["write", token, *text] if token.isdecimal() and text:
                events.say(json.dumps(await writer.write(int(token), " ".join(text))))
            case _:
                raise Misspelt("say one of: state, write TOKEN TEXT; a token is a whole number")


@cli.client
@click.argument("resource", type=RESOURCE)
@click.option("--for", "seconds", type=click.FloatRange(0), help="End after so many seconds.")
def watch(events: Events, *, resource: Address, seconds: float | None) -> None:
    """Read the RESOURCE again and again, and tell whose write it took, until Ctrl-C."""
    from apps.leader_election.client import watch as look_on

    asyncio.run(look_on(resource, events, math.inf if seconds is None else seconds))


@cli.client
@click.argument("servers", type=SERVERS)
@PATH
@PATIENCE
def who(events: Events, *, servers: tuple[Address, ...], path: str, timeout: float) -> None:
    """Tell who stands for election at the ensemble of SERVERS, the leader first."""
    from apps.leader_election.client import candidates

    for place, (name, token) in enumerate(candidates(servers, events, path, timeout)):
        events.say(f"{name}  token {token}{'' if place else '  leads'}")


if __name__ == "__main__":
    cli()

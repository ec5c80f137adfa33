"""Clients on several hosts write while all befalls the server; then every write is looked up.

It is killed, cut off, paused, its disk is full, and then forgets what was not synced when its
power fails. Each operation is repeated until its outcome is known: a creation with its idempotency
key, a change with the version that it was made from.
"""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running, Workload, answered, outlast
from apps.kit.faults import Disk, Fault, Kill, Partition, Pause
from apps.kit.history import operations
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.rest_api.claims import (
    Item,
    acknowledged_writes_survive,
    created_again,
    every_outcome_known,
    keys_create_once,
    nothing_is_served_while_away,
    unanswered,
)
from apps.rest_api.versions import items_are_linearizable

SERVER = "rest_api_server"
CLIENT = "rest_api_client"
A_NUT = '{"name": "nut"}'


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server, url = server_of(lab)
    loads = start(lab, url, "--for", 100, "--timeout", 30)
    lab.say("clients write from every client host, and the server is killed under them")
    answered(lab, SERVER)
    lab.inject(Kill(server, SERVER))
    answered(lab, SERVER)
    ask_in_vain(lab, server, url)
    lab.say("its disk forgets what was not synced, and it is killed once more")
    with lab.inject(Disk(server, SERVER, forgets=True)):
        answered(lab, SERVER)
        lab.inject(Kill(server, SERVER))
        answered(lab, SERVER)
    ended = [load.stop() for load in loads]
    lab.promised(
        "an operation that is repeated safely gets its outcome in the end",
        every_outcome_known([event for run in ended for event in run.events]),
    )
    look_up(lab, url)
    lab.limit(
        "while the one server is away, nothing is served",
        nothing_is_served_while_away(lab.history()),
    )


def play(lab: Lab, seconds: float) -> None:
    """Write for so long, whatever befalls the hosts; then look up every write."""
    _, url = server_of(lab)
    outlast(lab, start(lab, url, "--for", seconds, "--timeout", 3))
    lab.calm()
    look_up(lab, url)


def ask_in_vain(lab: Lab, server: str, url: str) -> None:
    """Ask once while the server cannot answer, or cannot do what it is asked."""
    cut = Partition("isolate", (server, *lab.hosts(CLIENT)))
    troubles: dict[str, tuple[Fault, int]] = {
        "a request to a server that is cut off is refused": (cut, Refused.exit_status),
        "a request to a paused server is unknown": (Pause(server, SERVER), Unknown.exit_status),
        "what finds no room on the disk is rejected": (
            Disk(server, SERVER, full=True, free=65536),
            Rejected.exit_status,
        ),
    }
    host = lab.hosts(CLIENT)[0]
    for claim, (fault, status) in troubles.items():
        with lab.inject(fault):
            asked = lab.run(host, "rest_api", "client", url, "create", A_NUT, "--timeout", 2)
        told = asked.stderr.strip() or "it was answered"
        lab.promised(claim, Finding(asked.exit_status == status, told, tuple(asked.events)))
        answered(lab, SERVER)


def look_up(lab: Lab, url: str) -> None:
    """Read all items of this run back, and judge what became of each write."""
    lab.say("all items are read back")
    made = [op.result["id"] for op in operations(lab.history(), {"create": "create"}) if op.result]
    reader, earlier = lab.hosts(CLIENT)[0], min(made, default=1) - 1
    read = lab.run(reader, "rest_api", "client", url, "list", "all", earlier)
    pages = [e["value"] for e in read.events if e["event"] == "ok" and e["f"] == "list"]
    final: list[Item] = [item for page in pages for item in page["items"]]
    history = lab.history()
    lab.promised("no acknowledged write is lost", acknowledged_writes_survive(history, final))
    lab.promised("a repeated key creates once", keys_create_once(history, final))
    lab.promised("each item is one to all clients (linearizable)", items_are_linearizable(history))
    lab.figure("lost", len(unanswered(history)))
    lab.figure("duplicated", len(created_again(final)))


def server_of(lab: Lab) -> tuple[str, str]:
    """Give the server's host, and its address as clients take it."""
    server = lab.hosts(SERVER)[0]
    return server, f"http://{server}:{lab.option(server, 'rest_api_server_port')}"


def start(lab: Lab, url: str, *options: object) -> list[Running]:
    """Start clients on every client host."""
    amount = (*options, "--callers", 4, "--think", 0.1, "--seed", lab.seed)
    return [lab.start(host, "rest_api", "client", url, *amount) for host in lab.hosts(CLIENT)]


WORKLOAD = Workload(play, aims=(SERVER,))

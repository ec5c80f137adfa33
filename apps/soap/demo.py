"""Clients order while the server is killed, cut off, paused and slow.

Some repeat an order until they know its outcome, by its key; others never repeat what may have been
done, and say so. In the end everybody's story is held against the shop's own list of orders.
"""

from __future__ import annotations

from typing import Any

from apps.kit.demo import Lab, Running, Workload, answered, ended_with, outlast, run_amid
from apps.kit.faults import Disk, Fault, Link, Partition, Pause
from apps.kit.history import operations
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.soap.claims import answers_are_right, orders_are_true

SERVER = "soap_server"
CLIENT = "soap_client"


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server, url = server_of(lab)
    loads = start(lab, url, 100, timeout=20)
    lab.say("clients order from every client host, and the server is killed under them")
    answered(lab, SERVER)
    lab.kill(server, SERVER)
    answered(lab, SERVER)
    lab.restart(server, SERVER)
    with lab.inject(Link((server,), delay=0.05, jitter=0.02)):
        answered(lab, SERVER)
    ask_in_vain(lab, server, url)
    for load in loads:
        load.stop()
    look_up(lab, url)


def play(lab: Lab, seconds: float) -> None:
    """Order for so long, whatever befalls the hosts; then hold all against the shop's list."""
    _, url = server_of(lab)
    outlast(lab, start(lab, url, seconds, timeout=2))
    lab.calm()
    look_up(lab, url)


def ask_in_vain(lab: Lab, server: str, url: str) -> None:
    """Ask once while the server cannot answer, or cannot do what it is asked."""
    cut = Partition("isolate", (server, *lab.hosts(CLIENT)))
    full = Disk(server, SERVER, full=True, free=65536)
    troubles: dict[str, tuple[Fault | None, str, int]] = {
        "a call to a server that is cut off is refused": (cut, "bolt=1", Refused.exit_status),
        "a call to a paused server is unknown": (
            Pause(server, SERVER),
            "bolt=1",
            Unknown.exit_status,
        ),
        "what finds no room on the disk is rejected": (full, "bolt=1", Rejected.exit_status),
        "what is out of stock is rejected": (None, "unicorn=1", Rejected.exit_status),
        "what breaks the schema is rejected": (None, "bolt=-1", Rejected.exit_status),
    }
    host = lab.hosts(CLIENT)[0]
    for claim, (fault, line, status) in troubles.items():
        words = ("order", "demo", line, "--timeout", 2)
        asked = run_amid(lab, fault, host, "soap", "client", url, *words)
        lab.promised(claim, ended_with(asked, status))
        answered(lab, SERVER)


def look_up(lab: Lab, url: str) -> None:
    """Read the shop's own list, and judge what everybody was told."""
    lab.say("the shop's own list of orders is read")
    made = operations(lab.history(), {"order": "order"})
    first = min((op.result["number"] for op in made if op.result), default=1)
    earlier = max(0, first - 1 - len(made))  # orders of unknown outcome may be before the first
    read = lab.run(lab.hosts(CLIENT)[0], "soap", "client", url, "orders", earlier)
    kept: list[dict[str, Any]] = []
    for op in operations(read.events, {"orders": "orders"}):
        kept += op.result or []
    history = lab.history()
    lab.promised(
        "every client was told the truth, and each order was taken once",
        orders_are_true(history, kept),
    )
    lab.promised("every answer is that of its own question", answers_are_right(history))
    keys = {order["key"] for order in kept}
    made = operations(history, {"order": "order"})
    lab.figure("unknown", sum(op.outcome == "unknown" for op in made))
    lab.figure("lost", sum(op.outcome == "ok" and op.value["key"] not in keys for op in made))
    lab.figure("duplicated", len(kept) - len(keys))


def server_of(lab: Lab) -> tuple[str, str]:
    """Give the server's host, and its address as clients take it."""
    server = lab.hosts(SERVER)[0]
    return server, f"http://{server}:{lab.option(server, 'soap_server_port')}"


def start(lab: Lab, url: str, seconds: float, *, timeout: float) -> list[Running]:
    """Start clients on every client host: every other one never repeats what may have been done."""
    amount = ("--for", seconds, "--callers", 4, "--think", 0.1, "--seed", lab.seed)
    ways: tuple[tuple[object, ...], ...] = (("--timeout", timeout), ("--timeout", 1, "--once"))
    return [
        lab.start(host, "soap", "client", url, *amount, *ways[number % 2])
        for number, host in enumerate(lab.hosts(CLIENT))
    ]


WORKLOAD = Workload(play, aims=(SERVER,), clients=(CLIENT,))

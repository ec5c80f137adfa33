"""Clients transfer money while the server is killed, cut off, paused and slow.

Some repeat a transfer until they know its outcome, by its key; others never repeat what may have
been done, and say so. In the end everybody's story is held against the bank's own statement.
"""

from __future__ import annotations

from typing import Any

from apps.json_rpc.claims import answers_are_right, examples_answered, money_is_kept
from apps.kit.checkers.outcomes import outcomes_are_true
from apps.kit.demo import Lab, Running, Workload, answered, ended_with, outlast, run_amid
from apps.kit.faults import Disk, Fault, Link, Partition, Pause
from apps.kit.history import operations
from apps.kit.outcome import Refused, Rejected, Unknown

SERVER = "json_rpc_server"
CLIENT = "json_rpc_client"
TRANSFER = ("transfer", "source=alice", "target=bob")


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server, url = server_of(lab)
    lab.say("every example of the specification is sent to the server")
    asked = lab.run(lab.hosts(CLIENT)[0], "json_rpc", "examples", url)
    lab.promised("the specification's examples, word for word", examples_answered(asked.events))
    loads = start(lab, url, 100, timeout=20)
    lab.say("clients transfer from every client host, and the server is killed under them")
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
    """Transfer for so long, whatever befalls the hosts; then hold all against the statement."""
    _, url = server_of(lab)
    outlast(lab, start(lab, url, seconds, timeout=2))
    lab.calm()
    look_up(lab, url)


def ask_in_vain(lab: Lab, server: str, url: str) -> None:
    """Ask once while the server cannot answer, or cannot do what it is asked."""
    cut = Partition("isolate", (server, *lab.hosts(CLIENT)))
    full = Disk(server, SERVER, full=True, free=65536)
    troubles: dict[str, tuple[Fault | None, int, int]] = {
        "a call to a server that is cut off is refused": (cut, 1, Refused.exit_status),
        "a call to a paused server is unknown": (Pause(server, SERVER), 1, Unknown.exit_status),
        "what finds no room on the disk is rejected": (full, 1, Rejected.exit_status),
        "more than there is on an account is rejected": (None, 10**12, Rejected.exit_status),
    }
    host = lab.hosts(CLIENT)[0]
    for claim, (fault, amount, status) in troubles.items():
        words = (*TRANSFER, f"amount={amount}", "--timeout", 2)
        asked = run_amid(lab, fault, host, "json_rpc", "client", url, *words)
        lab.promised(claim, ended_with(asked, status))
        answered(lab, SERVER)


def look_up(lab: Lab, url: str) -> None:
    """Read the bank's statement, and judge what everybody was told."""
    lab.say("the bank's own statement is read")
    read = lab.run(lab.hosts(CLIENT)[0], "json_rpc", "statement", url)
    statement: list[dict[str, Any]] = []
    balances = {}
    for op in operations(read.events):
        if op.f == "transfers":
            statement += op.result or []
        elif op.f == "balance" and op.outcome == "ok":
            balances[op.value[0]] = op.result
    history = lab.history()
    lab.promised(
        "every client was told the truth, and each transfer was made once",
        outcomes_are_true(history, "transfer", statement),
    )
    lab.promised("no money comes or goes", money_is_kept(statement, balances))
    lab.promised("every answer is that of its own question", answers_are_right(history))
    made = operations(history, {"transfer": "transfer"})
    lab.figure("unknown", sum(op.outcome == "unknown" for op in made))
    kept = {entry["key"] for entry in statement}
    lost = sum(op.outcome == "ok" and op.value["key"] not in kept for op in made)
    lab.figure("lost", lost)
    lab.figure("duplicated", len(statement) - len(kept))


def server_of(lab: Lab) -> tuple[str, str]:
    """Give the server's host, and its address as clients take it."""
    server = lab.hosts(SERVER)[0]
    return server, f"http://{server}:{lab.option(server, 'json_rpc_server_port')}"


def start(lab: Lab, url: str, seconds: float, *, timeout: float) -> list[Running]:
    """Start clients on every client host: every other one never repeats what may have been done."""
    amount = ("--for", seconds, "--callers", 4, "--think", 0.1, "--seed", lab.seed)
    ways: tuple[tuple[object, ...], ...] = (("--timeout", timeout), ("--timeout", 1, "--once"))
    return [
        lab.start(host, "json_rpc", "client", url, *amount, *ways[number % 2])
        for number, host in enumerate(lab.hosts(CLIENT))
    ]


WORKLOAD = Workload(play, aims=(SERVER,), clients=(CLIENT,))

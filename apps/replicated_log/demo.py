"""Clients append while all befalls the nodes; then every message is looked up, on every node.

A secondary is killed, and the master with messages on its disk of which it told nobody; a host
loses its power, one secondary is cut off from the other nodes, then the master is, and at last its
disk is full. What of that stops an append, and what one then knows of it, is asked each time.
"""

from __future__ import annotations

from contextlib import ExitStack

from apps.kit.claims import Event
from apps.kit.demo import Finished, Lab, Running, Workload, ended_with, outlast, run_amid
from apps.kit.faults import Disk, Kill, Partition, Pause, PowerOff
from apps.kit.history import operations
from apps.kit.outcome import Refused, Unknown
from apps.replicated_log.claims import (
    acknowledged_survive,
    every_message_once,
    master_is_linearizable,
    on_enough_disks,
    reads_are_prefixes,
    rejected,
    stale_read,
)

MASTER = "replicated_log_master"
SECONDARIES = "replicated_log_secondary"
CLIENT = "replicated_log_client"
CAUGHT_UP = 30.0
"""Seconds in which every node must have all, once it is calm."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    master, secondaries = lab.hosts(MASTER)[0], lab.hosts(SECONDARIES)
    first = length(lab, master)
    load = start(lab, first, "--for", 100, "--timeout", 30)
    lab.say("clients append, and a secondary and the master are killed under them")
    appended(lab)
    lab.inject(Kill(secondaries[0], SECONDARIES))
    appended(lab)
    lose_answers(lab)
    appended(lab)
    if secondaries[2:]:
        lab.say("a host loses its power, and gets what it missed when it is back")
        with lab.inject(PowerOff(secondaries[1])):  # and nobody can read its journal
            append(lab, "a host has no power", "--timeout", 10)
    part(lab, first)
    for client in load:
        client.stop()
    fill(lab)
    judge(lab, first)


def lose_answers(lab: Lab) -> None:
    """Kill the master when messages are on its disk, and too few others have them to say so.

    Its clients wait for that by then: they ask again, and must not have them appended again.
    """
    master, secondaries = lab.hosts(MASTER)[0], lab.hosts(SECONDARIES)
    nodes = 1 + len(secondaries)
    lab.wait_ready(secondaries[0], SECONDARIES)
    with ExitStack() as held:
        for host in secondaries[: nodes - nodes // 2]:
            held.enter_context(lab.inject(Pause(host, SECONDARIES)))
        lab.inject(Kill(master, MASTER))


def part(lab: Lab, first: int) -> None:
    """Cut nodes off from each other, never from the clients, and ask what can be done still."""
    master, secondaries = lab.hosts(MASTER)[0], lab.hosts(SECONDARIES)
    alone = secondaries[-1]
    with lab.inject(Partition("isolate", (alone, master, *secondaries[:-1]))):
        one = append(lab, "one node is away", "--timeout", 5)
        read(lab, alone, first)
        every = append(lab, "for all nodes", "--w", "all", "--timeout", 1)
    lab.limit(
        "a read at a secondary may lack what is acknowledged", stale_read(lab.history(), one.events)
    )
    lab.limit(
        "what has to be on all nodes waits while one is away: its outcome is unknown",
        ended_with(every, Unknown.exit_status),
    )
    lab.say("the master is cut off from all secondaries")
    with lab.inject(Partition("isolate", (master, *secondaries))):
        lab.wait_until(lambda: status(lab, master) == "read_only", "the master is read-only")
        refused = append(lab, "no majority", "--timeout", 1)
    lab.promised(
        "without a majority a message is refused", ended_with(refused, Refused.exit_status)
    )
    lab.wait_until(lambda: status(lab, master) == "ok", "the master takes messages again")


def fill(lab: Lab) -> None:
    """Append long messages to a master whose disk has no room for all of them."""
    master = lab.hosts(MASTER)[0]
    load = ("--count", 12, "--callers", 2, "--size", 60000, "--timeout", 10)
    full = Disk(master, MASTER, full=True, free=65536)
    told = run_amid(
        lab, full, lab.hosts(CLIENT)[0], "replicated_log", "client", url(lab, master), *load
    )
    lab.promised("what finds no room on the disk is rejected", rejected(told.events))


def play(lab: Lab, seconds: float) -> None:
    """Append for so long, whatever befalls the nodes."""
    first = length(lab, lab.hosts(MASTER)[0])
    outlast(lab, start(lab, first, "--for", seconds, "--timeout", 3))
    lab.calm()
    judge(lab, first)


def judge(lab: Lab, first: int) -> None:
    """Read every node's log, and state what holds whatever befalls the nodes."""
    lab.say("every node's log is read, once all have caught up")
    master, secondaries = lab.hosts(MASTER)[0], lab.hosts(SECONDARIES)
    nodes = (master, *secondaries)
    lab.wait_until(
        lambda: len({length(lab, node) for node in nodes}) == 1, "all nodes have all", CAUGHT_UP
    )
    final = read(lab, master, first)
    for secondary in secondaries:
        read(lab, secondary, first)
    history = lab.history()
    promises = {
        "an acknowledged message is never lost": acknowledged_survive(history, final, first),
        "each message is in the log once": every_message_once(final),
        "each node's log is how the master's begins": reads_are_prefixes(history, final),
        "to who asks the master the log is one (linearizable)": master_is_linearizable(
            history, url(lab, master), first
        ),
        "an acknowledged message is on as many disks as was asked": on_enough_disks(history),
    }
    for claim, finding in promises.items():
        lab.promised(claim, finding)
    outcomes = [op.outcome for op in operations(history, {"append": "append"})]
    lab.figure("acknowledged", outcomes.count("ok"))
    lab.figure("unknown", outcomes.count("unknown"))


def start(lab: Lab, first: int, *amount: object) -> list[Running]:
    """Start clients that append, and read from this offset on now and then."""
    target = url(lab, lab.hosts(MASTER)[0])
    how = ("--callers", 6, "--think", 0.05, "--reads", 0.03, "--from", first, "--seed", lab.seed)
    return [
        lab.start(host, "replicated_log", "client", target, *how, *amount)
        for host in lab.hosts(CLIENT)
    ]


def appended(lab: Lab, more: int = 40) -> None:
    """Wait until the master has written so many times more than now."""

    def count() -> int:
        return len(lab.history(MASTER, "stored"))

    enough = count() + more
    lab.wait_until(lambda: count() >= enough, "the master appends")


def append(lab: Lab, message: str, *options: object) -> Finished:
    """Append a message that no other run does."""
    text = f"{message}, {lab.rng.getrandbits(64):x}"
    target = url(lab, lab.hosts(MASTER)[0])
    return lab.run(
        lab.hosts(CLIENT)[0], "replicated_log", "client", target, "append", text, *options
    )


def read(lab: Lab, node: str, first: int) -> list[str]:
    """Read a node's log from an offset on; on its own host, so that no partition is between."""
    options = ("client", url(lab, node), "read", "--from", first, "--timeout", 20)
    asked = lab.run(node, "replicated_log", *options)
    return list(next(e["value"] for e in asked.events if e["event"] == "ok"))


def health(lab: Lab, node: str) -> Event:
    """Ask a node how it is; nothing of one that does not answer."""
    options = ("client", url(lab, node), "health", "--timeout", 5)
    asked = lab.run(lab.hosts(CLIENT)[0], "replicated_log", *options)
    return next((e["value"] for e in asked.events if e["event"] == "ok"), {})


def status(lab: Lab, node: str) -> str:
    """Give whether a node takes messages."""
    return str(health(lab, node).get("status"))


def length(lab: Lab, node: str) -> int:
    """Give how many messages a node has."""
    return int(health(lab, node).get("length", -1))


def url(lab: Lab, node: str) -> str:
    """Give a node's address as clients take it."""
    component = MASTER if node in lab.hosts(MASTER) else SECONDARIES
    return f"{node}:{lab.option(node, f'{component}_port')}"


WORKLOAD = Workload(play, aims=(MASTER, SECONDARIES), clients=(CLIENT,))

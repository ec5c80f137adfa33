"""Sessions write and read while the ensemble loses its leader, its network and each server in turn.

The leader is killed, and the next one is cut off from the others; a follower is cut off while
somebody reads from it; then all servers are restarted, one after another. What was acknowledged is
there in the end, and the restarts cost nobody the session.
"""

from __future__ import annotations

import time

from apps.kit.claims import Event
from apps.kit.demo import Lab, Running, Workload, outlast, servers_of
from apps.kit.faults import Kill, Partition
from apps.kit.zookeeper import PORT, SERVER
from apps.zookeeper.claims import (
    acknowledged_nodes_are_there,
    longest_silence,
    names_of,
    no_session_is_lost,
    reads_are_stale,
    sessions_look_forward,
    writes_are_linearizable,
)

CLIENT = "zookeeper_client"
BELOW = "/distlab/demo"
ALIVE = f"{BELOW}/alive"
CALLERS = 3
"""On each host."""
LONGEST = 300.0
"""Seconds that sessions go on at most: the demo ends them much sooner, but on a busy machine."""
PATIENCE = 20
"""Seconds in which the ensemble must answer again, whatever befell it."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    clear(lab)
    loads = start(lab, "--for", LONGEST, "--timeout", 15)
    until_writing(lab)
    lab.say("the leader is killed")
    lab.inject(Kill(by_mode(lab)[0], SERVER))
    until_acknowledged(lab)
    leader, *others = by_mode(lab)
    lab.say(f"the next leader, {leader}, is cut off from the other servers")
    with lab.inject(Partition("isolate", (leader, *others))):
        until_acknowledged(lab)
    read_from_one_that_is_cut_off(lab)
    lab.say("the servers are restarted, one after another")
    until_acknowledged(lab)
    since = time.time()
    for server in lab.hosts(SERVER):
        lab.restart(server, SERVER)
        until_acknowledged(lab)
    for load in loads:
        load.stop()
    verdict(lab)
    history = lab.history()
    lab.promised("a rolling restart loses no session", no_session_is_lost(history, since))
    lab.limit("a read without a sync may be stale", reads_are_stale(history))
    lab.figure("longest_silence_s", round(longest_silence(history), 3))


def play(lab: Lab, seconds: float) -> None:
    """Write and read for so long, whatever befalls the servers."""
    clear(lab)
    outlast(lab, start(lab, "--for", seconds, "--timeout", 3))
    lab.calm()
    verdict(lab)


def verdict(lab: Lab) -> None:
    """Look what is there in the end, and judge what the clients were told."""
    final = names_of(ask(lab, "ls", f"{BELOW}/log"))
    history = lab.history()
    lab.promised("no acknowledged write is lost", acknowledged_nodes_are_there(history, final))
    lab.promised("writes are linearizable", writes_are_linearizable(history))
    lab.promised("no session reads an older version after a newer", sessions_look_forward(history))


def read_from_one_that_is_cut_off(lab: Lab) -> None:
    """Cut a follower off, with one who reads there: for a while it does not know of it."""
    *others, follower = by_mode(lab)
    lab.say(f"{follower} is cut off from the other servers, and somebody reads there")
    there = address_of(lab, follower)

    def sessions() -> int:
        return len(names_of(ask(lab, "ls", ALIVE, servers=there)))

    before = sessions()
    how = ("--writes", 0, "--for", 100, "--think", 0.02, "--timeout", 1)
    reader = lab.start(lab.hosts(CLIENT)[0], "zookeeper", "load", there, BELOW, *how)
    lab.wait_until(lambda: sessions() > before, "the reader is there")
    with lab.inject(Partition("isolate", (follower, *others))):
        lab.wait_until(lambda: not mode(lab, follower), f"{follower} knows that it is alone")
    reader.stop()


def start(lab: Lab, *options: object) -> list[Running]:
    """Start sessions on every client host."""
    how = (*options, "--callers", CALLERS, "--think", 0.05, "--seed", lab.seed)
    return [
        lab.start(
            host,
            "zookeeper",
            "load",
            servers_of(lab, SERVER, PORT),
            BELOW,
            *how,
            timeout=LONGEST + 60,
        )
        for host in lab.hosts(CLIENT)
    ]


def clear(lab: Lab) -> None:
    """Take away what earlier runs left."""
    ask(lab, "clear", BELOW)


def until_writing(lab: Lab) -> None:
    """Wait until the sessions have written the register some times."""

    def version() -> int:
        found = [e for e in ask(lab, "get", f"{BELOW}/register") if e["event"] == "ok"]
        return int(found[0]["value"]["version"]) if found else 0

    lab.wait_until(lambda: version() > CALLERS, "the sessions write")


def until_acknowledged(lab: Lab) -> None:
    """Wait until the ensemble acknowledges a write."""
    ask(lab, "create", f"{BELOW}/marks/{lab.rng.getrandbits(64):x}")


def ask(lab: Lab, *words: str, servers: str = "") -> list[Event]:
    """Ask the ensemble, or some of its servers, until it answers; give the events."""
    at, host = servers or servers_of(lab, SERVER, PORT), lab.hosts(CLIENT)[0]
    return lab.run(host, "zookeeper", "client", at, *words, "--timeout", PATIENCE).events


def by_mode(lab: Lab) -> list[str]:
    """Give the servers, the leader first, as each one says itself."""
    found: dict[str, str] = {}

    def led() -> bool:
        found.update((server, mode(lab, server)) for server in lab.hosts(SERVER))
        return "leader" in found.values()

    lab.wait_until(led, "the servers have a leader")
    return sorted(lab.hosts(SERVER), key=lambda host: found[host] != "leader")


def mode(lab: Lab, server: str) -> str:
    """Ask a server by its word `srvr`: leader, follower, or "" while it serves nobody."""
    host, port = address_of(lab, server).split(":")
    told = lab.shell(lab.hosts(CLIENT)[0], f"echo srvr | timeout 3 nc -N {host} {port}").stdout
    return told.partition("Mode: ")[2].partition("\n")[0]


def address_of(lab: Lab, server: str) -> str:
    """Give where a server listens to clients."""
    addresses = servers_of(lab, SERVER, PORT).split(",")
    return next(address for address in addresses if address.startswith(f"{server}:"))


WORKLOAD = Workload(
    play,
    aims=(SERVER,),
    immune={"clock": "the servers go by the monotonic clock, and no wall clock counts"},
)

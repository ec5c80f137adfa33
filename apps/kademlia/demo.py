"""Keys are set, a third of the nodes loses power, and everything is found; so are the publishers.

Publishers and subscribers meet by topic while that happens, and one publisher dies without a word.
At the end a value is set on two nodes alone, and goes with them: the known limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from apps.kademlia.claims import (
    delivered,
    few_copies_are_lost,
    found_everywhere,
    hops,
    leases_end,
    over_by,
    told_truly,
)
from apps.kit.demo import Finished, Lab, Running, Workload, outlast
from apps.kit.faults import PowerOff

GROUP = "kademlia_node"
CLIENTS = "kademlia_client"
TOPIC = "weather"
LEASE = 4.0
SETS = 24
FEW = "on-two"
LONG = 300.0
"""Seconds that a survey of fifty hosts may take, and those that are away stay away for it."""
PATIENCE = 20.0
"""Seconds in which nodes must have met again; a busy machine's, they take one or two."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    nodes, clients = lab.hosts(GROUP), lab.hosts(CLIENTS)
    client = clients[0]
    spared = [node for node in nodes if node not in clients]  # who asks needs power
    away = spared[-(len(nodes) // 3) :]
    left = [node for node in nodes if node not in away]
    meet(lab, nodes)
    alive, dying = left[-2], left[-1]
    talk = [
        lab.start(host, "kademlia", "subscribe", target(lab, host), TOPIC, "--for", 14)
        for host in lab.hosts(CLIENTS)
    ]
    talk.append(publisher(lab, alive, 12))
    dead = lab.start_shell(dying, f"timeout --signal=KILL 5 {publishing(lab, dying, 60)}")
    keys = keys_of(fill(lab, client, nodes, SETS))

    with ExitStack() as powerless:
        for host in away:
            powerless.enter_context(lab.inject(PowerOff(host), LONG))
        amid = fill(lab, client, left, 4)
        keys |= keys_of(amid)
        survey(lab, client, left, keys, "--holds")
        begun = began(survey(lab, client, left, keys))
    meet(lab, nodes)  # and only now the journals of all hosts can be read
    found = found_everywhere(lab.history(), at(lab), begun, left)
    lab.promised("with a third of the nodes gone, every key is found from all others", found)
    truly = told_truly(lab.history(), at(lab), began(amid))
    lab.promised("who keeps a value is who its set said does", truly)

    begun = began(survey(lab, client, nodes, keys))
    found = found_everywhere(lab.history(), at(lab), begun, nodes)
    lab.promised("they are back by themselves, and every key is found from every node", found)
    dead.wait()
    for running in talk:
        running.wait()
    until_gone(lab, client, dying)
    heard = delivered(lab.history(), lab.hosts(CLIENTS), 2)
    lab.promised("each subscriber found each publisher, and missed none of its updates", heard)
    lab.promised("a dead publisher's lease ends", leases_end(lab.history(), LEASE))
    lose(lab, client)
    figures(lab)


def play(lab: Lab, seconds: float) -> None:
    """Set and get, publish and subscribe for so long, whatever befalls the nodes."""
    nodes, clients = lab.hosts(GROUP), lab.hosts(CLIENTS)
    load = ("--for", seconds, "--callers", 2, "--think", 0.2, "--seed", lab.seed, "--timeout", 4)
    running = [lab.start(host, "kademlia", "fill", *targets(lab, nodes), *load) for host in clients]
    running += [publisher(lab, host, seconds) for host in clients]
    how = ("--for", seconds + 1)
    running += [
        lab.start(host, "kademlia", "subscribe", target(lab, host), TOPIC, *how) for host in clients
    ]
    outlast(lab, running)
    lab.calm()
    meet(lab, nodes)
    keys = {event["key"] for event in lab.history(None, "invoke") if event["f"] == "set"}
    begun = began(survey(lab, clients[0], nodes, keys))
    found = found_everywhere(lab.history(), at(lab), begun, nodes)
    lab.promised("what a living node kept is found from every node", found)
    for host in clients:
        until_gone(lab, clients[0], host)
    lab.promised("who publishes no longer is found no longer", leases_end(lab.history(), LEASE))
    figures(lab)


def meet(lab: Lab, nodes: Sequence[str]) -> None:
    """Wait until these nodes know each other, as many as a node knows."""
    ended = lab.run(
        lab.hosts(CLIENTS)[0], "kademlia", "meet", *targets(lab, nodes), "--within", PATIENCE
    )
    if ended.exit_status:
        lab.say(ended.stderr.strip())


def fill(lab: Lab, client: str, nodes: Sequence[str], count: int) -> Finished:
    """Set and get so many times made-up keys by these nodes."""
    how = ("--count", count, "--callers", 4, "--seed", lab.rng.randrange(10**6))
    return lab.run(client, "kademlia", "fill", *targets(lab, nodes), *how)


def survey(lab: Lab, client: str, nodes: Sequence[str], keys: Iterable[str], *how: str) -> Finished:
    """Get each of these keys from each of these nodes."""
    asked = [word for key in sorted(keys) for word in ("--key", key)]
    words = (*targets(lab, nodes), *asked, *how)
    return lab.run(client, "kademlia", "survey", *words, timeout=LONG)


def keys_of(ended: Finished) -> set[str]:
    """Give the keys that a client set."""
    return {e["key"] for e in ended.events if e["event"] == "invoke" and e["f"] == "set"}


def began(ended: Finished) -> float:
    """Give when a client asked its first question."""
    return min((e["t"] for e in ended.events if e["event"] == "invoke"), default=0.0)


def publishing(lab: Lab, host: str, seconds: float) -> str:
    """Give the command line of a publisher."""
    how = f"--lease {LEASE} --for {seconds} --json"
    return f"/opt/distlab/bin/python -m apps.kademlia publish {target(lab, host)} {TOPIC} {how}"


def publisher(lab: Lab, host: str, seconds: float) -> Running:
    """Start a publisher that ends well."""
    how = ("--lease", LEASE, "--for", seconds)
    return lab.start(host, "kademlia", "publish", target(lab, host), TOPIC, *how)


def until_gone(lab: Lab, client: str, publisher: str) -> None:
    """Search for a publisher until its lease is over; the claim says whether it is found."""
    by = over_by(lab.history(), LEASE).get(publisher)
    if by is None:
        return

    def over() -> bool:
        ended = lab.run(client, "kademlia", "client", target(lab, client), "lookup", TOPIC)
        return any(e["t"] > by for e in ended.events if e["event"] == "invoke")

    lab.wait_until(over, f"the lease of {publisher} is over", 3 * PATIENCE)


def lose(lab: Lab, client: str) -> None:
    """Set a value on two nodes alone, and have both of them begin anew, together."""
    here = target(lab, client)
    lab.run(client, "kademlia", "client", here, "set", FEW, "gone", 2)
    stored = [e for e in lab.history(None, "ok") if e["f"] == "set" and e["key"] == FEW]
    holders = [at(lab)[holder] for event in stored for holder in event["value"]["holders"]]
    for host in holders:
        lab.stop(host, GROUP)
    for host in holders:
        lab.restart(host, GROUP)
    meet(lab, lab.hosts(GROUP))
    lab.run(client, "kademlia", "client", here, "get", FEW)
    lab.limit("what is on two nodes is lost with them", few_copies_are_lost(lab.history(), FEW))


def figures(lab: Lab) -> None:
    """Keep how far the searches went."""
    taken = hops(lab.history())
    if taken:
        lab.figure("hops", sum(taken) / len(taken))
        lab.figure("most_hops", max(taken))


def at(lab: Lab) -> dict[str, str]:
    """Give the node at each address, as clients and nodes write it."""
    return {target(lab, node): node for node in lab.hosts(GROUP)}


def target(lab: Lab, host: str) -> str:
    """Give the address of a host's node."""
    return f"{lab.address(host)}:{lab.option(host, 'kademlia_node_port')}"


def targets(lab: Lab, hosts: Sequence[str]) -> list[str]:
    """Give the addresses of nodes."""
    return [target(lab, host) for host in hosts]


WORKLOAD = Workload(play, aims=(GROUP,), clients=(CLIENTS,))

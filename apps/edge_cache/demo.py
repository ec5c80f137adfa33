"""A crowd at the edge, leaders that die or are cut off, and a canonical server that is away.

Two hundred clients ask all edges for one image that none has. The leader is killed, and comes back;
then it is cut off from the other edges, which elect another, while it goes on to fetch and to write
in the name of an epoch that is over. At last the canonical server is stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.bully.claims import (
    TURNS,
    epochs_grow,
    one_coordinator_an_epoch,
    settled,
    two_coordinators,
    unbroken,
)
from apps.edge_cache.claims import (
    bytes_are_canonical,
    deposed_writes_are_refused,
    every_call_succeeds,
    one_origin_fetch,
    stale_is_served,
)
from apps.kit.claims import Event, Finding
from apps.kit.demo import Lab, Workload, outlast
from apps.kit.faults import Kill, Partition, injections
from apps.kit.retry import Deadline

CANONICAL = "edge_cache_canonical"
EDGES = "edge_cache_edge"
CLIENTS = "edge_cache_client"
CROWD = 201
PATIENCE = 12.0
"""Seconds in which the edges must have agreed on a leader; an election takes two."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    edges = lab.hosts(EDGES)
    leader = edges[-1]
    late, *drawn = lab.rng.sample(range(lab.option(edges[0], "edge_cache_canonical_images")), 4)
    ask(lab, "leader")
    findings = [agreed(lab, edges)]

    wanted = crowded(lab, drawn)
    max_age = float(lab.option(edges[0], "edge_cache_canonical_max_age"))
    lab.promised(
        "a crowd that wants one image causes one fetch, while the leader stays",
        one_origin_fetch(lab.history(), wanted, CROWD, max_age),
    )

    lab.inject(Kill(leader, EDGES))
    killed = injections(lab.history(), "kill")[-1]
    findings.append(agreed(lab, edges, since=killed["took"]))

    if edges[1:]:
        with lab.inject(Partition("isolate", (leader, *edges[:-1]))):
            findings.append(agreed(lab, edges[:-1]))
            get(lab, late, leader)  # it believes to lead still, and has all others keep the image
        await_refusal(lab, late)
        findings.append(agreed(lab, edges))
        history = lab.history()
        parted = injections(history, "partition")[-1]["t"]
        lab.limit("in a partition, two lead at once", two_coordinators(history, parted))

    lab.stop(lab.hosts(CANONICAL)[0], CANONICAL)
    lab.promised(
        "while the canonical server is off, what is kept is given, and marked stale",
        stale_is_served(stale_answers(lab, wanted)),
    )
    lab.restart(lab.hosts(CANONICAL)[0], CANONICAL)

    failed = [finding for finding in findings if not finding.holds]
    told = f"{len(findings)} times: after each fault, and after its end"
    lab.promised(
        "the highest live edge leads, after every kill and return",
        failed[0] if failed else Finding(True, told),
    )
    judge(lab)


def play(lab: Lab, seconds: float) -> None:
    """Get images for so long, whatever befalls the edges and the canonical server."""
    how = ("--for", seconds, "--callers", 4, "--think", 0.05, "--images", 60, "--seed", lab.seed)
    loads = [
        lab.start(host, "edge_cache", "client", targets(lab, lab.hosts(EDGES)), *how)
        for host in lab.hosts(CLIENTS)
    ]
    outlast(lab, loads)
    lab.calm()
    ask(lab, "leader")
    lab.promised("once all is calm, the highest edge leads", agreed(lab, lab.hosts(EDGES)))
    again = [event for edge in lab.hosts(EDGES) for event in get(lab, lab.rng.randrange(60), edge)]
    lab.promised("once all is calm, every edge gives images", every_call_succeeds(again))
    judge(lab)


def judge(lab: Lab) -> None:
    """State what holds whatever befalls the hosts, and what the caches did."""
    history = lab.history()
    promises = {
        "images are the canonical server's, byte by byte": bytes_are_canonical,
        "an epoch has one leader": one_coordinator_an_epoch,
        "no edge goes back to an earlier epoch": epochs_grow,
        "no edge keeps a deposed leader's write": deposed_writes_are_refused,
    }
    for claim, judged in promises.items():
        lab.promised(claim, unbroken(judged(history)))
    states = [event["cache"] for event in history if event["event"] == "answered"]
    lab.figure("hit_rate", round(states.count("hit") / max(1, len(states)), 3))
    lab.figure("stale_served", states.count("stale"))
    lab.figure("origin_fetches", sum(event["event"] == "origin_fetch" for event in history))


def crowded(lab: Lab, images: Sequence[int]) -> int:
    """Have a crowd ask for one image after the other, until no election fell into it; give that.

    A busy machine may be late, and a leader that is late is replaced.
    """
    for image in images:
        before = len(lab.history(EDGES, *TURNS))
        crowd(lab, image)
        if len(lab.history(EDGES, *TURNS)) == before:
            return image
        lab.say("the leader was replaced meanwhile; once more, with another image")
    return images[-1]


def crowd(lab: Lab, image: int) -> None:
    """Have a crowd ask for one image, each edge by as many."""
    edges, hosts = lab.hosts(EDGES), lab.hosts(CLIENTS)
    each = -(-CROWD // len(edges))
    how = ("--count", each, "--callers", each, "--image", image)
    clients = [
        lab.start(hosts[number % len(hosts)], "edge_cache", "client", targets(lab, turned), *how)
        for number, turned in enumerate(edges[n:] + edges[:n] for n in range(len(edges)))
    ]
    for client in clients:
        client.wait()


def get(lab: Lab, image: int, *edges: str) -> list[Event]:
    """Get an image of these edges; the client's events."""
    asked = ("client", targets(lab, edges), "get_image", image)
    return lab.run(lab.hosts(CLIENTS)[0], "edge_cache", *asked).events


def ask(lab: Lab, what: str) -> None:
    """Have all edges asked: of what was before this run, its history tells nothing."""
    lab.run(lab.hosts(CLIENTS)[0], "edge_cache", "client", targets(lab, lab.hosts(EDGES)), what)


def await_refusal(lab: Lab, image: int) -> None:
    """Wait until a write of this image was refused, or the patience is over."""
    deadline = Deadline(PATIENCE)

    def refused() -> bool:
        told = lab.history(EDGES, "replica_refused", "replica_kept")
        return any(event["image"] == image for event in told) or deadline.passed

    lab.wait_until(refused, f"the write of image {image} came through", 2 * PATIENCE)


def stale_answers(lab: Lab, image: int) -> list[Event]:
    """Wait until an image that all edges keep is stale, and get it of every edge."""
    deadline = Deadline(PATIENCE)

    def stale() -> bool:
        ends = [event for event in get(lab, image, *lab.hosts(EDGES)) if event["event"] == "ok"]
        return any(event["value"]["cache"] == "stale" for event in ends) or deadline.passed

    lab.wait_until(stale, f"image {image} is stale", 2 * PATIENCE)
    return [event for edge in lab.hosts(EDGES) for event in get(lab, image, edge)]


def agreed(lab: Lab, live: Sequence[str], since: float = 0.0) -> Finding:
    """Wait until the highest of these edges leads the others, or the patience is over.

    What was said before `since` does not count.
    """
    deadline = Deadline(PATIENCE)
    finding = Finding(None, "not looked at")

    def looked() -> bool:
        nonlocal finding
        finding = settled([e for e in lab.history() if e["t"] > since], live)
        return bool(finding.holds) or deadline.passed

    lab.wait_until(looked, f"{live[-1]} leads", 2 * PATIENCE)
    return finding


def targets(lab: Lab, edges: Sequence[str]) -> str:
    """Give edges as the client is told of them."""
    ports = {edge: lab.option(edge, "edge_cache_edge_port") for edge in edges}
    return ",".join(f"{lab.address(edge)}:{port}" for edge, port in ports.items())


WORKLOAD = Workload(play, aims=(EDGES, CANONICAL), clients=(CLIENTS,))

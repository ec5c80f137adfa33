"""Old and new programs, hostile buffers, and a network that fails, on several hosts.

The publishers' units write with the old schema and the new one in turn; one subscriber was built
with the old, the other with the new. First a client publishes as well, and of what it publishes
every third buffer is spoilt. Then a subscriber is cut off until it has lost something, and
publisher and subscriber are killed. Each reader's figures must be what really happened.
"""

from __future__ import annotations

from apps.flatbuffers_zmq.claims import (
    beginning_was_missed,
    delivered_is_what_was_sent,
    heard,
    hostile_is_refused,
    loss_is_counted,
    loss_was_seen,
    schemas_agree,
)
from apps.kit.claims import Event
from apps.kit.demo import Lab, Workload, outlast
from apps.kit.faults import Kill, Partition

P = "flatbuffers_zmq"
PUBLISHER = "flatbuffers_zmq_publisher"
SUBSCRIBER = "flatbuffers_zmq_subscriber"
CLIENT = "flatbuffers_zmq_client"
PORT = 5581
"""Where a client publishes, beside the units."""
MADE_UP = 300
HOSTILE = 0.33


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    send_hostile_ones(lab)
    cut_off(lab)
    kill_both_ends(lab)
    history = lab.history()
    judge(lab, history)
    lab.promised(
        "hostile buffers are refused, each of them, and nothing else is",
        hostile_is_refused(history),
    )
    lab.promised("old and new read each other", schemas_agree(history))
    lab.limit("who is cut off loses, and knows how much", loss_was_seen(history))
    lab.limit("who joins late has missed the beginning", beginning_was_missed(history))


def play(lab: Lab, seconds: float) -> None:
    """Subscribe from every client's host for so long, with either schema, whatever happens."""
    what = targets(lab)
    running = [
        lab.start(host, P, "subscribe", *what, "--schema", schema, "--for", seconds)
        for host in lab.hosts(CLIENT)
        for schema in ("old", "new")
    ]
    outlast(lab, running)
    lab.calm()
    hear_again(lab)
    judge(lab, lab.history())


def judge(lab: Lab, history: list[Event]) -> None:
    """State what holds under every fault."""
    lab.promised(
        "every buffer that is delivered is what was sent", delivered_is_what_was_sent(history)
    )
    lab.promised("received, refused and lost are counted exactly", loss_is_counted(history))


def send_hostile_ones(lab: Lab) -> None:
    """Publish from a client's host, every third buffer spoilt, for an old reader and a new one."""
    source, *others = lab.hosts(CLIENT)
    readers = [*others, *lab.hosts(SUBSCRIBER)][:2]
    lab.say(f"{source} publishes, every third buffer hostile; {', '.join(readers)} read")
    listening = [
        lab.start(
            host, P, "subscribe", f"{source}:{PORT}",
            "--schema", schema, "--count", MADE_UP, "--for", 60,
        )
        for host, schema in zip(readers, ("old", "new"), strict=True)
    ]  # fmt: skip
    lab.run(
        source, P, "publish", "--listen", lab.address(source), "--port", PORT,
        "--schema", "both", "--wait", len(listening), "--count", MADE_UP, "--rate", 300,
        "--hostile", HOSTILE, "--seed", lab.seed,
    )  # fmt: skip
    for reader in listening:
        reader.wait()


def cut_off(lab: Lab) -> None:
    """Cut a subscriber off from the publishers until it has lost something, and knows it."""
    host = lab.hosts(SUBSCRIBER)[0]
    others = [other for other in lab.hosts(PUBLISHER) if other != host]
    before = total_lost(lab, host)
    links = len(cuts(lab, host))
    with lab.inject(Partition("isolate", (host, *others))):
        lab.wait_until(lambda: len(cuts(lab, host)) > links, f"{host} is missed")
        enough = len(lab.history(PUBLISHER, "send")) + 20
        lab.wait_until(
            lambda: len(lab.history(PUBLISHER, "send")) >= enough, "more is published meanwhile"
        )
    lab.wait_until(lambda: total_lost(lab, host) > before, f"{host} counts what it lost")


def kill_both_ends(lab: Lab) -> None:
    """Kill a publisher, whose next run is another stream, and a subscriber, who joins anew."""
    lab.inject(Kill(lab.hosts(PUBLISHER)[-1], PUBLISHER))
    lab.inject(Kill(lab.hosts(SUBSCRIBER)[-1], SUBSCRIBER))
    hear_again(lab)


def hear_again(lab: Lab) -> None:
    """Claim that every subscriber hears every publisher, now that all is well."""
    publishers, subscribers = map(frozenset, (lab.hosts(PUBLISHER), lab.hosts(SUBSCRIBER)))
    since = max((event["t"] for event in lab.history()), default=0.0)

    def now() -> list[Event]:
        return [event for event in lab.history(SUBSCRIBER, "recv") if event["t"] > since]

    lab.wait_until(
        lambda: bool(heard(now(), publishers, subscribers).holds), "all hear all publishers"
    )
    found = heard(now(), publishers, subscribers)
    lab.promised("afterwards every subscriber hears every publisher", found)


def cuts(lab: Lab, host: str) -> list[Event]:
    """Give the connections that a subscriber's host has lost, as far as it is known."""
    links = lab.history(SUBSCRIBER, "link")
    return [e for e in links if e["node"] == host and e["what"] == "disconnected"]


def total_lost(lab: Lab, host: str) -> int:
    """Give what a host's unit counted as lost, as far as it is told."""
    counts = [event for event in lab.history(SUBSCRIBER, "counts") if event["node"] == host]
    return sum({(e["reader"], e["stream"]): int(e["lost"]) for e in counts}.values())


def targets(lab: Lab) -> list[str]:
    """Give the publishers' addresses, as subscribers take them."""
    return [
        f"{host}:{lab.option(host, 'flatbuffers_zmq_publisher_port')}"
        for host in lab.hosts(PUBLISHER)
    ]


WORKLOAD = Workload(
    play,
    aims=(SUBSCRIBER, PUBLISHER),
    clients=(CLIENT,),
    immune={"disk": "it keeps nothing on a disk"},
)

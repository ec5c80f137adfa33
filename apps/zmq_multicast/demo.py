"""One publisher, all subscribers: every message to everybody while the network loses a tenth.

First the clients' hosts are probed. In calm, norm delivers everything, one subscriber is killed,
and another comes late. Then 10,000 messages are published over epgm while every host loses a tenth
of what it sends, the repairs and the requests for them included; norm shows another face there. At
last one subscriber is cut off for longer than the publisher remembers, and a publisher is killed.
"""

from __future__ import annotations

from collections.abc import Collection

from apps.kit.claims import Finding
from apps.kit.demo import Finished, Lab, Running, Workload, outlast
from apps.kit.faults import Link, Partition
from apps.zmq_multicast.claims import (
    as_sent,
    figures,
    gap_is_told,
    heard_from_the_start,
    in_order_once,
    incomplete,
    joined_late,
    never_heard,
    reached_all,
    unbroken,
)

P = "zmq_multicast"
PUBLISHER = f"{P}_publisher"
SUBSCRIBER = f"{P}_subscriber"
CLIENTS = f"{P}_client"
LOST = 0.1
MANY = ("--count", 10_000, "--rate", 2500, "--stay", 2)
LEISURELY = ("--rate", 200, "--topic", "calm")
UNTIL_STOPPED = ("--for", 60)
SMALL_WINDOW = ("--bandwidth", 1000, "--recovery", 0.1)
"""12,500 bytes, some tens of messages, can be repaired."""
BEYOND = 200
"""Messages that the others hear while one is cut off: more than the small window holds."""
NORM_PORT = 5591
NORM = ("--transport", "norm", "--port", NORM_PORT)
REPAIRED = 6
"""Seconds in which norm repairs what a busy host dropped: whoever lacks something waits at random
before it asks (RFC 5740, section 5.3). What was dropped at the very end was once not back in 3."""
WITHIN = 50
"""Messages a second from each client's host while faults go on."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    one, other = lab.hosts(CLIENTS)[:2]
    probes = [
        lab.start(host, P, "probe", "--transport", transport)
        for host in (one, other)
        for transport in ("epgm", "norm")
    ]
    by_norm = [lab.start(host, P, "subscribe", *NORM) for host in lab.hosts(SUBSCRIBER)]
    lab.promised("the probe says that epgm and norm work here", works(probes))
    same = lab.start(other, P, "subscribe", "--topic", "calm")
    for host in lab.hosts(SUBSCRIBER):
        await_port(lab, host, NORM_PORT)
    await_port(lab, other, int(lab.option(other, f"{SUBSCRIBER}_port")))
    normal = in_calm(lab, same)
    over_a_lossy_network(lab, by_norm, normal)
    cut_off_too_long(lab)
    history = lab.history()
    lab.promised("nobody is handed a message twice, or out of order", in_order_once(history))
    lab.promised("what is handed over is what was published", as_sent(history))


def play(lab: Lab, seconds: float) -> None:
    """Publish from every client's host for so long, whatever befalls subscribers and network."""
    how = ("--for", seconds, "--rate", WITHIN, "--stay", 2, "--seed", lab.seed)
    outlast(lab, [lab.start(host, P, "publish", *how) for host in lab.hosts(CLIENTS)])
    lab.calm()
    last = [
        lab.run(host, P, "publish", "--count", 50, "--rate", 200) for host in lab.hosts(CLIENTS)
    ]
    for client in last:
        lab.promised(
            f"once all is calm, everybody hears {client.host}",
            reached_all(lab.history(), *stream_of(client), lab.hosts(SUBSCRIBER)),
        )
    history = lab.history()
    lab.promised("nobody is handed a message twice, or out of order", in_order_once(history))
    lab.promised("who hears a stream hears all of it from then on", unbroken(history))
    lab.promised("what is handed over is what was published", as_sent(history))
    for name, value in figures(history, lab.hosts(SUBSCRIBER)).items():
        lab.figure(name, value)


def works(probes: list[Running]) -> Finding:
    """Tell whether none of the probes found anything that is in the way."""
    ended = [probe.wait() for probe in probes]
    for probe in ended:
        if probe.exit_status:
            broken = tuple(e for e in probe.events if e["event"] == "check" and e["ok"] is False)
            return Finding(False, f"{probe.host}: {probe.stderr.strip()}", broken)
    return Finding(True, f"on {', '.join(sorted({probe.host for probe in ended}))}")


def in_calm(lab: Lab, same: Running) -> tuple[str, int]:
    """Publish over norm; and over epgm from a host that subscribes, with one killed, one late.

    What was published over norm is judged later, when its subscribers have said what they heard.
    """
    one, other = lab.hosts(CLIENTS)[:2]
    *others, killed = lab.hosts(SUBSCRIBER)
    epgm = lab.start(other, P, "publish", *LEISURELY, *UNTIL_STOPPED)
    norm = lab.start(one, P, "publish", *NORM, *LEISURELY, "--count", 400, "--stay", REPAIRED)
    await_stream(lab, "calm")
    lab.kill(killed, SUBSCRIBER)
    lab.run(one, P, "subscribe", "--topic", "calm", "--count", 50)
    stream, sent = stream_of(epgm.stop())
    normal = stream_of(norm.wait())
    same.stop()
    history = lab.history()
    lab.promised(
        "a killed subscriber is no loss to the others", reached_all(history, stream, sent, others)
    )
    lab.limit("who comes late misses the beginning", joined_late(history, stream, one))
    lab.limit(
        "over epgm, two of one host never hear each other",
        never_heard(history, stream, other, others),
    )
    lab.wait_ready(killed, SUBSCRIBER)
    return normal


def over_a_lossy_network(lab: Lab, by_norm: list[Running], normal: tuple[str, int]) -> None:
    """Publish while every host loses a tenth of all that it sends; judge norm, in calm and here."""
    one, other = lab.hosts(CLIENTS)[:2]
    subscribers = lab.hosts(SUBSCRIBER)
    with lab.inject(Link((one, other, *subscribers), loss=LOST)):
        lab.say("10,000 messages over epgm, and 1,500 over norm, while a tenth of all is lost")
        norm = lab.start(other, P, "publish", *NORM, "--count", 1500, "--rate", 1000)
        many = stream_of(lab.run(one, P, "publish", *MANY))
        slow = stream_of(norm.wait())
    for client in by_norm:
        client.stop()
    history = lab.history()
    lab.promised(
        "10,000 over epgm, a tenth lost: every subscriber has all of them, in order",
        reached_all(history, *many, subscribers),
    )
    lab.promised(
        "norm delivers all, in order, where nothing is lost",
        reached_all(history, *normal, subscribers),
    )
    lab.limit(
        "norm slows down where packets are lost, and does not deliver all in time",
        incomplete(history, *slow, subscribers),
    )


def cut_off_too_long(lab: Lab) -> None:
    """Cut one off until what it lacks has left the window; kill the publisher's unit meanwhile."""
    one, publisher = lab.hosts(CLIENTS)[0], lab.hosts(PUBLISHER)[0]
    cut, *others = lab.hosts(SUBSCRIBER)
    lab.say(f"{cut} is cut off for longer than the publisher remembers")
    pace = ("--rate", 300, "--topic", "window")
    publishing = lab.start(one, P, "publish", *pace, *SMALL_WINDOW, *UNTIL_STOPPED)
    stream = await_stream(lab, "window")
    with lab.inject(Partition("isolate", (cut, *others, one))):
        enough = count(lab, others[0], stream) + BEYOND
        lab.wait_until(lambda: count(lab, others[0], stream) >= enough, "the others hear more")
    ticks = set(joined(lab, "tick"))
    lab.kill(publisher, PUBLISHER)
    lab.wait_until(
        lambda: bool(gap_is_told(lab.history(SUBSCRIBER, "gap"), stream, cut).holds),
        "the gap is known",
    )
    published = stream_of(publishing.stop())
    again = await_stream(lab, "tick", but=ticks)
    history = lab.history()
    lab.promised("the others lack nothing meanwhile", reached_all(history, *published, others))
    lab.limit("what has left the window is a gap", gap_is_told(history, stream, cut))
    lab.promised(
        "a publisher that is back is heard from its first message on",
        heard_from_the_start(history, again, [cut, *others]),
    )


def await_port(lab: Lab, host: str, port: int) -> None:
    """Wait until somebody on a host has this UDP port."""
    look = f"grep -q ':{port:04X} ' /proc/net/udp"
    lab.wait_until(lambda: lab.shell(host, look).exit_status == 0, f"{host} subscribes")


def joined(lab: Lab, topic: str) -> dict[str, set[str]]:
    """Give the streams about a topic that the subscribers have joined, and who has."""
    found: dict[str, set[str]] = {}
    for event in lab.history(SUBSCRIBER, "joined"):
        if event["topic"] == topic:
            found.setdefault(event["stream"], set()).add(event["node"])
    return found


def await_stream(lab: Lab, topic: str, but: Collection[str] = ()) -> str:
    """Wait until every subscriber has joined one stream about a topic, none of these; its name."""
    everybody = set(lab.hosts(SUBSCRIBER))

    def found() -> list[str]:
        who = joined(lab, topic)
        return [name for name in who if name not in but and who[name] == everybody]

    lab.wait_until(lambda: bool(found()), f"every subscriber has joined a stream about {topic}")
    return found()[0]


def count(lab: Lab, node: str, stream: str) -> int:
    """Count what a subscriber was handed of a stream."""
    return sum(
        e["node"] == node and e["id"].startswith(f"{stream}#")
        for e in lab.history(SUBSCRIBER, "recv")
    )


def stream_of(client: Finished) -> tuple[str, int]:
    """Give the stream that a client published, and how many messages it has."""
    for event in client.events:
        if event["event"] == "summary":
            return event["stream"], event["sent"]
    raise RuntimeError(f"{client.host} published nothing: {client.stderr.strip()}")


WORKLOAD = Workload(
    play,
    aims=(SUBSCRIBER, PUBLISHER),
    clients=(CLIENTS,),
    immune={"reset": "datagrams have no connections", "disk": "nothing is kept on a disk"},
)

"""Datagrams from several hosts over a bad network; then a receiver paused and overrun.

First the senders themselves damage, double and delay some of what they send. Then the network does:
it loses, doubles, and lets them overtake each other. At last the receiver is paused until its
buffer overflows, and flooded. What the sender sent, what the receiver counted and what the kernel
dropped must agree to the last datagram.
"""

from __future__ import annotations

from apps.kit.claims import Event, Finding
from apps.kit.demo import Finished, Lab, Workload, outlast
from apps.kit.faults import Link, Pause
from apps.udp_oneway.claims import (
    counts_add_up,
    counts_are_what_came,
    figures,
    loss_was_seen,
    nothing_corrupt_was_delivered,
    reordering_was_seen,
)

RECEIVER = "udp_oneway_receiver"
SENDER = "udp_oneway_sender"
TEXT = "plain text from nc, and no number"
LOST = DOUBLED = 0.1
LATE = 0.01
"""Seconds that each datagram is late, and the most by which it is later or earlier than that."""
RATE = 100
"""Datagrams a second that each sender sends while faults go on."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    receiver = lab.hosts(RECEIVER)[0]
    port = int(lab.option(receiver, "udp_oneway_receiver_port"))
    target = f"{receiver}:{port}"
    report(lab, target)
    send_in_peace(lab, target)
    lab.promised("plain text of `nc -u` is counted, unnumbered", say_plainly(lab, receiver, port))
    bad = send_over_bad_links(lab, receiver, target)
    before = report(lab, target)
    send_to_a_paused_one(lab, receiver, port)
    lab.promised("what it counts is what came, one by one", counts_are_what_came(lab.history()))
    flood(lab, target)
    report(lab, target)
    history = lab.history()
    lab.promised("the counts add up: received and lost are what was sent", counts_add_up(history))
    lab.promised(
        "nothing corrupt is delivered, nor anything twice", nothing_corrupt_was_delivered(history)
    )
    lab.limit("datagrams are lost on the way", loss_was_seen(bad))
    lab.limit("datagrams come late and twice, and are told apart", reordering_was_seen(bad))
    overrun = [event for event in history if event["t"] >= before[0]["t"]]
    lab.limit("a receiver that is overrun loses, and knows how much", loss_was_seen(overrun))


def play(lab: Lab, seconds: float) -> None:
    """Send from every sender's host for so long, whatever befalls the receiver and the network."""
    receiver = lab.hosts(RECEIVER)[0]
    target = f"{receiver}:{lab.option(receiver, 'udp_oneway_receiver_port')}"
    how = ("--for", seconds, "--rate", RATE, "--seed", lab.seed)
    hosts = lab.hosts(SENDER)
    outlast(lab, [lab.start(host, "udp_oneway", "send", target, *how) for host in hosts])
    lab.calm()
    lab.promised("once all is calm, every sender is heard again", heard_again(lab, target))
    report(lab, target)
    history = lab.history()
    lab.promised("the counts add up: received and lost are what was sent", counts_add_up(history))
    lab.promised("what it counts is what came, one by one", counts_are_what_came(history))
    lab.promised(
        "nothing corrupt is delivered, nor anything twice", nothing_corrupt_was_delivered(history)
    )
    for name, value in figures(history).items():
        lab.figure(name, value)


def report(lab: Lab, target: str) -> list[Event]:
    """Ask the receiver for all that it counted."""
    return lab.run(lab.hosts(RECEIVER)[0], "udp_oneway", "report", target).events


def send(lab: Lab, host: str, target: str, *how: object) -> Finished:
    """Send made-up datagrams, then ask the receiver what it counted of them."""
    return lab.run(host, "udp_oneway", "send", target, *how, "--confirm", "--timeout", 10)


def send_in_peace(lab: Lab, target: str) -> None:
    """Send from every sender's host at once; one of them makes trouble."""
    lab.say("every sender's host sends; one damages, doubles and delays some of its datagrams")
    hosts = lab.hosts(SENDER)
    pace = ("--count", 500, "--rate", 500, "--confirm")
    trouble = ("--corrupt", 0.05, "--duplicate", 0.05, "--reorder", 0.05, "--seed", lab.seed)
    running = [lab.start(host, "udp_oneway", "send", target, *pace) for host in hosts]
    running.append(lab.start(hosts[-1], "udp_oneway", "send", target, *pace, *trouble))
    for sender in running:
        sender.wait()


def say_plainly(lab: Lab, receiver: str, port: int) -> Finding:
    """Send a line with nc, which knows nothing of numbers, and look for it at the receiver."""
    host = lab.hosts(SENDER)[0]
    lab.shell(host, f"echo '{TEXT}' | timeout 10 nc -u -q 0 {receiver} {port}")
    lab.wait_until(
        lambda: bool(lab.history(RECEIVER, "unnumbered")), "nc's datagram was counted", timeout=5
    )
    got = [event["text"] for event in lab.history(RECEIVER, "unnumbered")]
    return Finding(got == [TEXT], f"the receiver has {got}")


def send_over_bad_links(lab: Lab, receiver: str, target: str) -> list[Event]:
    """Send over a link that loses and doubles, and over an uneven one; give what is told of it."""
    host = lab.hosts(SENDER)[0]
    sent: list[Event] = []
    for fault in (
        Link((host,), (receiver,), loss=LOST, duplicate=DOUBLED),
        Link((host,), (receiver,), delay=LATE, jitter=LATE),
    ):
        with lab.inject(fault):
            sent += send(lab, host, target, "--count", 1000, "--rate", 500).events
    return [*sent, *lab.history(RECEIVER, "counts")]


def send_to_a_paused_one(lab: Lab, receiver: str, port: int) -> None:
    """Stop the receiver until its buffer overflows; it goes on before the sender is at its end."""
    lab.say("the receiver is paused until its buffer overflows")
    host = lab.hosts(SENDER)[0]
    before = dropped(lab, receiver, port)
    load = ("--count", 3000, "--rate", 1000, "--size", 4000, "--confirm", "--timeout", 10)
    with lab.inject(Pause(receiver, RECEIVER)):
        sender = lab.start(host, "udp_oneway", "send", f"{receiver}:{port}", *load)
        lab.wait_until(
            lambda: dropped(lab, receiver, port) > before, "the kernel drops datagrams", timeout=10
        )
    sender.wait()


def flood(lab: Lab, target: str) -> None:
    """Send from every host as fast as it goes."""
    lab.say("every sender's host sends as fast as it can")
    load = ("--count", 5000, "--confirm", "--brief")
    for sender in [
        lab.start(host, "udp_oneway", "send", target, *load) for host in lab.hosts(SENDER)
    ]:
        sender.wait()


def heard_again(lab: Lab, target: str) -> Finding:
    """Send a little from every sender's host; the receiver must have heard of each."""
    ended = [send(lab, host, target, "--count", 50, "--rate", 500) for host in lab.hosts(SENDER)]
    deaf = [client for client in ended if client.exit_status]
    if deaf:
        what = f"{deaf[0].host} was not: {deaf[0].stderr.strip()}"
        return Finding(False, what, tuple(deaf[0].events[-3:]))
    return Finding(True, f"{', '.join(client.host for client in ended)} were")


def dropped(lab: Lab, host: str, port: int) -> int:
    """Ask the host's kernel how many datagrams the port's socket dropped (proc(5), net/udp)."""
    lines = lab.shell(host, "cat /proc/net/udp").stdout.splitlines()[1:]
    return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(f":{port:04X}"))


WORKLOAD = Workload(
    play,
    aims=(RECEIVER,),
    clients=(SENDER,),
    immune={"reset": "datagrams have no connections", "disk": "nothing is kept on a disk"},
)

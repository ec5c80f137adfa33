"""Datagrams from several hosts, some damaged, doubled and late; then a receiver paused and overrun.

Nothing is lost on a quiet network, so loss is brought about at the receiver: it is stopped with
SIGSTOP until its buffer overflows, and flooded. What the sender sent, what the receiver counted and
what the kernel dropped must agree to the last datagram.
"""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab
from apps.udp_oneway.claims import (
    counts_add_up,
    loss_was_seen,
    nothing_corrupt_was_delivered,
    reordering_was_seen,
)

RECEIVER = "udp_oneway_receiver"
UNIT = "lab-udp-oneway-receiver.service"
TEXT = "plain text from nc, and no number"


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    receiver = lab.hosts(RECEIVER)[0]
    port = int(lab.option(receiver, "udp_oneway_receiver_port"))
    target = f"{receiver}:{port}"
    lab.run(receiver, "udp_oneway", "report", target)
    send_in_peace(lab, target)
    lab.promised("plain text of `nc -u` is counted, unnumbered", say_plainly(lab, receiver, port))
    send_to_a_paused_one(lab, receiver, port)
    flood(lab, target)
    lab.run(receiver, "udp_oneway", "report", target)
    history = lab.history()
    lab.promised("the counts add up: received and lost are what was sent", counts_add_up(history))
    lab.promised(
        "nothing corrupt is delivered, nor anything twice", nothing_corrupt_was_delivered(history)
    )
    lab.limit("datagrams are lost, and counted to the last", loss_was_seen(history))
    lab.limit("datagrams come late and twice, and are told apart", reordering_was_seen(history))


def send_in_peace(lab: Lab, target: str) -> None:
    """Send from every sender's host at once; one of them makes trouble."""
    lab.say("every sender's host sends; one damages, doubles and delays some of its datagrams")
    hosts = lab.hosts("udp_oneway_sender")
    pace = ("--count", 500, "--rate", 500, "--confirm")
    trouble = ("--corrupt", 0.05, "--duplicate", 0.05, "--reorder", 0.05, "--seed", lab.seed)
    running = [lab.start(host, "udp_oneway", "send", target, *pace) for host in hosts]
    running.append(lab.start(hosts[-1], "udp_oneway", "send", target, *pace, *trouble))
    for sender in running:
        sender.wait()


def say_plainly(lab: Lab, receiver: str, port: int) -> Finding:
    """Send a line with nc, which knows nothing of numbers, and look for it at the receiver."""
    host = lab.hosts("udp_oneway_sender")[0]
    lab.shell(host, f"echo '{TEXT}' | timeout 10 nc -u -q 0 {receiver} {port}")
    lab.wait_until(
        lambda: bool(lab.history(RECEIVER, "unnumbered")), "nc's datagram was counted", timeout=5
    )
    got = [event["text"] for event in lab.history(RECEIVER, "unnumbered")]
    return Finding(got == [TEXT], f"the receiver has {got}")


def send_to_a_paused_one(lab: Lab, receiver: str, port: int) -> None:
    """Stop the receiver until its buffer overflows; it goes on before the sender is at its end."""
    lab.say("the receiver is paused until its buffer overflows")
    host = lab.hosts("udp_oneway_sender")[0]
    before = dropped(lab, receiver, port)
    signal(lab, receiver, "STOP")
    try:
        load = ("--count", 3000, "--rate", 1000, "--size", 4000, "--confirm", "--timeout", 10)
        sender = lab.start(host, "udp_oneway", "send", f"{receiver}:{port}", *load)
        lab.wait_until(
            lambda: dropped(lab, receiver, port) > before, "the kernel drops datagrams", timeout=5
        )
    finally:
        signal(lab, receiver, "CONT")
    sender.wait()


def flood(lab: Lab, target: str) -> None:
    """Send from every host as fast as it goes."""
    lab.say("every sender's host sends as fast as it can")
    load = ("--count", 5000, "--confirm", "--brief")
    hosts = lab.hosts("udp_oneway_sender")
    for sender in [lab.start(host, "udp_oneway", "send", target, *load) for host in hosts]:
        sender.wait()


def signal(lab: Lab, host: str, name: str) -> None:
    """Send a signal to the receiver's unit."""
    ended = lab.shell(host, f"sudo -n systemctl kill --signal={name} {UNIT}")
    if ended.exit_status:
        raise RuntimeError(f"cannot send {name} to {UNIT} on {host}: {ended.stderr.strip()}")


def dropped(lab: Lab, host: str, port: int) -> int:
    """Ask the host's kernel how many datagrams the port's socket dropped (proc(5), net/udp)."""
    lines = lab.shell(host, "cat /proc/net/udp").stdout.splitlines()[1:]
    return sum(int(line.split()[-1]) for line in lines if line.split()[1].endswith(f":{port:04X}"))

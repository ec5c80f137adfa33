"""A sender is killed, one stops for breath again and again, one for long, one is hard to hear.

The killed one must be suspected, and taken back when it returns. The second's pauses grow: phi,
which has learnt from the short ones, forgives the long ones, and the fixed timeout does not. The
third is silent out of the blue, which fools both. Most of what the fourth says is lost, which fools
the timeout again and again, and phi seldom. Nothing is done to the others, and nobody may suspect
them. Where senders are few, the first is the third as well, and the second the fourth.
"""

from __future__ import annotations

from collections.abc import Sequence

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Workload, outlast
from apps.kit.faults import Link, Pause
from apps.udp_heartbeat.claims import (
    MONITOR,
    SENDER,
    all_are_alive,
    false_suspicions,
    healthy_are_trusted,
    left_alone,
    patience_is_slow,
    pause_fools_both,
    phi_errs_less,
    readmitted,
    signs_of_life,
    silent_are_suspected,
    suspected_in_time,
)

CLIENTS = "udp_heartbeat_client"
WITHIN = (0.5, 0.6, 0.65)
"""Pauses that no detector minds, as parts of the fixed timeout; phi learns from them.

The silence is longer than the pause by up to an interval, and by what the host's timer is late.
"""
BEYOND = (1.2, 1.3, 1.4)
"""Pauses that the fixed timeout minds."""
BETWEEN = 3
"""Heartbeats that are heard between two pauses."""
LONG = 2.5
"""A pause out of the blue, in timeouts."""
LONGER = 1.2
"""The next, in the longest silence that any detector trusts, where that fooled only one."""
AGAIN = 2
"""How often a longer one is tried."""
LOST = 0.7
"""The part of the fourth's heartbeats that does not arrive."""
ERRORS = 3
"""False suspicions by the fixed timeout, at least, that are waited for where datagrams are lost."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    monitor = lab.hosts(MONITOR)[0]
    killed, irregular, silent, lossy, healthy = cast(lab.hosts(SENDER))
    timeout = float(lab.option(monitor, f"{MONITOR}_timeout"))

    for host in dict.fromkeys((irregular, silent, lossy)):
        lab.restart(host, SENDER)  # a new life: phi has learnt nothing of it yet
    lost = Link((lossy,), (monitor,), loss=LOST)
    if lossy != irregular:
        lab.inject(lost)
    heard = hold(lab, silent, LONG * timeout)
    if silent == killed:
        fool_both(lab, silent, heard)
    lab.kill(killed, SENDER)
    lab.stop(killed, SENDER)  # or systemd would have it back within the bound
    for part in (*WITHIN, *BEYOND):
        pause(lab, irregular, part * timeout)
    if lossy == irregular:
        lab.inject(lost)
    lab.wait_until(lambda: states(lab, killed) == {"dead"}, f"{killed} is called dead", 60.0)
    lab.restart(killed, SENDER)
    if silent != killed:
        fool_both(lab, silent, heard)
    ask(lab, monitor)  # now, as phi forgets the pauses while the next is waited for
    lab.wait_until(lambda: phi_is_ahead(lab, lossy), f"{lossy} is suspected, and lives", 60.0)
    lab.calm()
    lab.wait_until(lambda: alive(lab), "all are taken back")

    history = lab.history()
    lab.promised(
        "a killed sender is suspected within the configured bound",
        suspected_in_time(history, killed, bounds(lab, monitor)),
    )
    lab.promised("a healthy one is not suspected", trusted(lab, healthy))
    lab.promised("a returning one is readmitted", readmitted(history, killed))
    lab.limit("a long pause out of the blue fools both", pause_fools_both(history, silent))
    lab.limit(
        "growing pauses fool phi less often than the timeout", phi_errs_less(history, irregular)
    )
    lab.limit("lost heartbeats fool phi less often, too", phi_errs_less(history, lossy))
    lab.limit("and phi pays for its patience in time", patience_is_slow(history, irregular, killed))
    figures(lab)


def cast(senders: Sequence[str]) -> tuple[str, str, str, str, list[str]]:
    """Give who is killed, irregular, silent, lossy, and healthy: of those there must be one."""
    killed, irregular, *others = senders
    silent = others.pop(0) if len(others) > 1 else killed
    lossy = others.pop(0) if len(others) > 1 else irregular
    return killed, irregular, silent, lossy, others


def play(lab: Lab, seconds: float) -> None:
    """Ask the monitor for its table for so long, whatever befalls it and the senders."""
    monitor = lab.hosts(MONITOR)[0]
    how = ("--for", seconds, "--think", 0.2, "--timeout", 2)
    outlast(
        lab,
        [
            lab.start(host, "udp_heartbeat", "status", target(lab, monitor), *how)
            for host in lab.hosts(CLIENTS)
        ],
    )
    lab.calm()
    lab.wait_until(lambda: alive(lab), "all are taken back")
    history = lab.history()
    lab.promised(
        "silence beyond the bound is suspected",
        silent_are_suspected(history, monitor, bounds(lab, monitor)),
    )
    if healthy := left_alone(history, lab.hosts(SENDER), monitor):
        lab.promised("one that nothing was done to is not suspected", trusted(lab, healthy))
    lab.promised("once all is calm, all are readmitted", all_are_alive(history, lab.hosts(SENDER)))
    figures(lab)


def bounds(lab: Lab, monitor: str) -> dict[str, float]:
    """Give the silence, in seconds, after which each detector suspects in any case."""
    named = {"fixed": "timeout", "phi": "ceiling"}
    return {name: float(lab.option(monitor, f"{MONITOR}_{of}")) for name, of in named.items()}


def trusted(lab: Lab, healthy: list[str]) -> Finding:
    """Judge those that nothing was done to, if there are any."""
    if not healthy:
        return Finding(None, "something was done to every sender; place one more")
    return healthy_are_trusted(lab.history(), healthy)


def figures(lab: Lab) -> None:
    """Keep how often each detector erred."""
    counts = false_suspicions(lab.history())
    lab.figure("false_suspicions", counts.total())
    for detector, count in counts.items():
        lab.figure(f"false_suspicions_{detector}", count)


def pause(lab: Lab, host: str, seconds: float) -> None:
    """Pause a sender for so long, and hear it for a while."""
    hear(lab, host, hold(lab, host, seconds))


def hold(lab: Lab, host: str, seconds: float) -> int:
    """Pause a sender for so long, by its host's own timer; give how often it was heard so far."""
    lab.inject(Pause(host, SENDER), seconds)
    return beats(lab, host)


def hear(lab: Lab, host: str, heard: int) -> None:
    """Wait until a sender, heard so often so far, was heard for a while."""
    lab.wait_until(lambda: beats(lab, host) >= heard + BETWEEN, f"{host} is heard again")


def fool_both(lab: Lab, host: str, heard: int) -> None:
    """Hear one that was held; where the monitor was late itself, and forgave it, hold it longer."""
    hear(lab, host, heard)
    longest = max(bounds(lab, lab.hosts(MONITOR)[0]).values())
    for _ in range(AGAIN):
        if pause_fools_both(lab.history(MONITOR, "transition"), host).holds:
            return
        pause(lab, host, LONGER * longest)


def ask(lab: Lab, monitor: str) -> None:
    """Ask the monitor for its table."""
    lab.run(monitor, "udp_heartbeat", "status", target(lab, monitor))


def target(lab: Lab, monitor: str) -> str:
    """Give where the monitor answers."""
    return f"{monitor}:{lab.option(monitor, f'{MONITOR}_port')}"


def beats(lab: Lab, peer: str) -> int:
    """Count the heartbeats of a sender that arrived."""
    return len(signs_of_life(lab.history(MONITOR, "recv")).get(peer, ()))


def states(lab: Lab, peer: str) -> set[str]:
    """Give what the detectors last said of a sender."""
    turns = [e for e in lab.history(MONITOR, "transition") if e["peer"] == peer]
    return {turn["state"] for turn in {turn["detector"]: turn for turn in turns}.values()}


def phi_is_ahead(lab: Lab, peer: str) -> bool:
    """Whether the timeout was wrong often enough, and phi, which learns, less often."""
    errors = false_suspicions(lab.history(MONITOR, "transition"), [peer])
    return errors["fixed"] >= ERRORS and errors["phi"] < errors["fixed"]


def alive(lab: Lab) -> bool:
    """Whether every sender is alive to both detectors."""
    return bool(all_are_alive(lab.history(MONITOR), lab.hosts(SENDER)).holds)


WORKLOAD = Workload(
    play,
    aims=(SENDER, MONITOR),
    clients=(CLIENTS,),
    immune={"reset": "heartbeats are datagrams"},
)

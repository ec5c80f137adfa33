"""A sender is killed, another stops for breath again and again, a third for once and for long.

The killed one must be suspected, and taken back when it returns. The second's pauses grow: phi,
which has learnt from the short ones, forgives the long ones, and the fixed timeout does not. The
third is silent out of the blue, which fools both. Nothing is done to the others, and nobody may
suspect them.
"""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab
from apps.udp_heartbeat.claims import (
    healthy_are_trusted,
    patience_is_slow,
    pause_fools_both,
    phi_errs_less,
    readmitted,
    suspected_in_time,
    suspicions,
)

SENDER = "udp_heartbeat_sender"
MONITOR = "udp_heartbeat_monitor"
UNIT = "lab-udp-heartbeat-sender.service"

WITHIN = (0.55, 0.65, 0.7)
"""Pauses that no detector minds, as parts of the fixed timeout; phi learns from them."""
BEYOND = (1.2, 1.3, 1.4)
"""Pauses that the fixed timeout minds."""
REST = 0.7
"""Seconds between two pauses."""
LONG = 2.5
"""A pause out of the blue, in timeouts."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    monitor = lab.hosts(MONITOR)[0]
    killed, irregular, silent, *healthy = lab.hosts(SENDER)
    timeout = float(lab.option(monitor, f"{MONITOR}_timeout"))
    ceiling = float(lab.option(monitor, f"{MONITOR}_ceiling"))

    lab.say(f"{killed} is killed; {irregular} and {silent} are paused; the rest beats on")
    lab.restart(irregular, SENDER)  # a new life: phi has learnt nothing of it yet
    pause(lab, irregular, [part * timeout for part in (*WITHIN, *BEYOND)])
    pause(lab, silent, [LONG * timeout])
    lab.kill(killed, SENDER)
    lab.stop(killed, SENDER)  # or systemd would have it back within the bound
    lab.wait_until(lambda: states(lab, killed) == {"dead"}, f"{killed} is called dead", 60.0)
    lab.restart(killed, SENDER)
    lab.wait_until(lambda: states(lab, killed) == {"alive"}, f"{killed} is taken back", 60.0)
    lab.wait_until(lambda: forgiven(lab, silent, 2), f"{silent} is heard again", 60.0)
    lab.wait_until(
        lambda: forgiven(lab, irregular, len(BEYOND)), f"{irregular} has had its pauses", 60.0
    )

    port = lab.option(monitor, f"{MONITOR}_port")
    lab.run(monitor, "udp_heartbeat", "status", f"{monitor}:{port}")
    history = lab.history()
    bounds = {"fixed": timeout, "phi": ceiling}
    lab.promised(
        "a killed sender is suspected within the configured bound",
        suspected_in_time(history, killed, bounds),
    )
    lab.promised("a healthy one is not suspected", trusted(lab, healthy))
    lab.promised("a returning one is readmitted", readmitted(history, killed))
    lab.limit("a long pause out of the blue fools both", pause_fools_both(history, silent))
    lab.limit(
        "growing pauses fool phi less often than the timeout", phi_errs_less(history, irregular)
    )
    lab.limit("and phi pays for its patience in time", patience_is_slow(history, irregular, killed))


def trusted(lab: Lab, healthy: list[str]) -> Finding:
    """Judge those that nothing was done to, if there are any."""
    if not healthy:
        return Finding(None, "every sender was killed or paused; place a fourth one")
    return healthy_are_trusted(lab.history(), healthy)


def pause(lab: Lab, host: str, seconds: list[float]) -> None:
    """Have the host stop and continue its sender, in the background, whatever becomes of us."""
    steps = [
        f"systemctl kill --signal=STOP {UNIT}; sleep {length:.2f}; "
        f"systemctl kill --signal=CONT {UNIT}; sleep {REST}"
        for length in seconds
    ]
    script = "; ".join(steps)
    lab.shell(host, f"sudo -n systemd-run --quiet --collect /bin/sh -c '{script}'")


def states(lab: Lab, peer: str) -> set[str]:
    """Give what the detectors last said of a sender."""
    turns = [e for e in lab.history(MONITOR, "transition") if e["peer"] == peer]
    return {turn["state"] for turn in {turn["detector"]: turn for turn in turns}.values()}


def forgiven(lab: Lab, peer: str, times: int) -> bool:
    """Whether so many false suspicions of a sender have ended, and none lasts."""
    all_of_it = suspicions(lab.history(MONITOR, "transition"), [peer])
    false = [suspicion for suspicion in all_of_it if suspicion.false]
    return len(false) >= times and all(suspicion.ended for suspicion in all_of_it)

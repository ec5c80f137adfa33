"""Leaders are killed, cut off and paused, and the resource takes one leader's writes.

The paused one wakes up, still believes to lead, and finishes the write that it was at: under an old
token, which the resource refuses.
"""

from __future__ import annotations

from apps.kit.claims import Event, Finding
from apps.kit.demo import Lab, Workload, outlast
from apps.kit.faults import Fault, Kill, Partition, Pause
from apps.kit.retry import Deadline
from apps.kit.zookeeper import SERVER
from apps.leader_election.claims import (
    beliefs,
    fence_holds,
    fence_refuses_who_still_believes,
    outcomes_are_true,
    succeeded_in_time,
    successions,
    tokens_have_one_leader,
    two_believe_at_once,
)

RESOURCE = "leader_election_resource"
NODE = "leader_election_node"
CLIENT = "leader_election_client"
BOUND = 15.0
"""Seconds beyond the session's in which another leader must have written."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    until_led(lab)
    leader = led_by(lab)
    lab.say(f"{leader} leads, and is killed")
    harm(lab, Kill(leader, NODE))
    leader = led_by(lab)
    lab.say(f"{leader} leads, and is cut off from the ensemble, but not from the resource")
    harm(lab, Partition("isolate", (leader, *sorted({*lab.hosts(SERVER)} - {leader}))))
    leader, token = led_by(lab), last_write(lab)["fence"]
    lab.say(f"{leader} leads, and is paused")
    harm(lab, Pause(leader, NODE))
    lab.say(f"{leader} wakes up, and finishes what it was at")
    lab.wait_until(lambda: wrote_late(lab, token), "it writes under its old token")
    verdict(lab)
    history = lab.history()
    harmed = [e for e in history if e["event"] == "inject"]
    bound = session_of(lab) + BOUND
    lab.promised(
        "a new leader writes within the session's time and a bound",
        succeeded_in_time(history, harmed, bound),
    )
    lab.limit(
        "a paused leader still believes, and the fence refuses it",
        fence_refuses_who_still_believes(history),
    )
    lab.limit("two may believe to lead at once", two_believe_at_once(history))
    for event, seconds in zip(harmed, successions(history, harmed), strict=True):
        lab.figure(f"after_{event['fault']['fault']}_s", round(seconds, 2))


def play(lab: Lab, seconds: float) -> None:
    """Watch who leads for so long, whatever befalls them; then a leader must write again."""
    watching = lab.start(
        lab.hosts(CLIENT)[0], "leader_election", "watch", address_of(lab), "--for", seconds
    )
    outlast(lab, [watching])
    lab.calm()
    verdict(lab)


def verdict(lab: Lab) -> None:
    """Wait until somebody leads, and judge."""
    again = led_again(lab)
    history = lab.history()
    lab.promised("the resource takes no older leader after a newer one", fence_holds(history))
    lab.promised("no token has two leaders", tokens_have_one_leader(history))
    lab.promised("what a leader is told of a write is true", outcomes_are_true(history))
    lab.promised("once all is calm, a leader writes", again)
    lab.attach("timeline.txt", beliefs(history))


def harm(lab: Lab, fault: Fault) -> None:
    """Let a fault befall the leader, until a later one writes."""
    before = last_write(lab)["fence"]
    with lab.inject(fault):
        lab.wait_until(lambda: last_write(lab)["fence"] > before, "another leader writes", 60.0)


def wrote_late(lab: Lab, token: int) -> bool:
    """Tell whether somebody wrote under a token after a later one was taken, in vain or not."""
    fences = [event["fence"] for event in lab.history(RESOURCE, "accepted", "refused")]
    later = next((place for place, fence in enumerate(fences) if fence > token), len(fences))
    return token in fences[later:]


def until_led(lab: Lab) -> None:
    """Wait until somebody leads."""
    lab.wait_until(lambda: bool(lab.history(RESOURCE, "accepted")), "a leader writes", 60.0)


def last_write(lab: Lab) -> Event:
    """Give the write that the resource took last."""
    return lab.history(RESOURCE, "accepted")[-1]


def led_by(lab: Lab) -> str:
    """Give the host of the leader, as the resource knows it."""
    return str(last_write(lab)["holder"])


def led_again(lab: Lab) -> Finding:
    """Wait whether the resource takes another write."""
    bound = session_of(lab) + BOUND
    before, deadline = len(lab.history(RESOURCE, "accepted")), Deadline(bound)

    def again() -> bool:
        return len(lab.history(RESOURCE, "accepted")) > before

    lab.wait_until(lambda: again() or deadline.passed, "a leader wrote or its time is over", 60.0)
    taken = lab.history(RESOURCE, "accepted")[before:]
    if not taken:
        return Finding(False, f"nobody wrote for {bound:g} s", tuple(lab.history()[-3:]))
    return Finding(True, f"{taken[0]['holder']} does, under token {taken[0]['fence']}")


def session_of(lab: Lab) -> float:
    """Give the nodes' session, in seconds."""
    return float(lab.option(lab.hosts(NODE)[0], f"{NODE}_session"))


def address_of(lab: Lab) -> str:
    """Give the resource's address, as clients take it."""
    host = lab.hosts(RESOURCE)[0]
    return f"{host}:{lab.option(host, f'{RESOURCE}_port')}"


WORKLOAD = Workload(
    play,
    aims=(NODE, SERVER, RESOURCE),
    clients=(CLIENT,),
    immune={"clock": "sessions and their ends go by the monotonic clock, and no wall clock counts"},
)

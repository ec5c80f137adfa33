"""Sensors publish at each quality of service, while everything between them and theirs breaks.

Two subscribers keep their sessions. The broker is restarted; what one subscriber confirms is lost
on the way, and a sensor cut off; the other subscriber is without power for a while. At last, and
apart from all that was promised, the broker is killed on a slow disk, where it confirms long before
it has saved.
"""

from __future__ import annotations

from apps.kit.demo import Lab, Running, Workload, outlast
from apps.kit.faults import Disk, Kill, Partition, PowerOff
from apps.kit.retry import Deadline
from apps.mqtt.claims import (
    BROKER,
    MARKS,
    SUBSCRIBER,
    copies,
    deliveries,
    exactly_once,
    forgetful,
    in_order,
    lost_at_qos0,
    lost_by_kill,
    nothing_lost,
    one_of_the_group,
    repeated_at_qos1,
    retained,
    served,
    will_fired,
)

P = "mqtt"
PUBLISHER, CLIENT = "mqtt_publisher", "mqtt_client"
JOBS = 40
MORE = 10
"""Deliveries of each QoS that are waited for between two faults."""
SILENCE = 1.0
"""Seconds without a delivery after which none is expected."""
ATTEMPTS = 3
SLOW = 0.02
"""Seconds that each write of the broker takes on the slow disk."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    broker, (first, second, *_) = lab.hosts(BROKER)[0], lab.hosts(SUBSCRIBER)
    loads = publishers(lab, 60.0)
    delivered(lab, first, second)
    share_jobs(lab)

    lab.say("the broker is restarted, in good order")
    lab.restart(broker, BROKER)
    delivered(lab, first, second)
    cut_off(lab, first, second)
    lab.say(f"{second} is without power for a while")
    with lab.inject(PowerOff(second)):  # and nobody can read its journal
        meanwhile = ("readings/+/+", "--count", 5 * MORE, "--for", 20)
        lab.run(lab.hosts(CLIENT)[0], P, "subscribe", target_of(lab), *meanwhile)
    delivered(lab, second)
    for load in loads:
        load.stop()
    quiet(lab)
    settle(lab)

    judge(lab)
    lab.promised("a job goes to one of the group", one_of_the_group(lab.history()))
    late_subscriber(lab)
    everybody = lab.hosts(SUBSCRIBER)
    lab.limit("QoS 0 loses", lost_at_qos0(lab.history(), everybody))
    lab.limit("QoS 1 repeats", repeated_at_qos1(lab.history()))
    kill_broker(lab, second)


def play(lab: Lab, seconds: float) -> None:
    """Publish for so long whatever befalls the hosts; then all that was confirmed must be there."""
    outlast(lab, publishers(lab, seconds))
    lab.calm()
    quiet(lab)
    settle(lab)
    history = lab.history()
    if why := forgetful(history):
        lost = nothing_lost(history, 1, lab.hosts(SUBSCRIBER))
        lab.say(f"the broker was {why}: it may have forgotten what it had confirmed; {lost.detail}")
    else:
        judge(lab)
    lab.promised("afterwards every subscriber is served", served(history, lab.hosts(SUBSCRIBER)))
    for qos in (1, 2):
        lab.figure(f"duplicated_qos{qos}", copies(history, qos))


def judge(lab: Lab) -> None:
    """State what holds as long as the broker ends in good order."""
    history, everybody = lab.history(), lab.hosts(SUBSCRIBER)
    lab.promised("QoS 1 loses nothing that was confirmed", nothing_lost(history, 1, everybody))
    lab.promised("QoS 2 delivers exactly once", exactly_once(history, everybody))
    lab.promised("what a publisher sent first is delivered first", in_order(history))


def publishers(lab: Lab, seconds: float) -> list[Running]:
    """Start clients that publish for so long: at QoS 1 by MQTT 5, at QoS 2 by MQTT 3.1.1."""
    host, rate = lab.hosts(CLIENT)[-1], ("--callers", 4, "--think", 0.1, "--seed", lab.seed)
    return [
        lab.start(
            host, P, "publish", target_of(lab), f"readings/{name}/{qos}", "--node", name,
            "--qos", qos, "--for", seconds, *rate, "--timeout", 8, *version,
        )
        for qos, name, version in ((1, "load1", ()), (2, "load2", ("--v311",)))
    ]  # fmt: skip


def share_jobs(lab: Lab) -> None:
    """Publish jobs, of which each goes to one of the group."""
    load = ("--qos", 2, "--count", JOBS, "--callers", 4, "--seed", lab.seed)
    lab.run(lab.hosts(CLIENT)[0], P, "publish", target_of(lab), "jobs/work", *load)


def cut_off(lab: Lab, subscriber: str, witness: str) -> None:
    """Lose all that one subscriber confirms, and cut a sensor off, until the other one is told."""
    sensor, broker = lab.hosts(PUBLISHER)[0], lab.hosts(BROKER)[0]
    others = [broker, *lab.hosts(SUBSCRIBER), *lab.hosts(CLIENT)]
    two = {f"subscriber-{subscriber}", f"publisher-{sensor}"}
    lab.wait_until(lambda: not two & offline(lab, witness), "both are there")
    lab.say(f"nothing of {subscriber} reaches the broker; {sensor} is cut off")
    with (
        lab.inject(Partition("isolate", (sensor, *dict.fromkeys(others)))),
        lab.inject(Partition("mute", (subscriber, broker))),
    ):
        lab.wait_until(lambda: two <= offline(lab, witness), "the broker has published their wills")
    lab.wait_until(lambda: not two & offline(lab, witness), "both are back")
    delivered(lab, *lab.hosts(SUBSCRIBER))
    fired = will_fired(lab.history(), f"publisher-{sensor}", sensor)
    lab.promised("the will is published when a client's host is cut off", fired)


def late_subscriber(lab: Lab) -> None:
    """Subscribe to the states after all of them were published."""
    groups = {"subscriber": lab.hosts(SUBSCRIBER), "publisher": lab.hosts(PUBLISHER)}
    clients = [f"{kind}-{host}" for kind, hosts in groups.items() for host in hosts]
    asked = ("state/#", "--count", len(clients), "--for", 5)
    heard = lab.run(lab.hosts(CLIENT)[0], P, "subscribe", target_of(lab), *asked)
    lab.promised("a late subscriber is given what is retained", retained(heard.events, clients))


def kill_broker(lab: Lab, away: str) -> None:
    """Kill the broker where it confirms long before it has saved, while a subscriber is away."""
    broker = lab.hosts(BROKER)[0]
    lab.say(f"on a slow disk the broker is killed; {away} subscribes again afterwards")
    for number in range(ATTEMPTS):  # what it had just saved is not lost
        lose_by_kill(lab, broker, away, f"last{number}")
        if lost_by_kill(lab.history(), lab.hosts(SUBSCRIBER)).holds:
            break
    lost = lost_by_kill(lab.history(), lab.hosts(SUBSCRIBER))
    lab.limit("kill -9 of the broker loses what it had confirmed and not saved", lost)


def lose_by_kill(lab: Lab, broker: str, away: str, node: str) -> None:
    """Kill the broker in the middle of what a node publishes, which somebody is yet to get."""
    lab.stop(away, SUBSCRIBER)
    with lab.inject(Disk(broker, BROKER, delay=SLOW)):
        last = (f"readings/{node}/1", "--node", node, "--for", 20, "--timeout", 20)
        load = lab.start(lab.hosts(CLIENT)[0], P, "publish", target_of(lab), *last)
        delivered(lab, *(host for host in lab.hosts(SUBSCRIBER) if host != away), more=3)
        lab.inject(Kill(broker, BROKER))
        load.stop()
    lab.restart(away, SUBSCRIBER)
    settle(lab)


def quiet(lab: Lab) -> None:
    """Stop the sensors; the demo's end starts them again."""
    for host in lab.hosts(PUBLISHER):
        lab.stop(host, PUBLISHER)


def settle(lab: Lab) -> None:
    """Wait until all that was published is delivered, or nothing comes any more."""
    everybody, host = lab.hosts(SUBSCRIBER), lab.hosts(CLIENT)[0]
    asked = lab.run(host, P, "publish", target_of(lab), f"{MARKS}2", "mark", "--qos", 2)
    marks = {e["id"] for e in asked.events if e["event"] == "send"}
    seen, silence = 0, Deadline(SILENCE)

    def over() -> bool:
        nonlocal seen, silence
        had = deliveries(lab.history())
        if len(had) > seen:
            seen, silence = len(had), Deadline(SILENCE)
        marked = {e["node"] for e in had if e["id"] in marks}
        return silence.passed and marked >= set(everybody)

    lab.wait_until(over, f"{', '.join(everybody)} have had everything")


def delivered(lab: Lab, *hosts: str, more: int = MORE) -> None:
    """Wait until each of these subscribers has had so many more messages at QoS 1 and at 2."""

    def counts() -> list[int]:
        had = [(e["node"], e["qos"]) for e in lab.history(SUBSCRIBER, "recv")]
        return [sum(n == host and q > 0 for n, q in had) for host in hosts]

    enough = [count + more for count in counts()]
    told = f"{', '.join(hosts)} had {more} messages more"
    lab.wait_until(lambda: all(a >= b for a, b in zip(counts(), enough, strict=True)), told)


def offline(lab: Lab, witness: str) -> set[str]:
    """Give the clients that are gone, as far as a subscriber was told that was never away itself.

    To who was, what it missed is told late, and the news may overtake it.
    """
    told = [e for e in lab.history(SUBSCRIBER, "presence") if e["node"] == witness]
    state = {e["client"]: e["state"] for e in told}
    return {client for client, last in state.items() if last == "offline"}


def target_of(lab: Lab) -> str:
    """Give the broker's address, as its clients take it."""
    broker = lab.hosts(BROKER)[0]
    return f"{broker}:{lab.option(broker, 'mqtt_broker_port')}"


WORKLOAD = Workload(play, aims=(BROKER, SUBSCRIBER, PUBLISHER), clients=(CLIENT,))

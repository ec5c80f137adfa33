"""Whoever is killed, everybody is answered: workers, the queue, the broker, Titanic.

Pirates ask the queue, others call services by name, others again hand requests to Titanic. All the
while a worker is killed whenever the last one is back at work, the broker is killed twice, and the
queue and Titanic once. Titanic is paused for longer than clients wait until they ask again, and has
then been asked twice. In the end requests are handed in that nobody works yet, and Titanic is
killed on a disk that forgets what was not synced: what has a ticket is answered all the same.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running, Workload, outlast
from apps.kit.faults import Disk, Pause
from apps.zeromq_reliable.claims import (
    accepted_twice,
    all_are_answered,
    first_come_first_asked,
    names_are_known,
    none_is_lost,
    one_reply_each,
    open_tickets,
    replies_are_right,
    told_truly,
    worked_twice,
)

QUEUE, PIRATE, BROKER, WORKER, TITANIC, CLIENT = (
    f"zeromq_reliable_{name}"
    for name in ("queue", "pirate", "broker", "worker", "titanic", "client")
)
OFFERED = ("echo", "upper", "titanic.request")
ROUNDS = ((BROKER,), (QUEUE, TITANIC), (BROKER,))
"""Who is killed, besides a worker and a pirate each time."""
HELD = 3.5
"""Seconds that Titanic is paused: longer than a client's attempt lasts."""
MORE = 25
"""Requests that pirates and workers have worked before somebody is killed again."""
KEPT = 20
"""Requests that wait on Titanic's disk when it is killed."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    find(lab)
    names = names_are_known(lab.history(), OFFERED)
    lab.promised("the broker finds services by their names", names)
    clients = crowds(lab, "--for", 600, "--callers", 2, "--think", 0.05)
    kill_them_all(lab)
    hold_titanic(lab)
    for client in clients:
        client.stop()
    history = lab.history()
    lab.promised("every pirate is answered", all_are_answered(history, ["ask"]))
    lab.promised("every call of a service is answered", all_are_answered(history, ["call"]))
    lab.promised("Titanic asks in the order in which it accepted", first_come_first_asked(history))
    keep_on_a_bad_disk(lab)
    verdict(lab)


def play(lab: Lab, seconds: float) -> None:
    """Ask, call and hand in for so long, whatever befalls the hosts; then judge."""
    how = ("--for", seconds, "--callers", 2, "--think", 0.1, "--timeout", 10)
    outlast(lab, crowds(lab, *how))
    lab.calm()
    find(lab)
    wait_for_replies(lab)
    lab.promised("afterwards everybody is answered", served_again(lab))
    history = lab.history()
    order = first_come_first_asked(history)
    if order.holds is not None:
        lab.promised("Titanic asks in the order in which it accepted", order)
    verdict(lab)
    asked = [e for e in history if e["event"] in ("unknown", "fail")]
    lab.figure("lost", len(asked))


def verdict(lab: Lab) -> None:
    """State what holds under every fault, and what nobody promises."""
    history = lab.history()
    lab.promised("every reply is to what was asked", replies_are_right(history))
    lab.promised("every client is told the truth", told_truly(history))
    lab.promised("no request with a ticket is lost", none_is_lost(history))
    lab.promised("a ticket has one reply", one_reply_each(history))
    lab.limit("a request may be worked twice", worked_twice(history))
    lab.limit("a request may get two tickets", accepted_twice(history))


def kill_them_all(lab: Lab) -> None:
    """Kill a worker and a pirate whenever the last ones are back, and the others in turn."""
    workers, pirates = itertools.cycle(lab.hosts(WORKER)), itertools.cycle(lab.hosts(PIRATE))
    for others in ROUNDS:
        lab.kill(next(workers), WORKER)
        lab.kill(next(pirates), PIRATE)
        for other in others:
            lab.kill(lab.hosts(other)[0], other)
        worked(lab)


def hold_titanic(lab: Lab) -> None:
    """Pause Titanic until clients ask again, so that it accepts what it was asked for twice."""
    lab.inject(Pause(lab.hosts(TITANIC)[0], TITANIC), HELD)
    lab.wait_until(
        lambda: bool(accepted_twice(lab.history(TITANIC, "accepted")).holds),
        "Titanic has accepted a request twice",
    )


def worked(lab: Lab) -> None:
    """Wait until pirates and workers have worked so many requests more."""

    def counts() -> list[int]:
        by = Counter(event["component"] for event in lab.history(None, "executed"))
        return [by["pirate"], by["worker"]]

    before = counts()
    lab.wait_until(
        lambda: all(n >= was + MORE for n, was in zip(counts(), before, strict=True)),
        f"{MORE} more requests are worked",
    )


def keep_on_a_bad_disk(lab: Lab) -> None:
    """Hand in what nobody works, kill Titanic on a disk that forgets, and fetch the replies."""
    lab.say("no worker is there; requests are handed in, and Titanic is killed on a bad disk")
    host, titanic = lab.hosts(CLIENT)[0], lab.hosts(TITANIC)[0]
    texts = [f"treasure {lab.rng.getrandbits(32):08x}" for _ in range(KEPT)]
    for worker in lab.hosts(WORKER):
        lab.stop(worker, WORKER)
    with lab.inject(Disk(titanic, TITANIC, forgets=True)):
        lab.run(host, "zeromq_reliable", "submit", target(lab), "upper", *texts, "--leave")
        lab.kill(titanic, TITANIC)
    for worker in lab.hosts(WORKER):
        lab.restart(worker, WORKER)
    lab.wait_ready(titanic, TITANIC)
    wait_for_replies(lab)


def wait_for_replies(lab: Lab) -> None:
    """Fetch the replies to all tickets that have none yet."""
    tickets = open_tickets(lab.history())
    if tickets:
        host = lab.hosts(CLIENT)[0]
        lab.run(host, "zeromq_reliable", "fetch", target(lab), *tickets, "--timeout", 30)


def served_again(lab: Lab) -> Finding:
    """Ask everybody once more, from every client's host."""
    clients = [
        lab.start(host, "zeromq_reliable", *words, "--timeout", 20)
        for host in lab.hosts(CLIENT)
        for words in verbs(lab, "again")
    ]
    ended = [client.wait() for client in clients]
    wrong = [run for run in ended if run.exit_status]
    told = f"{len(ended) - len(wrong)} of {len(ended)} clients were"
    return Finding(not wrong, told, tuple(e for run in wrong for e in run.events)[-3:])


def crowds(lab: Lab, *how: object) -> list[Running]:
    """Start on every client's host those who ask, who call and who hand in."""
    return [
        lab.start(host, "zeromq_reliable", *words, *how, "--seed", lab.seed)
        for host in lab.hosts(CLIENT)
        for words in verbs(lab)
    ]


def verbs(lab: Lab, *texts: object) -> Iterator[tuple[object, ...]]:
    """Give the command lines of the three kinds of clients."""
    yield "client", target(lab, QUEUE), *texts
    yield "call", target(lab), "echo", *texts
    yield "submit", target(lab), "upper", *texts


def find(lab: Lab) -> None:
    """Wait until all that is offered is found, and look for what is not."""
    host = lab.hosts(CLIENT)[0]

    def found(*names: str) -> bool:
        ended = lab.run(host, "zeromq_reliable", "find", target(lab), *names, "--timeout", 10)
        return {e["value"] for e in ended.events if e["event"] == "ok"} == {True}

    lab.wait_until(lambda: found(*OFFERED), "workers and Titanic have registered")
    found("tea")


def target(lab: Lab, component: str = BROKER) -> str:
    """Give the address of the broker, or of the queue."""
    host = lab.hosts(component)[0]
    return f"{lab.address(host)}:{lab.option(host, f'{component}_port')}"


WORKLOAD = Workload(play, aims=(TITANIC, BROKER, WORKER, QUEUE, PIRATE), clients=(CLIENT,))

"""Squares for two hosts, work shared by workers of whom one is killed and one cut off, and worse.

The killed worker and the one behind a partition each hold a lease; a request is waiting when the
server is killed, paused, and its connections are reset, over a network that loses packets. Every
task counts once all the same, and every client is told the truth: done, refused, or unknown.
"""

from __future__ import annotations

import time

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running, Workload, outlast
from apps.kit.faults import Kill, Link, Partition, Pause, Reset
from apps.kit.history import operations
from apps.kit.outcome import Unknown
from apps.tcp_squares.claims import (
    counted_once,
    lost_work_is_redone,
    outcomes_are_true,
    results_are_right,
    worked_twice,
)

SERVER = "tcp_squares_server"
CLIENT = "tcp_squares_client"
BAD = {
    "twelve": "'twelve' is not an integer",
    "1.5": "'1.5' is not an integer",
    "9" * 2001: "a number of 2001 digits; at most",
}
"""What is no number for the server, and how its complaint begins."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server = lab.hosts(SERVER)[0]
    target = target_of(lab)
    begun = time.monotonic()
    ask(lab, target)
    share(lab, server, target, max(1.0, time.monotonic() - begun))
    break_the_server(lab, server, target)
    refuse(lab, server, target)
    history = lab.history()
    lab.promised("each result is right", results_are_right(history))
    lab.promised("each task counts exactly once in its request", counted_once(history))
    lab.promised("what a lost worker left undone, another does", lost_work_is_redone(history))
    lab.promised("every client is told the true outcome", outcomes_are_true(history))
    lab.limit("a task may be worked twice", worked_twice(history))


def play(lab: Lab, seconds: float) -> None:
    """Ask, hand in requests and work for so long, whatever befalls the hosts; then judge."""
    target = target_of(lab)
    hosts = lab.hosts(CLIENT)
    verbs: dict[str, tuple[object, ...]] = {
        "client": ("--callers", 3, "--think", 0.1, "--timeout", 2, "--seed", lab.seed),
        "submit": ("--callers", 1, "--think", 0.2, "--timeout", 4, "--seed", lab.seed),
        "work": (),
    }
    clients = [
        lab.start(host, "tcp_squares", verb, target, "--for", seconds, *options)
        for host in hosts
        for verb, options in verbs.items()
    ]
    outlast(lab, clients)
    lab.calm()
    lab.promised("afterwards every host's request is worked", served_again(lab, target))
    history = lab.history()
    lab.promised("each result is right", results_are_right(history))
    lab.promised("each task counts exactly once in its request", counted_once(history))
    lab.promised("every client is told the true outcome", outcomes_are_true(history))
    redone = lost_work_is_redone(history)
    if redone.holds is not None:
        lab.promised("what a lost worker left undone, another does", redone)
    asked = operations(history, {"square": "square", "submit": "submit"})
    lab.figure("lost", sum(op.outcome != "ok" for op in asked))
    lab.figure("duplicated", sum(event["event"] == "dropped" for event in history))


def served_again(lab: Lab, target: str) -> Finding:
    """Hand in a request from every host, and have all that lies in the bag worked."""
    hosts = lab.hosts(CLIENT)
    helper = worker(lab, hosts[0], target, "helper")
    asked = [lab.start(host, "tcp_squares", "submit", target, "--timeout", 20) for host in hosts]
    ended = [client.wait() for client in asked]
    lab.wait_until(
        lambda: lost_work_is_redone(lab.history()).holds is not False, "what was lost is done"
    )
    helper.stop()
    wrong = [run for run in ended if run.exit_status]
    told = ", ".join(f"{run.host}: {run.events[-1]['event']}" for run in ended if run.events)
    return Finding(not wrong, told, tuple(e for run in wrong for e in run.events)[-3:])


def ask(lab: Lab, target: str) -> None:
    """Square the series on every client host, and what is no number on one of them."""
    lab.say("clients on several hosts have numbers squared, good ones and bad ones")
    hosts = lab.hosts(CLIENT)
    good = [lab.start(host, "tcp_squares", "client", target) for host in hosts]
    bad = {text: lab.start(hosts[0], "tcp_squares", "client", target, text) for text in BAD}
    for client in good:
        client.wait()
    lab.promised("what is no number is refused, and why", refusals(bad))


def refusals(bad: dict[str, Running]) -> Finding:
    """Look whether each bad number got the complaint that it deserves."""
    for text, client in bad.items():
        ended = client.wait()
        said = [event["error"] for event in ended.events if event["event"] == "fail"]
        if ended.exit_status != 4 or len(said) != 1 or not said[0].startswith(BAD[text]):
            return Finding(False, f"{text[:20]} ended with {ended.exit_status}, and said {said}")
    return Finding(True, f"{len(bad)} bad numbers, each told what is wrong with it")


def share(lab: Lab, server: str, target: str, slowly: float) -> None:
    """Let a request be worked by a worker that is killed, one that is cut off, and good ones.

    The one that is cut off must be at work until it is: it takes `slowly` (seconds), as long as
    clients have just taken to begin and end, which is longer than a fault takes.
    """
    hosts = lab.hosts(CLIENT)
    lab.say("two workers take tasks: one will be killed, the other's host cut off")
    doomed = worker(lab, hosts[0], target, "doomed", "--delay", 600)
    far = worker(lab, hosts[-1], target, "far", "--delay", slowly)
    numbers = [lab.rng.randrange(1000) for _ in range(20)]
    asked = lab.start(hosts[0], "tcp_squares", "submit", target, *numbers)
    lab.wait_until(lambda: len(holders(lab)) == 2, "both workers hold a lease")
    with lab.inject(Partition("isolate", (hosts[-1], server))):
        pid = next(name for name in holders(lab) if "doomed" in name).rpartition("-")[2]
        lab.shell(hosts[0], f"kill -KILL {pid}")
        lab.say("a better one does all, and the lease of the one that is cut off runs out")
        good = worker(lab, hosts[0], target, "good")
        asked.wait()
    lab.wait_until(
        lambda: bool(lab.history(SERVER, "dropped")),
        "its result came, too late",
        timeout=60 + slowly,
    )
    doomed.wait()
    for running in (far, good):
        running.stop()


def break_the_server(lab: Lab, server: str, target: str) -> None:
    """Do to the server what can be done, while clients ask and a request waits in its bag."""
    hosts = lab.hosts(CLIENT)
    lab.say("the server is killed while clients ask and a request waits")
    before = len(lab.history(SERVER, "submitted"))
    numbers = [lab.rng.randrange(1000) for _ in range(10)]
    waiting = lab.start(hosts[-1], "tcp_squares", "submit", target, *numbers)
    load = ("--for", 100, "--callers", 4, "--think", 0.05, "--timeout", 2, "--seed", lab.seed)
    crowds = [lab.start(host, "tcp_squares", "client", target, *load) for host in hosts]
    lab.wait_until(
        lambda: len(lab.history(SERVER, "submitted")) == before + 1, "the request is in the bag"
    )
    lab.inject(Kill(server, SERVER))
    lab.wait_until(
        lambda: len(lab.history(SERVER, "submitted")) == before + 2, "it was submitted again"
    )
    lab.inject(Reset(server, tuple(hosts)))
    with lab.inject(Pause(server, SERVER)):
        paused = lab.run(hosts[0], "tcp_squares", "client", target, 7, "--timeout", 1)
    told = Finding(paused.exit_status == Unknown.exit_status, paused.stderr.strip())
    lab.promised("a call to a paused server is unknown", told)
    with lab.inject(Link((server,), loss=0.1)):
        late = worker(lab, hosts[0], target, "late")
        waiting.wait()
    for running in (*crowds, late):
        running.stop()


def refuse(lab: Lab, server: str, target: str) -> None:
    """Ask while there is no server: that is refused, and must leave no trace."""
    lab.say("without a server, a call is refused")
    host = lab.hosts(CLIENT)[0]
    lab.stop(server, SERVER)
    asked = [
        lab.start(host, "tcp_squares", verb, target, 7, "--timeout", 1)
        for verb in ("client", "submit")
    ]
    for running in asked:
        running.wait()
    lab.restart(server, SERVER)


def target_of(lab: Lab) -> str:
    """Give the server's address, as its clients take it."""
    server = lab.hosts(SERVER)[0]
    return f"{server}:{lab.option(server, 'tcp_squares_server_port')}"


def worker(lab: Lab, host: str, target: str, name: str, *options: object) -> Running:
    """Start a worker that goes on until it is stopped; the name is part of its own."""
    node = f"{host}-{name}"
    return lab.start(host, "tcp_squares", "work", target, "--follow", "--node", node, *options)


def holders(lab: Lab) -> set[str]:
    """Give the workers that ever held a lease."""
    return {event["worker"] for event in lab.history(SERVER, "leased")}


WORKLOAD = Workload(play, aims=(SERVER,), immune={"disk": "it keeps nothing on a disk"})

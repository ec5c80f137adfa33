"""Squares for two hosts, work shared by four workers of whom one is killed, and a server killed.

The killed worker holds a lease; another worker is slower than its lease allows; a request is
waiting when the server dies. Every task counts once all the same, and every client is told the
truth: done, refused, or unknown.
"""

from __future__ import annotations

from apps.kit.claims import Finding
from apps.kit.demo import Lab, Running
from apps.tcp_squares.claims import (
    counted_once,
    lost_work_is_redone,
    outcomes_are_true,
    results_are_right,
)

SERVER = "tcp_squares_server"
BAD = {
    "twelve": "'twelve' is not an integer",
    "1.5": "'1.5' is not an integer",
    "9" * 2001: "a number of 2001 digits; at most",
}
"""What is no number for the server, and how its complaint begins."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server = lab.hosts(SERVER)[0]
    target = f"{server}:{lab.option(server, 'tcp_squares_server_port')}"
    ask(lab, target)
    share(lab, target, patience=float(lab.option(server, "tcp_squares_server_lease")))
    kill_the_server(lab, server, target)
    refuse(lab, server, target)
    history = lab.history()
    lab.promised("each result is right", results_are_right(history))
    lab.promised("each task counts exactly once in its request", counted_once(history))
    lab.promised("what a lost worker left undone, another does", lost_work_is_redone(history))
    lab.promised("every client is told the true outcome", outcomes_are_true(history))


def ask(lab: Lab, target: str) -> None:
    """Square the series on every client host, and what is no number on one of them."""
    lab.say("clients on several hosts have numbers squared, good ones and bad ones")
    hosts = lab.hosts("tcp_squares_client")
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


def share(lab: Lab, target: str, patience: float) -> None:
    """Let a request be worked by a worker that is killed, one that is too slow, and good ones."""
    hosts = lab.hosts("tcp_squares_client")
    lab.say("two workers take tasks: one will be killed, one is slower than its lease allows")
    doomed = worker(lab, hosts[0], target, "doomed", "--delay", 600)
    slow = worker(lab, hosts[-1], target, "slow", "--delay", patience + 1)
    numbers = [lab.rng.randrange(1000) for _ in range(20)]
    asked = lab.start(hosts[0], "tcp_squares", "submit", target, *numbers)
    lab.wait_until(lambda: len(holders(lab)) == 2, "both workers hold a lease")
    pid = next(name for name in holders(lab) if "doomed" in name).rpartition("-")[2]
    lab.say("one is killed with its lease, and two better ones begin")
    lab.shell(hosts[0], f"kill -KILL {pid}")
    helpers = [worker(lab, host, target, "good") for host in hosts]
    asked.wait()
    lab.wait_until(
        lambda: bool(lab.history(SERVER, "dropped")), "the slow worker brought its late result"
    )
    doomed.wait()
    for running in (slow, *helpers):
        running.stop()


def kill_the_server(lab: Lab, server: str, target: str) -> None:
    """Kill the server while it is asked, and while a request waits in its bag."""
    hosts = lab.hosts("tcp_squares_client")
    lab.say("the server is killed while clients ask and a request waits")
    before = len(lab.history(SERVER, "submitted"))
    numbers = [lab.rng.randrange(1000) for _ in range(10)]
    waiting = lab.start(hosts[-1], "tcp_squares", "submit", target, *numbers)
    load = ("--count", 400, "--callers", 4, "--think", 0.02, "--seed", lab.seed)
    crowds = [lab.start(host, "tcp_squares", "client", target, *load) for host in hosts]
    lab.wait_until(
        lambda: len(lab.history(SERVER, "submitted")) == before + 1, "the request is in the bag"
    )
    lab.kill(server, SERVER)
    lab.wait_until(
        lambda: len(lab.history(SERVER, "submitted")) == before + 2, "it was submitted again"
    )
    lab.run(hosts[0], "tcp_squares", "work", target)
    for running in (waiting, *crowds):
        running.wait()


def refuse(lab: Lab, server: str, target: str) -> None:
    """Ask while there is no server: that is refused, and must leave no trace."""
    lab.say("without a server, a call is refused")
    host = lab.hosts("tcp_squares_client")[0]
    lab.stop(server, SERVER)
    asked = [
        lab.start(host, "tcp_squares", verb, target, 7, "--timeout", 1)
        for verb in ("client", "submit")
    ]
    for running in asked:
        running.wait()
    lab.restart(server, SERVER)


def worker(lab: Lab, host: str, target: str, name: str, *options: object) -> Running:
    """Start a worker that goes on until it is stopped; the name is part of its own."""
    node = f"{host}-{name}"
    return lab.start(host, "tcp_squares", "work", target, "--follow", "--node", node, *options)


def holders(lab: Lab) -> set[str]:
    """Give the workers that ever held a lease."""
    return {event["worker"] for event in lab.history(SERVER, "leased")}

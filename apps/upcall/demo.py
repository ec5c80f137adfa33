"""Events for clients of every kind, while one is paused, one killed, one cut off; then the server.

Beside the units two clients listen: one is dialled by the server, one calls the server from its
callback. Publishers never stop.
"""

from __future__ import annotations

from collections.abc import Callable

from apps.kit.claims import Event
from apps.kit.demo import Lab, Running, Workload, outlast
from apps.kit.faults import Kill, Partition, Pause
from apps.kit.history import messages, operations
from apps.upcall.claims import (
    PUBLISH,
    called_back_in,
    delivered_once,
    evicted_in_time,
    evicted_miss,
    in_order,
    others_undisturbed,
    told_to_all,
)

P = "upcall"
SERVER, SUBSCRIBER, CLIENT = "upcall_server", "upcall_subscriber", "upcall_client"


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    wait_registered(lab, set(lab.hosts(SUBSCRIBER)))
    dialled, calling = start_listeners(lab)
    publishing = publishers(lab, 60.0)
    lab.wait_until(lambda: bool(calls(lab)), "somebody is called up")
    trouble_clients(lab)
    publishing.stop()
    calling.stop()  # before the server is killed: a call under way would be unsure
    called_in = called_back_in(lab.history())
    kill_server(lab)
    dialled.stop()
    judge(lab)
    lab.promised("a callback that calls in is answered, and returns", called_in)
    lab.limit("who is evicted misses what is told meanwhile", evicted_miss(lab.history()))


def play(lab: Lab, seconds: float) -> None:
    """Publish for so long whatever befalls the clients and the server; then all must be told."""
    outlast(lab, [publishers(lab, seconds)])
    lab.calm()
    told_again(lab)
    judge(lab)
    outcomes = operations(lab.history(), PUBLISH)
    lab.figure("lost", sum(op.outcome != "ok" for op in outcomes))
    upcalls = messages(lab.history(), sent=(), received="called", id_=upcall_of)
    lab.figure("duplicated", sum(upcall.copies for upcall in upcalls))


def judge(lab: Lab) -> None:
    """State what holds under every fault."""
    history = lab.history()
    lab.promised("each event is delivered once to each live client", delivered_once(history))
    lab.promised("in the server's order, without a gap", in_order(history))
    late = evicted_in_time(history)
    if late.holds is not None:
        lab.promised("a dead client is evicted within the bound", late)


def trouble_clients(lab: Lab) -> None:
    """Pause a client, kill another, cut the first off: the others are told as before."""
    first, *others = lab.hosts(SUBSCRIBER)
    everybody = (first, *lab.hosts(SERVER), *others, *lab.hosts(CLIENT))
    lab.say(f"the subscriber on {first} is paused, then cut off; the one on {others[-1]} killed")
    for claim, fault in (
        ("a paused client disturbs nobody", Pause(first, SUBSCRIBER)),
        ("a client that is cut off disturbs nobody", Partition("isolate", everybody)),
    ):
        before = len(ends(lab, first))
        with lab.inject(fault):
            lab.wait_until(more(lambda: ends(lab, first), before), f"{first} is evicted")
            evicted = ends(lab, first)[-1]
            lab.wait_until(more(lambda: calls(lab), len(calls(lab))), "the others are called")
        wait_registered(lab, {first})
        since = evicted["t"] - evicted.get("waited", 0.0)
        until = max(event["t"] for event in calls(lab))
        lab.promised(claim, others_undisturbed(lab.history(), {first}, since, until))
    lab.inject(Kill(others[-1], SUBSCRIBER))
    wait_registered(lab, set(lab.hosts(SUBSCRIBER)))


def kill_server(lab: Lab) -> None:
    """Kill the server under its publishers; everybody registers with the next."""
    server = lab.hosts(SERVER)[0]
    lab.say("the server is killed: its publishers are unsure, its clients register again")
    publishing = publishers(lab, 3.0)
    before = len(calls(lab))
    lab.wait_until(more(lambda: calls(lab), before), "clients are called up")
    lab.inject(Kill(server, SERVER))
    publishing.wait()
    lab.wait_ready(server, SERVER)
    told_again(lab)


def told_again(lab: Lab) -> None:
    """Claim that every subscriber is told, now that all is well."""
    names = set(lab.hosts(SUBSCRIBER))
    wait_registered(lab, names)
    lab.run(lab.hosts(CLIENT)[0], P, "publish", target_of(lab), "all is well")
    found = told_to_all(lab.history(), names)
    lab.promised("afterwards every subscriber is told", found)


def start_listeners(lab: Lab) -> list[Running]:
    """Start a client that is dialled, and one whose callback calls in; wait for both."""
    host = lab.hosts(CLIENT)[0]
    started = [
        lab.start(host, P, "listen", target_of(lab), "--node", f"{host}-{name}", *options)
        for name, options in {
            "dialled": ("--back", lab.address(host)),
            "calling": ("--reply", "heard"),
        }.items()
    ]
    lab.wait_until(lambda: len(registered(lab)) >= 2 + len(lab.hosts(SUBSCRIBER)), "both listen")
    return started


def publishers(lab: Lab, seconds: float) -> Running:
    """Start a crowd that publishes for so long."""
    host = lab.hosts(CLIENT)[-1]
    load = ("--for", seconds, "--callers", 3, "--think", 0.1, "--seed", lab.seed)
    return lab.start(host, P, "publish", target_of(lab), *load, "--timeout", 8)


def wait_registered(lab: Lab, names: set[str]) -> None:
    """Wait until the clients of these names are subscribed, as far as the server knows."""
    lab.wait_until(lambda: names <= registered(lab), f"{', '.join(sorted(names))} registered")


def registered(lab: Lab) -> set[str]:
    """Ask the server who is subscribed."""
    asked = lab.run(lab.hosts(CLIENT)[0], P, "status", target_of(lab))
    told = [event for event in asked.events if event["event"] == "status"]
    subscriptions = told[-1]["subscriptions"] if told else ()
    return {one["subscription"].partition("/")[0] for one in subscriptions}


def more(found: Callable[[], list[Event]], before: int) -> Callable[[], bool]:
    """Give whether there are more of these events than before."""
    return lambda: len(found()) > before


def upcall_of(called: Event) -> tuple[str, str]:
    """Name an upcall by its event and its subscription."""
    return called["id"], called["subscription"]


def calls(lab: Lab) -> list[Event]:
    """Give the upcalls of the units."""
    return lab.history(SUBSCRIBER, "called")


def ends(lab: Lab, host: str) -> list[Event]:
    """Give the evictions of a host's unit."""
    evicted = lab.history(SERVER, "evicted")
    return [event for event in evicted if event["subscription"].startswith(f"{host}/")]


def target_of(lab: Lab) -> str:
    """Give the server's address, as its clients take it."""
    server = lab.hosts(SERVER)[0]
    return f"{server}:{lab.option(server, 'upcall_server_port')}"


WORKLOAD = Workload(
    play,
    aims=(SERVER, SUBSCRIBER),
    clients=(CLIENT,),
    immune={"disk": "it keeps nothing on a disk"},
)

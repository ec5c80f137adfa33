"""Every recipe at once on several hosts, as the ensemble loses a member; then again on leftovers.

Hosts play all recipes, a thread for each, and meanwhile the ensemble's leader is killed, and a unit
that works the queue. Then clients die inside of locks, and give up at a barrier, and all is played
again on what they and the first time left behind.
"""

from __future__ import annotations

from apps.kit.claims import Event
from apps.kit.demo import Lab, Running, Workload, outlast, servers_of
from apps.kit.faults import Kill
from apps.kit.zookeeper import PORT, SERVER
from apps.zookeeper_recipes.claims import (
    acknowledged_once,
    counted_exactly,
    lock_excludes,
    locked_writes_are_not_lost,
    nobody_goes_first,
    party_is_whole,
    readers_share,
    semaphore_bounds,
    versions_are_skipped,
    walked,
    watched_in_order,
    writers_are_alone,
)

P = "zookeeper_recipes"
MEMBER = "zookeeper_recipes_member"
CLIENT = "zookeeper_recipes_client"
TIMES = 12
AGAIN = 4
LONG = 60.0
"""Seconds in which all must have met, whatever befell the ensemble."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    before = counter(lab)
    lab.say("a session is walked through, and threads of one process meet at a barrier")
    ask(lab, "session", "-n", "/distlab/recipes/walk", "-v", "hello")
    ask(lab, "barrier", "--parties", 4, "--threads", 4, "--path", "/distlab/recipes/threads")
    lab.say("all recipes are played at once; the ensemble loses a member, the queue a worker")
    running = contenders(lab, "--parties", len(lab.hosts(CLIENT)), "--times", TIMES)
    under_way(lab)
    lab.inject(Kill(leader(lab), SERVER))
    lab.inject(Kill(lab.hosts(MEMBER)[0], MEMBER))
    for client in running:
        client.wait()
    leave_things_behind(lab)
    lab.say("all is played again, on what was left behind")
    for client in contenders(lab, "--parties", len(lab.hosts(CLIENT)), "--times", AGAIN):
        client.wait()
    verdict(lab, before)
    history = lab.history()
    lab.promised(
        "nobody goes through a barrier, or leaves it, before all", nobody_goes_first(history)
    )
    lab.promised("a session's ephemeral node is gone with it", walked(history))
    lab.limit("readers share", readers_share(history))
    lab.limit("who watches may miss a change that others follow", versions_are_skipped(history))


def play(lab: Lab, seconds: float) -> None:
    """Contend on every client's host for so long, whatever happens."""
    before = counter(lab)
    outlast(lab, contenders(lab, "--times", 10_000, "--for", seconds))
    lab.calm()
    verdict(lab, before)


def verdict(lab: Lab, before: int) -> None:
    """Wait until the queue is worked off and everybody is in the party, and judge."""
    members = lab.hosts(MEMBER)
    final = counter(lab)
    lab.wait_until(lambda: not waiting(lab), "the queue is worked off", LONG)
    lab.wait_until(
        lambda: bool(party_is_whole(ask(lab, "party"), members).holds), "all are in the party", LONG
    )
    history = lab.history()
    for claim, finding in {
        "no two hold a lock at once": lock_excludes(history),
        "what is done inside a lock is not lost": locked_writes_are_not_lost(history),
        "who writes is alone": writers_are_alone(history),
        "a semaphore lets no more in than it has leases": semaphore_bounds(history),
        "the counter counts each addition once": counted_exactly(history, final, before),
        "each item is acknowledged once, whoever dies": acknowledged_once(history, waiting(lab)),
        "who watches never sees an older version": watched_in_order(history),
        "who is alive is in the party": party_is_whole(history, members),
    }.items():
        lab.promised(claim, finding)


def contenders(lab: Lab, *options: object) -> list[Running]:
    """Start a process on each client's host that plays all recipes."""
    how = (*options, "--hold", 0.05, "--seed", lab.seed, "--timeout", LONG)
    return [
        lab.start(host, P, "contend", servers_of(lab, SERVER, PORT), *how)
        for host in lab.hosts(CLIENT)
    ]


def leave_things_behind(lab: Lab) -> None:
    """Have clients die inside a lock, a read lock, a semaphore, and one give up at a barrier."""
    lab.say("clients die inside of locks, and one gives up at a barrier")
    host = lab.hosts(CLIENT)[0]
    dying = [
        lab.start(
            host,
            P,
            "lock",
            servers_of(lab, SERVER, PORT),
            kind,
            "--crash",
            "--node",
            f"{host}-{kind}",
        )
        for kind in ("lock", "write", "semaphore")
    ]
    dying.append(
        lab.start(
            host, P, "barrier", servers_of(lab, SERVER, PORT), "--parties", 9, "--timeout", 0.5
        )
    )
    for client in dying:
        client.wait()


def under_way(lab: Lab) -> None:
    """Wait until the contenders are in the middle of it."""
    begun = len(lab.history(MEMBER, "taken"))
    lab.wait_until(lambda: len(lab.history(MEMBER, "taken")) > begun + 3, "the queue is worked")


def counter(lab: Lab) -> int:
    """Ask what the counter is."""
    found = [event for event in ask(lab, "counter") if event["event"] == "ok"]
    return int(found[-1]["value"])


def waiting(lab: Lab) -> list[str]:
    """Ask what waits in the queue."""
    found = [event for event in ask(lab, "queue", "list") if event["event"] == "waiting"]
    return list(found[-1]["items"]) if found else ["?"]


def ask(lab: Lab, recipe: str, *words: object) -> list[Event]:
    """Have a client play a recipe; give its events."""
    host = lab.hosts(CLIENT)[0]
    done = lab.run(host, P, recipe, servers_of(lab, SERVER, PORT), *words, "--timeout", LONG)
    return done.events


def leader(lab: Lab) -> str:
    """Give the ensemble's leader, as the servers say themselves; else the first of them."""
    asking = lab.hosts(CLIENT)[0]
    for server in servers_of(lab, SERVER, PORT).split(","):
        host, port = server.split(":")
        if "leader" in lab.shell(asking, f"echo srvr | timeout 3 nc -N {host} {port}").stdout:
            return host
    return lab.hosts(SERVER)[0]


WORKLOAD = Workload(
    play,
    aims=(MEMBER, SERVER),
    clients=(CLIENT,),
    immune={"clock": "nothing here asks what time it is"},
)

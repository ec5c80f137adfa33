"""Clients post to a ledger that they found by name, while servant and naming service are killed.

Who holds the servant's reference does not miss the naming service; who has still to find it does.
The servant binds its name again. A call to a servant that is paused is of unknown outcome, one to a
servant that is cut off is refused: CORBA says so itself, and the servant's log agrees.
"""

from __future__ import annotations

from apps.corba.claims import (
    book_adds_up,
    names_are_bound_again,
    posted_as_told,
    unknown_posts,
    watchers_are_told_in_order,
)
from apps.kit.claims import Finding
from apps.kit.demo import Finished, Lab, Running, Workload, outlast
from apps.kit.faults import Kill, Link, Partition, Pause
from apps.kit.history import operations
from apps.kit.outcome import Refused, Rejected, Unknown

NAMING = "corba_naming"
SERVER = "corba_server"
CLIENT = "corba_client"
BETWEEN = 30
"""Calls that are answered before the next fault."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server, naming, target = lab.hosts(SERVER)[0], lab.hosts(NAMING)[0], target_of(lab)
    host, far = lab.hosts(CLIENT)[0], lab.hosts(CLIENT)[-1]
    lab.say("clients find the ledger by its name, and a watcher is called back")
    watching = watch(lab, far, target)
    loads = start(lab, target, "--for", 100, "--timeout", 20)
    answered(lab)
    overdrawn = lab.run(host, "corba", "client", target, "post", "nobody", "-1")
    status(lab, "an exception of the interface is a definite no", overdrawn, Rejected.exit_status)

    lab.say("the naming service is stopped: who has the reference goes on")
    lab.stop(naming, NAMING)
    answered(lab)
    lost = lab.run(host, "corba", "client", target, "post", "late", 1, "--timeout", 1)
    status(lab, "who has still to find the ledger is refused", lost, Refused.exit_status)
    lab.restart(naming, NAMING)
    lab.wait_until(lambda: begun_again(lab), "the name is bound")
    found = lab.run(host, "corba", "client", target, "post", "late", 1)
    status(lab, "a new naming service knows the ledger within a moment", found, 0)

    lab.say("both are killed under the calls, then the servant is paused, and cut off")
    lab.inject(Kill(naming, NAMING))
    lab.inject(Kill(server, SERVER))
    answered(lab)
    lab.wait_until(lambda: begun_again(lab), "the name is bound once more")
    with lab.inject(Pause(server, SERVER)):
        paused = lab.run(host, "corba", "client", target, "post", "late", 1, "--timeout", 1)
    status(lab, "a call to a paused servant is unknown", paused, Unknown.exit_status)
    with lab.inject(Partition("isolate", (server, *lab.hosts(CLIENT)))):
        cut = lab.run(host, "corba", "client", target, "post", "late", 1, "--timeout", 1)
    status(lab, "a call to a servant that is cut off is refused", cut, Refused.exit_status)
    with lab.inject(Link((server,), loss=0.1)):
        answered(lab)
    for load in (*loads, watching):
        load.stop()
    judge(lab)
    lab.promised("the servant binds its name again", names_are_bound_again(lab.history()))
    lab.limit("a lost answer leaves a call unknown", unknown_posts(lab.history()))


def play(lab: Lab, seconds: float) -> None:
    """Post for so long, whatever befalls the hosts; then judge."""
    target = target_of(lab)
    clients = start(lab, target, "--for", seconds, "--timeout", 3)
    outlast(lab, clients)
    lab.calm()
    host = lab.hosts(CLIENT)[0]
    again = lab.run(host, "corba", "client", target, "post", "afterwards", 1, "--timeout", 20)
    status(lab, "afterwards the ledger is found by its name", again, 0)
    judge(lab, watched=False)
    asked = operations(lab.history(), {"post": "post"})
    lab.figure("lost", sum(op.outcome == "unknown" for op in asked))


def judge(lab: Lab, *, watched: bool = True) -> None:
    """State the claims that hold under every fault."""
    history = lab.history()
    lab.promised("every call was executed as its caller was told", posted_as_told(history))
    adds_up = book_adds_up(history)
    if adds_up.holds is not None:
        lab.promised("the book adds up", adds_up)
    if watched:
        told = watchers_are_told_in_order(history)
        lab.promised("a watcher is told of what was written, in order", told)


def begun_again(lab: Lab) -> bool:
    """Look whether the naming service is ready, and was told the name."""
    lab.wait_ready(lab.hosts(NAMING)[0], NAMING)
    return names_are_bound_again(lab.history()).holds is True


def status(lab: Lab, claim: str, ended: Finished, wanted: int) -> None:
    """Promise that a client ended with an exit status."""
    told = ended.stderr.strip() or "it was answered"
    lab.promised(claim, Finding(ended.exit_status == wanted, told, tuple(ended.events)))


def target_of(lab: Lab) -> str:
    """Give the naming service's address, as clients take it."""
    naming = lab.hosts(NAMING)[0]
    return f"{naming}:{lab.option(naming, 'corba_naming_port')}"


def start(lab: Lab, target: str, *options: object) -> list[Running]:
    """Start clients on every client host."""
    amount = (*options, "--callers", 3, "--think", 0.05, "--seed", lab.seed)
    return [lab.start(host, "corba", "client", target, *amount) for host in lab.hosts(CLIENT)]


def watch(lab: Lab, host: str, target: str) -> Running:
    """Start a watcher, and wait until the servant knows it."""
    watching = lab.start(host, "corba", "watch", target)
    lab.wait_until(lambda: bool(lab.history(SERVER, "watched")), "the servant knows the watcher")
    return watching


def answered(lab: Lab) -> None:
    """Wait until so many calls more than now were executed."""

    def count() -> int:
        return len(lab.history(SERVER, "executed"))

    before = count()
    lab.wait_until(lambda: count() >= before + BETWEEN, "the clients are answered")


WORKLOAD = Workload(play, aims=(SERVER, NAMING), immune={"disk": "it keeps nothing on a disk"})

"""Guests are greeted while the greeter is killed, paused, cut off; ears listen behind a firewall.

A greeting that waits holds no thread of the server, so many wait at once. The ear's host admits no
connection: it is called back over the one that it made. What a call's caller is told, the greeter's
log is held against.
"""

from __future__ import annotations

from apps.ice.claims import (
    answers_are_theirs,
    ears_hear_all_in_order,
    greeted_as_told,
    unknown_greetings,
)
from apps.kit.claims import Finding
from apps.kit.demo import Finished, Lab, Running, Workload, outlast
from apps.kit.faults import Kill, Link, Partition, Pause, Reset
from apps.kit.history import operations
from apps.kit.outcome import Refused, Rejected, Unknown

SERVER = "ice_server"
CLIENT = "ice_client"
BETWEEN = 30
"""Greetings before the next fault."""
AT_ONCE = 40
"""Greetings that wait at the same time: more than the server has threads."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    server, target = lab.hosts(SERVER)[0], target_of(lab)
    host, far = lab.hosts(CLIENT)[0], lab.hosts(CLIENT)[-1]
    lab.say("guests are greeted, and an ear hears it over its own connection")
    hearing = listen(lab, far, target)
    loads = start(lab, target, "--for", 100, "--timeout", 20)
    greeted(lab)
    crowd = ("--count", AT_ONCE, "--callers", AT_ONCE, "--after", 1000, "--timeout", 20)
    waited = lab.run(host, "ice", "client", target, *crowd, "--seed", lab.seed)
    lab.promised("many greetings wait at once, and hold no thread", all_greeted(waited))
    unkind = lab.run(host, "ice", "client", target, "Ada", "--language", "xx")
    status(lab, "an exception of the interface is a definite no", unkind, Rejected.exit_status)
    late = lab.run(host, "ice", "client", target, "Ada", "--after", 3000, "--timeout", 1)
    status(lab, "an invocation that times out is unknown", late, Unknown.exit_status)

    lab.say("the greeter is killed under the calls, its connections are reset")
    lab.inject(Kill(server, SERVER))
    greeted(lab)
    lab.inject(Reset(server, tuple(lab.hosts(CLIENT))))
    greeted(lab)
    lab.say("it is paused, and cut off")
    with lab.inject(Pause(server, SERVER)):
        paused = lab.run(host, "ice", "client", target, "Ada", "--timeout", 1)
    silent = (Refused.exit_status, Unknown.exit_status)
    status(lab, "a call to a paused greeter is refused, or unknown if it was sent", paused, *silent)
    with lab.inject(Partition("isolate", (server, *lab.hosts(CLIENT)))):
        cut = lab.run(host, "ice", "client", target, "Ada", "--timeout", 1)
    status(lab, "a call to a greeter that is cut off is refused", cut, Refused.exit_status)
    with lab.inject(Link((server,), loss=0.1)):
        greeted(lab)
    for load in (*loads, hearing):
        load.stop()
    judge(lab)
    hears = ears_hear_all_in_order(lab.history())
    lab.promised("an ear hears every greeting once, in order, while it is connected", hears)
    lab.limit("a lost answer leaves a call unknown", unknown_greetings(lab.history()))


def play(lab: Lab, seconds: float) -> None:
    """Greet for so long, whatever befalls the hosts; then judge."""
    target = target_of(lab)
    outlast(lab, start(lab, target, "--for", seconds, "--timeout", 3))
    lab.calm()
    again = lab.run(lab.hosts(CLIENT)[0], "ice", "client", target, "Ada", "--timeout", 20)
    status(lab, "afterwards the greeter greets", again, 0)
    judge(lab)
    asked = operations(lab.history(), {"greet": "greet"})
    lab.figure("lost", sum(op.outcome == "unknown" for op in asked))


def judge(lab: Lab) -> None:
    """State the claims that hold under every fault."""
    history = lab.history()
    lab.promised("every call was executed as its caller was told", greeted_as_told(history))
    lab.promised("every answer is that of its own call", answers_are_theirs(history))


def all_greeted(ended: Finished) -> Finding:
    """Look whether a load had no failure."""
    summaries = [event for event in ended.events if event["event"] == "summary"]
    told = ", ".join(f"{e['answered']} answered, {e['failed']} failed" for e in summaries)
    good = bool(summaries) and not summaries[0]["failed"]
    return Finding(good, told or ended.stderr.strip(), tuple(summaries))


def status(lab: Lab, claim: str, ended: Finished, *wanted: int) -> None:
    """Promise that a client ended with one of these exit statuses."""
    told = ended.stderr.strip() or "it was answered"
    lab.promised(claim, Finding(ended.exit_status in wanted, told, tuple(ended.events)))


def target_of(lab: Lab) -> str:
    """Give the greeter's address, as clients take it."""
    server = lab.hosts(SERVER)[0]
    return f"{server}:{lab.option(server, 'ice_server_port')}"


def start(lab: Lab, target: str, *options: object) -> list[Running]:
    """Start guests on every client host."""
    amount = (*options, "--callers", 3, "--think", 0.05, "--seed", lab.seed)
    return [lab.start(host, "ice", "client", target, *amount) for host in lab.hosts(CLIENT)]


def listen(lab: Lab, host: str, target: str) -> Running:
    """Start an ear, and wait until the greeter knows it."""
    hearing = lab.start(host, "ice", "listen", target, "--timeout", 30)
    lab.wait_until(lambda: bool(lab.history(SERVER, "listens")), "the greeter knows the ear")
    return hearing


def greeted(lab: Lab) -> None:
    """Wait until so many guests more than now were greeted."""

    def count() -> int:
        return len(lab.history(SERVER, "executed"))

    before = count()
    lab.wait_until(lambda: count() >= before + BETWEEN, "guests are greeted")


WORKLOAD = Workload(play, aims=(SERVER,), immune={"disk": "it keeps nothing on a disk"})

"""Every pattern across hosts, in peace and under its own fault.

Requests through the broker, with garbage on every port beside them; a pipeline; a broadcast that
waits for its subscribers. Then what ZeroMQ loses without a word, and how much: the beginning for
who joins late, the middle for who is slow, what a killed worker had, and the request that was with
a broker when it died.
"""

from __future__ import annotations

from collections.abc import Iterator

from apps.kit.claims import Event, Finding
from apps.kit.demo import Finished, Lab, Running, Workload, outlast
from apps.kit.faults import Partition, Pause
from apps.zeromq import claims, zmtp

SERVER, BROKER, REPLIER = "zeromq_server", "zeromq_broker", "zeromq_replier"
FORWARDER, SUBSCRIBER = "zeromq_forwarder", "zeromq_subscriber"
WORKER, SINK = "zeromq_worker", "zeromq_sink"
CLIENT = "zeromq_client"
LISTENERS = (
    (SERVER, "zeromq_server_port"),
    (BROKER, "zeromq_broker_port"),
    (BROKER, "zeromq_broker_back"),
    (FORWARDER, "zeromq_forwarder_publishers"),
    (FORWARDER, "zeromq_forwarder_port"),
    (SINK, "zeromq_sink_port"),
    (SINK, "zeromq_sink_totals"),
)
"""Every port that is bound."""
HUGE = (zmtp.GREETING + zmtp.ready("DEALER"), zmtp.huge(1 << 40))
ABUSE = ((b"GET / HTTP/1.0\r\n\r\n",), (zmtp.GREETING[:30],), HUGE)
"""No ZMTP, half a handshake, and a frame that no memory can hold."""
DEALS = "zeromq_broker_back"
"""Whoever shakes hands there is a replier to ZeroMQ, and is dealt requests until it is gone."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    ask_amid_abuse(lab)
    share_work(lab)
    begin_together(lab)
    join_late(lab)
    slow = lab.hosts(SUBSCRIBER)[-1]
    be_slow(lab, slow)
    kill_a_worker(lab)
    kill_the_broker(lab)
    history = lab.history()
    lab.promised("every answer is that of its own request", claims.own_answers(history))
    lab.promised("no request is taken twice", claims.taken_once(history))
    lab.promised("totals are right: each task is counted once", claims.totals_are_right(history))
    lab.promised("a broadcast that waits reaches all, whole", claims.began_together(history))
    lab.promised("updates keep their order", claims.in_order(history))
    lab.limit("who joins late misses the beginning", claims.slow_joiner(history))
    lab.limit("who is slow loses the middle", claims.slow_subscriber(history, slow))
    lab.limit("tasks are lost with the worker that had them", claims.lost_with_worker(history))
    lab.limit("a request is lost with its broker, and not sent again", claims.stuck(history))


def play(lab: Lab, seconds: float) -> None:
    """Ask, publish and ventilate for so long whatever befalls the hosts; then all goes well."""
    hosts = lab.hosts(CLIENT)
    load = ("--for", seconds, "--callers", 3, "--think", 0.1, "--timeout", 2, "--seed", lab.seed)
    updates = ("--for", seconds, "--rate", 50, "--settle", 5)
    batches = ("--for", seconds, "--count", 30, "--work", 5, "--timeout", 2)
    running = [lab.start(host, "zeromq", "request", broker(lab), *load) for host in hosts]
    running.append(lab.start(hosts[0], "zeromq", "publish", forwarder(lab), *updates))
    running.append(ventilating(lab, hosts[-1], *batches))
    outlast(lab, running)
    lab.calm()
    lab.promised("once all is calm, every pattern works again", works_again(lab))
    history = lab.history()
    lab.promised("every answer is that of its own request", claims.own_answers(history))
    lab.promised("no request is taken twice", claims.taken_once(history))
    lab.promised("no result is counted twice", claims.results_come_once(history))
    lab.promised("totals are right: each task is counted once", claims.totals_are_right(history))
    lab.promised("updates keep their order", claims.in_order(history))
    for name, value in claims.figures(history).items():
        lab.figure(name, value)


def ask_amid_abuse(lab: Lab) -> None:
    """Ask the broker and the server from every client's host; send garbage to every port."""
    lab.say("crowds ask the broker and the server; every port gets garbage beside them")
    load = ("--count", 150, "--callers", 4, "--think", 0.02, "--seed", lab.seed)
    server = at(lab, SERVER, "zeromq_server_port")
    crowds = [
        lab.start(host, "zeromq", "request", asked, *load)
        for host in lab.hosts(CLIENT)
        for asked in (broker(lab), server)
    ]
    sent = "".join(f"{zmtp.shell(*bad)} | timeout 2 nc {to} & " for bad, to in abused(lab))
    lab.shell(lab.hosts(CLIENT)[0], f"({sent} wait) > /dev/null")
    ended = [crowd.wait() for crowd in crowds]
    failed = [e for run in ended for e in run.events if e["event"] in {"fail", "unknown"}]
    told = f"{len(failed)} requests of {len(ended)} crowds failed"
    lab.promised("garbage on every port harms nobody", Finding(not failed, told, (*failed[:3],)))


def abused(lab: Lab) -> Iterator[tuple[tuple[bytes, ...], str]]:
    """Give what is sent, and where, as nc takes it."""
    for component, option in LISTENERS:
        host, _, port = at(lab, component, option).partition(":")
        for bad in ABUSE:
            if (bad, option) != (HUGE, DEALS):
                yield bad, f"{host} {port}"


def share_work(lab: Lab) -> None:
    """Ventilate a batch, with all workers there."""
    workers = len(lab.hosts(WORKER))
    lab.say(f"a batch of tasks for {workers} workers")
    ventilating(lab, lab.hosts(CLIENT)[-1], "--count", 300, "--workers", workers).wait()


def begin_together(lab: Lab) -> None:
    """Broadcast from one host as fast as it goes, once a subscriber on each client's host hears."""
    lab.say("a broadcast waits for its subscribers")
    publisher, *_ = hosts = lab.hosts(CLIENT)
    how = ("--subscribers", len(hosts), "--count", 2000)
    joined = [lab.start(host, "zeromq", "join", publisher) for host in hosts]
    lab.run(publisher, "zeromq", "broadcast", "--listen", lab.address(publisher), *how)
    for subscriber in joined:
        subscriber.wait()


def join_late(lab: Lab) -> None:
    """Broadcast without waiting for anybody, to subscribers that try to connect already."""
    lab.say("a broadcast that waits for nobody")
    publisher, *_ = hosts = lab.hosts(CLIENT)
    how = ("--subscribers", 0, "--for", 2, "--rate", 500)
    joined = [lab.start(host, "zeromq", "join", publisher) for host in hosts]
    lab.run(publisher, "zeromq", "broadcast", "--listen", lab.address(publisher), *how)
    for subscriber in joined:
        subscriber.wait()


def be_slow(lab: Lab, slow: str) -> None:
    """Pause a subscriber until more is published than its queues hold; then it finds the gap."""
    lab.say(f"the subscriber of {slow} is paused until it has lost updates")
    how = ("--for", 60, "--rate", 1000, "--size", 1000, "--settle", 5, "--topic", "flood")
    with lab.inject(Pause(slow, SUBSCRIBER)):
        publishing = lab.start(lab.hosts(CLIENT)[0], "zeromq", "publish", forwarder(lab), *how)
        lab.wait_until(
            lambda: any(tally["last"] > 2500 for tally in heard(lab, "flood")),
            "the others have had more than queues hold",
        )
    lab.wait_until(
        lambda: any(tally["lost"] for tally in heard(lab, "flood")), f"{slow} finds the gap"
    )
    publishing.stop()


def heard(lab: Lab, topic: str) -> list[Event]:
    """Give what the subscribers have counted of a topic."""
    told = lab.history(SUBSCRIBER, "tally")
    return claims.tallies(event for event in told if event["topic"] == topic)


def heard_by_all(lab: Lab) -> Finding:
    """Publish until every subscriber hears it."""
    how = ("--for", 60, "--rate", 20, "--settle", 20, "--topic", "end")
    publishing = lab.start(lab.hosts(CLIENT)[0], "zeromq", "publish", forwarder(lab), *how)
    wanted = set(lab.hosts(SUBSCRIBER))
    lab.wait_until(
        lambda: wanted <= {tally["node"] for tally in heard(lab, "end")},
        "every subscriber hears the forwarder",
    )
    publishing.stop()
    return Finding(True, f"{len(wanted)} subscribers hear")


def kill_a_worker(lab: Lab) -> None:
    """Kill a worker in the middle of a batch."""
    host = lab.hosts(WORKER)[0]
    lab.say(f"the worker of {host} is killed in the middle of a batch")
    workers = len(lab.hosts(WORKER))
    long = ("--count", 200 * workers, "--work", 10, "--workers", workers, "--timeout", 1.5)
    before = len(lab.history(SINK, "recv"))
    giving = ventilating(lab, lab.hosts(CLIENT)[-1], *long)
    lab.wait_until(lambda: len(lab.history(SINK, "recv")) > before + 10, "results come")
    lab.kill(host, WORKER)
    giving.wait()


def kill_the_broker(lab: Lab) -> None:
    """Kill the broker when it has a request that no replier has taken yet."""
    lab.say("the broker is killed with a request in its hands")
    hub, (first, *_, last) = lab.hosts(BROKER)[0], lab.hosts(CLIENT)
    before = len(lab.history(BROKER, "send"))
    away = tuple(host for host in lab.hosts(REPLIER) if host != hub)
    with lab.inject(Partition("isolate", (hub, *away))):
        waiting = lab.start(first, "zeromq", "request", broker(lab), "stuck", "--timeout", 7)
        lab.wait_until(
            lambda: len(lab.history(BROKER, "send")) > before, "the broker has the request"
        )
        lab.kill(hub, BROKER)
        lab.wait_ready(hub, BROKER)
    asked = lab.run(last, "zeromq", "request", broker(lab), "asked later", "--timeout", 20)
    lab.promised("after kill -9 of the broker all find it again", well([asked]))
    waiting.wait()


def works_again(lab: Lab) -> Finding:
    """Ask from every client's host, ventilate a batch, and publish until all subscribers hear."""
    asked = [
        lab.start(host, "zeromq", "request", broker(lab), f"again {host}", "--timeout", 20)
        for host in lab.hosts(CLIENT)
    ]
    ended = [asking.wait() for asking in asked]
    workers = ("--workers", len(lab.hosts(WORKER)), "--timeout", 20)
    ended.append(ventilating(lab, lab.hosts(CLIENT)[-1], *workers).wait())
    done = well(ended)
    return done if not done.holds else heard_by_all(lab)


def well(ended: list[Finished]) -> Finding:
    """Whether all clients ended well."""
    wrong = [run for run in ended if run.exit_status]
    if wrong:
        events: tuple[Event, ...] = (*wrong[0].events[-3:],)
        return Finding(False, f"{wrong[0].host}: {wrong[0].stderr.strip()}", events)
    return Finding(True, f"{len(ended)} clients ended well")


def ventilating(lab: Lab, host: str, *how: object) -> Running:
    """Have a client's host give out tasks."""
    totals = at(lab, SINK, "zeromq_sink_totals")
    return lab.start(host, "zeromq", "ventilate", totals, "--listen", lab.address(host), *how)


def broker(lab: Lab) -> str:
    """Give where clients ask."""
    return at(lab, BROKER, "zeromq_broker_port")


def forwarder(lab: Lab) -> str:
    """Give where publishers publish."""
    return at(lab, FORWARDER, "zeromq_forwarder_publishers")


def at(lab: Lab, component: str, option: str) -> str:
    """Give the first host of a component, and a port of it."""
    host = lab.hosts(component)[0]
    return f"{host}:{lab.option(host, option)}"


WORKLOAD = Workload(
    play,
    aims=(BROKER, REPLIER, FORWARDER, SUBSCRIBER, WORKER, SINK),
    clients=(CLIENT,),
    immune={"disk": "it keeps nothing on a disk"},
)

"""Values are chosen, once and for all, while acceptors and proposers are taken away.

Clients propose different values for one decree at once, by a network that loses, doubles and
reorders. Acceptors are killed: first two, then all of them, one on a disk that forgets what was not
synced. A proposer is paused between its two phases, and wakes up when its decree has another's
value. The hosts are parted, twice, and a host without power is no acceptor. One acceptor's disk is
full: it gives no word that it cannot keep. All the while what is chosen stays chosen, and a
majority goes on. At last two proposers duel: without backoff until their clients lose patience,
with it not long.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable

from apps.kit.claims import Event, Finding
from apps.kit.demo import Finished, Lab, Running, Workload, outlast
from apps.kit.faults import Disk, Kill, Link, Partition, Pause, PowerOff
from apps.paxos.claims import (
    chosen_was_proposed,
    duel,
    none_is_untold,
    numbers_used_once,
    one_story,
    one_value_chosen,
    promises_kept,
    unbroken,
)

ACCEPTOR, LEARNER, PROPOSER, CLIENT = (
    f"paxos_{name}" for name in ("acceptor", "learner", "proposer", "client")
)
ENDLESS = 4
"""Rounds of each proposer that make a duel."""
DELAY = 0.3
"""Seconds between the phases of those who duel."""
PATIENCE = 3.0
"""Seconds of the duel that does not end."""
UNTIL_FULL = 30
"""Decrees within which an acceptor whose disk has 64 KiB left has no room."""


class Synod:
    """The demo's own words for the lab. Decrees are for ever: each run has new ones."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.run = secrets.token_hex(4)
        self.proposers = lab.hosts(PROPOSER)
        self.learners = lab.hosts(LEARNER)
        self.acceptors = lab.hosts(ACCEPTOR)
        self.client = lab.hosts(CLIENT)[0]
        self.progress: list[Finding] = []

    def targets(self, component: str, *hosts: str) -> str:
        """Give addresses as clients take them, of all hosts of a component if none is named."""
        named = hosts or self.lab.hosts(component)
        port = {host: self.lab.option(host, f"{component}_port") for host in named}
        return ",".join(f"{self.lab.address(host)}:{port[host]}" for host in named)

    def propose(self, decree: str, value: str, *hosts: str, **pace: float) -> Running:
        """Start a client that proposes, at these proposers alone if they are named."""
        options = [word for name, seconds in pace.items() for word in (f"--{name}", seconds)]
        words = (self.targets(PROPOSER, *hosts), f"{self.run}/{decree}", value, *options)
        return self.lab.start(self.client, "paxos", "propose", *words)

    def chosen(self, *decrees: str, hosts: Iterable[str] = ()) -> list[Finished]:
        """Ask each learner, or those named."""
        words = [f"{self.run}/{decree}" for decree in decrees]
        asked = [
            self.lab.start(
                self.client, "paxos", "chosen", self.targets(LEARNER, host), *words, "--timeout", 5
            )
            for host in hosts or self.learners
        ]
        return [client.wait() for client in asked]

    def vote(self, host: str, decree: str) -> str:
        """Ask an acceptor with nc what it accepted; nothing if that is nothing."""
        asked = json.dumps({"f": "vote", "decree": f"{self.run}/{decree}"})
        target = self.targets(ACCEPTOR, host).replace(":", " ")
        said = self.lab.shell(self.client, f"echo '{asked}' | timeout 5 nc -N {target}").stdout
        vote = json.loads(said or "{}").get("result", {})
        return str(vote.get("accepted") or "")

    def told(self, clients: Iterable[Finished]) -> None:
        """Note whether clients were answered: a majority was there."""
        for client in clients:
            known = client.exit_status == 0
            detail = "it was answered" if known else client.stderr.strip()
            self.progress.append(Finding(known, detail, tuple(client.events)))

    def seen(self, component: str, event: str, decree: str) -> list[Event]:
        """Give these events about a decree."""
        whole = f"{self.run}/{decree}"
        return [e for e in self.lab.history(component, event) if e.get("decree") == whole]


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    synod = Synod(lab)
    contend(synod)
    kill(synod)
    pause(synod)
    part(synod)
    cut_power(synod)
    fill_a_disk(synod)
    failed = [finding for finding in synod.progress if not finding.holds]
    answered = Finding(True, f"{len(synod.progress)} clients were answered, whatever was away")
    lab.promised("a majority makes progress", failed[0] if failed else answered)
    fight(synod)
    judge(lab)


def contend(synod: Synod) -> None:
    """Have every proposer asked for another value at once, by a bad network."""
    synod.lab.say("all propose at once, and datagrams are lost, doubled and overtaken")
    bad = Link(tuple(synod.acceptors), delay=0.02, jitter=0.02, loss=0.1, duplicate=0.2)
    with synod.lab.inject(bad):
        clients = [synod.propose("first", f"of {host}", host) for host in synod.proposers]
        synod.told(client.wait() for client in clients)
    synod.told(synod.chosen("first"))


def kill(synod: Synod) -> None:
    """Kill as many acceptors as may be away, while something is proposed; and then all."""
    lab = synod.lab
    lab.say("acceptors are killed: a minority while a value is proposed, then all of them")
    client = synod.propose("killed", "over a kill", delay=1.0)
    lab.wait_until(lambda: bool(synod.seen(PROPOSER, "prepared", "killed")), "phase 1 is over")
    for host in synod.acceptors[: (len(synod.acceptors) - 1) // 2]:
        lab.inject(Kill(host, ACCEPTOR))
    synod.told([client.wait()])
    forgetful = synod.acceptors[-1]
    with lab.inject(Disk(forgetful, ACCEPTOR, forgets=True)):
        synod.told([synod.propose("synced", "on a disk that forgets").wait()])
        lab.wait_until(lambda: bool(synod.vote(forgetful, "synced")), "it has accepted")
        before = synod.vote(forgetful, "synced")
        for host in synod.acceptors:
            lab.inject(Kill(host, ACCEPTOR))
        lab.restart(synod.learners[0], LEARNER)  # and one that knew has to ask anew
        for host in synod.acceptors:
            lab.wait_ready(host, ACCEPTOR)
        after = synod.vote(forgetful, "synced")
    lab.promised(
        "what an acceptor accepted was synced before it said so",
        Finding(before == after, f"{forgetful} said {before}, and after a kill {after}"),
    )
    synod.told(synod.chosen("first", "killed", "synced"))
    synod.told([synod.propose("first", "too late").wait()])


def pause(synod: Synod) -> None:
    """Pause a proposer between its phases, have another one's value chosen, and wake it up."""
    lab, (late, soon, *_) = synod.lab, synod.proposers
    lab.say(f"{late} is paused between its phases, and {soon} has its value chosen meanwhile")
    client = synod.propose("paused", "of who slept", late, delay=3.0, attempt=20, timeout=20)
    lab.wait_until(lambda: bool(synod.seen(PROPOSER, "prepared", "paused")), "phase 1 is over")
    with lab.inject(Pause(late, PROPOSER)):
        synod.told([synod.propose("paused", "of who was awake", soon).wait()])
    synod.told([client.wait()])


def part(synod: Synod) -> None:
    """Part the hosts: the smaller side chooses nothing, the larger one goes on."""
    lab = synod.lab
    alone = synod.proposers[: (len(synod.acceptors) - 1) // 2]
    order = (*alone, *(host for host in synod.acceptors if host not in alone))
    lab.say(f"{', '.join(alone)} are cut off from the others")
    with lab.inject(Partition("halves", order)):
        few = synod.propose("parted", "of the few", alone[0], attempt=2, timeout=2)
        many = synod.propose("parted", "of the many", synod.proposers[-1])
        synod.told([many.wait()])
        refused = few.wait()
    told = refused.stderr.strip() or "it was answered"
    kept = Finding(refused.exit_status != 0, told, tuple(refused.events))
    lab.promised("without a majority nothing is chosen", kept)
    synod.told(synod.chosen("parted"))
    lab.say("no two hosts see the same majority")
    with lab.inject(Partition("ring", tuple(synod.acceptors))):
        synod.told([synod.propose("ring", "of whoever sees enough").wait()])
    synod.told(synod.chosen("ring"))


def cut_power(synod: Synod) -> None:
    """Cut the power of an acceptor's host that runs no proposer."""
    host = next(host for host in reversed(synod.acceptors) if host != synod.client)
    synod.lab.say(f"{host} has no power")
    with synod.lab.inject(PowerOff(host)):
        synod.told([synod.propose("dark", "in the dark").wait()])
    for component in (ACCEPTOR, LEARNER):
        if host in synod.lab.hosts(component):
            synod.lab.wait_ready(host, component)
    synod.told(synod.chosen("dark"))


def fill_a_disk(synod: Synod) -> None:
    """Propose until an acceptor has no room left: it refuses, and the others go on."""
    lab, host = synod.lab, synod.acceptors[0]
    ports = synod.targets(PROPOSER), synod.targets(LEARNER)
    lab.say(f"the disk of {host} is full")
    with lab.inject(Disk(host, ACCEPTOR, full=True, free=65536)):
        load = ("--count", UNTIL_FULL, "--callers", 2, "--seed", lab.seed)
        lab.run(synod.client, "paxos", "contend", *ports, f"{synod.run}/full", *load)
        refusals = [e for e in lab.history(ACCEPTOR, "refused") if e["node"] == host]
        synod.told([synod.propose("full", "without one").wait()])
    told = f"{len(refusals)} times {host} said that it has no room, and gave no word"
    lab.promised(
        "an acceptor whose disk is full refuses",
        Finding(bool(refusals) or None, told, tuple(refusals[:1])),
    )
    lab.wait_ready(host, ACCEPTOR)
    synod.told([synod.propose("room", "with it again").wait()])
    back = [e for e in synod.seen(ACCEPTOR, "accepted", "room") if e["node"] == host]
    lab.promised(
        "it takes part again when it has room",
        Finding(bool(back), f"{host} accepted {len(back)} times since", tuple(back[:1])),
    )


def fight(synod: Synod) -> None:
    """Have two proposers duel: without backoff until their time is over, and then with it."""
    lab = synod.lab
    words = ("paxos", "duel", synod.targets(PROPOSER, *synod.proposers[:2]))
    options = ("--delay", DELAY, "--timeout", PATIENCE)
    lab.say("two proposers duel, without backoff and with it")
    lab.run(synod.client, *words, f"{synod.run}/duel", *options, "--backoff", 0)
    shown = duel(lab.history(PROPOSER), f"{synod.run}/duel", ENDLESS)
    lab.limit("two proposers without backoff outbid each other for as long as they like", shown)
    lab.run(synod.client, *words, f"{synod.run}/peace", *options, "--timeout", 6 * PATIENCE)
    ends = synod.seen(PROPOSER, "chosen", "peace")
    rounds = sum(1 for _ in synod.seen(PROPOSER, "prepare", "peace"))
    told = f"the same duel was over after {rounds} rounds" if ends else "it did not end"
    lab.promised("random backoff ends the duel", Finding(bool(ends), told, tuple(ends[:1])))
    lab.figure("rounds_with_backoff", rounds)


def play(lab: Lab, seconds: float) -> None:
    """Contend for so long, whatever befalls anybody; then ask what came of it."""
    synod = Synod(lab)
    targets = synod.targets(PROPOSER), synod.targets(LEARNER), synod.run
    load = ("--for", seconds, "--callers", 2, "--think", 0.1, "--seed", lab.seed)
    hosts = lab.hosts(CLIENT)
    outlast(lab, [lab.start(host, "paxos", "contend", *targets, *load) for host in hosts])
    lab.calm()
    synod.told([synod.propose("calm", "after all").wait()])
    known = {e["decree"] for e in lab.history() if e["event"] == "chosen"}
    asked = [decree.removeprefix(f"{synod.run}/") for decree in sorted(known)]
    synod.told(synod.chosen("calm", *asked))
    failed = [finding for finding in synod.progress if not finding.holds]
    lab.promised(
        "once all is calm, a majority makes progress",
        failed[0] if failed else Finding(True, f"{len(asked)} decrees were asked for and told"),
    )
    judge(lab)


def judge(lab: Lab) -> None:
    """State what holds whatever befalls anybody."""
    history = lab.history()
    promises = {
        "of a decree at most one value is chosen": one_value_chosen(
            history, len(lab.hosts(ACCEPTOR))
        ),
        "whoever says what is chosen says the same, ever after": one_story(history),
        "nobody is told that nothing is chosen once somebody was told what is": none_is_untold(
            history
        ),
        "what is chosen was proposed": chosen_was_proposed(history),
        "no acceptor goes back on a promise": promises_kept(history),
        "no number is used twice": numbers_used_once(history),
    }
    for claim, finding in promises.items():
        lab.promised(claim, unbroken(finding))


WORKLOAD = Workload(play, aims=(ACCEPTOR, PROPOSER, LEARNER), clients=(CLIENT,))

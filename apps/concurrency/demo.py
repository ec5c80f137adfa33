"""Workers are killed and stopped by their pid, units killed in the middle of a round, a disk full.

All that on hosts that go round after round by themselves; and afterwards the files of the rounds
say what was kept. A person's commands do the same once, and refuse what is no number or no end.
"""

from __future__ import annotations

from collections.abc import Iterable

from apps.concurrency.claims import (
    kept_once,
    lost_work_is_done,
    squares_are_right,
    stored_work_survives,
    threads_die_together,
)
from apps.kit.claims import Event, Finding
from apps.kit.demo import Lab, Workload, outlast
from apps.kit.faults import Disk, Kill
from apps.kit.outcome import Rejected, Unknown

PIPELINE = "concurrency_pipeline"
POOL = "concurrency_pool"
CLIENT = "concurrency_client"
PYTHON = "/opt/distlab/bin/python -m apps.concurrency"
ATTEMPTS = 5
NETWORK = "its pipes and its queue are inside one host"


Place = tuple[str, str]
"""A host, and the group of what runs there."""


def demo(lab: Lab) -> None:
    """Play it; see the module's docstring."""
    once = lab.hosts(CLIENT)[0]
    alone = [
        lab.start(once, "concurrency", "thread-pool", "--crash-at", 7, "--crash-at", 70),
        lab.start(once, "concurrency", "process-pipeline", "--first", -50, "--delay", 0.01),
        lab.start(once, "concurrency", "compare", "--seconds", 0.1, "--workers", 2),
    ]
    refuse(lab, once)
    strike(lab)
    kill_units(lab)
    fill_the_disk(lab)
    measured = [run.wait() for run in alone][-1].events
    for event in measured:
        if event["event"] == "measured" and event["way"] != "one by one":
            lab.figure(f"{event['work']} by {event['way']}, cores used", event["cores_used"])
            lab.figure(f"{event['work']} by {event['way']}, times as fast", event["speedup"])
    state(lab)
    history = lab.history()
    lab.promised("what was stored survives its unit", stored_work_survives(history))
    lab.promised("what a lost worker left undone, another does", lost_work_is_done(history))
    lab.limit("threads die together, with all they had", threads_die_together(history))


def play(lab: Lab, seconds: float) -> None:
    """Square on a host that keeps its power, while the units go on as they can; then judge."""
    rate = ("--delay", 0.1, "--count", max(1, int(seconds * 10)))
    client = lab.hosts(CLIENT)[0]
    ways = (("process-pipeline", "--workers"), ("thread-pool", "--consumers"))
    clients = [lab.start(client, "concurrency", way, *rate, many, 1) for way, many in ways]
    outlast(lab, clients)
    lab.calm()
    another_round(lab, [(host, group) for group in (PIPELINE, POOL) for host in lab.hosts(group)])
    state(lab)
    for claim, finding in (
        ("what was stored survives its unit", stored_work_survives(lab.history())),
        ("what a lost worker left undone, another does", lost_work_is_done(lab.history())),
    ):
        if finding.holds is not None:
            lab.promised(claim, finding)


def state(lab: Lab) -> None:
    """State what holds of every round, whatever befell it."""
    history = lab.history()
    lab.promised("each square is kept once", kept_once(history))
    lab.promised("each square is right", squares_are_right(history))


def refuse(lab: Lab, host: str) -> None:
    """Give filters what is no number, and no end."""
    asked = {
        "printf '1\\nnut\\nend\\n'": Rejected.exit_status,
        "printf '1\\n2\\n'": Unknown.exit_status,
        "printf '1\\nend\\n'": 0,
    }
    ended = {said: lab.start_shell(host, f"{said} | {PYTHON} square") for said in asked}
    found = {said: running.wait().exit_status for said, running in ended.items()}
    told = ", ".join(f"{said.removeprefix('printf ')}: {status}" for said, status in found.items())
    lab.promised("a pipe without its end is told from a whole one", Finding(found == asked, told))


def strike(lab: Lab) -> None:
    """Kill a worker of one pipeline, and stop one of another, whose supervisor will kill it."""
    hosts = lab.hosts(PIPELINE)
    for host, signal in zip(hosts, ("KILL", "STOP"), strict=False):
        lab.say(f"a worker of {host} gets SIG{signal}")
        until_in_a_round(lab, host, PIPELINE)
        worker = [e for e in lab.history(PIPELINE, "started") if _is_worker(e, host)][-1]
        lab.shell(host, f"sudo -n kill -{signal} {worker['pid']}")
    lab.wait_until(lambda: set(hosts[:2]) <= _lost_on(lab, "worker"), "the pipelines notice")


def _lost_on(lab: Lab, stage: str) -> set[str]:
    """Give the hosts where a process of this stage died."""
    return {e["node"] for e in lab.history(PIPELINE, "lost") if e["stage"] == stage}


def _is_worker(event: Event, host: str) -> bool:
    return bool(event["node"] == host and event["stage"] == "square")


def kill_units(lab: Lab) -> None:
    """Kill a pipeline and a pool with all their processes, each in the middle of a round."""
    for host, group, claim in (
        (lab.hosts(PIPELINE)[0], PIPELINE, stored_work_survives),
        (lab.hosts(POOL)[-1], POOL, threads_die_together),
    ):
        lab.say(f"the {group.rpartition('_')[2]} of {host} is killed in the middle of a round")
        for _ in range(ATTEMPTS):  # before a kill comes about, the round may be over
            until_in_a_round(lab, host, group)
            lab.inject(Kill(host, group))
            another_round(lab, [(host, group)])
            if claim(lab.history()).holds is not None:
                break


def fill_the_disk(lab: Lab) -> None:
    """Let a storage find its disk full, and then not."""
    host = lab.hosts(PIPELINE)[-1]
    lab.say(f"the disk of {host} is full")
    with lab.inject(Disk(host, PIPELINE, full=True)):
        lab.wait_until(lambda: host in _lost_on(lab, "storage"), "the storage finds no room")
    another_round(lab, [(host, PIPELINE)])


def until_in_a_round(lab: Lab, host: str, group: str) -> None:
    """Wait until a part of a round is done, not yet all of it, and its beginning was seen."""

    def under_way() -> bool:
        names = ("begun", "progress", "finished")
        told = [e for e in lab.history(group, *names) if e["node"] == host]
        began = any(event["event"] == "begun" for event in told)
        return began and told[-1]["event"] == "progress" and _early(told[-1])

    no_rest(lab, host, group)
    lab.wait_until(under_way, f"a round of {host} is under way")


def no_rest(lab: Lab, host: str, group: str) -> None:
    """Have the next round there begin as soon as there is none under way."""
    lab.wait_ready(host, group)
    unit = f"lab-{group.replace('_', '-')}"
    lab.shell(host, f"sudo -n systemctl kill --kill-whom=main --signal=HUP {unit}")


def _early(progress: Event) -> bool:
    return bool(progress["done"] <= (progress["last"] - progress["first"] + 1) * 0.6)


def another_round(lab: Lab, places: Iterable[Place]) -> None:
    """Wait until one more round is finished at each of these places."""
    wanted = {place: count + 1 for place, count in _finished(lab, places).items()}
    for host, group in wanted:
        no_rest(lab, host, group)
    lab.wait_until(
        lambda: all(count >= wanted[place] for place, count in _finished(lab, wanted).items()),
        f"another round is finished on {', '.join(host for host, _ in wanted)}",
    )


def _finished(lab: Lab, places: Iterable[Place]) -> dict[Place, int]:
    """Count the rounds that were finished so far at these places."""
    return {
        (host, group): sum(event["node"] == host for event in lab.history(group, "finished"))
        for host, group in places
    }


WORKLOAD = Workload(
    play,
    aims=(PIPELINE, POOL),
    clients=(CLIENT,),
    immune=dict.fromkeys(("partition", "link", "reset"), NETWORK),
)

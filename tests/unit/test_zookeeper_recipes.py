"""ZooKeeper's recipes: answers and sessions lost at will, on a tree in memory; and the claims."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from click.testing import CliRunner

from apps.kit.claims import Event, Finding
from apps.kit.outcome import Refused, Rejected, Unknown
from apps.kit.zookeeper import Read
from apps.zookeeper_recipes import claims, participant
from apps.zookeeper_recipes.__main__ import cli
from apps.zookeeper_recipes.barriers import Barrier
from apps.zookeeper_recipes.contend import Contest, contend
from apps.zookeeper_recipes.counters import Counter
from apps.zookeeper_recipes.lines import LOCK, READ, WRITE, Line, semaphore
from apps.zookeeper_recipes.participant import fresh, number
from apps.zookeeper_recipes.parties import Party
from apps.zookeeper_recipes.queues import Queue
from apps.zookeeper_recipes.walk import walk
from tests.conftest import eventually
from tests.loopback import Record, free_port
from tests.unit.zookeeper_tree import InMemory, Tree

LOST = 0.2
"""Of all writes, so many have no answer; half of these were done."""


@pytest.fixture
def tree(monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setattr(participant, "_PAUSE", 0.001)
    return Tree()


@pytest.fixture
def record() -> Record:
    return Record()


def in_threads(*jobs: Callable[[], object]) -> None:
    with ThreadPoolExecutor(max_workers=len(jobs)) as pool:
        for job in [pool.submit(job) for job in jobs]:
            job.result()


# What recipes stand on


def test_names_go_by_their_numbers() -> None:
    assert sorted(["b-0000000002", "a-0000000010", "c-0000000001"], key=number) == [
        "c-0000000001", "b-0000000002", "a-0000000010",
    ]  # fmt: skip
    assert fresh("x") != fresh("x")


def test_who_enrols_is_there_once_for_all_that_know_whatever_is_lost(
    tree: Tree, record: Record
) -> None:
    member = InMemory(tree, record.events, lost=0.5)
    for turn in range(20):
        own = fresh("me")
        name = member.enrol("/line", own)
        assert member.own("/line", own)[0] == name, turn
        member.withdraw("/line", own)
    assert tree.children("/line") == []


def test_what_is_in_vain_is_refused(tree: Tree, record: Record) -> None:
    member = InMemory(tree, record.events, lost=2.0, patience=0.1)
    with pytest.raises(Refused, match=r"in vain for 0.1 s"):
        member.ensure("/x")


def test_a_turn_of_the_session_ends_a_stay(tree: Tree, record: Record) -> None:
    member = InMemory(tree, record.events)
    staying = threading.Timer(0.05, member._turned, ["suspended"])
    staying.start()
    assert not member.stay(60)
    staying.join()


# All at once


@pytest.mark.parametrize("lost", [0.0, LOST])
def test_every_recipe_keeps_its_promise(tree: Tree, record: Record, lost: float) -> None:
    parties, times = 3, 4

    def play(name: int) -> Callable[[], object]:
        member = InMemory(tree, record.events, lost=lost, seed=name)
        rng = random.Random(name)
        contest = Contest("/c", parties, times, 0.001, rng, threading.Event())
        return lambda: contend(member, contest)

    in_threads(*map(play, range(parties)))
    worker = InMemory(tree, record.events, lost=lost)
    queue = Queue(worker, "/c/queue")
    while queue.waiting():
        item = queue.take()
        assert item is not None
        record.events.emit("done", item=item.name, value=item.value)
        queue.acknowledge(item)
    history: list[Event] = list(record.seen())
    final = Counter(worker, "/c/counter").value()
    found = judged(history, final, queue.waiting())
    assert {name: one.detail for name, one in found.items() if not one.holds} == {}
    for line in ("lock", "read_write", "semaphore"):
        assert tree.children(f"/c/{line}") == []


def judged(history: list[Event], final: int, waiting: list[str]) -> dict[str, Finding]:
    return {
        "lock": claims.lock_excludes(history),
        "careless": claims.locked_writes_are_not_lost(history),
        "write": claims.writers_are_alone(history),
        "semaphore": claims.semaphore_bounds(history),
        "barrier": claims.nobody_goes_first(history),
        "counter": claims.counted_exactly(history, final),
        "queue": claims.acknowledged_once(history, waiting),
        "watch": claims.watched_in_order(history),
    }


# One by one


def test_a_session_that_is_lost_in_line_goes_to_its_end(tree: Tree, record: Record) -> None:
    first, second, third = (InMemory(tree, record.events, seed=n) for n in range(3))
    order: list[str] = []
    inside = threading.Event()

    enough = threading.Event()

    def busy(_: int) -> None:
        inside.set()
        enough.wait(10)

    with ThreadPoolExecutor(max_workers=3) as pool:
        holding = pool.submit(Line(first, "/lock", LOCK).hold, 0, busy)
        inside.wait()
        late = pool.submit(Line(second, "/lock", LOCK).hold, 0, lambda _: order.append("second"))
        eventually(lambda: len(tree.children("/lock")) == 2, "2 in line")
        other = pool.submit(Line(third, "/lock", LOCK).hold, 0, lambda _: order.append("third"))
        eventually(lambda: len(tree.children("/lock")) == 3, "3 in line")
        second.lose_session()
        eventually(lambda: len(tree.children("/lock")) == 3, "3 in line")
        enough.set()
        for done in (holding, late, other):
            done.result()
    assert order == ["third", "second"]


def test_what_is_done_inside_is_not_done_in_another_session(tree: Tree, record: Record) -> None:
    member = InMemory(tree, record.events)
    member.ensure("/inside", b"0")

    def careless(losses: int) -> None:
        member.lose_session()
        member.insist(lambda: member.set("/inside", b"1"), losses)

    assert not Line(member, "/lock", LOCK).hold(60, careless)
    assert member.get("/inside").data == b"0"
    assert [event["sure"] for event in record.seen("exit")] == [False]


def test_readers_share_and_a_semaphore_has_its_leases(tree: Tree, record: Record) -> None:
    together = threading.Barrier(2, timeout=10)
    for wish in (READ, semaphore(2)):
        lines = [Line(InMemory(tree, record.events), f"/{wish.kind}", wish) for _ in range(2)]
        in_threads(*(lambda line=line: line.hold(0, lambda _: together.wait()) for line in lines))
    assert claims.readers_share(record.seen()).holds


def test_a_writer_waits_for_readers_before_it_alone() -> None:
    before = ["read-a-0000000001", "write-b-0000000002", "read-c-0000000003"]
    assert READ.in_the_way(before) == before[1:2]
    assert WRITE.in_the_way(before) == before


def test_who_gives_up_at_a_barrier_opens_it_for_nobody(tree: Tree, record: Record) -> None:
    lonely = InMemory(tree, record.events, patience=0.1)
    with pytest.raises(Refused, match="it is still not so that 2 are at /b"):
        Barrier(lonely, "/b", 2).enter()
    assert tree.children("/b/here") == []


def test_markers_that_are_left_behind_open_nothing_and_are_swept_up(
    tree: Tree, record: Record
) -> None:
    for turn in range(3):
        barriers = [Barrier(InMemory(tree, record.events), "/b", 2) for _ in range(2)]
        in_threads(*(barrier.enter for barrier in barriers))
        in_threads(*(barrier.leave for barrier in barriers))
        assert len(tree.children("/b/open")) == 1, turn
    assert claims.nobody_goes_first(record.seen()).holds


def test_who_dies_in_a_double_barrier_is_not_waited_for(tree: Tree, record: Record) -> None:
    dying, other = InMemory(tree, record.events), InMemory(tree, record.events)
    barriers = [Barrier(dying, "/b", 2), Barrier(other, "/b", 2)]
    in_threads(*(barrier.enter for barrier in barriers))
    tree.expire(dying)
    barriers[1].leave()


def test_an_item_of_one_who_lost_its_session_is_done_by_another(tree: Tree, record: Record) -> None:
    first, second = InMemory(tree, record.events), InMemory(tree, record.events)
    name = Queue(first, "/q").put("x")
    losing = Queue(first, "/q")
    item = losing.take()
    assert item is not None
    first.lose_session()
    with pytest.raises(Refused, match="lost with our session"):
        losing.acknowledge(item)
    again = Queue(second, "/q").take()
    assert again is not None
    assert again.name == name
    assert losing.take(lambda: True) is None


def test_an_item_whose_value_could_not_be_read_is_taken_all_the_same(
    tree: Tree, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = InMemory(tree, record.events)
    name = Queue(member, "/q").put("x")
    get, failures = member.get, [Unknown("no answer came")]

    def unsteady(path: str) -> Read:
        if "/items/" in path and failures:
            raise failures.pop()
        return get(path)

    monkeypatch.setattr(member, "get", unsteady)
    assert Queue(member, "/q").take() == (name, "x")


def test_a_counter_that_is_none_is_told(tree: Tree, record: Record) -> None:
    member = InMemory(tree, record.events)
    member.create("/c", b"[1]")
    with pytest.raises(Rejected, match="that is no counter"):
        Counter(member, "/c").value()


def test_who_comes_back_waits_for_its_former_life_to_be_gone(tree: Tree, record: Record) -> None:
    former, now = InMemory(tree, record.events), InMemory(tree, record.events)
    Party(former, "/p").join("n1")
    threading.Timer(0.05, tree.expire, [former]).start()
    Party(now, "/p").join("n1")
    assert Party(now, "/p").members() == ["n1"]
    assert claims.party_is_whole(record.seen(), ["n1"]).holds
    assert claims.party_is_whole(record.seen(), ["n1", "n2"]).holds is False


def test_a_walk_has_all_its_steps(tree: Tree, record: Record) -> None:
    class Walking(InMemory):
        def __enter__(self) -> Any:
            return self

        def __exit__(self, *error: object) -> None:
            self.tree.expire(self)

    walk(lambda: Walking(tree, record.events), "/x", "hello")
    assert claims.walked(record.seen()).holds


# The claims


def lock(event: str, name: str, t: float, kind: str = "lock", leases: int = 1) -> Event:
    return {"event": event, "name": name, "kind": kind, "path": "/l", "t": t, "leases": leases,
            "node": "n1"}  # fmt: skip


OVERLAP = [("enter", "a", 1.0), ("enter", "b", 2.0), ("exit", "a", 3.0), ("exit", "b", 4.0)]


@pytest.mark.parametrize(
    ("judge", "kinds"),
    [
        (claims.lock_excludes, ("lock", "lock")),
        (claims.writers_are_alone, ("write", "write")),
        (claims.writers_are_alone, ("read", "write")),
        (claims.semaphore_bounds, ("lease", "lease")),
    ],
)
def test_two_inside_are_found(judge: Callable[[Any], Finding], kinds: tuple[str, str]) -> None:
    of = dict(zip("ab", kinds, strict=True))
    found = judge([lock(event, name, t, of[name]) for event, name, t in OVERLAP])
    assert found.holds is False
    assert found.witness


def test_who_crashed_inside_has_left() -> None:
    events = [lock("enter", "a", 1), lock("crash", "a", 2), lock("enter", "b", 3)]
    assert claims.lock_excludes(events).holds


def through(event: str, who: str, t: float, **more: Any) -> Event:
    return {"event": event, "who": who, "t": t, "parties": 2, "path": "/b", **more}


BOTH = ["a-0000000001", "b-0000000002"]


@pytest.mark.parametrize(
    "event",
    [
        through("pass", "a-", 1.5, cohort=BOTH),
        through("pass", "a-", 3, cohort=BOTH[:1]),
        through("pass", "a-", 3, cohort=["a-0000000001", "c-0000000003"]),
    ],
    ids=["early", "too few", "a stranger"],
)
def test_who_goes_first_is_found(event: Event) -> None:
    arrived = [through("arrive", "a-", 1), through("arrive", "b-", 2)]
    assert claims.nobody_goes_first([*arrived, event]).holds is False
    good = through("pass", "a-", 3, cohort=BOTH)
    assert claims.nobody_goes_first([*arrived, good]).holds
    early = through("left", "a-", 4, cohort=BOTH)
    assert claims.nobody_goes_first([*arrived, good, early, through("leaving", "b-", 5)]).holds is (
        False
    )


def asked(f: str, op: str, value: Any, result: Any, **more: Any) -> list[Event]:
    fixed = {"f": f, "op": op, "node": "n1", **more}
    return [
        {"event": "invoke", "t": 1, "value": value, **fixed},
        {"event": "ok", "t": 2, "value": result, **fixed},
    ]


def test_an_addition_that_is_lost_or_counted_twice_is_found() -> None:
    one, two = asked("add", "1", 1, 1), asked("add", "2", 1, 2)
    assert claims.counted_exactly([*one, *two], 2).holds
    assert claims.counted_exactly([*one, *two], 3).holds is False
    assert claims.counted_exactly([*one, *two], 1).holds is False
    assert claims.counted_exactly([*one, *asked("add", "2", 1, 1)], 2).holds is False
    doubtful = [{**two[0]}, {**two[1], "event": "unknown"}]
    assert claims.counted_exactly([*one, *doubtful], 2).holds
    assert claims.counted_exactly([], None).holds is None


def test_an_item_that_is_lost_left_or_acknowledged_twice_is_found() -> None:
    put, done = asked("put", "1", "x", "i1"), {"event": "done", "item": "i1", "t": 3}
    ack = asked("ack", "2", "x", None, item="i1")
    assert claims.acknowledged_once([*put, done, *ack], []).holds
    assert claims.acknowledged_once([*put, *ack], []).holds is False
    assert claims.acknowledged_once([*put], []).holds is False
    assert claims.acknowledged_once([*put], ["i1"]).holds is False
    twice = [*put, done, *ack, *asked("ack", "3", "x", None, item="i1")]
    assert claims.acknowledged_once(twice, []).holds is False
    assert claims.acknowledged_once([*put, done, *ack], None).holds is None


def test_a_raise_that_is_lost_and_an_older_version_are_found() -> None:
    raised = {"event": "raised", "path": "/x", "value": 1}
    assert claims.locked_writes_are_not_lost([raised, {**raised, "value": 2}]).holds
    assert claims.locked_writes_are_not_lost([raised, dict(raised)]).holds is False
    seen = {"event": "seen", "watcher": "w", "version": 3, "node": "n1"}
    assert claims.watched_in_order([seen, {**seen, "version": 2}]).holds is False
    assert claims.versions_are_skipped([seen, {**seen, "version": 5}]).holds
    assert claims.versions_are_skipped([seen, {**seen, "version": 4}]).holds is False


def test_an_empty_history_tells_nothing() -> None:
    for judge in (
        claims.lock_excludes, claims.locked_writes_are_not_lost, claims.writers_are_alone,
        claims.semaphore_bounds, claims.nobody_goes_first, claims.watched_in_order,
    ):  # fmt: skip
        assert judge([]).holds is None
    assert claims.acknowledged_once([], []).holds is None


# The command line


@pytest.mark.parametrize(
    "words",
    [["session"], ["lock"], ["barrier"], ["counter"], ["queue", "list"], ["party"], ["watch"]],
    ids=lambda words: words[0],
)
def test_without_an_ensemble_all_are_refused(words: list[str]) -> None:
    recipe, *more = words
    at = f"127.0.0.1:{free_port()}"
    done = CliRunner().invoke(cli, [recipe, at, *more, "--timeout", "0.1"])
    assert done.exit_code == 3
    assert "refused: no server with a quorum answered" in done.stderr


def test_a_wrong_kind_is_a_usage_error() -> None:
    assert CliRunner().invoke(cli, ["lock", "n1", "padlock"]).exit_code == 2

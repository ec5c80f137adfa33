"""The judges of a history: what they accept, what they find, and when they cannot tell."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest

from apps.kit.claims import Event
from apps.kit.faults import Partition
from apps.lamport_clock.causality import Causality
from apps.lamport_clock.claims import (
    clock_condition,
    concurrent_pairs,
    every_request_granted,
    granted_in_order,
    judge,
    mutual_exclusion,
    nobody_enters_while_cut,
    vector_condition,
)
from apps.lamport_clock.clocks import process_of
from apps.lamport_clock.shiviz import shiviz
from tests.simulation.test_lamport_clock import play


def event(name: str, process: str, lamport: int, vector: dict[str, int], /, **more: Any) -> Event:
    node, _, life = process.partition(".")
    stamps = {"incarnation": int(life), "lamport": lamport, "vector": vector}
    return {"event": name, "node": node, "t": 0.0, **stamps, **more}


def told(first: int = 1, second: int = 2) -> list[Event]:
    """n1 tells n2, which has an event of its own before; and n2's wall clock is behind."""
    return [
        event("local", "n2.1", 1, {"n2.1": 1}, name="alone"),
        event("hear", "n2.1", second, {"n1.1": 1, "n2.1": 2}, id="n1.1:1", peer="n1", kind="tell"),
        event("say", "n1.1", first, {"n1.1": 1}, id="n1.1:1", peer="n2", kind="tell"),
    ]


def inside(node: str, fence: int, vector: dict[str, int], kind: str = "enter") -> Event:
    return event(kind, node, max(vector.values()) + fence, vector, fence=[fence, node[:2]])


def test_true_stamps_are_accepted() -> None:
    assert clock_condition(told()).holds
    assert vector_condition(told()).holds


def test_clock_that_does_not_grow_is_found() -> None:
    found = clock_condition(told(first=5, second=5))
    assert found.holds is False
    assert [e["event"] for e in found.witness] == ["say", "hear"]


def test_clock_that_goes_back_over_a_restart_is_found() -> None:
    first, second = (event("start", f"n1.{n}", 7, {f"n1.{n}": 1}) for n in (1, 2))
    found = clock_condition([second, first])
    assert found.holds is False
    assert found.witness == (first, second)


@pytest.mark.parametrize(
    "vector", [{"n2.1": 2}, {"n1.1": 2, "n2.1": 2}, {"n1.1": 1, "n2.1": 1}, {"n1.1": 1}]
)
def test_vector_that_knows_too_little_or_too_much_is_found(vector: dict[str, int]) -> None:
    history = told()
    history[1] = {**history[1], "vector": vector}
    assert vector_condition(history).holds is False


def test_of_a_past_that_went_with_a_hosts_power_what_is_known_is_checked() -> None:
    """n2 knows of n1's first event only through n3, the end of whose journal is lost."""
    relayed = event("hear", "n2.1", 9, {"n1.1": 1, "n2.1": 3, "n3.1": 4}, id="n3.1:4", peer="n3")
    assert vector_condition([*told(), relayed]).holds
    alone = event("local", "n1.1", 1, {"n1.1": 1}, name="alone")
    assert vector_condition([alone, relayed]).holds
    forgetful = event("local", "n2.1", 10, {"n2.1": 4}, name="forgetful")
    assert vector_condition([*told(), relayed, forgetful]).holds is False


def test_two_inside_may_only_seem_so_where_the_past_is_not_known() -> None:
    """n1 left, and said so; that it did went with its host's power."""
    one = inside("n1.1", 1, {"n1.1": 1})
    heard = event("hear", "n2.1", 4, {"n1.1": 3, "n2.1": 1}, id="n1.1:3", peer="n1", kind="release")
    next_ = inside("n2.1", 2, {"n1.1": 3, "n2.1": 2})
    assert mutual_exclusion([one, heard, next_]).holds is None
    elsewhere = event("hear", "n3.1", 4, {"n1.1": 3, "n3.1": 1}, id="n1.1:3", peer="n1")
    assert mutual_exclusion([one, elsewhere, inside("n2.1", 2, {"n2.1": 1})]).holds is False


def cut(*entries: float, healed: float | None = 20.0) -> list[Event]:
    """A partition from 10 on, and entries at these times."""
    fault = Partition("halves", ("n1", "n2")).as_json()
    begun = {"event": "inject", "id": "f1", "node": "lab", "t": 9.5, "took": 10.0, "fault": fault}
    over = [{"event": "heal", "id": "f1", "node": "lab", "t": healed}] if healed else []
    return [begun, *({"event": "enter", "node": "n1", "t": t} for t in entries), *over]


def test_a_cut_is_shown_to_keep_everyone_out() -> None:
    assert nobody_enters_while_cut(cut(9.0, 10.1, 21.0)).holds is True
    assert "for 9.9 s of a partition" in nobody_enters_while_cut(cut(9.0, 10.1)).detail
    assert nobody_enters_while_cut(cut(19.9)).holds is True
    assert nobody_enters_while_cut(cut(12.0, 14.0, 16.0, 18.0)).holds is False
    assert nobody_enters_while_cut(cut(healed=None)).holds is None
    assert nobody_enters_while_cut([]).holds is None


def test_history_in_which_nothing_happened_cannot_tell() -> None:
    assert vector_condition([]).holds is None
    assert clock_condition([]).holds is None
    assert mutual_exclusion(told()).holds is None
    assert granted_in_order(told()).holds is None
    assert every_request_granted(told()).holds is None
    assert concurrent_pairs(told()[2:]).holds is None


def test_two_inside_are_found_whatever_the_wall_clocks_say() -> None:
    one, other = inside("n1.1", 1, {"n1.1": 1}), inside("n2.1", 2, {"n2.1": 1})
    left = inside("n1.1", 1, {"n1.1": 2}, "exit")
    found = mutual_exclusion([one, left, {**other, "t": 99.0}])
    assert found.holds is False
    assert found.witness == (one, left, {**other, "t": 99.0})


def test_exit_that_a_message_reported_ends_a_stay() -> None:
    history = [
        inside("n1.1", 1, {"n1.1": 1}),
        inside("n1.1", 1, {"n1.1": 2}, "exit"),
        event("say", "n1.1", 3, {"n1.1": 3}, id="n1.1:3", peer="n2", kind="release"),
        event("hear", "n2.1", 4, {"n1.1": 3, "n2.1": 1}, id="n1.1:3", peer="n1", kind="release"),
        inside("n2.1", 2, {"n1.1": 3, "n2.1": 2}),
    ]
    assert mutual_exclusion(history).holds
    assert granted_in_order(history).holds
    history[4] = {**history[4], "fence": [1, "n1"]}
    assert granted_in_order(history).holds is False
    without_report = [*history[:2], *history[3:]]
    assert mutual_exclusion(without_report).holds is None


def test_crash_ends_a_stay_where_the_next_life_was_heard_of() -> None:
    crashed, again = inside("n1.1", 1, {"n1.1": 1}), event("start", "n1.2", 9, {"n1.2": 1})
    assert mutual_exclusion([crashed, again, inside("n1.2", 10, {"n1.2": 2})]).holds
    assert mutual_exclusion([crashed, again, inside("n2.1", 10, {"n2.1": 1})]).holds is False
    assert mutual_exclusion([crashed, inside("n1.1", 2, {"n1.1": 2})]).holds is False


def test_request_that_is_never_granted_is_found() -> None:
    request = event("request", "n1.1", 3, {"n1.1": 1})
    assert every_request_granted([request]).witness == (request,)
    assert every_request_granted([request, inside("n1.1", 3, {"n1.1": 2})]).holds
    assert every_request_granted([request, inside("n1.1", 3, {"n1.1": 2}, "withdraw")]).holds
    assert every_request_granted([request, event("start", "n1.2", 9, {"n1.2": 1})]).holds is None


def test_concurrent_events_are_shown() -> None:
    found = concurrent_pairs(told(first=3, second=4))
    assert found.holds
    assert [e["lamport"] for e in found.witness] == [1, 3]


def merged(history: list[Event], seed: int) -> list[Event]:
    """The same history with each node's own order kept, and all else at random."""
    rng = random.Random(seed)
    nodes: dict[str, list[Event]] = {}
    for e in history:
        nodes.setdefault(e["node"], []).append(e)
    rest, result = [iter(events) for events in nodes.values()], []
    while rest:
        journal = rng.choice(rest)
        try:
            result.append(next(journal))
        except StopIteration:
            rest.remove(journal)
    return result


@pytest.mark.parametrize("seed", range(10))
def test_judgement_does_not_depend_on_how_journals_were_merged(seed: int) -> None:
    history = play(seed).trace
    expected = {claim: finding.holds for claim, finding in judge(history).items()}
    assert {claim: f.holds for claim, f in judge(merged(history, seed)).items()} == expected
    assert not Causality(merged(history, seed)).unmatched


def test_causality_of_a_real_run_is_transitive_and_without_cycles() -> None:
    seen = Causality(play(3).trace)
    events = range(0, len(seen.events), 3)
    assert all(seen.before(a, b) for a, b in seen.edges)
    for a in events:
        assert not seen.before(a, a)
        for b in events:
            assert not (seen.before(a, b) and seen.before(b, a))
            after_b = [c for c in events if seen.before(b, c)]
            assert not seen.before(a, b) or all(seen.before(a, c) for c in after_b)


def read_as_shiviz_does(text: str) -> dict[str, list[dict[str, int]]]:
    """Parse a log by its own first line, and check what ShiViz checks (`modelGraph.js`)."""
    parser, divider, log = text.split("\n", 2)
    assert divider == ""
    found = re.findall(parser.replace("(?<", "(?P<"), log)
    hosts: dict[str, list[dict[str, int]]] = {}
    for described, host, clock in found:
        assert described
        hosts.setdefault(host, []).append(json.loads(clock))
    for host, clocks in hosts.items():
        assert sorted(clock[host] for clock in clocks) == list(range(1, len(clocks) + 1))
        assert all(1 <= clock[h] <= len(hosts[h]) for clock in clocks for h in clock)
    return hosts


def test_shiviz_log_of_a_whole_run_keeps_its_vectors() -> None:
    history = play(4).trace
    hosts = read_as_shiviz_does(shiviz(history))
    stamped = [e for e in history if "vector" in e]
    assert sum(map(len, hosts.values())) == len(stamped)
    for process, clocks in hosts.items():
        assert clocks == [e["vector"] for e in stamped if process_of(e) == process]


def test_shiviz_log_of_part_of_a_run_is_renumbered() -> None:
    history = play(4).trace
    part = [e for e in history[len(history) // 3 :] if hash(e["t"]) % 7]
    assert read_as_shiviz_does(shiviz(part))


def test_shiviz_log_is_written_for_people() -> None:
    assert shiviz(told()) == (
        "(?<event>.*)\\n(?<host>\\S*) (?<clock>{.*})\n\n"
        'local "alone" @1\nn2.1 {"n2.1": 1}\n'
        'tell from n1 @2\nn2.1 {"n1.1": 1, "n2.1": 2}\n'
        'tell to n2 @1\nn1.1 {"n1.1": 1}\n'
    )

"""Paxos: numbers, one decree's part, messages, the table, and claims."""

from __future__ import annotations

import ast
import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.kit.claims import Event
from apps.kit.effects import Emit, Persist, Reject, Reply, Send, SetTimer
from apps.kit.store import NoRoom
from apps.paxos import claims
from apps.paxos.acceptor import Acceptor
from apps.paxos.core import Ballot, Number, Proposal, Tally, Vote, highest, majority
from apps.paxos.learner import Learner
from apps.paxos.messages import KINDS, BadMessage, proposal_of, vote_of, word
from apps.paxos.proposer import AHEAD, CEILING, Pace, Proposer
from apps.paxos.table import Table
from lab.catalogue import ROOT

NUMBERS = st.builds(Number, st.integers(1, 12), st.integers(1, 3))
PROPOSALS = st.builds(Proposal, NUMBERS, st.sampled_from("vw"))
ACCEPTORS = ("a1", "a2", "a3")


@pytest.mark.parametrize("name", ["core", "acceptor", "learner", "proposer", "messages"])
def test_what_is_of_the_protocol_is_pure(name: str) -> None:
    """As the catalogue asks of a `core.py`: no socket, no clock, no asyncio."""
    tree = ast.parse((ROOT / "apps" / "paxos" / f"{name}.py").read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [
        a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
    ]
    assert not {"socket", "asyncio", "time", "threading", "os"}.intersection(modules)


# One decree's part: Lamport 2001, section 2.2


def test_numbers_compare_as_numbers() -> None:
    assert Number(10, 1) > Number(9, 2)
    assert Number(9, 10) > Number(9, 9)
    assert str(Number(3, 2)) == "3.2"


@given(st.lists(st.one_of(NUMBERS, PROPOSALS)))
def test_an_acceptor_keeps_its_promises(asked: list[Number | Proposal]) -> None:
    """P1a: it accepts a proposal unless it has promised a higher number; it promises upwards."""
    vote = Vote()
    for request in asked:
        proposed = isinstance(request, Proposal)
        number = request.number if isinstance(request, Proposal) else request
        new = vote.accept(request) if isinstance(request, Proposal) else vote.prepare(request)
        assert (new is None) == (number < vote.promised)
        if new is not None:
            assert new.promised == number
            assert new.accepted == (request if proposed else vote.accepted)
            vote = new


@given(st.integers(1, 9), st.data())
def test_two_majorities_share_an_acceptor(count: int, data: st.DataObject) -> None:
    everyone = list(range(count))
    one, other = (set(data.draw(st.permutations(everyone))[: majority(count)]) for _ in range(2))
    assert one & other


@given(st.dictionaries(st.sampled_from(ACCEPTORS), st.none() | PROPOSALS))
def test_a_ballot_is_bound_to_the_highest_that_was_accepted(
    promises: dict[str, Proposal | None],
) -> None:
    """P2c: the value of the highest numbered proposal of a majority, or any if there is none."""
    ballot = Ballot(Number(20, 1), majority(len(ACCEPTORS)), promises)
    assert ballot.prepared == (len(promises) >= 2)
    told = [proposal for proposal in promises.values() if proposal]
    assert ballot.bound == highest(told)
    assert (ballot.bound is None) == (not told)


def test_votes_of_different_numbers_are_no_majority() -> None:
    tally = Tally(majority(3))
    assert not tally.count("a1", Proposal(Number(1, 1), "v"))
    assert not tally.count("a2", Proposal(Number(3, 1), "v"))
    assert not tally.count("a1", Proposal(Number(1, 1), "v"))
    assert tally.count("a1", Proposal(Number(3, 1), "v"))


@given(st.lists(st.tuples(st.sampled_from(["prepare", "accept"]), NUMBERS, st.integers(0, 7))))
def test_synods_choose_one_value_in_any_order(steps: list[tuple[str, Number, int]]) -> None:
    """Every interleaving of phases at any subset of three acceptors chooses one value at most."""
    votes = dict.fromkeys(ACCEPTORS, Vote())
    ballots: dict[Number, Ballot] = {}
    proposed: dict[Number, str] = {}
    chosen: set[str] = set()
    for kind, number, mask in steps:
        ballot = ballots.setdefault(number, Ballot(number, 2))
        for acceptor in [name for bit, name in enumerate(ACCEPTORS) if mask >> bit & 1]:
            if kind == "prepare" and number not in proposed:
                new = votes[acceptor].prepare(number)
                if new is not None:
                    votes[acceptor] = new
                    ballot.promises[acceptor] = new.accepted
            elif kind == "accept" and ballot.prepared:
                value = proposed.setdefault(number, ballot.bound or str(number))
                new = votes[acceptor].accept(Proposal(number, value))
                if new is not None:
                    votes[acceptor] = new
                    ballot.accepted.add(acceptor)
        if ballot.chosen:
            chosen.add(proposed[number])
    assert len(chosen) <= 1


# Messages


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"kind": "fly", "decree": "d"},
        {"kind": ["prepare"], "decree": "d"},
        {"kind": "prepare", "decree": ""},
        {"kind": "prepare", "decree": "x" * 101, "number": [1, 1]},
        {"kind": "prepare", "decree": "d"},
        {"kind": "prepare", "decree": "d", "number": [0, 1]},
        {"kind": "prepare", "decree": "d", "number": [True, 1]},
        {"kind": "prepare", "decree": "d", "number": [1 << 60, 1]},
        {"kind": "accept", "decree": "d", "number": [1, 1], "value": 7},
        {"kind": "nack", "decree": "d", "number": [1, 1]},
        {"kind": "promise", "decree": "d", "number": [1, 1], "accepted": ["v"]},
        {"kind": "query", "decree": "d"},
    ],
)
def test_what_is_no_message_is_ignored_and_said(message: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        word(message)
    for core in cores():
        (effect,) = core.receive(0.0, "a1", message)
        assert isinstance(effect, Emit)
        assert effect.event == "malformed"


ANYTHING = (
    st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(-1, 9), max_size=3)
)
FIELDS = st.sampled_from(["number", "value", "accepted", "promised", "token", "decree"])


@settings(max_examples=50)
@given(st.sampled_from(KINDS), st.dictionaries(FIELDS, ANYTHING))
def test_no_message_breaks_anybody(kind: str, fields: dict[str, Any]) -> None:
    whole = {"decree": "d", "number": [1, 1], "value": "v", "promised": [2, 2], "token": "t"}
    for core in cores():
        for sender in ("a1", "p1", "stranger"):
            list(core.receive(0.0, sender, {"kind": kind, **whole, **fields}))


def nothing(_: str) -> None:
    """A disk that is new."""


def cores() -> list[Any]:
    """One of each."""
    kept: dict[str, Any] = {CEILING: 10}
    proposer = Proposer(1, ACCEPTORS, kept.get, random.Random(1))
    proposer.request(0.0, "r", {"f": "propose", "decree": "d", "value": "v"})
    return [Acceptor(["l1"], nothing), proposer, Learner(ACCEPTORS, ["p1"])]


@given(st.builds(Vote, NUMBERS, st.none() | PROPOSALS))
def test_a_vote_is_read_as_it_was_kept(vote: Vote) -> None:
    accepted = vote.accepted and [list(vote.accepted.number), vote.accepted.value]
    kept = json.loads(json.dumps({"promised": list(vote.promised), "accepted": accepted}))
    assert vote_of(kept) == vote
    assert proposal_of(kept["accepted"]) == vote.accepted


# Cores


def test_a_word_is_durable_before_it_is_given() -> None:
    """Lamport 2001, section 2.5."""
    acceptor = Acceptor(["l1", "l2"], nothing)
    asked = {"kind": "accept", "decree": "d", "number": [1, 1], "value": "v"}
    kept, told, *sent = acceptor.receive(0.0, "p1", asked)
    assert isinstance(kept, Persist)
    assert kept.otherwise is not None
    assert [type(effect) for effect in kept.otherwise] == [Emit, Send]
    assert isinstance(told, Emit)
    assert [effect.to for effect in sent if isinstance(effect, Send)] == ["p1", "l1", "l2"]


def test_answers_that_are_held_back_overtake_each_other() -> None:
    """Their words are durable before; only the messages are late."""
    acceptor = Acceptor([], nothing, iter([0.2, 0.1]).__next__)
    asks = [{"kind": "prepare", "decree": "d", "number": [round_, 1]} for round_ in (1, 2)]
    effects = [effect for ask in asks for effect in acceptor.receive(0.0, "p1", ask)]
    assert [type(effect) for effect in effects] == [Persist, Emit, SetTimer] * 2
    timers = [effect for effect in effects if isinstance(effect, SetTimer)]
    for timer, round_ in zip(sorted(timers, key=lambda timer: timer.after), (2, 1), strict=True):
        (sent,) = acceptor.timer(timer.after, timer.name)
        assert isinstance(sent, Send)
        assert sent.message["number"] == [round_, 1]


def test_who_is_outbid_hears_by_what() -> None:
    """Section 2.3: an acceptor should tell of the higher number."""
    kept = {"d": {"promised": [5, 2], "accepted": [[5, 2], "w"]}}
    acceptor = Acceptor([], kept.get)
    (nack,) = acceptor.receive(0.0, "p1", {"kind": "prepare", "decree": "d", "number": [4, 3]})
    assert isinstance(nack, Send)
    assert nack.message["kind"] == "nack"
    assert nack.message["promised"] == [5, 2]


def test_no_round_is_used_before_its_ceiling_is_durable() -> None:
    """Section 2.5; and after a restart the proposer begins above the ceiling."""
    kept: dict[str, Any] = {}
    proposer = Proposer(2, ACCEPTORS, kept.get, random.Random(1), Pace())
    ask = {"f": "propose", "decree": "d", "value": "v"}
    persist, timer = proposer.request(0.0, "r1", ask)
    assert isinstance(persist, Persist)
    assert isinstance(timer, SetTimer)
    again = proposer.timer(0.1, timer.name)
    assert [effect.key for effect in again if isinstance(effect, Persist)] == [CEILING]
    kept[CEILING] = persist.value
    sent = [effect for effect in proposer.timer(0.2, timer.name) if isinstance(effect, Send)]
    assert [effect.message["number"] for effect in sent] == [[1, 2]] * 3
    reborn = Proposer(2, ACCEPTORS, kept.get, random.Random(1), Pace())
    (persist, _) = reborn.request(0.0, "r1", ask)
    assert isinstance(persist, Persist)
    assert persist.value > 1 + AHEAD


def test_who_cannot_be_answered_hears_what_is_known() -> None:
    """A value that was proposed to nobody failed; one that was may be chosen yet."""
    kept: dict[str, Any] = {}
    proposer = Proposer(1, ACCEPTORS, kept.get, random.Random(1), Pace())
    kept[CEILING] = AHEAD
    proposer.request(0.0, "early", {"f": "propose", "decree": "d", "value": "v", "patience": 1})
    (reply, *_) = [e for e in proposer.timer(9.0, "d") if isinstance(e, Reply)]
    assert "failed" in reply.result
    proposer.request(0.0, "late", {"f": "propose", "decree": "e", "value": "v", "patience": 1})
    for acceptor in ACCEPTORS[:2]:
        promise = {"kind": "promise", "decree": "e", "number": [2, 1], "accepted": None}
        proposer.receive(0.5, acceptor, promise)
    (reply, *_) = [e for e in proposer.timer(9.0, "e") if isinstance(e, Reply)]
    assert "unknown" in reply.result


def test_a_value_that_another_proposed_too_may_be_chosen_as_well() -> None:
    """What a learner had settled is the client's own value: it is no failure, but unknown."""
    kept: dict[str, Any] = {CEILING: 10}
    proposer = Proposer(1, ACCEPTORS, kept.get, random.Random(1), Pace(patience=1.0))
    proposer.receive(0.0, "l1", {"kind": "settle", "decree": "d"})
    kept[CEILING] = AHEAD
    proposer.timer(0.0, "d")
    for acceptor, accepted in (("a1", [[1, 2], "v"]), ("a2", None)):
        promise = {"kind": "promise", "decree": "d", "number": [11, 1], "accepted": accepted}
        proposer.receive(0.1, acceptor, promise)
    for request, value in (("same", "v"), ("other", "w")):
        proposer.request(0.2, request, {"f": "propose", "decree": "d", "value": value})
    replies = [effect for effect in proposer.timer(9.0, "d") if isinstance(effect, Reply)]
    assert {reply.request: [*reply.result] for reply in replies} == {
        "same": ["unknown"],
        "other": ["failed"],
    }


def test_a_learner_answers_each_client_by_its_own_question() -> None:
    """An answer to an earlier client's question tells a later one nothing about nothing."""
    learner = Learner(ACCEPTORS, ["p1"], answer=1.0, patience=2.0)
    for when, request in enumerate(("early", "late")):
        learner.request(when, request, {"f": "chosen", "decree": "d"})

    def vote(acceptor: str, token: str, accepted: Any = None) -> list[Any]:
        said = {"kind": "vote", "decree": "d", "token": token, "accepted": accepted}
        effects = learner.receive(1.5, acceptor, said)
        return [(e.request, e.result) for e in effects if isinstance(e, Reply)]

    assert vote("a1", "early") == vote("a1", "late") == vote("a1", "early") == []
    assert vote("a2", "early") == [("early", {"decree": "d", "value": None})]
    assert vote("a2", "late", [[1, 1], "v"]) == []
    assert vote("a3", "late", [[1, 1], "v"]) == [
        ("late", {"decree": "d", "value": "v", "number": [1, 1]})
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"f": "fly"},
        {"f": "propose", "decree": "d"},
        {"f": "propose", "decree": "d", "value": "v", "delay": -1},
        {"f": "propose", "decree": "d", "value": "v", "backoff": "long"},
        {"f": "propose", "decree": "d", "value": "v", "patience": True},
    ],
)
def test_a_bad_request_is_rejected(body: dict[str, Any]) -> None:
    for core in cores():
        (effect,) = core.request(0.0, "r", body)
        assert isinstance(effect, Reject)


# The table


def test_what_is_put_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.db", 10)
    for value in ({"a": 1}, {"a": [2, "\ud800"]}):
        table.put("key\ud800", value)
    table.close()
    table = Table(tmp_path / "t.db", 10)
    assert table.get("key\ud800") == {"a": [2, "\ud800"]}
    assert table.get("other") is None
    table.close()


def test_a_full_table_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.db", 1)
    table.put("a", 1)
    with pytest.raises(NoRoom, match="keeps 1 keys"):
        table.put("b", 1)
    table.put("a", 2)
    assert (table.get("a"), table.get("b")) == (2, None)
    table._connection.execute("PRAGMA max_page_count = 3")
    with pytest.raises(NoRoom, match="full"):
        table.put("a", "x" * 100_000)
    assert table.get("a") == 2
    table.close()


def test_a_proposer_keeps_its_number(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.db", 2)
    table.pin("proposer", 1)
    table.pin("proposer", 1)
    with pytest.raises(ValueError, match=r"t\.db is that of proposer 1, not 2"):
        table.pin("proposer", 2)
    table.close()


def test_what_is_no_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.raises(ValueError, match="cannot be opened"):
        Table(path, 1)
    assert path.read_bytes().startswith(b"no database")


def test_two_processes_do_not_share_a_table(tmp_path: Path) -> None:
    table = Table(tmp_path / "t.db", 1)
    other = sqlite3.connect(tmp_path / "t.db", timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT * FROM kept")
    other.close()
    table.close()


# Claims


def said(event: str, node: str = "n1", value: Any = "v", number: Any = (1, 1)) -> Event:
    return {
        "event": event, "node": node, "t": 0.0, "decree": "d", "number": [*number], "value": value
    }  # fmt: skip


def asked(op: str, f: str, start: float, end: float, value: str | None) -> list[Event]:
    fixed = {"op": op, "f": f, "node": "hub"}
    invoked = {"event": "invoke", "t": start, "value": {"decree": "d", "value": value}}
    return [{**fixed, **invoked}, {**fixed, **invoked, "event": "ok", "t": end}]


def test_one_value_has_a_majority() -> None:
    one = [said("accepted", "n1"), said("accepted", "n2")]
    other = [said("accepted", node, "w", (2, 1)) for node in ("n2", "n3")]
    assert claims.one_value_chosen([], 3).holds is None
    assert claims.one_value_chosen([*one, other[0]], 3).holds
    assert claims.one_value_chosen([*one, *other], 3).holds is False
    assert claims.one_value_chosen([*one, *other], 5).holds is None


def test_whoever_tells_tells_the_same() -> None:
    assert claims.one_story([]).holds is None
    assert claims.one_story([said("chosen"), *asked("1", "chosen", 1, 2, "v")]).holds
    assert claims.one_story([said("chosen"), *asked("1", "chosen", 1, 2, "w")]).holds is False
    assert claims.one_story([said("chosen"), *asked("1", "chosen", 1, 2, None)]).holds


def test_nothing_is_chosen_only_before() -> None:
    known, late = asked("1", "propose", 1, 2, "v"), asked("2", "chosen", 3, 4, None)
    assert claims.none_is_untold([*known, *late]).holds is False
    assert claims.none_is_untold([*known, *asked("2", "chosen", 1.5, 4, None)]).holds
    assert claims.none_is_untold([*known, *late], skew=2.0).holds


def test_what_nobody_proposed_is_found_out() -> None:
    assert claims.chosen_was_proposed([]).holds is None
    assert claims.chosen_was_proposed(asked("1", "propose", 1, 2, "v")).holds
    assert claims.chosen_was_proposed(asked("1", "chosen", 1, 2, "v")).holds is False


def test_promises_and_numbers() -> None:
    back = [said("promised", number=(2, 1)), said("accepted", number=(1, 2))]
    assert claims.promises_kept(back).witness == tuple(back)
    assert claims.promises_kept([*reversed(back)]).holds
    assert claims.promises_kept([back[0], said("accepted", "n2", number=(1, 2))]).holds
    assert claims.promises_kept([]).holds is None
    assert claims.numbers_used_once([]).holds is None
    assert claims.numbers_used_once([said("prepare"), said("prepare")]).holds is False
    two = [said("prepare"), said("accepted"), said("accepted", "n2", "w")]
    assert claims.numbers_used_once(two).holds is False
    assert claims.numbers_used_once(two[:2]).holds


def test_a_duel_takes_two_and_no_end() -> None:
    bids = [said("prepare", node) for node in ("n1", "n2")] * 2
    assert claims.duel(bids, "d", 2).holds
    assert not claims.duel(bids[::2], "d", 2).holds
    assert not claims.duel([*bids, said("chosen")], "d", 2).holds
    assert claims.unbroken(claims.one_story([])).holds

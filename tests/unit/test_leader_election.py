"""leader_election: the election's steps, the fence live on loopback, what the claims see."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from apps.kit.address import Address
from apps.kit.outcome import Refused, Rejected
from apps.kit.tcp import Limits
from apps.leader_election import claims
from apps.leader_election.__main__ import cli
from apps.leader_election.client import Writer
from apps.leader_election.core import (
    Believe,
    Candidate,
    Join,
    Leave,
    Look,
    Resource,
    Stale,
    StepDown,
    Watch,
    in_order,
    node_of,
)
from apps.leader_election.resource import ResourceServer
from apps.leader_election.wire import BadRequest, parse
from tests.loopback import LOOPBACK, Record, free_port, run


def candidate() -> tuple[Candidate, str]:
    """Give a candidate with a session, and its node."""
    core = Candidate("n1", random.Random(1))
    assert core.connected() == [Look()]
    (join, look) = core.looked([], 0)
    assert isinstance(join, Join)
    assert look == Look()
    return core, f"{join.prefix}0000000005"


def leader() -> tuple[Candidate, str]:
    core, name = candidate()
    assert core.looked([name], 9) == [Believe(9), Watch(name)]
    return core, name


def test_the_lowest_number_leads() -> None:
    core, name = candidate()
    assert node_of(name) == "n1"
    first, other = "n3-00-0000000003", "n2-ff-0000000004"
    assert in_order([name, other, first]) == [first, other, name]
    assert core.looked([first, name, other], 9) == [Watch(other)]
    assert core.looked([name, "n4-0-0000000006"], 9) == [Believe(9), Watch(name)]
    assert core.looked([name], 9) == [Watch(name)]
    assert core.token == 9


def test_it_steps_down_as_soon_as_its_session_is_in_doubt() -> None:
    core, name = leader()
    assert core.suspended() == [StepDown(9, "its session is in doubt")]
    assert core.looked([name], 9) == []  # an answer that was under way
    assert core.connected() == [Look()]
    assert core.looked([name], 9) == [Believe(9), Watch(name)]


def test_a_new_session_stands_anew() -> None:
    core, name = leader()
    assert core.lost() == [StepDown(9, "its session is lost")]
    assert core.connected() == [Look()]
    assert core.looked(["n2-0-0000000007"], 0) == [Join(name[:-10]), Look()]


def test_a_node_that_was_made_without_an_answer_is_found_again() -> None:
    core, name = candidate()
    assert core.mine([name, "n1-another-life-0000000001"]) == name


def test_who_is_refused_stands_anew() -> None:
    core, name = leader()
    assert core.refused(8) == []  # of an earlier time
    assert core.refused(9) == [StepDown(9, "the fence refused its token"), Look()]
    assert core.looked([name], 0) == [Leave(name), Look()]
    (join, _) = core.looked([], 0)
    assert isinstance(join, Join)
    assert not name.startswith(join.prefix)


def test_it_hears_that_its_node_was_deleted() -> None:
    core, _ = leader()
    assert core.looked(["n2-0-0000000007"], 0)[0] == StepDown(9, "its candidacy is gone")


@given(st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["n1", "n2"]))))
def test_tokens_never_go_down_and_have_one_holder(writes: list[tuple[int, str]]) -> None:
    resource, holders = Resource(), dict[int, str]()
    for token, holder in writes:
        if token < resource.token or holders.get(token, holder) != holder:
            with pytest.raises(Stale, match=f"holds {resource.token}"):
                resource.write(token, holder, "x")
            continue
        resource = resource.write(token, holder, "x")
        assert resource.token == token
        assert holders.setdefault(token, holder) == holder
    assert Resource.of(json.loads(json.dumps(resource.as_json()))) == resource


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"paint", "this is no JSON"),
        (b"[" * 3000, "this is no JSON"),
        (b"{}", 'f is "write" or "state"'),
        (b'{"f": "write", "token": 1}', "a write has a token"),
        (b'{"f": "write", "token": true, "holder": "a", "value": "b", "op": "c"}', "from 1 to"),
        (b'{"f": "write", "token": 0, "holder": "a", "value": "b", "op": "c"}', "from 1 to"),
        (b'{"f": "write", "token": 1, "holder": "", "value": "b", "op": "c"}', "holder has 1 to"),
    ],
)
def test_a_bad_request_says_what_is_wrong(line: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse(line)


@given(st.binary(max_size=80))
def test_any_line_is_a_request_or_none(line: bytes) -> None:
    with suppress(BadRequest):
        assert parse(line)["f"] in {"write", "state"}


def test_the_fence_outlives_a_restart(tmp_path: Path) -> None:
    record, path = Record("resource", "n1"), tmp_path / "resource.json"

    async def play() -> None:
        async with (
            ResourceServer(LOOPBACK, record.events, path, Limits()) as resource,
            Writer(resource.address, record.events, 5.0) as writer,
        ):
            assert (await writer.write(7, "x"))["number"] == 1
        async with (
            ResourceServer(LOOPBACK, record.events, path, Limits()) as resource,
            Writer(resource.address, record.events, 5.0) as writer,
        ):
            with pytest.raises(Rejected, match="token 6 is stale: n1 holds 7"):
                await writer.write(6, "y")
            assert (await writer.state())["value"] == "x"

    run(play())
    assert [event["fence"] for event in record.seen("accepted")] == [7]
    assert [(e["fence"], e["highest"]) for e in record.seen("refused")] == [(6, 7)]
    assert claims.outcomes_are_true(record.seen()).holds


def test_garbage_costs_its_sender_alone(tmp_path: Path) -> None:
    record = Record()

    async def play() -> None:
        path = tmp_path / "resource.json"
        async with ResourceServer(LOOPBACK, record.events, path, Limits()) as resource:
            reader, writer = await asyncio.open_connection(*resource.address)
            try:
                writer.write(b"garbage\n")
                assert "this is no JSON" in json.loads(await reader.readline())["error"]
                writer.write(b"x" * 10_000)
                assert "too long" in json.loads(await reader.read())["error"]
            finally:
                writer.close()
                await writer.wait_closed()
            async with Writer(resource.address, record.events, 5.0) as client:
                assert (await client.write(1, "x"))["number"] == 1

    run(play())


def test_a_resource_that_is_away_is_refused() -> None:
    async def play() -> None:
        async with Writer(Address("127.0.0.1", free_port()), Record().events, 1.0) as writer:
            with pytest.raises(Refused):
                await writer.write(1, "x")

    run(play())


def test_wrong_words_are_a_usage_error() -> None:
    done = CliRunner().invoke(cli, ["client", "127.0.0.1:1", "write", "x", "y"])
    assert (done.exit_code, "a token is a whole number" in done.output) == (2, True)


# The claims.


def told(*events: tuple[float, str, str, int]) -> list[dict[str, Any]]:
    """Make a history of times, events, who, and tokens."""
    history: list[dict[str, Any]] = []
    for t, event, who, fence in events:
        of_resource = event in {"accepted", "refused"}
        fields = {"holder": who, "op": f"{who}:{t}", "highest": 9} if of_resource else {}
        node = "hub" if of_resource else who
        history.append({"event": event, "t": t, "node": node, "fence": fence, **fields})
    return history


def test_an_old_token_after_a_new_one_is_found() -> None:
    good = told((1, "accepted", "n1", 3), (2, "accepted", "n2", 4))
    assert claims.fence_holds(good).holds
    bad = [*good, *told((3, "accepted", "n1", 3))]
    assert claims.fence_holds(bad).holds is False


def test_a_token_with_two_leaders_is_found() -> None:
    one = told((1, "believes", "n1", 3), (2, "accepted", "n1", 3))
    assert claims.tokens_have_one_leader(one).holds
    two = [*one, *told((3, "believes", "n2", 3))]
    assert claims.tokens_have_one_leader(two).holds is False


def test_how_long_a_succession_took() -> None:
    history = told((1, "accepted", "n1", 3), (5, "accepted", "n1", 3), (6, "accepted", "n2", 4))
    kill: dict[str, Any] = {"event": "inject", "t": 4.0, "fault": {"fault": "kill"}}
    assert claims.successions(history, [kill]) == [2.0]
    assert claims.succeeded_in_time(history, [kill], 3.0).holds
    assert claims.succeeded_in_time(history, [kill], 1.0).holds is False
    assert claims.succeeded_in_time(history, [], 1.0).holds is None
    assert claims.succeeded_in_time(history, [{**kill, "t": 7.0}], 99.0).holds is False


def test_who_still_believes_is_found_by_the_refusal() -> None:
    history = told((1, "believes", "n1", 3), (5, "refused", "n1", 3))
    assert claims.fence_refuses_who_still_believes(history).holds
    assert claims.fence_refuses_who_still_believes(history[1:]).holds is None


def test_two_who_believe_at_once_are_found() -> None:
    apart = told(
        (1, "believes", "n1", 3), (2, "believes_no_more", "n1", 3), (3, "believes", "n2", 4)
    )
    assert claims.two_believe_at_once(apart).holds is None
    assert claims.two_believe_at_once([apart[0], apart[2]]).holds


def test_the_timeline_tells_each_turn() -> None:
    history = told((1, "believes", "n1", 3), (2, "accepted", "n1", 3), (3, "accepted", "n1", 3))
    lines = claims.beliefs([*history, *told((4, "refused", "n2", 2))]).splitlines()
    assert [line.split(maxsplit=3)[3] for line in lines[1:]] == [
        "believes",
        "is accepted",
        "is refused by the resource",
    ]


def test_an_acknowledged_write_that_was_never_taken_is_found() -> None:
    def told_of(number: int) -> list[dict[str, Any]]:
        op = {"op": "n1:1", "f": "write", "node": "n1"}
        ok = {**op, "event": "ok", "t": 2.0, "value": {"number": number}}
        return [{**op, "event": "invoke", "t": 1.0, "value": "x"}, ok]

    taken = [{"event": "accepted", "op": f"n2:{n}", "number": n, "t": n} for n in (4, 6)]
    assert claims.outcomes_are_true([*told_of(5), *taken]).holds is False
    for beyond in (3, 7):  # what the resource took before its journal was read, and after
        assert claims.outcomes_are_true([*told_of(beyond), *taken]).holds
    assert claims.outcomes_are_true(told_of(5)).holds is None


def test_a_failed_write_that_was_taken_is_found() -> None:
    op = {"op": "n1:1", "f": "write", "node": "n1", "value": "x"}
    writes = [{**op, "event": "invoke", "t": 1.0}, {**op, "event": "fail", "t": 2.0}]
    taken = {"event": "accepted", "op": "n1:1", "number": 1, "t": 1.5}
    assert claims.outcomes_are_true([*writes, taken]).holds is False

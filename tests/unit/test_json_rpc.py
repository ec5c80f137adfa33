"""JSON-RPC without a lab: the specification's examples and rules, the bank, claims, words typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.json_rpc.claims import answers_are_right, examples_answered, money_is_kept
from apps.json_rpc.client import Asked
from apps.json_rpc.core import Call, Invalid, Malformed, call_of, parsed
from apps.json_rpc.endpoint import Endpoint
from apps.json_rpc.examples import EXAMPLES, Example
from apps.json_rpc.methods import OPENING, registry
from apps.json_rpc.verbs import asked
from apps.kit.checkers.outcomes import outcomes_are_true
from apps.kit.claims import Event
from apps.kit.cli import Misspelt
from apps.kit.ledger import Ledger


@pytest.fixture
def failures() -> list[Exception]:
    return []


@pytest.fixture
def endpoint(tmp_path: Path, failures: list[Exception]) -> Iterator[Endpoint]:
    ledger = Ledger(tmp_path / "bank.db", OPENING)
    yield Endpoint(registry(ledger), failures.append, batch_limit=10)
    ledger.close()


def ask(endpoint: Endpoint, message: Any) -> Any:
    answer = endpoint.answer(json.dumps(message).encode())
    return None if answer is None else json.loads(answer)


def call(method: str, params: Any = (), **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": 1, **members}


def code(answer: Any) -> int:
    found: int = answer["error"]["code"]
    return found


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_of_the_specification(endpoint: Endpoint, example: Example) -> None:
    assert (endpoint.answer(example.sent.encode()) or "") == example.expected


# Where pjrpc's own dispatcher answers otherwise


@pytest.mark.parametrize("id_", ["a", "", 0, 7, -1, 1.5, 2**70, None])
def test_an_id_comes_back_as_it_was(endpoint: Endpoint, id_: Any) -> None:
    answer = ask(endpoint, call("get_data", id=id_))
    assert answer == {"jsonrpc": "2.0", "result": ["hello", 5], "id": id_}
    assert type(answer["id"]) is type(id_)


@pytest.mark.parametrize("id_", [True, [], {}, [1]])
def test_what_is_no_id(endpoint: Endpoint, id_: Any) -> None:
    answer = ask(endpoint, call("get_data", id=id_))
    assert (code(answer), answer["id"]) == (-32600, None)


def test_an_id_that_is_too_large_a_number() -> None:
    with pytest.raises(Invalid):
        call_of(parsed(b'{"jsonrpc": "2.0", "method": "x", "id": 1e999}'))


@pytest.mark.parametrize(
    "wrong", [{"jsonrpc": "1.0"}, {"jsonrpc": 2.0}, {"method": 1}, {"params": 3}, {"params": None}]
)
def test_the_id_of_an_invalid_call_is_told_where_it_can_be(endpoint: Endpoint, wrong: Any) -> None:
    answer = ask(endpoint, call("get_data") | wrong)
    assert (code(answer), answer["id"]) == (-32600, 1)


def test_one_id_twice_in_a_batch_is_two_calls(endpoint: Endpoint) -> None:
    answers = ask(endpoint, [call("sum", [1]), call("sum", [2])])
    assert [answer["result"] for answer in answers] == [1, 2]


def test_a_method_that_fails_is_an_internal_error_of_its_call_alone(
    endpoint: Endpoint, failures: list[Exception]
) -> None:
    answers = ask(endpoint, [call("sum", [1e308, 1e308]), call("get_data", id=2)])
    assert code(answers[0]) == -32603
    assert answers[1]["result"] == ["hello", 5]
    assert len(failures) == 1


def test_parameters_that_do_not_fit(endpoint: Endpoint) -> None:
    for params in ([1], [1, 2, 3], {"minuend": 1}, {"minuend": 1, "x": 2}, ["a", 1], [True, 1]):
        assert code(ask(endpoint, call("subtract", params))) == -32602
    assert code(ask(endpoint, call("sum", {"numbers": [1]}))) == -32602
    assert ask(endpoint, call("sum", []))["result"] == 0


def test_a_notification_is_never_answered(endpoint: Endpoint) -> None:
    for method, params in (("subtract", []), ("nothing", []), ("sum", [1e308, 1e308])):
        told = call(method, params)
        del told["id"]
        assert ask(endpoint, told) is None
        assert ask(endpoint, [told, told]) is None


def test_a_batch_is_bounded(endpoint: Endpoint) -> None:
    assert len(ask(endpoint, [call("get_data")] * 10)) == 10
    assert code(ask(endpoint, [call("get_data")] * 11)) == -32600


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"jsonrpc": "2.0", "method": "sum", "params": [NaN], "id": 1}',
        b'{"jsonrpc": "2.0", "method": "sum", "method": "x", "id": 1}',
        b'{"jsonrpc": "2.0", "method": "sum", "params": [' + b"9" * 5000 + b'], "id": 1}',
    ],
    ids=["nothing", "no UTF-8", "deep", "deep objects", "NaN", "a name twice", "digits"],
)
def test_what_is_no_json(endpoint: Endpoint, body: bytes) -> None:
    answer = endpoint.answer(body)
    assert answer is not None
    assert code(json.loads(answer)) == -32700


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_call_or_said_to_be_none(body: bytes) -> None:
    with suppress(Malformed, Invalid):
        value = parsed(body)
        for member in value if isinstance(value, list) else [value]:
            assert isinstance(call_of(member), Call)


# The bank


def transfer(key: str = "k", amount: Any = 5, **params: Any) -> dict[str, Any]:
    given_ = {"key": key, "source": "alice", "target": "bob", "amount": amount}
    return call("transfer", given_ | params)


def test_a_key_transfers_once(endpoint: Endpoint) -> None:
    first = ask(endpoint, transfer())
    assert first["result"]["number"] == 1
    assert ask(endpoint, transfer()) == first
    assert ask(endpoint, call("balance", ["bob"]))["result"] == OPENING["bob"] + 5
    assert ask(endpoint, call("transfers"))["result"] == [first["result"]]
    assert code(ask(endpoint, transfer(amount=6))) == -32001


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"amount": 10**15}, -32000),
        ({"amount": 0}, -32602),
        ({"amount": 1.5}, -32602),
        ({"amount": True}, -32602),
        ({"source": "nobody"}, -32602),
        ({"source": "\ud800"}, -32602),
        ({"target": "alice"}, -32602),
        ({"key": ""}, -32602),
        ({"key": "k" * 201}, -32602),
    ],
)
def test_a_transfer_that_is_refused_changes_nothing(
    endpoint: Endpoint, wrong: dict[str, Any], expected: int
) -> None:
    assert code(ask(endpoint, transfer(**wrong))) == expected
    assert ask(endpoint, call("transfers"))["result"] == []


# The claims


def operation(op: str, outcome: str, value: Any, result: Any = None, f: str = "transfer") -> Any:
    told: list[Event] = [
        {"event": "invoke", "op": op, "f": f, "value": value, "node": "n1", "t": 1.0},
        {"event": outcome, "op": op, "f": f, "value": result, "node": "n1", "t": 2.0},
    ]
    return told


ASKED = {"key": "k", "source": "alice", "target": "bob", "amount": 5}
KEPT = {**ASKED, "number": 1}


@pytest.mark.parametrize(
    ("outcome", "result", "kept", "holds"),
    [
        ("ok", KEPT, [KEPT], True),
        ("ok", KEPT, [], False),
        ("ok", KEPT, [KEPT, {**KEPT, "number": 2}], False),
        ("ok", KEPT, [{**KEPT, "amount": 6}], False),
        ("fail", None, [KEPT], False),
        ("fail", None, [], None),
        ("unknown", None, [KEPT], None),
        ("unknown", None, [{**KEPT, "target": "erin"}], False),
    ],
)
def test_outcomes_are_held_against_the_statement(
    outcome: str, result: Any, kept: list[Any], holds: bool | None
) -> None:
    found = outcomes_are_true(operation("1", outcome, ASKED, result), "transfer", kept)
    assert found.holds is holds


def test_a_failure_beside_a_success_of_the_same_key_is_no_lie() -> None:
    history = [*operation("1", "fail", ASKED), *operation("2", "ok", ASKED, KEPT)]
    assert outcomes_are_true(history, "transfer", [KEPT]).holds


def test_money_is_counted() -> None:
    balances = dict(OPENING) | {"alice": OPENING["alice"] - 5, "bob": OPENING["bob"] + 5}
    assert money_is_kept([KEPT], balances).holds
    assert not money_is_kept([], balances).holds


def test_answers_are_checked() -> None:
    assert answers_are_right(operation("1", "ok", [5, 3], 8, "sum")).holds
    assert not answers_are_right(operation("1", "ok", [5, 3], 3, "subtract")).holds
    assert answers_are_right([]).holds is None


def test_examples_are_counted() -> None:
    sent = [{"event": "example", "name": e.name, "same": True} for e in EXAMPLES]
    assert examples_answered(sent).holds
    assert examples_answered(sent[1:]).holds is None
    wrong = {**sent[0], "same": False, "answered": "x", "expected": "y"}
    assert examples_answered([wrong, *sent[1:]]).holds is False


# What a person types


def test_words_become_calls() -> None:
    assert asked(["sum", "1", "[2]", "x"]) == Asked("sum", [1, [2], "x"])
    assert asked(["notify", "update", "a=1", "b=x=y"]) == Asked(
        "update", {"a": 1, "b": "x=y"}, notification=True
    )
    for words in ([], ["notify"], ["sum", "1", "a=2"], ["sum", "a=1", "a=2"]):
        with pytest.raises(Misspelt):
            asked(words)

"""The claims of rest_api, over histories that keep them and that break them."""

from __future__ import annotations

from typing import Any

import pytest

from apps.kit.claims import Event
from apps.rest_api.claims import (
    acknowledged_writes_survive,
    every_outcome_known,
    keys_create_once,
    nothing_is_served_while_away,
)
from apps.rest_api.versions import items_are_linearizable


def item(item_id: int, version: int, quantity: int = 0, key: str = "k1") -> dict[str, Any]:
    return {
        "id": item_id,
        "version": version,
        "name": "nut",
        "quantity": quantity,
        "labels": {"key": key},
        "created": "",
        "updated": "",
    }


def content(quantity: int, key: str = "k1") -> dict[str, Any]:
    return {"name": "nut", "quantity": quantity, "labels": {"key": key}}


class History:
    """Writes histories as the client does."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: str, op: str, f: str, value: Any, **fields: Any) -> History:
        self.events.append({"event": event, "op": op, "f": f, "value": value, **fields})
        return self

    def create(self, item_id: int, key: str = "k1") -> History:
        made = item(item_id, 1, key=key)
        self.record("invoke", f"c{len(self.events)}", "create", content(0, key), key=key)
        return self.record("ok", self.events[-1]["op"], "create", made, key=key)

    def patch(self, item_id: int, from_version: int, quantity: int, outcome: str) -> History:
        op = f"p{len(self.events)}"
        value = {"id": item_id, "from": from_version, "content": content(quantity)}
        self.record("invoke", op, "patch", value)
        if outcome == "ok":
            value = item(item_id, from_version + 1, quantity)
        return self.record(outcome, op, "patch", value)

    def delete(self, item_id: int, from_version: int, outcome: str) -> History:
        op = f"d{len(self.events)}"
        value = {"id": item_id, "from": from_version}
        return self.record("invoke", op, "delete", value).record(outcome, op, "delete", value)


@pytest.mark.parametrize(
    ("history", "final"),
    [
        (History().create(1), [item(1, 1)]),
        (History().create(1), [item(1, 1), item(2, 9, 5, "other")]),
        (History().create(1).patch(1, 1, 5, "ok"), [item(1, 2, 5)]),
        (History().create(1).patch(1, 1, 5, "fail"), [item(1, 1)]),
        (History().create(1).patch(1, 1, 5, "unknown"), [item(1, 1)]),
        (History().create(1).patch(1, 1, 5, "unknown"), [item(1, 2, 5)]),
        (History().create(1).delete(1, 1, "ok"), []),
        (History().create(1).delete(1, 1, "unknown"), []),
        (History().create(1).delete(1, 1, "unknown"), [item(1, 1)]),
    ],
)
def test_what_may_be_there_is_accepted(history: History, final: list[dict[str, Any]]) -> None:
    assert acknowledged_writes_survive(history.events, final).holds is True


@pytest.mark.parametrize(
    ("history", "final", "says"),
    [
        (History().create(1), [], "nobody deleted"),
        (History().create(1).patch(1, 1, 5, "ok"), [item(1, 1)], "version 2 was acknowledged"),
        (History().create(1).patch(1, 1, 5, "ok"), [item(1, 2, 6)], "another content"),
        (History().create(1).patch(1, 1, 5, "fail"), [item(1, 2, 5)], "no write of unknown"),
        (History().create(1).patch(1, 1, 5, "unknown"), [item(1, 2, 6)], "no write of unknown"),
        (History().create(1).delete(1, 1, "fail"), [], "nobody deleted"),
        (History().create(1).delete(1, 1, "ok"), [item(1, 1)], "deletion was acknowledged"),
    ],
)
def test_a_lost_or_invented_write_is_found(
    history: History, final: list[dict[str, Any]], says: str
) -> None:
    finding = acknowledged_writes_survive(history.events, final)
    assert finding.holds is False
    assert says in finding.detail
    assert finding.witness


def test_a_client_that_died_has_an_unknown_outcome() -> None:
    history = History().create(1).patch(1, 1, 5, "ok")
    del history.events[-1]
    assert acknowledged_writes_survive(history.events, [item(1, 2, 5)]).holds is True


def test_without_writes_nothing_can_be_told() -> None:
    assert acknowledged_writes_survive([], []).holds is None
    assert keys_create_once(History().create(1).events, [item(1, 1)]).holds is None


def test_a_repeated_key_with_one_item_holds() -> None:
    history = History().create(1).create(1).create(2, "k2")
    finding = keys_create_once(history.events, [item(1, 1), item(2, 1, key="k2")])
    assert finding.holds is True
    assert "1 of 2 keys" in finding.detail


def test_two_answers_with_different_items_break_the_claim() -> None:
    assert keys_create_once(History().create(1).create(2).events, []).holds is False


def test_two_items_of_one_key_break_the_claim() -> None:
    history = History().create(1).create(1)
    finding = keys_create_once(history.events, [item(1, 1), item(2, 1)])
    assert finding.holds is False


def test_outcomes_are_counted_with_the_answers_that_were_lost() -> None:
    events = History().create(1).events
    events += [{"event": "send", "id": "a"}, {"event": "recv", "id": "a/answer"}]
    events.append({"event": "send", "id": "b"})
    finding = every_outcome_known(events)
    assert finding.holds is True
    assert "1 operations answered, 0 not; 1 requests got no answer" in finding.detail
    assert every_outcome_known(History().patch(1, 1, 5, "unknown").create(2).events).holds is False
    assert every_outcome_known([]).holds is None


def test_what_nobody_served_while_the_server_was_cut_off_is_shown() -> None:
    cut = {"fault": "partition", "shape": "isolate", "hosts": ["n1", "n2"]}
    away = [
        {"event": "inject", "id": "f1", "t": 1.0, "took": 1.5, "fault": cut},
        {"event": "invoke", "op": "a", "f": "get", "t": 2.0},
        {"event": "heal", "id": "f1", "t": 3.0},
        {"event": "ok", "op": "a", "f": "get", "t": 4.0},
    ]
    finding = nothing_is_served_while_away(away)
    assert finding.holds is True
    assert finding.witness[0]["event"] == "inject"
    served = [{"event": "ok", "op": "a", "f": "get", "t": t} for t in (1.8, 2.4)]
    assert nothing_is_served_while_away([*away, *served]).holds is None
    assert nothing_is_served_while_away([away[0], *away[2:]]).holds is None


# One history of each item


class Told:
    """Writes a history of several clients with its times."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def did(self, f: str, value: Any, result: Any, start: float, end: float, **fields: Any) -> Told:
        op = f"o{len(self.events)}"
        fixed = {"op": op, "f": f, "node": "n2", **fields}
        self.events.append({"event": "invoke", **fixed, "value": value, "t": start})
        if result != "unknown":
            self.events.append({"event": "ok", **fixed, "value": result, "t": end})
        return self

    def create(self, start: float = 0.0, result: Any = None) -> Told:
        made = result or item(1, 1)
        return self.did("create", content(0), made, start, start + 0.1, key="k1")

    def patch(self, version: int, quantity: int, start: float, result: Any = None) -> Told:
        value = {"id": 1, "from": version, "content": content(quantity)}
        made = result or item(1, version + 1, quantity)
        return self.did("patch", value, made, start, start + 0.1)

    def delete(self, version: int, start: float) -> Told:
        return self.did("delete", {"id": 1, "from": version}, {"id": 1}, start, start + 0.1)

    def get(self, result: Any, start: float) -> Told:
        return self.did("get", {"id": 1}, result, start, start + 0.1)

    def listed(self, items: list[Any], start: float) -> Told:
        path = {"path": "/items?after=0&limit=100"}
        return self.did("list", path, {"items": items}, start, start + 0.1)


@pytest.mark.parametrize(
    "told",
    [
        Told().create().get(item(1, 1), 1.0).listed([item(1, 1)], 2.0),
        Told().create().create(1.0).patch(1, 5, 2.0).create(3.0).get(item(1, 2, 5), 4.0),
        Told().create().get(None, 0.05),
        Told().create(0.0, "unknown").get(item(1, 1), 5.0),
        Told().create().patch(1, 5, 1.0, "unknown").get(item(1, 1), 2.0).get(item(1, 2, 5), 3.0),
        Told().create().delete(1, 1.0).get(None, 2.0).listed([], 3.0),
        Told().create().delete(1, 1.0).create(2.0).get(None, 3.0),
        Told().create().listed([item(1, 1), item(9, 4, key="strange")], 2.0),
    ],
)
def test_one_history_of_an_item_explains_all(told: Told) -> None:
    finding = items_are_linearizable(told.events)
    assert finding.holds is True, finding


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(Told().create().get(None, 1.0), id="lost"),
        pytest.param(Told().create().listed([], 1.0), id="not listed"),
        pytest.param(Told().create().patch(1, 5, 1.0).get(item(1, 1), 2.0), id="stale"),
        pytest.param(Told().create().patch(1, 5, 1.0).patch(1, 6, 2.0), id="lost update"),
        pytest.param(Told().create().get(item(1, 2, 7), 1.0), id="invented"),
        pytest.param(Told().create().delete(1, 1.0).get(item(1, 1), 2.0), id="resurrected"),
        pytest.param(Told().create().delete(1, 1.0).delete(1, 2.0), id="deleted twice"),
        pytest.param(
            Told().create().patch(1, 5, 1.0, "unknown").get(item(1, 2, 5), 2.0).get(item(1, 1), 3),
            id="seen and gone",
        ),
    ],
)
def test_what_no_order_explains_is_found(told: Told) -> None:
    finding = items_are_linearizable(told.events)
    assert finding.holds is False
    assert finding.witness


def test_of_items_made_before_the_history_nothing_is_judged() -> None:
    assert items_are_linearizable(Told().get(item(1, 7), 0.0).get(None, 1.0).events).holds is None
